"""The twins of the functions in ``elementwise``, compiled by numba for float32 and float64 arrays.

Each makes one pass over the memory where its definition makes up to a dozen, and agrees with it to rounding.
The inner loops run from 0 over rows, for only such loops become instructions on several numbers at once. Of
the liberties that a compiler may take with floating-point numbers these have one, to fuse a product with a
sum, and ``total`` that of adding in another order: NaN and infinity stay what they are, so that a run that
diverges is seen.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
from numba import njit, types
from numba.extending import overload

from charrnn.layers.array import Array

LIBERTIES = {"contract"}

# 1.5 · 2^23 and 1.5 · 2^52: a number that is added to one of them is rounded to a whole one, in its last bits
WHOLE_32, WHOLE_64 = np.float32(12582912.0), np.float64(6755399441055744.0)
# ln 2 in two parts, the first with few enough bits that n times it is exact
LN2_32, REST_32 = np.float32(0.693359375), np.float32(-2.12194440e-4)
LN2_64, REST_64 = np.float64(6.93147180369123816490e-01), np.float64(1.90821492927058770002e-10)
LOG2E_32, LOG2E_64 = np.float32(1.4426950408889634), np.float64(1.4426950408889634)
ONE_32, TWO_32, ONE_64, TWO_64 = np.float32(1), np.float32(2), np.float64(1), np.float64(2)
END_32, END_64 = np.float32(20), np.float64(44)  # of 2|x|; beyond it tanh x is 1
LOW_32, LOW_64 = np.float32(-104), np.float64(-746)  # below it exp x is 0
BIAS_32, SHIFT_32, BIAS_64, SHIFT_64 = np.int32(127), np.int32(23), np.int64(1023), np.int64(52)
UP_32, DOWN_32, UP_64, DOWN_64 = np.int32(64), np.float32(2**-64), np.int64(64), np.float64(2**-64)
REST_OF_32, REST_OF_64 = np.int32(2**31 - 1), np.int64(2**63 - 1)  # all bits but the sign
# 1/2!, 1/3!, …: exp r is good to half a rounding for |r| ≤ ½ ln 2
A2, A3, A4, A5, A6, A7 = (np.float32(1 / n) for n in (2, 6, 24, 120, 720, 5040))
C2, C3, C4, C5, C6, C7, C8, C9, C10, C11, C12, C13 = (
    np.float64(1 / n)
    for n in (2, 6, 24, 120, 720, 5040, 40320, 362880, 3628800, 39916800, 479001600, 6227020800)
)


def tanh_32(x: Any) -> Any:
    """tanh of a float32: e/(e + 2) with e = exp(2|x|) − 1 = 2ⁿ(exp r − 1) + (2ⁿ − 1), 2|x| = n ln 2 + r."""
    y = TWO_32 * abs(x)
    y = END_32 if y > END_32 else y
    whole = y * LOG2E_32 + WHOLE_32
    n = whole - WHOLE_32
    r = (y - n * LN2_32) - n * REST_32
    p = A2 + r * (A3 + r * (A4 + r * (A5 + r * (A6 + r * A7))))
    p = r + r * r * p
    power = np.int32((np.float32(whole).view(np.int32) + BIAS_32) << SHIFT_32).view(np.float32)
    e = power * p + (power - ONE_32)
    return np.copysign(e / (e + TWO_32), x)


def tanh_64(x: Any) -> Any:
    """The same of a float64."""
    y = TWO_64 * abs(x)
    y = END_64 if y > END_64 else y
    whole = y * LOG2E_64 + WHOLE_64
    n = whole - WHOLE_64
    r = (y - n * LN2_64) - n * REST_64
    p = C8 + r * (C9 + r * (C10 + r * (C11 + r * (C12 + r * C13))))
    p = C2 + r * (C3 + r * (C4 + r * (C5 + r * (C6 + r * (C7 + r * p)))))
    p = r + r * r * p
    power = np.int64((np.float64(whole).view(np.int64) + BIAS_64) << SHIFT_64).view(np.float64)
    e = power * p + (power - ONE_64)
    return np.copysign(e / (e + TWO_64), x)


def tanh(x: Any) -> Any:
    """tanh of a number, in its own precision; NaN of NaN."""
    return tanh_32(x) if isinstance(x, np.float32) else tanh_64(x)


def exp_32(x: Any) -> Any:
    """exp of a float32 n ln 2 + r that is not positive: 2ⁿ⁺⁶⁴ exp r times 2⁻⁶⁴, as 2ⁿ may be too small."""
    y = LOW_32 if x < LOW_32 else x
    whole = y * LOG2E_32 + WHOLE_32
    n = whole - WHOLE_32
    r = (y - n * LN2_32) - n * REST_32
    p = A2 + r * (A3 + r * (A4 + r * (A5 + r * (A6 + r * A7))))
    p = r + r * r * p
    power = np.int32((np.float32(whole).view(np.int32) + BIAS_32 + UP_32) << SHIFT_32).view(np.float32)
    return (ONE_32 + p) * power * DOWN_32


def exp_64(x: Any) -> Any:
    """The same of a float64."""
    y = LOW_64 if x < LOW_64 else x
    whole = y * LOG2E_64 + WHOLE_64
    n = whole - WHOLE_64
    r = (y - n * LN2_64) - n * REST_64
    p = C8 + r * (C9 + r * (C10 + r * (C11 + r * (C12 + r * C13))))
    p = C2 + r * (C3 + r * (C4 + r * (C5 + r * (C6 + r * (C7 + r * p)))))
    p = r + r * r * p
    power = np.int64((np.float64(whole).view(np.int64) + BIAS_64 + UP_64) << SHIFT_64).view(np.float64)
    return (ONE_64 + p) * power * DOWN_64


def exp(x: Any) -> Any:
    """exp of a number that is not positive, in its own precision; NaN of NaN."""
    return exp_32(x) if isinstance(x, np.float32) else exp_64(x)


def largest_32(x: Any) -> Any:
    """The largest of a row of float32; NaN where one is (but for one with a sign, which is below all others).

    A float is compared as the integer that its bits are, those of a negative one but the sign turned over: so
    the order does not matter and several are compared at once.
    """
    top = np.int32(-REST_OF_32)
    for j in range(len(x)):
        bits = np.float32(x[j]).view(np.int32)
        top = max(top, np.int32(bits ^ ((bits >> np.int32(31)) & REST_OF_32)))
    return np.int32(top ^ ((top >> np.int32(31)) & REST_OF_32)).view(np.float32)


def largest_64(x: Any) -> Any:
    """The same of float64."""
    top = np.int64(-REST_OF_64)
    for j in range(len(x)):
        bits = np.float64(x[j]).view(np.int64)
        top = max(top, np.int64(bits ^ ((bits >> np.int64(63)) & REST_OF_64)))
    return np.int64(top ^ ((top >> np.int64(63)) & REST_OF_64)).view(np.float64)


def largest(x: Any) -> Any:
    """The largest number of a row."""
    return largest_32(x) if x.dtype == np.float32 else largest_64(x)


def of_precision(single: Callable[..., Any], double: Callable[..., Any]) -> Callable[..., Any]:
    """Of two functions the one for a type, of a number or of a row: so numba asks which it is to compile."""

    def chosen(x: Any) -> Any:
        return single if getattr(x, "dtype", x) == types.float32 else double

    return chosen


overload(tanh)(of_precision(tanh_32, tanh_64))
overload(exp)(of_precision(exp_32, exp_64))
overload(largest)(of_precision(largest_32, largest_64))


def kernel(function: Callable[..., Any], liberties: set[str] = LIBERTIES) -> Callable[..., Any]:
    """The function, compiled when it is first called, or taken from numba's folder of compiled functions."""
    try:
        compiled = njit(function, cache=True, error_model="numpy", fastmath=liberties)
    except RuntimeError:  # no folder can be written to
        compiled = njit(function, error_model="numpy", fastmath=liberties)
    return compiled  # type: ignore[no-any-return]


def total(row: Array) -> Any:
    """The sum of a row."""
    result = row.dtype.type(0)
    for j in range(len(row)):
        result += row[j]
    return result


total = kernel(total, LIBERTIES | {"reassoc"})


@kernel
def tanh_forward(a: Array, recurrent: Array, b_a: Array) -> None:
    """F1 and F2 in one pass."""
    B, H = a.shape
    for row in range(B):
        z, q = a[row], recurrent[row]
        for j in range(H):
            z[j] = tanh((z[j] + b_a[j]) + q[j])


@kernel
def tanh_backward(da: Array, future: Array, a: Array, dz: Array) -> None:
    """B3 and B4 in one pass."""
    B, H = a.shape
    one = a.dtype.type(1)
    for row in range(B):
        grad, sent, past, out = da[row], future[row], a[row], dz[row]
        for j in range(H):
            d = grad[j] + sent[j]
            grad[j] = d
            out[j] = (one - past[j] * past[j]) * d


@kernel
def gru_gates(k: Array, q: Array, b_a: Array, b_n: Array, before: Array, q_n: Array, a: Array) -> None:
    """GF1 to GF5 in one pass."""
    B, H = a.shape
    half = a.dtype.type(0.5)
    b_r, b_u, b_z = b_a[:H], b_a[H : 2 * H], b_a[2 * H :]
    for row in range(B):
        k_r, k_u, k_n = k[row, :H], k[row, H : 2 * H], k[row, 2 * H :]
        q_r, q_u, q_z = q[row, :H], q[row, H : 2 * H], q[row, 2 * H :]
        past, product, out = before[row], q_n[row], a[row]
        for j in range(H):
            seen = q_z[j] + b_n[j]
            r = half * tanh(half * (k_r[j] + b_r[j]) + q_r[j]) + half
            u = half * tanh(half * (k_u[j] + b_u[j]) + q_u[j]) + half
            n = tanh((k_n[j] + b_z[j]) + r * seen)
            k_r[j] = r
            k_u[j] = u
            k_n[j] = n
            product[j] = seen
            out[j] = n + u * (past[j] - n)


@kernel
def gru_gates_backward(da: Array, future: Array, after: Array, before: Array, k: Array, q_n: Array) -> None:
    """GB1 to GB5 in one pass."""
    B, H = da.shape
    one = da.dtype.type(1)
    for row in range(B):
        k_r, k_u, k_n = k[row, :H], k[row, H : 2 * H], k[row, 2 * H :]
        grad, sent, kept, past, product = da[row], future[row], after[row], before[row], q_n[row]
        for j in range(H):
            r, u, n = k_r[j], k_u[j], k_n[j]
            d = (grad[j] + sent[j]) + kept[j]
            grad[j] = d
            kept[j] = d * u
            dz_n = (one - n * n) * (one - u) * d
            k_r[j] = (r - r * r) * product[j] * dz_n
            k_u[j] = (u - u * u) * (past[j] - n) * d
            k_n[j] = dz_n * r
            product[j] = dz_n


@kernel
def lstm_gates(
    k: Array, recurrent: Array, b_a: Array, before: Array, c: Array, tanh_c: Array, a: Array
) -> None:
    """LF1 to LF4 in one pass."""
    B, H = a.shape
    half = a.dtype.type(0.5)
    b_i, b_f, b_g, b_o = b_a[:H], b_a[H : 2 * H], b_a[2 * H : 3 * H], b_a[3 * H :]
    for row in range(B):
        q, z = recurrent[row], k[row]
        k_i, k_f, k_g, k_o = z[:H], z[H : 2 * H], z[2 * H : 3 * H], z[3 * H :]
        q_i, q_f, q_g, q_o = q[:H], q[H : 2 * H], q[2 * H : 3 * H], q[3 * H :]
        past, cell, shown, out = before[row], c[row], tanh_c[row], a[row]
        for j in range(H):
            i = half * tanh(half * (k_i[j] + b_i[j]) + q_i[j]) + half
            f = half * tanh(half * (k_f[j] + b_f[j]) + q_f[j]) + half
            g = tanh((k_g[j] + b_g[j]) + q_g[j])
            o = half * tanh(half * (k_o[j] + b_o[j]) + q_o[j]) + half
            kept = f * past[j] + i * g
            seen = tanh(kept)
            k_i[j] = i
            k_f[j] = f
            k_g[j] = g
            k_o[j] = o
            cell[j] = kept
            shown[j] = seen
            out[j] = o * seen


@kernel
def lstm_gates_backward(da: Array, future: Array, after: Array, k: Array, before: Array, dc: Array) -> None:
    """LB1 to LB4 in one pass."""
    B, H = da.shape
    one = da.dtype.type(1)
    for row in range(B):
        z = k[row]
        k_i, k_f, k_g, k_o = z[:H], z[H : 2 * H], z[2 * H : 3 * H], z[3 * H :]
        grad, sent, kept, past, cell = da[row], future[row], after[row], before[row], dc[row]
        for j in range(H):
            i, f, g, o, shown = k_i[j], k_f[j], k_g[j], k_o[j], cell[j]
            d = grad[j] + sent[j]
            d_c = (one - shown * shown) * o * d + kept[j]
            grad[j] = d
            kept[j] = d_c * f
            k_i[j] = (i - i * i) * g * d_c
            k_f[j] = (f - f * f) * past[j] * d_c
            k_g[j] = (one - g * g) * i * d_c
            k_o[j] = (o - o * o) * shown * d
            cell[j] = d_c


@kernel
def cross_entropy_forward(logits: Array, y: Array, out: Array, b_y: Array | None) -> tuple[Any, Array]:
    """F3 and F4, the bias included, in one pass over each row."""
    T, B, V = logits.shape
    if out.ctypes.data != logits.ctypes.data:
        out[...] = logits
    nats = 0.0
    for t in range(T):
        for b in range(B):
            y_hat, character = out[t, b], y[t, b]
            if not 0 <= character < V:
                raise IndexError("a character that is none of the vocabulary")
            if b_y is not None:
                for j in range(V):
                    y_hat[j] += b_y[j]
            shift = largest(y_hat)
            chosen = y_hat[character] - shift
            for j in range(V):
                y_hat[j] = exp(y_hat[j] - shift)
            whole = total(y_hat)
            for j in range(V):
                y_hat[j] /= whole
            nats += np.log(whole) - chosen
    return nats / (T * B), out


@kernel
def cross_entropy_backward(y_hat: Array, y: Array) -> Array:
    """B1 in one pass."""
    T, B, V = y_hat.shape
    one, n = y_hat.dtype.type(1), y_hat.dtype.type(T * B)
    for t in range(T):
        for b in range(B):
            row = y_hat[t, b]
            row[y[t, b]] -= one
            for j in range(V):
                row[j] /= n
    return y_hat


@kernel
def sum_rows(rows: Array, out: Array) -> None:
    """A sum over rows, each added as a whole."""
    N, H = rows.shape
    out[...] = 0
    for i in range(N):
        row = rows[i]
        for j in range(H):
            out[j] += row[j]


@kernel
def sum_by_character(dz: Array, x: Array, dW_ax: Array) -> None:
    """B6, without sorting: each row is added where it belongs."""
    T, B, H = dz.shape
    dW_ax[...] = 0
    for t in range(T):
        for b in range(B):
            if not 0 <= x[t, b] < len(dW_ax):
                raise IndexError("a character that is none of the vocabulary")
            row, out = dz[t, b], dW_ax[x[t, b]]
            for j in range(H):
                out[j] += row[j]
