"""The recurrence through time, a⟨t⟩ = tanh(x⟨t⟩ W_ax + a⟨t−1⟩ W_aa + b_a), and back through it.

In plain code, for one window (the functions below compute just this, in place):

    for t in 1 … T:
        z⟨t⟩ = xW⟨t⟩ + a⟨t−1⟩ W_aa + b_a              F1
        a⟨t⟩ = tanh(z⟨t⟩)                             F2

    dz⟨T+1⟩ = 0
    for t in T … 1:
        da⟨t⟩ = direct⟨t⟩ + dz⟨t+1⟩ W_aaᵀ             B3
        dz⟨t⟩ = da⟨t⟩ ∘ (1 − a⟨t⟩²)                   B4

Only what must wait for the step before it stands in the time loop. The rest is done once for the
window: the input side before the loop, every weight gradient after it.
"""

from types import ModuleType
from typing import ClassVar, NamedTuple

import numpy as np
from numpy.typing import DTypeLike

from charrnn.layers import elementwise
from charrnn.layers.array import Array
from charrnn.layers.cell import Cell, States, Weights
from charrnn.layers.reset import reset_backward, reset_forward, reset_past


def recurrence_forward(
    xW: Array,  # (T, B, H)
    a0: Array,  # (B, H)
    W_aa: Array,  # (H, H)
    b_a: Array,  # (H,)
    a: Array | None = None,  # (T+1, B, H)
    rho: Array | None = None,  # (T, B)
    kernels: ModuleType = elementwise,
) -> Array:
    """All activations of a window (F1, F2; RF1).

    ``xW`` is x⟨t⟩ W_ax for every step; it may be ``a[1:]`` itself, and is overwritten then.

    Returns: a (T+1, B, H), whose row 0 is a⟨0⟩ and whose row t is a⟨t⟩.
    """
    T, B, H = xW.shape
    a = np.empty((T + 1, B, H), np.result_type(xW, a0, W_aa)) if a is None else a
    W_aa = spread(W_aa)
    recurrent = np.empty((B, H), a.dtype)
    a[0] = a0
    if not np.may_share_memory(xW, a):
        a[1:] = xW
    for t in range(1, T + 1):
        np.matmul(reset_forward(a[t - 1], rho, t - 1), W_aa, out=recurrent)
        kernels.tanh_forward(a[t], recurrent, b_a)  # F1, F2
    return a


def recurrence_backward(
    da: Array,  # (T, B, H), overwritten
    a: Array,  # (T+1, B, H), overwritten where a row is reset
    W_aa: Array,  # (H, H)
    dz: Array | None = None,  # (T, B, H)
    rho: Array | None = None,  # (T, B)
    kernels: ModuleType = elementwise,
) -> tuple[Array, Array]:
    """Backpropagation through every time step of the window (B3, B4, B9; RB1, RB3).

    ``da`` comes in as what the loss at each step sends to that step's activation alone,
    dlogits⟨t⟩ W_yaᵀ; the loop adds to it what the future sends back. (In a segment of a longer window, the
    last step's da already includes what the next segment sends back.)

    Returns: dz (T, B, H) and da⟨0⟩ (B, H).
    """
    T, B, H = da.shape
    dz = np.empty_like(da) if dz is None else dz
    W_aaT = spread(spread(W_aa).T)  # OpenBLAS runs small products twice as fast on a copy, row by row
    future = np.zeros((B, H), da.dtype)  # dz⟨T+1⟩ = 0: nothing after the window sends anything back
    for t in range(T - 1, -1, -1):
        kernels.tanh_backward(da[t], future, a[t + 1], dz[t])  # B3, B4
        np.matmul(dz[t], W_aaT, out=future)  # (B3); of the first step (B9)
        reset_backward(future, rho, t)  # (RB1); of the first step (RB3)
    reset_past(a, rho)
    return dz, future


def recurrence_backward_weights(
    dz: Array,  # (T, B, G·H)
    a: Array,  # (T+1, B, H)
    dW_aa: Array,  # (H, G·H), written
    db_a: Array,  # (G·H,), written
    kernels: ModuleType = elementwise,
) -> None:
    """The gradients of the shared weights (B5, B7): sums over the steps, as one product over all T·B rows.

    A cell of G gates has G·H columns; this one has H.
    """
    rows, past = dz.reshape(-1, dz.shape[-1]), a[:-1].reshape(-1, a.shape[-1])  # T·B rows each
    np.matmul(past.T, rows, out=dW_aa)  # (B5)
    kernels.sum_rows(rows, db_a)  # (B7)


def spread(W: Array) -> Array:
    """A copy of W (rows, columns) with 64 bytes of padding after each row.

    Rows that lie a power of two apart compete for the same few lines of the processor's cache: at H = 1024 a
    product with the few rows of a batch takes a sixth longer without it.
    """
    rows, columns = W.shape
    copy: Array = np.empty((rows, columns + 64 // W.itemsize), W.dtype)[:, :columns]
    copy[...] = W
    return copy


def recurrence_step(
    xW: Array,  # (…, H)
    a: Array,  # (…, H)
    W_aa: Array,  # (H, H)
) -> Array:
    """One step by itself (F1, F2), for sampling; ``xW`` is x⟨t⟩ W_ax + b_a.

    Returns: a⟨t⟩, of the shape of a.
    """
    z = np.dot(a, W_aa)
    z += xW
    return np.asarray(np.tanh(z, out=z))


class TanhMemory(NamedTuple):
    """What is kept of a window."""

    a: Array  # (T+1, B, H)
    dz: Array  # (T, B, H)

    @property
    def xW(self) -> Array:
        return self.a[1:]

    @property
    def state(self) -> States:
        return (self.a[-1],)

    def part(self, steps: slice) -> "TanhMemory":
        return TanhMemory(self.a[steps.start : steps.stop + 1], self.dz[steps])


class Tanh(Cell[TanhMemory]):
    """The tanh cell."""

    gates = 1
    states = ("a",)
    biases: ClassVar = {"b_a": (0,)}

    def memory(self, T: int, B: int, H: int, dtype: DTypeLike) -> TanhMemory:
        return TanhMemory(np.empty((T + 1, B, H), dtype), np.empty((T, B, H), dtype))

    def forward(
        self,
        before: States,
        w: Weights,
        memory: TanhMemory,
        rho: Array | None = None,
        kernels: ModuleType = elementwise,
    ) -> None:
        (a0,) = before
        recurrence_forward(memory.xW, a0, w["W_aa"], w["b_a"], a=memory.a, rho=rho, kernels=kernels)

    def backward(
        self,
        da: Array,
        memory: TanhMemory,
        w: Weights,
        future: States | None = None,
        rho: Array | None = None,
        kernels: ModuleType = elementwise,
    ) -> States:
        if future is not None:
            da[-1] += future[0]
        _, da0 = recurrence_backward(da, memory.a, w["W_aa"], dz=memory.dz, rho=rho, kernels=kernels)
        return (da0,)

    def backward_weights(
        self, dz: Array, memory: TanhMemory, dw: Weights, kernels: ModuleType = elementwise
    ) -> None:
        recurrence_backward_weights(dz, memory.a, dw["W_aa"], dw["b_a"], kernels=kernels)

    def step(self, xW: Array, before: States, w: Weights) -> States:
        (a,) = before
        return (recurrence_step(xW, a, w["W_aa"]),)
