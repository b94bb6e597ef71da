"""Reading: from what a user names (files, folders, pipes) to pieces of bytes and of text.

A text may be larger than memory, so it is never held whole. It is read in pieces: decompressed, hashed,
decoded, and kept in a ``Spool`` until all its characters are known.
"""

import bz2
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
from pathlib import Path, PurePath
from types import TracebackType
from typing import Any, Self, cast

import numpy as np
from numpy.typing import NDArray

from charrnn.errors import AnotherTextError, ConfigError, RunError, TextError, brief
from charrnn.files import bundled
from charrnn.text.cleaning import Found, clean
from charrnn.text.encodings import decode_pieces

Symbols = NDArray[np.unsignedinteger]  # code points or bytes, as narrow as they allow

# progress("reading", bytes in all or None) is a context; its value is called with the bytes of each piece
ReadingProgress = Callable[[str, int | None], AbstractContextManager[Callable[[int], object]]]

STDIN, GIT = "-", ".git"
END_OF_TEXT = "\x03"
SEPARATORS = {"line": "\n", "blank-line": "\n\n", "file": END_OF_TEXT}
PIECE = 2**18  # bytes; small enough for a core's own cache, where larger pieces are slower
IN_MEMORY = 2**23  # bytes of a spool; a larger one is on disk
LONGEST_PATTERN = 1000  # characters: each part is compared with each file's name
COMPRESSED: dict[str, tuple[bytes, Callable[..., Any]]] = {  # suffix: first bytes, reader
    ".gz": (rb"\x1f\x8b\x08", gzip.open),
    ".bz2": (rb"BZh[1-9](1AY&SY|\x17rE8P\x90)", bz2.open),
    ".xz": (rb"\xfd7zXZ\x00", lzma.open),
}


def silent(what: str, total: int | None) -> AbstractContextManager[Callable[[int], object]]:
    """Show nothing: the default ReadingProgress."""
    return nullcontext(lambda n: None)


# -- what is named ----------------------------------------------------------------------------------


def find_files(paths: Iterable[str | Path], globs: Sequence[str] = ("*.txt",)) -> list[Path | str]:
    """List the files that ``paths`` name, in that order; those of a folder that match ``globs``, by name.

    Names are compared as people order them, ch2 before ch10. A file that is named twice is listed twice. The
    word ``-`` is standard input, which can be read once; a file of that name is ``Path("-")``.
    """
    files = list[Path | str]()
    for name in paths:
        path = Path(name)
        if name == STDIN:
            files += [STDIN] if STDIN not in files else []
        elif path.is_dir():
            found = each_once(files_matching(path, globs))
            if not found:
                patterns = brief(" or ".join(map(repr, globs)))
                raise TextError(f"{path}: no file in this folder matches {patterns}. See `glob`")
            files += found
        elif path.is_file() or path.is_fifo():
            files.append(path)
        elif path.exists():
            raise TextError(f"{path}: a device or a socket; expected a file, a pipe or a folder")
        else:
            raise TextError(f"{path}: no such file or folder")
    if not files:
        raise TextError("no text given: name at least one file or folder")
    return files


def natural(path: Path) -> tuple[tuple[tuple[str | int, ...], ...], str]:
    """A key to sort paths by: folder by folder, the numbers in a name as numbers."""

    def key(part: str) -> tuple[str | int, ...]:
        return tuple(int(word) if i % 2 else word for i, word in enumerate(re.split(r"([0-9]+)", part)))

    return tuple(map(key, path.parts)), str(path)


def each_once(files: list[Path]) -> list[Path]:
    """Leave out links to other files of a list, and further links to the same file."""
    real = {os.path.realpath(path) for path in files if not path.is_symlink()}
    kept = list[Path]()
    for path in files:
        target = os.path.realpath(path)
        if not path.is_symlink() or target not in real:
            kept.append(path)
            real.add(target)
    return kept


def files_matching(folder: Path, globs: Iterable[str], *, links: bool = True) -> list[Path]:
    """List the files of a folder that match one of the patterns, by name; the rest is as in ``files_in``."""
    return sorted({path for glob in globs for path in files_in(folder, glob, links=links)}, key=natural)


def files_in(folder: Path, glob: str, *, links: bool = True) -> Iterator[Path]:
    """Find the files whose path below ``folder`` matches ``glob``; in it, ``**`` is any number of folders.

    Each folder is listed once at most, whatever the pattern; a link to a folder is not followed. (Path.glob
    follows some, and takes exponential time with several ``**``.) ``links`` to files are. What git keeps in
    .git is left out unless the pattern names it.
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
            if entry.name == GIT and GIT not in parts:
                continue
            matched = {i for i in places if parts[i] != "**" and fnmatch(entry.name, parts[i])}
            if len(parts) - 1 in matched and is_file(entry, links):
                yield Path(entry.path)
            below = ahead({i + 1 for i in matched} | {i for i in places if parts[i] == "**"})
            if below and entry.is_dir(follow_symlinks=False):
                folders.append((entry.path, below))


def is_file(entry: "os.DirEntry[str]", links: bool) -> bool:
    """Whether an entry of a folder is a file, or a link to one if ``links`` count."""
    try:
        return entry.is_file(follow_symlinks=links)
    except OSError:  # links in a circle
        return False


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


def source_of(path: str | Path) -> str:
    """Return what is noted of a source: its absolute path, or - for a pipe."""
    return STDIN if path == STDIN or Path(path).is_fifo() else str(Path(path).resolve())


def bundled_text() -> Path:
    """Find the text that is read where none is named."""
    return bundled("fables.txt")


def can_be_read_again(source: Path | str) -> bool:
    """Tell a file from standard input and other pipes."""
    return isinstance(source, Path) and source.is_file()


# -- bytes ------------------------------------------------------------------------------------------


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


def code_points(text: str) -> Symbols:
    """Unicode code points of ``text``, (n,), as uint8, uint16 or uint32: the narrowest that holds them."""
    with suppress(UnicodeEncodeError):
        return np.frombuffer(text.encode("latin-1"), np.uint8)
    units = np.frombuffer(text.encode("utf-16-le", "surrogatepass"), "<u2")
    if len(units) == len(text):  # no character took two
        return units
    return np.frombuffer(text.encode("utf-32-le", "surrogatepass"), "<u4")


@dataclass(frozen=True)
class Reading:
    """How the bytes of files become the characters of a text.

    Attributes:
        encoding: the codec's name, for files that do not begin with the mark of another; None for a
            vocabulary of bytes, which are taken as they are.
        newlines: ``lf`` makes every line end an LF, ``keep`` leaves them.
        normalize: the Unicode form: ``none`` leaves it, ``nfc`` makes one of letter and accent.
        min_count: characters that occur less often are dropped.
        between: what stands between two files, unless the first ends a line.
        documents: what parts one document from the next: ``line``, ``blank-line``, ``file`` or any text;
            nothing if the text is read as one. Each file ends one.
        val_file, test_file: whether the files read last are parts of their own, for validation and for test.
    """

    encoding: str | None = "utf-8"
    newlines: str = "lf"
    normalize: str = "none"
    min_count: int = 1
    between: str = "\n"
    documents: str = ""
    val_file: bool = False
    test_file: bool = False

    @property
    def words(self) -> str:
        """Short words for all but ``between``, for the name of a file."""
        words = [self.encoding or "bytes"]
        words += ["lf"] if self.newlines == "lf" else []
        words += [self.normalize] if self.normalize != "none" else []
        words += [f"min{self.min_count}"] if self.min_count > 1 else []
        if self.documents:
            code = hashlib.sha256(self.documents.encode("utf-8", "surrogatepass")).hexdigest()[:8]
            words.append(self.documents if self.documents in SEPARATORS else f"documents-{code}")
        return ".".join(words + ["val"] * self.val_file + ["test"] * self.test_file)

    @property
    def separator(self) -> str:
        """What ends a document, as it stands in the text; nothing if the text is read as one."""
        text = SEPARATORS.get(self.documents, self.documents)
        return "".join(clean([text], self.newlines, self.normalize, Found()))


TEXT, BYTES = Reading(), Reading(None, "keep", between="")


@dataclass(frozen=True)
class Origin:
    """What a text was read from, and how: the same origin, the same characters.

    Attributes:
        sha256: hash of the bytes of all files, joined, in hexadecimal.
        sizes: of each file, in bytes, decompressed.
        reading: how.
    """

    sha256: str
    sizes: tuple[int, ...]
    reading: Reading

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
        counts: (0x110000,) how often the text has each code point.
        pieces: dtype and length of each piece.
        marks: what ``counts`` was where a part of the text begins.
    """

    def __init__(self, folder: Path | None):
        """Keep the file in ``folder``, or where the system has its temporary files."""
        self.counts = np.zeros(sys.maxunicode + 1, np.int64)
        self.pieces: list[tuple[np.dtype[Any], int]] = []
        self.marks: list[NDArray[np.int64]] = []
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
        counts = np.bincount(symbols)
        self.counts[: len(counts)] += counts
        self.pieces.append((symbols.dtype, len(symbols)))
        with self._writing():
            self._file.write(symbols.tobytes())

    def mark(self) -> None:
        """Note that a part of the text begins here."""
        self.marks.append(self.counts.copy())

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
    reading: Reading,
    progress: ReadingProgress,
    spool: Spool | None = None,
    limit: int | None = None,
) -> tuple[Origin, Found]:
    """Read files to their end, up to ``limit`` bytes; keep their symbols in ``spool`` if one is given.

    Returns: what was read, and what was found in it if it was kept.
    """
    tally, found = Tally(math.inf if limit is None else limit), Found(files=len(sources))
    own = len(sources) - reading.val_file - reading.test_file  # the first file that is a part by itself
    with progress("checking" if spool is None else "reading", size_on_disk(sources)) as done:
        end = ""  # of the file before
        for number, source in enumerate(sources):
            pieces = tally.pieces(source, done)
            if spool is None:
                for _ in pieces:
                    pass
                continue
            if number >= own:
                spool.mark()
                end = ""
            end = keep_file(spool, pieces, reading, describe(source), found, end) or end
    return Origin(tally.digest.hexdigest(), tuple(tally.sizes), reading), found


def keep_file(
    spool: Spool, pieces: Iterable[bytes], reading: Reading, where: str, found: Found, before: str
) -> str:
    """Keep the symbols of a file, and what is to stand before or after them.

    Arguments:
        before: the characters that the file before ends with; none if there is none.

    Returns: those that this one ends with.
    """
    separator, end = reading.separator, ""
    if reading.encoding is None:  # bytes are told as the characters of their numbers
        separator = separator.encode("utf-8", "surrogateescape").decode("latin-1")
    for symbols in symbols_of(pieces, reading, where, found):
        if reading.documents == "file" and (symbols == ord(END_OF_TEXT)).any():
            raise TextError(
                f"{where}: has the character {END_OF_TEXT!r} (END OF TEXT), which would end each file. Name "
                "another separator than `documents` file"
            )
        if not end and before and reading.between and not separator and before[-1] not in "\r\n":
            spool.add(code_points(reading.between))
        spool.add(symbols)
        last = symbols[-max(1, len(separator)) :].tolist()
        end = (end + "".join(map(chr, last)))[-max(1, len(separator)) :]
    if end and separator:
        there = next(k for k in range(len(separator), -1, -1) if end.endswith(separator[:k]))
        if there < len(separator):
            spool.add(code_points(separator[there:]))
            found.ended += reading.documents != "file"
    return end


def size_on_disk(sources: Sequence[Path | str]) -> int | None:
    """Count the bytes to read; None where only reading tells."""
    files = [source for source in sources if isinstance(source, Path) and source.suffix not in COMPRESSED]
    if len(files) < len(sources) or not all(map(can_be_read_again, files)):
        return None
    return sum(file.stat().st_size for file in files)


def symbols_of(pieces: Iterable[bytes], reading: Reading, where: str, found: Found) -> Iterator[Symbols]:
    """Turn pieces of bytes into symbols, (n,) each, n > 0: the bytes, or the text's code points."""
    if reading.encoding is None:
        yield from (np.frombuffer(piece, np.uint8) for piece in pieces if piece)
        return
    remarks = list[str]()
    texts = decode_pieces(pieces, reading.encoding, where, remarks)
    yield from map(code_points, filter(None, clean(texts, reading.newlines, reading.normalize, found)))
    for remark in remarks:
        found.remark(remark, Path(where).name)
