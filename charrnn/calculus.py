"""The matrix calculus behind the backward pass, carried out.

The derivative of a matrix by a matrix is a four-dimensional tensor, ∂Z_ij/∂W_kl. Nobody builds it: contracted
with the gradient that comes from above, G = ∂L/∂Z, it folds into an ordinary matrix product, and that is
what the layers compute. Here it is built all the same, one entry after another, by the complex step and so
exact to rounding; contracted; and laid beside what the layers give.

    tensor        J[i…, k…] = ∂(out_i…)/∂(x_k…), the shapes of out and x one behind the other
    contraction   Σ_i… G_i… J[i…, k…], the shape of x
    trick         the layer function's answer, which must be the same

First the rules, on columns (Z = W A, as they are taught) and on rows (Z = A W, as this code computes); then
each equation B1–B9 at each time step of a small window, with the gradients that flow in it.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from charrnn import layers

Array = NDArray[Any]

STEP = 1e-30  # h of the complex step: (f(x + ih)).imag / h is f′(x), with nothing subtracted
TOLERANCE = 1e-13  # of the largest entry


def jacobian(f: Callable[[Array], Array], x: Array) -> Array:
    """The derivative of every entry of f(x) by every entry of x, one entry of x at a time.

    Returns: an array of shape f(x).shape + x.shape.
    """
    columns = []
    for place in np.ndindex(x.shape):
        moved = x.astype(complex)
        moved[place] += 1j * STEP
        columns.append(np.imag(f(moved)) / STEP)
    return np.moveaxis(np.array(columns), 0, -1).reshape(*columns[0].shape, *x.shape)


def contract(G: Array, J: Array) -> Array:
    """Σ over the axes of the output: what comes from above times the tensor, with the shape of x."""
    return np.asarray(np.tensordot(G, J, axes=G.ndim))


@dataclass(frozen=True)
class Proof:
    """One derivative, the long way and the short way."""

    rule: str  # its name for --rule
    title: str
    equation: str
    J: Array | None  # the tensor; None for a forward equation, which is only written out
    G: Array  # the gradient from above
    long: Array  # the contraction; or the tensor itself, where it is the answer
    trick: Array  # what the layers give
    step: int | None = None  # t, from 1
    operands: tuple[tuple[str, Array], ...] = ()  # what the board shows first

    @property
    def difference(self) -> float:
        """The largest difference, over the largest entry."""
        if self.long.shape != self.trick.shape:
            return float("inf")
        scale = max(float(np.abs(self.long).max()), float(np.abs(self.trick).max()), 1e-300)
        return float(np.nan_to_num(np.abs(self.long - self.trick).max() / scale, nan=np.inf))

    @property
    def agrees(self) -> bool:
        return self.difference <= TOLERANCE


def rules(rng: np.random.Generator, n: int = 2, m: int = 3, k: int = 4) -> Iterator[Proof]:
    """The rules of the derivation, on random matrices of small sizes.

    Columns: W (n, m), A (m, k), Z = W A (n, k). Rows: A (n, m), W (m, k), Z = A W (n, k). The layers know
    rows only; what they give for columns is read off the transposed product, Zᵀ = Aᵀ Wᵀ.
    """
    draw = rng.standard_normal

    W, x, g = draw((n, m)), draw(m), draw(n)
    column = layers.embedding_backward_input(np.eye(n)[np.newaxis], W.T)[0]  # row i of G Wᵀ, G = 1
    J = jacobian(lambda x: W @ x, x)
    equation = "y = W x:  y_i = Σ_j W_ij x_j,  ∂y_i/∂x_j = W_ij,  so ∂y/∂x = W"
    yield Proof("1", "a column", equation, J, g, J, column, None, (("W", W), ("x", x)))

    W, x, g = draw((m, k)), draw(m), draw(k)
    row = layers.embedding_backward_input(np.eye(k)[np.newaxis], W)[0]
    J = jacobian(lambda x: x @ W, x)
    equation = "y = x W:  y_j = Σ_i x_i W_ij,  ∂y_j/∂x_i = W_ij,  so ∂y/∂x = Wᵀ (outputs by inputs)"
    yield Proof("2", "a row", equation, J, g, J, row, None, (("x", x), ("W", W)))

    W, A, G = draw((n, m)), draw((m, k)), draw((n, k))
    by_W, by_A = _dense(A.T, W.T, G.T)
    both = ("W", W), ("A", A)
    J = jacobian(lambda W: W @ A, W)
    equation = "Z = W A:  ∂Z_ij/∂W_kl = δ_ik A_lj,  contracted: G Aᵀ"
    yield Proof("3W", "a matrix by the left factor", equation, J, G, contract(G, J), by_W.T, None, both)
    J = jacobian(lambda A: W @ A, A)
    equation = "Z = W A:  ∂Z_ij/∂A_kl = W_ik δ_jl,  contracted: Wᵀ G"
    yield Proof("3A", "a matrix by the right factor", equation, J, G, contract(G, J), by_A.T, None, both)

    A, W, G = draw((n, m)), draw((m, k)), draw((n, k))
    by_W, by_A = _dense(A, W, G)
    both = ("A", A), ("W", W)
    J = jacobian(lambda W: A @ W, W)
    equation = "Z = A W:  ∂Z_ij/∂W_kl = A_ik δ_jl,  contracted: Aᵀ G"
    yield Proof("3W-rows", "the same in rows", equation, J, G, contract(G, J), by_W, None, both)
    J = jacobian(lambda A: A @ W, A)
    equation = "Z = A W:  ∂Z_ij/∂A_kl = δ_ik W_lj,  contracted: G Wᵀ"
    yield Proof("3A-rows", "the same in rows", equation, J, G, contract(G, J), by_A, None, both)

    Z, G = draw((n, m)), draw((n, m))
    J = jacobian(np.tanh, Z)
    a = np.stack([np.zeros_like(Z), np.tanh(Z)])[:, np.newaxis]  # a window of one step and one row each
    trick, _ = layers.recurrence_backward(G[np.newaxis].copy(), a[:, 0], np.zeros((m, m)))
    equation = "A = f(Z):  ∂A_ij/∂Z_kl = δ_ik δ_jl f′(Z_ij),  contracted: G ∘ f′(Z)"
    yield Proof("elementwise", "an element-wise function", equation, J, G, contract(G, J), trick[0])

    logits, y = draw((1, n, k)), rng.integers(0, k, (1, n))
    y_hat, _, _ = layers.softmax_forward(logits)
    G = -np.eye(k)[y] / y_hat / n  # ∂L/∂ŷ of the mean over n rows
    J = jacobian(lambda z: layers.softmax_forward(z)[0], logits)
    equation = "ŷ = softmax(z):  ∂ŷ_i/∂z_j = ŷ_i (δ_ij − ŷ_j),  contracted with −y/ŷ: ŷ − y"
    trick = layers.cross_entropy_backward(y_hat, y)
    yield Proof(
        "softmax", "softmax with cross-entropy", equation, J[0, :, :, 0], G[0], contract(G, J)[0], trick[0]
    )

    A, b, G = draw((n, m)), draw(m), draw((n, m))
    J = jacobian(lambda b: A + b, b)
    db = np.empty(m)
    layers.recurrence_backward_weights(G[np.newaxis], np.zeros((2, n, m)), np.empty((m, m)), db)
    equation = "Z = A + b on every row:  ∂Z_ij/∂b_l = δ_jl,  contracted: Σ_i G_i"
    yield Proof("bias", "a bias, added to every row", equation, J, G, contract(G, J), db)


def _dense(A: Array, W: Array, G: Array) -> tuple[Array, Array]:
    """∂L/∂W and ∂L/∂A of Z = A W, by the dense layer."""
    dW = np.empty_like(W)
    dA = layers.dense_backward(G[np.newaxis], A[np.newaxis], W, dW, np.empty(W.shape[1]))
    return dW, dA[0]


class Cell:
    """A small random window of the network, run forward and back by the layers.

    T time steps, B rows, H activations, V characters. Arrays have time first and t counts from 1, so a[t]
    is a⟨t⟩, while dz[t − 1] is dz⟨t⟩: only the activations have a step 0.
    """

    def __init__(self, rng: np.random.Generator, T: int, B: int, H: int, V: int):
        self.T, self.B, self.H, self.V = T, B, H, V
        self.x, self.y = rng.integers(0, V, (2, T, B))
        self.W_ax, self.W_ya = rng.standard_normal((V, H)), rng.standard_normal((H, V))
        self.W_aa = rng.standard_normal((H, H)) / np.sqrt(H)
        self.b_a, self.b_y = rng.standard_normal(H), rng.standard_normal(V)
        self.a0 = np.tanh(rng.standard_normal((B, H)))
        self.dW_ax, self.dW_aa, self.db_a = (np.empty_like(p) for p in (self.W_ax, self.W_aa, self.b_a))
        self.dW_ya, self.db_y = np.empty_like(self.W_ya), np.empty_like(self.b_y)

        xW = layers.embedding_forward(self.x, self.W_ax)
        self.a = layers.recurrence_forward(xW, self.a0, self.W_aa, self.b_a)
        logits = layers.dense_forward(self.a[1:], self.W_ya, self.b_y)
        self.loss, self.y_hat = layers.cross_entropy_forward(logits, self.y)
        self.logits = logits
        self.dlogits = layers.cross_entropy_backward(self.y_hat.copy(), self.y)
        self.da = layers.dense_backward(self.dlogits, self.a[1:], self.W_ya, self.dW_ya, self.db_y)
        self.dz, self.da0 = layers.recurrence_backward(self.da, self.a, self.W_aa)  # da becomes whole
        layers.recurrence_backward_weights(self.dz, self.a, self.dW_aa, self.db_a)
        layers.embedding_backward(self.dz, self.x, self.dW_ax)

    def onehot(self, characters: Array) -> Array:
        """The rows that characters (…,) stand for, (…, V)."""
        return np.asarray(np.eye(self.V)[characters])

    def z(self, t: int) -> Array:
        """z⟨t⟩ (B, H), from F1 as it stands."""
        return np.asarray(self.onehot(self.x[t - 1]) @ self.W_ax + self.a[t - 1] @ self.W_aa + self.b_a)

    def loss_of_copies(self, copies: Array) -> Any:
        """L where every step t has a W_aa⟨t⟩ of its own, copies (T, H, H)."""
        a, states = self.a0.astype(complex), []
        xW = layers.embedding_forward(self.x, self.W_ax).astype(complex)
        for t in range(self.T):
            a = layers.recurrence_forward(xW[t : t + 1], a, copies[t], self.b_a)[1]
            states.append(a)
        logits = layers.dense_forward(np.array(states), self.W_ya, self.b_y)
        return layers.cross_entropy_forward(logits, self.y)[0]


EQUATIONS = {
    "F1": "z⟨t⟩ = x⟨t⟩ W_ax + a⟨t−1⟩ W_aa + b_a",
    "F2": "a⟨t⟩ = tanh z⟨t⟩",
    "F3": "ŷ⟨t⟩ = softmax(a⟨t⟩ W_ya + b_y)",
    "F4": "L = −(1/TB) Σ_t Σ_b log ŷ⟨t⟩[b, y⟨t⟩_b]",
    "B1": "dlogits⟨t⟩ = (ŷ⟨t⟩ − onehot y⟨t⟩)/TB",
    "B2": "dW_ya = Σ_t a⟨t⟩ᵀ dlogits⟨t⟩, db_y = Σ_t Σ_b dlogits⟨t⟩",
    "B3": "da⟨t⟩ = dlogits⟨t⟩ W_yaᵀ + dz⟨t+1⟩ W_aaᵀ",
    "B4": "dz⟨t⟩ = da⟨t⟩ ∘ (1 − a⟨t⟩²)",
    "B5": "dW_aa = Σ_t a⟨t−1⟩ᵀ dz⟨t⟩",
    "B6": "dW_ax = Σ_t x⟨t⟩ᵀ dz⟨t⟩",
    "B7": "db_a = Σ_t Σ_b dz⟨t⟩",
    "B8": "dx⟨t⟩ = dz⟨t⟩ W_axᵀ",
    "B9": "da⟨0⟩ = dz⟨1⟩ W_aaᵀ",
}


def forward(cell: Cell) -> Iterator[Proof]:
    """F1–F4, each element written out as a sum, beside what the layers computed."""
    c, none = cell, np.empty(0)
    for t in range(1, c.T + 1):
        z = np.zeros((c.B, c.H))
        for b, h in np.ndindex(z.shape):
            z[b, h] = sum(c.a[t - 1][b, i] * c.W_aa[i, h] for i in range(c.H)) + c.b_a[h]
            z[b, h] += sum((c.x[t - 1][b] == v) * c.W_ax[v, h] for v in range(c.V))
        yield Proof("F1", "tanh z⟨t⟩, z written out", EQUATIONS["F1"], None, none, np.tanh(z), c.a[t], t)
        a = (np.exp(z) - np.exp(-z)) / (np.exp(z) + np.exp(-z))
        yield Proof("F2", "a⟨t⟩ by exponentials", EQUATIONS["F2"], None, none, a, c.a[t], t)
        e = np.zeros((c.B, c.V))
        for b, v in np.ndindex(e.shape):
            e[b, v] = np.exp(sum(a[b, i] * c.W_ya[i, v] for i in range(c.H)) + c.b_y[v])
        y_hat = e / e.sum(axis=1, keepdims=True)
        yield Proof("F3", "ŷ⟨t⟩ written out", EQUATIONS["F3"], None, none, y_hat, c.y_hat[t - 1], t)
    nats = [-np.log(c.y_hat[t, b, c.y[t, b]]) for t, b in np.ndindex(c.T, c.B)]
    mean = np.array(sum(nats) / (c.T * c.B))
    yield Proof("F4", "L written out", EQUATIONS["F4"], None, none, mean, np.array(c.loss))


def equations(cell: Cell) -> Iterator[Proof]:
    """B1–B9 at every time step: the tensor of that one operation, and what the layers computed.

    The upstream gradient of each is the one that the equations before it gave.
    """
    c = cell
    for t in range(1, c.T + 1):  # ŷ⟨t⟩ by logits⟨t⟩; the loss sends −y/ŷ, of T·B losses the mean
        J = jacobian(lambda logits: layers.softmax_forward(logits)[0], c.logits[t - 1])
        G = -c.onehot(c.y[t - 1]) / c.y_hat[t - 1] / (c.T * c.B)
        yield _proof("B1", "∂ŷ⟨t⟩/∂logits⟨t⟩", J, G, c.dlogits[t - 1], t)

    def each_step(f: Callable[[int], Callable[[Array], Array]], x: Array) -> list[Array]:
        return [jacobian(f(t), x) for t in range(1, c.T + 1)]

    dW_ya, db_y = np.empty_like(c.W_ya), np.empty_like(c.b_y)  # of one step; the cell has the sums
    by_W = each_step(lambda t: lambda W_ya: c.a[t] @ W_ya + c.b_y, c.W_ya)
    by_b = each_step(lambda t: lambda b_y: c.a[t] @ c.W_ya + b_y, c.b_y)
    for t in range(1, c.T + 1):
        now = slice(t - 1, t)
        layers.dense_backward(c.dlogits[now], c.a[1:][now], c.W_ya, dW_ya, db_y)
        yield _proof("B2", "∂logits⟨t⟩/∂W_ya", by_W[t - 1], c.dlogits[t - 1], dW_ya.copy(), t)
        yield _proof("B2", "∂logits⟨t⟩/∂b_y", by_b[t - 1], c.dlogits[t - 1], db_y.copy(), t)
    yield _proof("B2", "∂logits/∂W_ya, Σ_t", np.array(by_W), c.dlogits, c.dW_ya)
    yield _proof("B2", "∂logits/∂b_y, Σ_t", np.array(by_b), c.dlogits, c.db_y)

    for t in range(1, c.T + 1):  # a⟨t⟩ reaches logits⟨t⟩ and, but for the last, z⟨t+1⟩
        G, what = c.dlogits[t - 1], "∂logits⟨t⟩/∂a⟨t⟩"
        J = jacobian(lambda a: a @ c.W_ya + c.b_y, c.a[t])
        if t < c.T:
            onward = jacobian(lambda a, t=t: c.z(t + 1) + (a - c.a[t]) @ c.W_aa, c.a[t])  # type: ignore[misc]
            J, G = np.concatenate([J, onward], axis=1), np.concatenate([G, c.dz[t]], axis=1)
            what = "∂(logits⟨t⟩, z⟨t+1⟩)/∂a⟨t⟩"
        yield _proof("B3", what, J, G, c.da[t - 1], t)

    for t in range(1, c.T + 1):
        yield _proof("B4", "∂a⟨t⟩/∂z⟨t⟩", jacobian(np.tanh, c.z(t)), c.da[t - 1], c.dz[t - 1], t)

    dW_aa, db_a, dW_ax = np.empty_like(c.W_aa), np.empty_like(c.b_a), np.empty_like(c.W_ax)
    by_W = each_step(lambda t: lambda W_aa: c.z(t) + c.a[t - 1] @ (W_aa - c.W_aa), c.W_aa)
    for t in range(1, c.T + 1):
        layers.recurrence_backward_weights(c.dz[t - 1 : t], c.a[t - 1 : t + 1], dW_aa, db_a)
        yield _proof("B5", "∂z⟨t⟩/∂W_aa⟨t⟩", by_W[t - 1], c.dz[t - 1], dW_aa.copy(), t)
    yield _proof("B5", "∂z/∂W_aa, Σ_t", np.array(by_W), c.dz, c.dW_aa)

    by_W = each_step(lambda t: lambda W_ax: c.z(t) + c.onehot(c.x[t - 1]) @ (W_ax - c.W_ax), c.W_ax)
    for t in range(1, c.T + 1):
        layers.embedding_backward(c.dz[t - 1 : t], c.x[t - 1 : t], dW_ax)
        yield _proof("B6", "∂z⟨t⟩/∂W_ax", by_W[t - 1], c.dz[t - 1], dW_ax.copy(), t)
    yield _proof("B6", "∂z/∂W_ax, Σ_t", np.array(by_W), c.dz, c.dW_ax)

    by_b = each_step(lambda t: lambda b_a: c.z(t) + (b_a - c.b_a), c.b_a)
    for t in range(1, c.T + 1):
        layers.recurrence_backward_weights(c.dz[t - 1 : t], c.a[t - 1 : t + 1], dW_aa, db_a)
        yield _proof("B7", "∂z⟨t⟩/∂b_a", by_b[t - 1], c.dz[t - 1], db_a.copy(), t)
    yield _proof("B7", "∂z/∂b_a, Σ_t", np.array(by_b), c.dz, c.db_a)

    dx = layers.embedding_backward_input(c.dz, c.W_ax)
    for t in range(1, c.T + 1):
        x = c.onehot(c.x[t - 1])
        J = jacobian(lambda x, t=t: c.z(t) + (x - c.onehot(c.x[t - 1])) @ c.W_ax, x)  # type: ignore[misc]
        yield _proof("B8", "∂z⟨t⟩/∂x⟨t⟩", J, c.dz[t - 1], dx[t - 1], t)

    J = jacobian(lambda a0: c.z(1) + (a0 - c.a0) @ c.W_aa, c.a0)
    yield _proof("B9", "∂z⟨1⟩/∂a⟨0⟩", J, c.dz[0], c.da0, 1)


def _proof(tag: str, what: str, J: Array, G: Array, trick: Array, t: int | None = None) -> Proof:
    return Proof(tag, what, EQUATIONS[tag], J, G, contract(G, J), trick, t)


def through_time(cell: Cell) -> Proof:
    """The same W_aa stands at every step: the gradient is the sum of those of the steps' own copies."""
    copies = np.repeat(cell.W_aa[np.newaxis], cell.T, axis=0)
    J = jacobian(lambda W: np.asarray(cell.loss_of_copies(W)), copies)  # of the whole loss, (T, H, H)
    equation = "∂L/∂W_aa = Σ_t ∂L/∂W_aa⟨t⟩, each summand a⟨t−1⟩ᵀ dz⟨t⟩"
    return Proof("time", "one matrix at every step", equation, J, np.ones(cell.T), J.sum(axis=0), cell.dW_aa)


def derive(rng: np.random.Generator, T: int, B: int, H: int, V: int) -> list[Proof]:
    """All of it: the rules, the sum through time, F1–F4 and B1–B9 at every step of such a window."""
    cell = Cell(rng, T, B, H, V)
    written_out = sorted(forward(cell), key=lambda proof: proof.rule)
    return [*rules(rng), through_time(cell), *written_out, *equations(cell)]
