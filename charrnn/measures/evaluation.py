"""How good a model is: its loss over a whole text, every character scored once."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from charrnn.blas import one_blas_thread
from charrnn.errors import TextError
from charrnn.layers import Array, cross_entropy_forward
from charrnn.model.charrnn import CharRNN
from charrnn.model.sampling import nats_of
from charrnn.text.streams import release
from charrnn.text.vocabulary import Tokens

WARM_UP = 256  # characters that a row reads before its first scored one
ROWS = 32
SIDE_BY_SIDE = 64  # texts read at once
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


@dataclass(frozen=True)
class Score:
    """How well a model predicts one text of several."""

    characters: int  # that were scored
    nats: float  # their sum

    @property
    def bits_per_char(self) -> float | None:
        """None for a text without a character to score."""
        return self.nats / self.characters / math.log(2) if self.characters else None


def evaluate(model: CharRNN, text: str | bytes | Tokens) -> Evaluation:
    """Score a text from its first character to its last, with the state carried.

    A long text is read in up to 32 rows side by side. Each row but the first starts by reading the 256
    characters before its own without scoring them, so that it lacks only what a network remembers from
    further back. A text of up to 2,048 characters is read in one row.

    Arguments:
        text: a text, or the tokens of one: (n,) integers in 0…V−1, n ≥ 2, which may be mapped into memory.

    Returns: the mean loss and the accuracy over the n−1 characters after the first.

    Raises:
        TextError: the text has fewer than two characters, or one that the model does not know.
    """
    tokens = encoded(model, text, "text")
    with one_blas_thread():  # for products this small, threads cost more than they bring
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


def score_lines(model: CharRNN, lines: Sequence[str | bytes]) -> list[Score]:
    """Score several texts, each by itself from a state of zeros, side by side.

    The first character of a text has nothing to be predicted from and is not scored.

    Raises:
        TextError: ``lines`` is no list of texts, or one has a character that the model does not know.
    """
    if isinstance(lines, str | bytes):
        raise TextError("lines is one text; expected a list of texts: score_lines(model, text.splitlines())")
    texts = [encoded(model, line, f"lines[{i}]") for i, line in enumerate(lines)]
    return [Score(len(nats), float(nats.sum())) for nats in losses(model, texts)]


def encoded(model: CharRNN, text: str | bytes | Tokens, what: str) -> Tokens:
    """The tokens of a text; those given as they are."""
    if isinstance(text, str | bytes):
        return model.vocabulary.encode(text)
    if not isinstance(text, np.ndarray) or text.ndim != 1 or text.dtype.kind not in "iu":
        raise TextError(f"{what} is a {type(text).__name__}; expected a text, or an array (n,) of its tokens")
    return text


def losses(model: CharRNN, texts: Sequence[Tokens], start: int | None = None) -> list[Array]:
    """What each character of several texts costs, in nats; each text is read from a state of zeros.

    The texts are read up to 64 side by side, of nearly one length, the shorter ones padded.

    Arguments:
        texts: (n,) integers in 0…V−1 each.
        start: the character that is read before the first one of each text, so that it is scored too; with
            None it is not.

    Returns: for each text n losses in double precision, n−1 without a start.
    """
    before = np.array([] if start is None else [start], np.intp)
    result = [np.zeros(max(0, len(before) + len(text) - 1)) for text in texts]
    order = sorted(range(len(texts)), key=lambda i: -len(texts[i]))
    with one_blas_thread():
        for first in range(0, len(texts), SIDE_BY_SIDE):
            rows = [i for i in order[first : first + SIDE_BY_SIDE] if len(result[i])]
            if rows:
                _fill(model, [texts[i] for i in rows], before, [result[i] for i in rows])
    return result


def _fill(model: CharRNN, texts: Sequence[Tokens], before: Array, nats: Sequence[Array]) -> None:
    """Write the losses of some texts, the longest first, to ``nats``."""
    longest, B = len(nats[0]), len(texts)
    T = min(longest, max(1, CHUNK // model.bytes_per_step(B)))
    state, space = model.initial_state(B), model.space(T, B)
    for t in range(0, longest, T):
        steps = min(T, longest - t)
        read = np.zeros((steps + 1, B), np.intp)
        for row, text in enumerate(texts):
            lead = before[t : t + steps + 1]
            at = max(0, t - len(before))
            piece = np.concatenate((lead, text[at : at + steps + 1 - len(lead)].astype(np.intp)))
            read[: len(piece), row] = piece
        logits, state = model.logits(read[:-1], state, space)
        costs = nats_of(logits, read[1:])  # (T, B)
        for row, of_text in enumerate(nats):
            of_text[t : t + steps] = costs[: max(0, len(of_text) - t), row]
