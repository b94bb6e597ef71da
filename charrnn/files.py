"""Files written whole or not at all."""

import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

from charrnn.errors import RunError


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


def flush_folder(folder: Path) -> None:
    """Flush a folder to disk, and with it the renames in it."""
    if os.name == "posix":
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
