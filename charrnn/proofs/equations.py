"""The equations by their tags, and which of them gives which gradient.

DERIVATION.md derives them, the lines of the layers carry their tags, ``cells`` proves them.
"""

from typing import Any

from charrnn.errors import CharRNNError
from charrnn.layers import Cell

EQUATIONS = {
    "F1": "z⟨t⟩ = x⟨t⟩ W_ax + a⟨t−1⟩ W_aa + b_a",
    "F2": "a⟨t⟩ = tanh z⟨t⟩",
    "F3": "ŷ⟨t⟩ = softmax(a⟨t⟩ W_ya + b_y)",
    "F4": "L = −(1/TB) Σ_t Σ_b log ŷ⟨t⟩[b, y⟨t⟩_b]",
    "B1": "dlogits⟨t⟩ = (ŷ⟨t⟩ − onehot y⟨t⟩)/TB",
    "B2": "dW_ya = Σ_t a⟨t⟩ᵀ dlogits⟨t⟩, db_y = Σ_t Σ_b dlogits⟨t⟩",
    "B3": "da⟨t⟩ = dlogits⟨t⟩ W_yaᵀ + dz⟨t+1⟩ W_aaᵀ",
    "B4": "dz⟨t⟩ = da⟨t⟩ ∘ (1 − a⟨t⟩²)",
    "B5": "dW_aa = Σ_t a⟨t−1⟩ᵀ dz⟨t⟩",
    "B6": "dW_ax = Σ_t x⟨t⟩ᵀ dz⟨t⟩",
    "B7": "db_a = Σ_t Σ_b dz⟨t⟩",
    "B8": "dx⟨t⟩ = dz⟨t⟩ W_axᵀ",
    "B9": "da⟨0⟩ = dz⟨1⟩ W_aaᵀ",
    "DF1": "d⟨t⟩ = m⟨t⟩ ∘ a⟨t⟩",
    "DB1": "da⟨t⟩ = m⟨t⟩ ∘ dd⟨t⟩",
    "RF1": "p⟨t⟩ = ρ⟨t⟩ ∘ a⟨t−1⟩",
    "RB1": "da⟨t⟩ = dlogits⟨t⟩ W_yaᵀ + ρ⟨t+1⟩ ∘ dp⟨t+1⟩",
    "RB2": "dc⟨t⟩ = da⟨t⟩ ∘ o⟨t⟩ ∘ (1 − tanh² c⟨t⟩) + ρ⟨t+1⟩ ∘ dc⟨t+1⟩ ∘ f⟨t+1⟩",
    "RB3": "da⟨0⟩ = ρ⟨1⟩ ∘ dp⟨1⟩, dc⟨0⟩ = ρ⟨1⟩ ∘ dc⟨1⟩ ∘ f⟨1⟩",
    "RB4": "dW_aa = Σ_t p⟨t⟩ᵀ dz⟨t⟩",
    "GF1": "z⟨t⟩ = x⟨t⟩ W_ax + b_a",
    "GF2": "q⟨t⟩ = a⟨t−1⟩ W_aa + (0, 0, b_n)",
    "GF3": "r⟨t⟩ = σ(z_r⟨t⟩ + q_r⟨t⟩), u⟨t⟩ = σ(z_u⟨t⟩ + q_u⟨t⟩)",
    "GF4": "n⟨t⟩ = tanh(z_n⟨t⟩ + r⟨t⟩ ∘ q_n⟨t⟩)",
    "GF5": "a⟨t⟩ = (1 − u⟨t⟩) ∘ n⟨t⟩ + u⟨t⟩ ∘ a⟨t−1⟩",
    "GB1": "da⟨t⟩ = dlogits⟨t⟩ W_yaᵀ + dq⟨t+1⟩ W_aaᵀ + da⟨t+1⟩ ∘ u⟨t+1⟩",
    "GB2": "dz_n⟨t⟩ = da⟨t⟩ ∘ (1 − u⟨t⟩) ∘ (1 − n⟨t⟩²)",
    "GB3": "dq_n⟨t⟩ = dz_n⟨t⟩ ∘ r⟨t⟩",
    "GB4": "dq_r⟨t⟩ = dz_r⟨t⟩ = dz_n⟨t⟩ ∘ q_n⟨t⟩ ∘ r⟨t⟩ ∘ (1 − r⟨t⟩)",
    "GB5": "dq_u⟨t⟩ = dz_u⟨t⟩ = da⟨t⟩ ∘ (a⟨t−1⟩ − n⟨t⟩) ∘ u⟨t⟩ ∘ (1 − u⟨t⟩)",
    "GB6": "dW_aa = Σ_t a⟨t−1⟩ᵀ dq⟨t⟩",
    "GB7": "db_n = Σ_t Σ_b dq_n⟨t⟩",
    "GB8": "da⟨0⟩ = dq⟨1⟩ W_aaᵀ + da⟨1⟩ ∘ u⟨1⟩",
    "LF1": "z⟨t⟩ = x⟨t⟩ W_ax + a⟨t−1⟩ W_aa + b_a",
    "LF2": "i⟨t⟩ = σ(z_i⟨t⟩), f⟨t⟩ = σ(z_f⟨t⟩), g⟨t⟩ = tanh z_g⟨t⟩, o⟨t⟩ = σ(z_o⟨t⟩)",
    "LF3": "c⟨t⟩ = f⟨t⟩ ∘ c⟨t−1⟩ + i⟨t⟩ ∘ g⟨t⟩",
    "LF4": "a⟨t⟩ = o⟨t⟩ ∘ tanh c⟨t⟩",
    "LB1": "da⟨t⟩ = dlogits⟨t⟩ W_yaᵀ + dz⟨t+1⟩ W_aaᵀ",
    "LB2": "dc⟨t⟩ = da⟨t⟩ ∘ o⟨t⟩ ∘ (1 − tanh² c⟨t⟩) + dc⟨t+1⟩ ∘ f⟨t+1⟩",
    "LB3": "dz_i⟨t⟩ = dc⟨t⟩ ∘ g⟨t⟩ ∘ i⟨t⟩ ∘ (1 − i⟨t⟩), dz_f⟨t⟩ = dc⟨t⟩ ∘ c⟨t−1⟩ ∘ f⟨t⟩ ∘ (1 − f⟨t⟩), "
    "dz_g⟨t⟩ = dc⟨t⟩ ∘ i⟨t⟩ ∘ (1 − g⟨t⟩²)",
    "LB4": "dz_o⟨t⟩ = da⟨t⟩ ∘ tanh c⟨t⟩ ∘ o⟨t⟩ ∘ (1 − o⟨t⟩)",
    "LB5": "da⟨0⟩ = dz⟨1⟩ W_aaᵀ, dc⟨0⟩ = dc⟨1⟩ ∘ f⟨1⟩",
}

# The equation of each gradient in the tanh network; z stands for the forward pass. A cell lists its own.
GIVEN_BY = {
    "W_ex": "B6",
    "W_ax": "B6",
    "W_aa": "B5",
    "b_a": "B7",
    "W_ya": "B2",
    "b_y": "B2",
    "x": "B8",
    "a0": "B9",
    "z": "F1",
}


def given_by(name: str, cell: Cell[Any]) -> str:
    """The tag of the equation that gives the gradient of a tensor such as ``W_aa``, ``W_aa[2]`` or ``a0``."""
    name = name.partition("[")[0]
    tags = GIVEN_BY | dict(cell.given_by)
    if name not in tags:
        raise CharRNNError(
            f"{name}: no equation is known to give its gradient, so it cannot be checked; "
            f"name one in {type(cell).__name__}.given_by"
        )
    return tags[name]
