"""The GRU (Cho et al. 2014) in the form that PyTorch and cuDNN compute, and back through it.

In plain code, for one window (the functions below compute just this, in place):

    for t in 1 … T:
        z⟨t⟩ = x⟨t⟩ W_ax + b_a                        GF1   (B, 3H): z_r, z_u, z_n side by side
        q⟨t⟩ = a⟨t−1⟩ W_aa + (0, 0, b_n)              GF2   (B, 3H)
        r, u = σ(z_r + q_r), σ(z_u + q_u)             GF3   how much of the past to look at, to keep
        n = tanh(z_n + r ∘ q_n)                       GF4   what is new
        a⟨t⟩ = (1 − u⟨t⟩) ∘ n⟨t⟩ + u⟨t⟩ ∘ a⟨t−1⟩      GF5

    dq⟨T+1⟩ = 0, da⟨T+1⟩ = 0
    for t in T … 1:
        da⟨t⟩ = direct⟨t⟩ + dq⟨t+1⟩ W_aaᵀ + da⟨t+1⟩ ∘ u⟨t+1⟩      GB1
        dz_n = da ∘ (1 − u) ∘ (1 − n²)                            GB2
        dq_n = dz_n ∘ r                                           GB3
        dq_r = dz_r = dz_n ∘ q_n ∘ r(1 − r)                       GB4
        dq_u = dz_u = da ∘ (a⟨t−1⟩ − n) ∘ u(1 − u)                GB5

The reset gate r acts on the product with W_aa, its bias b_n included, so one product of 3H columns serves all
three gates. u is PyTorch's z; b_a is its b_ih + b_hh, but for the last third of b_hh, which is b_n; the order
of the columns is its own.
"""

from types import ModuleType
from typing import ClassVar, NamedTuple

import numpy as np
from numpy.typing import DTypeLike

from charrnn.layers import elementwise
from charrnn.layers.array import Array
from charrnn.layers.cell import Cell, States, Weights
from charrnn.layers.recurrence import spread
from charrnn.layers.reset import reset_backward, reset_forward, reset_past


def gru_forward(
    xW: Array,  # (T, B, 3H)
    a0: Array,  # (B, H)
    W_aa: Array,  # (H, 3H)
    b_a: Array,  # (3H,)
    b_n: Array,  # (H,)
    a: Array | None = None,  # (T+1, B, H)
    q_n: Array | None = None,  # (T, B, H)
    gates: Array | None = None,  # (T, B, 3H)
    rho: Array | None = None,  # (T, B)
    kernels: ModuleType = elementwise,
) -> tuple[Array, Array, Array]:
    """All activations and gates of a window (GF1–GF5; RF1).

    ``xW`` is x⟨t⟩ W_ax for every step; it may be ``gates`` itself, and is overwritten then. σ(z) is computed
    as ½ tanh(z/2) + ½, with the half inside multiplied into the weights before the loop.

    Returns: a (T+1, B, H), whose row 0 is a⟨0⟩; q_n (T, B, H); and the gates r, u, n (T, B, 3H).
    """
    T, B, H = *xW.shape[:2], len(W_aa)
    dtype = np.result_type(xW, a0, W_aa)
    a = np.empty((T + 1, B, H), dtype) if a is None else a
    q_n = np.empty((T, B, H), dtype) if q_n is None else q_n
    gates = np.empty((T, B, 3 * H), dtype) if gates is None else gates
    half = np.repeat(np.array([0.5, 0.5, 1], dtype), H)  # (3H,)
    W_aa = spread(W_aa * half)
    q = np.empty((B, 3 * H), dtype)
    a[0] = a0
    if gates is not xW:
        gates[...] = xW
    for t in range(1, T + 1):
        past = reset_forward(a[t - 1], rho, t - 1)
        np.matmul(past, W_aa, out=q)
        kernels.gru_gates(gates[t - 1], q, b_a, b_n, past, q_n[t - 1], a[t])  # GF1–GF5
    return a, q_n, gates


def gru_backward(
    da: Array,  # (T, B, H), overwritten
    a: Array,  # (T+1, B, H), overwritten where a row is reset
    q_n: Array,  # (T, B, H), overwritten
    gates: Array,  # (T, B, 3H), overwritten
    W_aa: Array,  # (H, 3H)
    rho: Array | None = None,  # (T, B)
    kernels: ModuleType = elementwise,
) -> tuple[Array, Array]:
    """Backpropagation through every time step of the window (GB1–GB5, GB8; RB1, RB3).

    ``da`` comes in as what the loss at each step sends to that step's activation alone, and goes out whole.
    dq takes the memory of ``gates``; dz differs from it in dz_n alone, which takes that of ``q_n``.

    Returns: dq (T, B, 3H) and da⟨0⟩ (B, H). ``gru_backward_weights`` makes dz of dq.
    """
    T, B, H = da.shape
    dq = gates  # from the last step to the first
    W_aaT = spread(spread(W_aa).T)
    future, after = np.zeros((2, B, H), da.dtype)  # nothing after the window sends anything back
    reset_past(a, rho)
    for t in range(T - 1, -1, -1):
        kernels.gru_gates_backward(da[t], future, after, a[t], gates[t], q_n[t])  # GB1–GB5
        np.matmul(dq[t], W_aaT, out=future)  # (GB1)
        reset_backward(future, rho, t)  # (RB1)
        reset_backward(after, rho, t)  # (RB1); of the first step (RB3)
    future += after  # (GB8)
    return dq, future


def gru_backward_weights(
    dz: Array,  # (T, B, 3H): dq as it comes in, dz as it goes out
    a: Array,  # (T+1, B, H)
    q_n: Array,  # (T, B, H): dz_n by now
    dW_aa: Array,  # (H, 3H), written
    db_a: Array,  # (3H,), written
    db_n: Array,  # (H,), written
    kernels: ModuleType = elementwise,
) -> None:
    """The gradients of the shared weights (GB6, GB7, B7): sums over the steps, as products over T·B rows."""
    H = a.shape[-1]
    rows, past = dz.reshape(-1, 3 * H), a[:-1].reshape(-1, H)  # T·B rows each
    np.matmul(past.T, rows, out=dW_aa)  # (GB6)
    kernels.sum_rows(rows, db_a)
    db_n[...] = db_a[2 * H :]  # (GB7)
    dz[..., 2 * H :] = q_n
    kernels.sum_rows(q_n.reshape(-1, H), db_a[2 * H :])  # (B7), in which dz_n takes the place of dq_n


def gru_step(
    xW: Array,  # (…, 3H)
    a: Array,  # (…, H)
    W_aa: Array,  # (H, 3H)
    b_n: Array,  # (H,)
) -> Array:
    """One step by itself (GF1–GF5), for sampling; ``xW`` is x⟨t⟩ W_ax + b_a.

    Returns: a⟨t⟩, of the shape of a.
    """
    H = a.shape[-1]
    q = np.dot(a, W_aa)
    ru = q[..., : 2 * H]
    ru += xW[..., : 2 * H]
    ru *= 0.5
    np.tanh(ru, out=ru)
    ru *= 0.5
    ru += 0.5
    n = np.tanh(xW[..., 2 * H :] + ru[..., :H] * (q[..., 2 * H :] + b_n))
    return np.asarray(n + ru[..., H:] * (a - n))


class GRUMemory(NamedTuple):
    """What is kept of a window."""

    a: Array  # (T+1, B, H)
    q_n: Array  # (T, B, H)
    gates: Array  # (T, B, 3H)

    @property
    def xW(self) -> Array:
        return self.gates

    @property
    def dz(self) -> Array:
        return self.gates

    @property
    def state(self) -> States:
        return (self.a[-1],)

    def part(self, steps: slice) -> "GRUMemory":
        return GRUMemory(self.a[steps.start : steps.stop + 1], self.q_n[steps], self.gates[steps])


class GRU(Cell[GRUMemory]):
    """The gated recurrent unit."""

    gates = 3
    states = ("a",)
    biases: ClassVar = {"b_a": (0, 0, 0), "b_n": (0,)}
    given_by: ClassVar = {"z": "GF1", "W_aa": "GB6", "b_n": "GB7", "a0": "GB8"}

    def memory(self, T: int, B: int, H: int, dtype: DTypeLike) -> GRUMemory:
        return GRUMemory(
            a=np.empty((T + 1, B, H), dtype),
            q_n=np.empty((T, B, H), dtype),
            gates=np.empty((T, B, 3 * H), dtype),
        )

    def forward(
        self,
        before: States,
        w: Weights,
        memory: GRUMemory,
        rho: Array | None = None,
        kernels: ModuleType = elementwise,
    ) -> None:
        (a0,) = before
        gru_forward(memory.xW, a0, w["W_aa"], w["b_a"], w["b_n"], *memory, rho=rho, kernels=kernels)

    def backward(
        self,
        da: Array,
        memory: GRUMemory,
        w: Weights,
        future: States | None = None,
        rho: Array | None = None,
        kernels: ModuleType = elementwise,
    ) -> States:
        if future is not None:
            da[-1] += future[0]
        _, da0 = gru_backward(da, *memory, w["W_aa"], rho=rho, kernels=kernels)
        return (da0,)

    def backward_weights(
        self, dz: Array, memory: GRUMemory, dw: Weights, kernels: ModuleType = elementwise
    ) -> None:
        a, q_n, _ = memory
        gru_backward_weights(dz, a, q_n, dw["W_aa"], dw["b_a"], dw["b_n"], kernels=kernels)

    def step(self, xW: Array, before: States, w: Weights) -> States:
        (a,) = before
        return (gru_step(xW, a, w["W_aa"], w["b_n"]),)
