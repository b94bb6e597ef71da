"""Characters and their integers."""

import sys
from collections.abc import Iterable, Iterator
from functools import cached_property
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from charrnn.errors import TextError, check_type
from charrnn.text.cleaning import form_of, in_form
from charrnn.text.encodings import decode
from charrnn.text.reading import Symbols, code_points

Tokens = NDArray[Any]  # unsigned integers, as narrow as the vocabulary allows


class Vocabulary:
    """The characters that a model knows, sorted, each with its index.

    Attributes:
        symbols: (V,) code points as uint32; or, for a vocabulary of bytes, the 256 byte values as uint8. The
            dtype is what tells the two apart.
    """

    def __init__(self, symbols: NDArray[np.unsignedinteger]):
        """Take sorted distinct symbols; ``of_text`` and ``of_bytes`` are the usual constructors.

        Raises:
            TextError: they are no sorted distinct code points, or fewer than two.
        """
        check_type(
            "symbols", symbols, np.ndarray, "an array; Vocabulary.of_text(text) has the characters of a text"
        )
        if symbols.ndim != 1 or symbols.dtype not in (np.uint8, np.uint32) or len(symbols) < 2:
            raise TextError("a vocabulary has at least two symbols, uint8 or uint32, on one axis")
        if np.any(symbols[1:] <= symbols[:-1]) or symbols[-1] > 0x10FFFF:
            raise TextError("a vocabulary's symbols are distinct code points in ascending order")
        self.symbols = symbols

    @classmethod
    def of_text(cls, text: str) -> Self:
        """Take the distinct characters (Unicode code points) of ``text``."""
        check_type("text", text, str, "a text (str)")
        return cls(np.unique(code_points(text)).astype(np.uint32))

    @classmethod
    def of_bytes(cls) -> Self:
        """Take all 256 byte values."""
        return cls(np.arange(256, dtype=np.uint8))

    @property
    def is_bytes(self) -> bool:
        """Whether the symbols are bytes rather than characters."""
        return self.symbols.dtype == np.uint8

    @property
    def dtype(self) -> np.dtype[Any]:
        """The dtype of its tokens: the narrowest unsigned integers that hold V − 1."""
        return np.min_scalar_type(len(self) - 1)

    def __len__(self) -> int:
        return len(self.symbols)

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, Vocabulary)
            and self.is_bytes == other.is_bytes
            and np.array_equal(self.symbols, other.symbols)
        )

    __hash__ = None  # type: ignore[assignment]  # it holds an array: compared, never a key

    def __repr__(self) -> str:
        if self.is_bytes:
            return "Vocabulary(256 bytes)"
        return f"Vocabulary({len(self)} characters: {''.join(map(chr, self.symbols[:80]))!r})"

    def encode(self, text: str | bytes, *, ignore_unknown: bool = False) -> Tokens:
        """Return the indices of the characters of ``text``, (n,).

        Arguments:
            text: a string, or its UTF-8 bytes; for a vocabulary of bytes, any bytes. A string is brought
                ``in_known_form`` first.
            ignore_unknown: drop characters that are not in the vocabulary.

        Raises:
            TextError: ``text`` has characters that are not in the vocabulary; it names them.
        """
        check_type("text", text, str | bytes, "a text (str) or bytes")
        if self.is_bytes:
            blob = text if isinstance(text, bytes) else text.encode("utf-8", "surrogateescape")
            return np.frombuffer(blob, np.uint8)
        if isinstance(text, bytes):
            text = decode(text, "utf-8", "the text given")
        points = code_points(self.in_known_form(text))
        indices = np.searchsorted(self.symbols, points)
        indices[indices == len(self)] = 0
        known = self.symbols[indices] == points
        if ignore_unknown:
            indices = indices[known]
        elif not known.all():
            raise self.unknown(points[~known])
        return indices.astype(self.dtype)

    def lacking(self, text: str | bytes) -> dict[str, int]:
        """Count the characters of a text that are not in the vocabulary, as ``encode`` reads it."""
        if self.is_bytes:
            return {}
        if isinstance(text, bytes):
            text = decode(text, "utf-8", "the text given")
        points, counts = np.unique(code_points(self.in_known_form(text)), return_counts=True)
        known = np.isin(points, self.symbols)
        return dict(zip(map(chr, points[~known].tolist()), counts[~known].tolist(), strict=True))

    def in_known_form(self, text: str) -> str:
        """Write a text as this vocabulary's text was written.

        CR LF and CR become LF if CR is no character of it. Letters with accents, if those of the vocabulary
        are in one of the Unicode forms NFC and NFD only, are brought into that form.
        """
        if self.is_bytes:
            return text
        if "\r" in text and self.newlines == "lf":
            text = text.replace("\r\n", "\n").replace("\r", "\n")
        if not text.isascii() and self.form != "none":
            text = in_form(text, self.form)
        return text

    @property
    def newlines(self) -> str:
        """How to read line ends: ``lf`` makes them LF, where CR is no character of it."""
        return "keep" if self.is_bytes or ord("\r") in self.symbols else "lf"

    @cached_property
    def form(self) -> str:
        """The Unicode form of its letters with accents, ``nfc`` or ``nfd``; else ``none``."""
        return "none" if self.is_bytes else form_of("".join(map(chr, self.symbols)))

    def union(self, other: "Vocabulary") -> "Vocabulary":
        """The characters of both."""
        return Vocabulary(np.union1d(self.symbols, other.symbols))

    def without(self, other: "Vocabulary") -> list[int]:
        """The code points that ``other`` lacks; none if these are bytes, of which none is ever lacking."""
        return [] if self.is_bytes else np.setdiff1d(self.symbols, other.symbols).tolist()

    def unknown(self, points: NDArray[np.integer]) -> TextError:
        """Make the error that names these code points, which are not in the vocabulary."""
        return TextError(
            f"the model does not know {named(np.unique(points).tolist())}: the text it learned from has only "
            f"{len(self)} distinct characters. `ignore_unknown` drops what it does not know"
        )

    def encode_pieces(self, pieces: Iterable[Symbols], *, ignore_unknown: bool = False) -> Iterator[Tokens]:
        """Return the indices of symbols that are in the vocabulary, (n,) for each piece of n.

        Others are dropped if ``ignore_unknown`` is set, and must not occur otherwise.
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
        """Return the text of these indices; of a vocabulary of bytes, as UTF-8 with errors replaced."""
        if self.is_bytes:
            return self.decode_bytes(tokens).decode(errors="replace")
        return "".join(map(chr, self.symbols[np.asarray(tokens, np.intp)].tolist()))

    def decode_bytes(self, tokens: Iterable[int] | Tokens) -> bytes:
        """Return the bytes of these indices: the text as UTF-8, or those of a vocabulary of bytes."""
        if self.is_bytes:
            return np.asarray(tokens, np.uint8).tobytes()
        return self.decode(tokens).encode("utf-8", "surrogatepass")


def named(points: list[int]) -> str:
    """The first of some characters by name, and how many more there are."""
    more = f" and {len(points) - 8} more" if len(points) > 8 else ""
    return ", ".join(f"{chr(point)!r} (U+{point:04X})" for point in points[:8]) + more
