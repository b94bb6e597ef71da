"""Reading: from what a user names (files, folders, standard input) to pieces of bytes and of text.

A text may be larger than memory, so it is never held whole. It is read once, in pieces: hashed,
decompressed, decoded, and kept in a ``Spool`` until all its characters are known.
"""

import bz2
import codecs
import gzip
import hashlib
import lzma
import re
import sys
import tempfile
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from dataclasses import dataclass
from io import BufferedReader
from itertools import chain
from pathlib import Path
from types import TracebackType
from typing import Any, Self, cast

import numpy as np
from numpy.typing import NDArray

from charrnn.errors import AnotherTextError, ConfigError, RunError, TextError

Symbols = NDArray[np.unsignedinteger]  # code points or bytes, as narrow as they allow

# progress("reading", total bytes or None) gives a context whose value is told of the bytes as they are done
Progress = Callable[[str, int | None], AbstractContextManager[Callable[[int], object]]]

STDIN = "-"
PIECE = 2**18  # bytes; small enough for a core's own cache, where larger pieces are slower
IN_MEMORY = 2**23  # bytes of a spool before it goes to disk
BYTE_ORDER_MARK = "\ufeff"
BYTE_ORDER_MARKS = {
    "utf-16": (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE),
    "utf-32": (codecs.BOM_UTF32_LE, codecs.BOM_UTF32_BE),
}
COMPRESSED: dict[str, tuple[bytes, Callable[..., Any]]] = {  # ending: how it begins, who reads it
    ".gz": (rb"\x1f\x8b\x08", gzip.open),
    ".bz2": (rb"BZh[1-9](1AY&SY|\x17rE8P\x90)", bz2.open),
    ".xz": (rb"\xfd7zXZ\x00", lzma.open),
}


def silent(what: str, total: int | None) -> AbstractContextManager[Callable[[int], object]]:
    """A Progress that shows nothing."""
    return nullcontext(lambda n: None)


# -- what is named ----------------------------------------------------------------------------------


def find_files(paths: Iterable[str | Path], glob: str = "*.txt") -> list[Path | str]:
    """The files that ``paths`` name, folders searched with ``glob``; sorted, each once.

    The word ``-`` is standard input, and comes first; a file of that name is ``Path("-")``.

    Raises:
        TextError: a path does not exist, or a folder has no file that matches.
    """
    files: set[Path] = set()
    stdin = False
    for name in paths:
        path = Path(name)
        if name == STDIN:
            stdin = True
        elif path.is_dir():
            try:
                found = [file for file in path.glob(glob) if file.is_file()]
            except (ValueError, NotImplementedError, IndexError) as error:
                raise ConfigError(f"--glob {glob!r}: is no pattern for file names: {error}") from None
            if not found:
                raise TextError(f"{path}: no file in this folder matches {glob!r}. See --glob")
            files.update(found)
        elif path.exists():
            files.add(path)
        else:
            raise TextError(f"{path}: no such file or folder")
    if not files and not stdin:
        raise TextError("no text given: name at least one file or folder")
    return [*([STDIN] if stdin else []), *sorted(files)]


def corpus_name(paths: Sequence[str | Path]) -> str:
    """A short name: of the one file without its endings, of the one folder, or of the first one's folder.

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
    """Whether it is a file, and not standard input or another pipe."""
    return isinstance(source, Path) and source.is_file()


# -- bytes ------------------------------------------------------------------------------------------


def read_file(path: Path) -> bytes:
    """The bytes of a file, or a TextError that says why they cannot be had."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise TextError(f"{path}: cannot be read: {error.strerror}") from None


def read_pieces(source: Path | str) -> Iterator[bytes]:
    """The bytes of a file or of standard input in pieces; those of a compressed one decompressed.

    What is compressed is told by its first bytes, for a pipe has no name and names can be wrong; and
    what is named .gz, .bz2 or .xz must be that.

    Raises:
        TextError: it cannot be read, or is a compressed file that is damaged or cut.
    """
    where, kind = describe(source), ""
    try:
        with opened(source) as file:
            begins = file.peek(16)
            if not begins:
                return  # at a terminal, to read again would wait for a second Ctrl-D; so below
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
        said = str(error) or "it takes more memory than there is"
        raise TextError(f"{where}: not a whole {kind} file: {said}") from None


def opened(source: Path | str) -> AbstractContextManager[BufferedReader]:
    """The file, or standard input, which is left open."""
    if isinstance(source, Path):
        return source.open("rb")
    if sys.stdin is None or sys.stdin.closed:
        raise TextError("-: standard input is closed")
    return nullcontext(cast(BufferedReader, sys.stdin.buffer))


def describe(source: Path | str) -> str:
    return "standard input" if source == STDIN else str(source)


# -- text -------------------------------------------------------------------------------------------


def check_encoding(encoding: str) -> str:
    """The codec's own name for an encoding of text.

    Raises:
        ConfigError: there is no such encoding.
    """
    try:
        codecs.getincrementaldecoder(encoding)
        name = codecs.lookup(encoding).name
        with suppress(UnicodeError):
            b"a".decode(encoding)  # a codec from bytes to bytes refuses
    except (LookupError, ValueError):
        raise ConfigError(
            f"--encoding: {encoding!r} is not a text encoding; try utf-8, utf-16, latin-1 or cp1252"
        ) from None
    return name


def decode(blob: bytes, encoding: str, where: str) -> str:
    """``blob`` as text.

    Raises:
        TextError: it is not in that encoding; says at which byte.
        ConfigError: there is no such encoding.
    """
    return "".join(decode_pieces([blob], encoding, where))


def decode_pieces(pieces: Iterable[bytes], encoding: str, where: str) -> Iterator[str]:
    """Pieces of bytes as pieces of text; a character may begin in one and end in the next.

    Raises:
        TextError: they are not in that encoding; says at which byte of the whole.
        ConfigError: there is no such encoding.
    """
    codec = check_encoding(encoding)
    pieces, head, end = iter(pieces), b"", 0
    if codec in BYTE_ORDER_MARKS:
        while len(head) < 4 and (piece := next(pieces, b"")):
            head += piece
        if not head.startswith(BYTE_ORDER_MARKS[codec]):  # then it is this machine's order; Python's
            codec += "-le" if sys.byteorder == "little" else "-be"  # decoder of whole texts has it so too
    decoder = codecs.getincrementaldecoder(codec)()
    try:
        for piece in chain([head], pieces):
            end += len(piece)
            yield decoder.decode(piece)
        yield decoder.decode(b"", final=True)
    except UnicodeDecodeError as error:  # its object may begin before the piece, and ends with it
        offset = end - len(error.object) + error.start
        byte = "".join(f" 0x{byte:02x}" for byte in error.object[error.start : error.start + 1])
        raise TextError(
            f"{where}: not {encoding}: byte{byte} at offset {offset:,} "
            f"({error.reason}). Name the text's --encoding, or use --bytes"
        ) from None
    except UnicodeError as error:
        raise TextError(
            f"{where}: not {encoding}: {error}. Name the text's --encoding, or use --bytes"
        ) from None


def code_points(text: str) -> Symbols:
    """The Unicode code points of ``text``, (n,), as uint8, uint16 or uint32, whichever they fit."""
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
        sha256: the hash of the bytes of all its files, joined, in hexadecimal.
        sizes: of each file, in bytes.
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
        """Raise an AnotherTextError if a hash is given and this text has another."""
        if sha256 not in (None, self.sha256):
            raise AnotherTextError(f"{where}: another text than expected, by its SHA-256 {self.sha256[:12]}…")


class Spool:
    """The symbols of a text, in order, on disk till they are all known; used as a context manager.

    Its file has no name: it is gone with the process, however that ends. A small text stays in memory.

    Attributes:
        seen: a truth value for each code point, whether the text has it.
        pieces: the dtype and the length of each piece.
    """

    def __init__(self, folder: Path | None):
        """In ``folder``, or where the system keeps such files."""
        self.seen = np.zeros(sys.maxunicode + 1, bool)
        self.pieces: list[tuple[np.dtype[Any], int]] = []
        self._folder = folder
        self._file = tempfile.SpooledTemporaryFile(IN_MEMORY, dir=str(folder) if folder else None)  # noqa: SIM115  # closed on exit

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        with suppress(OSError):  # what could not be written has been reported, or is not wanted
            self._file.close()

    def __len__(self) -> int:
        """How many symbols there are."""
        return sum(length for _, length in self.pieces)

    @property
    def size(self) -> int:
        """In bytes."""
        return sum(dtype.itemsize * length for dtype, length in self.pieces)

    def add(self, symbols: Symbols) -> None:
        """Append a piece.

        Raises:
            RunError: the disk is full.
        """
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


def read_text(
    sources: Sequence[Path | str], encoding: str | None, progress: Progress, spool: Spool | None = None
) -> tuple[Origin, list[str]]:
    """Read files to their end, and keep their symbols in ``spool`` if one is given.

    Returns: what was read, and what the user should be told of it.

    Raises:
        TextError: a file cannot be read, or is not in that encoding.
        RunError: the disk of the spool is full.
    """
    digest, sizes, notes = hashlib.sha256(), list[int](), list[str]()
    with progress("checking" if spool is None else "reading", size_on_disk(sources)) as done:
        for source in sources:
            sizes.append(0)
            pieces = tallied(source, digest, sizes, done)
            if spool is None:
                for _ in pieces:
                    pass
            else:
                for symbols in symbols_of(pieces, encoding, describe(source), notes):
                    spool.add(symbols)
    return Origin(digest.hexdigest(), tuple(sizes), encoding), notes


def size_on_disk(sources: Sequence[Path | str]) -> int | None:
    """How many bytes there are to read; None where only reading tells."""
    files = [source for source in sources if isinstance(source, Path) and source.suffix not in COMPRESSED]
    if len(files) < len(sources) or not all(map(can_be_read_again, files)):
        return None
    return sum(file.stat().st_size for file in files)


def tallied(
    source: Path | str, digest: Any, sizes: list[int], done: Callable[[int], object]
) -> Iterator[bytes]:
    """The pieces of a file, hashed into ``digest`` and counted in the last of ``sizes`` as they go by."""
    for piece in read_pieces(source):
        digest.update(piece)
        sizes[-1] += len(piece)
        done(len(piece))
        yield piece


def symbols_of(
    pieces: Iterable[bytes], encoding: str | None, where: str, notes: list[str]
) -> Iterator[Symbols]:
    """The bytes themselves, or the code points of the text they are without a byte-order mark, (n,) each."""
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
