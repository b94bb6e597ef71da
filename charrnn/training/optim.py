"""Optimisers, clipping and learning-rate schedules, all on flat vectors of P numbers.

A new optimiser is one class here and one line in ``OPTIMIZERS``.
"""

import math
from typing import Protocol

import numpy as np

from charrnn.config import OptimizerConfig
from charrnn.layers import Array


class Optimizer(Protocol):
    """What the trainer asks of an optimiser."""

    state: dict[str, Array]  # (P,) vectors that the next step depends on, to be saved and restored
    steps: int  # taken so far

    def __init__(self, parameters: Array, config: OptimizerConfig) -> None: ...

    def step(self, gradients: Array, learning_rate: float) -> None:
        """Move the parameters, in place. ``gradients`` may be overwritten."""


class SGD:
    """Gradient descent with momentum, as torch.optim.SGD computes it.

        g ← g + weight_decay p,  v ← momentum v + g,  p ← p − learning_rate v

    With Nesterov's momentum p moves by g + momentum v in place of v. v is zero at the start.
    """

    def __init__(self, parameters: Array, config: OptimizerConfig):
        self.parameters, self.config, self.steps = parameters, config, 0
        self.state = {"velocity": np.zeros_like(parameters)} if config.momentum else {}

    def step(self, gradients: Array, learning_rate: float) -> None:
        self.steps += 1
        g, momentum = gradients, self.config.momentum
        if self.config.weight_decay:
            g += self.config.weight_decay * self.parameters
        if momentum:
            v = self.state["velocity"]
            v *= momentum
            v += g
            g = g + momentum * v if self.config.nesterov else v
        self.parameters -= learning_rate * g


class Adam:
    """Adam (Kingma & Ba 2015) with decoupled weight decay (Loshchilov & Hutter 2019).

        m ← β₁ m + (1 − β₁) g,  v ← β₂ v + (1 − β₂) g²
        p ← p − learning_rate (weight_decay p + m̂ / (√v̂ + ε)),  m̂ = m/(1 − β₁ᵗ),  v̂ = v/(1 − β₂ᵗ)

    as torch.optim.AdamW computes it. m and v are zero at the start; ε = 1e-8.
    """

    epsilon = 1e-8

    def __init__(self, parameters: Array, config: OptimizerConfig):
        self.parameters, self.config, self.steps = parameters, config, 0
        self.state = {"m": np.zeros_like(parameters), "v": np.zeros_like(parameters)}
        self._scratch = np.empty_like(parameters)

    def step(self, gradients: Array, learning_rate: float) -> None:
        self.steps += 1
        g, m, v, scratch = gradients, self.state["m"], self.state["v"], self._scratch
        beta1, beta2 = self.config.beta1, self.config.beta2
        if self.config.weight_decay:
            self.parameters *= 1 - learning_rate * self.config.weight_decay
        m *= beta1
        m += np.multiply(g, 1 - beta1, out=scratch)
        v *= beta2
        g *= g
        g *= 1 - beta2
        v += g
        # m̂ / (√v̂ + ε), with the two corrections taken out of the vectors
        np.sqrt(v, out=scratch)
        scratch *= 1 / math.sqrt(1 - beta2**self.steps)
        scratch += self.epsilon
        np.divide(m, scratch, out=scratch)
        scratch *= learning_rate / (1 - beta1**self.steps)
        self.parameters -= scratch


class Averaging:
    """An optimiser, and an average of the parameters that it moves (Polyak & Juditsky 1992).

        p̄ ← p̄ + 9/(t + 9) (p − p̄)  after step t = 1, 2, …

    That is an exponential moving average whose decay, t/(t + 9), rises with the steps, so that it looks back
    over the last ninth of them. p̄ begins as the first parameters.
    """

    def __init__(self, parameters: Array, config: OptimizerConfig):
        self.parameters = parameters
        self.optimizer = optimizer = OPTIMIZERS[config.optimizer](parameters, config)
        self.state = optimizer.state | {"average": parameters.copy()}
        self._scratch = np.empty_like(parameters)

    @property
    def steps(self) -> int:
        return self.optimizer.steps

    @steps.setter
    def steps(self, steps: int) -> None:
        self.optimizer.steps = steps

    def step(self, gradients: Array, learning_rate: float) -> None:
        self.optimizer.step(gradients, learning_rate)
        average, scratch = self.state["average"], self._scratch
        np.subtract(self.parameters, average, out=scratch)
        scratch *= 9 / (self.steps + 9)
        average += scratch


OPTIMIZERS: dict[str, type[Optimizer]] = {"adam": Adam, "sgd": SGD}


def make_optimizer(parameters: Array, config: OptimizerConfig) -> Optimizer:
    """The optimiser that the settings describe, for parameters (P,), which it moves in place."""
    kind = Averaging if config.average == "ema" else OPTIMIZERS[config.optimizer]
    return kind(parameters, config)


def clip_by_value(gradients: Array, limit: float) -> None:
    """Limit every entry to [−limit, limit], in place."""
    np.clip(gradients, -limit, limit, out=gradients)


def global_norm(gradients: Array) -> float:
    """The Euclidean length of the whole gradient vector."""
    return math.sqrt(float(np.dot(gradients, gradients)))


def clip_by_norm(gradients: Array, limit: float, norm: float | None = None) -> None:
    """Shorten the whole vector to the length ``limit`` if it is longer, in place (Pascanu et al. 2013).

    Arguments:
        norm: its length, where that is known already.
    """
    norm = global_norm(gradients) if norm is None else norm
    if norm > limit:
        gradients *= limit / norm


def clip(gradients: Array, norm: float, config: OptimizerConfig) -> None:
    """Clip a gradient of length ``norm`` as the settings say, in place: each entry, then the whole."""
    if config.clip_value:
        clip_by_value(gradients, config.clip_value)
    if config.clip_norm:
        clip_by_norm(gradients, config.clip_norm, None if config.clip_value else norm)


def learning_rate(
    config: OptimizerConfig, step: int, total_steps: int, steps_per_epoch: int, plateaus: int = 0
) -> float:
    """The learning rate of step 0, 1, … of a run.

    It rises linearly over ``warmup_steps``, then follows the schedule: ``constant``; ``cosine``, half a
    cosine down to ``min_learning_rate_ratio`` of the peak at the last step; ``step``, char-rnn's
    decay: times ``learning_rate_decay`` after each epoch from number ``learning_rate_decay_after`` on; or
    ``plateau``: times ``plateau_factor`` for each of the ``plateaus`` so far, which are
    ``plateau_patience`` validations without improvement each.
    """
    rate = config.learning_rate
    if step < config.warmup_steps:
        return rate * (step + 1) / config.warmup_steps
    match config.schedule:
        case "cosine":
            done = (step - config.warmup_steps) / max(1, total_steps - 1 - config.warmup_steps)
            low = config.min_learning_rate_ratio
            return rate * (low + (1 - low) * (1 + math.cos(math.pi * min(1.0, done))) / 2)
        case "step":
            epochs = step // steps_per_epoch + 1 - config.learning_rate_decay_after
            return rate * config.learning_rate_decay ** max(0, epochs)
        case "plateau":
            return rate * config.plateau_factor**plateaus
        case _:
            return rate
