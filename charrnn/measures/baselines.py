"""What a network has to beat: the loss of guessing evenly, and of counting what follows what.

A k-gram is k characters in a row; its context h is the first k−1 of them and w the last. The model of
order k asks how often w came after h in the training part, and leans on the model of order k−1, whose
context h′ lacks the first character of h, the more the more different characters came after h:

    P_k(w|h) = (c(h w) + N(h) P_{k−1}(w|h′)) / (c(h) + N(h)),   P_0 = 1/V

c counts (that of h does so where a character follows), N(h) is how many different characters followed h,
and P_k = P_{k−1} where none did. That is Witten–Bell smoothing (Witten and Bell 1991, method C) as Chen
and Goodman (1998) write it, interpolated.

Only grams whose context stands in the scored part can matter. So those get a number each, an order at a
time: a gram is the number of its context and one more character, a key that fits into 64 bits whatever V.
The training part is read in pieces, and each of its grams found among those keys.
"""

import numpy as np

from charrnn.errors import TextError
from charrnn.layers import Array
from charrnn.text.streams import release
from charrnn.text.vocabulary import Tokens

NAMES = ("uniform", "unigram", "bigram", "3-gram", "4-gram", "5-gram", "6-gram")  # of the orders from 0
LONGEST = len(NAMES) - 1  # characters of a gram
PIECE = 2**20  # characters of the training part read at once


class Grams:
    """The k-grams that stand in the scored part, and how often they stand in the training part.

    G of them have number 0…G−1 in the order of their keys. ``contexts`` are the (k−1)-grams, C of them.

    Attributes:
        at: (n−k+1,) the number of the gram that starts at each of the n scored characters.
        contexts_at: (n−k+1,) the number of its context.
        keys: (G,) ascending: the number of the context times V, plus the last character.
        counts: (G,) c(h w).
        context_counts: (C,) c(h).
        elsewhere: ascending keys of grams of the training part that stand nowhere in the scored one,
            though their contexts do.
    """

    def __init__(self, contexts_at: Array, last: Array, C: int, V: int):
        """Number them. ``last`` (n−k+1,) is the last character of the gram that starts at each place."""
        self.V = V
        self.contexts_at = contexts_at
        self.keys, self.at = np.unique(contexts_at * V + last, return_inverse=True)
        self.counts = np.zeros(len(self.keys), np.int64)
        self.context_counts = np.zeros(C, np.int64)
        self.elsewhere = np.empty(0, np.int64)

    def count(self, contexts: Array, last: Array) -> tuple[Array, Array]:
        """Add grams of the training part, m of them.

        Arguments:
            contexts: (m,) the numbers of their contexts.
            last: (m,) their last characters.

        Returns: (m,) which of them stand in the scored part; and the numbers of those.
        """
        keys = contexts * self.V + last
        numbers = np.minimum(np.searchsorted(self.keys, keys), len(self.keys) - 1)
        known = self.keys[numbers] == keys
        self.context_counts += np.bincount(contexts, minlength=len(self.context_counts))
        self.counts += np.bincount(numbers[known], minlength=len(self.keys))
        self.elsewhere = distinct(np.concatenate([self.elsewhere, keys[~known]]))
        return known, numbers[known]

    def probabilities(self, lower: Array) -> Array:
        """P_k of the last character of each gram of the scored part, (n−k+1,); ``lower`` is its P_{k−1}."""
        followers = np.concatenate([self.keys[self.counts > 0], self.elsewhere]) // self.V
        N = np.bincount(followers, minlength=len(self.context_counts))[self.contexts_at]
        c = self.context_counts[self.contexts_at]
        return np.where(c > 0, (self.counts[self.at] + N * lower) / np.maximum(c + N, 1), lower)


def baselines(train: Tokens, scored: Tokens, V: int) -> dict[str, float]:
    """The mean loss of each of ``NAMES`` over a text, in nats per character.

    Every character of the text but its first is scored, as ``evaluate`` does. Near its beginning, where
    a context would reach back too far, a model of high order is one of a lower.

    Arguments:
        train: (m,) integers in 0…V−1, what is counted; it may be mapped into memory.
        scored: (n,) integers in 0…V−1, n of 2 or more.
        V: size of the vocabulary.

    Raises:
        TextError: the text has fewer than two characters.
    """
    n = len(scored)
    if n < 2:
        raise TextError(f"a text of {n} characters: scoring takes at least 2")
    orders = numbered(scored, V)
    for start in range(0, len(train), PIECE):
        piece = np.array(train[start : start + PIECE + LONGEST - 1])
        release(train)
        places, numbers = np.arange(min(PIECE, len(piece))), np.zeros(min(PIECE, len(piece)), np.int64)
        for k, grams in enumerate(orders, 1):  # numbers are of the (k−1)-grams that start at the places
            inside = places + k <= len(piece)
            places, numbers = places[inside], numbers[inside]
            known, numbers = grams.count(numbers, piece[places + k - 1])
            places = places[known]
    p = np.full(n, 1 / V)
    losses = [-np.log(p[1:]).mean()]
    for k, grams in enumerate(orders, 1):
        p[k - 1 :] = grams.probabilities(p[k - 1 :])
        losses.append(-np.log(p[1:]).mean())
    losses += losses[-1:] * (LONGEST - len(orders))
    return dict(zip(NAMES, map(float, losses), strict=True))


def numbered(scored: Tokens, V: int) -> list[Grams]:
    """The grams of 1, 2, … characters that stand in a text (n,), up to the longest that it can hold."""
    orders: list[Grams] = []
    at, C = np.zeros(len(scored), np.int64), 1  # the one gram of no characters
    for k in range(1, min(LONGEST, len(scored)) + 1):
        last = np.array(scored[k - 1 :])
        release(scored)
        orders.append(Grams(at[: len(last)], last, C, V))
        at, C = orders[-1].at, len(orders[-1].keys)
    return orders


def distinct(keys: Array) -> Array:
    """The distinct ones of some integers, ascending. (NumPy 2.4's own took 20 to 60 times as long.)"""
    keys = np.sort(keys)
    return keys[np.diff(keys, prepend=-1) > 0]
