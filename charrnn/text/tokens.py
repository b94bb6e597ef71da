"""Token files: an encoded text on disk, checked whenever it is used, and mapped into memory.

    a line of JSON      what it was made from and how, and the vocabulary; padded with spaces to 64 bytes
    the ids             1, 2 or 4 bytes each, little-endian
    32 bytes            the SHA-256 of all that stands before

A token file that was torn, cut or changed no longer has its own hash, and may be replaced. A file that is no
token file is never replaced by one, and no link, pipe or device is opened in place of one.
"""

import hashlib
import json
import mmap
import os
import re
import stat
import time
import uuid
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import asdict, fields
from pathlib import Path
from typing import Annotated, Any, BinaryIO, Literal, NamedTuple, Self

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, model_validator

from charrnn.config import SEPARATOR_LENGTH
from charrnn.errors import RunError, TextError
from charrnn.files import write_whole
from charrnn.text.cleaning import Found
from charrnn.text.reading import PIECE, Origin, Reading, ReadingProgress, silent
from charrnn.text.vocabulary import Tokens, Vocabulary

TOKENS = "tokens.bin"  # its name in the folder of a run
FORMAT = "charrnn tokens 2"
BEGINNING = b'{"format": "charrnn tokens '  # of a token file of any version
ALIGNED = 64
LONGEST_HEADER = 2_000_000  # bytes
HASH = 32  # bytes
ABANDONED = 86_400  # seconds since a temporary file was written to


class Header(BaseModel):
    """The first line of a token file; one of version 0.1 lacks how the text was cleaned."""

    model_config = ConfigDict(strict=True, extra="forbid")

    format: Literal["charrnn tokens 1", "charrnn tokens 2"]
    count: int = Field(ge=1, lt=2**60)
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    sizes: tuple[Annotated[int, Field(ge=0, lt=2**60)], ...]
    encoding: str | None
    newlines: Literal["keep", "lf"] = "keep"
    normalize: Literal["none", "nfc"] = "none"
    min_count: int = Field(default=1, ge=1, lt=2**63)
    between: str = Field(default="", max_length=1)
    documents: str = Field(default="", max_length=SEPARATOR_LENGTH)
    val_file: bool = False
    test_file: bool = False
    found: Found | None = None
    symbols: list[Annotated[int, Field(ge=0, le=0x10FFFF)]]

    @model_validator(mode="after")
    def _parts_are_known(self) -> Self:
        cuts = self.found.cuts if self.found else ()
        ascending = sorted([0, *cuts, self.count]) == [0, *cuts, self.count]
        if len(cuts) != self.val_file + self.test_file or not ascending:
            raise ValueError("cuts: not where the parts begin")
        return self

    @property
    def origin(self) -> Origin:
        """What the text was read from, and how."""
        names = (field.name for field in fields(Reading))
        return Origin(self.sha256, self.sizes, Reading(**{name: getattr(self, name) for name in names}))


def token_file_name(sha256: str, reading: Reading) -> str:
    """Name the token file of a text in a folder of several."""
    return f"{sha256[:32]}.{reading.words}.bin"


def place(cache: Path, origin: Origin) -> Path:
    """Find the token file of a text: ``cache`` itself, or a file in it that is named after the hash."""
    if cache.name != TOKENS and cache.is_dir():
        return cache / token_file_name(origin.sha256, origin.reading)
    return cache  # of a run: whatever is in its place


def nearest_folder(cache: Path) -> Path:
    """Find the folder that a cache is or will be in, or the nearest one above that exists."""
    return next(path for path in (cache.absolute(), *cache.absolute().parents) if path.is_dir())


def has_header(origin: Origin, vocabulary: Vocabulary, found: Found | None) -> bool:
    """Say whether the header of this text's token file is short enough to be read again."""
    return len(first_line(origin, vocabulary, 2**59, found)) <= LONGEST_HEADER


def first_line(origin: Origin, vocabulary: Vocabulary, count: int, found: Found | None) -> bytes:
    """Make the header of a token file."""
    header = {"format": FORMAT, "count": count, "sha256": origin.sha256, "sizes": origin.sizes}
    header |= {**asdict(origin.reading), "found": found and found.model_dump()}
    line = json.dumps(header | {"symbols": vocabulary.symbols.tolist()}).encode()
    return line + b" " * (-(len(line) + 1) % ALIGNED) + b"\n"


def write(
    path: Path,
    origin: Origin,
    vocabulary: Vocabulary,
    ids: Iterable[Tokens],
    count: int,
    found: Found | None = None,
) -> Tokens:
    """Write a text's ids, ``count`` of them in pieces, whole or not at all; an older token file is replaced.

    Returns: (count,) the ids, mapped into memory: those written here, even if another process replaces them.
    """
    must_be_replaceable(path)
    line = first_line(origin, vocabulary, count, found)
    dtype = vocabulary.dtype.newbyteorder("<")
    mapped: list[Tokens] = []

    def put(file: BinaryIO) -> None:
        digest = hashlib.sha256(line)
        file.write(line)
        for piece in ids:
            blob = piece.astype(dtype, copy=False).tobytes()
            digest.update(blob)
            file.write(blob)
        file.write(digest.digest())
        file.flush()
        if os.name == "posix":  # elsewhere a mapped file cannot be renamed
            mapped.append(np.memmap(file, dtype, "r", len(line), (count,)))

    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RunError(f"{path.parent}: cannot be written: {error.strerror}") from None
    write_whole(path, put, f"{uuid.uuid4().hex}.new")  # several processes may write it at once
    temporary = re.compile(rf"\.{re.escape(path.name)}\.[0-9a-f]{{32}}\.new")
    with suppress(OSError):
        for old in path.parent.iterdir():  # of writers that were killed
            if temporary.fullmatch(old.name) and time.time() - old.lstat().st_mtime > ABANDONED:
                old.unlink()
    return mapped[0] if mapped else read(path, silent, origin.__eq__).tokens


def must_be_replaceable(path: Path) -> None:
    """Refuse to write a token file in place of anything but a token file, whole or damaged."""
    try:
        with opened(path) as file:
            if file.read(len(BEGINNING)) == BEGINNING:
                return
    except FileNotFoundError:
        return
    except OSError as error:
        raise RunError(f"{path}: cannot be read: {error.strerror or error}") from None
    except ValueError:
        pass
    raise RunError(
        f"{path}: is not a token file, so the encoded text does not replace it. Move it away, or choose "
        "another folder with `out` or `cache_dir`"
    )


def opened(path: Path) -> BinaryIO:
    """Open a regular file; a ValueError if there is a link, a pipe, a device or a folder in its place."""
    if stat.S_ISREG(path.lstat().st_mode):  # opening a device may do something already
        flags = os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
        file = os.fdopen(os.open(path, flags | getattr(os, "O_BINARY", 0)), "rb")
        if stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            return file
        file.close()
    raise ValueError("not a regular file")


class TokenFile(NamedTuple):
    """What is in a token file."""

    origin: Origin
    vocabulary: Vocabulary
    tokens: Tokens  # (n,), mapped into memory
    found: Found | None  # in the text, as it was read


def read(
    path: Path, progress: ReadingProgress, fits: Callable[[Origin], bool] = lambda origin: True
) -> TokenFile:
    """Read a token file.

    Arguments:
        fits: whether a text of that origin is wanted; if not, its ids are not read.
    """
    try:
        with opened(path) as file:
            line = file.readline(LONGEST_HEADER)
            if not line.endswith(b"\n"):
                raise ValueError("no header")
            header = Header.model_validate_json(line)
            vocabulary = Vocabulary(np.array(header.symbols, np.uint32 if header.encoding else np.uint8))
            if header.encoding is None and len(vocabulary) != 256:
                raise ValueError("not all bytes")
            ids = vocabulary.dtype.newbyteorder("<")
            rest = header.count * ids.itemsize
            if os.fstat(file.fileno()).st_size != len(line) + rest + HASH:
                raise ValueError("another length")
            if not fits(header.origin):
                raise RunError(f"{path}: made from another text, or read in another way")
            digest = hashlib.sha256(line)
            with progress("checking", rest) as done:
                while rest:
                    piece = file.read(min(PIECE, rest))
                    if np.frombuffer(piece, ids).max() >= len(vocabulary):
                        raise ValueError("an id beyond the vocabulary")
                    digest.update(piece)
                    rest -= len(piece)
                    done(len(piece))
            if file.read(HASH + 1) != digest.digest():
                raise ValueError("another hash")
            tokens = np.memmap(file, ids, "r", len(line), (header.count,))
            return TokenFile(header.origin, vocabulary, tokens, header.found)
    except OSError as error:
        raise RunError(f"{path}: cannot be read: {error.strerror or error}") from None
    except (TextError, ValueError, OverflowError):
        raise RunError(f"{path}: damaged: not a whole file of an encoded text") from None


def look_up(
    cache: Path, origin: Origin, vocabulary: Vocabulary | None, notes: list[str], progress: ReadingProgress
) -> TokenFile | None:
    """Find the tokens of a text in a cache; a note says why what is there is replaced."""
    path = place(cache, origin)
    if not os.path.lexists(path):
        return None
    try:
        file = read(path, progress, origin.__eq__)
    except RunError as error:
        must_be_replaceable(path)
        notes.append(f"{error}; it is replaced")
        return None
    return file if vocabulary in (None, file.vocabulary) else None


def release(tokens: Any) -> None:
    """Release the pages of a memory-mapped text that have been read; an ordinary array is left alone.

    They would count as this process's memory until the system runs short of it. If they are read again, the
    system still has them in its page cache.
    """
    pages = getattr(getattr(tokens, "tokens", tokens), "_mmap", None)  # of documents, that of their text
    if pages is not None and hasattr(mmap, "MADV_DONTNEED"):
        pages.madvise(mmap.MADV_DONTNEED)
