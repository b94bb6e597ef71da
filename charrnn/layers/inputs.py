"""The input side of a cell: x⟨t⟩ W_ax, for one-hot x⟨t⟩ or for any other.

A one-hot row times a matrix is one row of that matrix, so the product of F1 is a gather of rows and
its gradient B6 a scatter back onto them. Neither ever builds the one-hot array of T·B·V numbers. Where x⟨t⟩
is what a layer below sends up, both are ordinary products over all T·B rows.

A learned embedding e⟨t⟩ = x⟨t⟩ W_ex is the same layer once more, with e for z. So the G·H columns that a cell
of G gates takes are called H here, whatever they are, and V is the length of x⟨t⟩.
"""

from types import ModuleType

import numpy as np

from charrnn.layers import elementwise
from charrnn.layers.array import Array


def inputs_forward(
    x: Array,  # (T, B) integers, or (T, B, V) rows
    W_ax: Array,  # (V, H)
    out: Array | None = None,  # (T, B, H)
) -> Array:
    """x⟨t⟩ W_ax, the first term of F1.

    ``x`` holds characters as integers in 0…V−1, each standing for a one-hot row; they are not checked
    here. It may also hold rows, which need not be one-hot then.

    Returns: (T, B, H), in ``out`` if that is given.
    """
    if x.ndim == 3:
        T, B, V = x.shape
        out = np.empty((T, B, W_ax.shape[1]), np.result_type(x, W_ax)) if out is None else out
        np.matmul(x.reshape(-1, V), W_ax, out=out.reshape(T * B, -1))
        return out
    return np.take(W_ax, x, axis=0, out=out, mode="clip")  # the other modes copy when out is given


def inputs_backward(
    dz: Array,  # (T, B, H)
    x: Array,  # (T, B) integers, or (T, B, V) rows
    dW_ax: Array,  # (V, H), written
    kernels: ModuleType = elementwise,
) -> Array:
    """The gradient of the loss with respect to W_ax (B6).

    Of characters only the row of W_ax that x⟨t⟩ picked receives dz⟨t⟩.

    Returns: ``dW_ax``.
    """
    H = dz.shape[-1]
    if x.ndim == 3:
        np.matmul(x.reshape(-1, x.shape[-1]).T, dz.reshape(-1, H), out=dW_ax)  # (B6)
        return dW_ax
    kernels.sum_by_character(dz, x, dW_ax)  # B6
    return dW_ax


def inputs_backward_x(
    dz: Array,  # (T, B, H)
    W_ax: Array,  # (V, H)
    out: Array | None = None,  # (T, B, V)
) -> Array:
    """The gradient of the loss with respect to the rows x⟨t⟩ (B8): what a layer sends to the one below.

    Returns: dx (T, B, V), in ``out`` if that is given.
    """
    T, B, H = dz.shape
    dx = np.empty((T, B, len(W_ax)), np.result_type(dz, W_ax)) if out is None else out
    np.matmul(dz.reshape(-1, H), W_ax.T, out=dx.reshape(T * B, -1))  # (B8)
    return dx
