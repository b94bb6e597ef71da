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
    asked = [*_of_the_weights(rng), *_of_the_loss(rng), *_of_other_cells(rng)]
    return {exercise.signature.partition("(")[0]: exercise for exercise in asked}


def _of_the_weights(rng: np.random.Generator) -> Iterator[Exercise]:
    draw = rng.standard_normal
    x, a, dlogits = np.eye(V)[rng.integers(0, V, (T, B))], draw((T, B, H)), draw((T, B, V))
    dz = draw((T, B, H))
    by_b = jacobian(lambda b_a: np.zeros_like(dz) + b_a, draw(H))
    yield Exercise("db_a(dz)", "(H,)", (dz,), (contract(dz, by_b),))

    xW, a0, W_aa, W_ya = draw((2, B, H)), draw((B, H)), draw((H, H)), draw((H, V))

    def two_steps(W: Array) -> Array:
        first = np.tanh(xW[0] + a0 @ W)
        return np.array([a0, first, np.tanh(xW[1] + first @ W)])

    by_W = jacobian(lambda W: two_steps(W)[1:] @ W_ya, W_aa)
    shown = two_steps(W_aa), dlogits[:2], W_aa, W_ya
    yield Exercise("dW_aa(a, dlogits, W_aa, W_ya)", "(H, H)", shown, (contract(dlogits[:2], by_W),))

    W_ax = draw((V, H))
    both = contract(dz, jacobian(lambda W: x @ W, W_ax))
    both += contract(dlogits, jacobian(lambda W: a @ W.T, W_ax))
    yield Exercise("tied(x, a, dz, dlogits)", "(V, H)", (x, a, dz, dlogits), (both,))


def _of_the_loss(rng: np.random.Generator) -> Iterator[Exercise]:
    logits, y = rng.standard_normal((B, V)), np.eye(V)[rng.integers(0, V, B)]
    tau, epsilon = rng.uniform(0.5, 2), rng.uniform(0.1, 0.4)

    def nats(logits: Array, target: Array) -> Array:
        return np.asarray(-(target * (logits - np.log(np.exp(logits).sum(axis=-1, keepdims=True)))).sum())

    exact = (
        jacobian(lambda logits: nats(logits / tau, y), logits),
        jacobian(lambda tau: nats(logits / tau, y), np.array(tau)),
    )
    yield Exercise("temperature(logits, y, tau)", "dlogits (B, V) and dτ, a number", (logits, y, tau), exact)

    y_hat = np.exp(logits) / np.exp(logits).sum(axis=-1, keepdims=True)
    dlogits = jacobian(lambda logits: nats(logits, (1 - epsilon) * y + epsilon / V), logits)
    yield Exercise("smoothed(y_hat, y, epsilon)", "(B, V)", (y_hat, y, epsilon), (dlogits,))


def _of_other_cells(rng: np.random.Generator) -> Iterator[Exercise]:
    draw = rng.standard_normal
    alpha, da, past, z, W_aa = rng.uniform(0.1, 0.9), draw((B, H)), draw((B, H)), draw((B, H)), draw((H, H))
    dz = contract(da, jacobian(lambda z: (1 - alpha) * past + alpha * np.tanh(z), z))
    back = contract(da, jacobian(lambda a: (1 - alpha) * a + alpha * np.tanh(z), past))
    back += contract(dz, jacobian(lambda a: a @ W_aa, past))
    returns = "dz⟨t⟩ (B, H) and the gradient of a⟨t−1⟩ (B, H)"
    yield Exercise("leaky(da, z, W_aa, alpha)", returns, (da, z, W_aa, alpha), (dz, back))

    def sigma(z: Array) -> Array:
        return np.asarray(1 / (1 + np.exp(-z)))

    dz_n, z_r, W_n = draw((B, H)), draw((B, H)), draw((H, H))
    exact: tuple[Array, ...] = (
        contract(dz_n, jacobian(lambda z_r: (sigma(z_r) * past) @ W_n, z_r)),
        contract(dz_n, jacobian(lambda a: (sigma(z_r) * a) @ W_n, past)),
        contract(dz_n, jacobian(lambda W: (sigma(z_r) * past) @ W, W_n)),
    )
    returns = "dz_r⟨t⟩ (B, H), the gradient of a⟨t−1⟩ (B, H) and dW_n (H, H)"
    yield Exercise("reset(dz_n, r, past, W_n)", returns, (dz_n, sigma(z_r), past, W_n), exact)

    z_o, c, p = draw((B, H)), draw((B, H)), draw(H)
    exact = (
        contract(da, jacobian(lambda c: sigma(z_o + p * c) * np.tanh(c), c)),
        contract(da, jacobian(lambda p: sigma(z_o + p * c) * np.tanh(c), p)),
    )
    shown = da, sigma(z_o + p * c), c, p
    yield Exercise("peephole(da, o, c, p)", "the gradient of c⟨t⟩ (B, H) and dp (H,)", shown, exact)


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
