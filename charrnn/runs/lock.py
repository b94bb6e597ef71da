"""One trainer at a time: a lock on a run's folder that goes with its process, however that ends."""

import os
import re
import stat
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Self

from charrnn.errors import RunError

if sys.platform == "win32":
    import msvcrt
else:
    import fcntl

LOCK = ".lock"
LOOKS = 25  # at the file, for the number of the process that has it
SIGNED = re.compile(rb"(?:([0-9]{1,10})\n)?")  # what a lock holds: a process number, or nothing
LOCKED_BYTE = 1024  # where Windows locks the file: past the process number, which stays readable


def is_held(run: Path) -> bool:
    """Whether a process trains in a folder. Nothing is made or changed there."""
    path, flags = run / LOCK, os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
    try:
        if not stat.S_ISREG(path.lstat().st_mode):
            return False
        descriptor = os.open(path, flags)
    except OSError:
        return False
    try:
        signed = SIGNED.fullmatch(os.read(descriptor, 16))
        if not signed or not signed[1]:
            return False  # released; the lock is not tried, so that no trainer finds it taken
        if sys.platform == "win32":
            os.lseek(descriptor, LOCKED_BYTE, os.SEEK_SET)
            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
            os.lseek(descriptor, LOCKED_BYTE, os.SEEK_SET)
            msvcrt.locking(descriptor, msvcrt.LK_UNLCK, 1)
        else:
            fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        return False
    except BlockingIOError:
        return True
    except OSError as error:
        return isinstance(error, PermissionError)  # as Windows says it
    finally:
        os.close(descriptor)


class Lock:
    """Held by the one process that trains in a folder, whose number stands in the file.

    Attributes:
        is_ours: whether the file is that of a trainer; one of another program is locked, and left as it is.
    """

    def __init__(self, run: Path):
        self.path = run / LOCK

    def __enter__(self) -> Self:
        """Take the lock, or raise a RunError that says why it cannot be had."""
        self._take()
        while not self.is_current():  # whoever held it has removed it meanwhile
            os.close(self._descriptor)
            self._take()
        self.is_ours = self._is_ours()
        self._sign(f"{os.getpid()}\n")
        return self

    def __exit__(self, *error: object) -> None:
        self._sign("")
        os.close(self._descriptor)

    def is_current(self) -> bool:
        """Whether the folder is still the one that was locked: it may have been deleted, or replaced."""
        try:
            return os.path.samestat(os.fstat(self._descriptor), self.path.lstat())
        except OSError:
            return False

    def check(self) -> None:
        """Raise a RunError unless the folder is still the one that was locked."""
        if not self.is_current():
            raise RunError(
                f"{self.path.parent}: was deleted or replaced while training in it; nothing more is written"
            )

    def _take(self) -> None:
        run = self.path.parent
        flags = os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
        try:
            self._descriptor = os.open(self.path, flags, 0o666)
        except OSError as error:
            raise RunError(f"{run}: cannot be written: {error.strerror}") from None
        try:
            if not stat.S_ISREG(os.fstat(self._descriptor).st_mode):
                raise RunError(f"{self.path}: not a plain file. Remove it, or name another folder with `out`")
            if sys.platform == "win32":
                os.lseek(self._descriptor, LOCKED_BYTE, os.SEEK_SET)
                msvcrt.locking(self._descriptor, msvcrt.LK_NBLCK, 1)
            else:
                fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            holder, is_ours = self._holder(), self._is_ours()
            os.close(self._descriptor)
            if isinstance(error, BlockingIOError | PermissionError):
                raise RunError(
                    f"{run}: another process is training there{holder}. Wait for it, or name another folder "
                    "with `out`"
                ) from None
            if is_ours:  # and nobody can hold it
                self.path.unlink(missing_ok=True)
            raise RunError(
                f"{run}: this disk cannot lock files ({error.strerror}), and without a lock two trainers "
                "could write there at once. Name a folder on a local disk with `out`"
            ) from None
        except RunError:
            os.close(self._descriptor)
            raise

    def _holder(self) -> str:
        """The number of the process that has the lock, in words; empty if the file holds anything else."""
        with suppress(OSError):
            for _ in range(LOOKS):
                os.lseek(self._descriptor, 0, os.SEEK_SET)
                signed = SIGNED.fullmatch(os.read(self._descriptor, 16))
                if signed and signed[1]:
                    return f" (process {int(signed[1])})"
                time.sleep(0.02)  # whoever has just taken the lock has yet to write its number
        return ""

    def _is_ours(self) -> bool:
        """Whether the file is one that a trainer made: under another name it may be anybody's."""
        with suppress(OSError):
            os.lseek(self._descriptor, 0, os.SEEK_SET)
            signed = SIGNED.fullmatch(os.read(self._descriptor, 16))
            return signed is not None and os.fstat(self._descriptor).st_nlink == 1
        return False

    def _sign(self, text: str) -> None:
        with suppress(OSError):  # only a message would be the poorer for it
            if self.is_ours:
                os.ftruncate(self._descriptor, 0)
                os.lseek(self._descriptor, 0, os.SEEK_SET)
                os.write(self._descriptor, text.encode())
