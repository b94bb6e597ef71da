"""Runs to and from files of other programs."""

import hashlib
import os
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from charrnn.config import TrainConfig
from charrnn.errors import ConfigError, RunError
from charrnn.exchange.json import write_json
from charrnn.exchange.metadata import About
from charrnn.exchange.onnx import write_onnx
from charrnn.exchange.pytorch import write_torch
from charrnn.exchange.safetensors import read_safetensors, write_safetensors
from charrnn.files import read_small, write_output
from charrnn.runs import Note, RunFolder, RunState, Snapshot, find_save, load, read_note
from charrnn.runs.folder import LAST
from charrnn.text.corpus import Corpus
from charrnn.version import __version__

FORMATS = {  # and the suffixes of their files
    "safetensors": (".safetensors",),
    "onnx": (".onnx",),
    "torch": (".pt", ".pth"),
    "json": (".json",),
}
MODULE = Path(__file__).with_name("torch_module.py")


def export_run(
    run: str | Path,
    file: str | Path,
    to: str | None = None,
    *,
    which: str | None = None,
    int8: bool = False,
    module: bool = False,
    about: About | None = None,
) -> None:
    """Write the network of a run for other programs, with what the run notes of its text and training.

    Arguments:
        run, which: the save, as for ``charrnn.load``.
        to: safetensors, onnx, torch or json; by the suffix of ``file`` if not given.
        int8: write the matrices in 8 bits, to ONNX alone.
        module: write a module of PyTorch beside the file, FILE.py for FILE.safetensors.
        about: more to be said in the metadata, as far as the format has any.

    Raises:
        ConfigError: the format is unknown, or does not have what is asked for.
        RunError: it is not the folder of a run, a package is missing, or the file cannot be written.
    """
    save, path = find_save(run, which), Path(file)
    to = format_of(path, to, int8=int8, module=module)
    model = load(save)
    about = figures(save.parent) | dict(about or {})
    writers: dict[str, Callable[[], None]] = {
        "safetensors": partial(write_safetensors, model, path, about),
        "onnx": partial(write_onnx, model, path, about, int8=int8),
        "torch": partial(write_torch, model, path),
        "json": partial(write_json, model, path, about),
    }
    writers[to]()
    if module:
        write_output(path.with_suffix(".py"), MODULE.read_bytes())


def format_of(path: Path, to: str | None, *, int8: bool = False, module: bool = False) -> str:
    """The format that is named, or else that of a file with this suffix, if it has what is asked for.

    Raises:
        ConfigError: there is no such format, or not with that.
        RunError: the file of the module is another program's.
    """
    by_suffix = (name for name, suffixes in FORMATS.items() if path.suffix.lower() in suffixes)
    found = next(by_suffix, None) if to is None else to
    if found not in FORMATS:
        what = f"{path}: no format has this suffix" if to is None else f"`to` {to}: not a format"
        raise ConfigError(f"{what}; `to` names one of {', '.join(FORMATS)}")
    if int8 and found != "onnx":
        raise ConfigError(f"`quantize` has no effect on {found}: it is for onnx")
    if module and (found != "safetensors" or path.suffix != ".safetensors"):
        raise ConfigError(f"`module` is NAME.py beside NAME.safetensors; FILE is {path}")
    if module and os.path.lexists(beside := path.with_suffix(".py")):
        first = MODULE.read_bytes().splitlines()[0]
        if not read_small(beside, 10**6).startswith(first):
            raise RunError(f"{beside}: not written by `module`, so it is not replaced. Name another FILE")
    return found


def figures(run: Path) -> dict[str, Any]:
    """What a run notes of its text and training. Losses are in nats per character.

    Raises:
        RunError: it is not the folder of a run.
    """
    note = read_note(run)
    said: dict[str, Any] = {"charrnn": __version__, "corpus": note.corpus.name}
    said |= {"corpus_sha256": note.corpus.sha256, "settings": note.settings.model_dump()}
    with suppress(RunError):  # the best network can be written though the last one is damaged
        state = Snapshot.read(run / LAST).state
        said |= {"steps": state.step}
        if state.best_step is not None and state.best_val_loss is not None:
            said |= {"best_step": state.best_step, "best_val_loss": state.best_val_loss}
    return said


def import_run(file: str | Path, out: str | Path, vocabulary: str | Path | None = None) -> None:
    """Make a run of the network in a safetensors file, to sample, score and start from; it has no text.

    Arguments:
        vocabulary: a text file of the characters in the order of their indices, if the file lists none.

    Raises:
        CharRNNError: the file is damaged or of another network, or there is a run in ``out``.
    """
    path = Path(file)
    model = read_safetensors(path, None if vocabulary is None else Path(vocabulary))
    config = TrainConfig(**model.config.model_dump())
    nothing, sha256 = np.empty(0, model.vocabulary.dtype), hashlib.sha256().hexdigest()
    corpus = Corpus(nothing, model.vocabulary, path.stem, 0, sha256)
    state = RunState(step=0, corpus=sha256, learning_rate=config.learning_rate)
    with RunFolder(out) as folder:
        snapshot = Snapshot(model, {}, model.initial_state(config.batch_size), state, config)
        folder.begin(Note.of(folder.path, config, corpus), snapshot, corpus)
