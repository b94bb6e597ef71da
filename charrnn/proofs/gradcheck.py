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
from charrnn.model import CharRNN, sampling
from charrnn.model.parameters import Parameters, name_in_layer
from charrnn.proofs.calculus import STEP as COMPLEX_STEP
from charrnn.proofs.calculus import relative_errors
from charrnn.proofs.equations import given_by
from charrnn.text.vocabulary import Vocabulary

Method = Literal["complex", "central"]

TOLERANCE = {"complex": 1e-13, "central": 1e-6}
PROJECTIONS = 2
QUICK_CUTS = 5
ROUNDINGS = 4  # chance can make one of them too small
CENTRAL_STEP = 1e-3  # an error of h⁴ against one of rounding, 1e-16/h, for losses of a few nats


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
        recompute_every: int = 0,
    ):
        """Compute the gradients to check; the incoming state is random.

        Arguments:
            model: in float64.
            inputs, targets: (T, B) integers in 0…V−1.
            rng: for the incoming state, dropout masks, and the directions of ``quick``.
            method: ``complex`` step or ``central`` differences.
            tick: called for each derivative.
            dropout: its rate. The masks are drawn once and held fixed.
            recompute_every: K, to check the gradients that are computed in segments of K steps; 0, or T and
                more, checks those of the window as a whole.

        Raises:
            CharRNNError: no equation is known to give the gradient of some parameter.
        """
        self.T, self.B = inputs.shape
        self.model, self.inputs, self.targets = model, inputs, targets
        self.rng, self.method, self.tick = rng, method, tick
        self.recompute_every = recompute_every if recompute_every < self.T else 0
        state = np.tanh(rng.standard_normal((self.B, model.state_size)))
        self.masks = self._draw_masks(dropout) if dropout else None
        dtype = np.complex128 if method == "complex" else np.float64
        self.moved, self.moved_copy = model.like(dtype), model.like(dtype)
        self.moved.kernels = self.moved_copy.kernels = "numpy"  # what is moved goes through the definitions
        self.moved.parameters.flat[...] = self.moved_copy.parameters.flat[...] = model.parameters.flat
        self.state = state.astype(dtype)
        self.rows = np.zeros((self.T, self.B, model.V), dtype)  # x⟨t⟩, one-hot
        np.put_along_axis(self.rows, inputs[..., np.newaxis], 1.0, axis=-1)

        self.loss, window = model.forward(inputs, targets, state, masks=self.masks)
        self.gradients = model.parameters.like()
        self.dstate = model.backward(window, self.gradients)
        self.dx = model.input_gradient(window)
        rounding = max(self._rounding() for _ in range(ROUNDINGS))
        self.tolerance = max(TOLERANCE[method], min(1e-6, 20 * rounding))
        if self.recompute_every:
            _, self.gradients, _ = self._in_segments(self.recompute_every, self.masks)
        self.tags = {name: given_by(name, model.cell) for name, _, _ in self.tensors()}

    def _draw_masks(self, dropout: float) -> Array:
        return self.model.dropout_masks(self.rng.spawn(self.B), dropout, self.T)

    def _rounding(self) -> float:
        """How far the gradients move as every number they are made of moves by one rounding, over the largest
        entry: first every weight, then all that the forward pass has left for the backward pass.

        In an ordinary network, a few roundings. Where it magnifies small changes over the steps, or where a
        gate is so near to its end that its derivative has lost its digits, no derivative is known to better
        than this.
        """
        eps = np.finfo(np.float64).eps

        def move(array: Array) -> None:
            array *= 1 + eps * self.rng.choice([-1.0, 1.0], array.shape)

        neighbour, gradients = self.model.like(), self.gradients.like()
        neighbour.parameters.flat[...] = self.model.parameters.flat
        move(neighbour.parameters.flat)
        _, window = neighbour.forward(self.inputs, self.targets, self.state.real, masks=self.masks)
        for memory in window.space.cells:
            for name, array in memory._asdict().items():
                if name != "dz":  # which the backward pass is yet to write
                    move(array)
        pairs = [(neighbour.backward(window, gradients), self.dstate)]
        pairs += [(gradients[name], self.gradients[name]) for name in gradients]
        worst = max(float(np.abs(a - b).max() / max(np.abs(b).max(), 1e-300)) for a, b in pairs)
        return worst if math.isfinite(worst) else 0.0

    def tensors(self) -> Iterator[tuple[str, Array, Array]]:
        """Everything a window has a gradient for: name, what is moved, its gradient."""
        for name, view in self.moved.parameters.items():
            yield name, view, self.gradients[name]
        yield "x", self.rows, self.dx
        parts = zip(self.model.states(self.state), self.model.states(self.dstate), strict=True)
        for layer, (states, gradients) in enumerate(parts):
            for name, state, gradient in zip(self.model.cell.states, states, gradients, strict=True):
                yield name_in_layer(f"{name}0", layer), state, gradient

    def derivatives(self, *, quick: bool, per_step: bool) -> int:
        """How many derivatives that takes, for a progress bar."""
        sizes = [PROJECTIONS if quick else tensor.size for _, tensor, _ in self.tensors()]
        sizes += [PROJECTIONS * (len(self.gradients) + 1)]  # of the window with resets
        return int(sum(sizes) + per_step * self.T * self.model.parameters.flat.size)

    def every_entry(self) -> Iterator[Check]:
        """Each entry of each gradient by itself."""
        for name, tensor, gradient in self.tensors():
            slopes = np.empty(tensor.shape)
            for place in np.ndindex(tensor.shape):
                slopes[place] = self._slope(self._loss_of(name), tensor, place)
            yield self._compare(name, self.tags[name], gradient, slopes)

    def quick(self) -> Iterator[Check]:
        """Each gradient along random directions: a few evaluations, whatever the size.

        The directions are normal, so that errors of several entries, whatever their signs, cancel with
        probability zero. The difference is measured against the gradient's norm, which is what the
        projection of it has as its standard deviation.
        """
        for name, tensor, gradient in self.tensors():
            norm = _finite(float(np.linalg.norm(gradient)))
            error = self._error_along(tensor, gradient, self._loss_of(name))
            passed = error <= self.tolerance
            yield Check(name, self.tags[name], gradient.shape, norm, error, None, passed)

    def per_step(self) -> Iterator[Check]:
        """Each step's own summand against that step's own copy of the shared parameter.

        A window's gradient is a sum over its steps; two errors that cancel in the sum show here.
        """
        summands = self._summands()
        for name, view in self.moved_copy.parameters.items():
            slopes = np.empty((self.T, *view.shape))
            for t in range(self.T):
                for place in np.ndindex(view.shape):
                    slopes[t][place] = self._slope(partial(self._loss_of_copy, t), view, place)
            yield self._compare(f"{name}⟨t⟩", self.tags[name], summands[name], slopes)

    def properties(self, *, quick: bool = False) -> Iterator[Check]:
        """What must hold of a window as a whole.

        Its loss is a mean over T·B, of losses that depend on no later input and on no other row of the batch,
        neither its inputs nor its state. Its gradients are the same in segments, and right where rows
        are reset. Its logits are the same by the steps of sampling. ``quick`` tries a few cuts through time
        in place of all, and halves of the batch in which any two rows are once apart.
        """
        forward = given_by("z", self.model.cell)
        whole = self.moved.forward(self.inputs, self.targets, self.state, masks=self.masks)[0].real
        mean = float(self._losses.mean())
        yield self._property("mean", "F4", (self.T, self.B), abs(float(whole) - mean) / abs(mean))

        step, row = np.indices((self.T, self.B))
        cuts = np.arange(1, self.T)
        if quick and len(cuts) > QUICK_CUTS:
            cuts = self.rng.choice(cuts, QUICK_CUTS, replace=False)
        leak = max((self._leak(step >= t, step < t) for t in cuts), default=0.0)
        yield self._property("causality", forward, (self.T, self.T), leak, exactly=True)

        groups: list[Array] = [np.arange(self.B) == b for b in range(self.B)]
        if quick:  # any two rows differ in some binary digit of their numbers
            digits = [np.arange(self.B) >> k & 1 == 1 for k in range((self.B - 1).bit_length())]
            groups = [rows for digit in digits for rows in (digit, ~digit)]
        leak = max((self._leak(rows[row], ~rows[row], rows) for rows in groups), default=0.0)
        yield self._property("rows apart", forward, (self.B, self.B), leak, exactly=True)

        through_state, size = given_by("a0", self.model.cell), self.gradients.flat.size
        yield self._property("segments", through_state, (size,), self._error_of_segments())
        yield self._property("resets", "RB1", (self.T, self.B), self._error_of_resets())
        yield self._property("step", "F3", (self.T, self.B, self.model.V), self._error_of_steps())

    # -- evaluations of the loss --------------------------------------------------------------------

    def _error_along(self, tensor: Array, gradient: Array, loss: Callable[[], Any]) -> float:
        """The largest error of a gradient along random directions, over its norm."""
        norm, error = _finite(float(np.linalg.norm(gradient))), 0.0
        for _ in range(PROJECTIONS):
            direction = self.rng.standard_normal(tensor.shape)
            slope = self._slope(loss, tensor, ..., direction)
            difference = abs(float(np.sum(gradient * direction)) - slope)
            error = max(error, _finite(difference / max(norm, abs(slope), 1e-300)))
        return error

    def _slope(self, loss: Callable[[], Any], tensor: Array, place: Any, direction: Any = 1.0) -> float:
        """The derivative of loss() as ``tensor[place]`` moves along ``direction``."""
        value = np.copy(tensor[place])
        self.tick()
        if self.method == "complex":
            tensor[place] = value + 1j * COMPLEX_STEP * direction
            slope = loss().imag / COMPLEX_STEP
        else:
            h = CENTRAL_STEP / np.size(direction) ** 0.5
            at = {}
            for k in (-2, -1, 1, 2):
                tensor[place] = value + k * h * direction
                at[k] = loss()
            slope = (8 * (at[1] - at[-1]) - (at[2] - at[-2])) / (12 * h)
        tensor[place] = value
        return float(slope)

    def _loss_of(self, name: str) -> Callable[[], Any]:
        """The window's loss, with the inputs as one-hot rows if it is they that move."""
        x = self.rows if name == "x" else self.inputs
        return lambda: self.moved.forward(x, self.targets, self.state, masks=self.masks)[0]

    def _loss_of_copy(self, step: int) -> Any:
        """The window's loss, computed step by step, where one of them has the copy of the parameters."""
        state, logits = self.state, []
        for t in range(self.T):
            model, steps = self.moved_copy if t == step else self.moved, slice(t, t + 1)
            masks = None if self.masks is None else self.masks[:, steps]
            read, state = model.logits(self.inputs[steps], state, masks=masks)
            logits.append(read)
        return layers.cross_entropy_forward(np.concatenate(logits), self.targets)[0]

    def _losses_of(self, rows: Array, state: Array) -> Array:
        """The loss of each character by itself, (T, B), in float64."""
        logits, _ = self.model.logits(rows, state, masks=self.masks)
        chosen = np.take_along_axis(logits, self.targets[..., np.newaxis], axis=-1)
        _, shift, log_total = layers.softmax_forward(logits)
        return np.asarray((log_total - (chosen - shift))[..., 0])

    @cached_property
    def _losses(self) -> Array:
        """The losses of the characters (T, B) where nothing is moved."""
        return self._losses_of(self.rows.real, self.state.real)

    def _leak(self, moved: Array, watched: Array, states: Array | None = None) -> float:
        """How much the losses ``watched`` (T, B) change as the inputs ``moved`` (T, B) and the incoming
        ``states`` (B,) do: not by one bit, if they may not.
        """
        x, state = self.rows.real.copy(), self.state.real.copy()
        x[moved] += self.rng.standard_normal(x[moved].shape)
        if states is not None:
            state[states] += self.rng.standard_normal(state[states].shape)
        changes = np.abs(self._losses_of(x, state) - self._losses)[watched]
        return _finite(float(changes.max(initial=0.0)))

    # -- other ways to the same numbers ---------------------------------------------------------------

    def _in_segments(self, K: int, masks: Array | None) -> tuple[float, Parameters, Array]:
        """The loss, the gradients and the state after the window as training computes them, in segments."""
        window = self.inputs, self.targets, self.state.real
        of_steps = None if masks is None else lambda steps: masks[:, steps]
        return self.model.loss_and_gradients(*window, draw_masks=of_steps, recompute_every=K)

    def _error_of_segments(self) -> float:
        """The largest difference of the loss, the gradients and the state from those of the whole window.

        In segments of two steps unless another K is checked; without dropout and with it.
        """
        K = self.recompute_every or min(2, self.T - 1)
        pairs: list[tuple[Any, Any]] = []
        for masks in (None, self._draw_masks(0.5) if self.masks is None else self.masks):
            loss, g, after = self._in_segments(0, masks)
            other_loss, other_g, other_after = self._in_segments(K, masks)
            pairs += [(other_loss, loss), (other_after, after), *((other_g[name], g[name]) for name in g)]
        return _largest_error(pairs)

    def _error_of_resets(self) -> float:
        """The largest error, along random directions, of the gradients of a window with random resets."""
        rho = self.rng.random((self.T, self.B)) < 0.7
        rho[0, 0] = False  # one row at least forgets what came in
        g = self.model.parameters.like()
        _, window = self.model.forward(self.inputs, self.targets, self.state.real, masks=self.masks, rho=rho)
        dstate = self.model.backward(window, g)

        def loss() -> Any:
            return self.moved.forward(self.inputs, self.targets, self.state, masks=self.masks, rho=rho)[0]

        tensors = [(self.moved.parameters[name], g[name]) for name in g] + [(self.state, dstate)]
        return max(self._error_along(*tensor, loss) for tensor in tensors)

    def _error_of_steps(self) -> float:
        """The largest difference of the logits and the states that the stepper of sampling computes.

        Each step starts from the window's own state, so that no rounding adds up. It reads all rows at once,
        and the first by itself, which is another path.
        """
        space, pairs = self.model.space(self.T, self.B), []
        logits, _ = self.model.logits(self.inputs, self.state.real, space)
        states = [self.state.real, *(space.first(t).state for t in range(1, self.T + 1))]
        for num_texts, rows in ((self.B, slice(None)), (1, 0)):
            step = sampling.stepper(self.model, num_texts)
            for t in range(self.T):
                found, after = step(self.inputs[t, rows], states[t][rows])
                pairs += [(found, logits[t, rows]), (after, states[t + 1][rows])]
        return _largest_error(pairs)

    def _summands(self) -> dict[str, Array]:
        """Each step's part of each parameter's gradient, (T, …), by the backward functions of the layers."""
        parts = [self.gradients.like() for _ in range(self.T)]
        model = copy.copy(self.model)
        cell: Any = _PerStep(model.cell, parts, model.config.num_layers)
        model.cell = cell
        _, window = model.forward(self.inputs, self.targets, self.state.real, masks=self.masks)
        inputs = [x.copy() for x in window.inputs]  # an embedding is overwritten on the way back
        model.backward(window, self.gradients.like())
        dlogits, space = window.y_hat, window.space  # what the backward pass has left in that memory
        for t, g in enumerate(parts):
            steps = slice(t, t + 1)
            W_ya = model.parameters["W_ya"]
            layers.dense_backward(dlogits[steps], window.top[steps], W_ya, g["W_ya"], g["b_y"])
            for layer, (x, memory) in enumerate(zip(inputs, space.cells, strict=True)):
                layers.inputs_backward(memory.dz[steps], x[steps], g.layer(layer)["W_ax"])
            if space.e is not None:
                layers.inputs_backward(space.e[steps], window.x[steps], g["W_ex"])
        return {name: np.array([g[name] for g in parts]) for name in self.gradients}

    # -- verdicts -----------------------------------------------------------------------------------

    def _compare(self, name: str, equation: str, gradient: Array, slopes: Array) -> Check:
        errors = relative_errors(slopes, gradient)
        worst = np.unravel_index(int(np.argmax(errors)), errors.shape)
        error, norm = float(errors[worst]), _finite(float(np.linalg.norm(gradient)))
        where = tuple(map(int, worst))
        return Check(name, equation, gradient.shape, norm, error, where, error <= self.tolerance)

    def _property(
        self, name: str, equation: str, shape: tuple[int, ...], error: float, *, exactly: bool = False
    ) -> Check:
        passed = error == 0 if exactly else error <= self.tolerance
        return Check(name, equation, shape, None, error, None, passed)


class _PerStep:
    """A cell that also writes what each step alone adds to the gradients of W_aa and the biases."""

    def __init__(self, cell: layers.Cell[Any], parts: list[Parameters], num_layers: int):
        self.cell, self.parts, self.layer = cell, parts, num_layers

    def __getattr__(self, name: str) -> Any:
        return getattr(self.cell, name)

    def backward_weights(self, dz: Array, memory: Any, dw: Any, **kernels: Any) -> None:
        self.layer -= 1  # the top layer comes first
        for t, g in enumerate(self.parts):
            steps = slice(t, t + 1)
            self.cell.backward_weights(dz[steps].copy(), memory.part(steps), g.layer(self.layer))
        self.cell.backward_weights(dz, memory, dw, **kernels)


def _largest_error(pairs: list[tuple[Any, Any]]) -> float:
    """The largest difference between found and expected, over the largest entry of each pair."""
    return max(float(relative_errors(found, expected).max()) for found, expected in pairs)


def _finite(error: float) -> float:
    """Treat NaN as the largest float."""
    return sys.float_info.max if math.isnan(error) else min(error, sys.float_info.max)
