"""A window forward and back by the layers' pure functions alone, each equation in its order.

The functions are an argument, so that others can stand in for the layers' own.
"""

from typing import Any

import numpy as np

from charrnn.layers import Array

Arrays = dict[str, Array]


def forward(f: Any, cell: str, p: Arrays, y: Array) -> tuple[Any, Array, tuple[Array, ...]]:
    """The loss of a window (F1–F4; GF, LF), ŷ, and what the cell remembers, its activations first.

    Arguments:
        f: an object with the functions of ``charrnn.layers``.
        cell: ``rnn``, ``gru`` or ``lstm``.
        p: the parameters by name, and with them the rows x (T, B, V) and the states a0 and c0 (B, H).
        y: the targets, (T, B) integers.
    """
    xW, W_aa, b_a = f.inputs_forward(p["x"], p["W_ax"]), p["W_aa"], p["b_a"]
    memory: tuple[Array, ...]
    if cell == "gru":
        memory = f.gru_forward(xW, p["a0"], W_aa, b_a, p["b_n"])
    elif cell == "lstm":
        memory = f.lstm_forward(xW, p["a0"], p["c0"], W_aa, b_a)
    else:
        memory = (f.recurrence_forward(xW, p["a0"], W_aa, b_a),)
    loss, y_hat = f.cross_entropy_forward(f.dense_forward(memory[0][1:], p["W_ya"], p["b_y"]), y)
    return loss, y_hat, memory


def gradients(f: Any, cell: str, p: Arrays, y: Array) -> Arrays:
    """The gradient of everything in ``p`` (B1–B9; GB, LB); the arguments are those of ``forward``."""
    _, y_hat, memory = forward(f, cell, p, y)
    g, a, W_aa = {name: np.empty_like(array) for name, array in p.items()}, memory[0], p["W_aa"]
    dlogits = f.cross_entropy_backward(y_hat, y)
    da = f.dense_backward(dlogits, a[1:], p["W_ya"], g["W_ya"], g["b_y"])
    if cell == "gru":
        dz, g["a0"] = f.gru_backward(da, *memory, W_aa)
        f.gru_backward_weights(dz, a, memory[1], g["W_aa"], g["b_a"], g["b_n"])
    else:
        if cell == "lstm":
            dz, g["a0"], g["c0"] = f.lstm_backward(da, *memory[1:], W_aa)
        else:
            dz, g["a0"] = f.recurrence_backward(da, a, W_aa)
        f.recurrence_backward_weights(dz, a, g["W_aa"], g["b_a"])
    f.inputs_backward(dz, p["x"], g["W_ax"])
    g["x"] = f.inputs_backward_x(dz, p["W_ax"])
    return g
