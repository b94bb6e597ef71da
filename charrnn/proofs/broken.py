"""Planted errors, to be found from what they do to the gradients.

A line of a layer's source is replaced and its module executed anew, beside the layers and not in them.
"""

import inspect
from collections.abc import Iterator
from functools import partial
from types import ModuleType, SimpleNamespace
from typing import Any, NamedTuple

import numpy as np

from charrnn import layers
from charrnn.layers import Array, dense, elementwise, inputs, recurrence
from charrnn.proofs.calculus import TOLERANCE, jacobian
from charrnn.proofs.exercises import Reply
from charrnn.proofs.window import Arrays, forward, gradients

WINDOWS = (1, 4)  # T; at T = 1 nothing comes from a later step
GATES = {"rnn": ("",), "gru": ("r", "u", "n"), "lstm": ("i", "f", "g", "o")}


class Planted(NamedTuple):
    """An error: the equation that no longer holds, and a piece of its line before and after."""

    cell: str
    tag: str
    module: ModuleType
    right: str  # stands once in the module
    wrong: str


PLANTED = (
    Planted("rnn", "B5", recurrence, "past.T, rows", "rows.T, past"),
    Planted("rnn", "B3", elementwise, "da += future  # (B3)", "da -= future"),
    Planted("rnn", "B2", dense, "rows, out=dW_ya", "rows / T, out=dW_ya"),
    Planted("gru", "GB4", elementwise, "slope_r *= q_n", "slope_r *= n"),
    Planted("rnn", "B9", recurrence, "return dz, future", "return dz, da[0]"),
    Planted("lstm", "LB3", elementwise, "slope_f *= before", "slope_f *= dc"),
    Planted("rnn", "B1", elementwise, "dlogits /= T * B", "dlogits /= B"),
    Planted("rnn", "B4", elementwise, "np.multiply(a, a", "np.multiply(a, a[::-1]"),
    Planted("gru", "GB3", elementwise, "dz_n, r, out=dq_n", "dz_n, u, out=dq_n"),
    Planted("rnn", "B7", recurrence, "kernels.sum_rows(rows, db_a)", "np.mean(rows, axis=0, out=db_a)"),
    Planted("lstm", "LB2", elementwise, "dc *= o", "dc *= i"),
    Planted("rnn", "B6", inputs, "x.reshape(-1, x.shape[-1])", "x[::-1].reshape(-1, x.shape[-1])"),
    Planted("gru", "GB1", elementwise, "da += after  # (GB1)", "da += after * u"),
    Planted("lstm", "LB4", elementwise, "slope_o *= dc", "slope_o *= before"),
    Planted("rnn", "B8", inputs, "dz.reshape(-1, H), W_ax", "dz[::-1].reshape(-1, H), W_ax"),
    Planted("gru", "GB5", elementwise, "before, n, out=slope_n", "before, r, out=slope_n"),
)


def functions(error: Planted) -> Any:
    """The functions of the layers, those of one module with the error in it."""
    broken = ModuleType(error.module.__name__)
    exec(inspect.getsource(error.module).replace(error.right, error.wrong), vars(broken))
    namespace, found = vars(broken), vars(layers)
    if error.module is elementwise:  # which the cells' functions are given, too
        cells = "recurrence", "gru", "lstm"
        names = [f"{cell}_{way}" for cell in cells for way in ("forward", "backward")]
        namespace |= {name: partial(found[name], kernels=broken) for name in names}
    return SimpleNamespace(**{name: namespace.get(name, found[name]) for name in layers.__all__})


def drawn(cell: str, T: int) -> tuple[Arrays, Array]:
    """A random window of T steps: what it has gradients for, and its targets."""
    rng, (B, H, V) = np.random.default_rng(T), (2, 3, 4)
    shapes = layers.CELLS[cell].shapes(V, H) | {"W_ya": (H, V), "b_y": (V,)}
    p = {name: rng.standard_normal(shape) for name, shape in shapes.items()}
    x, y = rng.integers(0, V, (2, T, B))
    states = {f"{name}0": np.tanh(rng.standard_normal((B, H))) for name in layers.CELLS[cell].states}
    return p | {"x": np.eye(V)[x]} | states, y


def errors(error: Planted, T: int) -> dict[str, float]:
    """The largest error of each gradient beside the complex step, over its largest entry; gates apart."""
    p, y = drawn(error.cell, T)
    g, found = gradients(functions(error), error.cell, p, y), {}
    lifted = {name: array.astype(complex) for name, array in p.items()}  # the layers want one dtype

    def loss(name: str, x: Array) -> Array:
        return np.asarray(forward(layers, error.cell, lifted | {name: x}, y)[0])

    for name, array in p.items():
        exact = jacobian(partial(loss, name), array)
        gates = GATES[error.cell] if name in ("W_ax", "W_aa", "b_a") else ("",)
        parts = (np.split(array, len(gates), axis=-1) for array in (g[name], exact))
        for gate, part, right in zip(gates, *parts, strict=True):
            found[f"d{name}{gate and f'[{gate}]'}"] = float(np.abs(part - right).max() / np.abs(right).max())
    return found


def puzzle(number: int) -> Iterator[str]:
    """What a planted error, counted from 1, does to the gradients of a short and of a longer window."""
    error = PLANTED[number - 1]
    tables = [errors(error, T) for T in WINDOWS]
    yield f"Error {number} of {len(PLANTED)}, cell {error.cell}: one backward equation is computed wrong."
    yield "The largest error of each gradient, over its largest entry by the complex step:"
    yield f"{'gradient':10}" + "".join(f"{f'T = {T}':16}" for T in WINDOWS).rstrip()
    for name in tables[0]:
        cells = (f"{t[name]:.1e} {'ok' if t[name] <= TOLERANCE else 'WRONG'}" for t in tables)
        yield f"{name:10}" + "".join(f"{cell:16}" for cell in cells).rstrip()
    yield f"Which equation is it? Answer with --broken {number} --is TAG, such as --is B7."


def judge(number: int, tag: str) -> Reply:
    """What to say of the equation that a reader names for a planted error."""
    error = PLANTED[number - 1]
    if tag != error.tag:
        short, long = WINDOWS
        hint = f"Compare what is wrong at T = {short} with what is wrong only at T = {long}"
        return Reply(tag, False, f"no. {hint}")
    lines = inspect.getsource(error.module).splitlines()
    line = next(line.strip() for line in lines if error.right in line)
    name, planted = error.module.__name__.rpartition(".")[2], line.replace(error.right, error.wrong)
    return Reply(tag, True, f"right. In {name}.py the line was\n  {planted}\nand should be\n  {line}")
