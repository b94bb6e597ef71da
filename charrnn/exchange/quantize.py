"""Weights in 8 bits: each row of a matrix in 255 even steps of its own; biases stay as they are."""

import numpy as np

from charrnn.exchange.pytorch import from_torch, to_torch
from charrnn.layers import Array
from charrnn.model import CharRNN


def int8_rows(matrix: Array) -> tuple[Array, Array]:
    """Round a matrix (n, m). Returns: integers −127…127 (n, m), and the step of each row, float32 (n, 1)."""
    steps = np.abs(matrix).max(axis=1, keepdims=True).astype("<f4") / np.float32(127)
    steps[steps == 0] = 1
    return np.rint(matrix / steps).astype(np.int8), steps


def quantized(model: CharRNN) -> CharRNN:
    """The network that a file of 8 bits holds, in float32: the rows are those of PyTorch's matrices."""
    other = model.like(np.float32)
    from_torch(other, {name: _rounded(array) for name, array in to_torch(model).items()})
    return other


def _rounded(array: Array) -> Array:
    if array.ndim == 1:
        return array
    rounded, steps = int8_rows(array)
    return rounded * steps
