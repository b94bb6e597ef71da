"""How much of a drawn text is new: which of it stands word for word in the training text.

A network that has learned its text by heart has a low training loss too. It shows in what it writes: its
substrings of 40 characters, or its lines, are the training text's.

Substrings are found by a rolling hash (Karp and Rabin 1987) and then compared character by character, so
that the counts are exact. The hash of the characters c⟨i⟩ … c⟨i+l−1⟩ is Σ_j c⟨i+j⟩ Bʲ modulo 2⁶⁴ with an odd
B: a difference of two prefix sums of c⟨j⟩ Bʲ, divided by Bⁱ.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from charrnn.layers import Array
from charrnn.text.documents import Text
from charrnn.text.tokens import release
from charrnn.text.vocabulary import Tokens

LENGTHS = (10, 20, 40)  # of the substrings that are counted
PIECE = 2**16  # characters of the training text read at once
BASE = 0x9E3779B97F4A7C15  # B of the hash
SEPARATOR = 2**32 - 1  # stands behind each drawn text; no character


@dataclass(frozen=True)
class Novelty:
    """What of some drawn texts stands in the training text."""

    substrings: dict[int, int]  # how many of each length there are, equal ones counted each
    found: dict[int, int]  # how many of those stand in the training text
    lines: int  # how many are complete and not empty
    copies: int  # how many of those are lines of the training text

    def share(self, length: int) -> float | None:
        """The part of the substrings of a length that stands in the training text; None if there is none."""
        return self.found[length] / self.substrings[length] if self.substrings[length] else None


def novelty(
    train: Text,
    prime: Tokens,
    texts: Sequence[Sequence[int]],
    newline: int | None,
    ended: Sequence[bool],
) -> Novelty:
    """Count what of some drawn texts stands in a training text.

    Arguments:
        train: (n,) integers, the training text; it may be mapped into memory.
        prime: (m,) integers, what each text continues. It is not counted, but its last line and the
            beginning of a text are one line.
        texts: the drawn texts. A substring lies within one of them.
        newline: the character that ends a line; None if there is none.
        ended: for each text, whether its end is also the end of a line.
    """
    drawn = np.array([token for text in texts for token in (*text, SEPARATOR)], np.uint32)
    substrings = {length: sum(max(len(text) - length + 1, 0) for text in texts) for length in LENGTHS}
    found = {length: int(found_in(train, drawn, length).sum()) for length in LENGTHS}
    lines, copies = list[str](), set[str]()
    if newline is not None:
        for text, end in zip(texts, ended, strict=True):
            lines += complete_lines(prime, text, chr(newline), end)
        copies = copied(train, set(lines), chr(newline))
    return Novelty(substrings, found, len(lines), sum(line in copies for line in lines))


def found_in(train: Text, drawn: Array, length: int, base: int = BASE) -> Array:
    """Which of the n−length+1 substrings of ``drawn`` (n,) stand in the training text, (n−length+1,)."""
    of_drawn = rolling_hashes(drawn, length, base)
    hashes, first, numbers = np.unique(of_drawn, return_index=True, return_inverse=True)
    if not equal(drawn, np.arange(len(numbers)), drawn, first[numbers], length).all():
        return found_in(train, drawn, length, base + 2)  # two different substrings have one hash
    found, bits = np.zeros(len(hashes), bool), len(hashes).bit_length() + 3
    wanted, shift = np.zeros(2**bits, bool), np.uint64(64 - bits)  # by the first bits of hashes not found yet
    wanted[hashes >> shift] = True
    for start in range(0, len(train), PIECE):
        piece = np.array(train[start : start + PIECE + length - 1])
        release(train)
        of_piece = rolling_hashes(piece, length, base)
        at = np.flatnonzero(wanted[of_piece >> shift])
        number = np.searchsorted(hashes, of_piece[at], side="right") - 1
        match = (hashes[number] == of_piece[at]) & ~found[number]
        at, number = at[match], number[match]
        number = number[equal(piece, at, drawn, first[number], length)]
        if len(number):
            found[number] = True
            wanted[...] = False
            wanted[hashes[~found] >> shift] = True
    return found[numbers]


def rolling_hashes(text: Array, length: int, base: int) -> Array:
    """The hash of each substring of a text (n,), by its first character, (n−length+1,)."""
    bases = base, pow(base, -1, 2**64)
    powers, inverses = (np.multiply.accumulate(np.full(len(text), b, np.uint64)) for b in bases)
    sums = np.zeros(len(text) + 1, np.uint64)
    np.cumsum(text.astype(np.uint64) * powers, out=sums[1:])
    hashes: Array = sums[length:] - sums[:-length]
    hashes *= inverses[: len(hashes)]
    return hashes


def equal(text: Array, at: Array, other: Array, other_at: Array, length: int) -> Array:
    """Whether the substrings at k places of one text are those at k places of another, (k,)."""
    same = np.ones(len(at), bool)
    for i in range(length):
        same &= text[at + i] == other[other_at + i]
    return same


def complete_lines(prime: Tokens, text: Sequence[int], newline: str, ended: bool) -> list[str]:
    """The complete lines of a text that are not empty, as strings of the characters chr(token)."""
    *lines, last = as_string(np.asarray(text, np.uint32)).split(newline)
    if ended:
        lines.append(last)
    if lines:
        lines[0] = as_string(prime).split(newline)[-1] + lines[0]
    return [line for line in lines if line]


def copied(train: Text, lines: set[str], newline: str) -> set[str]:
    """Those of some lines that are lines of the training text, whose end also ends its last line."""
    copies, last, longest = set[str](), "", max(map(len, lines), default=0)
    for start in range(0, len(train) if lines else 0, PIECE):
        *whole, last = (last + as_string(train[start : start + PIECE])).split(newline)
        release(train)
        copies |= lines.intersection(whole)
        last = last[: longest + 1]  # enough to differ from every line
    return copies | lines.intersection([last])


def as_string(tokens: Tokens) -> str:
    """Tokens as the characters chr(token), which Python compares and splits faster than it does arrays."""
    return np.asarray(tokens, "<u4").tobytes().decode("utf-32-le", "surrogatepass")
