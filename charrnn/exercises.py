"""The exercises of DERIVATION.md: a reader's functions against the exact derivative."""

import runpy
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from charrnn.calculus import contract, jacobian
from charrnn.errors import CharRNNError

Array = NDArray[Any]

T, B, H, V = 4, 3, 5, 6
TOLERANCE = 1e-10  # an answer may sum in another order


@dataclass(frozen=True)
class Exercise:
    """What is asked: a function of these arguments, and the exact derivatives it should return."""

    signature: str
    returns: str
    arguments: tuple[Any, ...]
    exact: tuple[Array, ...]


@dataclass(frozen=True)
class Reply:
    """What is said of an answer."""

    name: str
    right: bool
    text: str


def exercises(rng: np.random.Generator) -> dict[str, Exercise]:
    """The exercises, on random arrays; the exact answers are contracted tensors, by the complex step."""
    draw = rng.standard_normal
    dz, W_ax, W_aa = draw((T, B, H)), draw((V, H)), draw((H, H))
    z = draw((T, B, H))

    by_b = jacobian(lambda b_a: z + b_a, draw(H))
    by_x = jacobian(lambda x: x @ W_ax, draw((T, B, V)))
    by_a0 = jacobian(lambda a0: a0 @ W_aa, draw((B, H)))

    alpha, a_past, da, z_t = 0.3, draw((B, H)), draw((B, H)), draw((B, H))
    leak_z = jacobian(lambda z: (1 - alpha) * a_past + alpha * np.tanh(z), z_t)
    dz_t = contract(da, leak_z)
    onward = jacobian(lambda a: a @ W_aa, a_past)
    kept = jacobian(lambda a: (1 - alpha) * a + alpha * np.tanh(z_t), a_past)
    return {
        "db_a": Exercise("db_a(dz)", "(H,)", (dz,), (contract(dz, by_b),)),
        "dx": Exercise("dx(dz, W_ax)", "(T, B, V)", (dz, W_ax), (contract(dz, by_x),)),
        "da0": Exercise("da0(dz, W_aa)", "(B, H)", (dz, W_aa), (contract(dz[0], by_a0),)),
        "leaky": Exercise(
            "leaky(da, z, W_aa, alpha)",
            "dz (B, H) and the gradient of a⟨t−1⟩ (B, H)",
            (da, z_t, W_aa, alpha),
            (dz_t, contract(da, kept) + contract(dz_t, onward)),
        ),
    }


def mark(path: Path, rng: np.random.Generator) -> Iterator[Reply]:
    """Run a file of answers, and compare each function that has an exercise's name with the exact answer.

    The file is plain Python and is run as it is.

    Raises:
        CharRNNError: the file cannot be read or run, or answers no exercise.
    """
    try:
        answers = runpy.run_path(str(path))
    except OSError as error:
        raise CharRNNError(f"{path}: cannot be read: {error.strerror}") from None
    except Exception as error:  # whatever its owner's code raises
        raise CharRNNError(f"{path}: {type(error).__name__}: {error}") from None
    asked = exercises(rng)
    answered = [name for name in asked if callable(answers.get(name))]
    if not answered:
        forms = ", ".join(exercise.signature for exercise in asked.values())
        raise CharRNNError(f"{path}: defines no answer. An exercise is one of: {forms}")
    for name in answered:
        yield _reply(name, asked[name], answers[name])


def _reply(name: str, exercise: Exercise, answer: Callable[..., Any]) -> Reply:
    arguments = (np.copy(a) if isinstance(a, np.ndarray) else a for a in exercise.arguments)
    try:
        given = answer(*arguments)
    except Exception as error:  # whatever its owner's code raises
        form = f"it is called as {exercise.signature}"
        return Reply(name, False, f"{type(error).__name__}: {error} ({form})")
    parts = given if len(exercise.exact) > 1 else (given,)
    if not isinstance(parts, tuple) or len(parts) != len(exercise.exact):
        return Reply(name, False, f"should return {len(exercise.exact)} arrays: {exercise.returns}")
    for i, (part, exact) in enumerate(zip(parts, exercise.exact, strict=True)):
        which = f"of array {i + 1}, " if len(parts) > 1 else ""
        try:
            found = np.asarray(part, np.float64)
        except (TypeError, ValueError):
            return Reply(name, False, f"{which}not an array of numbers: expected {exercise.returns}")
        if found.shape != exact.shape:
            sizes = f"for T, B, H, V = {T}, {B}, {H}, {V}"
            expected = f"expected {exact.shape}, which is {exercise.returns} {sizes}"
            return Reply(name, False, f"{which}the shape is {found.shape}; {expected}")
        wrong = ~(np.abs(found - exact) <= TOLERANCE * np.abs(exact).max())
        if wrong.any():
            first = tuple(map(int, np.argwhere(wrong)[0]))
            text = f"{which}the first wrong element is at {first}: {found[first]:.6g}, should be "
            return Reply(name, False, f"{text}{exact[first]:.6g} ({wrong.sum()} of {wrong.size} are wrong)")
    return Reply(name, True, "right")
