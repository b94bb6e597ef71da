"""Sampling: from logits to characters, for one text or for many at once.

The distribution is shaped in this order: temperature divides the logits, top-k keeps the k likeliest
characters, top-p keeps the likeliest ones that together hold the mass p (Holtzman et al. 2020). What is
left is scaled to sum to one.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence

import numpy as np

from charrnn.layers import Array

Step = Callable[
    [Array | int, Array], tuple[Array, Array]
]  # (character, state) → (logits, state), for one or N


def weights(logits: Array, temperature: float = 1.0, top_k: int = 0, top_p: float = 1.0) -> Array:
    """What the characters are drawn in proportion to.

    Arguments:
        logits: (V,), or (N, V) for N texts.
        temperature: above 1 evens the distribution out, below 1 sharpens it; 0 leaves the likeliest
            character only.
        top_k: how many characters to keep; 0 keeps all. Of equals the first in the vocabulary are kept.
        top_p: the mass to keep, in (0, 1]: the fewest characters that hold at least so much.

    Returns: an array of that shape in double precision; the largest weight of a text is 1.
    """
    w: Array = logits - logits.max(axis=-1, keepdims=True).astype(np.float64)
    if temperature == 0:
        likeliest: Array = np.eye(w.shape[-1])[w.argmax(axis=-1)]
        return likeliest
    w /= max(temperature, 1e-200)  # a smaller one could overflow, and leaves no other chance either
    np.exp(w, out=w)
    if 0 < top_k < w.shape[-1] or top_p < 1:
        order = np.argsort(-w, axis=-1, kind="stable")  # likeliest first
        ranked = np.take_along_axis(w, order, axis=-1)
        if top_k:
            ranked[..., top_k:] = 0
        upto = np.cumsum(ranked, axis=-1)  # the mass of a character and all likelier ones
        ranked[upto - ranked >= top_p * upto[..., -1:]] = 0
        np.put_along_axis(w, order, ranked, axis=-1)
    return w


def probabilities(logits: Array, temperature: float = 1.0, top_k: int = 0, top_p: float = 1.0) -> Array:
    """The distribution to draw from: ``weights`` scaled so that each text's sum to one."""
    w: Array = weights(logits, temperature, top_k, top_p)
    w /= w.sum(axis=-1, keepdims=True)
    return w


def draw(w: Array, rng: np.random.Generator) -> Array | int:
    """One character in proportion to weights (V,), or one from each row of (N, V).

    It inverts the cumulative sum. A character whose weight is zero is never drawn.

    Returns: an integer, or (N,) integers.
    """
    cumulative = np.add.accumulate(w, axis=-1)
    total = cumulative[..., -1]
    last: int = w.shape[-1] - 1
    if w.ndim == 1:
        return min(int(cumulative.searchsorted(rng.random() * total, side="right")), last)
    u = rng.random(len(w)) * total
    tokens: Array = np.minimum((cumulative <= u[:, np.newaxis]).sum(axis=-1), last)
    return tokens


def generate(
    step: Step,
    logits: Array,
    state: Array,
    rng: np.random.Generator,
    temperature: float = 1.0,
    top_k: int = 0,
    top_p: float = 1.0,
) -> Iterator[Array | int]:
    """Draw characters without end, each one read back in before the next.

    Arguments:
        step: reads the next character of every text: the network.
        logits: of the first character to draw, (V,) for one text or (N, V) for N.
        state: (H,) or (N, H), from which ``logits`` came.
        rng: the only source of chance.

    Yields: a character, an integer, or one for each of N texts (N,).
    """
    while True:
        tokens = draw(weights(logits, temperature, top_k, top_p), rng)
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
