"""Text: characters and their integers, and the windows a network is trained on.

A corpus of n characters becomes n integers in 0…V−1. Its training part is cut into B parallel streams,
one a row of the batch, and each step reads the next T characters of every stream:

    the text  a b c d e f g h i j k l m       B = 3 streams of 4, the target is the next character

    stream 0  a b c d        window 1  a b → b c     window 2  c d → d e
    stream 1  e f g h                  e f → f g               g h → h i
    stream 2  i j k l                  i j → j k               k l → l m

The state a of each row is carried from one window to the next, so that a stream is read as one text.
"""

import math
import mmap
import sys
from collections.abc import Iterable, Iterator
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from charrnn.errors import TextError
from charrnn.reading import Symbols, code_points, decode

Tokens = NDArray[Any]  # unsigned integers, as narrow as the vocabulary allows


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
        return cls(np.unique(code_points(text)).astype(np.uint32))

    @classmethod
    def of_bytes(cls) -> Self:
        """All 256 byte values."""
        return cls(np.arange(256, dtype=np.uint8))

    @property
    def is_bytes(self) -> bool:
        """Whether the symbols are bytes rather than characters."""
        return self.symbols.dtype == np.uint8

    @property
    def dtype(self) -> np.dtype[Any]:
        """Of its tokens: the narrowest unsigned integers that count to V − 1."""
        return np.min_scalar_type(len(self) - 1)

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
            raise self.unknown(points[~known])
        return indices.astype(self.dtype)

    def unknown(self, points: NDArray[np.integer]) -> TextError:
        """The error that names these code points, which are not in the vocabulary."""
        points = np.unique(points)
        names = ", ".join(f"{chr(p)!r} (U+{p:04X})" for p in points[:8])
        more = f" and {len(points) - 8} more" if len(points) > 8 else ""
        return TextError(
            f"the model does not know {names}{more}: the text it learned from has only "
            f"{len(self)} distinct characters. --ignore-unknown drops what it does not know"
        )

    def encode_pieces(self, pieces: Iterable[Symbols], *, ignore_unknown: bool = False) -> Iterator[Tokens]:
        """The indices of symbols that are in the vocabulary, (n,) for each piece of n of them.

        Others are dropped if ``ignore_unknown`` is set, and are not looked for if not.
        """
        if self.is_bytes:
            yield from pieces
            return
        index = np.zeros(sys.maxunicode + 1, self.dtype)
        index[self.symbols] = np.arange(len(self))
        known = np.zeros(len(index), bool)
        known[self.symbols] = True
        for piece in pieces:
            yield index.take(piece[known[piece]] if ignore_unknown else piece)

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
        self._tokens = tokens
        self.seq_length = seq_length
        self.batch_size = min(batch_size, (len(tokens) - 1) // seq_length)
        length = (len(tokens) - 1) // self.batch_size
        n = length * self.batch_size
        plain = np.asarray(tokens)
        self.inputs = plain[:n].reshape(self.batch_size, length)
        self.targets = plain[1 : n + 1].reshape(self.batch_size, length)

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
        window = self.inputs[:, here].T.astype(np.intp), self.targets[:, here].T.astype(np.intp)
        release(self._tokens)
        return window

    def __iter__(self) -> Iterator[tuple[Tokens, Tokens]]:
        return (self[index] for index in range(len(self)))


def release(tokens: Tokens) -> None:
    """Let go of the pages of a memory-mapped text that have been read.

    They would count as this process's memory for as long as the system has some to spare. Should they be
    wanted again, the system still has them in its own cache. Nothing happens to an ordinary array.
    """
    pages = getattr(tokens, "_mmap", None)
    if pages is not None and hasattr(mmap, "MADV_DONTNEED"):
        pages.madvise(mmap.MADV_DONTNEED)
