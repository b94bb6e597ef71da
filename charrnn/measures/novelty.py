"""How much of a drawn text is new: what of it stands word for word in the text that was learned.

A network that has learned its text by heart has a low training loss too. It shows in what it writes: its
substrings of 40 characters, or its lines, are the training text's.

Substrings are compared exactly, by naming them (Karp, Miller and Rosenberg 1972). Of the drawn text the
distinct substrings of a length get the names 0, 1, …; one of twice the length is then a pair of names:

    1 + 1 = 2      2 + 2 = 4      4 + 4 = 8      8 + 2 = 10      10 + 10 = 20      20 + 20 = 40

The training text is named alike, piece by piece; what has no name there stands nowhere in what was drawn.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from charrnn.layers import Array
from charrnn.text.streams import release
from charrnn.text.vocabulary import Tokens

LENGTHS = (10, 20, 40)  # of the substrings that are looked for
JOINS = ((1, 1), (2, 2), (4, 4), (8, 2), (10, 10), (20, 20))  # the lengths of the two halves
PIECE = 2**20  # characters of the training text looked at at once


@dataclass(frozen=True)
class Novelty:
    """What of some drawn texts stands in the training text."""

    substrings: dict[int, int]  # how many of each length there are, equal ones counted each
    found: dict[int, int]  # how many of those stand in the training text
    lines: int  # that are complete, and not empty
    copies: int  # how many of those are lines of the training text

    def share(self, length: int) -> float | None:
        """The part of the substrings of a length that stands in the training text; None if there is none."""
        return self.found[length] / self.substrings[length] if self.substrings[length] else None


def novelty(
    train: Tokens,
    prime: Tokens,
    texts: Sequence[Sequence[int]],
    newline: int | None,
    ended: Sequence[bool],
) -> Novelty:
    """Look for drawn texts in a training text.

    Arguments:
        train: (n,) integers, what was learned; it may be mapped into memory.
        prime: (m,) what each text goes on from. It counts for nothing, but that its last line and the
            beginning of a text are one line.
        texts: what was drawn. A substring lies within one of them.
        newline: the character that ends a line; None if there is none.
        ended: of each text, whether its end is the end of a line too.
    """
    substrings, found = look_for(train, texts)
    drawn: list[str] = []
    for text, end in zip(texts, ended, strict=True):
        drawn += lines(prime, text, newline, end)
    known = copied(train, set(drawn), newline) if drawn else set()
    return Novelty(substrings, found, len(drawn), sum(line in known for line in drawn))


# -- substrings -------------------------------------------------------------------------------------


def look_for(train: Tokens, texts: Sequence[Sequence[int]]) -> tuple[dict[int, int], dict[int, int]]:
    """How many substrings of each of ``LENGTHS`` the texts have, and how many of those stand in ``train``."""
    drawn = np.array([token for text in texts for token in (*text, -1)], np.int64)  # no name runs across −1
    names, tables = {1: drawn}, {}
    for a, b in JOINS:
        at, keys = pairs(names[a], names[b], a)
        tables[a + b], numbers = np.unique(keys, return_inverse=True)
        names[a + b] = named(len(drawn), at, numbers)
    seen = {length: np.zeros(len(tables[length]), bool) for length in LENGTHS}
    for start in range(0, len(train), PIECE):
        there = {1: np.array(train[start : start + PIECE + max(LENGTHS) - 1], np.int64)}
        release(train)
        for a, b in JOINS:
            at, keys = pairs(there[a], there[b], a)
            table = np.append(tables[a + b], -1)  # a key that is none, for what lies beyond the last
            numbers = np.searchsorted(table[:-1], keys)
            known = table[numbers] == keys
            there[a + b] = named(len(there[1]), at[known], numbers[known])
            if a + b in seen:
                seen[a + b][numbers[known]] = True
    substrings = {length: names[length][names[length] >= 0] for length in LENGTHS}
    return (
        {length: len(those) for length, those in substrings.items()},
        {length: int(seen[length][those].sum()) for length, those in substrings.items()},
    )


def pairs(first: Array, second: Array, a: int) -> tuple[Array, Array]:
    """Where a substring of ``a`` characters and one right behind it both have names; and those as one key.

    Arguments:
        first, second: (n,) the name of the substring that starts at each character, −1 if it has none.

    Returns: (k,) the places, (k,) the keys. Names are fewer than 2³¹: so many would not fit into memory.
    """
    at = np.flatnonzero((first[:-a] >= 0) & (second[a:] >= 0))
    return at, first[at] << 31 | second[at + a]


def named(n: int, at: Array, names: Array) -> Array:
    """(n,) these names at these places, −1 elsewhere."""
    out = np.full(n, -1, np.int64)
    out[at] = names
    return out


# -- lines ------------------------------------------------------------------------------------------


def lines(prime: Tokens, text: Sequence[int], newline: int | None, ended: bool) -> list[str]:
    """The complete lines of a text that are not empty, as strings of the characters chr(token)."""
    if newline is None:
        return []
    *before, rest = as_string(np.asarray(text, np.uint32)).split(chr(newline))
    whole = [*before, rest] if ended else before
    if whole:
        whole[0] = as_string(prime).split(chr(newline))[-1] + whole[0]
    return [line for line in whole if line]


def copied(train: Tokens, wanted: set[str], newline: int | None) -> set[str]:
    """Those of some lines that are lines of a text, whose end is the end of its last line."""
    known: set[str] = set()
    for piece in pieces_of_lines(train, newline, max(map(len, wanted), default=0)):
        known |= wanted.intersection(piece)
    return known


def pieces_of_lines(train: Tokens, newline: int | None, longest: int) -> Iterator[list[str]]:
    """The lines of a text, many at once; one longer than ``longest`` may lack a part."""
    rest, end = "", None if newline is None else chr(newline)
    for start in range(0, len(train), PIECE):
        *whole, rest = (rest + as_string(train[start : start + PIECE])).split(end)
        release(train)
        rest = rest[: longest + 1]
        yield whole
    yield [rest]


def as_string(tokens: Tokens) -> str:
    """Tokens as the characters chr(token), which Python compares and splits faster than it does arrays."""
    return np.asarray(tokens, "<u4").tobytes().decode("utf-32-le", "surrogatepass")
