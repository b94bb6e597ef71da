"""Resets: what is carried from step to step is forgotten where a document begins.

    p⟨t⟩ = ρ⟨t⟩ ∘ a⟨t−1⟩                                              RF1

ρ⟨t⟩ is a number for each row of the batch, 0 where its document begins at step t and 1 elsewhere (r is the
GRU's gate). p⟨t⟩ takes the place of a⟨t−1⟩ in a cell's equations, and ρ⟨t⟩ ∘ c⟨t−1⟩ that of an LSTM's
c⟨t−1⟩; what goes back to either is multiplied by ρ⟨t⟩ again:

    da⟨t⟩ = dlogits⟨t⟩ W_yaᵀ + ρ⟨t+1⟩ ∘ dp⟨t+1⟩                       RB1
    dc⟨t⟩ = da⟨t⟩ ∘ o⟨t⟩ ∘ (1 − tanh² c⟨t⟩) + ρ⟨t+1⟩ ∘ dc⟨t+1⟩ ∘ f⟨t+1⟩      RB2
    da⟨0⟩ = ρ⟨1⟩ ∘ dp⟨1⟩, dc⟨0⟩ = ρ⟨1⟩ ∘ dc⟨1⟩ ∘ f⟨1⟩                 RB3
    dW_aa = Σ_t p⟨t⟩ᵀ dz⟨t⟩                                           RB4

These functions are called from the cells' time loops, where ``rho`` (T, B) holds booleans, or is None where
nothing is ever reset; a step at which no row is reset costs one look at ρ⟨t⟩.
"""

from charrnn.layers.array import Array


def reset_forward(
    a: Array,  # (B, H), of the step before
    rho: Array | None,  # (T, B)
    t: int,  # counted from 0
) -> Array:
    """What a step reads of a state (RF1).

    Returns: p (B, H): ``a`` itself where no row is reset, else new memory.
    """
    if rho is None or rho[t].all():
        return a
    p = a.copy()
    p[~rho[t]] = 0  # (RF1)
    return p


def reset_backward(
    dp: Array,  # (B, H), overwritten
    rho: Array | None,  # (T, B)
    t: int,  # counted from 0
) -> None:
    """What p sends to the state before it, ρ⟨t⟩ ∘ dp⟨t⟩ (in RB1, RB2 and RB3), in the memory of ``dp``."""
    if rho is not None and not rho[t].all():
        dp[~rho[t]] = 0


def reset_past(
    a: Array,  # (T+1, B, H), overwritten where a row is reset
    rho: Array | None,  # (T, B)
) -> None:
    """Put p⟨t⟩ in the place of a⟨t−1⟩: the way back, and the sum over the steps (RB4), read that alone."""
    if rho is not None:
        a[:-1][~rho] = 0  # (RB4)
