"""Where a loss reaches back to: how much the activations of earlier steps have a part in it.

L⟨t⟩ = −log ŷ⟨t⟩[y⟨t⟩] is the loss of one character. Its gradients ∂L⟨t⟩/∂a⟨s⟩ at the steps s ≤ t are the
da⟨s⟩ of a backward pass whose dlogits are zero at all steps but t. Where they have faded, no weight can learn
what to carry across.

An LSTM also carries its cell c from step to step, and far back what reaches it goes through c: look at
∂L⟨t⟩/∂c⟨s⟩ there.
"""

from typing import NamedTuple

import numpy as np

from charrnn import layers
from charrnn.layers import Array
from charrnn.layers.lstm import LSTMMemory
from charrnn.model.network import Network


class Reach(NamedTuple):
    """The lengths of the gradients of a loss at the last step of a window.

    With several layers, they are those of the gradient of all layers' states at a step, side by side.
    """

    a: Array  # (T, B), ‖∂L⟨T⟩/∂a⟨s⟩‖ of each row for s = 1 … T
    c: Array | None  # (T, B), ‖∂L⟨T⟩/∂c⟨s⟩‖; None but for an LSTM


def reach(network: Network, x: Array, y: Array, state: Array | None = None) -> Reach:
    """Send the loss at the last step of each row back through its window.

    Arguments:
        network: in whose dtype it is computed.
        x: (T, B) integers, the characters read.
        y: (B,) integers, the character after the last of each row.
        state: before the window (B, S); zeros if not given.
    """
    p, (T, B) = network.parameters, x.shape
    space, g = network.space(T, B), p.like()
    logits, _ = network.logits(x, network.initial_state(B) if state is None else state, space)
    y_hat, *_ = layers.softmax_forward(logits[-1:])
    dlogits = np.zeros_like(logits)
    dlogits[-1:] = layers.cross_entropy_backward(y_hat, y[np.newaxis]) * B  # B1, of the sum over the rows
    top = space.cells[-1].a[1:]
    da = layers.dense_backward(dlogits, top, p["W_ya"], g["W_ya"], g["b_y"])  # B3, its direct term
    a, c = np.zeros((T, B)), np.zeros((T, B))  # squares
    for layer in reversed(range(network.config.num_layers)):
        memory, w = space.cells[layer], p.layer(layer)
        network.cell.backward(da, memory, w)  # B3, B4: da is whole after it
        a += squares(da)
        if isinstance(memory, LSTMMemory):
            c += squares(memory.tanh_c)  # its memory holds dc by now
        if layer > 0:
            network.cell.backward_weights(memory.dz, memory, g.layer(layer))  # makes dz of a GRU's dq
            da = layers.inputs_backward_x(memory.dz, w["W_ax"])  # B8
    return Reach(np.sqrt(a), np.sqrt(c) if "c" in network.cell.states else None)


def squares(d: Array) -> Array:
    """The squared lengths (T, B) of gradients (T, B, H)."""
    return np.asarray(np.square(d, dtype=np.float64).sum(axis=-1))


def windows(tokens: Array, length: int, count: int) -> tuple[Array, Array]:
    """Windows at even distances in a text (n,): x (length, B) and the character after each, y (B,).

    B is ``count``, or less where there are fewer such windows. The text is longer than ``length``.
    """
    starts = np.unique(np.linspace(0, len(tokens) - length - 1, count).astype(np.intp))  # (B,)
    at = starts + np.arange(length + 1)[:, np.newaxis]  # (length + 1, B)
    rows = np.asarray(tokens)[at].astype(np.intp)
    return rows[:-1], rows[-1]


def by_distance(lengths: Array) -> Array:
    """The median over the rows of a reach (T, B) at each distance t − s from the loss, 0 to T − 1: (T,)."""
    return np.asarray(np.median(lengths, axis=1)[::-1])


def cut_share(distances: Array, T: int) -> float:
    """The share of a reach by distance (n,) that truncation at T cuts off: what is T or more steps back."""
    total = float(distances.sum())
    return float(distances[T:].sum()) / total if total else 0.0
