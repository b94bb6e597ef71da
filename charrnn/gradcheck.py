"""The gradient check: every derivative of the backward pass against central differences.

The derivative of the loss by one number p is (L(p + h) − L(p − h)) / 2h up to an error of order h². It is
computed in double precision through the same layer functions that train.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from charrnn.config import ModelConfig
from charrnn.model import CharRNN
from charrnn.text import Vocabulary

Array = NDArray[Any]

STEP = 1e-4  # h: an error of h² against one of rounding, 1e-16/h, for losses of a few nats
TOLERANCE = 1e-6
EQUATIONS = {
    "W_ax": "B6",
    "W_aa": "B5",
    "b_a": "B7",
    "W_ya": "B2",
    "b_y": "B2",
    "x": "B8",
    "a0": "B9",
}


@dataclass(frozen=True)
class Check:
    """The verdict on the gradient of one tensor."""

    name: str
    equation: str  # the one that gives this gradient; B1, B3 and B4 stand behind all of them
    shape: tuple[int, ...]
    checked: int  # entries compared
    error: float  # the largest difference, over the largest entry of the gradient
    where: tuple[int, ...]  # the index of that difference
    passed: bool


def generic_model(vocabulary: Vocabulary, config: ModelConfig, seed: int) -> CharRNN:
    """A float64 model to check at: the one that training would start from, but for W_ya, b_a and b_y.

    Those start at or near zero, where many a wrong gradient is as small as the right one; here they are
    drawn at random, at the size they have in a trained network.
    """
    rng = np.random.default_rng(seed)
    model = CharRNN(
        vocabulary,
        config.hidden_size,
        seed=rng,
        init=config.init,
        init_scale=config.init_scale,
        dtype=np.float64,
    )
    for name, scale in (("W_ya", config.hidden_size**-0.5), ("b_a", 0.1), ("b_y", 0.1)):
        view = model.parameters[name]
        view[...] = scale * rng.standard_normal(view.shape)
    return model


def gradcheck(
    model: CharRNN,
    inputs: Array,
    targets: Array,
    rng: np.random.Generator,
    entries: int = 0,
    tick: Callable[[int], object] = lambda total: None,
) -> Iterator[Check]:
    """Check the gradient of each parameter, of the inputs and of the incoming state.

    The incoming state is random. The inputs are checked as the one-hot rows they stand for.

    Arguments:
        model: in float64; its parameters are moved and put back.
        inputs, targets: (T, B) integers in 0…V−1.
        rng: for the incoming state, and for the entries drawn.
        entries: how many entries of each tensor to check, drawn at random; 0 checks every one.
        tick: called with the number of entries in all, once for each.

    Yields: a verdict for each tensor.
    """
    state = np.tanh(rng.standard_normal((inputs.shape[1], model.hidden_size)))
    _, window = model.forward(inputs, targets, state)
    gradients, dx, da0 = model.backward(window, input_gradient=True)
    assert dx is not None  # it was asked for
    rows = np.zeros((*inputs.shape, len(model.vocabulary)))  # x⟨t⟩, one-hot
    np.put_along_axis(rows, inputs[..., np.newaxis], 1.0, axis=-1)
    tensors: list[tuple[str, Array, Array]] = [
        *((name, view, gradients[name]) for name, view in model.parameters.items()),
        ("x", rows, dx),
        ("a0", state, da0),
    ]
    total = sum(min(tensor.size, entries or tensor.size) for _, tensor, _ in tensors)
    for name, tensor, gradient in tensors:
        x = rows if name == "x" else inputs
        count = min(tensor.size, entries or tensor.size)
        some = rng.choice(tensor.size, count, replace=False) if count < tensor.size else range(count)
        places = [tuple(map(int, np.unravel_index(i, tensor.shape))) for i in some]
        numeric = np.empty(count)
        for i, place in enumerate(places):
            losses = []
            value = tensor[place]
            for moved in (value + STEP, value - STEP):
                tensor[place] = moved
                losses.append(float(model.forward(x, targets, state)[0]))
            tensor[place] = value
            numeric[i] = (losses[0] - losses[1]) / (2 * STEP)
            tick(total)
        analytic = np.array([gradient[place] for place in places])
        scale = max(float(np.abs(gradient).max()), float(np.abs(numeric).max()), 1e-300)
        errors = np.abs(analytic - numeric) / scale
        worst = int(np.argmax(np.where(np.isnan(errors), math.inf, errors)))
        error = float(errors[worst])
        yield Check(name, EQUATIONS[name], tensor.shape, count, error, places[worst], error <= TOLERANCE)
