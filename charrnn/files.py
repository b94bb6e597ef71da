"""Files written whole or not at all."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

from charrnn.errors import RunError


def write_whole(path: Path, write: Callable[[BinaryIO], object], mark: str = "new") -> None:
    """Write a file beside its place, flush it to disk, and rename it into its place.

    Arguments:
        path: its place.
        write: is handed the open file.
        mark: ends the name of the file beside; one of its own lets several processes write one file.

    Raises:
        RunError: the disk is full, or the folder cannot be written to. What stood there still stands.
    """
    beside = path.with_name(f".{path.name}.{mark}")
    try:
        with beside.open("wb") as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())
        beside.replace(path)
        if os.name == "posix":  # the rename itself reaches the disk with the folder
            folder = os.open(path.parent, os.O_RDONLY)
            try:
                os.fsync(folder)
            finally:
                os.close(folder)
    except OSError as error:
        raise RunError(f"{path}: cannot be written: {error.strerror or error}") from None
    finally:
        beside.unlink(missing_ok=True)
