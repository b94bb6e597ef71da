"""The encoded text on disk: made once, checked whenever it is used again, and mapped into memory.

    a line of JSON      what it was made from and how, and the vocabulary; padded with spaces to 64 bytes
    the ids             1, 2 or 4 bytes each, little-endian
    32 bytes            the SHA-256 of all that stands before

A file that was torn, cut or changed does not have its own hash any more, and is made anew.
"""

import hashlib
import json
import stat
import time
import uuid
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import BinaryIO

import numpy as np

from charrnn.errors import RunError, TextError
from charrnn.files import write_whole
from charrnn.text.reading import PIECE, Origin, Progress
from charrnn.text.vocabulary import Tokens, Vocabulary

TOKENS = "tokens.bin"  # its name in the folder of a run
FORMAT = "charrnn tokens 1"
ALIGNED = 64
LONGEST_HEADER = 2**26
HASH = 32  # bytes
ABANDONED = 86_400  # seconds since anything was written to it


def place(cache: Path, sha256: str, encoding: str | None) -> Path:
    """The file itself; or in a folder, the file of that text, named after its hash."""
    if cache.name == TOKENS:  # of a run, whatever has been put in its place
        return cache
    return cache / f"{sha256[:32]}.{encoding or 'bytes'}.bin" if cache.is_dir() else cache


def nearest_folder(cache: Path) -> Path:
    """The folder it is in, or will be; the nearest one above that there is."""
    return next(path for path in (cache.absolute(), *cache.absolute().parents) if path.is_dir())


def write(path: Path, origin: Origin, vocabulary: Vocabulary, ids: Iterable[Tokens], count: int) -> None:
    """Write a text's ids, ``count`` of them in pieces, whole or not at all.

    Raises:
        RunError: the disk is full, or the folder cannot be written to.
    """
    header = {"format": FORMAT, "count": count, **asdict(origin)}
    header["symbols"] = vocabulary.symbols.tolist()
    line = json.dumps(header).encode()
    line += b" " * (-(len(line) + 1) % ALIGNED) + b"\n"
    dtype = vocabulary.dtype.newbyteorder("<")

    def put(file: BinaryIO) -> None:
        digest = hashlib.sha256(line)
        file.write(line)
        for piece in ids:
            blob = piece.astype(dtype, copy=False).tobytes()
            digest.update(blob)
            file.write(blob)
        file.write(digest.digest())

    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RunError(f"{path.parent}: cannot be written: {error.strerror}") from None
    mark = "new" if path.name == TOKENS else f"{uuid.uuid4().hex}.new"  # runs may share it, and the writing
    write_whole(path, put, mark)
    for old in path.parent.glob(f".{path.name}.*.new"):  # of writers that were killed
        with suppress(OSError):
            if time.time() - old.stat().st_mtime > ABANDONED:
                old.unlink()


def read(path: Path, progress: Progress) -> tuple[Origin, Vocabulary, Tokens]:
    """What the tokens were made from, their vocabulary, and the tokens (n,), mapped into memory.

    Raises:
        RunError: the file is missing or damaged.
    """
    try:
        if not stat.S_ISREG(path.lstat().st_mode):
            raise ValueError("a link, a pipe or a folder")
        with path.open("rb") as file:
            line = file.readline(LONGEST_HEADER)
            header = json.loads(line)
            if header["format"] != FORMAT:
                raise ValueError("another format")
            sizes = tuple(map(int, header["sizes"]))
            origin = Origin(header["sha256"], sizes, header["encoding"])
            dtype = np.uint32 if origin.encoding else np.uint8
            vocabulary = Vocabulary(np.array(header["symbols"], dtype))
            if origin.encoding is None and len(vocabulary) != 256:
                raise ValueError("not all bytes")
            ids, count = vocabulary.dtype.newbyteorder("<"), int(header["count"])
            rest = count * ids.itemsize
            if count < 1 or path.stat().st_size != len(line) + rest + HASH:
                raise ValueError("another length")
            digest = hashlib.sha256(line)
            with progress("checking", rest) as done:
                while rest:
                    piece = file.read(min(PIECE, rest))
                    if np.frombuffer(piece, ids).max() >= len(vocabulary):
                        raise ValueError("an id beyond the vocabulary")
                    digest.update(piece)
                    rest -= len(piece)
                    done(len(piece))
            if file.read() != digest.digest():
                raise ValueError("another hash")
            return origin, vocabulary, np.memmap(file, ids, "r", len(line), (count,))
    except OSError as error:
        raise RunError(f"{path}: cannot be read: {error.strerror or error}") from None
    except (TextError, ValueError, KeyError, TypeError, OverflowError, RecursionError):
        raise RunError(f"{path}: damaged: not a whole file of an encoded text") from None


def look_up(
    cache: Path, origin: Origin, vocabulary: Vocabulary | None, notes: list[str], progress: Progress
) -> tuple[Tokens, Vocabulary] | None:
    """What stands in the cache, if it fits; ``notes`` says why it does not."""
    path = place(cache, origin.sha256, origin.encoding)
    if not path.exists() and not path.is_symlink():
        return None
    try:
        made_from, found, tokens = read(path, progress)
    except RunError as error:
        notes.append(f"{error}; it is made anew")
        return None
    if made_from != origin:
        notes.append(f"{path}: was made from another text, or read in another way; it is made anew")
        return None
    return (tokens, found) if vocabulary in (None, found) else None
