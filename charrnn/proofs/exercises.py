"""The exercises of DERIVATION.md: a reader's functions against the exact derivative."""

import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from charrnn.errors import CharRNNError
from charrnn.files import read_small
from charrnn.layers import Array
from charrnn.proofs.calculus import contract, jacobian

T, B, H, V = 4, 3, 5, 6
ANSWER_BYTES = 10**6
DRAWS = 2  # an answer must be right on each


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
    dz, W_ax, W_aa, z = draw((T, B, H)), draw((V, H)), draw((H, H)), draw((T, B, H))
    by_b = jacobian(lambda b_a: z + b_a, draw(H))
    by_x = jacobian(lambda x: x @ W_ax, draw((T, B, V)))
    by_a0 = jacobian(lambda a0: a0 @ W_aa, draw((B, H)))

    alpha, da, past, now = rng.uniform(0.1, 0.9), draw((B, H)), draw((B, H)), draw((B, H))
    leaky_z = jacobian(lambda z: (1 - alpha) * past + alpha * np.tanh(z), now)
    leaky_a = jacobian(lambda a: (1 - alpha) * a + alpha * np.tanh(now), past)
    leaky_dz = contract(da, leaky_z)
    leaky_da = contract(da, leaky_a) + contract(leaky_dz, jacobian(lambda a: a @ W_aa, past))
    return {
        "db_a": Exercise("db_a(dz)", "(H,)", (dz,), (contract(dz, by_b),)),
        "dx": Exercise("dx(dz, W_ax)", "(T, B, V)", (dz, W_ax), (contract(dz, by_x),)),
        "da0": Exercise("da0(dz, W_aa)", "(B, H)", (dz, W_aa), (contract(dz[0], by_a0),)),
        "leaky": Exercise(
            "leaky(da, z, W_aa, alpha)",
            "dz⟨t⟩ (B, H) and the gradient of a⟨t−1⟩ (B, H)",
            (da, now, W_aa, alpha),
            (leaky_dz, leaky_da),
        ),
    }


def mark(path: Path, rng: np.random.Generator) -> Iterator[Reply]:
    """Run a file of answers, and compare each function that has an exercise's name with the exact answer.

    The file is plain Python and is run as it is.

    Raises:
        CharRNNError: the file cannot be read or run, or answers no exercise.
    """
    source = read_small(path, ANSWER_BYTES)
    answers: dict[str, Any] = {"__name__": __name__}  # of a module that exists: dataclasses look theirs up
    try:
        exec(compile(source, str(path), "exec"), answers)
    except (Exception, SystemExit) as error:  # whatever its owner's code raises
        raise CharRNNError(f"{path}: {_described(error, path)}") from None
    draws = [exercises(rng) for _ in range(DRAWS)]
    answered = [name for name in draws[0] if callable(answers.get(name))]
    if not answered:
        forms = ", ".join(exercise.signature for exercise in draws[0].values())
        raise CharRNNError(f"{path}: defines no answer. An exercise is one of: {forms}")
    for name in answered:
        replies = [_reply(name, draw[name], answers[name], path) for draw in draws]
        yield next((reply for reply in replies if not reply.right), replies[0])


def _described(error: BaseException, path: Path) -> str:
    """What went wrong in somebody's code, and in which line of the file."""
    frames = traceback.extract_tb(error.__traceback__)
    line = next((frame.lineno for frame in reversed(frames) if frame.filename == str(path)), None)
    return f"{type(error).__name__}: {error}" + (f" (line {line})" if line else "")


def _reply(name: str, exercise: Exercise, answer: Callable[..., Any], path: Path) -> Reply:
    arguments = (np.copy(a) if isinstance(a, np.ndarray) else a for a in exercise.arguments)
    try:
        given = answer(*arguments)
    except (Exception, SystemExit) as error:  # whatever its owner's code raises
        form = f"it is called as {exercise.signature}"
        return Reply(name, False, f"{_described(error, path)}; {form}")
    if given is None:
        return Reply(name, False, f"returns nothing; expected {exercise.returns}")
    count = len(exercise.exact)
    parts = list(given) if count > 1 and isinstance(given, tuple | list | np.ndarray) else [given]
    if len(parts) != count:
        return Reply(name, False, f"should return {count} arrays: {exercise.returns}")
    for i, (part, exact) in enumerate(zip(parts, exercise.exact, strict=True)):
        which = f"of array {i + 1}, " if count > 1 else ""
        if wrong := _wrong(part, exact, exercise.returns):
            return Reply(name, False, which + wrong)
    return Reply(name, True, "right")


def _wrong(part: Any, exact: Array, returns: str) -> str:
    """What is wrong with one array of an answer; nothing if it is right."""
    try:
        found = np.asarray(part)
    except ValueError:  # rows of different lengths
        found = np.array("?")
    if found.dtype.kind not in "fiu":
        return f"it holds no real numbers but {found.dtype}; expected {returns}"
    if found.shape != exact.shape:
        sizes = f"for T, B, H, V = {T}, {B}, {H}, {V}"
        return f"the shape is {found.shape}; expected {exact.shape}, which is {returns} {sizes}"
    precision = float(np.finfo(found.dtype).eps) if found.dtype.kind == "f" else 0.0
    tolerance = min(max(50 * precision, 1e-12), 1e-5)  # it may sum in another order, or in float32
    wrong = ~(np.abs(found - exact) <= tolerance * np.abs(exact).max())
    if not wrong.any():
        return ""
    first = tuple(map(int, np.argwhere(wrong)[0]))
    return (
        f"the first wrong element is at {first}: {found[first]:.9g}, should be {exact[first]:.9g} "
        f"({wrong.sum()} of {wrong.size} are wrong)"
    )
