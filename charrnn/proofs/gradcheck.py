"""The gradient check: every derivative of the backward pass, proved on numbers.

With the complex step (Squire & Trapp 1998) a number p is moved by ih, and the derivative of the loss is
the imaginary part of L(p + ih) over h. Nothing is subtracted, so nothing cancels: h can be 1e-30 and the
derivative is exact to rounding. Central differences are the usual way; those of the fourth order,
(8 L(p + h) − 8 L(p − h) − L(p + 2h) + L(p − 2h))/12h, are good to nine digits or so. Both run the layer
functions that train, on complex128 or on float64 arrays.
"""

import copy
import math
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any, Literal

import numpy as np

from charrnn import layers
from charrnn.config import ModelConfig
from charrnn.layers import Array
from charrnn.model import CharRNN
from charrnn.model.parameters import name_in_layer
from charrnn.proofs.calculus import STEP as COMPLEX_STEP
from charrnn.text.vocabulary import Vocabulary

Method = Literal["complex", "central"]

TOLERANCE = {"complex": 1e-13, "central": 1e-6}
PROJECTIONS = 2
QUICK_CUTS = 5
CENTRAL_STEP = 1e-3  # an error of h⁴ against one of rounding, 1e-16/h, for losses of a few nats
GIVEN_BY = {
    "W_ex": "B6",
    "W_ax": "B6",
    "W_aa": "B5",
    "b_a": "B7",
    "W_ya": "B2",
    "b_y": "B2",
    "x": "B8",
    "a0": "B9",
    "z": "F1",
}  # but for what a cell has equations of its own for


@dataclass(frozen=True)
class Check:
    """The verdict on one tensor, or on one property of the window."""

    name: str
    equation: str  # the one that gives it; others, such as B1, B3 and B4, stand behind every gradient
    shape: tuple[int, ...]
    norm: float | None  # of the gradient; None for a property
    error: float  # the largest difference, over the largest entry, or over the norm for a projection
    where: tuple[int, ...] | None  # the index of that difference; None for a projection or a property
    passed: bool


def generic_model(vocabulary: Vocabulary, config: ModelConfig, seed: int) -> CharRNN:
    """A float64 model to check at: the one that training would start from, but for W_ya and the biases.

    Those start at or near zero, where many a wrong gradient is as small as the right one; here something is
    added that is drawn at random, at the size they have in a trained network.
    """
    rng = np.random.default_rng(seed)
    model = CharRNN.from_config(vocabulary, config, rng)
    p = model.parameters
    p["W_ya"][...] = config.hidden_size**-0.5 * rng.standard_normal(p["W_ya"].shape)
    for name in p:
        if name.startswith("b_"):
            p[name][...] += 0.1 * rng.standard_normal(p[name].shape)
    return model


class GradientCheck:
    """The check of one window of a model: its gradients, and the ways to prove them."""

    def __init__(
        self,
        model: CharRNN,
        inputs: Array,
        targets: Array,
        rng: np.random.Generator,
        method: Method = "complex",
        tick: Callable[[], object] = lambda: None,
        dropout: float = 0.0,
    ):
        """Compute the gradients to check; the incoming state is random.

        Arguments:
            model: in float64.
            inputs, targets: (T, B) integers in 0…V−1.
            rng: for the incoming state, and for the directions of ``quick``.
            method: ``complex`` step or ``central`` differences.
            tick: called for each derivative.
            dropout: its rate. The mask is drawn once and held fixed.
        """
        self.T, self.B = inputs.shape
        self.method, self.tick, self.rng = method, tick, rng
        self.inputs, self.y = inputs, targets
        state = np.tanh(rng.standard_normal((self.B, model.state_size)))
        self.masks: Array | None = None
        if dropout:
            self.masks = model.dropout_masks(rng.spawn(self.B), dropout, self.T)
        self.loss, window = model.forward(inputs, targets, state, masks=self.masks)
        self.gradients = model.parameters.like()
        self.dstate = model.backward(window, self.gradients)
        self.dx = model.input_gradient(window)

        self.tolerance = max(TOLERANCE[method], min(1e-6, 20 * self._rounding(model, state)))

        dtype = np.complex128 if method == "complex" else np.float64
        self.still = model
        self.model, self._copy = model.like(dtype), model.like(dtype)  # what is moved: at all steps, at one
        self.model.parameters.flat[...] = self._copy.parameters.flat[...] = model.parameters.flat
        self.state = state.astype(dtype)
        self.rows = np.zeros((*inputs.shape, len(model.vocabulary)), dtype)  # x⟨t⟩, one-hot
        np.put_along_axis(self.rows, inputs[..., np.newaxis], 1.0, axis=-1)

    def _rounding(self, model: CharRNN, state: Array) -> float:
        """How far the gradients move as every number they are made of moves by one rounding, over the largest
        entry: first every weight, then all that the way forward has left for the way back.

        Of an ordinary network, a few roundings. Where it magnifies small changes over the steps, or where a
        gate is so near to its end that its derivative has lost its digits, no derivative is known to better
        than this.
        """
        eps = np.finfo(np.float64).eps

        def moved(array: Array) -> None:
            array *= 1 + eps * self.rng.choice([-1.0, 1.0], array.shape)

        nearby = model.like()
        nearby.parameters.flat[...] = model.parameters.flat
        moved(nearby.parameters.flat)
        _, window = nearby.forward(self.inputs, self.y, state, masks=self.masks)
        for memory in window.space.cells:
            for array in memory:
                moved(array)
        gradients = nearby.parameters.like()
        dstate = nearby.backward(window, gradients)
        pairs = [(gradients[name], self.gradients[name]) for name in gradients] + [(dstate, self.dstate)]
        worst = max(float(np.abs(a - b).max() / max(np.abs(b).max(), 1e-300)) for a, b in pairs)
        return worst if math.isfinite(worst) else 0.0

    def tensors(self) -> Iterator[tuple[str, Array, Array]]:
        """Everything a window has a gradient for: name, what is moved, its gradient."""
        for name, view in self.model.parameters.items():
            yield name, view, self.gradients[name]
        yield "x", self.rows, self.dx
        parts = zip(self.model.states(self.state), self.model.states(self.dstate), strict=True)
        for layer, (states, gradients) in enumerate(parts):
            for name, state, gradient in zip(self.model.cell.states, states, gradients, strict=True):
                yield name_in_layer(f"{name}0", layer), state, gradient

    def equation(self, name: str) -> str:
        """The equation that gives a gradient."""
        base = name.split("[", maxsplit=1)[0]
        return self.still.cell.given_by.get(base, GIVEN_BY.get(base, "B7"))

    def derivatives(self, *, quick: bool, per_step: bool) -> int:
        """How many derivatives that takes, for a progress bar."""
        sizes = [PROJECTIONS if quick else tensor.size for _, tensor, _ in self.tensors()]
        return int(sum(sizes) + per_step * self.T * self.model.parameters.flat.size)

    def every_entry(self) -> Iterator[Check]:
        """Each entry of each gradient by itself."""
        for name, tensor, gradient in self.tensors():
            loss = self._loss_of(name)
            slopes = np.empty(tensor.shape)
            for place in np.ndindex(tensor.shape):
                slopes[place] = self._slope(loss, tensor, place)
            yield self._compare(name, self.equation(name), gradient, slopes)

    def quick(self) -> Iterator[Check]:
        """Each gradient along random directions: a few evaluations, whatever the size.

        The directions are normal, so that errors of several entries, whatever their signs, cancel with
        probability zero. The difference is measured against the gradient's norm, which is what the
        projection of it has as its standard deviation.
        """
        for name, tensor, gradient in self.tensors():
            norm, error = _finite(float(np.linalg.norm(gradient))), 0.0
            for _ in range(PROJECTIONS):
                direction = self.rng.standard_normal(tensor.shape)
                slope = self._slope(self._loss_of(name), tensor, ..., direction)
                difference = abs(float(np.sum(gradient * direction)) - slope)
                error = max(error, _finite(difference / max(norm, abs(slope), 1e-300)))
            passed = error <= self.tolerance
            yield Check(name, self.equation(name), gradient.shape, norm, error, None, passed)

    def per_step(self) -> Iterator[Check]:
        """Each step's own summand against that step's own copy of the shared parameter.

        A window's gradient is a sum over its steps; two errors that cancel in the sum show here.
        """
        summands = self._summands()
        for name, view in self._copy.parameters.items():
            slopes = np.empty((self.T, *view.shape))
            for t in range(self.T):
                for place in np.ndindex(view.shape):
                    slopes[t][place] = self._slope(partial(self._unrolled, t), view, place)
            yield self._compare(f"{name}⟨t⟩", self.equation(name), summands[name], slopes)

    def properties(self, *, quick: bool = False) -> Iterator[Check]:
        """What a window's loss must be: a mean over T·B, of losses that depend on no later input and on
        no other row of the batch, neither its inputs nor its state. ``quick`` tries a few cuts through
        time in place of all, and halves of the batch in which any two rows are once apart.
        """
        whole = self.model.forward(self.inputs, self.y, self.state, masks=self.masks)[0].real
        mean = float(self._unmoved.mean())
        yield self._property("mean", "F4", (self.T, self.B), abs(float(whole) - mean) / abs(mean))
        step, row = np.indices((self.T, self.B))
        cuts = np.arange(1, self.T)
        if quick and len(cuts) > QUICK_CUTS:
            cuts = self.rng.choice(cuts, QUICK_CUTS, replace=False)
        leaks = [self._leak(step >= t, step < t) for t in cuts]
        yield self._property(
            "causality", self.equation("z"), (self.T, self.T), max(leaks, default=0.0), exactly=True
        )
        some: list[Array] = [np.arange(self.B) == b for b in range(self.B)]
        if quick:  # any two rows differ in some binary digit of their numbers
            digits = [np.arange(self.B) >> k & 1 == 1 for k in range((self.B - 1).bit_length())]
            some = [rows for digit in digits for rows in (digit, ~digit)]
        leaks = [self._leak(rows[row], ~rows[row], rows) for rows in some]
        yield self._property(
            "rows apart", self.equation("z"), (self.B, self.B), max(leaks, default=0.0), exactly=True
        )

    # -- evaluations of the loss --------------------------------------------------------------------

    def _slope(self, loss: Callable[[], Any], tensor: Array, place: Any, direction: Any = 1.0) -> float:
        """The derivative of loss() as ``tensor[place]`` moves along ``direction``."""
        kept = np.copy(tensor[place])
        self.tick()
        if self.method == "complex":
            tensor[place] = kept + 1j * COMPLEX_STEP * direction
            slope = loss().imag / COMPLEX_STEP
        else:
            h = CENTRAL_STEP / np.size(direction) ** 0.5
            at = {}
            for k in (-2, -1, 1, 2):
                tensor[place] = kept + k * h * direction
                at[k] = loss()
            slope = (8 * (at[1] - at[-1]) - (at[2] - at[-2])) / (12 * h)
        tensor[place] = kept
        return float(slope)

    def _loss_of(self, name: str) -> Callable[[], Any]:
        """The window's loss, with the inputs as one-hot rows if it is they that move."""
        x = self.rows if name == "x" else self.inputs
        return lambda: self.model.forward(x, self.y, self.state, masks=self.masks)[0]

    def _nats(self, rows: Array, state: Array) -> Array:
        """The loss of each character by itself, (T, B), in float64."""
        logits, _ = self.still.logits(rows, state, masks=self.masks)
        chosen = np.take_along_axis(logits, self.y[..., np.newaxis], axis=-1)
        _, shift, log_total = layers.softmax_forward(logits)
        nats: Array = (log_total - (chosen - shift))[..., 0]
        return nats

    @cached_property
    def _unmoved(self) -> Array:
        """The losses of the characters (T, B) where nothing is moved."""
        return self._nats(self.rows.real, self.state.real)

    def _leak(self, moved: Array, watched: Array, states: Array | None = None) -> float:
        """How much the losses ``watched`` (T, B) change as the inputs ``moved`` (T, B) and the incoming
        ``states`` (B,) do: not by one bit, if they may not.
        """
        x, state = self.rows.real.copy(), self.state.real.copy()
        x[moved] += self.rng.standard_normal(x[moved].shape)
        if states is not None:
            state[states] += self.rng.standard_normal(state[states].shape)
        changes = np.abs(self._nats(x, state) - self._unmoved)[watched]
        return _finite(float(changes.max(initial=0.0)))

    def _unrolled(self, own: int) -> Any:
        """The window's loss, computed step by step, where step ``own`` has the copy of the parameters."""
        state, logits = self.state, []
        for t in range(self.T):
            model, now = self._copy if t == own else self.model, slice(t, t + 1)
            masks = None if self.masks is None else self.masks[:, now]
            read, state = model.logits(self.inputs[now], state, masks=masks)
            logits.append(read)
        return layers.cross_entropy_forward(np.concatenate(logits), self.y)[0]

    def _summands(self) -> dict[str, Array]:
        """Each step's part of each parameter's gradient, (T, …), by the backward functions of the layers."""
        model, parts = copy.copy(self.still), [self.gradients.like() for _ in range(self.T)]
        cell: Any = _Recording(model.cell)
        model.cell = cell
        _, window = model.forward(self.inputs, self.y, self.state.real, masks=self.masks)
        inputs = [x.copy() for x in window.inputs]
        model.backward(window, self.gradients.like())
        dlogits, space = window.y_hat, window.space  # what the way back has left in that memory
        for t, g in enumerate(parts):
            now = slice(t, t + 1)
            layers.dense_backward(
                dlogits[now], window.top[now], model.parameters["W_ya"], g["W_ya"], g["b_y"]
            )
            for layer, (dz, memory) in enumerate(reversed(cell.written)):
                self.still.cell.backward_weights(dz[now], memory.part(now), g.layer(layer))
                layers.inputs_backward(dz[now], inputs[layer][now], g.layer(layer)["W_ax"])
            if space.e is not None:
                layers.inputs_backward(space.e[now], window.x[now], g["W_ex"])
        return {name: np.array([g[name] for g in parts]) for name in self.gradients}

    # -- verdicts -----------------------------------------------------------------------------------

    def _compare(self, name: str, equation: str, gradient: Array, slopes: Array) -> Check:
        scale = max(float(np.abs(gradient).max()), float(np.abs(slopes).max()), 1e-300)
        errors = np.nan_to_num(np.abs(gradient - slopes) / scale, nan=math.inf)
        worst = np.unravel_index(int(np.argmax(errors)), errors.shape)
        error, norm = _finite(float(errors[worst])), _finite(float(np.linalg.norm(gradient)))
        where = tuple(map(int, worst))
        return Check(name, equation, gradient.shape, norm, error, where, error <= self.tolerance)

    def _property(
        self, name: str, equation: str, shape: tuple[int, ...], error: float, *, exactly: bool = False
    ) -> Check:
        passed = error == 0 if exactly else error <= self.tolerance
        return Check(name, equation, shape, None, error, None, passed)


class _Recording:
    """A cell that keeps what its weights' gradients are computed from."""

    def __init__(self, cell: Any):
        self._cell, self.written = cell, list[tuple[Array, Any]]()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._cell, name)

    def backward_weights(self, dz: Array, memory: Any, dw: Any) -> None:
        self.written.append((dz.copy(), type(memory)(*(array.copy() for array in memory))))
        self._cell.backward_weights(dz, memory, dw)


def _finite(error: float) -> float:
    """An error that is not a number is as large as can be."""
    return min(error, sys.float_info.max) if not math.isnan(error) else sys.float_info.max
