"""Reading: from what a user names (files, folders, pipes) to pieces of bytes and of text.

A text may be larger than memory, so it is never held whole. It is read in pieces: decompressed, hashed,
decoded, and kept in a ``Spool`` until all its characters are known.
"""

import bz2
import codecs
import gzip
import hashlib
import io
import lzma
import math
import os
import re
import stat
import sys
import tempfile
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from dataclasses import dataclass
from fnmatch import fnmatch
from io import BufferedReader
from itertools import chain
from pathlib import Path, PurePath
from types import TracebackType
from typing import Any, Self, cast

import numpy as np
from numpy.typing import NDArray

from charrnn.errors import AnotherTextError, ConfigError, RunError, TextError

Symbols = NDArray[np.unsignedinteger]  # code points or bytes, as narrow as they allow

# progress("reading", bytes in all or None) is a context; its value is called with the bytes of each piece
Progress = Callable[[str, int | None], AbstractContextManager[Callable[[int], object]]]

STDIN = "-"
PIECE = 2**18  # bytes; small enough for a core's own cache, where larger pieces are slower
IN_MEMORY = 2**23  # bytes of a spool; a larger one is on disk
LONGEST_PATTERN = 1000  # characters: each part is compared with each file's name
HOST_NAMES = "idna", "punycode"  # codecs for short names, whose time grows with the square of a text's length
BYTE_ORDER_MARK = "\ufeff"
BYTE_ORDER_MARKS = {
    "utf-16": (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE),
    "utf-32": (codecs.BOM_UTF32_LE, codecs.BOM_UTF32_BE),
}
COMPRESSED: dict[str, tuple[bytes, Callable[..., Any]]] = {  # suffix: first bytes, reader
    ".gz": (rb"\x1f\x8b\x08", gzip.open),
    ".bz2": (rb"BZh[1-9](1AY&SY|\x17rE8P\x90)", bz2.open),
    ".xz": (rb"\xfd7zXZ\x00", lzma.open),
}


def silent(what: str, total: int | None) -> AbstractContextManager[Callable[[int], object]]:
    """Show nothing: the default Progress."""
    return nullcontext(lambda n: None)


# -- what is named ----------------------------------------------------------------------------------


def find_files(paths: Iterable[str | Path], glob: str = "*.txt") -> list[Path | str]:
    """List the files that ``paths`` name, folders searched with ``glob``; sorted, each once.

    The word ``-`` is standard input and comes first; a file of that name is ``Path("-")``.
    """
    files: set[Path] = set()
    stdin = False
    for name in paths:
        path = Path(name)
        if name == STDIN:
            stdin = True
        elif path.is_dir():
            found = set(files_in(path, glob))
            if not found:
                raise TextError(f"{path}: no file in this folder matches {glob!r:.200}. See `glob`")
            files |= found
        elif path.is_file() or path.is_fifo():
            files.add(path)
        elif path.exists():
            raise TextError(f"{path}: a device or a socket; expected a file, a pipe or a folder")
        else:
            raise TextError(f"{path}: no such file or folder")
    if not files and not stdin:
        raise TextError("no text given: name at least one file or folder")
    return [*([STDIN] if stdin else []), *sorted(files)]


def files_in(folder: Path, glob: str, *, links: bool = True) -> Iterator[Path]:
    """Find the files whose path below ``folder`` matches ``glob``; in it, ``**`` is any number of folders.

    Each folder is listed once at most, whatever the pattern; a link to a folder is not followed. (Path.glob
    follows some, and takes exponential time with several ``**``.) ``links`` to files are.
    """
    parts, is_long = PurePath(glob).parts, len(glob) > LONGEST_PATTERN
    if is_long or not parts or PurePath(glob).anchor or any("**" in part and part != "**" for part in parts):
        raise ConfigError(
            f"`glob` {glob!r:.200}: expected a pattern for the files of a folder, as *.txt or **/*.md"
        )

    def ahead(places: set[int]) -> set[int]:
        """Add to the places in the pattern those past a ``**``, which may be no folder at all."""
        for i, part in enumerate(parts):
            if i in places and part == "**":
                places.add(i + 1)
        return places - {len(parts)}

    folders = [(str(folder), ahead({0}))]
    while folders:
        path, places = folders.pop()
        try:
            entries = list(os.scandir(path))
        except PermissionError:
            continue
        for entry in entries:
            matched = {i for i in places if parts[i] != "**" and fnmatch(entry.name, parts[i])}
            if len(parts) - 1 in matched and entry.is_file(follow_symlinks=links):
                yield Path(entry.path)
            below = ahead({i + 1 for i in matched} | {i for i in places if parts[i] == "**"})
            if below and entry.is_dir(follow_symlinks=False):
                folders.append((entry.path, below))


def corpus_name(paths: Sequence[str | Path]) -> str:
    """Make a short name: the one file's without its suffixes, the one folder's, or the first one's folder's.

    Pipes have no name; a text that came through them alone is called stdin.
    """
    named = sorted(Path(path) for path in paths if path != STDIN and not Path(path).is_fifo())
    if not named:
        return "stdin"
    first = named[0].resolve()
    if len(named) > 1:
        first = first.parent
    if first.is_dir():
        return first.name or "text"
    return Path(first.stem).stem if first.suffix in COMPRESSED else first.stem


def can_be_read_again(source: Path | str) -> bool:
    """Tell a file from standard input and other pipes."""
    return isinstance(source, Path) and source.is_file()


# -- bytes ------------------------------------------------------------------------------------------


def read_file(path: Path) -> bytes:
    """Read the bytes of a file."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise TextError(f"{path}: cannot be read: {error.strerror}") from None


def read_pieces(source: Path | str) -> Iterator[bytes]:
    """Read a file or standard input in pieces of bytes; a compressed one is decompressed.

    Compression is recognised by the first bytes, since a pipe has no name and a name can be wrong; but what
    is named .gz, .bz2 or .xz must be that.
    """
    where, kind = describe(source), ""
    try:
        with opened(source) as file:
            begins = file.peek(16)
            if not begins:
                return  # at a terminal, reading again would wait for a second Ctrl-D; so below
            kinds = [ending for ending, (magic, _) in COMPRESSED.items() if re.match(magic, begins)]
            if not kinds and isinstance(source, Path) and source.suffix in COMPRESSED:
                kinds = [source.suffix]
            if not kinds:
                size = PIECE
                while len(piece := file.read(size)) == size:
                    yield piece
                if piece:
                    yield piece
                return
            kind = kinds[0]
            with COMPRESSED[kind][1](file) as content:
                while piece := content.read(PIECE):
                    yield piece
    except (EOFError, OSError, MemoryError, zlib.error, lzma.LZMAError) as error:
        if isinstance(error, OSError) and error.strerror:
            raise TextError(f"{where}: cannot be read: {error.strerror}") from None
        reason = str(error) or "not enough memory"
        raise TextError(f"{where}: not a whole {kind} file: {reason}") from None


def opened(source: Path | str) -> AbstractContextManager[BufferedReader]:
    """Open a file; standard input is open already, and stays so."""
    if isinstance(source, Path):
        return source.open("rb")
    if sys.stdin is None or sys.stdin.closed:
        raise TextError("-: standard input is closed")
    with suppress(io.UnsupportedOperation):  # of a stream that is no file
        if stat.S_ISCHR(os.fstat(sys.stdin.fileno()).st_mode) and not sys.stdin.isatty():
            raise TextError("-: standard input is a device; expected a file, a pipe or a terminal")
    return nullcontext(cast(BufferedReader, sys.stdin.buffer))


def describe(source: Path | str) -> str:
    """Name a source in a message."""
    return "standard input" if source == STDIN else str(source)


# -- text -------------------------------------------------------------------------------------------


def check_encoding(encoding: str) -> str:
    """Find the codec's own name for an encoding of text."""
    try:
        codecs.getincrementaldecoder(encoding)
        name = codecs.lookup(encoding).name
        if name in HOST_NAMES:
            raise LookupError
        with suppress(UnicodeError):
            b"a".decode(encoding)  # a codec from bytes to bytes refuses
    except (LookupError, ValueError):
        raise ConfigError(
            f"`encoding`: {encoding!r:.200} is not a text encoding; try utf-8, utf-16, latin-1 or cp1252"
        ) from None
    return name


def decode(blob: bytes, encoding: str, where: str) -> str:
    """Decode ``blob``, which errors call ``where``."""
    return "".join(decode_pieces([blob], encoding, where))


def decode_pieces(pieces: Iterable[bytes], encoding: str, where: str) -> Iterator[str]:
    """Decode pieces of bytes; a character may begin in one and end in the next.

    An error says at which byte of the whole.
    """
    codec = check_encoding(encoding)
    pieces, head, end = iter(pieces), b"", 0
    if codec in BYTE_ORDER_MARKS:
        while len(head) < 4 and (piece := next(pieces, b"")):
            head += piece
        if not head.startswith(BYTE_ORDER_MARKS[codec]):  # this machine's order, as bytes.decode has it
            codec += "-le" if sys.byteorder == "little" else "-be"
    decoder = codecs.getincrementaldecoder(codec)()
    try:
        for piece in chain([head], pieces):
            end += len(piece)
            yield decoder.decode(piece)
        yield decoder.decode(b"", final=True)
    except UnicodeDecodeError as error:  # error.object may begin before the piece; it ends with it
        offset = end - len(error.object) + error.start
        byte = "".join(f" 0x{byte:02x}" for byte in error.object[error.start : error.start + 1])
        raise TextError(
            f"{where}: not {encoding}: byte{byte} at offset {offset:,} "
            f"({error.reason}). Name the text's `encoding`, or use `bytes`"
        ) from None
    except UnicodeError as error:
        raise TextError(
            f"{where}: not {encoding}: {error}. Name the text's `encoding`, or use `bytes`"
        ) from None


def code_points(text: str) -> Symbols:
    """Unicode code points of ``text``, (n,), as uint8, uint16 or uint32: the narrowest that holds them."""
    with suppress(UnicodeEncodeError):
        return np.frombuffer(text.encode("latin-1"), np.uint8)
    units = np.frombuffer(text.encode("utf-16-le", "surrogatepass"), "<u2")
    if len(units) == len(text):  # no character took two
        return units
    return np.frombuffer(text.encode("utf-32-le", "surrogatepass"), "<u4")


@dataclass(frozen=True)
class Origin:
    """What a text was read from, and how: the same origin, the same characters.

    Attributes:
        sha256: hash of the bytes of all files, joined, in hexadecimal.
        sizes: of each file, in bytes, decompressed.
        encoding: the codec's name; None for a vocabulary of bytes.
    """

    sha256: str
    sizes: tuple[int, ...]
    encoding: str | None

    @property
    def size(self) -> int:
        """Of all files, in bytes."""
        return sum(self.sizes)

    def must_be(self, sha256: str | None, where: str) -> None:
        """Refuse a text that does not have the hash ``sha256``, if one is given."""
        if sha256 not in (None, self.sha256):
            raise AnotherTextError(f"{where}: another text than expected, by its SHA-256 {self.sha256[:12]}…")


class Spool:
    """The symbols of a text, in order, kept until all of them are known; a context manager.

    A small text is kept in memory, a large one in a file without a name, which ends with the process.

    Attributes:
        seen: (0x110000,) booleans: the code points that the text has.
        pieces: dtype and length of each piece.
    """

    def __init__(self, folder: Path | None):
        """Keep the file in ``folder``, or where the system has its temporary files."""
        self.seen = np.zeros(sys.maxunicode + 1, bool)
        self.pieces: list[tuple[np.dtype[Any], int]] = []
        self._folder = folder
        self._file = tempfile.SpooledTemporaryFile(IN_MEMORY, dir=str(folder) if folder else None)  # noqa: SIM115  # closed on exit

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        with suppress(OSError):  # closing writes: what could not be written was reported, or is not needed
            self._file.close()

    def __len__(self) -> int:
        """How many symbols there are."""
        return sum(length for _, length in self.pieces)

    @property
    def size(self) -> int:
        """In bytes."""
        return sum(dtype.itemsize * length for dtype, length in self.pieces)

    def add(self, symbols: Symbols) -> None:
        """Append a piece."""
        self.seen[symbols] = True
        self.pieces.append((symbols.dtype, len(symbols)))
        with self._writing():
            self._file.write(symbols.tobytes())

    def __iter__(self) -> Iterator[Symbols]:
        """The pieces as they were added."""
        with self._writing():
            self._file.seek(0)
        for dtype, length in self.pieces:
            yield np.frombuffer(self._file.read(dtype.itemsize * length), dtype)

    @contextmanager
    def _writing(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            folder = tempfile.gettempdir() if self._folder is None else self._folder
            raise RunError(f"{folder}: the text cannot be kept here: {error.strerror or error}") from None


class Tally:
    """The hash of the bytes that have been read, and their number in each file.

    Attributes:
        limit: bytes that the whole text may have.
    """

    def __init__(self, limit: float = math.inf):
        self.digest, self.sizes, self.limit = hashlib.sha256(), list[int](), limit
        self._size = 0

    def pieces(self, source: Path | str, done: Callable[[int], object]) -> Iterator[bytes]:
        """Read a file in pieces, and count them."""
        self.sizes.append(0)
        for piece in read_pieces(source):
            self.digest.update(piece)
            self.sizes[-1] += len(piece)
            self._size += len(piece)
            if self._size > self.limit:
                raise AnotherTextError(f"{describe(source)}: more than the {self.limit:,} bytes expected")
            done(len(piece))
            yield piece


def read_text(
    sources: Sequence[Path | str],
    encoding: str | None,
    progress: Progress,
    spool: Spool | None = None,
    limit: int | None = None,
) -> tuple[Origin, list[str]]:
    """Read files to their end, up to ``limit`` bytes; keep their symbols in ``spool`` if one is given.

    Returns: what was read, and notes for the user.
    """
    tally, notes = Tally(math.inf if limit is None else limit), list[str]()
    with progress("checking" if spool is None else "reading", size_on_disk(sources)) as done:
        for source in sources:
            pieces = tally.pieces(source, done)
            if spool is None:
                for _ in pieces:
                    pass
            else:
                for symbols in symbols_of(pieces, encoding, describe(source), notes):
                    spool.add(symbols)
    return Origin(tally.digest.hexdigest(), tuple(tally.sizes), encoding), notes


def size_on_disk(sources: Sequence[Path | str]) -> int | None:
    """Count the bytes to read; None where only reading tells."""
    files = [source for source in sources if isinstance(source, Path) and source.suffix not in COMPRESSED]
    if len(files) < len(sources) or not all(map(can_be_read_again, files)):
        return None
    return sum(file.stat().st_size for file in files)


def symbols_of(
    pieces: Iterable[bytes], encoding: str | None, where: str, notes: list[str]
) -> Iterator[Symbols]:
    """Turn pieces of bytes into symbols, (n,) each: the bytes, or the text's code points.

    A byte-order mark at the start is dropped from a text, and noted.
    """
    if encoding is None:
        yield from (np.frombuffer(piece, np.uint8) for piece in pieces)
        return
    texts = decode_pieces(pieces, encoding, where)
    first = next(filter(None, texts), "")
    if first.startswith(BYTE_ORDER_MARK):
        first = first[1:]
        notes.append(f"{where}: a byte-order mark at the start was dropped")
    yield code_points(first)
    yield from map(code_points, texts)
