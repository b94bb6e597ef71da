"""metrics.jsonl: a line of JSON for each logged step, counted by the save that comes after it."""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import BinaryIO

from charrnn.errors import RunError

METRICS = "metrics.jsonl"
METRICS_BYTES = 2**30  # the largest file that is read


class Metrics:
    """The file of a run, written in place, so never through a link."""

    def __init__(self, run: Path):
        self.path = run / METRICS

    def append(self, record: Mapping[str, object]) -> None:
        """Add a line; the file must exist."""
        try:
            with self._open(os.O_WRONLY | os.O_APPEND, "ab") as file:
                file.write(json.dumps(record).encode() + b"\n")
        except OSError as error:
            raise self._failed(error) from None

    @property
    def size(self) -> int:
        """Of the file, in bytes."""
        try:
            return self.path.lstat().st_size
        except OSError as error:
            raise self._failed(error) from None

    def flush(self) -> int:
        """Flush the file to disk. Returns: its size in bytes."""
        try:
            with self._open(os.O_RDWR, "r+b") as file:
                os.fsync(file.fileno())
                return os.fstat(file.fileno()).st_size
        except OSError as error:
            raise self._failed(error) from None

    def cut(self, size: int) -> bool:
        """Cut the file back to ``size`` bytes, what a save has counted; make it if it does not exist.

        Returns: whether it had them, up to the end of a line; if not, the torn line at least is cut off.
        """
        try:
            with self._open(os.O_RDWR | os.O_CREAT, "r+b") as file:
                if os.fstat(file.fileno()).st_nlink > 1:
                    raise RunError(
                        f"{self.path}: has a second name (a hard link), so to write to it would change that "
                        "file too. Make it one of its own, or resume a copy of the folder"
                    )
                found = file.seek(0, os.SEEK_END)
                end = min(size, found)
                tail = min(end, 2**16)
                file.seek(end - tail)
                whole = file.read(tail).rfind(b"\n") + 1
                file.truncate(end - tail + whole)
                file.flush()
                os.fsync(file.fileno())
                return found >= size and whole == tail
        except OSError as error:
            raise self._failed(error) from None

    def _open(self, flags: int, mode: str) -> BinaryIO:
        """The file itself, not what a link in its place leads to; a pipe fails at once."""
        safe = [getattr(os, name, 0) for name in ("O_NOFOLLOW", "O_NONBLOCK", "O_BINARY")]
        return os.fdopen(os.open(self.path, flags | safe[0] | safe[1] | safe[2], 0o666), mode)  # type: ignore[return-value]

    def _failed(self, error: OSError) -> RunError:
        return RunError(f"{self.path}: cannot be written: {error.strerror or error}")
