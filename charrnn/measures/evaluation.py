"""How good a model is: its loss over a whole text, every character scored once."""

import math
from dataclasses import dataclass

import numpy as np
from threadpoolctl import threadpool_limits

from charrnn.errors import TextError
from charrnn.layers import cross_entropy_forward
from charrnn.model.charrnn import CharRNN
from charrnn.text.streams import release
from charrnn.text.vocabulary import Tokens

WARM_UP = 256  # characters that a row reads before its first scored one
ROWS = 32
CHUNK = 2**26  # bytes of activations and logits held at once


@dataclass(frozen=True)
class Evaluation:
    """How well a model predicts a text."""

    characters: int  # that were scored: all but the first, which has nothing to be predicted from
    loss: float  # mean, in nats per character
    accuracy: float  # the part of the characters that the model found likeliest

    @property
    def bits_per_char(self) -> float:
        return self.loss / math.log(2)

    @property
    def perplexity(self) -> float:
        """The number of equally likely characters among which the next one would be as hard to guess."""
        return math.exp(self.loss) if self.loss < 700 else math.inf


def evaluate(model: CharRNN, tokens: Tokens) -> Evaluation:
    """Score a text from its first character to its last, with the state carried.

    A long text is read in up to 32 rows side by side. Each row but the first starts by reading the 256
    characters before its own without scoring them, so that it lacks only what a network remembers from
    further back. A text of up to 2,048 characters is read in one row.

    Arguments:
        tokens: (n,) integers in 0…V−1, n ≥ 2; they may be mapped into memory.

    Returns: the mean loss and the accuracy over the n−1 characters after the first.

    Raises:
        TextError: the text has fewer than two characters.
    """
    with threadpool_limits(1, "blas"):  # for products this small, threads cost more than they bring
        return _evaluate(model, tokens)


def _evaluate(model: CharRNN, tokens: Tokens) -> Evaluation:
    n = len(tokens) - 1  # predictions
    if n < 1:
        raise TextError(f"a text needs at least 2 characters to be scored; this one has {len(tokens)}")
    rows = min(ROWS, max(1, n // (4 * WARM_UP)))
    length = -(-n // rows)
    first = length * np.arange(rows)  # character of each row
    state = model.initial_state(rows)
    T = min(length, max(1, CHUNK // model.bytes_per_step(rows)))
    space = model.space(T, rows)
    if rows > 1:
        for t in range(-WARM_UP, 0, T):
            before = np.arange(t, min(t + T, 0))[:, np.newaxis] + first  # (T, rows)
            _, state = model.logits(tokens[np.maximum(before, 0)].astype(np.intp), state, space)
            release(tokens)
        state[0] = 0  # the first row has no text before it
    total, hits = 0.0, 0
    for t in range(0, length, T):
        at = np.arange(t, min(t + T, length))[:, np.newaxis] + first  # (T, rows)
        scored = at < n  # the last row may be shorter
        at = np.minimum(at, n - 1)
        x, y = tokens[at].astype(np.intp), tokens[at + 1].astype(np.intp)
        release(tokens)
        logits, state = model.logits(x, state, space)
        logits, y = logits.reshape(1, y.size, -1), y.reshape(1, -1)
        if not scored.all():
            logits, y = logits[:, scored.reshape(-1)], y[:, scored.reshape(-1)]
        hits += int((logits.argmax(axis=-1) == y).sum())
        loss, _ = cross_entropy_forward(logits, y, out=logits)
        total += float(loss) * y.size
    return Evaluation(n, total / n, hits / n)
