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
from math import isfinite
from sys import float_info
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
    formula: str  # of the trick
    operands: dict[str, Array]  # what stands in it, by name; a column has a second axis of one
    J: Array | None  # the tensor; None where nothing is derived, but only written out
    G: Array | None  # the gradient from above; None where the tensor itself is the answer
    long: Array  # the contraction, or the tensor itself
    trick: Array  # what the layers give
    step: int | None = None  # t, from 1

    @property
    def difference(self) -> float:
        """The largest difference, over the largest entry."""
        if self.long.shape != self.trick.shape:
            return float_info.max
        scale = max(float(np.abs(self.long).max()), float(np.abs(self.trick).max()), 1e-300)
        difference = float(np.abs(self.long - self.trick).max() / scale)
        return difference if isfinite(difference) else float_info.max

    @property
    def agrees(self) -> bool:
        return self.difference <= TOLERANCE


# -- the rules --------------------------------------------------------------------------------------


def rules(rng: np.random.Generator, n: int = 2, m: int = 3, k: int = 2) -> Iterator[Proof]:
    """The rules of the derivation, on random matrices of small sizes.

    The layers know rows only; what they give for columns is read off the transposed product: of
    Z = W A that is Zᵀ = Aᵀ Wᵀ.
    """
    yield from _vectors(rng, n, m)
    yield from _matrices(rng, n, m, k)
    yield from _others(rng, n, m)


def _vectors(rng: np.random.Generator, n: int, m: int) -> Iterator[Proof]:
    """Rules 1 and 2. The layer multiplies by the matrix; unit vectors show which matrix that is."""
    W, x = rng.standard_normal((n, m)), rng.standard_normal((m, 1))
    equation = "y = W x:  y_i = Σ_j W_ij x_j,  ∂y_i/∂x_j = W_ij,  so ∂y/∂x = W"
    J = jacobian(lambda x: W @ x, x)[:, 0, :, 0]
    trick = layers.embedding_backward_input(np.eye(n)[np.newaxis], W.T)[0]
    yield Proof("1", "a column", equation, "W", {"W": W, "x": x}, J, None, J, trick)

    x, W = rng.standard_normal((1, n)), rng.standard_normal((n, m))
    equation = "y = x W:  y_j = Σ_i x_i W_ij,  ∂y_j/∂x_i = W_ij,  so ∂y/∂x = Wᵀ (outputs by inputs)"
    J = jacobian(lambda x: x @ W, x)[0, :, 0, :]
    trick = layers.embedding_backward_input(np.eye(m)[np.newaxis], W)[0]
    yield Proof("2", "a row", equation, "Wᵀ", {"x": x, "W": W}, J, None, J, trick)


def _matrices(rng: np.random.Generator, n: int, m: int, k: int) -> Iterator[Proof]:
    """Rule 3, by either factor, in columns and in rows."""

    def dense(A: Array, W: Array, G: Array) -> tuple[Array, Array]:  # of A W
        dW = np.empty_like(W)
        dA = layers.dense_backward(G[np.newaxis], A[np.newaxis], W, dW, np.empty(W.shape[1]))
        return dW, dA[0]

    W, A, G = rng.standard_normal((n, m)), rng.standard_normal((m, k)), rng.standard_normal((n, k))
    by_W, by_A = dense(A.T, W.T, G.T)
    both = {"W": W, "A": A}
    J = jacobian(lambda W: W @ A, W)
    equation = "Z = W A:  ∂Z_ij/∂W_kl = δ_ik A_lj"
    yield Proof("3W", "∂Z/∂W, columns", equation, "G Aᵀ", both, J, G, contract(G, J), by_W.T)
    J = jacobian(lambda A: W @ A, A)
    equation = "Z = W A:  ∂Z_ij/∂A_kl = W_ik δ_jl"
    yield Proof("3A", "∂Z/∂A, columns", equation, "Wᵀ G", both, J, G, contract(G, J), by_A.T)

    A, W, G = rng.standard_normal((n, m)), rng.standard_normal((m, k)), rng.standard_normal((n, k))
    by_W, by_A = dense(A, W, G)
    both = {"A": A, "W": W}
    J = jacobian(lambda W: A @ W, W)
    equation = "Z = A W:  ∂Z_ij/∂W_kl = A_ik δ_jl"
    yield Proof("3W-rows", "∂Z/∂W, rows", equation, "Aᵀ G", both, J, G, contract(G, J), by_W)
    J = jacobian(lambda A: A @ W, A)
    equation = "Z = A W:  ∂Z_ij/∂A_kl = δ_ik W_lj"
    yield Proof("3A-rows", "∂Z/∂A, rows", equation, "G Wᵀ", both, J, G, contract(G, J), by_A)


def _others(rng: np.random.Generator, n: int, m: int) -> Iterator[Proof]:
    """An element-wise function, softmax with cross-entropy, a bias."""
    Z, G = rng.standard_normal((2, n, m))
    J = jacobian(np.tanh, Z)
    window = np.stack([np.zeros_like(Z), np.tanh(Z)])  # a⟨0⟩ and a⟨1⟩: f is tanh
    trick, _ = layers.recurrence_backward(G[np.newaxis].copy(), window, np.zeros((m, m)))
    equation = "A = f(Z):  ∂A_ij/∂Z_kl = δ_ik δ_jl f′(Z_ij)"
    shown = {"Z": Z, "f′(Z), for tanh": 1 - np.tanh(Z) ** 2}
    yield Proof("elementwise", "∂f(Z)/∂Z", equation, "G ∘ f′(Z)", shown, J, G, contract(G, J), trick[0])

    z, c = rng.standard_normal((1, m)), int(rng.integers(m))
    y = np.eye(m)[[c]]
    y_hat, _, _ = layers.softmax_forward(z)
    G = -y / y_hat
    J = jacobian(lambda z: layers.softmax_forward(z)[0], z)
    trick = layers.cross_entropy_backward(y_hat[np.newaxis].copy(), np.array([[c]]))[0]
    equation = "ŷ = softmax(z):  ∂ŷ_i/∂z_j = ŷ_i (δ_ij − ŷ_j),  from above −y/ŷ"
    shown = {"z": z, "ŷ": y_hat, "y": y}
    J, G, trick = J[0, :, 0], G[0], trick[0]
    yield Proof("softmax", "∂ŷ/∂z", equation, "ŷ − y", shown, J, G, contract(G, J), trick)

    A, b, G = rng.standard_normal((n, m)), rng.standard_normal(m), rng.standard_normal((n, m))
    J = jacobian(lambda b: A + b, b)
    db = np.empty(m)
    layers.recurrence_backward_weights(G[np.newaxis], np.zeros((2, n, m)), np.empty((m, m)), db)
    equation = "Z = A + b on every row:  ∂Z_ij/∂b_l = δ_jl"
    yield Proof("bias", "∂Z/∂b", equation, "Σ_i G_i", {"A": A, "b": b}, J, G, contract(G, J), db)


# -- the network ------------------------------------------------------------------------------------

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
        self.dW_ax, self.dW_aa, self.db_a = map(np.empty_like, (self.W_ax, self.W_aa, self.b_a))
        self.dW_ya, self.db_y = map(np.empty_like, (self.W_ya, self.b_y))

        xW = layers.embedding_forward(self.x, self.W_ax)
        self.a = layers.recurrence_forward(xW, self.a0, self.W_aa, self.b_a)
        self.logits = layers.dense_forward(self.a[1:], self.W_ya, self.b_y)
        self.loss, self.y_hat = layers.cross_entropy_forward(self.logits, self.y)

        self.dlogits = layers.cross_entropy_backward(self.y_hat.copy(), self.y)
        self.da = layers.dense_backward(self.dlogits, self.a[1:], self.W_ya, self.dW_ya, self.db_y)
        self.dz, self.da0 = layers.recurrence_backward(self.da, self.a, self.W_aa)  # da becomes whole
        layers.recurrence_backward_weights(self.dz, self.a, self.dW_aa, self.db_a)
        layers.embedding_backward(self.dz, self.x, self.dW_ax)
        self.dx = layers.embedding_backward_input(self.dz, self.W_ax)

    def onehot(self, characters: Array) -> Array:
        """The rows that characters (…,) stand for, (…, V)."""
        return np.asarray(np.eye(self.V)[characters])

    def z(self, t: int, **moved: Array) -> Array:
        """z⟨t⟩ (B, H) by F1 as it stands, where x, a, W_ax, W_aa or b_a may be given in place of its own."""
        p = {"x": self.onehot(self.x[t - 1]), "a": self.a[t - 1]}
        p |= {"W_ax": self.W_ax, "W_aa": self.W_aa, "b_a": self.b_a} | moved
        z: Array = p["x"] @ p["W_ax"] + p["a"] @ p["W_aa"] + p["b_a"]
        return z

    def loss_of_copies(self, copies: Array) -> Array:
        """L where every step t has a W_aa⟨t⟩ of its own, copies (T, H, H)."""
        a, states = self.a0.astype(complex), []
        xW = layers.embedding_forward(self.x, self.W_ax).astype(complex)
        for t in range(self.T):
            a = layers.recurrence_forward(xW[t : t + 1], a, copies[t], self.b_a)[1]
            states.append(a)
        logits = layers.dense_forward(np.array(states), self.W_ya, self.b_y)
        return np.asarray(layers.cross_entropy_forward(logits, self.y)[0])

    def summands(self, t: int) -> dict[str, Array]:
        """What step t alone adds to the gradient of each parameter, by the layers."""
        now = slice(t - 1, t)
        part = {name: np.empty_like(getattr(self, name)) for name in ("W_ax", "W_aa", "b_a", "W_ya", "b_y")}
        layers.dense_backward(self.dlogits[now], self.a[t : t + 1], self.W_ya, part["W_ya"], part["b_y"])
        layers.recurrence_backward_weights(self.dz[now], self.a[t - 1 : t + 1], part["W_aa"], part["b_a"])
        layers.embedding_backward(self.dz[now], self.x[now], part["W_ax"])
        return part


def through_time(c: Cell) -> Iterator[Proof]:
    """The same W_aa stands at every step: the gradient is the sum of those of the steps' own copies."""
    copies = np.repeat(c.W_aa[np.newaxis], c.T, axis=0)
    J = jacobian(c.loss_of_copies, copies)  # of the whole loss, (T, H, H)
    equation = "∂L/∂W_aa = Σ_t ∂L/∂W_aa⟨t⟩, each step with a copy of its own"
    for t in range(1, c.T + 1):
        shown = {f"a⟨{t - 1}⟩": c.a[t - 1], f"dz⟨{t}⟩": c.dz[t - 1]}
        trick = c.summands(t)["W_aa"]
        title, formula = "∂L/∂W_aa⟨t⟩", "a⟨t−1⟩ᵀ dz⟨t⟩"
        yield Proof("time", title, equation, formula, shown, J[t - 1], None, J[t - 1], trick, t)
    shown = {f"step {t}": J[t - 1] for t in range(1, c.T + 1)}
    yield Proof("time", "Σ_t", equation, "Σ_t a⟨t−1⟩ᵀ dz⟨t⟩", shown, J, None, J.sum(axis=0), c.dW_aa)


def forward(c: Cell) -> Iterator[Proof]:
    """F1–F4, each element written out as a sum, beside what the layers computed.

    The layers keep a⟨t⟩, not z⟨t⟩: so F1 is compared through the tanh, and F2 by exponentials.
    """
    steps = range(1, c.T + 1)
    z, y_hat = np.zeros((c.T + 1, c.B, c.H)), np.zeros((c.T + 1, c.B, c.V))
    for t in steps:
        for b, h in np.ndindex(c.B, c.H):
            z[t, b, h] = sum((c.x[t - 1][b] == v) * c.W_ax[v, h] for v in range(c.V)) + c.b_a[h]
            z[t, b, h] += sum(c.a[t - 1][b, i] * c.W_aa[i, h] for i in range(c.H))
        shown = {"x": c.onehot(c.x[t - 1]), "W_ax": c.W_ax, f"a⟨{t - 1}⟩": c.a[t - 1]}
        shown |= {"W_aa": c.W_aa, "b_a": c.b_a, "z": z[t]}
        yield _written("F1", "tanh z⟨t⟩, z written out", shown, np.tanh(z[t]), c.a[t], t)
    for t in steps:
        up, down = np.exp(z[t]), np.exp(-z[t])
        a = (up - down) / (up + down)
        yield _written("F2", "a⟨t⟩ by exponentials", {"z": z[t]}, a, c.a[t], t)
    for t in steps:
        for b, v in np.ndindex(c.B, c.V):
            y_hat[t, b, v] = np.exp(sum(c.a[t][b, i] * c.W_ya[i, v] for i in range(c.H)) + c.b_y[v])
        y_hat[t] /= y_hat[t].sum(axis=1, keepdims=True)
        shown = {f"a⟨{t}⟩": c.a[t], "W_ya": c.W_ya, "b_y": c.b_y}
        yield _written("F3", "ŷ⟨t⟩ written out", shown, y_hat[t], c.y_hat[t - 1], t)
    nats = [[-np.log(y_hat[t, b, c.y[t - 1, b]]) for b in range(c.B)] for t in steps]
    mean = np.array(sum(map(sum, nats)) / (c.T * c.B))
    shown = {"−log ŷ⟨t⟩[b, y⟨t⟩_b], a line for each step": np.array(nats)}
    yield _written("F4", "L written out", shown, mean, np.array(c.loss))


def _written(
    tag: str, title: str, shown: dict[str, Array], long: Array, trick: Array, t: int | None = None
) -> Proof:
    return Proof(tag, title, EQUATIONS[tag], "", shown, None, None, long, trick, t)


def output(c: Cell) -> Iterator[Proof]:
    """B1 and B2, the softmax and the dense layer; the loss sends −y/ŷ to ŷ, of T·B losses the mean."""
    steps = range(1, c.T + 1)
    for t in steps:
        J = jacobian(lambda logits: layers.softmax_forward(logits)[0], c.logits[t - 1])
        y = c.onehot(c.y[t - 1])
        G = -y / c.y_hat[t - 1] / (c.T * c.B)
        shown = {f"ŷ⟨{t}⟩": c.y_hat[t - 1], f"onehot y⟨{t}⟩": y}
        yield _proof("B1", "∂ŷ⟨t⟩/∂logits⟨t⟩", "(ŷ⟨t⟩ − onehot y⟨t⟩)/TB", shown, J, G, c.dlogits[t - 1], t)
    for name, formula in (("W_ya", "a⟨t⟩ᵀ dlogits⟨t⟩"), ("b_y", "Σ_b dlogits⟨t⟩")):
        tensors = []
        for t in steps:
            if name == "W_ya":
                J = jacobian(lambda W, t=t: c.a[t] @ W + c.b_y, c.W_ya)  # type: ignore[misc]
            else:
                J = jacobian(lambda b, t=t: c.a[t] @ c.W_ya + b, c.b_y)  # type: ignore[misc]
            tensors.append(J)
            trick = c.summands(t)[name]
            yield _proof(
                "B2", f"∂logits⟨t⟩/∂{name}", formula, {f"a⟨{t}⟩": c.a[t]}, J, c.dlogits[t - 1], trick, t
            )
        whole = c.dW_ya if name == "W_ya" else c.db_y
        yield _proof("B2", f"∂logits/∂{name}, Σ_t", f"Σ_t {formula}", {}, np.array(tensors), c.dlogits, whole)


def through_the_cell(c: Cell) -> Iterator[Proof]:
    """B3, B4 and B9: what an activation reaches, and through the tanh."""
    steps = range(1, c.T + 1)
    for t in steps:  # a⟨t⟩ reaches logits⟨t⟩ and, but for the last, z⟨t+1⟩
        G, what, formula = c.dlogits[t - 1], "∂logits⟨t⟩/∂a⟨t⟩", "dlogits⟨t⟩ W_yaᵀ"
        J = jacobian(lambda a: a @ c.W_ya + c.b_y, c.a[t])
        shown = {"W_ya": c.W_ya}
        if t < c.T:
            onward = jacobian(lambda a, t=t: c.z(t + 1, a=a), c.a[t])  # type: ignore[misc]
            J, G = np.concatenate([J, onward], axis=1), np.concatenate([G, c.dz[t]], axis=1)
            what, formula = "∂(logits⟨t⟩, z⟨t+1⟩)/∂a⟨t⟩", f"{formula} + dz⟨t+1⟩ W_aaᵀ"
            shown["W_aa"] = c.W_aa
        yield _proof("B3", what, formula, shown, J, G, c.da[t - 1], t)
    for t in steps:
        J, shown = jacobian(np.tanh, c.z(t)), {f"a⟨{t}⟩": c.a[t]}
        yield _proof("B4", "∂a⟨t⟩/∂z⟨t⟩", "da⟨t⟩ ∘ (1 − a⟨t⟩²)", shown, J, c.da[t - 1], c.dz[t - 1], t)
    J = jacobian(lambda a: c.z(1, a=a), c.a0)
    yield _proof("B9", "∂z⟨1⟩/∂a⟨0⟩", "dz⟨1⟩ W_aaᵀ", {"W_aa": c.W_aa}, J, c.dz[0], c.da0, 1)


def weights(c: Cell) -> Iterator[Proof]:
    """B5, B7 and B6, a summand for each step and their sum; and B8."""
    steps = range(1, c.T + 1)
    for tag, name, formula, whole in (
        ("B5", "W_aa", "a⟨t−1⟩ᵀ dz⟨t⟩", c.dW_aa),
        ("B7", "b_a", "Σ_b dz⟨t⟩", c.db_a),
        ("B6", "W_ax", "x⟨t⟩ᵀ dz⟨t⟩", c.dW_ax),
    ):
        tensors = []
        for t in steps:
            J = jacobian(lambda p, name=name, t=t: c.z(t, **{name: p}), getattr(c, name))  # type: ignore[misc]
            tensors.append(J)
            stands = {"W_aa": {f"a⟨{t - 1}⟩": c.a[t - 1]}, "W_ax": {f"x⟨{t}⟩": c.onehot(c.x[t - 1])}}
            shown, trick = stands.get(name, {}), c.summands(t)[name]
            yield _proof(tag, f"∂z⟨t⟩/∂{name}", formula, shown, J, c.dz[t - 1], trick, t)
        yield _proof(tag, f"∂z/∂{name}, Σ_t", f"Σ_t {formula}", {}, np.array(tensors), c.dz, whole)
    for t in steps:
        J = jacobian(lambda x, t=t: c.z(t, x=x), c.onehot(c.x[t - 1]))  # type: ignore[misc]
        shown = {"W_ax": c.W_ax}
        yield _proof("B8", "∂z⟨t⟩/∂x⟨t⟩", "dz⟨t⟩ W_axᵀ", shown, J, c.dz[t - 1], c.dx[t - 1], t)


def _proof(
    tag: str,
    title: str,
    formula: str,
    shown: dict[str, Array],
    J: Array,
    G: Array,
    trick: Array,
    t: int | None = None,
) -> Proof:
    return Proof(tag, title, EQUATIONS[tag], formula, shown, J, G, contract(G, J), trick, t)


def derive(rng: np.random.Generator, T: int, B: int, H: int, V: int) -> list[Proof]:
    """All of it: the rules, the sum through time, F1–F4 and B1–B9 at every step of such a window.

    The upstream gradient of each equation is the one that the equations before it gave.
    """
    found = list(rules(rng))
    cell = Cell(rng, T, B, H, V)
    for part in (through_time, forward, output, through_the_cell, weights):
        found += part(cell)
    return found
