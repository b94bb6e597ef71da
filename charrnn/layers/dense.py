"""The output side: logits⟨t⟩ = a⟨t⟩ W_ya + b_y. What follows it, softmax and loss, is in ``elementwise``."""

from types import ModuleType

import numpy as np

from charrnn.layers import elementwise
from charrnn.layers.array import Array


def dense_forward(
    a: Array,  # (T, B, H)
    W_ya: Array,  # (H, V)
    b_y: Array | None,  # (V,); None leaves it to ``cross_entropy_forward``
    out: Array | None = None,  # (T, B, V)
) -> Array:
    """The logits of every step, a⟨t⟩ W_ya + b_y (the inside of F3), as one product over all T·B rows.

    Returns: logits (T, B, V).
    """
    T, B, H = a.shape
    if out is None:
        out = np.empty((T, B, W_ya.shape[1]), np.result_type(a, W_ya))
    np.matmul(a.reshape(-1, H), W_ya, out=out.reshape(T * B, -1))
    if b_y is not None:
        out += b_y
    return out


def dense_backward(
    dlogits: Array,  # (T, B, V)
    a: Array,  # (T, B, H)
    W_ya: Array,  # (H, V)
    dW_ya: Array,  # (H, V), written
    db_y: Array,  # (V,), written
    out: Array | None = None,  # (T, B, H)
    kernels: ModuleType = elementwise,
) -> Array:
    """The gradients of the dense layer (B2), and what it sends to the activations (the first term of B3).

    Returns: dlogits⟨t⟩ W_yaᵀ (T, B, H); ``dW_ya`` and ``db_y`` are written in place.
    """
    T, B, H = a.shape
    da = np.empty((T, B, H), dlogits.dtype) if out is None else out
    rows = dlogits.reshape(T * B, -1)  # (T·B, V)
    np.matmul(a.reshape(-1, H).T, rows, out=dW_ya)  # (B2)
    kernels.sum_rows(rows, db_y)  # (B2)
    np.matmul(rows, W_ya.T, out=da.reshape(-1, H))  # (B3), its direct term
    return da
