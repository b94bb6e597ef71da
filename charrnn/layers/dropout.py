"""Dropout (Srivastava et al. 2014) where Zaremba et al. 2014 have it: on what a layer sends up, never on what
it sends to its own next step.

    d⟨t⟩ = m⟨t⟩ ∘ a⟨t⟩                                DF1
    da⟨t⟩ = m⟨t⟩ ∘ dd⟨t⟩                              DB1

The mask m⟨t⟩ is 0 at the rate p and 1/(1 − p) else, so that the mean of d⟨t⟩ is a⟨t⟩, and nothing need be
scaled where nothing is dropped. It is an argument: chance stays outside the two functions.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import DTypeLike

from charrnn.layers.array import Array


def dropout_masks(
    rngs: Sequence[np.random.Generator], rate: float, L: int, T: int, H: int, dtype: DTypeLike
) -> Array:
    """Masks for the T steps of L layers, each row of the batch from a generator of its own.

    Each step takes L·H numbers from it, one step after another: so steps from the middle of a window have the
    same masks by themselves, of a generator that has been advanced so far.

    Returns: (L, T, B, H) of 0 and 1/(1 − rate).
    """
    masks = np.empty((len(rngs), T, L, H), dtype)
    for rng, mask in zip(rngs, masks, strict=True):
        np.greater_equal(rng.random((T, L, H)), rate, out=mask)
    masks /= 1 - rate
    return masks.transpose(2, 1, 0, 3)


def dropout_forward(
    a: Array,  # (T, B, H)
    m: Array,  # (T, B, H)
    out: Array | None = None,  # (T, B, H)
) -> Array:
    """What of the activations goes up (DF1).

    Returns: d (T, B, H), in ``out`` if that is given.
    """
    d: Array = np.multiply(a, m, out=out)  # (DF1)
    return d


def dropout_backward(
    dd: Array,  # (T, B, H), overwritten
    m: Array,  # (T, B, H)
) -> Array:
    """The gradient of the loss with respect to the activations (DB1).

    Returns: da (T, B, H), in the memory of ``dd``.
    """
    dd *= m  # (DB1)
    return dd
