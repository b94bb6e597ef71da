"""What the network asks of a cell: the recurrent layer that reads a window step by step.

A cell is one file beside this one, with its equations, its functions, its ``Memory`` and its ``Cell``, and
one line in the table ``CELLS`` of this package. The functions are the mathematics; a ``Cell`` only hands
them the arrays that they name. G is its number of gates, X the width of its input:

    W_ax (X, G·H), W_aa (H, G·H)       weights
    b_a (G·H,), …                      biases
    a (T+1, B, H), …                   the memory of a window
    a⟨t⟩ (B, H), …                     the states that are carried from step to step, a first
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from types import ModuleType
from typing import ClassVar, Generic, Protocol, Self, TypeVar

from numpy.typing import DTypeLike

from charrnn.layers import elementwise
from charrnn.layers.array import Array

States = tuple[Array, ...]  # (…, H) each
Weights = Mapping[str, Array]  # of one layer: W_ax, W_aa, b_a, …; or their gradients


class Memory(Protocol):
    """What a forward pass keeps of a window: a named tuple of arrays that have time first."""

    @property
    def a(self) -> Array:
        """The activations (T+1, B, H)."""

    @property
    def xW(self) -> Array:
        """Where x⟨t⟩ W_ax (T, B, G·H) lies when the forward pass begins."""

    @property
    def state(self) -> States:
        """The states after the window."""

    def part(self, steps: slice) -> Self:
        """The part that belongs to some of the steps, counted from 0."""


M = TypeVar("M", bound=Memory)


class Cell(ABC, Generic[M]):
    """A recurrent layer."""

    gates: ClassVar[int]
    states: ClassVar[tuple[str, ...]]
    biases: ClassVar[Mapping[str, tuple[float, ...]]]  # the value that each gate's part starts from
    given_by: ClassVar[Mapping[str, str]] = {}  # the equation of a gradient, where it is not the tanh cell's

    def shapes(self, X: int, H: int) -> dict[str, tuple[int, ...]]:
        """Parameter shapes for an input of width X."""
        biases = {name: (len(starts) * H,) for name, starts in self.biases.items()}
        return {"W_ax": (X, self.gates * H), "W_aa": (H, self.gates * H), **biases}

    @abstractmethod
    def memory(self, T: int, B: int, H: int, dtype: DTypeLike) -> M:
        """Uninitialised memory for a window."""

    @abstractmethod
    def forward(
        self,
        before: States,
        w: Weights,
        memory: M,
        rho: Array | None = None,
        kernels: ModuleType = elementwise,
    ) -> None:
        """Fill the memory of a window, given its ``xW`` and the states before it.

        Arguments:
            rho: (T, B) booleans, False where a row begins a document: it forgets its state before that step.
            kernels: the module of the element-wise functions, one of ``layers.kernels``.
        """

    @abstractmethod
    def backward(
        self,
        da: Array,  # (T, B, H), overwritten
        memory: M,
        w: Weights,
        future: States | None = None,
        rho: Array | None = None,
        kernels: ModuleType = elementwise,
    ) -> States:
        """Backpropagate through every step of the window.

        Arguments:
            da: what the loss at each step sends to that step's activation alone.
            memory: of that forward pass; it is overwritten. ``memory.dz`` (T, B, G·H) becomes the gradient
                of what the product with W_aa goes into; states become zero where a row was reset.
            future: the gradients of the states after the window; None where nothing follows it.
            kernels: as in ``forward``.
            rho: what the forward pass was given.

        Returns: the gradients of the states before the window.
        """

    @abstractmethod
    def backward_weights(self, dz: Array, memory: M, dw: Weights, kernels: ModuleType = elementwise) -> None:
        """Write the gradients of W_aa and the biases. After it, dz is the gradient of x⟨t⟩ W_ax + b_a."""

    @abstractmethod
    def step(self, xW: Array, before: States, w: Weights) -> States:
        """The states after one step; ``xW`` (…, G·H) is x⟨t⟩ W_ax + b_a."""
