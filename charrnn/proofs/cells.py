"""The equations of a network of one layer, proved at every time step of a small random window.

Each derivative is a tensor by the complex step, contracted with the gradient that the equations before it
gave, beside what the layers compute. ``Example`` has what all cells share, its subclasses what a cell has of
its own. Time comes first and t counts from 1: dz⟨t⟩ is row t − 1 of dz (T, B, G·H), but a⟨t⟩ is row t of
a (T+1, B, H), since what is carried has a step 0.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import ClassVar, NamedTuple

import numpy as np

from charrnn import layers
from charrnn.errors import ConfigError
from charrnn.layers import Array
from charrnn.proofs.calculus import Derivation, Proof, contracted, jacobian, rules
from charrnn.proofs.equations import EQUATIONS

Operands = Mapping[str, Array]  # where a name has ⟨t⟩ or ⟨t−1⟩ in it, the array has a row for each step


class Output(NamedTuple):
    """What the network computes at each step, to be derived by anything that goes into it."""

    name: str
    f: Callable[..., Array]  # of t; what goes into it may be given by name, in place of the value it has
    gradient: Array  # of the loss (T, B, …)

    def jacobian(self, t: int, name: str, x: Array) -> Array:
        """The tensor of step t by what goes in under this name, at x."""
        return jacobian(lambda moved: self.f(t, **{name: moved}), x)


def sigma(z: Array) -> Array:
    """1/(1 + exp(−z)), the textbook's way: the layers compute it by a tanh."""
    return np.asarray(1 / (1 + np.exp(-z)))


def product(A: Array, W: Array) -> Array:
    """A W, each element written out as the sum Σ_k A_ik W_kj; the layers call for a matrix product."""
    return np.asarray((A[..., np.newaxis] * W).sum(axis=-2))


# -- from arrays to proofs ----------------------------------------------------------------------------


def right_side(tag: str, place: int = 0) -> str:
    """What an equation says a gradient is; where it gives several, that of the one in this place."""
    return EQUATIONS[tag].split(", ")[place].rpartition(" = ")[2]


def at_step(t: int, operands: Operands) -> dict[str, Array]:
    """The operands of step t."""
    return {
        name.replace("⟨t⟩", f"⟨{t}⟩").replace("⟨t−1⟩", f"⟨{t - 1}⟩"): array[t - 1] if "⟨t" in name else array
        for name, array in operands.items()
    }


def written_out(tag: str, title: str, operands: Operands, long: Array, computed: Array) -> Iterator[Proof]:
    """An equation of the forward pass: its elements written out (T, …), and as the layers computed them."""
    for t, (expected, found) in enumerate(zip(long, computed, strict=True), 1):
        yield Proof(tag, title, EQUATIONS[tag], "", at_step(t, operands), None, None, expected, found, t)


def derived(
    tag: str, output: Output, by: str, x: Array, tricks: Array, operands: Operands, place: int = 0
) -> Iterator[Proof]:
    """The derivative of an output by what goes into it at the same step: x, tricks (T, …)."""
    formula = right_side(tag, place).removeprefix("Σ_t ")
    for t, (at, trick) in enumerate(zip(x, tricks, strict=True), 1):
        J, G = output.jacobian(t, by.removesuffix("⟨t⟩"), at), output.gradient[t - 1]
        title, shown = f"∂{output.name}⟨t⟩/∂{by}", at_step(t, operands)
        yield contracted(tag, title, EQUATIONS[tag], formula, shown, J, G, trick, t)


def carried(
    tag: str,
    start: str,
    name: str,
    x: Array,
    tricks: Sequence[Array],
    output: Output,
    onward: Sequence[Output],
    operands: Operands,
    place: int = 0,
) -> Iterator[Proof]:
    """The derivative by a state x⟨t⟩ (T+1, …) of all that it reaches, side by side.

    It reaches ``output`` at its own step and, but for the last one, ``onward`` at the next. x⟨0⟩ reaches only
    those: its gradient is that of the equation ``start``, where it has this place.
    """
    T = len(x) - 1
    for t in (*range(1, T + 1), 0):
        step, following = ("t", "t+1") if t else ("0", "1")
        reached = [(output, t, step)] if t else []
        reached += [(later, t + 1, following) for later in onward if t < T]
        names = ", ".join(f"{out.name}⟨{at}⟩" for out, _, at in reached)
        title = f"∂({names})/∂{name}⟨{step}⟩" if len(reached) > 1 else f"∂{names}/∂{name}⟨{step}⟩"
        J = np.concatenate([out.jacobian(s, name, x[t]) for out, s, _ in reached], axis=1)
        G = np.concatenate([out.gradient[s - 1] for out, s, _ in reached], axis=1)
        rule, formula = (tag, right_side(tag)) if t else (start, right_side(start, place))
        formula = formula if t < T else formula.partition(" + ")[0]
        shown = {f"{name}⟨{t}⟩": x[t], **operands}
        yield contracted(rule, title, EQUATIONS[rule], formula, shown, J, G, tricks[t], max(t, 1))


# -- the examples -------------------------------------------------------------------------------------


class Example(ABC):
    """A random window, run forward and back by the layers; and what it proves.

    T time steps, B rows, H activations, V characters. ``p`` are the parameters, ``g`` their gradients and
    ``summands`` what each step alone adds to those (T, …). Of methods such as ``z``, the arrays that are
    given by name take the place of the window's own.
    """

    cell: ClassVar[str]

    def __init__(self, rng: np.random.Generator, T: int, B: int, H: int, V: int, *, resets: bool = False):
        self.T, self.B, self.H, self.V, self.rng = T, B, H, V, rng
        self.x, self.y = rng.integers(0, V, (2, T, B))
        self.x_rows, self.y_rows = np.eye(V)[self.x], np.eye(V)[self.y]  # one-hot (T, B, V)
        self.rho = np.indices((T, B)).sum(axis=0) % 3 > 0 if resets else None  # (T, B), every third is reset
        cell = layers.CELLS[self.cell]
        shapes = cell.shapes(V, H) | {"W_ya": (H, V), "b_y": (V,)}
        self.p = {name: rng.standard_normal(shape) for name, shape in shapes.items()}
        self.p["W_aa"] /= np.sqrt(H)
        self.before = tuple(np.tanh(rng.standard_normal((B, H))) for _ in cell.states)
        self.a0 = self.before[0]
        self.weights_of_a = {name: self.p[name] for name in ("W_ya", "W_aa")}  # what an activation meets

        self.memory = self.run(layers.inputs_forward(self.x, self.p["W_ax"]), self.before, self.p["W_aa"])
        self.a = self.memory[0].copy()  # the way back overwrites what is reset
        self.logits = layers.dense_forward(self.a[1:], self.p["W_ya"], self.p["b_y"])
        self.loss, self.y_hat = layers.cross_entropy_forward(self.logits, self.y)

        self.dlogits = layers.cross_entropy_backward(self.y_hat.copy(), self.y)
        unused = np.empty((H, V)), np.empty(V)
        self.da = layers.dense_backward(self.dlogits, self.a[1:], self.p["W_ya"], *unused)
        self.dproduct, *self.dbefore = self.backward(self.da)  # da becomes whole
        self.g, self.dz = self.gradients(slice(0, T))
        steps = [self.gradients(slice(t, t + 1))[0] for t in range(T)]
        self.summands = {name: np.array([g[name] for g in steps]) for name in self.p}
        self.dx = layers.inputs_backward_x(self.dz, self.p["W_ax"])

    @abstractmethod
    def run(self, xW: Array, before: Sequence[Array], W_aa: Array) -> tuple[Array, ...]:
        """By the layers, what is remembered of steps: the states first, with those before in row 0."""

    @abstractmethod
    def backward(self, da: Array) -> tuple[Array, ...]:
        """By the layers, the gradients of what the product with W_aa goes into and of the states before."""

    def backward_weights(self, steps: slice, g: dict[str, Array]) -> Array:
        """By the layers, what some steps, counted from 0, add to the gradients of W_aa and the biases.

        Returns: dz of those steps.
        """
        dz, a = self.dproduct[steps], self.memory[0][steps.start : steps.stop + 1]
        layers.recurrence_backward_weights(dz, a, g["W_aa"], g["b_a"])
        return dz

    def gradients(self, steps: slice) -> tuple[dict[str, Array], Array]:
        """By the layers, what some steps, counted from 0, add to each gradient; and their dz."""
        g = {name: np.empty_like(array) for name, array in self.p.items()}
        layers.dense_backward(self.dlogits[steps], self.a[1:][steps], self.p["W_ya"], g["W_ya"], g["b_y"])
        dz = self.backward_weights(steps, g)
        layers.inputs_backward(dz, self.x[steps], g["W_ax"])
        return g, dz

    def z(self, t: int, **given: Array) -> Array:
        """z⟨t⟩ (B, G·H) of x⟨t⟩, a⟨t−1⟩, W_ax, W_aa and b_a (F1)."""
        p = self.p | {"x": self.x_rows[t - 1], "a": self.a[t - 1]} | given
        return np.asarray(product(p["x"], p["W_ax"]) + product(self.kept(t, p["a"]), p["W_aa"]) + p["b_a"])

    def kept(self, t: int, state: Array) -> Array:
        """What step t reads of a state (RF1)."""
        return state if self.rho is None else np.asarray(self.rho[t - 1, :, np.newaxis] * state)

    @property
    def recurrent(self) -> Output:
        """What the product with W_aa goes into."""
        return Output("z", self.z, self.dproduct)

    @property
    def output(self) -> Output:
        """The logits (B, V) of a⟨t⟩, W_ya and b_y (the inside of F3)."""

        def logits(t: int, **given: Array) -> Array:
            p = self.p | {"a": self.a[t]} | given
            return np.asarray(product(p["a"], p["W_ya"]) + p["b_y"])

        return Output("logits", logits, self.dlogits)

    def over_time(self, f: Callable[[int], Array]) -> Array:
        """f(t) for every step (T, …)."""
        return np.array([f(t) for t in range(1, self.T + 1)])

    def proofs(self) -> Iterator[Proof]:
        """Every equation of the network, in the order in which the gradients flow."""
        yield from self.through_time()
        yield from self.prediction()
        yield from self.cell_proofs()
        yield from self.input_side()
        yield from self.layer_above()

    @property
    def onward(self) -> list[Output]:
        """What an activation goes into at the next step."""
        return [self.recurrent]

    def reset_proofs(self) -> Iterator[Proof]:
        """RF1, RB1, RB3 and RB4, of a window with resets."""
        before, rho = self.a[:-1], self.rho
        found = self.over_time(lambda t: layers.reset_forward(before[t - 1], rho, t - 1))
        p = self.over_time(lambda t: self.kept(t, before[t - 1]))
        yield from written_out("RF1", "p⟨t⟩ written out", {"a⟨t−1⟩": before}, p, found)
        tricks = [self.dbefore[0], *self.da]
        yield from carried("RB1", "RB3", "a", self.a, tricks, self.output, self.onward, self.weights_of_a)
        yield from self.weight("RB4", self.recurrent, "W_aa", {"p⟨t⟩": p})

    @abstractmethod
    def cell_proofs(self) -> Iterator[Proof]:
        """The equations of the cell."""

    def loss_of_copies(self, copies: Array) -> Array:
        """L where every step t has a W_aa⟨t⟩ of its own, copies (T, H, G·H)."""
        xW, before, a = layers.inputs_forward(self.x, self.p["W_ax"]), self.before, []
        for t, W_aa in enumerate(copies):
            memory = self.run(xW[t : t + 1], before, W_aa)
            before = tuple(states[1] for states in memory[: len(before)])
            a.append(before[0])
        logits = layers.dense_forward(np.array(a), self.p["W_ya"], self.p["b_y"])
        return np.asarray(layers.cross_entropy_forward(logits, self.y)[0])

    def through_time(self) -> Iterator[Proof]:
        """The same W_aa stands at every step: its gradient is the sum of those of the steps' own copies."""
        J = jacobian(self.loss_of_copies, np.repeat(self.p["W_aa"][np.newaxis], self.T, axis=0))
        equation = "∂L/∂W_aa = Σ_t ∂L/∂W_aa⟨t⟩, each step with a copy of its own"
        name, _, gradient = self.recurrent
        operands, formula = {"a⟨t−1⟩": self.a, f"d{name}⟨t⟩": gradient}, f"a⟨t−1⟩ᵀ d{name}⟨t⟩"
        for t, (step, trick) in enumerate(zip(J, self.summands["W_aa"], strict=True), 1):
            shown = at_step(t, operands)
            yield contracted("time", "∂L/∂W_aa⟨t⟩", equation, formula, shown, step, None, trick, t)
        shown = {f"step {t}": step for t, step in enumerate(J, 1)}
        yield Proof("time", "Σ_t", equation, f"Σ_t {formula}", shown, J, None, J.sum(axis=0), self.g["W_aa"])

    def prediction(self) -> Iterator[Proof]:
        """F3 and F4 written out, B1 and B2; the loss sends −y/ŷ to ŷ, of T·B losses the mean."""
        p, a, TB = self.p, self.a[1:], self.T * self.B
        exp = np.exp(self.over_time(self.output.f))
        y_hat = exp / exp.sum(axis=-1, keepdims=True)
        operands = {"a⟨t⟩": a, "W_ya": p["W_ya"], "b_y": p["b_y"]}
        yield from written_out("F3", "ŷ⟨t⟩ written out", operands, y_hat, self.y_hat)
        nats = -np.log((y_hat * self.y_rows).sum(axis=-1))  # (T, B)
        shown, loss = {"−log ŷ⟨t⟩[b, y⟨t⟩_b], a line for each step": nats}, np.array(self.loss)
        yield Proof("F4", "L written out", EQUATIONS["F4"], "", shown, None, None, nats.sum() / TB, loss)

        softmax = Output("ŷ", lambda t, logits: layers.softmax_forward(logits)[0], -self.y_rows / y_hat / TB)
        operands = {"ŷ⟨t⟩": y_hat, "onehot y⟨t⟩": self.y_rows}
        yield from derived("B1", softmax, "logits⟨t⟩", self.logits, self.dlogits, operands)
        yield from self.weight("B2", self.output, "W_ya", {"a⟨t⟩": a})
        yield from self.weight("B2", self.output, "b_y", {}, place=1)

    def weight(
        self, tag: str, output: Output, name: str, operands: Operands, place: int = 0
    ) -> Iterator[Proof]:
        """The derivative by a parameter that all steps share: the summand of each step, and their sum."""
        x = np.broadcast_to(self.p[name], self.summands[name].shape)
        steps = list(derived(tag, output, name, x, self.summands[name], operands, place))
        yield from steps
        J, title = np.array([proof.J for proof in steps]), f"∂{output.name}/∂{name}, Σ_t"
        formula, whole = right_side(tag, place), self.g[name]
        yield contracted(tag, title, EQUATIONS[tag], formula, {}, J, output.gradient, whole)

    def input_side(self) -> Iterator[Proof]:
        """B7, B6 and B8, the same for every cell."""
        z = Output("z", self.z, self.dz)
        yield from self.weight("B7", z, "b_a", {})
        yield from self.weight("B6", z, "W_ax", {"x⟨t⟩": self.x_rows})
        yield from derived("B8", z, "x⟨t⟩", self.x_rows, self.dx, {"W_ax": self.p["W_ax"]})

    def layer_above(self) -> Iterator[Proof]:
        """DF1 and DB1, and B6 and B8 of a second layer, whose x⟨t⟩ is d⟨t⟩, what dropout leaves of a⟨t⟩."""
        a, H, rng = self.a[1:], self.H, self.rng
        W = rng.standard_normal((H, H))
        m = layers.dropout_masks(rng.spawn(self.B), 0.5, 1, self.T, H, np.float64)[0]  # (T, B, H)
        d, dz = layers.dropout_forward(a, m), rng.standard_normal(a.shape)
        dd, dW = layers.inputs_backward_x(dz, W), layers.inputs_backward(dz, d, np.empty((H, H)))
        da = layers.dropout_backward(dd.copy(), m)
        dropout = Output("d", lambda t, a: m[t - 1] * a, dd)
        z = Output("z[2]", lambda t, **given: given.get("d", d[t - 1]) @ given.get("W_ax[2]", W), dz)
        yield from written_out("DF1", "d⟨t⟩ written out", {"m⟨t⟩": m, "a⟨t⟩": a}, m * a, d)
        yield from derived("DB1", dropout, "a⟨t⟩", a, da, {"m⟨t⟩": m})
        J = self.over_time(lambda t: z.jacobian(t, "W_ax[2]", W))
        yield contracted("B6", "∂z[2]/∂W_ax[2], Σ_t", EQUATIONS["B6"], "Σ_t d⟨t⟩ᵀ dz[2]⟨t⟩", {}, J, dz, dW)
        yield from derived("B8", z, "d⟨t⟩", d, dd, {"W_ax[2]": W})


class TanhExample(Example):
    """F1, F2, B3–B5 and B9."""

    cell = "rnn"

    def run(self, xW: Array, before: Sequence[Array], W_aa: Array) -> tuple[Array, ...]:
        return (layers.recurrence_forward(xW, before[0], W_aa, self.p["b_a"], rho=self.rho),)

    def backward(self, da: Array) -> tuple[Array, ...]:
        return layers.recurrence_backward(da, self.memory[0], self.p["W_aa"], rho=self.rho)

    def cell_proofs(self) -> Iterator[Proof]:
        """The layers keep a⟨t⟩, not z⟨t⟩: so F1 is compared through the tanh, and F2 by exponentials."""
        a, z = self.a[1:], self.over_time(self.z)
        operands = {"x⟨t⟩": self.x_rows, "a⟨t−1⟩": self.a} | {k: self.p[k] for k in ("W_ax", "W_aa", "b_a")}
        yield from written_out("F1", "tanh z⟨t⟩, z written out", operands | {"z⟨t⟩": z}, np.tanh(z), a)
        up, down = np.exp(z), np.exp(-z)
        yield from written_out("F2", "a⟨t⟩ by exponentials", {"z⟨t⟩": z}, (up - down) / (up + down), a)

        tricks = [*self.dbefore, *self.da]
        yield from carried("B3", "B9", "a", self.a, tricks, self.output, [self.recurrent], self.weights_of_a)
        tanh = Output("a", lambda t, z: np.tanh(z), self.da)
        yield from derived("B4", tanh, "z⟨t⟩", z, self.dz, {"a⟨t⟩": a})
        yield from self.weight("B5", self.recurrent, "W_aa", {"a⟨t−1⟩": self.a})


class GRUExample(Example):
    """GF1–GF5 and GB1–GB8."""

    cell = "gru"

    def run(self, xW: Array, before: Sequence[Array], W_aa: Array) -> tuple[Array, ...]:
        return layers.gru_forward(xW, before[0], W_aa, self.p["b_a"], self.p["b_n"], rho=self.rho)

    def backward(self, da: Array) -> tuple[Array, ...]:
        a, q_n, gates = self.memory
        self.dz_n = q_n.copy()  # the layer writes dz_n over q_n
        return layers.gru_backward(da, a, self.dz_n, gates.copy(), self.p["W_aa"], rho=self.rho)

    def backward_weights(self, steps: slice, g: dict[str, Array]) -> Array:
        dz, a = self.dproduct[steps].copy(), self.memory[0][steps.start : steps.stop + 1]  # it makes dz of dq
        layers.gru_backward_weights(dz, a, self.dz_n[steps], g["W_aa"], g["b_a"], g["b_n"])
        return dz

    def z(self, t: int, **given: Array) -> Array:
        """z⟨t⟩ (B, 3H) of x⟨t⟩, W_ax and b_a (GF1)."""
        p = self.p | {"x": self.x_rows[t - 1]} | given
        return np.asarray(product(p["x"], p["W_ax"]) + p["b_a"])

    def q(self, t: int, **given: Array) -> Array:
        """q⟨t⟩ (B, 3H) of a⟨t−1⟩, W_aa and b_n (GF2)."""
        p = self.p | {"a": self.a[t - 1]} | given
        return np.asarray(
            product(self.kept(t, p["a"]), p["W_aa"]) + np.concatenate([np.zeros(2 * self.H), p["b_n"]])
        )

    @property
    def recurrent(self) -> Output:
        return Output("q", self.q, self.dproduct)

    @property
    def onward(self) -> list[Output]:
        return [self.recurrent, Output("a", self.activation, self.da)]

    def parts(self, z: Array, q: Array) -> dict[str, Array]:
        """The parts of z and q (…, H), by name."""
        thirds = *np.split(z, 3, axis=-1), *np.split(q, 3, axis=-1)
        return dict(zip(("z_r", "z_u", "z_n", "q_r", "q_u", "q_n"), thirds, strict=True))

    def inside_n(self, t: int, **given: Array) -> Array:
        """z_n⟨t⟩ + r⟨t⟩ ∘ q_n⟨t⟩ (B, H) of the parts of z⟨t⟩ and q⟨t⟩ (GF3, the inside of GF4)."""
        p = self.parts(self.z(t), self.q(t)) | given
        return np.asarray(p["z_n"] + sigma(p["z_r"] + p["q_r"]) * p["q_n"])

    def activation(self, t: int, **given: Array) -> Array:
        """a⟨t⟩ (B, H) of a⟨t−1⟩ and the parts of z⟨t⟩ and q⟨t⟩ (GF3–GF5)."""
        p = self.parts(self.z(t), self.q(t)) | {"a": self.a[t - 1]} | given
        n = np.tanh(self.inside_n(t, **given))
        u = sigma(p["z_u"] + p["q_u"])
        return np.asarray((1 - u) * n + u * self.kept(t, p["a"]))

    def cell_proofs(self) -> Iterator[Proof]:
        """The layers keep q_n and the gates: these show all else through σ and tanh."""
        parts = self.parts(self.over_time(self.z), self.over_time(self.q))
        _, q_n, gates = self.memory
        ru, n = np.split(gates, [2 * self.H], axis=2)
        r, u = (sigma(parts[f"z_{gate}"] + parts[f"q_{gate}"]) for gate in "ru")
        inside, a = self.over_time(self.inside_n), self.over_time(self.activation)
        shown = {f"{name}⟨t⟩": array for name, array in parts.items()}
        yield from written_out("GF1", "n⟨t⟩, z written out", shown, np.tanh(inside), n)
        yield from written_out("GF2", "q_n⟨t⟩ written out", shown, parts["q_n"], q_n)
        title = "r⟨t⟩, u⟨t⟩ by exponentials"
        yield from written_out("GF3", title, shown, np.concatenate([r, u], axis=2), ru)
        yield from written_out("GF4", "z_n + r ∘ q_n, of n⟨t⟩", {"r⟨t⟩": r}, inside, np.arctanh(n))
        yield from written_out("GF5", "a⟨t⟩ written out", {"u⟨t⟩": u, "n⟨t⟩": n}, a, self.a[1:])

        to_a = Output("a", self.activation, self.da)
        to_n = Output("(z_n + r ∘ q_n)", self.inside_n, self.dz_n)
        tricks = [*self.dbefore, *self.da]
        yield from carried("GB1", "GB8", "a", self.a, tricks, self.output, self.onward, self.weights_of_a)
        dz_r, dz_u, dz_n = np.split(self.dz, 3, axis=2)
        dq_n = self.dproduct[..., 2 * self.H :]
        shown = {f"{name}⟨t⟩": parts[name] for name in ("z_r", "q_r", "q_n")}
        yield from derived("GB2", to_a, "z_n⟨t⟩", parts["z_n"], dz_n, shown)
        yield from derived("GB3", to_n, "q_n⟨t⟩", parts["q_n"], dq_n, shown)
        yield from derived("GB4", to_n, "z_r⟨t⟩", parts["z_r"], dz_r, shown)
        yield from derived("GB5", to_a, "z_u⟨t⟩", parts["z_u"], dz_u, shown)
        yield from self.weight("GB6", self.recurrent, "W_aa", {"a⟨t−1⟩": self.a})
        yield from self.weight("GB7", self.recurrent, "b_n", {})


class LSTMExample(Example):
    """LF1–LF4 and LB1–LB5; and B5, which holds as it stands."""

    cell = "lstm"

    def run(self, xW: Array, before: Sequence[Array], W_aa: Array) -> tuple[Array, ...]:
        return layers.lstm_forward(xW, before[0], before[1], W_aa, self.p["b_a"], rho=self.rho)

    def backward(self, da: Array) -> tuple[Array, ...]:
        a, c, tanh_c, gates = self.memory
        self.c = c.copy()
        layers.reset_past(a, self.rho)
        self.dc = tanh_c.copy()  # the layer writes dc over tanh c
        return layers.lstm_backward(da, c, self.dc, gates.copy(), self.p["W_aa"], rho=self.rho)

    def parts(self, t: int) -> dict[str, Array]:
        """The parts of z⟨t⟩ (B, H), by name."""
        return dict(zip(("z_i", "z_f", "z_g", "z_o"), np.split(self.z(t), 4, axis=1), strict=True))

    def cell_state(self, t: int, **given: Array) -> Array:
        """c⟨t⟩ (B, H) of c⟨t−1⟩ and the parts of z⟨t⟩ (LF2, LF3)."""
        p = self.parts(t) | {"c": self.c[t - 1]} | given
        return np.asarray(sigma(p["z_f"]) * self.kept(t, p["c"]) + sigma(p["z_i"]) * np.tanh(p["z_g"]))

    def activation(self, t: int, **given: Array) -> Array:
        """a⟨t⟩ (B, H) of c⟨t⟩ and z_o⟨t⟩ (LF2, LF4)."""
        p = self.parts(t) | {"c": self.c[t]} | given
        return np.asarray(sigma(p["z_o"]) * np.tanh(p["c"]))

    def cell_proofs(self) -> Iterator[Proof]:
        """The layers keep the gates: these show z through σ and tanh."""
        H, z, gates = self.H, self.over_time(self.z), self.memory[-1]
        z_i, z_f, z_g, z_o = np.split(z, 4, axis=2)
        i, f, g, o = sigma(z_i), sigma(z_f), np.tanh(z_g), sigma(z_o)
        c, a = self.over_time(self.cell_state), self.over_time(self.activation)
        of_g = np.arctanh(gates[..., 2 * H : 3 * H])
        yield from written_out("LF1", "z_g⟨t⟩ written out, of g⟨t⟩", {"z_g⟨t⟩": z_g}, z_g, of_g)
        together = np.concatenate([i, f, g, o], axis=2)
        yield from written_out("LF2", "i, f, g, o by exponentials", {"z⟨t⟩": z}, together, gates)
        yield from written_out("LF3", "c⟨t⟩ written out", {"f⟨t⟩": f, "i⟨t⟩": i, "g⟨t⟩": g}, c, self.c[1:])
        yield from written_out("LF4", "a⟨t⟩ written out", {"o⟨t⟩": o, "c⟨t⟩": c}, a, self.a[1:])

        da0, dc0 = self.dbefore
        to_a, to_c = Output("a", self.activation, self.da), Output("c", self.cell_state, self.dc)
        yield from carried(
            "LB1", "LB5", "a", self.a, [da0, *self.da], self.output, [self.recurrent], self.weights_of_a
        )
        yield from carried("LB2", "LB5", "c", self.c, [dc0, *self.dc], to_a, [to_c], {}, place=1)
        dz_i, dz_f, dz_g, dz_o = np.split(self.dz, 4, axis=2)
        yield from derived("LB3", to_c, "z_i⟨t⟩", z_i, dz_i, {"g⟨t⟩": g, "i⟨t⟩": i}, place=0)
        yield from derived("LB3", to_c, "z_f⟨t⟩", z_f, dz_f, {"c⟨t−1⟩": self.c, "f⟨t⟩": f}, place=1)
        yield from derived("LB3", to_c, "z_g⟨t⟩", z_g, dz_g, {"i⟨t⟩": i, "g⟨t⟩": g}, place=2)
        yield from derived("LB4", to_a, "z_o⟨t⟩", z_o, dz_o, {"c⟨t⟩": c, "o⟨t⟩": o})
        yield from self.weight("B5", self.recurrent, "W_aa", {"a⟨t−1⟩": self.a})

    def reset_proofs(self) -> Iterator[Proof]:
        """RB2 besides, RB3 of the cell, and LB3, which reads what is kept of it."""
        yield from super().reset_proofs()
        to_a, to_c = Output("a", self.activation, self.da), Output("c", self.cell_state, self.dc)
        z_f, dz_f = (np.split(array, 4, axis=2)[1] for array in (self.over_time(self.z), self.dz))
        yield from derived("LB3", to_c, "z_f⟨t⟩", z_f, dz_f, {"c⟨t−1⟩": self.c}, place=1)
        tricks = [self.dbefore[1], *self.dc]
        yield from carried("RB2", "RB3", "c", self.c, tricks, to_a, [to_c], {}, place=1)


EXAMPLES: dict[str, type[Example]] = {"rnn": TanhExample, "gru": GRUExample, "lstm": LSTMExample}


def derive(rng: np.random.Generator, T: int, B: int, H: int, V: int, cell: str = "rnn") -> Derivation:
    """Prove all of it: the rules, the sum through time, and every equation at every step of a window.

    Arguments:
        rng: for the numbers in it.
        T, B, H, V: the sizes of the window: time steps, rows, activations, characters.
        cell: the recurrent layer, a name in ``layers.CELLS``.

    Raises:
        ConfigError: that cell has no derivation.
    """
    if cell not in EXAMPLES:
        raise ConfigError(
            f"--cell {cell}: no derivation is written out for it; choose {' or '.join(EXAMPLES)}"
        )
    example = EXAMPLES[cell]
    proofs = [*rules(rng), *example(rng, T, B, H, V).proofs()]
    return Derivation([*proofs, *example(rng, T, B, H, V, resets=True).reset_proofs()])
