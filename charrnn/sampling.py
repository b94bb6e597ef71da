"""Sampling: from logits to characters, for one text or for many at once.

The distribution is shaped in this order: temperature divides the logits, top-k keeps the k likeliest
characters, top-p keeps the likeliest ones that together hold the mass p (Holtzman et al. 2020). What is
left is scaled to sum to one.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from charrnn.layers import softmax_forward

Array = NDArray[Any]
Step = Callable[[Array, Array], tuple[Array, Array]]  # (characters (N,), state) → (logits (N, V), state)


def probabilities(logits: Array, temperature: float = 1.0, top_k: int = 0, top_p: float = 1.0) -> Array:
    """The distribution to draw from.

    Arguments:
        logits: (N, V).
        temperature: above 1 evens the distribution out, below 1 sharpens it; 0 leaves the likeliest
            character only.
        top_k: how many characters to keep; 0 keeps all. Of equals the first in the vocabulary are kept.
        top_p: the mass to keep, in (0, 1]: the fewest characters that hold at least so much.

    Returns: (N, V) in double precision; each row sums to one.
    """
    logits = np.asarray(logits, np.float64)
    if temperature == 0:
        likeliest: Array = np.eye(logits.shape[-1])[logits.argmax(axis=-1)]
        return likeliest
    logits = logits - logits.max(axis=-1, keepdims=True)  # so that a small temperature cannot overflow
    with np.errstate(over="ignore"):  # -inf is right for what has no chance left
        p, _, _ = softmax_forward(logits / temperature)
    if 0 < top_k < p.shape[-1] or top_p < 1:
        order = np.argsort(-p, axis=-1, kind="stable")  # likeliest first
        ranked = np.take_along_axis(p, order, axis=-1)
        if top_k:
            ranked[:, top_k:] = 0
            ranked /= ranked.sum(axis=-1, keepdims=True)
        before = np.cumsum(ranked, axis=-1) - ranked  # the mass of all likelier characters
        ranked[before >= top_p] = 0
        np.put_along_axis(p, order, ranked, axis=-1)
        p /= p.sum(axis=-1, keepdims=True)
    return p


def draw(p: Array, rng: np.random.Generator) -> Array:
    """One character from each row of probabilities (N, V), by inverting the cumulative sum.

    Returns: (N,) integers. A character whose probability is zero is never drawn.
    """
    cumulative = np.cumsum(p, axis=-1)
    u = rng.random(len(p))[:, np.newaxis] * cumulative[:, -1:]
    tokens: Array = np.minimum((cumulative <= u).sum(axis=-1), p.shape[-1] - 1)
    return tokens


def generate(
    step: Step,
    logits: Array,
    state: Array,
    rng: np.random.Generator,
    temperature: float = 1.0,
    top_k: int = 0,
    top_p: float = 1.0,
) -> Iterator[Array]:
    """Draw characters without end, each one read back in before the next.

    Arguments:
        step: reads a character in every row: the network.
        logits: (N, V) of the first character to draw.
        state: (N, H), from which ``logits`` came.
        rng: the only source of chance.

    Yields: (N,) integers, a character for each of N texts.
    """
    while True:
        tokens = draw(probabilities(logits, temperature, top_k, top_p), rng)
        yield tokens
        logits, state = step(tokens, state)


def until(tokens: Iterable[int], stop: Sequence[int]) -> Iterator[int]:
    """Pass ``tokens`` on until the sequence ``stop`` comes, which is not passed on.

    What could be the beginning of ``stop`` is held back until it is known not to be.
    """
    stop = list(stop)
    held: list[int] = []
    for token in tokens:
        held.append(int(token))
        if held == stop:
            return
        while held != stop[: len(held)]:
            yield held.pop(0)
    yield from held
