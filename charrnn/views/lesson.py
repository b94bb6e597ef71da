"""The lesson: a page on which the derivation moves, made of the program's own arrays.

lesson.html, lesson.css and lesson.js stand beside this module. The script computes windows anew as a reader
changes them; the tests hold it to the layers.
"""

import re
from importlib import resources
from typing import Any

import numpy as np

from charrnn.layers import CELLS, Array
from charrnn.proofs.calculus import rules
from charrnn.proofs.cells import EXAMPLES
from charrnn.proofs.equations import EQUATIONS
from charrnn.proofs.exercises import DRAWS, exercises

T, B, H, V = 4, 2, 3, 4  # of the window
FAR, WIDE = 40, 24  # steps and units of the window in which gradients vanish and explode
LED = 4  # lines of code of an equation at the most
ALL = ("inputs", "recurrence", "dense")
SOURCES = {"rnn": ("elementwise", *ALL), "gru": ("elementwise", "gru", *ALL)}
SOURCES["lstm"] = ("elementwise", "lstm", *ALL)


def lesson_data(seed: int = 0) -> dict[str, Any]:
    """All that the lesson shows, as JSON takes it."""
    rng = np.random.default_rng(seed)
    return {
        "equations": EQUATIONS,
        "rules": {"columns": rule("3W", rng), "rows": rule("3W-rows", rng)},
        "windows": {cell: window(cell, rng) for cell in CELLS},
        "flows": {cell: flow(cell, rng) for cell in CELLS},
        "code": {cell: code(cell) for cell in CELLS},
        "exercises": questions(rng),
    }


def rule(name: str, rng: np.random.Generator) -> dict[str, Any]:
    """Rule 3 on columns or rows: its operands, tensor and gradients."""
    proof = next(proof for proof in rules(rng) if proof.rule == name)
    arrays = {"J": proof.J, "G": proof.G, "dW": proof.trick, **proof.operands}
    return {"equation": proof.equation, **{key: listed(array) for key, array in arrays.items()}}


def window(cell: str, rng: np.random.Generator) -> dict[str, Any]:
    """A small random window: its parameters, one-hot characters (T, B, V), and the states before it."""
    example = EXAMPLES[cell](rng, T, B, H, V)
    return as_json(cell, example.p, example.x_rows, example.y_rows, example.before)


def flow(cell: str, rng: np.random.Generator) -> dict[str, Any]:
    """A long window of an orthogonal W_aa and small inputs, whose gates are open at first."""
    shapes = CELLS[cell].shapes(V, WIDE) | {"W_ya": (WIDE, V), "b_y": (V,)}
    p = {name: np.zeros(shape) for name, shape in shapes.items()}
    gates = CELLS[cell].gates
    p["W_ax"] = 0.2 * rng.standard_normal(shapes["W_ax"])
    p["W_ya"] = rng.standard_normal(shapes["W_ya"])
    p["W_aa"] = np.concatenate(
        [np.linalg.qr(rng.standard_normal((WIDE, WIDE)))[0] for _ in range(gates)], axis=1
    )
    if gates > 1:
        p["b_a"][WIDE : 2 * WIDE] = 2  # u of a GRU, f of an LSTM
    x, y = np.eye(V)[rng.integers(0, V, (2, FAR, 1))]
    return as_json(cell, p, x, y, tuple(np.zeros((1, WIDE)) for _ in CELLS[cell].states))


def as_json(cell: str, p: dict[str, Array], x: Array, y: Array, before: tuple[Array, ...]) -> dict[str, Any]:
    """What the script's ``run`` takes."""
    return {
        "cell": cell,
        "p": {name: array.tolist() for name, array in p.items()},
        "x": x.tolist(),
        "y": y.tolist(),
        "before": [state.tolist() for state in before],
    }


def code(cell: str) -> dict[str, str]:
    """The lines of the layers that compute an equation, by tag: what leads to those that bear it."""
    found: dict[str, list[str]] = {}
    for name in SOURCES[cell]:
        source = resources.files("charrnn.layers").joinpath(f"{name}.py").read_text("utf-8")
        for block in re.split(r"\n\s*\n|^.*(?:\):|\) -> .*:|\"\"\")$", source, flags=re.MULTILINE):
            lines: list[str] = []
            for line in filter(None, map(str.strip, block.splitlines())):
                lines.append(line)
                tags = re.findall(r"\(([A-Z]+\d)\)", line.partition("#")[2])
                for tag in tags:
                    found.setdefault(tag, []).append("\n".join([f"# layers/{name}.py", *lines[-LED:]]))
                if tags:
                    lines.clear()
    return {tag: "\n".join(parts) for tag, parts in found.items()}


def questions(rng: np.random.Generator) -> dict[str, Any]:
    """The exercises, with arguments and exact answers of as many draws as an answer must be right on."""
    draws = [exercises(rng) for _ in range(DRAWS)]
    return {
        name: {
            "signature": exercise.signature,
            "returns": exercise.returns,
            "draws": [
                {
                    "arguments": dict(
                        zip(names(exercise.signature), map(listed, draw[name].arguments), strict=True)
                    ),
                    "exact": [listed(array) for array in draw[name].exact],
                }
                for draw in draws
            ],
        }
        for name, exercise in draws[0].items()
    }


def names(signature: str) -> list[str]:
    """The arguments of a signature such as db_a(dz)."""
    return re.findall(r"\w+", signature.partition("(")[2])


def listed(array: Any) -> Any:
    """An array or a number, as JSON takes it."""
    return np.asarray(array).tolist()
