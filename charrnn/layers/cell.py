"""What the network asks of a cell: the recurrent layer that reads a window step by step.

A cell is one file beside this one, with its equations, its functions and one ``Cell``, and one line in the
table ``CELLS`` of this package. All its arrays are known by name; G is its number of gates.

    W_ax (X, G·H), W_aa (H, G·H)       weights, of an input of X numbers
    b_a (G·H,), …                      biases, ``biases``
    a (T+1, B, H), …                   what a window is remembered by, ``memory``
    a⟨t⟩, …                            what is carried from step to step, ``states``
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np

from charrnn.layers.array import Array


class Cell(NamedTuple):
    """A recurrent layer's functions, and the shapes that they need.

    ``forward(xW, *states, W_aa, *biases, **memory)`` fills the memory from x⟨t⟩ W_ax (T, B, G·H) and the
    states (B, H) before the window. ``xW`` may be ``room(memory)``.

    ``backward(da, *memory, W_aa, dz=dz)``, of the memory what ``backward_reads`` names, takes what the loss
    at each step sends to its activation alone; and, as a keyword such as ``dc``, what comes back from after
    the window to each state but a. It returns dz (T, B, G·H) and the gradients of the states before the
    window.

    ``backward_weights(dz, *memory, dW_aa, *dbiases)``, of the memory what ``weights_read`` names, writes
    those gradients. After it, dz is the gradient of x⟨t⟩ W_ax + b_a.

    ``step(xW, *states, W_aa, *biases)`` reads one character and returns the states after it; ``xW`` has b_a
    in it already, so of the biases it gets the others.
    """

    gates: int
    states: tuple[str, ...]
    biases: Mapping[str, tuple[float, ...]]  # of each gate's part, the value to start from
    memory: Mapping[str, tuple[int, int]]  # steps beside T, and width in units of H
    forward: Callable[..., Any]
    backward: Callable[..., tuple[Array, ...]]
    backward_weights: Callable[..., None]
    step: Callable[..., tuple[Array, ...]]
    backward_reads: tuple[str, ...] = ("a",)
    weights_read: tuple[str, ...] = ("a",)
    given_by: Mapping[str, str] = {}  # the equation of a gradient, where it is not the tanh cell's

    def shapes(self, X: int, H: int) -> dict[str, tuple[int, ...]]:
        """Of its parameters, for an input of X numbers."""
        biases = {name: (len(starts) * H,) for name, starts in self.biases.items()}
        return {"W_ax": (X, self.gates * H), "W_aa": (H, self.gates * H), **biases}

    def allocate(self, T: int, B: int, H: int, dtype: Any) -> dict[str, Array]:
        """Memory for a window, by name."""
        return {
            name: np.empty((T + steps, B, width * H), dtype) for name, (steps, width) in self.memory.items()
        }

    def part(self, memory: Mapping[str, Array], now: slice) -> dict[str, Array]:
        """The part of the memory that belongs to some of the steps, counted from 0."""
        return {name: array[now.start : now.stop + self.memory[name][0]] for name, array in memory.items()}


def room(memory: Mapping[str, Array]) -> Array:
    """Where x⟨t⟩ W_ax (T, B, G·H) can be laid: the gates, or of a cell without any, the activations."""
    return memory["gates"] if "gates" in memory else memory["a"][1:]
