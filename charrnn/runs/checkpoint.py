"""A run on disk: written whole or not at all, read without trusting it.

    RUN/config.json     all settings, what was read (name, size, SHA-256), versions
    RUN/metrics.jsonl   a line for each logged step
    RUN/last.npz        weights, vocabulary, and all else that the rest of the run depends on
    RUN/step-N.npz      what last.npz was at step N: the saves before it, and the one to roll back to
    RUN/best.npz        weights and vocabulary of the best validation so far
    RUN/.lock           held by the process that trains there

Every file but metrics.jsonl is written beside its place, flushed to the disk, and renamed into it, and then
the folder is flushed. So neither a killed process, nor a full disk, nor a machine that is reset leaves half
of one: what stands there is the file before or the file after. The lines of metrics.jsonl are flushed before
the last.npz that counts them; what it does not count is cut off on resuming.

An npz file ends in the SHA-256 of all that stands before, in its zip comment; one that does not agree is
refused. Nothing in a run is trusted: arrays only, no pickle; sizes are checked before memory is taken; a name
that leads out of the folder is not followed.
"""

import hashlib
import json
import math
import os
import re
import shutil
import stat
import sys
import zipfile
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Annotated, Any, BinaryIO, Self

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from charrnn.config import ModelConfig, TrainConfig
from charrnn.errors import CharRNNError, ConfigError, RunError
from charrnn.files import beside, flush_folder, write_whole
from charrnn.layers import Array
from charrnn.model.charrnn import CharRNN
from charrnn.model.network import shapes
from charrnn.text.vocabulary import Vocabulary

if sys.platform == "win32":
    import msvcrt
else:
    import fcntl


CONFIG, METRICS, LAST, BEST, LOCK = "config.json", "metrics.jsonl", "last.npz", "best.npz", ".lock"
CHECKSUM = b"sha256:"  # and 64 hexadecimal digits, the last bytes of an npz file
JSON_BYTES = 2**24  # the largest files that are read: config.json
METRICS_BYTES = 2**30
NPZ_BYTES = 2**34
MEMBERS = 2000  # of an npz file: of 100 layers each with 4 arrays, and as many of two moments


# -- writing ----------------------------------------------------------------------------------------


def also_as(path: Path, other: Path) -> None:
    """Give a file a second name, whole or not at all; a copy where the disk knows no hard links.

    Raises:
        RunError: the folder cannot be written to.
    """
    new = beside(other)
    try:
        new.unlink(missing_ok=True)
        os.link(path, new)
        new.replace(other)
        flush_folder(other.parent)
    except FileNotFoundError:
        raise RunError(f"{path}: is there no more") from None
    except OSError:
        with open_plain(path, NPZ_BYTES) as file:
            write_whole(other, lambda copy: shutil.copyfileobj(file, copy))
    finally:
        with suppress(OSError):
            new.unlink(missing_ok=True)  # renaming one name of a file to another of it leaves both


def write_json(path: Path, value: object) -> None:
    """Write ``value`` as JSON, whole or not at all."""
    text = json.dumps(value, indent=2, ensure_ascii=False) + "\n"
    write_whole(path, lambda file: file.write(text.encode("utf-8", "surrogatepass")))


def write_arrays(path: Path, arrays: Mapping[str, Array]) -> None:
    """Write an npz file that ends in its checksum, whole or not at all.

    The same arrays give the same bytes. (np.savez before NumPy 2.2 cannot be told not to pickle.)
    """

    def write(file: BinaryIO) -> None:
        with zipfile.ZipFile(file, "w") as archive:
            for name, array in arrays.items():
                member = zipfile.ZipInfo(f"{name}.npy")  # without the time of day
                with archive.open(member, "w", force_zip64=True) as content:
                    np.lib.format.write_array(content, np.asarray(array), allow_pickle=False)
            archive.comment = CHECKSUM + bytes(64)
        end = file.seek(-64, os.SEEK_END)
        digest = _sha256(file, end)
        file.seek(end)
        file.write(digest)

    write_whole(path, write)


def _sha256(file: BinaryIO, size: int) -> bytes:
    """The SHA-256 of the first ``size`` bytes of a file, in hexadecimal."""
    digest = hashlib.sha256()
    file.seek(0)
    while size > 0 and (piece := file.read(min(size, 2**20))):
        digest.update(piece)
        size -= len(piece)
    return digest.hexdigest().encode()


# -- lines of metrics -------------------------------------------------------------------------------


def _open_metrics(run: Path, flags: int) -> int:
    """metrics.jsonl itself, not what a link in its place leads to."""
    return os.open(run / METRICS, flags | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_BINARY", 0), 0o666)


def add_line(run: Path, record: dict[str, Any]) -> None:
    """Add a line to metrics.jsonl, which must be there.

    Raises:
        RunError: it cannot be written.
    """
    try:
        with os.fdopen(_open_metrics(run, os.O_WRONLY | os.O_APPEND), "ab") as file:
            file.write(json.dumps(record).encode() + b"\n")
    except OSError as error:
        raise RunError(f"{run / METRICS}: cannot be written: {error.strerror}") from None


def flush_metrics(run: Path) -> int:
    """Flush metrics.jsonl to disk. Returns: its size in bytes."""
    try:
        descriptor = _open_metrics(run, os.O_RDWR)
        try:
            os.fsync(descriptor)
            return os.fstat(descriptor).st_size
        finally:
            os.close(descriptor)
    except OSError as error:
        raise RunError(f"{run / METRICS}: cannot be written: {error.strerror}") from None


def cut_metrics(run: Path, size: int) -> bool:
    """Cut metrics.jsonl back to ``size`` bytes: what a save has counted.

    Returns: whether it had them, up to the end of a line; if not, the torn line is cut off at least.
    """
    try:
        with os.fdopen(_open_metrics(run, os.O_RDWR | os.O_CREAT), "r+b") as file:
            there = file.seek(0, os.SEEK_END)
            end = min(size, there)
            tail = min(end, 2**16)
            file.seek(end - tail)
            whole = file.read(tail).rfind(b"\n") + 1
            file.truncate(end - tail + whole)
            file.flush()
            os.fsync(file.fileno())
            return there >= size and whole == tail
    except OSError as error:
        raise RunError(f"{run / METRICS}: cannot be written: {error.strerror}") from None


# -- the lock ---------------------------------------------------------------------------------------


class Lock:
    """Held by the one process that trains in a folder; it goes with the process, however that ends."""

    def __init__(self, run: Path):
        self.path = run / LOCK

    def __enter__(self) -> Self:
        """Take the lock.

        Raises:
            RunError: another process has it, or the folder cannot be written to.
        """
        flags = os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0)
        try:
            self._descriptor = os.open(self.path, flags, 0o666)
        except OSError as error:
            raise RunError(f"{self.path.parent}: cannot be written: {error.strerror}") from None
        try:
            if sys.platform == "win32":
                msvcrt.locking(self._descriptor, msvcrt.LK_NBLCK, 1)
            else:
                fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            os.close(self._descriptor)
            if isinstance(error, BlockingIOError | PermissionError):
                raise RunError(
                    f"{self.path.parent}: another process is training there. Wait for it, or name another "
                    "folder with --out"
                ) from None
            raise RunError(f"{self.path}: cannot be locked: {error.strerror}") from None
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        os.close(self._descriptor)

    def check(self) -> None:
        """Make sure that the folder is still the one that was locked.

        Raises:
            RunError: it was deleted, or there is another in its place.
        """
        try:
            here = os.path.samestat(os.fstat(self._descriptor), self.path.lstat())
        except OSError:
            here = False
        if not here:
            raise RunError(
                f"{self.path.parent}: was deleted or replaced while training in it; nothing more is written"
            )


# -- reading ----------------------------------------------------------------------------------------


def open_plain(path: Path, limit: int) -> BinaryIO:
    """A file of a run, to be read.

    Raises:
        RunError: it is missing, larger than ``limit`` bytes, no plain file, or a link out of the folder.
    """
    try:
        found = path.stat()
        if not path.resolve().is_relative_to(path.parent.resolve()):
            raise RunError(f"{path}: leads out of the run's folder, so it is not read")
        if not stat.S_ISREG(found.st_mode):
            raise RunError(f"{path}: damaged: not a plain file")
        if found.st_size > limit:
            raise RunError(f"{path}: {found.st_size:,} bytes; no more than {limit:,} are read")
        return path.open("rb")
    except OSError as error:
        raise RunError(f"{path}: cannot be read: {error.strerror or error}") from None


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object.

    Raises:
        RunError: the file is missing or is not a JSON object.
    """
    with open_plain(path, JSON_BYTES) as file:
        try:
            value = json.loads(file.read(JSON_BYTES))
        except OSError as error:
            raise RunError(f"{path}: cannot be read: {error.strerror}") from None
        except (ValueError, RecursionError):
            raise RunError(f"{path}: damaged: not JSON") from None
    if not isinstance(value, dict):
        raise RunError(f"{path}: damaged: not a JSON object")
    return value


def read_arrays(path: Path) -> dict[str, Array]:
    """The arrays of an npz file.

    Raises:
        RunError: the file is missing, or damaged in any way.
    """
    with open_plain(path, NPZ_BYTES) as file:
        try:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(0, size - 64 - len(CHECKSUM)))
            mark, digest = file.read(len(CHECKSUM)), file.read()
            if mark != CHECKSUM:
                raise RunError(
                    f"{path}: damaged, cut short, or of an older version: it does not end in its checksum"
                )
            if digest != _sha256(file, size - 64):
                raise RunError(f"{path}: damaged: its checksum does not agree with it")
            return _members(file, size)
        except OSError as error:
            raise RunError(f"{path}: cannot be read: {error.strerror or error}") from None
        except RunError:
            raise
        except Exception:  # the zip and npy readers fail in a dozen ways on bytes made to
            raise RunError(f"{path}: damaged: not an npz file of plain arrays") from None


def _members(file: BinaryIO, size: int) -> dict[str, Array]:
    """The arrays of an open npz file of ``size`` bytes; a ValueError if they claim to hold more."""
    with zipfile.ZipFile(file) as archive:
        members = archive.infolist()
        if len(members) > MEMBERS or len({member.filename for member in members}) < len(members):
            raise ValueError("too many members, or two of one name")
        if sum(member.file_size for member in members) > size:
            raise ValueError("members that overlap")
        arrays = {}
        for member in members:
            if member.compress_type != zipfile.ZIP_STORED:
                raise ValueError("compressed")
            with archive.open(member) as content:
                version = np.lib.format.read_magic(content)
                read_header = {
                    (1, 0): np.lib.format.read_array_header_1_0,
                    (2, 0): np.lib.format.read_array_header_2_0,
                }[version]
                shape, fortran, dtype = read_header(content)
                claimed = math.prod(shape) * dtype.itemsize
                if dtype.kind not in "fuiU" or claimed != member.file_size - content.tell():
                    raise ValueError("not what its header claims")
                array: Array = np.frombuffer(content.read(claimed), dtype)
                arrays[member.filename.removesuffix(".npy")] = array.reshape(
                    shape, order="F" if fortran else "C"
                )
        return arrays


# -- models -----------------------------------------------------------------------------------------


def model_arrays(model: CharRNN) -> dict[str, Array]:
    """What makes a model: its parameters by name, its vocabulary's symbols, and the name of its cell."""
    return {**model.parameters, "vocabulary": model.vocabulary.symbols, "cell": np.array(model.config.cell)}


def model_from(arrays: Mapping[str, Array], where: Path) -> CharRNN:
    """A model from such arrays.

    Raises:
        RunError: an array is missing, or its shape or dtype does not fit the others.
    """
    try:
        vocabulary = Vocabulary(arrays["vocabulary"])
        cell, W_aa = str(arrays.get("cell", "rnn")), arrays["W_aa"]
        if W_aa.dtype not in (np.float32, np.float64):
            raise RunError(f"W_aa is of dtype {W_aa.dtype}")
        if W_aa.ndim != 2:
            raise RunError(f"W_aa is {W_aa.dtype} {W_aa.shape}, expected two axes")
        form: dict[str, Any] = {
            "cell": cell,
            "hidden_size": len(W_aa),
            "dtype": W_aa.dtype.name,
            "num_layers": 1 + sum(name.startswith("W_aa[") for name in arrays),
            "embedding_size": max(1, arrays["W_ex"].size // len(vocabulary)) if "W_ex" in arrays else 0,
        }
        config = ModelConfig(**form)
        for name, shape in shapes(config, len(vocabulary)).items():  # before memory is taken
            if arrays[name].shape != shape:
                raise RunError(f"{name} is {arrays[name].dtype} {arrays[name].shape}, expected {shape}")
        model = CharRNN.from_config(vocabulary, config, seed=None)
        for name, view in model.parameters.items():
            if arrays[name].dtype != view.dtype:
                raise RunError(f"{name} is of dtype {arrays[name].dtype}, expected {view.dtype}")
            if not np.isfinite(arrays[name]).all():
                raise RunError(f"{name} has entries that are not finite")
            view[...] = arrays[name]
    except KeyError as error:
        raise RunError(f"{where}: not a model: it lacks {error}") from None
    except (CharRNNError, TypeError) as error:
        raise RunError(f"{where}: not a model: {error}") from None
    return model


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


# -- runs -------------------------------------------------------------------------------------------


PathName = Annotated[str, Field(pattern=r"^[^\x00]*$")]


class CorpusNote(BaseModel):
    """What config.json notes of the text."""

    model_config = ConfigDict(strict=True, extra="allow", allow_inf_nan=False)

    name: str = Field(max_length=1000)
    size: int = Field(ge=0)
    sha256: str = Field(pattern="^[0-9a-f]{64}$")
    characters: int = Field(ge=0)
    vocabulary_size: int = Field(ge=2)
    sources: list[PathName] = []
    cache_dir: PathName = ""
    bytes: bool = False
    encoding: str = "utf-8"
    glob: str = "*.txt"


class Note(BaseModel):
    """config.json but for the settings."""

    model_config = ConfigDict(strict=True, extra="ignore")

    corpus: CorpusNote
    versions: dict[str, str] = {}
    init_from: dict[str, str] | None = None


def is_run(path: Path) -> bool:
    """Whether a run has been written there, whole or in part."""
    return any((path / name).exists() for name in (CONFIG, METRICS, LAST, BEST))


def read_note(run: Path) -> dict[str, Any]:
    """The config.json of a run: its ``settings`` and what is noted of its ``corpus``, all checked.

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
        readable = json.dumps(note, ensure_ascii=False).encode(
            "utf-8", "replace"
        )  # names of files need not be
        Note.model_validate_json(readable)
    except ConfigError as error:
        raise RunError(f"{run / CONFIG}: {error}") from None
    except ValidationError as error:
        wrong = error.errors()[0]
        where = ".".join(map(str, wrong["loc"]))
        raise RunError(f"{run / CONFIG}: damaged: {where}: {wrong['msg'].lower()}") from None
    return note


def step_file(run: Path, step: int) -> Path:
    """Where a save of that step is kept once it is no longer the last."""
    return run / f"step-{step}.npz"


def step_files(run: Path) -> dict[int, Path]:
    """The saves that are kept beside last.npz, by their step, the newest first."""
    try:
        names = [re.fullmatch(r"step-(0|[1-9][0-9]{0,17})\.npz", path.name) for path in run.iterdir()]
    except OSError:  # the folder is gone: whoever writes to it next will say so
        return {}
    steps = sorted((int(name[1]) for name in names if name), reverse=True)
    return {step: step_file(run, step) for step in steps}


def make_folder(run: Path) -> None:
    """Make the folder of a run, if need be, so that it outlives a reset of the machine.

    Raises:
        RunError: it cannot be made.
    """
    try:
        run.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RunError(f"{run}: cannot be written: {error.strerror}") from None
    for folder in run.resolve().parents[:2]:  # runs/NAME: both may be new
        with suppress(OSError):  # not every folder above may be opened
            flush_folder(folder)


def clear(run: Path) -> None:
    """Take away what makes a folder a run: the note first, so that no part of it passes for the whole.

    Raises:
        RunError: the folder cannot be written to.
    """
    try:
        for name in (CONFIG, LAST, BEST, METRICS):
            (run / name).unlink(missing_ok=True)
        for path in step_files(run).values():
            path.unlink()
        tidy(run)
    except OSError as error:
        raise RunError(f"{run}: cannot be written: {error.strerror}") from None


def tidy(run: Path) -> None:
    """Take away what a writer left beside its place when it was killed."""
    for path in run.iterdir():
        if re.fullmatch(
            r"\.(config\.json|tokens\.bin(\.[0-9a-f]{32})?|(last|best|step-[0-9]+)\.npz)\.new", path.name
        ):
            path.unlink(missing_ok=True)
