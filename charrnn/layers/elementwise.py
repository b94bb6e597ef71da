"""The element-wise part of a window, forward and back: what stands between the products.

These functions are the definitions, in plain NumPy: they are what the gradient check and the proofs run.
``compiled`` has a twin of each, of the same name and arguments, that makes one pass of it over the memory.
The other functions of the layers are given one of the two modules as ``kernels``.
A cell's arrays are those of one step, (B, H) or, with the G gates side by side, (B, G·H); those of the output
side and the sums are of all steps.
"""

from functools import cache
from typing import Any

import numpy as np

from charrnn.layers.array import Array


def tanh_forward(
    a: Array,  # (B, H): x⟨t⟩ W_ax as it comes in, a⟨t⟩ as it goes out
    recurrent: Array,  # (B, H): a⟨t−1⟩ W_aa
    b_a: Array,  # (H,)
) -> None:
    """The activation of a step of the tanh cell (F1, F2)."""
    z = np.add(a, b_a, out=a)
    z += recurrent  # (F1)
    np.tanh(z, out=a)  # (F2)


def tanh_backward(
    da: Array,  # (B, H): the direct term of da⟨t⟩ as it comes in, all of it as it goes out
    future: Array,  # (B, H): dz⟨t+1⟩ W_aaᵀ
    a: Array,  # (B, H)
    dz: Array,  # (B, H), written
) -> None:
    """The gradients of a⟨t⟩ and z⟨t⟩ (B3, B4)."""
    da += future  # (B3)
    np.multiply(a, a, out=dz)
    np.subtract(1, dz, out=dz)  # 1 − a⟨t⟩², the derivative of tanh
    dz *= da  # (B4)


def gru_gates(
    k: Array,  # (B, 3H): x⟨t⟩ W_ax as it comes in, the gates r, u, n as it goes out
    q: Array,  # (B, 3H): a⟨t−1⟩ W_aa, its first two thirds halved
    b_a: Array,  # (3H,)
    b_n: Array,  # (H,)
    before: Array,  # (B, H): a⟨t−1⟩
    q_n: Array,  # (B, H), written
    a: Array,  # (B, H), written
) -> None:
    """The gates and the activation of a step of the GRU (GF1–GF5)."""
    H = before.shape[-1]
    ru, n = k[:, : 2 * H], k[:, 2 * H :]
    k += b_a  # (GF1)
    np.add(q[:, 2 * H :], b_n, out=q_n)  # (GF2)
    ru *= 0.5
    ru += q[:, : 2 * H]
    np.tanh(ru, out=ru)
    ru *= 0.5
    ru += 0.5  # (GF3)
    np.multiply(ru[:, :H], q_n, out=a)
    n += a
    np.tanh(n, out=n)  # (GF4)
    np.subtract(before, n, out=a)
    a *= ru[:, H:]
    a += n  # (GF5), as n + u ∘ (a⟨t−1⟩ − n)


def gru_gates_backward(
    da: Array,  # (B, H): the direct term of da⟨t⟩ as it comes in, all of it as it goes out
    future: Array,  # (B, H): dq⟨t+1⟩ W_aaᵀ
    after: Array,  # (B, H): da⟨t+1⟩ ∘ u⟨t+1⟩ as it comes in, da⟨t⟩ ∘ u⟨t⟩ as it goes out
    before: Array,  # (B, H): a⟨t−1⟩
    k: Array,  # (B, 3H): the gates as they come in, dq⟨t⟩ as it goes out
    q_n: Array,  # (B, H): dz_n as it goes out
) -> None:
    """The gradients of a⟨t⟩ and of the gates' products (GB1–GB5)."""
    H = da.shape[-1]
    slope = np.multiply(k, k)
    np.subtract(k, slope, out=slope)  # r(1 − r), u(1 − u), the derivative of σ; slope_n is written over
    r, u, n = dq_r, dq_u, dq_n = k[:, :H], k[:, H : 2 * H], k[:, 2 * H :]
    slope_r, slope_u, slope_n = slope[:, :H], slope[:, H : 2 * H], slope[:, 2 * H :]
    da += future
    da += after  # (GB1)
    slope_r *= q_n
    dz_n = np.multiply(n, n, out=q_n)
    np.subtract(1, dz_n, out=dz_n)  # 1 − n², the derivative of tanh
    np.subtract(1, u, out=slope_n)
    dz_n *= slope_n
    dz_n *= da  # (GB2)
    np.multiply(da, u, out=after)  # for (GB1) and (GB8)
    np.subtract(before, n, out=slope_n)
    slope_u *= slope_n
    np.multiply(slope_u, da, out=dq_u)  # (GB5)
    np.multiply(dz_n, r, out=dq_n)  # (GB3)
    np.multiply(slope_r, dz_n, out=dq_r)  # (GB4)


def lstm_gates(
    k: Array,  # (B, 4H): x⟨t⟩ W_ax as it comes in, the gates i, f, g, o as it goes out
    recurrent: Array,  # (B, 4H): a⟨t−1⟩ W_aa, times s
    b_a: Array,  # (4H,)
    before: Array,  # (B, H): c⟨t−1⟩
    c: Array,  # (B, H), written
    tanh_c: Array,  # (B, H), written
    a: Array,  # (B, H), written
) -> None:
    """The gates, the cell and the activation of a step of the LSTM (LF1–LF4); s is ``lstm_forward``'s."""
    H = before.shape[-1]
    s = scale(H, k.dtype)
    k += b_a
    k *= s
    k += recurrent  # (LF1), times s
    np.tanh(k, out=k)
    k *= s
    k += 1 - s  # (LF2)
    i, f, g, o = parts(k)
    np.multiply(f, before, out=c)
    c += np.multiply(i, g, out=a)  # (LF3)
    np.tanh(c, out=tanh_c)
    np.multiply(o, tanh_c, out=a)  # (LF4)


def lstm_gates_backward(
    da: Array,  # (B, H): the direct term of da⟨t⟩ as it comes in, all of it as it goes out
    future: Array,  # (B, H): dz⟨t+1⟩ W_aaᵀ
    after: Array,  # (B, H): dc⟨t+1⟩ ∘ f⟨t+1⟩ as it comes in, dc⟨t⟩ ∘ f⟨t⟩ as it goes out
    k: Array,  # (B, 4H): the gates as they come in, dz⟨t⟩ as it goes out
    before: Array,  # (B, H): c⟨t−1⟩
    dc: Array,  # (B, H): tanh c⟨t⟩ as it comes in, dc⟨t⟩ as it goes out
) -> None:
    """The gradients of a⟨t⟩, of the cell and of the gates (LB1–LB4)."""
    B, H = da.shape
    slope = np.multiply(k, k)
    np.subtract(k, slope, out=slope)  # k(1 − k), the derivative of σ; slope_g is written over
    (i, f, g, o), (slope_i, slope_f, slope_g, slope_o) = parts(k), parts(slope)
    da += future  # (LB1)
    slope_o *= dc
    dc *= dc
    np.subtract(1, dc, out=dc)  # 1 − tanh² c
    dc *= o
    dc *= da
    dc += after  # (LB2)
    np.multiply(dc, f, out=after)  # for (LB2) and (LB5)
    np.multiply(g, g, out=slope_g)
    np.subtract(1, slope_g, out=slope_g)  # 1 − g², the derivative of tanh
    slope_i *= g
    slope_f *= before
    slope_g *= i
    dz, factors = k.reshape(B, 4, H), slope.reshape(B, 4, H)
    np.multiply(factors[:, :3], dc[:, np.newaxis], out=dz[:, :3])  # (LB3)
    np.multiply(slope_o, da, out=dz[:, 3])  # (LB4)


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
    b_y: Array | None = None,  # (V,), where the logits are without it; ``out`` is ``logits`` then
) -> tuple[Any, Array]:
    """The loss of a window, in nats: the mean over its T·B characters of −log ŷ⟨t⟩[y⟨t⟩] (F4).

    The logarithm is taken of Σ exp alone, never of ŷ: so a character that is all but impossible costs
    its full, finite price. The mean is taken in double precision whatever the dtype of the logits.

    Returns: the loss, and ŷ (T, B, V).
    """
    if b_y is not None:
        logits += b_y
    chosen = np.take_along_axis(logits, y[..., np.newaxis], axis=-1)  # (T, B, 1)
    y_hat, shift, log_total = softmax_forward(logits, out=out)
    nats = log_total - (chosen - shift)  # (T, B, 1): −log ŷ⟨t⟩[y⟨t⟩]
    return nats.mean(dtype=np.result_type(nats, np.float64)), y_hat  # (F4)


def cross_entropy_backward(
    y_hat: Array,  # (T, B, V), overwritten
    y: Array,  # (T, B) integers
) -> Array:
    """The gradient of the loss with respect to the logits, (ŷ − onehot y)/TB (B1).

    Softmax and cross-entropy are differentiated together: the Jacobian diag(ŷ) − ŷᵀŷ of the one times the
    gradient −y/ŷ of the other is ŷ − y, which divides by nothing.

    Returns: dlogits (T, B, V), in the memory of ``y_hat``.
    """
    T, B, V = y_hat.shape
    dlogits = y_hat.reshape(-1, V)
    dlogits[np.arange(T * B), y.reshape(-1)] -= 1
    dlogits /= T * B  # (B1)
    return dlogits.reshape(T, B, V)


def sum_rows(
    rows: Array,  # (N, H)
    out: Array,  # (H,), written
) -> None:
    """The sum of all rows: the gradient of a bias (in B2 and B7)."""
    np.add.reduce(rows, axis=0, out=out)


def sum_by_character(
    dz: Array,  # (T, B, H)
    x: Array,  # (T, B) integers
    dW_ax: Array,  # (V, H), written
) -> None:
    """The sum of the rows of dz that belong to each character: the gradient of what it is looked up in (B6).

    Sorting the characters puts the rows of one character side by side, where one reduction sums them. (For
    V = 65 and H = 512 this is three times as fast as the product with a one-hot array.)
    """
    tokens, H = x.reshape(-1), dz.shape[-1]  # (T·B,)
    if len(dW_ax) <= 2**16:
        tokens = tokens.astype(np.uint16)  # whose stable sort is a radix sort
    order = np.argsort(tokens, kind="stable")
    tokens = tokens[order]
    start = np.flatnonzero(np.append(True, tokens[1:] != tokens[:-1]))  # where each character's run begins
    stop = np.append(start[1:], tokens.size)
    rows = np.take(dz.reshape(-1, H), order, axis=0)  # (T·B, H)
    dW_ax[...] = 0
    for token, i, j in zip(tokens[start].tolist(), start, stop, strict=True):
        np.add.reduce(rows[i:j], axis=0, out=dW_ax[token])  # (B6)


@cache
def scale(H: int, dtype: np.dtype[Any]) -> Array:
    """s of the LSTM's four gates, (4H,)."""
    s = np.repeat(np.array([0.5, 0.5, 1, 0.5], dtype), H)
    s.flags.writeable = False
    return s


def parts(k: Array) -> tuple[Array, Array, Array, Array]:
    """The four parts of the last axis, views (…, H) of k (…, 4H)."""
    H = k.shape[-1] // 4
    return k[..., :H], k[..., H : 2 * H], k[..., 2 * H : 3 * H], k[..., 3 * H :]
