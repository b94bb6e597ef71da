"""Has a run diverged? Its numbers are no longer finite, or its loss is far above that of guessing."""

import math

from charrnn.errors import DivergedError
from charrnn.model.charrnn import LARGEST_WEIGHT
from charrnn.runs import RunState

EXPLODED = 4.0  # times the loss of guessing evenly, ln V, or of the first step if that is larger
LEAST_EXPLODED = (
    10.0  # nats: with two or three characters a sure guess can be wrong for a while at that price
)
SMOOTHING = 0.9  # of the loss that is held against it: one hard window is no explosion


class Guard:
    """Raises a DivergedError where a run has diverged. What it remembers is in the run's state."""

    def __init__(self, vocabulary_size: int):
        self.guessing = math.log(vocabulary_size)  # the loss of guessing evenly, in nats

    def check_step(self, state: RunState, loss: float, norm: float) -> None:
        """Check the loss and the gradient's norm of the step after ``state``, before it is taken."""
        step = state.step + 1
        _check_finite(loss, "loss", step)
        _check_finite(norm, "gradient", step)
        state.first_loss = loss if state.first_loss is None else state.first_loss
        before = loss if state.smoothed_loss is None else state.smoothed_loss
        state.smoothed_loss = SMOOTHING * before + (1 - SMOOTHING) * loss
        self._check_size(state, state.smoothed_loss, "loss", step)

    def check_weights(self, state: RunState, norm: float) -> None:
        """Check the norm of all weights, after a step."""
        _check_finite(norm, "weight vector", state.step)
        if norm > LARGEST_WEIGHT:  # no save with larger ones is read
            raise DivergedError(f"the weight vector has exploded to {norm:.4g} at step {state.step:,}")

    def check_validation(self, state: RunState, loss: float) -> None:
        """Check the loss of a validation."""
        _check_finite(loss, "validation loss", state.step)
        self._check_size(state, loss, "validation loss", state.step)

    def is_good(self, state: RunState, loss: float) -> bool:
        """Whether a run with this loss is worth going back to: it is no worse than guessing."""
        return loss <= self._level(state)

    def _check_size(self, state: RunState, loss: float, name: str, step: int) -> None:
        if loss > max(LEAST_EXPLODED, EXPLODED * self._level(state)):
            raise DivergedError(
                f"the {name} has exploded to {loss:.4g} at step {step:,} (guessing costs {self.guessing:.2f})"
            )

    def _level(self, state: RunState) -> float:
        """The loss of guessing evenly; or of the first step, where weights taken over began above that."""
        return max(self.guessing, state.first_loss or 0)


def _check_finite(value: float, name: str, step: int) -> None:
    if not math.isfinite(value):
        raise DivergedError(f"the {name} is not finite at step {step:,}")
