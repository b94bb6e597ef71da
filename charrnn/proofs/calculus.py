"""The matrix calculus behind the backward pass, carried out.

The derivative of a matrix by a matrix is a four-dimensional tensor, ∂Z_ij/∂W_kl. Nobody builds it: contracted
with the gradient that comes from above, G = ∂L/∂Z, it folds into an ordinary matrix product, and that is
what the layers compute. Here it is built all the same, one entry after another, by the complex step and so
exact to rounding; contracted; and laid beside what the layers give.

    tensor        J[i…, k…] = ∂(out_i…)/∂(x_k…), the shapes of out and x one behind the other
    contraction   Σ_i… G_i… J[i…, k…], the shape of x
    trick         the layer function's answer, which must be the same

The rules come on columns (Z = W A, as they are taught) and on rows (Z = A W, as this code computes). The
equations of the network are proved in ``cells``.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from html import escape
from sys import float_info

import numpy as np

from charrnn import layers
from charrnn.layers import Array
from charrnn.notebook import matrix, panel, table

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
    return np.moveaxis(np.array(columns), 0, -1).reshape((*columns[0].shape, *x.shape))


def contract(G: Array, J: Array) -> Array:
    """Σ over the axes of the output: what comes from above times the tensor, with the shape of x."""
    return np.asarray(np.tensordot(G, J, axes=G.ndim))


def relative_errors(found: Array, expected: Array) -> Array:
    """The difference of each entry, over the largest entry of either; NaN counts as the largest float."""
    with np.errstate(all="ignore"):
        scale = max(float(np.abs(found).max()), float(np.abs(expected).max()), 1e-300)
        return np.asarray(np.nan_to_num(np.abs(found - expected) / scale, nan=float_info.max))


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
        return float(relative_errors(self.long, self.trick).max())

    @property
    def agrees(self) -> bool:
        return self.difference <= TOLERANCE

    def arrays(self) -> list[tuple[str, Array, int]]:
        """What a board shows: titles, arrays, and how many first axes make blocks of the rest."""
        arrays = [(name, operand, 0) for name, operand in self.operands.items()]
        J, G = self.J, self.G
        if J is None:
            arrays += [("Written out", self.long, 0), ("As the layers compute it", self.trick, 0)]
        else:
            if G is None:
                arrays.append(("The derivative, each entry by itself", self.long, 0))
            else:
                inner, outer = " × ".join(map(str, J.shape[G.ndim :])), shape(G)
                title = f"The tensor {shape(J)}: {outer} outputs, for each a block of {inner} derivatives"
                arrays.append((title, J, G.ndim if J.ndim > 2 else 0))
                arrays.append(("G, the gradient from above", G, 0))
                arrays.append(("Contracted: each entry of G times its block, summed", self.long, 0))
            arrays.append((f"The trick, {self.formula}, as the layers compute it", self.trick, 0))
        return arrays

    def _repr_html_(self) -> str:
        """Its board, for a notebook."""
        at = f", t = {self.step}" if self.step else ""
        parts = [f"<div>{escape(title)}{matrix(array, axes)}</div>" for title, array, axes in self.arrays()]
        found = f"Largest difference {self.difference:.1e}: {'they agree' if self.agrees else 'WRONG'}."
        said = [f"<div>{escape(line)}</div>" for line in (self.equation, found)]
        return panel(f"{self.rule}: {self.title}{at}", said[0], *parts, said[1])


class Derivation(list[Proof]):
    """Proofs, one after another; in a notebook, a table of them."""

    def _repr_html_(self) -> str:
        rows = [
            (p.rule, p.step or "", p.title, shape(p.J), p.formula, shape(p.trick), f"{p.difference:.1e}")
            for p in self
        ]
        head = ("rule", "t", "derivative", "tensor", "trick", "", "largest difference")
        wrong = sum(not proof.agrees for proof in self)
        return panel(f"{len(self)} proofs, {wrong or 'none'} of them wrong", table(rows, head))


def shape(array: Array | None) -> str:
    """The shape of an array in words, 2 × 3; of a number 1, of nothing nothing."""
    return "" if array is None else " × ".join(map(str, array.shape)) or "1"


def contracted(
    rule: str,
    title: str,
    equation: str,
    formula: str,
    operands: dict[str, Array],
    J: Array,
    G: Array | None,
    trick: Array,
    step: int | None = None,
) -> Proof:
    """The proof of a derivative: its tensor contracted with G, or the tensor itself where there is no G."""
    return Proof(
        rule, title, equation, formula, operands, J, G, J if G is None else contract(G, J), trick, step
    )


# -- the rules --------------------------------------------------------------------------------------


def rules(rng: np.random.Generator, n: int = 2, m: int = 3, k: int = 2) -> Iterator[Proof]:
    """The rules of the derivation, on random matrices of small sizes.

    The layers know rows only; what they give for columns is read off the transposed product: of
    Z = W A that is Zᵀ = Aᵀ Wᵀ.
    """
    yield from _vectors(rng, n, m)
    yield from _matrices(rng, n, m, k)
    yield from _stacked(rng.spawn(1)[0], n, m, k)
    yield from _others(rng, n, m)


def _vectors(rng: np.random.Generator, n: int, m: int) -> Iterator[Proof]:
    """Rules 1 and 2. The layer multiplies by the matrix; unit vectors show which matrix that is."""
    W, x = rng.standard_normal((n, m)), rng.standard_normal((m, 1))
    J = jacobian(lambda x: W @ x, x)[:, 0, :, 0]
    trick = layers.inputs_backward_x(np.eye(n)[np.newaxis], W.T)[0]
    equation = "y = W x:  y_i = Σ_j W_ij x_j,  ∂y_i/∂x_j = W_ij,  so ∂y/∂x = W"
    yield contracted("1", "a column", equation, "W", {"W": W, "x": x}, J, None, trick)

    x, W = rng.standard_normal((1, n)), rng.standard_normal((n, m))
    J = jacobian(lambda x: x @ W, x)[0, :, 0, :]
    trick = layers.inputs_backward_x(np.eye(m)[np.newaxis], W)[0]
    equation = "y = x W:  y_j = Σ_i x_i W_ij,  ∂y_j/∂x_i = W_ij,  so ∂y/∂x = Wᵀ (outputs by inputs)"
    yield contracted("2", "a row", equation, "Wᵀ", {"x": x, "W": W}, J, None, trick)


def _matrices(rng: np.random.Generator, n: int, m: int, k: int) -> Iterator[Proof]:
    """Rule 3, by either factor, in columns and in rows."""

    def dense(A: Array, W: Array, G: Array) -> tuple[Array, Array]:
        """By the layers, the gradients of W and of A, given that of A W."""
        dW = np.empty_like(W)
        dA = layers.dense_backward(G[np.newaxis], A[np.newaxis], W, dW, np.empty(W.shape[1]))
        return dW, dA[0]

    W, A, G = rng.standard_normal((n, m)), rng.standard_normal((m, k)), rng.standard_normal((n, k))
    dW, dA = dense(A.T, W.T, G.T)
    factors, J = {"W": W, "A": A}, jacobian(lambda W: W @ A, W)
    equation = "Z = W A:  ∂Z_ij/∂W_kl = δ_ik A_lj"
    yield contracted("3W", "∂Z/∂W, columns", equation, "G Aᵀ", factors, J, G, dW.T)
    J, equation = jacobian(lambda A: W @ A, A), "Z = W A:  ∂Z_ij/∂A_kl = W_ik δ_jl"
    yield contracted("3A", "∂Z/∂A, columns", equation, "Wᵀ G", factors, J, G, dA.T)

    A, W, G = rng.standard_normal((n, m)), rng.standard_normal((m, k)), rng.standard_normal((n, k))
    dW, dA = dense(A, W, G)
    factors, J = {"A": A, "W": W}, jacobian(lambda W: A @ W, W)
    equation = "Z = A W:  ∂Z_ij/∂W_kl = A_ik δ_jl"
    yield contracted("3W-rows", "∂Z/∂W, rows", equation, "Aᵀ G", factors, J, G, dW)
    J, equation = jacobian(lambda A: A @ W, A), "Z = A W:  ∂Z_ij/∂A_kl = δ_ik W_lj"
    yield contracted("3A-rows", "∂Z/∂A, rows", equation, "G Wᵀ", factors, J, G, dA)


def _stacked(rng: np.random.Generator, n: int, m: int, k: int) -> Iterator[Proof]:
    """Rule 3W with each matrix stacked into one column, where the tensor is a matrix: Aᵀ ⊗ I."""
    W, A, G = rng.standard_normal((n, m)), rng.standard_normal((m, k)), rng.standard_normal((n, k))

    def vec(X: Array) -> Array:
        return X.T.reshape(-1, 1)  # column below column

    kron, equation = np.kron(A.T, np.eye(n)), "Z = W A:  vec Z = (Aᵀ ⊗ I) vec W"
    Z = layers.inputs_forward(A.T[np.newaxis], W.T)[0].T
    shown = {"A": A, "Aᵀ ⊗ I": kron, "vec W": vec(W)}
    yield Proof("3W-vec", "vec Z", equation, "", shown, None, None, kron @ vec(W), vec(Z))
    J = jacobian(lambda w: vec(w.reshape(m, n).T @ A)[:, 0], vec(W)[:, 0])
    by_W = layers.inputs_backward(G.T[np.newaxis], A.T[np.newaxis], np.empty((m, n))).T
    stacked, trick = vec(G)[:, 0], vec(by_W)[:, 0]
    long = contract(stacked, J)
    yield Proof("3W-vec", "∂vec Z/∂vec W", equation, "vec(G Aᵀ)", {"A": A, "G": G}, J, stacked, long, trick)


def _others(rng: np.random.Generator, n: int, m: int) -> Iterator[Proof]:
    """An element-wise function, softmax with cross-entropy, a bias."""
    Z, G = rng.standard_normal((2, n, m))
    window = np.stack([np.zeros_like(Z), np.tanh(Z)])  # a⟨0⟩ and a⟨1⟩: f is tanh
    trick, _ = layers.recurrence_backward(G[np.newaxis].copy(), window, np.zeros((m, m)))
    equation = "A = f(Z):  ∂A_ij/∂Z_kl = δ_ik δ_jl f′(Z_ij)"
    operands = {"Z": Z, "f′(Z), for tanh": 1 - np.tanh(Z) ** 2}
    J = jacobian(np.tanh, Z)
    yield contracted("elementwise", "∂f(Z)/∂Z", equation, "G ∘ f′(Z)", operands, J, G, trick[0])

    z, c = rng.standard_normal((1, m)), int(rng.integers(m))
    y, (y_hat, _, _) = np.eye(m)[[c]], layers.softmax_forward(z)
    J, G = jacobian(lambda z: layers.softmax_forward(z)[0], z)[0, :, 0], (-y / y_hat)[0]
    trick = layers.cross_entropy_backward(y_hat[np.newaxis].copy(), np.array([[c]]))[0, 0]
    equation = "ŷ = softmax(z):  ∂ŷ_i/∂z_j = ŷ_i (δ_ij − ŷ_j),  from above −y/ŷ"
    operands = {"z": z, "ŷ": y_hat, "y": y}
    yield contracted("softmax", "∂ŷ/∂z", equation, "ŷ − y", operands, J, G, trick)

    A, b, G = rng.standard_normal((n, m)), rng.standard_normal(m), rng.standard_normal((n, m))
    J, db = jacobian(lambda b: A + b, b), np.empty(m)
    layers.recurrence_backward_weights(G[np.newaxis], np.zeros((2, n, m)), np.empty((m, m)), db)
    equation = "Z = A + b on every row:  ∂Z_ij/∂b_l = δ_jl"
    yield contracted("bias", "∂Z/∂b", equation, "Σ_i G_i", {"A": A, "b": b}, J, G, db)
