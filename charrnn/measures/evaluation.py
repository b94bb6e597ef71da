"""How good a model is: its loss over a whole text, every character scored once."""

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from charrnn.blas import one_blas_thread
from charrnn.errors import ArgumentError, TextError, check_type
from charrnn.layers import Array, cross_entropy_forward
from charrnn.model.charrnn import CharRNN
from charrnn.model.sampling import nats_of
from charrnn.text.documents import Documents, Text
from charrnn.text.reading import PIECE
from charrnn.text.tokens import release
from charrnn.text.vocabulary import Tokens

WARM_UP = 256  # characters that a row reads before its first scored one
ROWS = 32
SIDE_BY_SIDE = 64  # texts read at once
CHUNK = 2**26  # bytes of activations and logits held at once


@dataclass(frozen=True)
class Evaluation:
    """How well a model predicts a text."""

    characters: (
        int  # scored: all but a text's first, which has nothing to be predicted from; of documents all
    )
    loss: float  # mean, in nats per character
    accuracy: float  # the part of the characters that the model found likeliest
    documents: int | None = None  # how many; None for a text that is one

    @property
    def nats_per_document(self) -> float | None:
        return self.loss * self.characters / self.documents if self.documents else None

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


class Piece(NamedTuple):
    """Some time steps of the rows in which a text is scored."""

    x: Tokens  # (T, rows)
    y: Tokens  # (T, rows), the character after each
    scored: Array  # (T, rows) booleans: which y count
    fresh: Array  # (rows,) booleans: the rows that start here, from a state of zeros
    rho: Array | None  # (T, rows) booleans, False where a document begins; None for a text that is one

    def of(self, rows: slice) -> "Piece":
        """Some of the rows."""
        rho = None if self.rho is None else self.rho[:, rows]
        return Piece(self.x[:, rows], self.y[:, rows], self.scored[:, rows], self.fresh[rows], rho)


Scoring = Callable[[Piece], tuple[float, int]]  # nats, characters found likeliest


def scorer(model: CharRNN, rows: int, T: int) -> Scoring:
    """Score one piece after another, of ``rows`` rows and up to ``T`` steps; the state is carried."""
    state, space = model.initial_state(rows), model.space(T, rows)

    def score(piece: Piece) -> tuple[float, int]:
        nonlocal state
        state[piece.fresh] = 0
        logits, state = model.logits(piece.x.astype(np.intp), state, space, rho=piece.rho)
        if not piece.scored.any():
            return 0.0, 0
        logits, y = logits.reshape(1, piece.y.size, -1), piece.y.astype(np.intp).reshape(1, -1)
        if not piece.scored.all():
            at = piece.scored.reshape(-1)
            logits, y = logits[:, at], y[:, at]
        hits = int((logits.argmax(axis=-1) == y).sum())
        loss, _ = cross_entropy_forward(logits, y, out=logits)
        return float(loss) * y.size, hits

    return score


def evaluate(
    model: CharRNN,
    text: str | bytes | Text,
    make_scorer: Callable[[CharRNN, int, int], Scoring] = scorer,
) -> Evaluation:
    """Score a text from its first character to its last, with the state carried.

    A long text is read in up to 32 rows side by side. Each row but the first starts by reading the 256
    characters before its own without scoring them, so that it lacks only what a network remembers from
    further back. A text of up to 2,048 characters is read in one row.

    Documents are scored each from a state of zeros, their first characters too, in rows of whole documents.

    Arguments:
        text: a text, or the tokens of one: (n,) integers in 0…V−1, n ≥ 2, which may be mapped into memory;
            or documents, such as a corpus's own.
        make_scorer: as ``scorer``; one that shares the rows out over several processes, for one.

    Returns: the mean loss and the accuracy over the n−1 characters after the first, or all of documents.

    Raises:
        TextError: the text has fewer than two characters, or one that the model does not know.
    """
    documents = text if isinstance(text, Documents) else None
    text = encoded(model, text, "text") if not isinstance(text, Documents) else text
    n = len(text) - (documents is None)  # predictions
    if n < 1:
        raise TextError(f"a text needs at least 2 characters to be scored; this one has {len(text)}")
    if documents is None:
        rows = min(ROWS, max(1, n // (4 * WARM_UP)))
        bounds = 1 + np.minimum(-(-n // rows) * np.arange(rows + 1), n)
    else:
        bounds = np.unique(documents.places[documents.nearest(np.linspace(0, n, ROWS + 1))])
    rows = len(bounds) - 1
    T = min(int(np.diff(bounds).max()), max(1, CHUNK // model.bytes_per_step(rows)))
    with one_blas_thread():  # for products this small, threads cost more than they bring
        score = make_scorer(model, rows, T)
        nats, hits = 0.0, 0
        for piece in pieces(text, bounds, T):
            more_nats, more_hits = score(piece)
            nats, hits = nats + more_nats, hits + more_hits
    return Evaluation(n, nats / n, hits / n, documents.count if documents else None)


def pieces(text: Text, bounds: Array, T: int) -> Iterator[Piece]:
    """A text in rows, T steps at a time, after what each row reads before its first character.

    Arguments:
        bounds: (rows + 1,) where rows begin among its characters, and where the last one ends.
    """
    first, end = bounds[:-1], bounds[1:]
    warm_up = WARM_UP if len(first) > 1 and not isinstance(text, Documents) else 0
    length = int((end - first).max())
    for t in [*range(-warm_up, 0, T), *range(0, length, T)]:
        steps = np.arange(t, min(t + T, length if t >= 0 else 0))[:, np.newaxis]
        at = steps + first  # (T, rows)
        fresh = np.full(len(first), t == -warm_up)
        fresh[0] |= t == 0  # the first row has no text before it
        x, y, rho = read(text, np.clip(at, bounds[0], end - 1))
        yield Piece(x, y, (steps >= 0) & (at < end), fresh, rho)


def read(text: Text, at: Array) -> tuple[Tokens, Tokens, Array | None]:
    """What is read before the characters at some places of a text (T, rows), those, and their ρ."""
    x, y, rho = text.read(at) if isinstance(text, Documents) else (text[at - 1], text[at], None)
    release(text)
    return x, y, rho


def score_lines(model: CharRNN, lines: Sequence[str | bytes]) -> list[Score]:
    """Score several texts, each by itself from a state of zeros, side by side.

    The first character of a text has nothing to be predicted from and is not scored.

    Raises:
        ArgumentError: ``lines`` is no list of texts.
        TextError: one has a character that the model does not know.
    """
    if isinstance(lines, str | bytes) or not isinstance(lines, Iterable):
        raise ArgumentError("lines", lines, "a list of texts, such as text.splitlines()")
    texts = [encoded(model, line, f"lines[{i}]") for i, line in enumerate(lines)]
    return [Score(len(nats), float(nats.sum())) for nats in losses(model, texts)]


def encoded(model: CharRNN, text: str | bytes | Tokens, what: str) -> Tokens:
    """The tokens of a text; those given as they are."""
    check_type("model", model, CharRNN, "a charrnn.CharRNN, such as charrnn.load(run)")
    if isinstance(text, str | bytes):
        return model.vocabulary.encode(text)
    if not isinstance(text, np.ndarray) or text.ndim != 1 or text.dtype.kind not in "iu":
        raise ArgumentError(what, text, "a text, or an array (n,) of its tokens, which are integers")
    for start in range(0, len(text), PIECE):
        some = text[start : start + PIECE]
        if some.min() < 0 or some.max() >= model.V:
            raise TextError(f"{what}: tokens are 0 to {model.V - 1}; found {some.min()} to {some.max()}")
        release(text)
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
