"""Parameters: one flat vector, with a named view into it for each array.

Gradients and optimiser moments have the same form. So clipping is one dot product, an Adam step a
handful of vector operations, a save one array and a sum over shards one addition, while the
layers see W_ax, W_aa, b_a, W_ya and b_y.
"""

from collections.abc import Iterator, Mapping
from math import prod
from typing import Any, Self

import numpy as np
from numpy.typing import DTypeLike

from charrnn.layers import Array

Shapes = Mapping[str, tuple[int, ...]]


def name_in_layer(name: str, layer: int) -> str:
    """A parameter's full name, of layers counted from 0: W_aa, W_aa[2], W_aa[3] …"""
    return f"{name}[{layer + 1}]" if layer else name


class Parameters(Mapping[str, Array]):
    """Named arrays that share one flat vector: ``parameters["W_aa"]`` is a view of ``parameters.flat``.

    Writing into either changes both. The names and shapes are those the model was built with.
    """

    def __init__(self, shapes: Shapes, dtype: DTypeLike = np.float32, flat: Array | None = None):
        """Zeros of the given shapes, or views of ``flat`` (its length must be the sum of their sizes)."""
        size = sum(prod(shape) for shape in shapes.values())
        self.shapes = dict(shapes)
        self.flat: Array = np.zeros(size, dtype) if flat is None else flat
        if self.flat.shape != (size,):
            raise ValueError(f"a flat vector of shape {self.flat.shape}; the shapes need ({size},)")
        self._views: dict[str, Array] = {}
        self._layers: dict[int, dict[str, Array]] = {}
        start = 0
        for name, shape in self.shapes.items():
            stop = start + prod(shape)
            view = self._views[name] = self.flat[start:stop].reshape(shape)
            base, _, number = name.rstrip("]").partition("[")
            self._layers.setdefault(int(number) - 1 if number else 0, {})[base] = view
            start = stop

    def layer(self, layer: int) -> Mapping[str, Array]:
        """The arrays of a layer, counted from 0, by their names in it; layer 0 also has those of no layer."""
        return self._layers[layer]

    def __getitem__(self, name: str) -> Array:
        return self._views[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._views)

    def __len__(self) -> int:
        return len(self._views)

    def __repr__(self) -> str:
        arrays = ", ".join(f"{name} {shape}" for name, shape in self.shapes.items())
        return f"Parameters({self.flat.size:,} {self.flat.dtype} numbers: {arrays})"

    def __reduce__(self) -> tuple[Any, ...]:
        """Of a copy, however it is made, the names are views of its flat vector."""
        return type(self), (self.shapes, self.flat.dtype, self.flat)

    def like(self, flat: Array | None = None) -> Self:
        """Zeros, or views of ``flat``, with the names and shapes of this one."""
        return type(self)(self.shapes, self.flat.dtype, flat)
