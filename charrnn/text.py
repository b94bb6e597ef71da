"""Text: from files to integers, and the windows a network is trained on.

A corpus of n characters becomes n integers in 0…V−1. Its training part is cut into B parallel streams,
one a row of the batch, and each step reads the next T characters of every stream:

    the text  a b c d e f g h i j k l m       B = 3 streams of 4, the target is the next character

    stream 0  a b c d        window 1  a b → b c     window 2  c d → d e
    stream 1  e f g h                  e f → f g               g h → h i
    stream 2  i j k l                  i j → j k               k l → l m

The state a of each row is carried from one window to the next, so that a stream is read as one text.
"""

import codecs
import hashlib
import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from charrnn.errors import ConfigError, TextError

Tokens = NDArray[Any]  # unsigned integers, as narrow as the vocabulary allows

BYTE_ORDER_MARK = "\ufeff"


class Vocabulary:
    """The characters a model knows, sorted, each with its index.

    ``symbols`` holds their code points as uint32; or, for a vocabulary of bytes, the 256 byte values as
    uint8. Its dtype is what tells the two apart.
    """

    def __init__(self, symbols: NDArray[np.unsignedinteger]):
        """From sorted distinct symbols; see ``of_text`` and ``of_bytes`` for the usual ways."""
        if symbols.ndim != 1 or symbols.dtype not in (np.uint8, np.uint32) or len(symbols) < 2:
            raise TextError("a vocabulary is a row of at least two uint8 or uint32 symbols")
        if np.any(symbols[1:] <= symbols[:-1]) or symbols[-1] > 0x10FFFF:
            raise TextError("a vocabulary's symbols are distinct code points in ascending order")
        self.symbols = symbols

    @classmethod
    def of_text(cls, text: str) -> Self:
        """The distinct characters (Unicode code points) of ``text``."""
        return cls(np.unique(code_points(text)))

    @classmethod
    def of_bytes(cls) -> Self:
        """All 256 byte values."""
        return cls(np.arange(256, dtype=np.uint8))

    @property
    def is_bytes(self) -> bool:
        """Whether the symbols are bytes rather than characters."""
        return self.symbols.dtype == np.uint8

    def __len__(self) -> int:
        return len(self.symbols)

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, Vocabulary)
            and self.is_bytes == other.is_bytes
            and np.array_equal(self.symbols, other.symbols)
        )

    __hash__ = None  # type: ignore[assignment]  # an array within: compared, never a key

    def __repr__(self) -> str:
        if self.is_bytes:
            return "Vocabulary(256 bytes)"
        return f"Vocabulary({len(self)} characters: {''.join(map(chr, self.symbols[:80]))!r})"

    def encode(self, text: str | bytes, *, ignore_unknown: bool = False) -> Tokens:
        """The indices of the characters of ``text``, (n,).

        A vocabulary of bytes takes bytes, or a string as its UTF-8 bytes. Characters that are not in the
        vocabulary are dropped if ``ignore_unknown`` is set.

        Raises:
            TextError: ``text`` has characters that are not in the vocabulary; it names them.
        """
        if self.is_bytes:
            blob = text if isinstance(text, bytes) else text.encode("utf-8", "surrogateescape")
            return np.frombuffer(blob, np.uint8)
        points = code_points(text if isinstance(text, str) else decode(text, "utf-8", "the text given"))
        indices = np.searchsorted(self.symbols, points)
        indices[indices == len(self)] = 0
        known = self.symbols[indices] == points
        if ignore_unknown:
            indices = indices[known]
        elif not known.all():
            unknown = np.unique(points[~known])
            names = ", ".join(f"{chr(p)!r} (U+{p:04X})" for p in unknown[:8])
            more = f" and {len(unknown) - 8} more" if len(unknown) > 8 else ""
            raise TextError(
                f"the model does not know {names}{more}: the text it learned from has only "
                f"{len(self)} distinct characters. --ignore-unknown drops what it does not know"
            )
        return indices.astype(np.min_scalar_type(len(self) - 1))

    def decode(self, tokens: Iterable[int] | Tokens) -> str:
        """The text of these indices; for a vocabulary of bytes, their UTF-8 text, errors replaced."""
        if self.is_bytes:
            return self.decode_bytes(tokens).decode(errors="replace")
        return "".join(map(chr, self.symbols[np.asarray(tokens, np.intp)].tolist()))

    def decode_bytes(self, tokens: Iterable[int] | Tokens) -> bytes:
        """The bytes of these indices: UTF-8 text, or whatever bytes a vocabulary of bytes names."""
        if self.is_bytes:
            return np.asarray(tokens, np.uint8).tobytes()
        return self.decode(tokens).encode("utf-8", "surrogatepass")


def code_points(text: str) -> NDArray[np.uint32]:
    """The Unicode code points of ``text``, (n,)."""
    return np.frombuffer(text.encode("utf-32-le", "surrogatepass"), "<u4").astype(np.uint32)


class Parts(NamedTuple):
    """The three contiguous parts of a corpus, in the order in which they stand in it."""

    train: Tokens
    val: Tokens
    test: Tokens


@dataclass(frozen=True)
class Corpus:
    """A text as integers, with what is known of where it came from.

    Attributes:
        tokens: (n,) indices into the vocabulary.
        vocabulary: the characters they stand for.
        name: a short name: the file's or folder's, without its ending.
        size: in bytes, as it stands on disk.
        sha256: the hash of those bytes, in hexadecimal.
        notes: what a reader of the text should be told (a byte-order mark that was dropped).
    """

    tokens: Tokens
    vocabulary: Vocabulary
    name: str
    size: int
    sha256: str
    notes: tuple[str, ...] = ()

    @classmethod
    def from_files(
        cls,
        *paths: str | Path,
        bytes: bool = False,
        encoding: str = "utf-8",
        glob: str = "*.txt",
        vocabulary: Vocabulary | None = None,
        ignore_unknown: bool = False,
    ) -> Self:
        """Read files, and the files in folders that match ``glob``, joined in sorted order.

        Line ends are kept as they are; nothing is put between two files. With ``bytes`` the 256 byte
        values are the vocabulary and the files are not decoded. A ``vocabulary`` given is used
        instead of the text's own.

        Raises:
            TextError: a file is missing, cannot be read, cannot be decoded, or is empty; a folder has no
                match; the text has one distinct character only, or some that a given vocabulary lacks.
            ConfigError: there is no such encoding.
        """
        as_bytes = bytes or (vocabulary is not None and vocabulary.is_bytes)
        files = find_files(paths, glob)
        digest, size, notes = hashlib.sha256(), 0, []
        texts, blobs = [], []
        for file in files:
            blob = read_file(file)
            digest.update(blob)
            size += len(blob)
            if as_bytes:
                blobs.append(blob)
                continue
            text = decode(blob, encoding, file)
            if text.startswith(BYTE_ORDER_MARK):
                text = text[1:]
                notes.append(f"{file}: a byte-order mark at the start was dropped")
            texts.append(text)
        name = corpus_name([Path(path) for path in paths])
        where = str(paths[0]) if len(paths) == 1 else f"{len(files)} files"
        content = b"".join(blobs) if as_bytes else "".join(texts)
        if not content:
            raise TextError(f"{where}: the text is empty. Give a file with some text in it")
        if vocabulary is None:
            vocabulary = cls._vocabulary(content, where)
        try:
            tokens = vocabulary.encode(content, ignore_unknown=ignore_unknown)
        except TextError as error:
            raise TextError(f"{where}: {error}") from None
        return cls(tokens, vocabulary, name, size, digest.hexdigest(), tuple(notes))

    @classmethod
    def from_text(cls, text: str | bytes, name: str = "text") -> Self:
        """A corpus from a string, or from bytes with the 256 byte values as vocabulary.

        Raises:
            TextError: the text is empty or has one distinct character only.
        """
        if not text:
            raise TextError(f"{name}: the text is empty")
        vocabulary = cls._vocabulary(text, name)
        blob = text if isinstance(text, bytes) else text.encode("utf-8", "surrogatepass")
        tokens = vocabulary.encode(text)
        return cls(tokens, vocabulary, name, len(blob), hashlib.sha256(blob).hexdigest())

    @staticmethod
    def _vocabulary(content: str | bytes, where: str) -> Vocabulary:
        if len(set(content)) < 2:
            raise TextError(
                f"{where}: the text is one character, {content[:1]!r}, {len(content):,} times over. "
                "There is nothing to predict: give a text with at least two distinct characters"
            )
        return Vocabulary.of_bytes() if isinstance(content, bytes) else Vocabulary.of_text(content)

    def __len__(self) -> int:
        return len(self.tokens)

    def split(self, val_fraction: float, test_fraction: float = 0.0) -> Parts:
        """Cut the text in three: its beginning to train on, then validation, then test.

        Raises:
            ConfigError: the fractions are negative or leave nothing to train on.
        """
        if not (val_fraction >= 0 and test_fraction >= 0 and val_fraction + test_fraction < 1):
            raise ConfigError(
                f"val_fraction {val_fraction} and test_fraction {test_fraction} leave nothing to "
                "train on: together they must stay below 1"
            )
        n = len(self.tokens)
        test = n - round(n * test_fraction)
        val = test - round(n * val_fraction)
        return Parts(self.tokens[:val], self.tokens[val:test], self.tokens[test:])


class Streams:
    """The training part as B parallel streams, read T characters at a time.

    Every character but the first of the text is a target once, and every character but the last an
    input once; up to B−1 characters at the end, which do not fill a row, are left out. The last window
    of the streams is shorter where T does not divide their length.
    """

    def __init__(self, tokens: Tokens, batch_size: int, seq_length: int):
        """Cut ``tokens`` (n,) into streams.

        Raises:
            TextError: not even one row of one window can be filled.
        """
        if len(tokens) <= seq_length:
            raise TextError(
                f"the training part has {len(tokens):,} characters; one window needs "
                f"{seq_length + 1:,} (--seq-length and the character after). "
                "Lower --seq-length or give a longer text"
            )
        self.seq_length = seq_length
        self.batch_size = min(batch_size, (len(tokens) - 1) // seq_length)
        length = (len(tokens) - 1) // self.batch_size
        n = length * self.batch_size
        self.inputs = tokens[:n].reshape(self.batch_size, length)
        self.targets = tokens[1 : n + 1].reshape(self.batch_size, length)

    def __len__(self) -> int:
        """Windows in one pass over the text."""
        return math.ceil(self.inputs.shape[1] / self.seq_length)

    def characters(self, steps: int) -> int:
        """How many characters so many steps train on."""
        epochs, windows = divmod(steps, len(self))
        per_row = epochs * self.inputs.shape[1] + windows * self.seq_length
        return self.batch_size * per_row

    def __getitem__(self, index: int) -> tuple[Tokens, Tokens]:
        """Inputs and targets of one window, (T, B) integers each."""
        if not 0 <= index < len(self):
            raise IndexError(f"window {index} of {len(self)}")
        here = slice(index * self.seq_length, (index + 1) * self.seq_length)
        return self.inputs[:, here].T.astype(np.intp), self.targets[:, here].T.astype(np.intp)

    def __iter__(self) -> Iterator[tuple[Tokens, Tokens]]:
        return (self[index] for index in range(len(self)))


def corpus_name(paths: Sequence[Path]) -> str:
    """A short name: of the one file without its ending, of the one folder, or of the first one's folder."""
    first = sorted(paths)[0].resolve()
    if len(paths) > 1:
        first = first.parent
    return (first.name if first.is_dir() else first.stem) or "text"


def find_files(paths: Iterable[str | Path], glob: str = "*.txt") -> list[Path]:
    """The files that ``paths`` name, folders searched with ``glob``; sorted, each once.

    Raises:
        TextError: a path does not exist, or a folder has no file that matches.
    """
    files: set[Path] = set()
    for path in map(Path, paths):
        if path.is_dir():
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
    if not files:
        raise TextError("no text given: name at least one file or folder")
    return sorted(files)


def read_file(path: Path) -> bytes:
    """The bytes of a file, or a TextError that says why they cannot be had."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise TextError(f"{path}: cannot be read: {error.strerror}") from None


def decode(blob: bytes, encoding: str, where: str | Path) -> str:
    """``blob`` as text.

    Raises:
        TextError: it is not in that encoding; says at which byte.
        ConfigError: there is no such encoding.
    """
    try:
        codecs.lookup(encoding)
        return blob.decode(encoding)
    except UnicodeDecodeError as error:
        raise TextError(
            f"{where}: not {encoding}: byte 0x{blob[error.start]:02x} at offset {error.start:,} "
            f"({error.reason}). Name the text's --encoding, or use --bytes"
        ) from None
    except LookupError:
        raise ConfigError(
            f"--encoding: {encoding!r} is not a text encoding; try utf-8, utf-16, latin-1 or cp1252"
        ) from None
