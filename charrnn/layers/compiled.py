"""The twins of the functions in ``elementwise``, compiled by numba for float32 and float64 arrays.

Each makes one pass over the memory where its definition makes up to a dozen, and agrees with it to rounding.
The inner loops run from 0 over rows, for only such loops become instructions on several numbers at once. Of
the liberties that a compiler may take with floating-point numbers these have one, to fuse a product with a
sum: NaN and infinity stay what they are, so that a run that diverges is seen.
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
BIAS_32, SHIFT_32, BIAS_64, SHIFT_64 = np.int32(127), np.int32(23), np.int64(1023), np.int64(52)
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


def _tanh_of(x: Any) -> Any:
    return tanh_32 if x == types.float32 else tanh_64


overload(tanh)(_tanh_of)


def kernel(function: Callable[..., None]) -> Callable[..., None]:
    """The function, compiled when it is first called, or taken from numba's folder of compiled functions."""
    try:
        compiled = njit(function, cache=True, error_model="numpy", fastmath=LIBERTIES)
    except RuntimeError:  # no folder can be written to
        compiled = njit(function, error_model="numpy", fastmath=LIBERTIES)
    return compiled  # type: ignore[no-any-return]


@kernel
def tanh_forward(a: Array, recurrent: Array, b_a: Array) -> None:
    """F1 and F2 in one pass."""
    B, H = a.shape
    for row in range(B):
        z, q = a[row], recurrent[row]
        for j in range(H):
            z[j] = tanh((z[j] + b_a[j]) + q[j])


@kernel
def tanh_backward(da: Array, a: Array, dz: Array) -> None:
    """B4 in one pass."""
    B, H = a.shape
    one = a.dtype.type(1)
    for row in range(B):
        d, past, out = da[row], a[row], dz[row]
        for j in range(H):
            out[j] = (one - past[j] * past[j]) * d[j]


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
def gru_gates_backward(da: Array, before: Array, k: Array, q_n: Array, dq: Array) -> None:
    """GB2 to GB5 in one pass."""
    B, H = da.shape
    one = da.dtype.type(1)
    for row in range(B):
        k_r, k_u, k_n = k[row, :H], k[row, H : 2 * H], k[row, 2 * H :]
        dq_r, dq_u, dq_n = dq[row, :H], dq[row, H : 2 * H], dq[row, 2 * H :]
        grad, past, product = da[row], before[row], q_n[row]
        for j in range(H):
            r, u, n, d = k_r[j], k_u[j], k_n[j], grad[j]
            dz_n = (one - n * n) * (one - u) * d
            dq_r[j] = (r - r * r) * product[j] * dz_n
            dq_u[j] = (u - u * u) * (past[j] - n) * d
            dq_n[j] = dz_n * r
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
def lstm_gates_backward(
    da: Array, k: Array, before: Array, dc: Array, after: Array | None, dz: Array
) -> None:
    """LB2 to LB4 in one pass."""
    B, H = da.shape
    one = da.dtype.type(1)
    for row in range(B):
        z, d = k[row], dz[row]
        k_i, k_f, k_g, k_o = z[:H], z[H : 2 * H], z[2 * H : 3 * H], z[3 * H :]
        dz_i, dz_f, dz_g, dz_o = d[:H], d[H : 2 * H], d[2 * H : 3 * H], d[3 * H :]
        grad, past, cell = da[row], before[row], dc[row]
        for j in range(H):
            i, f, g, o, shown = k_i[j], k_f[j], k_g[j], k_o[j], cell[j]
            d_c = (one - shown * shown) * o * grad[j]
            if after is not None:
                d_c += after[row, j]
            dz_i[j] = (i - i * i) * g * d_c
            dz_f[j] = (f - f * f) * past[j] * d_c
            dz_g[j] = (one - g * g) * i * d_c
            dz_o[j] = (o - o * o) * shown * grad[j]
            cell[j] = d_c
