"""The LSTM (Hochreiter & Schmidhuber 1997, with the forget gate of Gers et al. 2000), and back through it.

In plain code, for one window (the functions below compute just this, in place):

    for t in 1 … T:
        z⟨t⟩ = x⟨t⟩ W_ax + a⟨t−1⟩ W_aa + b_a          LF1   (B, 4H): z_i, z_f, z_g, z_o side by side
        i, f, o = σ(z_i), σ(z_f), σ(z_o);  g = tanh z_g     LF2   what to write, keep, show; what is new
        c⟨t⟩ = f⟨t⟩ ∘ c⟨t−1⟩ + i⟨t⟩ ∘ g⟨t⟩            LF3
        a⟨t⟩ = o⟨t⟩ ∘ tanh c⟨t⟩                       LF4

    dz⟨T+1⟩ = 0, dc⟨T+1⟩ = 0
    for t in T … 1:
        da⟨t⟩ = direct⟨t⟩ + dz⟨t+1⟩ W_aaᵀ                                   LB1
        dc⟨t⟩ = da⟨t⟩ ∘ o⟨t⟩ ∘ (1 − tanh² c⟨t⟩) + dc⟨t+1⟩ ∘ f⟨t+1⟩          LB2
        dz_i = dc ∘ g ∘ i(1 − i), dz_f = dc ∘ c⟨t−1⟩ ∘ f(1 − f), dz_g = dc ∘ i ∘ (1 − g²)     LB3
        dz_o = da ∘ tanh c ∘ o(1 − o)                                       LB4

With dz in hand the weights' gradients are those of the tanh cell, B5 to B8, in 4H columns. The order of
the columns is PyTorch's, whose b_ih + b_hh is b_a here.
"""

from types import ModuleType
from typing import ClassVar, NamedTuple

import numpy as np
from numpy.typing import DTypeLike

from charrnn.layers import elementwise
from charrnn.layers.array import Array
from charrnn.layers.cell import Cell, States, Weights
from charrnn.layers.elementwise import parts, scale
from charrnn.layers.recurrence import recurrence_backward_weights, spread
from charrnn.layers.reset import reset_backward, reset_forward, reset_past


def lstm_forward(
    xW: Array,  # (T, B, 4H)
    a0: Array,  # (B, H)
    c0: Array,  # (B, H)
    W_aa: Array,  # (H, 4H)
    b_a: Array,  # (4H,)
    a: Array | None = None,  # (T+1, B, H)
    c: Array | None = None,  # (T+1, B, H)
    tanh_c: Array | None = None,  # (T, B, H)
    gates: Array | None = None,  # (T, B, 4H)
    rho: Array | None = None,  # (T, B)
    kernels: ModuleType = elementwise,
) -> tuple[Array, Array, Array, Array]:
    """All activations, cells and gates of a window (LF1–LF4; RF1).

    ``xW`` is x⟨t⟩ W_ax for every step; it may be ``gates`` itself, and is overwritten then. As
    σ(z) = ½ tanh(z/2) + ½, every gate is s tanh(s z) + 1 − s, with s = 1 for g and ½ for the others: one
    tanh takes them all, and the s inside it is multiplied into the weights before the loop.

    Returns: a (T+1, B, H) and c (T+1, B, H), whose rows 0 are a⟨0⟩ and c⟨0⟩; tanh c⟨t⟩ (T, B, H); and the
    gates i, f, g, o (T, B, 4H).
    """
    T, B, H = *xW.shape[:2], len(W_aa)
    dtype = np.result_type(xW, a0, c0, W_aa)
    a = np.empty((T + 1, B, H), dtype) if a is None else a
    c = np.empty((T + 1, B, H), dtype) if c is None else c
    tanh_c = np.empty((T, B, H), dtype) if tanh_c is None else tanh_c
    gates = np.empty((T, B, 4 * H), dtype) if gates is None else gates
    W_aa = spread(W_aa * scale(H, dtype))
    recurrent = np.empty((B, 4 * H), dtype)
    a[0], c[0] = a0, c0
    if gates is not xW:
        gates[...] = xW
    for t in range(1, T + 1):
        np.matmul(reset_forward(a[t - 1], rho, t - 1), W_aa, out=recurrent)
        past = reset_forward(c[t - 1], rho, t - 1)
        kernels.lstm_gates(gates[t - 1], recurrent, b_a, past, c[t], tanh_c[t - 1], a[t])  # LF1–LF4
    return a, c, tanh_c, gates


def lstm_backward(
    da: Array,  # (T, B, H), overwritten
    c: Array,  # (T+1, B, H), overwritten where a row is reset
    tanh_c: Array,  # (T, B, H), overwritten
    gates: Array,  # (T, B, 4H), overwritten
    W_aa: Array,  # (H, 4H)
    dc: Array | None = None,  # (B, H)
    rho: Array | None = None,  # (T, B)
    kernels: ModuleType = elementwise,
) -> tuple[Array, Array, Array]:
    """Backpropagation through every time step of the window (LB1–LB5; RB1–RB3).

    ``da`` comes in as what the loss at each step sends to that step's activation alone, and goes out whole;
    so does dc⟨t⟩, in the memory of ``tanh_c``; dz takes that of ``gates``. ``dc`` is what comes back to c⟨T⟩
    from after the window.

    Returns: dz (T, B, 4H), da⟨0⟩ (B, H) and dc⟨0⟩ (B, H).
    """
    T, B, H = da.shape
    dz = gates  # from the last step to the first
    W_aaT = spread(spread(W_aa).T)
    future, after = np.zeros((2, B, H), da.dtype)  # dz⟨T+1⟩ = 0
    if dc is not None:
        after[...] = dc
    reset_past(c, rho)
    for t in range(T - 1, -1, -1):
        kernels.lstm_gates_backward(da[t], future, after, gates[t], c[t], tanh_c[t])  # LB1–LB4
        np.matmul(dz[t], W_aaT, out=future)  # (LB1); of the first step (LB5)
        reset_backward(future, rho, t)  # (RB1); of the first step (RB3)
        reset_backward(after, rho, t)  # (RB2); of the first step (RB3)
    return dz, future, after


def lstm_step(
    xW: Array,  # (…, 4H)
    a: Array,  # (…, H)
    c: Array,  # (…, H)
    W_aa: Array,  # (H, 4H)
) -> tuple[Array, Array]:
    """One step by itself (LF1–LF4), for sampling; ``xW`` is x⟨t⟩ W_ax + b_a.

    Returns: a⟨t⟩ and c⟨t⟩, of the shapes of a and c.
    """
    s = scale(a.shape[-1], a.dtype)
    k = np.dot(a, W_aa)
    k += xW
    k *= s
    np.tanh(k, out=k)
    k *= s
    k += 1 - s
    i, f, g, o = parts(k)
    c = f * c + i * g
    return o * np.tanh(c), c


class LSTMMemory(NamedTuple):
    """What is kept of a window."""

    a: Array  # (T+1, B, H)
    c: Array  # (T+1, B, H)
    tanh_c: Array  # (T, B, H)
    gates: Array  # (T, B, 4H)

    @property
    def xW(self) -> Array:
        return self.gates

    @property
    def dz(self) -> Array:
        return self.gates

    @property
    def state(self) -> States:
        return self.a[-1], self.c[-1]

    def part(self, steps: slice) -> "LSTMMemory":
        start, end = steps.start, steps.stop + 1
        return LSTMMemory(self.a[start:end], self.c[start:end], self.tanh_c[steps], self.gates[steps])


class LSTM(Cell[LSTMMemory]):
    """The long short-term memory."""

    gates = 4
    states = ("a", "c")
    biases: ClassVar = {"b_a": (0, 1, 0, 0)}  # the forget gate starts open (Jozefowicz et al. 2015)
    given_by: ClassVar = {"z": "LF1", "a0": "LB5", "c0": "LB5"}

    def memory(self, T: int, B: int, H: int, dtype: DTypeLike) -> LSTMMemory:
        return LSTMMemory(
            a=np.empty((T + 1, B, H), dtype),
            c=np.empty((T + 1, B, H), dtype),
            tanh_c=np.empty((T, B, H), dtype),
            gates=np.empty((T, B, 4 * H), dtype),
        )

    def forward(
        self,
        before: States,
        w: Weights,
        memory: LSTMMemory,
        rho: Array | None = None,
        kernels: ModuleType = elementwise,
    ) -> None:
        a0, c0 = before
        lstm_forward(memory.xW, a0, c0, w["W_aa"], w["b_a"], *memory, rho=rho, kernels=kernels)

    def backward(
        self,
        da: Array,
        memory: LSTMMemory,
        w: Weights,
        future: States | None = None,
        rho: Array | None = None,
        kernels: ModuleType = elementwise,
    ) -> States:
        dc = None
        if future is not None:
            da_after, dc = future
            da[-1] += da_after
        a, c, tanh_c, gates = memory
        reset_past(a, rho)
        _, da0, dc0 = lstm_backward(da, c, tanh_c, gates, w["W_aa"], dc=dc, rho=rho, kernels=kernels)
        return da0, dc0

    def backward_weights(
        self, dz: Array, memory: LSTMMemory, dw: Weights, kernels: ModuleType = elementwise
    ) -> None:
        recurrence_backward_weights(dz, memory.a, dw["W_aa"], dw["b_a"], kernels=kernels)

    def step(self, xW: Array, before: States, w: Weights) -> States:
        a, c = before
        return lstm_step(xW, a, c, w["W_aa"])
