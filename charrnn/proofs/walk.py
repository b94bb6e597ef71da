"""One window by hand: every number of a forward and a backward pass that fit on a sheet of paper.

T = 2, B = 1, H = 2, V = 3. Each line is an equation with its numbers put in, computed as it stands and not by
the layers; the last line says how far the layers' own answers are from these.
"""

from collections.abc import Iterator

import numpy as np

from charrnn import layers
from charrnn.layers import Array
from charrnn.proofs.window import gradients

P: dict[str, Array] = {
    "W_ax": np.array([[0.5, -0.3], [0.2, 0.4], [-0.1, 0.6]]),
    "W_aa": np.array([[0.6, -0.2], [0.4, 0.5]]),
    "b_a": np.array([0.1, -0.1]),
    "W_ya": np.array([[0.4, -0.6, 0.2], [-0.5, 0.3, 0.7]]),
    "b_y": np.array([0.0, 0.1, -0.1]),
}
X, Y, A0 = (0, 1), (1, 2), np.array([0.5, -0.5])  # the numbers of x⟨t⟩ and y⟨t⟩; a⟨0⟩

Numbers = dict[tuple[str, int], Array]  # by name and step: a⟨1⟩ is v["a", 1]


def walk() -> Iterator[str]:
    """The window as lines, each at most 80 characters wide."""
    v: Numbers = {("a", 0): A0}
    g: dict[str, Array] = {}
    yield "T = 2, B = 1, H = 2, V = 3; the text 0 1 2: x⟨1⟩ = 0, y⟨1⟩ = x⟨2⟩ = 1, y⟨2⟩ = 2"
    yield ""
    weights = P["W_ax"], "   W_aa = ", P["W_aa"], "   W_ya = ", P["W_ya"]
    yield from _side_by_side("W_ax = ", *weights, decimals=1)
    yield f"b_a = {_row(P['b_a'], 1)}   b_y = {_row(P['b_y'], 1)}   a⟨0⟩ = {_row(A0, 1)}"
    yield from _forward(v)
    yield from _backward(v, g)
    yield from _weights(v, g)
    p = P | {"x": np.eye(3)[list(X)][:, np.newaxis], "a0": A0[np.newaxis]}
    found = gradients(layers, "rnn", p, np.array(Y)[:, np.newaxis])
    worst = max(float(np.abs(found[name] - g[name]).max()) for name in g)
    yield f"\nThe layers compute the same; the largest difference is {worst:.1e}."


def _forward(v: Numbers) -> Iterator[str]:
    T, p, nats = len(X), P, []
    for t in range(1, T + 1):
        x, y = X[t - 1], Y[t - 1]
        xW, aW = p["W_ax"][x], v["a", t - 1] @ p["W_aa"]
        z = xW + aW + p["b_a"]
        v["a", t] = np.tanh(z)
        logits = v["a", t] @ p["W_ya"] + p["b_y"]
        v["ŷ", t] = np.exp(logits) / np.exp(logits).sum()
        nats.append(-np.log(v["ŷ", t][y]))
        yield f"\nForward, t = {t}: x⟨{t}⟩ picks row {x} of W_ax"
        yield f"  F1  z⟨{t}⟩ = x⟨{t}⟩ W_ax + a⟨{t - 1}⟩ W_aa + b_a"
        yield f"           = {_row(xW, 1)} + {_row(aW)} + {_row(p['b_a'], 1)} = {_row(z)}"
        yield f"  F2  a⟨{t}⟩ = tanh z⟨{t}⟩ = {_row(v['a', t])}"
        yield f"  F3  logits⟨{t}⟩ = a⟨{t}⟩ W_ya + b_y = {_row(logits)}"
        yield f"      ŷ⟨{t}⟩ = softmax(logits⟨{t}⟩) = {_row(v['ŷ', t])}"
    prices = " + ".join(f"log {v['ŷ', t][Y[t - 1]]:.4f}" for t in range(1, T + 1))
    yield f"  F4  L = −½ ({prices}) = {np.mean(nats):.4f}"


def _backward(v: Numbers, g: dict[str, Array]) -> Iterator[str]:
    T, p = len(X), P
    for t in range(T, 0, -1):
        y = np.eye(3)[Y[t - 1]]
        v["dlogits", t] = (v["ŷ", t] - y) / T
        direct = v["dlogits", t] @ p["W_ya"].T
        yield f"\nBackward, t = {t}"
        yield f"  B1  dlogits⟨{t}⟩ = ½ ({_row(v['ŷ', t])} − {_row(y, 0)})"
        yield f"                 = {_row(v['dlogits', t])}"
        if t == T:
            da = direct
            yield f"  B3  da⟨{t}⟩ = dlogits⟨{t}⟩ W_yaᵀ = {_row(da)}, for dz⟨{t + 1}⟩ = 0"
        else:
            future = v["dz", t + 1] @ p["W_aa"].T
            da = direct + future
            yield f"  B3  da⟨{t}⟩ = dlogits⟨{t}⟩ W_yaᵀ + dz⟨{t + 1}⟩ W_aaᵀ"
            yield f"            = {_row(direct)} + {_row(future)} = {_row(da)}"
        slope = 1 - v["a", t] ** 2
        v["dz", t] = da * slope
        yield f"  B4  dz⟨{t}⟩ = da⟨{t}⟩ ∘ (1 − a⟨{t}⟩²) = {_row(da)} ∘ {_row(slope)}"
        yield f"            = {_row(v['dz', t])}"
    g["a0"] = v["dz", 1] @ p["W_aa"].T
    yield f"  B9  da⟨0⟩ = dz⟨1⟩ W_aaᵀ = {_row(g['a0'])}"


def _weights(v: Numbers, g: dict[str, Array]) -> Iterator[str]:
    x1, x2 = np.eye(3)[list(X)]
    yield "\nThe weights: an outer product for each step, and their sum"
    for tag, name, past, back, (one, two) in (
        ("B5", "W_aa", ("a⟨0⟩", "a⟨1⟩"), "dz", (v["a", 0], v["a", 1])),
        ("B6", "W_ax", ("x⟨1⟩", "x⟨2⟩"), "dz", (x1, x2)),
        ("B2", "W_ya", ("a⟨1⟩", "a⟨2⟩"), "dlogits", (v["a", 1], v["a", 2])),
    ):
        parts = np.outer(one, v[back, 1]), np.outer(two, v[back, 2])
        g[name] = parts[0] + parts[1]
        yield f"  {tag}  d{name} = {past[0]}ᵀ {back}⟨1⟩ + {past[1]}ᵀ {back}⟨2⟩"
        if g[name].shape[1] == 3:
            yield from _side_by_side("            = ", parts[0], " + ", parts[1])
            yield from _side_by_side("            = ", g[name])
        else:
            yield from _side_by_side("            = ", parts[0], " + ", parts[1], " = ", g[name])
    for tag, name, back in (("B7", "b_a", "dz"), ("B2", "b_y", "dlogits")):
        g[name] = v[back, 1] + v[back, 2]
        yield f"  {tag}  d{name} = {back}⟨1⟩ + {back}⟨2⟩ = {_row(g[name])}"


def _row(row: Array, decimals: int = 4) -> str:
    return f"({', '.join(f'{value:.{decimals}f}' for value in np.round(row, decimals) + 0.0)})"


def _side_by_side(*parts: str | Array, decimals: int = 4) -> Iterator[str]:
    """Matrices beside each other; what stands between them goes on the first line."""

    def row(matrix: Array, i: int) -> str:
        numbers = np.round(matrix[min(i, len(matrix) - 1)], decimals) + 0.0
        text = f"[{'  '.join(f'{number:{decimals + 3}.{decimals}f}' for number in numbers)}]"
        return text if i < len(matrix) else " " * len(text)

    for i in range(max(len(part) for part in parts if not isinstance(part, str))):
        yield "".join(
            row(part, i) if not isinstance(part, str) else part if i == 0 else " " * len(part)
            for part in parts
        ).rstrip()
