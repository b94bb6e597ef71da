"""Memory for a window, and what its forward pass leaves for the backward pass."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np

from charrnn.layers import Array


@dataclass(frozen=True)
class Space:
    """Memory for the passes over one window, used again for the next one."""

    cells: tuple[Any, ...]  # of each layer the memory of its cell
    da: Array  # (T, B, H)
    logits: Array  # (T, B, V), then ŷ, then dlogits
    e: Array | None  # (T, B, E), embedded characters
    dropped: tuple[Array, ...]  # of each layer (T, B, H), what dropout leaves of its activations

    def __iter__(self) -> Iterator[Array]:
        """Every array in it."""
        for memory in self.cells:
            yield from memory
        yield from (self.da, self.logits, *self.dropped)
        if self.e is not None:
            yield self.e

    @property
    def nbytes(self) -> int:
        """Size in bytes, with that of the dropout masks, which are drawn when they are needed."""
        return sum(array.nbytes for array in (*self, *self.dropped))

    @property
    def state(self) -> Array:
        """The state after the window (B, S)."""
        return np.concatenate([part for memory in self.cells for part in memory.state], axis=1)

    def first(self, T: int) -> Self:
        """The part that belongs to the first T steps."""
        if len(self.da) == T:
            return self
        steps = slice(0, T)
        return replace(
            self,
            cells=tuple(memory.part(steps) for memory in self.cells),
            da=self.da[steps],
            logits=self.logits[steps],
            e=None if self.e is None else self.e[steps],
            dropped=tuple(d[steps] for d in self.dropped),
        )


@dataclass(frozen=True)
class Window:
    """What a forward pass leaves for the backward pass, which uses it up."""

    x: Array  # (T, B) integers, or (T, B, V) rows
    y: Array  # (T, B) integers
    inputs: list[Array]  # of each layer what it read, (T, B) or (T, B, …)
    top: Array  # (T, B, H), what the output layer read
    y_hat: Array  # (T, B, V), in the memory of the logits
    masks: Array | None  # (L, T, B, H)
    rho: Array | None  # (T, B)
    space: Space

    @property
    def state(self) -> Array:
        """The state after the window (B, S)."""
        return self.space.state
