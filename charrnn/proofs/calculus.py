"""The matrix calculus behind the backward pass, carried out.

The derivative of a matrix by a matrix is a four-dimensional tensor, ∂Z_ij/∂W_kl. Nobody builds it: contracted
with the gradient that comes from above, G = ∂L/∂Z, it folds into an ordinary matrix product, and that is
what the layers compute. Here it is built all the same, one entry after another, by the complex step and so
exact to rounding; contracted; and laid beside what the layers give.

    tensor        J[i…, k…] = ∂(out_i…)/∂(x_k…), the shapes of out and x one behind the other
    contraction   Σ_i… G_i… J[i…, k…], the shape of x
    trick         the layer function's answer, which must be the same

First the rules, on columns (Z = W A, as they are taught) and on rows (Z = A W, as this code computes); then
each equation of the tanh cell at each time step of a small window, with the gradients that flow in it. What
the GRU and the LSTM have of their own is in ``derivation``.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from math import isfinite
from sys import float_info

import numpy as np

from charrnn import layers
from charrnn.layers import Array

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
    trick = layers.inputs_backward_x(np.eye(n)[np.newaxis], W.T)[0]
    yield Proof("1", "a column", equation, "W", {"W": W, "x": x}, J, None, J, trick)

    x, W = rng.standard_normal((1, n)), rng.standard_normal((n, m))
    equation = "y = x W:  y_j = Σ_i x_i W_ij,  ∂y_j/∂x_i = W_ij,  so ∂y/∂x = Wᵀ (outputs by inputs)"
    J = jacobian(lambda x: x @ W, x)[0, :, 0, :]
    trick = layers.inputs_backward_x(np.eye(m)[np.newaxis], W)[0]
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
    "DF1": "d⟨t⟩ = m⟨t⟩ ∘ a⟨t⟩",
    "DB1": "da⟨t⟩ = m⟨t⟩ ∘ dd⟨t⟩",
    "GF1": "z⟨t⟩ = x⟨t⟩ W_ax + b_a",
    "GF2": "q⟨t⟩ = a⟨t−1⟩ W_aa + (0, 0, b_n)",
    "GF3": "r⟨t⟩ = σ(z_r⟨t⟩ + q_r⟨t⟩), u⟨t⟩ = σ(z_u⟨t⟩ + q_u⟨t⟩)",
    "GF4": "n⟨t⟩ = tanh(z_n⟨t⟩ + r⟨t⟩ ∘ q_n⟨t⟩)",
    "GF5": "a⟨t⟩ = (1 − u⟨t⟩) ∘ n⟨t⟩ + u⟨t⟩ ∘ a⟨t−1⟩",
    "GB1": "da⟨t⟩ = dlogits⟨t⟩ W_yaᵀ + dq⟨t+1⟩ W_aaᵀ + da⟨t+1⟩ ∘ u⟨t+1⟩",
    "GB2": "dz_n⟨t⟩ = da⟨t⟩ ∘ (1 − u⟨t⟩) ∘ (1 − n⟨t⟩²)",
    "GB3": "dq_n⟨t⟩ = dz_n⟨t⟩ ∘ r⟨t⟩",
    "GB4": "dq_r⟨t⟩ = dz_r⟨t⟩ = dz_n⟨t⟩ ∘ q_n⟨t⟩ ∘ r⟨t⟩ ∘ (1 − r⟨t⟩)",
    "GB5": "dq_u⟨t⟩ = dz_u⟨t⟩ = da⟨t⟩ ∘ (a⟨t−1⟩ − n⟨t⟩) ∘ u⟨t⟩ ∘ (1 − u⟨t⟩)",
    "GB6": "dW_aa = Σ_t a⟨t−1⟩ᵀ dq⟨t⟩",
    "GB7": "db_n = Σ_t Σ_b dq_n⟨t⟩",
    "GB8": "da⟨0⟩ = dq⟨1⟩ W_aaᵀ + da⟨1⟩ ∘ u⟨1⟩",
    "LF1": "z⟨t⟩ = x⟨t⟩ W_ax + a⟨t−1⟩ W_aa + b_a",
    "LF2": "i⟨t⟩ = σ(z_i⟨t⟩), f⟨t⟩ = σ(z_f⟨t⟩), g⟨t⟩ = tanh z_g⟨t⟩, o⟨t⟩ = σ(z_o⟨t⟩)",
    "LF3": "c⟨t⟩ = f⟨t⟩ ∘ c⟨t−1⟩ + i⟨t⟩ ∘ g⟨t⟩",
    "LF4": "a⟨t⟩ = o⟨t⟩ ∘ tanh c⟨t⟩",
    "LB1": "da⟨t⟩ = dlogits⟨t⟩ W_yaᵀ + dz⟨t+1⟩ W_aaᵀ",
    "LB2": "dc⟨t⟩ = da⟨t⟩ ∘ o⟨t⟩ ∘ (1 − tanh² c⟨t⟩) + dc⟨t+1⟩ ∘ f⟨t+1⟩",
    "LB3": "dz_i⟨t⟩ = dc⟨t⟩ ∘ g⟨t⟩ ∘ i⟨t⟩ ∘ (1 − i⟨t⟩), dz_f⟨t⟩ = dc⟨t⟩ ∘ c⟨t−1⟩ ∘ f⟨t⟩ ∘ (1 − f⟨t⟩), "
    "dz_g⟨t⟩ = dc⟨t⟩ ∘ i⟨t⟩ ∘ (1 − g⟨t⟩²)",
    "LB4": "dz_o⟨t⟩ = da⟨t⟩ ∘ tanh c⟨t⟩ ∘ o⟨t⟩ ∘ (1 − o⟨t⟩)",
    "LB5": "da⟨0⟩ = dz⟨1⟩ W_aaᵀ, dc⟨0⟩ = dc⟨1⟩ ∘ f⟨1⟩",
}


class Example:
    """A small random window of a network of one layer, run forward and back by the layers.

    T time steps, B rows, H activations, V characters. Arrays have time first and t counts from 1, so a[t]
    is a⟨t⟩, while dz[t − 1] is dz⟨t⟩: only what is carried has a step 0. ``p`` are the parameters, ``g``
    their gradients.
    """

    name = "rnn"  # of its cell

    def __init__(self, rng: np.random.Generator, T: int, B: int, H: int, V: int):
        self.T, self.B, self.H, self.V, self.rng = T, B, H, V, rng
        self.cell = layers.CELLS[self.name]
        self.x, self.y = rng.integers(0, V, (2, T, B))
        shapes = self.cell.shapes(V, H) | {"W_ya": (H, V), "b_y": (V,)}
        self.p = {name: rng.standard_normal(shape) for name, shape in shapes.items()}
        self.p["W_aa"] /= np.sqrt(H)
        self.before = {name: np.tanh(rng.standard_normal((B, H))) for name in self.cell.states}
        self.a0 = self.before["a"]
        self.g = {name: np.empty_like(array) for name, array in self.p.items()}

        self.forward()
        self.logits = layers.dense_forward(self.a[1:], self.p["W_ya"], self.p["b_y"])
        self.loss, self.y_hat = layers.cross_entropy_forward(self.logits, self.y)

        self.dlogits = layers.cross_entropy_backward(self.y_hat.copy(), self.y)
        out = self.g["W_ya"], self.g["b_y"]
        self.da = layers.dense_backward(self.dlogits, self.a[1:], self.p["W_ya"], *out)
        self.backward()  # da becomes whole
        layers.inputs_backward(self.dz, self.x, self.g["W_ax"])
        self.dx = layers.inputs_backward_x(self.dz, self.p["W_ax"])

    def forward(self) -> None:
        """The cell's way forward: a, and what else it remembers."""
        xW = layers.inputs_forward(self.x, self.p["W_ax"])
        self.a = layers.recurrence_forward(xW, self.a0, self.p["W_aa"], self.p["b_a"])

    def backward(self) -> None:
        """The cell's way back: dz, the gradients of what came in, those of its weights."""
        self.dz, self.da0 = layers.recurrence_backward(self.da, self.a, self.p["W_aa"])
        layers.recurrence_backward_weights(self.dz, self.a, self.g["W_aa"], self.g["b_a"])

    @property
    def product(self) -> tuple[str, Array]:
        """What the product with W_aa goes into: its name and its gradient (T, B, G·H)."""
        return "z", self.dz

    def weights_of(self, t: int, g: dict[str, Array]) -> None:
        """What step t alone adds to the gradients of W_aa and the biases."""
        now = slice(t - 1, t)
        layers.recurrence_backward_weights(self.dz[now], self.a[t - 1 : t + 1], g["W_aa"], g["b_a"])

    def onehot(self, characters: Array) -> Array:
        """The rows that characters (…,) stand for, (…, V)."""
        return np.asarray(np.eye(self.V)[characters])

    def z(self, t: int, **moved: Array) -> Array:
        """z⟨t⟩ (B, H) by F1 as it stands, where x, a, W_ax, W_aa or b_a may be given in place of its own."""
        p = self.p | {"x": self.onehot(self.x[t - 1]), "a": self.a[t - 1]} | moved
        z: Array = p["x"] @ p["W_ax"] + p["a"] @ p["W_aa"] + p["b_a"]
        return z

    def loss_of_copies(self, copies: Array) -> Array:
        """L where every step t has a W_aa⟨t⟩ of its own, copies (T, H, G·H)."""
        states = tuple(state.astype(complex) for state in self.before.values())
        xW = layers.inputs_forward(self.x, self.p["W_ax"]).astype(complex)
        a = []
        for t in range(self.T):
            memory = self.cell.memory(1, self.B, self.H, complex)
            memory.xW[...] = xW[t]
            self.cell.forward(states, {**self.p, "W_aa": copies[t]}, memory)
            states = memory.state
            a.append(memory.a[1])
        logits = layers.dense_forward(np.array(a), self.p["W_ya"], self.p["b_y"])
        return np.asarray(layers.cross_entropy_forward(logits, self.y)[0])

    def summands(self, t: int) -> dict[str, Array]:
        """What step t alone adds to the gradient of each parameter, by the layers."""
        now = slice(t - 1, t)
        part = {name: np.empty_like(array) for name, array in self.p.items()}
        layers.dense_backward(self.dlogits[now], self.a[t : t + 1], self.p["W_ya"], part["W_ya"], part["b_y"])
        self.weights_of(t, part)
        layers.inputs_backward(self.dz[now], self.x[now], part["W_ax"])
        return part


def through_time(c: Example) -> Iterator[Proof]:
    """The same W_aa stands at every step: the gradient is the sum of those of the steps' own copies."""
    copies = np.repeat(c.p["W_aa"][np.newaxis], c.T, axis=0)
    J = jacobian(c.loss_of_copies, copies)  # of the whole loss, (T, H, H)
    equation = "∂L/∂W_aa = Σ_t ∂L/∂W_aa⟨t⟩, each step with a copy of its own"
    for t in range(1, c.T + 1):
        name, back = c.product
        shown = {f"a⟨{t - 1}⟩": c.a[t - 1], f"d{name}⟨{t}⟩": back[t - 1]}
        trick = c.summands(t)["W_aa"]
        title, formula = "∂L/∂W_aa⟨t⟩", f"a⟨t−1⟩ᵀ d{name}⟨t⟩"
        yield Proof("time", title, equation, formula, shown, J[t - 1], None, J[t - 1], trick, t)
    shown = {f"step {t}": J[t - 1] for t in range(1, c.T + 1)}
    yield Proof("time", "Σ_t", equation, f"Σ_t {formula}", shown, J, None, J.sum(axis=0), c.g["W_aa"])


def forward(c: Example) -> Iterator[Proof]:
    """F1 and F2, each element written out as a sum, beside what the layers computed.

    The layers keep a⟨t⟩, not z⟨t⟩: so F1 is compared through the tanh, and F2 by exponentials.
    """
    steps = range(1, c.T + 1)
    z = np.zeros((c.T + 1, c.B, c.H))
    for t in steps:
        for b, h in np.ndindex(c.B, c.H):
            z[t, b, h] = sum((c.x[t - 1][b] == v) * c.p["W_ax"][v, h] for v in range(c.V)) + c.p["b_a"][h]
            z[t, b, h] += sum(c.a[t - 1][b, i] * c.p["W_aa"][i, h] for i in range(c.H))
        shown = {"x": c.onehot(c.x[t - 1]), "W_ax": c.p["W_ax"], f"a⟨{t - 1}⟩": c.a[t - 1]}
        shown |= {"W_aa": c.p["W_aa"], "b_a": c.p["b_a"], "z": z[t]}
        yield written("F1", "tanh z⟨t⟩, z written out", shown, np.tanh(z[t]), c.a[t], t)
    for t in steps:
        up, down = np.exp(z[t]), np.exp(-z[t])
        a = (up - down) / (up + down)
        yield written("F2", "a⟨t⟩ by exponentials", {"z": z[t]}, a, c.a[t], t)


def predictions(c: Example) -> Iterator[Proof]:
    """F3 and F4, written out in the same way."""
    steps = range(1, c.T + 1)
    y_hat = np.zeros((c.T + 1, c.B, c.V))
    for t in steps:
        for b, v in np.ndindex(c.B, c.V):
            y_hat[t, b, v] = np.exp(sum(c.a[t][b, i] * c.p["W_ya"][i, v] for i in range(c.H)) + c.p["b_y"][v])
        y_hat[t] /= y_hat[t].sum(axis=1, keepdims=True)
        shown = {f"a⟨{t}⟩": c.a[t], "W_ya": c.p["W_ya"], "b_y": c.p["b_y"]}
        yield written("F3", "ŷ⟨t⟩ written out", shown, y_hat[t], c.y_hat[t - 1], t)
    nats = [[-np.log(y_hat[t, b, c.y[t - 1, b]]) for b in range(c.B)] for t in steps]
    mean = np.array(sum(map(sum, nats)) / (c.T * c.B))
    shown = {"−log ŷ⟨t⟩[b, y⟨t⟩_b], a line for each step": np.array(nats)}
    yield written("F4", "L written out", shown, mean, np.array(c.loss))


def written(
    tag: str, title: str, shown: dict[str, Array], long: Array, trick: Array, t: int | None = None
) -> Proof:
    """An equation whose elements are written out."""
    return Proof(tag, title, EQUATIONS[tag], "", shown, None, None, long, trick, t)


def output(c: Example) -> Iterator[Proof]:
    """B1 and B2, the softmax and the dense layer; the loss sends −y/ŷ to ŷ, of T·B losses the mean."""
    steps = range(1, c.T + 1)
    for t in steps:
        J = jacobian(lambda logits: layers.softmax_forward(logits)[0], c.logits[t - 1])
        y = c.onehot(c.y[t - 1])
        G = -y / c.y_hat[t - 1] / (c.T * c.B)
        shown = {f"ŷ⟨{t}⟩": c.y_hat[t - 1], f"onehot y⟨{t}⟩": y}
        yield proof("B1", "∂ŷ⟨t⟩/∂logits⟨t⟩", "(ŷ⟨t⟩ − onehot y⟨t⟩)/TB", shown, J, G, c.dlogits[t - 1], t)
    for name, formula in (("W_ya", "a⟨t⟩ᵀ dlogits⟨t⟩"), ("b_y", "Σ_b dlogits⟨t⟩")):
        tensors = []
        for t in steps:
            if name == "W_ya":
                J = jacobian(lambda W, t=t: c.a[t] @ W + c.p["b_y"], c.p["W_ya"])  # type: ignore[misc]
            else:
                J = jacobian(lambda b, t=t: c.a[t] @ c.p["W_ya"] + b, c.p["b_y"])  # type: ignore[misc]
            tensors.append(J)
            trick = c.summands(t)[name]
            yield proof(
                "B2", f"∂logits⟨t⟩/∂{name}", formula, {f"a⟨{t}⟩": c.a[t]}, J, c.dlogits[t - 1], trick, t
            )
        whole = c.g["W_ya"] if name == "W_ya" else c.g["b_y"]
        yield proof("B2", f"∂logits/∂{name}, Σ_t", f"Σ_t {formula}", {}, np.array(tensors), c.dlogits, whole)


def activations(
    c: Example, tag: str, formula: str, *onward: tuple[str, Callable[[int, Array], Array], Array]
) -> Iterator[Proof]:
    """What an activation reaches: logits⟨t⟩ and, but for the last, what comes ``onward`` at step t+1.

    Each of these is a name, the function of t+1 and a⟨t⟩ that gives it, and its gradients (T, B, …).
    """
    for t in range(1, c.T + 1):
        J, G, names = (
            [jacobian(lambda a: a @ c.p["W_ya"] + c.p["b_y"], c.a[t])],
            [c.dlogits[t - 1]],
            ["logits⟨t⟩"],
        )
        shown = {"W_ya": c.p["W_ya"]}
        if t < c.T:
            for name, f, gradient in onward:
                J.append(jacobian(partial(f, t + 1), c.a[t]))
                G.append(gradient[t])
                names.append(f"{name}⟨t+1⟩")
            shown["W_aa"] = c.p["W_aa"]
        what = f"({', '.join(names)})" if len(names) > 1 else names[0]
        by_now = formula if t < c.T else formula.split(" + ", maxsplit=1)[0]
        tensors = np.concatenate(J, axis=1), np.concatenate(G, axis=1)
        yield proof(tag, f"∂{what}/∂a⟨t⟩", by_now, shown, *tensors, c.da[t - 1], t)


def through_the_cell(c: Example) -> Iterator[Proof]:
    """B3, B4 and B9: what an activation reaches, and through the tanh."""
    onward = "z", lambda t, a: c.z(t, a=a), c.dz
    yield from activations(c, "B3", "dlogits⟨t⟩ W_yaᵀ + dz⟨t+1⟩ W_aaᵀ", onward)
    for t in range(1, c.T + 1):
        J, shown = jacobian(np.tanh, c.z(t)), {f"a⟨{t}⟩": c.a[t]}
        yield proof("B4", "∂a⟨t⟩/∂z⟨t⟩", "da⟨t⟩ ∘ (1 − a⟨t⟩²)", shown, J, c.da[t - 1], c.dz[t - 1], t)
    J = jacobian(lambda a: c.z(1, a=a), c.a0)
    yield proof("B9", "∂z⟨1⟩/∂a⟨0⟩", "dz⟨1⟩ W_aaᵀ", {"W_aa": c.p["W_aa"]}, J, c.dz[0], c.da0, 1)
    yield from weight(c, "B5", "W_aa", "a⟨t−1⟩ᵀ dz⟨t⟩")


def weight(
    c: Example,
    tag: str,
    name: str,
    formula: str,
    of: tuple[str, Callable[..., Array], Array] | None = None,
) -> Iterator[Proof]:
    """A shared weight: a summand for each step, and their sum.

    ``of``: what it goes into, the function of t that gives that, and its gradients (T, B, …); z if not given.
    """
    out, f, gradient = of or ("z", c.z, c.dz)
    tensors = []
    for t in range(1, c.T + 1):
        J = jacobian(lambda p, t=t: f(t, **{name: p}), c.p[name])  # type: ignore[misc]
        tensors.append(J)
        stands = {"W_aa": {f"a⟨{t - 1}⟩": c.a[t - 1]}, "W_ax": {f"x⟨{t}⟩": c.onehot(c.x[t - 1])}}
        shown, trick = stands.get(name, {}), c.summands(t)[name]
        yield proof(tag, f"∂{out}⟨t⟩/∂{name}", formula, shown, J, gradient[t - 1], trick, t)
    whole = np.array(tensors), gradient, c.g[name]
    yield proof(tag, f"∂{out}/∂{name}, Σ_t", f"Σ_t {formula}", {}, *whole)


def input_side(c: Example) -> Iterator[Proof]:
    """B7, B6 and B8, the same for every cell."""
    yield from weight(c, "B7", "b_a", "Σ_b dz⟨t⟩")
    yield from weight(c, "B6", "W_ax", "x⟨t⟩ᵀ dz⟨t⟩")
    for t in range(1, c.T + 1):
        J = jacobian(lambda x, t=t: c.z(t, x=x), c.onehot(c.x[t - 1]))  # type: ignore[misc]
        shown = {"W_ax": c.p["W_ax"]}
        yield proof("B8", "∂z⟨t⟩/∂x⟨t⟩", "dz⟨t⟩ W_axᵀ", shown, J, c.dz[t - 1], c.dx[t - 1], t)


def layer_above(c: Example) -> Iterator[Proof]:
    """DF1 and DB1, and B6 and B8 where x⟨t⟩ is what dropout leaves of the activations of a layer below."""
    rng = c.rng
    a, W_ax = c.a[1:], rng.standard_normal((c.H, c.H))
    m = layers.dropout_masks(rng.spawn(c.B), 0.5, 1, c.T, c.H, np.float64)[0]  # (T, B, H)
    d, dz = layers.dropout_forward(a, m), rng.standard_normal(a.shape)
    dd, dW_ax = layers.inputs_backward_x(dz, W_ax), np.empty_like(W_ax)
    layers.inputs_backward(dz, d, dW_ax)
    da = layers.dropout_backward(dd.copy(), m)
    by_W = [jacobian(lambda W, t=t: d[t] @ W, W_ax) for t in range(c.T)]  # type: ignore[misc]
    for t in range(1, c.T + 1):
        by_hand = np.array([[m[t - 1, b, h] * a[t - 1, b, h] for h in range(c.H)] for b in range(c.B)])
        shown = {f"m⟨{t}⟩": m[t - 1], f"a⟨{t}⟩": a[t - 1]}
        yield written("DF1", "d⟨t⟩ written out", shown, by_hand, d[t - 1], t)
    for t in range(1, c.T + 1):
        J, shown = jacobian(lambda a, t=t: m[t - 1] * a, a[t - 1]), {f"m⟨{t}⟩": m[t - 1]}  # type: ignore[misc]
        yield proof("DB1", "∂d⟨t⟩/∂a⟨t⟩", "m⟨t⟩ ∘ dd⟨t⟩", shown, J, dd[t - 1], da[t - 1], t)
    whole = np.array(by_W), dz, dW_ax
    yield proof("B6", "∂z/∂W_ax, x = d below, Σ_t", "Σ_t d⟨t⟩ᵀ dz⟨t⟩", {}, *whole)
    for t in range(1, c.T + 1):
        J = jacobian(lambda d: d @ W_ax, d[t - 1])
        title, shown = "∂z⟨t⟩/∂d⟨t⟩, x = d below", {"W_ax": W_ax}
        yield proof("B8", title, "dd⟨t⟩ = dz⟨t⟩ W_axᵀ", shown, J, dz[t - 1], dd[t - 1], t)


def proof(
    tag: str,
    title: str,
    formula: str,
    shown: dict[str, Array],
    J: Array,
    G: Array,
    trick: Array,
    t: int | None = None,
) -> Proof:
    """A derivative whose tensor J is contracted with G."""
    return Proof(tag, title, EQUATIONS[tag], formula, shown, J, G, contract(G, J), trick, t)
