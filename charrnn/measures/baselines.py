"""What a network has to beat: the loss of uniform guessing, and of counting which character follows which.

A k-gram is k characters in a row; its context h is the first k−1 of them and w the last. The model of
order k estimates from the training part how often w follows h. It is interpolated with the model of order
k−1, whose context h′ lacks the first character of h; the more different characters followed h, the larger
that model's weight:

    P_k(w|h) = (c(h w) + N(h) P_{k−1}(w|h′)) / (c(h) + N(h)),   P_0 = 1/V

c counts occurrences (those of h where a character follows), N(h) is the number of different characters that
followed h, and P_k = P_{k−1} where none did. This is Witten–Bell smoothing (method C of Witten and Bell
1991), interpolated as in Chen and Goodman (1998).

Only grams whose context occurs in the scored part matter. They are numbered one order at a time: the number
of a gram's context and its last character make a key that fits into 64 bits whatever V is. The training
part is read in pieces, and its grams are looked up among those keys.

A document is counted and scored as if what a network reads before its first character, the separator's last
one, stood before it as often as the longest context needs.
"""

import numpy as np

from charrnn.errors import TextError
from charrnn.layers import Array
from charrnn.text.documents import Documents, Text
from charrnn.text.tokens import release
from charrnn.text.vocabulary import Tokens

NAMES = ("uniform", "unigram", "bigram", "3-gram", "4-gram", "5-gram", "6-gram")  # of the orders from 0
LONGEST = len(NAMES) - 1  # characters of a gram
PIECE = 2**20  # characters of the training part read at once


class Grams:
    """The k-grams of the scored part, and how often they occur in the training part.

    There are G of them, numbered in the order of their keys; their contexts are C (k−1)-grams.

    Attributes:
        numbers: (n−k+1,) the number of the gram that starts at each of the n scored characters.
        contexts: (n−k+1,) the number of its context.
        keys: (G,) ascending: the number of the context times V, plus the last character.
        counts: (G,) c(h w).
        context_counts: (C,) c(h).
        unscored: ascending keys of the training part's grams that do not occur in the scored part although
            their contexts do.
    """

    def __init__(self, contexts: Array, last: Array, C: int, V: int):
        """Number the grams; ``last`` (n−k+1,) are their last characters."""
        self.V = V
        self.contexts = contexts
        self.keys, self.numbers = np.unique(contexts * V + last, return_inverse=True)
        self.counts = np.zeros(len(self.keys), np.int64)
        self.context_counts = np.zeros(C, np.int64)
        self.unscored = np.empty(0, np.int64)

    def count(self, contexts: Array, last: Array, real: Array) -> tuple[Array, Array]:
        """Count m grams of the training part.

        Arguments:
            contexts: (m,) the numbers of their contexts.
            last: (m,) their last characters.
            real: (m,) which of those are the text's; the others, before documents, are not counted.

        Returns: which of them occur in the scored part (m,), and the numbers of those.
        """
        keys = contexts * self.V + last
        numbers = np.minimum(np.searchsorted(self.keys, keys), len(self.keys) - 1)
        scored = self.keys[numbers] == keys
        self.context_counts += np.bincount(contexts[real], minlength=len(self.context_counts))
        self.counts += np.bincount(numbers[scored & real], minlength=len(self.keys))
        self.unscored = distinct(np.concatenate([self.unscored, keys[~scored & real]]))
        return scored, numbers[scored]

    def probabilities(self, lower: Array) -> Array:
        """P_k of the last character of each gram of the scored part, (n−k+1,); ``lower`` is its P_{k−1}."""
        followed = np.concatenate([self.keys[self.counts > 0], self.unscored]) // self.V
        N = np.bincount(followed, minlength=len(self.context_counts))[self.contexts]
        c = self.context_counts[self.contexts]
        return np.where(c > 0, (self.counts[self.numbers] + N * lower) / np.maximum(c + N, 1), lower)


def baselines(train: Text, scored: Text, V: int) -> dict[str, float]:
    """The mean loss of each model in ``NAMES`` over a text, in nats per character.

    Every character but the first is scored, of documents every one, as ``evaluate`` does. Near the beginning
    of a text, where fewer characters come before, a model of high order uses as many as there are.

    Arguments:
        train: (m,) integers in 0…V−1, the training part; it may be mapped into memory.
        scored: (n,) integers in 0…V−1, n ≥ 2. Both may be documents.
        V: size of the vocabulary.

    Returns: the loss of each model, by name.

    Raises:
        TextError: the text has fewer than two characters.
    """
    if len(scored) < 2:
        raise TextError(f"a text needs at least 2 characters to be scored; this one has {len(scored)}")
    tokens, counted = read(scored, 0, padded_length(scored))
    counted[0] = False  # it has nothing to be predicted from
    orders = grams_of(tokens, V)
    for start in range(0, padded_length(train), PIECE):
        piece, real = read(train, start, start + PIECE + LONGEST - 1)
        places, numbers = np.arange(min(PIECE, len(piece))), np.zeros(min(PIECE, len(piece)), np.int64)
        for k, grams in enumerate(orders, 1):  # numbers are those of the (k−1)-grams that start at places
            inside = places + k <= len(piece)
            places, numbers = places[inside], numbers[inside]
            last = places + k - 1
            scored_too, numbers = grams.count(numbers, piece[last], real[last])
            places = places[scored_too]
    p = np.full(len(tokens), 1 / V)
    losses = [-np.log(p[counted]).mean()]
    for k, grams in enumerate(orders, 1):
        p[k - 1 :] = grams.probabilities(p[k - 1 :])
        losses.append(-np.log(p[counted]).mean())
    losses += losses[-1:] * (LONGEST - len(orders))
    return dict(zip(NAMES, map(float, losses), strict=True))


def padded_length(text: Text) -> int:
    """The characters of a text, and of what ``read`` puts before its documents."""
    return len(text) + (LONGEST - 1) * text.count if isinstance(text, Documents) else len(text)


def read(text: Text, start: int, stop: int) -> tuple[Array, Array]:
    """Characters of a text, with what comes before a document, and which of them are the text's."""
    if isinstance(text, Documents):
        tokens, real = text.padded(LONGEST - 1, start, stop)
        release(text)
        return tokens, real
    tokens = np.array(text[start:stop])
    release(text)
    return tokens, np.ones(len(tokens), bool)


def grams_of(scored: Tokens, V: int) -> list[Grams]:
    """The grams of 1, 2, … characters in a text (n,), up to ``LONGEST`` or the length of the text."""
    orders: list[Grams] = []
    contexts, C = np.zeros(len(scored), np.int64), 1  # the one gram of no characters
    for k in range(1, min(LONGEST, len(scored)) + 1):
        last = scored[k - 1 :]
        orders.append(Grams(contexts[: len(last)], last, C, V))
        contexts, C = orders[-1].numbers, len(orders[-1].keys)
    return orders


def distinct(keys: Array) -> Array:
    """The distinct values of some integers ≥ 0, ascending. (NumPy 2.4's own takes 20 to 60 times as long.)"""
    keys = np.sort(keys)
    return keys[np.diff(keys, prepend=-1) > 0]
