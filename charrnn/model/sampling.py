"""Sampling: from logits to characters, for one text or for many at once.

The distribution is shaped in this order: forbidden characters get no weight, temperature divides the logits,
top-k keeps the k likeliest characters, top-p keeps the likeliest ones that together hold the mass p
(Holtzman et al. 2020). What is left is scaled to sum to one.
"""

from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import count
from typing import Literal

import numpy as np

from charrnn.config import SampleConfig
from charrnn.layers import Array, States
from charrnn.model.network import Network

# (character, state (S,)) → (logits (V,), state (S,)); or (N,), (N, S) → (N, V), (N, S)
Step = Callable[[Array | int, Array], tuple[Array, Array]]
PIECE = 1024  # characters of a prime text read at once
AHEAD = 64  # numbers drawn from a generator at once


@dataclass(frozen=True)
class Sample:
    """A drawn text."""

    tokens: list[int]
    stop: list[int]  # what ended it, which is no part of it; empty if it was cut at ``length``
    nats: float | None  # what its tokens cost by the network's own distribution, unshaped, if that was asked


def weights(
    logits: Array,
    temperature: float = 1.0,
    top_k: int = 0,
    top_p: float = 1.0,
    forbidden: Sequence[int] = (),
) -> Array:
    """What the characters are drawn in proportion to.

    Arguments:
        logits: (V,), or (N, V) for N texts.
        temperature: above 1 evens the distribution out, below 1 sharpens it; 0 leaves the likeliest
            character only.
        top_k: how many characters to keep; 0 keeps all. Of equals the first in the vocabulary are kept.
        top_p: the mass to keep, in (0, 1]: the fewest characters that hold at least so much.
        forbidden: characters that get no weight; fewer than V.

    Returns: an array of that shape in double precision; the largest weight of a text is 1.
    """
    w: Array = logits.astype(np.float64)
    if len(forbidden):
        w[..., forbidden] = -np.inf
    w -= w.max(axis=-1, keepdims=True)
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


def generators(seed: int | None) -> Iterator[np.random.Generator]:
    """A generator for each of the texts of a seed, the first of which is the seed's own."""
    root = np.random.SeedSequence(seed)
    for number in count():
        key = (number,) if number else ()
        yield np.random.default_rng(np.random.SeedSequence(root.entropy, spawn_key=key))


def uniform(rngs: Sequence[np.random.Generator]) -> Iterator[Array]:
    """Numbers in [0, 1), one from each of N generators (N,), read ahead since single calls are slow."""
    while True:
        yield from np.stack([rng.random(AHEAD) for rng in rngs], axis=1)


def draw(w: Array, u: Array) -> Array | int:
    """One character in proportion to weights (V,), or one from each row of (N, V).

    It inverts the cumulative sum. A character whose weight is zero is never drawn.

    Arguments:
        u: (1,), or (N,), a number in [0, 1) for each row.

    Returns: an integer, or (N,) integers.
    """
    cumulative = np.add.accumulate(w, axis=-1)
    total = cumulative[..., -1]
    last: int = w.shape[-1] - 1
    if w.ndim == 1:
        return min(int(cumulative.searchsorted(u[0] * total, side="right")), last)
    u = u * total
    tokens: Array = np.minimum((cumulative <= u[:, np.newaxis]).sum(axis=-1), last)
    return tokens


def stepper(network: Network, num_texts: int = 1) -> Step:
    """The function that reads one character of one text, or of N: the network with its weights as they are.

    It computes one step as the layers do a window, from copies of the weights.
    """
    p, cell, L = network.parameters, network.cell, network.config.num_layers
    order: Literal["F", "C"] = "F" if num_texts == 1 else "C"  # BLAS is a fifth faster on a lone row so
    w = [{name: array.copy(order) for name, array in p.layer(layer).items()} for layer in range(L)]
    first = p["W_ex"] @ p["W_ax"] if "W_ex" in p else p["W_ax"]
    table = first + p["b_a"]  # (V, G·H): x⟨t⟩ W_ax + b_a of each character
    W_ya, b_y = w[0]["W_ya"], w[0]["b_y"]

    def step(tokens: Array | int, state: Array) -> tuple[Array, Array]:
        xW, states, after = table[tokens], States(), list[Array]()
        for layer, before in enumerate(network.states(state)):
            if layer:
                xW = np.dot(states[0], w[layer]["W_ax"])
                xW += w[layer]["b_a"]
            states = cell.step(xW, before, w[layer])
            after += states
        logits = np.dot(states[0], W_ya)
        logits += b_y
        return logits, after[0] if len(after) == 1 else np.concatenate(after, axis=-1)

    return step


def read(network: Network, prime: Array) -> tuple[Array, Array]:
    """Read the text that others continue. Returns: the logits (1, V) and the state (1, S) after it."""
    state, logits = network.initial_state(1), np.zeros((1, network.V), network.dtype)
    for start in range(0, len(prime), PIECE):
        window, state = network.logits(prime[start : start + PIECE, np.newaxis].astype(np.intp), state)
        logits = window[-1]
    return logits, state


def generate(
    network: Network,
    prime: Array,
    config: SampleConfig,
    rngs: Sequence[np.random.Generator],
    forbidden: Sequence[int] = (),
) -> Iterator[tuple[Array | int, Array]]:
    """Draw characters without end, each one read back in before the next.

    Arguments:
        prime: (n,) integers in 0…V−1, what each text continues; with none, the first character is drawn
            evenly.
        rngs: the only source of chance, one for each of N texts, so that a text does not depend on how many
            others are drawn.
        forbidden: characters that are never drawn; fewer than V.

    Yields: a character, an integer, and the logits it was drawn from (V,); of N texts (N,) and (N, V).
    """
    num_texts = len(rngs)
    logits, state = read(network, prime)
    if num_texts == 1:
        logits, state = logits[0], state[0]
    else:
        logits, state = (np.repeat(rows, num_texts, axis=0) for rows in (logits, state))
    step = stepper(network, num_texts)
    for u in uniform(rngs):
        tokens = draw(weights(logits, config.temperature, config.top_k, config.top_p, forbidden), u)
        yield tokens, logits
        logits, state = step(tokens, state)


def nats_of(logits: Array, tokens: Array | int) -> Array:
    """What characters cost: the cross-entropy −log ŷ of each, in double precision.

    Arguments:
        logits: (…, V).
        tokens: (…) integers.

    Returns: (…), in nats.
    """
    z = logits - logits.max(axis=-1, keepdims=True).astype(np.float64)
    right = np.take_along_axis(z, np.asarray(tokens)[..., np.newaxis], axis=-1)[..., 0]
    costs: Array = np.log(np.exp(z, out=z).sum(axis=-1)) - right
    return costs


def stop_of(tokens: list[int], stops: Sequence[list[int]]) -> list[int]:
    """The first of ``stops`` that ``tokens`` ends in; empty if it ends in none."""
    return next((stop for stop in stops if tokens[-len(stop) :] == stop), [])


def until(tokens: Iterable[int], stops: Sequence[list[int]]) -> Generator[int, None, list[int]]:
    """Pass ``tokens`` on until one of the sequences ``stops`` comes, which is not passed on.

    What could be the beginning of one is held back until it is known not to be.

    Returns: the one that came; empty if none did.
    """
    if not stops:
        yield from tokens
        return []
    held: list[int] = []
    for token in tokens:
        held.append(token)
        if stop := stop_of(held, stops):
            yield from held[: -len(stop)]
            return stop
        while held and not any(stop[: len(held)] == held for stop in stops):
            yield held.pop(0)
    yield from held
    return []


def in_pieces(tokens: Generator[int, None, list[int]], size: int) -> Generator[list[int], None, list[int]]:
    """Pass ``tokens`` on, so many at a time. Returns: what they return."""
    piece: list[int] = []
    while True:
        try:
            piece.append(next(tokens))
        except StopIteration as end:
            if piece:
                yield piece
            stop: list[int] = end.value
            return stop
        if len(piece) == size:
            yield piece
            piece = []
