"""Documents: a text as many, each read from a state of zeros.

What parts two documents, the separator, ends the one before it, so that a network learns to end. A document
is known by where it starts and ends in the text. Documents are read as one text, in an order of their own,
and every character is a target. What is read before a document's first one is the separator's last character,
whatever document came before:

    a text in three documents      a b . c . d e f .
    in another order               d e f . c . a b .
    inputs                         . d e f . c . a b
    ρ (RF1)                        0 1 1 1 0 1 0 1 1
"""

from typing import Self, TypeAlias

import numpy as np
from numpy.typing import NDArray

from charrnn.text.tokens import release
from charrnn.text.vocabulary import Tokens

PIECE = 2**20  # characters searched at once
Places = NDArray[np.int64]


class Documents:
    """Documents of a text, one after the other.

    Attributes:
        tokens: (n,) the text that they are of; it may be mapped into memory.
        starts, ends: (D,) where each starts and ends in it, in the order in which they are read.
        before: the character that is read before the first one of each.
        places: (D+1,) where each begins among the characters of all, and their number.
    """

    def __init__(self, tokens: Tokens, starts: Places, ends: Places, before: int):
        self.tokens, self.starts, self.ends, self.before = tokens, starts, ends, before
        self.places = np.concatenate([np.zeros(1, np.int64), np.cumsum(ends - starts)])

    @property
    def count(self) -> int:
        """D, how many there are."""
        return len(self.starts)

    def __len__(self) -> int:
        """Count the characters of all."""
        return int(self.places[-1])

    def __getitem__(self, where: slice) -> Tokens:
        """Characters of the documents read as one text."""
        return self.read(np.arange(*where.indices(len(self))))[1]

    def document(self, number: int) -> Tokens:
        """The characters of one."""
        return self.tokens[self.starts[number] : self.ends[number]]

    def read(self, at: Places) -> tuple[Tokens, Tokens, NDArray[np.bool_]]:
        """Read characters and what comes before them.

        Arguments:
            at: where, among the characters of all; of any shape.

        Returns: the characters before (inputs), the characters (targets), and ρ: whether each has any of its
        document before it. Each of the shape of ``at``.
        """
        number = np.searchsorted(self.places, at, side="right") - 1
        within = at - self.places[number]
        index, rho, tokens = self.starts[number] + within, within > 0, np.asarray(self.tokens)
        return np.where(rho, tokens[index - 1], self.before), tokens[index], rho

    def padded(self, lead: int, start: int, stop: int) -> tuple[Tokens, NDArray[np.bool_]]:
        """Read characters of all, where ``before`` stands ``lead`` times before each document.

        Returns: the characters from ``start`` to ``stop``, or to the end, and which of them are a document's.
        """
        places = self.places + lead * np.arange(self.count + 1)
        at = np.arange(start, min(stop, places[-1]))
        number = np.searchsorted(places, at, side="right") - 1
        within = at - places[number] - lead
        tokens = np.asarray(self.tokens)[self.starts[number] + np.maximum(within, 0)]
        return np.where(within >= 0, tokens, self.before), within >= 0

    def nearest(self, at: NDArray[np.floating] | float) -> Places:
        """The numbers of the documents that begin nearest to some characters of all; D for the end."""
        after = np.clip(np.searchsorted(self.places, at), 1, self.count)
        nearer = at - self.places[after - 1] <= self.places[after] - at
        return np.asarray(after - nearer, np.int64)

    def take(self, which: Places | slice) -> Self:
        """Some of them, in that order."""
        return type(self)(self.tokens, self.starts[which], self.ends[which], self.before)

    def within(self, start: int, stop: int) -> Self:
        """Those between two places of the text, in its order."""
        return self.take(slice(*np.searchsorted(self.starts, [start, stop])))

    def cut(self, val_fraction: float, test_fraction: float) -> tuple[Self, Self, Self]:
        """Cut them in three, between documents, as near to these parts of all characters as can be.

        A part that is not to be empty has one at least, if there are enough; the first always has.
        """
        n, D = len(self), self.count
        test, val = (
            int(self.nearest(n * (1 - part))) for part in (test_fraction, test_fraction + val_fraction)
        )
        some_val, some_test = val_fraction > 0, test_fraction > 0
        test = max(1, min(max(test, 1 + some_val), D - some_test))
        val = max(1, min(val, test - some_val))
        return self.take(slice(val)), self.take(slice(val, test)), self.take(slice(test, D))


Text: TypeAlias = Tokens | Documents


def begun(prime: Tokens, separator: Tokens) -> Tokens:
    """What is read of a text that is continued: the separator's last character, and the document begun."""
    ends = ends_of_documents(prime, separator, 0, len(prime))
    return np.concatenate([separator[-1:], prime[ends[-1] if len(ends) else 0 :]])


def ends_of_documents(tokens: Tokens, separator: Tokens, start: int, stop: int) -> Places:
    """Where documents end between two places of a text, each after its separator (k,).

    Separators that follow one another without a gap, or overlap, end one document; those at the beginning
    belong to the first one. So none is empty.
    """
    k, found = len(separator), [np.zeros(0, np.int64)]
    for first in range(start, stop, PIECE):
        piece = np.array(tokens[first : min(first + PIECE + k - 1, stop)])
        release(tokens)
        here = np.ones(max(0, len(piece) - k + 1), bool)
        for i, symbol in enumerate(separator):
            here &= piece[i : i + len(here)] == symbol
        found.append(np.flatnonzero(here) + first)
    places = np.concatenate(found)
    last = np.append(places[1:] > places[:-1] + k, [True])[: len(places)]
    ends: Places = places[last] + k
    return ends[1:] if len(ends) > 1 and places[0] == start else ends
