"""Files written whole or not at all, and small files read whole."""

import errno
import os
import stat
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

from charrnn.errors import CharRNNError, RunError, brief

LONGEST_NAME = 255  # characters of a file's name, on any common file system
LONGEST_PATH = 4096  # bytes


def file_name(word: str) -> str:
    """Return ``word`` if a file or folder can be called that.

    Raises:
        ValueError: none can; says why. Of a lone surrogate that is a UnicodeEncodeError.
    """
    if not word:
        raise ValueError("it is empty; expected the name of a file or folder")
    if "\0" in word:
        raise ValueError("no file can be called that: it has a NUL character")
    if len(os.fsencode(word)) > LONGEST_PATH or any(len(part) > LONGEST_NAME for part in Path(word).parts):
        raise ValueError(os.strerror(errno.ENAMETOOLONG))
    return word


def bundled(name: str) -> Path:
    """Find what comes with charrnn in data/: inside the installed package, or beside it in a checkout.

    Raises:
        CharRNNError: it is missing.
    """
    package = Path(__file__).parent
    for folder in (package, package.parent):
        if (folder / "data" / name).exists():
            return folder / "data" / name
    raise CharRNNError(
        f"data/{name}, which comes with charrnn, is missing: install it again, or name another"
    )


def read_small(source: Path | BinaryIO, limit: int, name: str = "") -> bytes:
    """Read a file that should be small: a regular file, a pipe, or a stream that is open already.

    Arguments:
        limit: the largest size, in bytes.
        name: of the stream, in errors.

    Raises:
        CharRNNError: it cannot be read, is a folder or a device, or is larger.
    """
    where = name or brief(source)
    try:
        if isinstance(source, Path):
            file_name(str(source))
            kind = source.stat().st_mode
            if not (stat.S_ISREG(kind) or stat.S_ISFIFO(kind)):
                raise CharRNNError(f"{where}: a folder or a device; expected a file or a pipe")
            with source.open("rb") as file:
                blob = file.read(limit + 1)
        else:
            blob = source.read(limit + 1)
    except (OSError, ValueError) as error:
        raise CharRNNError(f"{where}: cannot be read: {getattr(error, 'strerror', None) or error}") from None
    if len(blob) > limit:
        raise CharRNNError(f"{where}: larger than {limit / 1e6:g} MB, the most that is read here")
    return blob


def beside(path: Path, mark: str = "new") -> Path:
    """Where a file is written before it is renamed into its place; always the same, so none pile up."""
    return path.with_name(f".{path.name}.{mark}")


def write_whole(path: Path, write: Callable[[BinaryIO], object], mark: str = "new") -> None:
    """Write a file beside its place, flush it to disk, and rename it into its place.

    Arguments:
        path: its place.
        write: is handed the open file, which it may read back.
        mark: ends the name of the file beside; one of its own lets several processes write one file.

    Raises:
        RunError: the disk is full, or the folder cannot be written to. What stood there still stands.
    """
    new = beside(path, mark)
    try:
        new.unlink(missing_ok=True)  # of a writer that was killed
        with new.open("x+b") as file:  # never through a link
            write(file)
            file.flush()
            os.fsync(file.fileno())
        new.replace(path)
        flush_folder(path.parent)
    except OSError as error:
        raise RunError(f"{path}: cannot be written: {error.strerror or error}") from None
    finally:
        with suppress(OSError):
            new.unlink(missing_ok=True)


def write_output(path: Path, blob: bytes) -> None:
    """Write what a user asked for, whole; or into what stands there and is no file, such as a pipe.

    Raises:
        RunError: it cannot be written.
    """
    if path.is_file() or not path.exists():
        write_whole(path, lambda file: file.write(blob))
        return
    try:
        path.write_bytes(blob)
    except OSError as error:
        raise RunError(f"{path}: cannot be written: {error.strerror or error}") from None


def flush_folder(folder: Path) -> None:
    """Flush a folder to disk, and with it the renames in it."""
    if os.name == "posix":
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
