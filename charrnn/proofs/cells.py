"""The derivation of a whole network, carried out: of the tanh cell, of the GRU or of the LSTM.

The parts that all three share are in ``calculus``; here is what the gated cells have of their own, each
equation by itself, with the tensor of what it derives beside what the layers compute.
"""

from collections.abc import Iterator

import numpy as np

from charrnn import layers
from charrnn.errors import ConfigError
from charrnn.layers import Array
from charrnn.proofs import calculus
from charrnn.proofs.calculus import Example, Proof, jacobian


def sigma(z: Array) -> Array:
    """1/(1 + exp(−z)), the textbook's way: the layers compute it by a tanh."""
    return np.asarray(1 / (1 + np.exp(-z)))


class GRU(Example):
    """An example whose cell is the GRU."""

    name = "gru"

    def forward(self) -> None:
        xW = layers.inputs_forward(self.x, self.p["W_ax"])
        weights = self.p["W_aa"], self.p["b_a"], self.p["b_n"]
        self.a, q_n, self.gates = layers.gru_forward(xW, self.a0, *weights)
        self.q_n, self.dz_n = q_n.copy(), q_n  # the way back writes dz_n over it

    def backward(self) -> None:
        W_aa = self.p["W_aa"]
        dq, self.da0 = layers.gru_backward(self.da, self.a, self.dz_n, self.gates, W_aa)
        self.dq, self.dz = dq.copy(), dq  # the weights' gradients make dz of it
        written = self.g["W_aa"], self.g["b_a"], self.g["b_n"]
        layers.gru_backward_weights(self.dz, self.a, self.dz_n, *written)

    @property
    def product(self) -> tuple[str, Array]:
        return "q", self.dq

    def weights_of(self, t: int, g: dict[str, Array]) -> None:
        now = slice(t - 1, t)
        written = g["W_aa"], g["b_a"], g["b_n"]
        layers.gru_backward_weights(self.dq[now].copy(), self.a[t - 1 : t + 1], self.dz_n[now], *written)

    def z(self, t: int, **moved: Array) -> Array:
        """z⟨t⟩ (B, 3H) by GF1, where x, W_ax or b_a may be given in place of its own."""
        p = self.p | {"x": self.onehot(self.x[t - 1])} | moved
        return np.asarray(p["x"] @ p["W_ax"] + p["b_a"])

    def q(self, t: int, **moved: Array) -> Array:
        """q⟨t⟩ (B, 3H) by GF2, where a, W_aa or b_n may be given in place of its own."""
        p = self.p | {"a": self.a[t - 1]} | moved
        return np.asarray(p["a"] @ p["W_aa"] + np.concatenate([np.zeros(2 * self.H), p["b_n"]]))

    def parts(self, t: int) -> dict[str, Array]:
        """The parts of z⟨t⟩ and q⟨t⟩, and a⟨t−1⟩, by name."""
        z, q = np.split(self.z(t), 3, axis=1), np.split(self.q(t), 3, axis=1)
        names = ("z_r", "z_u", "z_n", "q_r", "q_u", "q_n")
        return dict(zip(names, (*z, *q), strict=True)) | {"past": self.a[t - 1]}

    def into_n(self, t: int, **moved: Array) -> Array:
        """z_n + r ∘ q_n (B, H), the inside of GF4, where a part may be given in place of its own."""
        p = self.parts(t) | moved
        return np.asarray(p["z_n"] + sigma(p["z_r"] + p["q_r"]) * p["q_n"])

    def shown(self, t: int, **moved: Array) -> Array:
        """a⟨t⟩ (B, H) by GF3–GF5, where a part may be given in place of its own."""
        p, n = self.parts(t) | moved, np.tanh(self.into_n(t, **moved))
        u = sigma(p["z_u"] + p["q_u"])
        return np.asarray((1 - u) * n + u * p["past"])

    def proofs(self) -> Iterator[Proof]:
        """GF1–GF5 and GB1–GB8."""
        yield from self._forward()
        formula = "dlogits⟨t⟩ W_yaᵀ + dq⟨t+1⟩ W_aaᵀ + da⟨t+1⟩ ∘ u⟨t+1⟩"
        onward = (
            ("q", lambda t, a: self.q(t, a=a), self.dq),
            ("a", lambda t, a: self.shown(t, past=a), self.da),
        )
        yield from calculus.activations(self, "GB1", formula, *onward)
        for tag, formula, name, out, f, G, trick in (
            (
                "GB2",
                "da⟨t⟩ ∘ (1 − u⟨t⟩) ∘ (1 − n⟨t⟩²)",
                "z_n",
                "a⟨t⟩",
                self.shown,
                self.da,
                self.part(self.dz, 2),
            ),
            (
                "GB3",
                "dz_n⟨t⟩ ∘ r⟨t⟩",
                "q_n",
                "(z_n + r ∘ q_n)",
                self.into_n,
                self.dz_n,
                self.part(self.dq, 2),
            ),
            (
                "GB4",
                "dz_n⟨t⟩ ∘ q_n⟨t⟩ ∘ r⟨t⟩ ∘ (1 − r⟨t⟩)",
                "z_r",
                "(z_n + r ∘ q_n)",
                self.into_n,
                self.dz_n,
                self.part(self.dz, 0),
            ),
            (
                "GB5",
                "da⟨t⟩ ∘ (a⟨t−1⟩ − n⟨t⟩) ∘ u⟨t⟩ ∘ (1 − u⟨t⟩)",
                "z_u",
                "a⟨t⟩",
                self.shown,
                self.da,
                self.part(self.dz, 1),
            ),
        ):
            for t in range(1, self.T + 1):
                parts = self.parts(t)
                J = jacobian(lambda z, t=t: f(t, **{name: z}), parts[name])  # type: ignore[misc]  # noqa: B023
                shown = {key: parts[key] for key in ("z_r", "q_r", "q_n")}
                yield calculus.proof(tag, f"∂{out}/∂{name}⟨t⟩", formula, shown, J, G[t - 1], trick[t - 1], t)
        q = "q", self.q, self.dq
        yield from calculus.weight(self, "GB6", "W_aa", "a⟨t−1⟩ᵀ dq⟨t⟩", q)
        yield from calculus.weight(self, "GB7", "b_n", "Σ_b dq_n⟨t⟩", q)
        by_q, by_a = (
            jacobian(f, self.a0) for f in (lambda a: self.q(1, a=a), lambda a: self.shown(1, past=a))
        )
        J, G = np.concatenate([by_q, by_a], axis=1), np.concatenate([self.dq[0], self.da[0]], axis=1)
        title, formula = "∂(q⟨1⟩, a⟨1⟩)/∂a⟨0⟩", "dq⟨1⟩ W_aaᵀ + da⟨1⟩ ∘ u⟨1⟩"
        yield calculus.proof("GB8", title, formula, {"W_aa": self.p["W_aa"]}, J, G, self.da0, 1)

    def part(self, array: Array, k: int) -> Array:
        """A gate's part of an array (T, B, 3H)."""
        return array[..., k * self.H : (k + 1) * self.H]

    def _forward(self) -> Iterator[Proof]:
        """The gates beside σ and tanh of sums written out: through them, z and q are seen as well."""
        for t in range(1, self.T + 1):
            p, gates = self.parts(t), self.gates[t - 1]
            z_r, z_u, z_n, q_r, q_u, q_n = (np.zeros((self.B, self.H)) for _ in range(6))
            for k, (z, q) in enumerate(((z_r, q_r), (z_u, q_u), (z_n, q_n))):
                for b, h in np.ndindex(self.B, self.H):
                    j = k * self.H + h
                    z[b, h] = self.p["W_ax"][self.x[t - 1, b], j] + self.p["b_a"][j]
                    q[b, h] = sum(self.a[t - 1, b, i] * self.p["W_aa"][i, j] for i in range(self.H))
                    q[b, h] += self.p["b_n"][h] if k == 2 else 0
            r, u, n = sigma(z_r + q_r), sigma(z_u + q_u), np.tanh(z_n + sigma(z_r + q_r) * q_n)
            ru = np.concatenate([r, u], axis=1)
            yield calculus.written("GF1", "n⟨t⟩, z written out", {"z_n": z_n}, n, gates[:, 2 * self.H :], t)
            yield calculus.written("GF2", "q_n⟨t⟩ written out", {"q_n": q_n}, q_n, self.q_n[t - 1], t)
            yield calculus.written("GF3", "r⟨t⟩, u⟨t⟩ by exponentials", p, ru, gates[:, : 2 * self.H], t)
            n_layers = np.arctanh(gates[:, 2 * self.H :])
            yield calculus.written("GF4", "z_n + r ∘ q_n, of n⟨t⟩", {"r": r}, z_n + r * q_n, n_layers, t)
            a = (1 - u) * n + u * self.a[t - 1]
            yield calculus.written("GF5", "a⟨t⟩ written out", {"u": u, "n": n}, a, self.a[t], t)


class LSTM(Example):
    """An example whose cell is the LSTM."""

    name = "lstm"

    def forward(self) -> None:
        xW = layers.inputs_forward(self.x, self.p["W_ax"])
        start = self.a0, self.before["c"]
        self.a, self.c, tanh_c, self.gates = layers.lstm_forward(xW, *start, self.p["W_aa"], self.p["b_a"])
        self.tanh_c, self.dc = tanh_c.copy(), tanh_c  # the way back writes dc over it

    def backward(self) -> None:
        known = self.c, self.dc, self.gates, self.p["W_aa"]
        self.dz, self.da0, self.dc0 = layers.lstm_backward(self.da, *known)
        layers.recurrence_backward_weights(self.dz, self.a, self.g["W_aa"], self.g["b_a"])

    def into_c(self, t: int, **moved: Array) -> Array:
        """c⟨t⟩ (B, H) by LF2 and LF3, where z or c⟨t−1⟩ (as past) may be given in place of its own."""
        p = {"z": self.z(t), "past": self.c[t - 1]} | moved
        i, f, g = np.split(p["z"][:, : 3 * self.H], 3, axis=1)
        return np.asarray(sigma(f) * p["past"] + sigma(i) * np.tanh(g))

    def shown(self, t: int, **moved: Array) -> Array:
        """a⟨t⟩ (B, H) by LF2 and LF4, where z_o or c may be given in place of its own."""
        p = {"z_o": self.z(t)[:, 3 * self.H :], "c": self.c[t]} | moved
        return np.asarray(sigma(p["z_o"]) * np.tanh(p["c"]))

    def proofs(self) -> Iterator[Proof]:
        """LF1–LF4 and LB1–LB5; and B5, which holds as it stands."""
        H, steps = self.H, range(1, self.T + 1)
        yield from self._forward()
        onward = "z", lambda t, a: self.z(t, a=a), self.dz
        yield from calculus.activations(self, "LB1", "dlogits⟨t⟩ W_yaᵀ + dz⟨t+1⟩ W_aaᵀ", onward)
        for t in steps:  # c⟨t⟩ reaches a⟨t⟩ and, but for the last, c⟨t+1⟩
            J, G = jacobian(lambda c, t=t: self.shown(t, c=c), self.c[t]), self.da[t - 1]  # type: ignore[misc]
            title, formula = "∂a⟨t⟩/∂c⟨t⟩", "da⟨t⟩ ∘ o⟨t⟩ ∘ (1 − tanh² c⟨t⟩)"
            if t < self.T:
                further = jacobian(lambda c, t=t: self.into_c(t + 1, past=c), self.c[t])  # type: ignore[misc]
                J, G = np.concatenate([J, further], axis=1), np.concatenate([G, self.dc[t]], axis=1)
                title, formula = "∂(a⟨t⟩, c⟨t+1⟩)/∂c⟨t⟩", f"{formula} + dc⟨t+1⟩ ∘ f⟨t+1⟩"
            yield calculus.proof("LB2", title, formula, {f"c⟨{t}⟩": self.c[t]}, J, G, self.dc[t - 1], t)
        for t in steps:
            z = self.z(t)

            def cell(some: Array, t: int = t, z: Array = z) -> Array:
                return self.into_c(t, z=np.hstack([some, z[:, 3 * H :]]))

            J = jacobian(cell, z[:, : 3 * H])
            title, formula = "∂c⟨t⟩/∂(z_i, z_f, z_g)⟨t⟩", "dc⟨t⟩ ∘ (g i(1 − i), c⟨t−1⟩ f(1 − f), i(1 − g²))"
            trick = self.dz[t - 1][:, : 3 * H]
            yield calculus.proof("LB3", title, formula, {f"z⟨{t}⟩": z}, J, self.dc[t - 1], trick, t)
        for t in steps:
            z_o = self.z(t)[:, 3 * H :]
            J = jacobian(lambda z_o, t=t: self.shown(t, z_o=z_o), z_o)  # type: ignore[misc]
            formula, trick = "da⟨t⟩ ∘ tanh c⟨t⟩ ∘ o⟨t⟩ ∘ (1 − o⟨t⟩)", self.dz[t - 1][:, 3 * H :]
            shown = {f"z_o⟨{t}⟩": z_o}
            yield calculus.proof("LB4", "∂a⟨t⟩/∂z_o⟨t⟩", formula, shown, J, self.da[t - 1], trick, t)
        J = jacobian(lambda a: self.z(1, a=a), self.a0)
        shown = {"W_aa": self.p["W_aa"]}
        yield calculus.proof("LB5", "∂z⟨1⟩/∂a⟨0⟩", "dz⟨1⟩ W_aaᵀ", shown, J, self.dz[0], self.da0, 1)
        J = jacobian(lambda c: self.into_c(1, past=c), self.c[0])
        yield calculus.proof("LB5", "∂c⟨1⟩/∂c⟨0⟩", "dc⟨1⟩ ∘ f⟨1⟩", {}, J, self.dc[0], self.dc0, 1)
        yield from calculus.weight(self, "B5", "W_aa", "a⟨t−1⟩ᵀ dz⟨t⟩")

    def _forward(self) -> Iterator[Proof]:
        """The gates beside σ and tanh of sums written out: through them, z is seen as well."""
        H, p = self.H, self.p
        for t in range(1, self.T + 1):
            z = np.zeros((self.B, 4 * H))
            for b, j in np.ndindex(z.shape):
                z[b, j] = p["W_ax"][self.x[t - 1, b], j] + p["b_a"][j]
                z[b, j] += sum(self.a[t - 1, b, i] * p["W_aa"][i, j] for i in range(H))
            z_i, z_f, z_g, z_o = np.split(z, 4, axis=1)
            i, f, g, o = sigma(z_i), sigma(z_f), np.tanh(z_g), sigma(z_o)
            gates = np.concatenate([i, f, g, o], axis=1)
            of_g = np.arctanh(self.gates[t - 1][:, 2 * H : 3 * H])
            yield calculus.written("LF1", "z_g⟨t⟩ written out, of g⟨t⟩", {"z_g": z_g}, z_g, of_g, t)
            yield calculus.written("LF2", "i, f, g, o by exponentials", {"z": z}, gates, self.gates[t - 1], t)
            c = f * self.c[t - 1] + i * g
            yield calculus.written("LF3", "c⟨t⟩ written out", {"f": f, "i": i, "g": g}, c, self.c[t], t)
            yield calculus.written("LF4", "a⟨t⟩ written out", {"o": o, "c": c}, o * np.tanh(c), self.a[t], t)


class Tanh(Example):
    """An example whose cell is the tanh recurrence."""

    def proofs(self) -> Iterator[Proof]:
        """F1, F2, B3, B4, B9 and B5."""
        yield from calculus.forward(self)
        yield from calculus.through_the_cell(self)


EXAMPLES: dict[str, type[Tanh] | type[GRU] | type[LSTM]] = {"rnn": Tanh, "gru": GRU, "lstm": LSTM}


def derive(rng: np.random.Generator, T: int, B: int, H: int, V: int, cell: str = "rnn") -> list[Proof]:
    """All of it: the rules, the sum through time, and every equation at every step of such a window.

    The upstream gradient of each equation is the one that the equations before it gave.

    Raises:
        ConfigError: there is no derivation of that cell.
    """
    if cell not in EXAMPLES:
        raise ConfigError(
            f"--cell {cell}: its derivation is not written out; those of {', '.join(EXAMPLES)} are"
        )
    found = list(calculus.rules(rng))
    example = EXAMPLES[cell](rng, T, B, H, V)
    found += calculus.through_time(example)
    found += calculus.predictions(example)
    found += calculus.output(example)
    found += example.proofs()
    found += calculus.input_side(example)
    found += calculus.layer_above(example)
    return found
