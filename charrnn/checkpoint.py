"""A run on disk: written whole or not at all, read without trusting it.

    RUN/config.json     all settings, what was read (name, size, SHA-256), versions
    RUN/metrics.jsonl   a line for each logged step
    RUN/last.npz        weights, vocabulary, and what training needs to go on
    RUN/best.npz        weights and vocabulary of the best validation so far

Every file but metrics.jsonl is written beside its place, flushed, and renamed into it; so a reader never
sees half of one, and a crash leaves the one before. Arrays only, no pickle.
"""

import json
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from charrnn.config import TrainConfig
from charrnn.errors import CharRNNError, ConfigError, RunError
from charrnn.files import write_whole
from charrnn.model import CharRNN
from charrnn.text import Vocabulary

Array = NDArray[Any]

CONFIG, METRICS, LAST, BEST = "config.json", "metrics.jsonl", "last.npz", "best.npz"


def write_json(path: Path, value: object) -> None:
    """Write ``value`` as JSON, whole or not at all."""
    text = json.dumps(value, indent=2, ensure_ascii=False) + "\n"
    write_whole(path, lambda file: file.write(text.encode()))


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object.

    Raises:
        RunError: the file is missing or is not a JSON object.
    """
    try:
        value = json.loads(path.read_bytes())
    except OSError as error:
        raise RunError(f"{path}: cannot be read: {error.strerror}") from None
    except (ValueError, RecursionError):
        raise RunError(f"{path}: damaged: not JSON") from None
    if not isinstance(value, dict):
        raise RunError(f"{path}: damaged: not a JSON object")
    return value


def write_arrays(path: Path, arrays: Mapping[str, Array]) -> None:
    """Write an npz file, whole or not at all. (np.savez before NumPy 2.2 cannot be told not to pickle.)"""

    def write(file: BinaryIO) -> None:
        with zipfile.ZipFile(file, "w") as archive:
            for name, array in arrays.items():
                with archive.open(f"{name}.npy", "w", force_zip64=True) as member:
                    np.lib.format.write_array(member, np.asarray(array), allow_pickle=False)

    write_whole(path, write)


def read_arrays(path: Path) -> dict[str, Array]:
    """The arrays of an npz file.

    Raises:
        RunError: the file is missing, or damaged in any way.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            arrays = {}
            for name in archive.namelist():
                with archive.open(name) as member:  # checks its CRC as it is read
                    arrays[name.removesuffix(".npy")] = np.lib.format.read_array(member, allow_pickle=False)
            return arrays
    except OSError as error:
        raise RunError(f"{path}: cannot be read: {error.strerror or error}") from None
    except Exception:  # the zip and npy readers fail in a dozen ways on damaged bytes
        raise RunError(f"{path}: damaged: not a whole npz file of plain arrays") from None


def model_arrays(model: CharRNN) -> dict[str, Array]:
    """What makes a model: its parameters by name, and its vocabulary's symbols."""
    return {**model.parameters, "vocabulary": model.vocabulary.symbols}


def model_from(arrays: Mapping[str, Array], where: Path) -> CharRNN:
    """A model from such arrays.

    Raises:
        RunError: an array is missing, or its shape or dtype does not fit the others.
    """
    try:
        vocabulary = Vocabulary(arrays["vocabulary"])
        W_aa = arrays["W_aa"]
        model = CharRNN(vocabulary, len(W_aa), init="identity", dtype=W_aa.dtype)
        if W_aa.dtype not in (np.float32, np.float64):
            raise RunError(f"W_aa is of dtype {W_aa.dtype}")
        for name, view in model.parameters.items():
            if arrays[name].shape != view.shape or arrays[name].dtype != view.dtype:
                found = f"{arrays[name].dtype} {arrays[name].shape}"
                raise RunError(f"{name} is {found}, expected {view.dtype} {view.shape}")
            if not np.isfinite(arrays[name]).all():
                raise RunError(f"{name} has entries that are not finite")
            view[...] = arrays[name]
    except (CharRNNError, KeyError, TypeError) as error:
        raise RunError(f"{where}: not a model: {error}") from None
    return model


def is_run(path: Path) -> bool:
    """Whether a run has been written there, whole or in part."""
    return any((path / name).exists() for name in (CONFIG, METRICS, LAST, BEST))


def read_note(run: Path) -> dict[str, Any]:
    """The config.json of a run: its ``settings``, checked, and what is noted of its ``corpus``.

    Raises:
        RunError: ``run`` is not the folder of a run, or the file is damaged.
    """
    if not is_run(run):
        raise RunError(f"{run}: not the folder of a run (it has no {CONFIG}). See charrnn train --out")
    note = read_json(run / CONFIG)
    if not all(isinstance(note.get(key), dict) for key in ("settings", "corpus")):
        raise RunError(f"{run / CONFIG}: damaged: it lacks settings or corpus")
    try:
        TrainConfig(**note["settings"])
    except ConfigError as error:
        raise RunError(f"{run / CONFIG}: {error}") from None
    return note


def load(run: str | Path, which: str = "best") -> CharRNN:
    """The model of a run: its best validation (``best``), or as training left it (``last``).

    A run that has not been validated yet gives the last one.

    Raises:
        RunError: ``run`` is not the folder of a run, or the file is damaged.
    """
    path = Path(run)
    if which not in ("best", "last"):
        raise ConfigError(f"which: {which!r} is neither 'best' nor 'last'")
    if not is_run(path):
        raise RunError(f"{path}: not the folder of a run (it has no {CONFIG}). See charrnn train --out")
    file = path / f"{which}.npz"
    if which == "best" and not file.exists():
        file = path / LAST
    if not file.exists():
        raise RunError(f"{path}: this run has no saved model yet")
    return model_from(read_arrays(file), file)
