"""The output side: a dense layer, the softmax, and the cross-entropy of what it predicts.

    logits⟨t⟩ = a⟨t⟩ W_ya + b_y
    ŷ⟨t⟩ = softmax(logits⟨t⟩)                         F3
    L = −(1/TB) Σ_t Σ_b log ŷ⟨t⟩[b, y⟨t⟩_b]            F4

Softmax and cross-entropy are differentiated together: the Jacobian diag(ŷ) − ŷᵀŷ of the one times the
gradient −y/ŷ of the other is ŷ − y, which divides by nothing.
"""

from typing import Any

import numpy as np

from charrnn.layers.array import Array


def dense_forward(
    a: Array,  # (T, B, H)
    W_ya: Array,  # (H, V)
    b_y: Array,  # (V,)
    out: Array | None = None,  # (T, B, V)
) -> Array:
    """The logits of every step, a⟨t⟩ W_ya + b_y (the inside of F3), as one product over all T·B rows.

    Returns: logits (T, B, V).
    """
    T, B, H = a.shape
    if out is None:
        out = np.empty((T, B, W_ya.shape[1]), np.result_type(a, W_ya))
    np.matmul(a.reshape(-1, H), W_ya, out=out.reshape(T * B, -1))
    out += b_y
    return out


def dense_backward(
    dlogits: Array,  # (T, B, V)
    a: Array,  # (T, B, H)
    W_ya: Array,  # (H, V)
    dW_ya: Array,  # (H, V), written
    db_y: Array,  # (V,), written
    out: Array | None = None,  # (T, B, H)
) -> Array:
    """The gradients of the dense layer (B2), and what it sends to the activations (the first term of B3).

    Returns: dlogits⟨t⟩ W_yaᵀ (T, B, H); ``dW_ya`` and ``db_y`` are written in place.
    """
    T, B, H = a.shape
    da = np.empty((T, B, H), dlogits.dtype) if out is None else out
    rows = dlogits.reshape(T * B, -1)  # (T·B, V)
    np.matmul(a.reshape(-1, H).T, rows, out=dW_ya)  # (B2)
    np.add.reduce(rows, axis=0, out=db_y)  # (B2)
    np.matmul(rows, W_ya.T, out=da.reshape(-1, H))  # (B3), its direct term
    return da


def softmax_forward(
    logits: Array,  # (…, V)
    out: Array | None = None,  # (…, V)
) -> tuple[Array, Array, Array]:
    """ŷ = softmax(logits) along the last axis (F3), for any finite logits.

    The largest logit of a row is taken off first, which changes nothing but keeps exp in range. What is
    taken off is its real part, a constant: so complex logits keep their imaginary part.

    Returns: ŷ (…, V), with what log ŷ = (logits − shift) − log_total needs: the shift (…, 1) and
    log_total = log Σ exp(logits − shift) (…, 1).
    """
    shift = logits.real.max(axis=-1, keepdims=True)
    y_hat = np.subtract(logits, shift, out=out)
    np.exp(y_hat, out=y_hat)
    total = np.add.reduce(y_hat, axis=-1, keepdims=True)
    y_hat /= total  # (F3)
    return y_hat, shift, np.log(total)


def cross_entropy_forward(
    logits: Array,  # (T, B, V)
    y: Array,  # (T, B) integers
    out: Array | None = None,  # (T, B, V); may be ``logits`` itself
) -> tuple[Any, Array]:
    """The loss of a window, in nats: the mean over its T·B characters of −log ŷ⟨t⟩[y⟨t⟩] (F4).

    The logarithm is taken of Σ exp alone, never of ŷ: so a character that is all but impossible costs
    its full, finite price. The mean is taken in double precision whatever the dtype of the logits.

    Returns: the loss, and ŷ (T, B, V).
    """
    chosen = np.take_along_axis(logits, y[..., np.newaxis], axis=-1)  # (T, B, 1)
    y_hat, shift, log_total = softmax_forward(logits, out=out)
    nats = log_total - (chosen - shift)  # (T, B, 1): −log ŷ⟨t⟩[y⟨t⟩]
    return nats.mean(dtype=np.result_type(nats, np.float64)), y_hat  # (F4)


def cross_entropy_backward(
    y_hat: Array,  # (T, B, V), overwritten
    y: Array,  # (T, B) integers
) -> Array:
    """The gradient of the loss with respect to the logits, (ŷ − onehot y)/TB (B1).

    Returns: dlogits (T, B, V), in the memory of ``y_hat``.
    """
    T, B, V = y_hat.shape
    dlogits = y_hat.reshape(-1, V)
    dlogits[np.arange(T * B), y.reshape(-1)] -= 1
    dlogits /= T * B  # (B1)
    return dlogits.reshape(T, B, V)
