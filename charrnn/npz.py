"""Files of a run, read without trusting them; arrays written so that any damage is noticed.

An npz file ends in the SHA-256 of all that stands before it, in its zip comment; one that does not agree is
refused. It holds plain arrays only, no pickles, and its sizes are checked before memory is taken.
"""

import hashlib
import math
import os
import stat
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import BinaryIO

import numpy as np

from charrnn.errors import RunError
from charrnn.files import write_whole
from charrnn.layers import Array

CHECKSUM = b"sha256:"  # and 64 hexadecimal digits, the last bytes of an npz file
NPZ_BYTES = 2**34  # the largest file that is read
MEMBERS = 2000  # 100 layers with 4 arrays each, and as many of two moments
DIRECTORY_BYTES = 2**20  # of the zip directory that lists them
END_RECORD = 22  # bytes, before the comment
ZIP64_RECORDS = 20  # bytes, before those: where a directory of its own size is announced


def open_plain(path: Path, limit: int) -> BinaryIO:
    """Open a file of a run for reading.

    Raises:
        RunError: it is missing, larger than ``limit`` bytes, not a regular file, or a link out of the folder.
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
    except (OSError, ValueError, RuntimeError) as error:  # the last two: a name with NUL, links in a circle
        raise RunError(f"{path}: cannot be read: {getattr(error, 'strerror', None) or error}") from None


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


def ends_in_checksum(path: Path) -> bool:
    """Whether the file was written by ``write_arrays``, whole or damaged since, by its last bytes."""
    try:
        with open_plain(path, NPZ_BYTES) as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - 64 - len(CHECKSUM)))
            return file.read(len(CHECKSUM)) == CHECKSUM
    except (OSError, RunError):
        return False


def text_in(arrays: Mapping[str, Array], name: str, limit: int) -> str:
    """The string in an array of one, of at most ``limit`` characters; what is no character is replaced."""
    array = arrays.get(name)
    if array is None or array.dtype.kind != "U" or array.shape != () or array.dtype.itemsize > 4 * limit:
        raise RunError(f"{name} is {_form_of(array)}, expected a string of at most {limit:,} characters")
    codec = "utf-32-be" if array.dtype.str.startswith(">") else "utf-32-le"
    return array.tobytes().decode(codec, "replace").rstrip("\0")


def count_in(arrays: Mapping[str, Array], name: str) -> int:
    """The whole number in an array of one, from 0 and below 2**63."""
    array = arrays.get(name)
    if array is None or array.dtype.kind not in "iu" or array.shape != () or not 0 <= int(array) < 2**63:
        raise RunError(f"{name} is {_form_of(array)}, expected one whole number from 0")
    return int(array)


def _form_of(array: Array | None) -> str:
    return "missing" if array is None else f"{array.dtype} {array.shape}"


def _sha256(file: BinaryIO, size: int) -> bytes:
    """The SHA-256 of the first ``size`` bytes of a file, in hexadecimal."""
    digest = hashlib.sha256()
    file.seek(0)
    while size > 0 and (piece := file.read(min(size, 2**20))):
        digest.update(piece)
        size -= len(piece)
    return digest.hexdigest().encode()


def _members(file: BinaryIO, size: int) -> dict[str, Array]:
    """The arrays of an open npz file of ``size`` bytes; a ValueError if they claim to hold more."""
    _check_directory(file, size)
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


def _check_directory(file: BinaryIO, size: int) -> None:
    """Raise a ValueError if the directory is longer than ours can be: zipfile reads all of it into memory."""
    file.seek(max(0, size - 64 - len(CHECKSUM) - END_RECORD - ZIP64_RECORDS))
    end = file.read(ZIP64_RECORDS + END_RECORD)
    large = end.startswith(b"PK\6\7") and size < 2**32  # only a file past 4 GB has need of it
    if large or (int.from_bytes(end[-10:-6], "little") > DIRECTORY_BYTES and size < 2**32):
        raise ValueError("a directory of more members than are read")
