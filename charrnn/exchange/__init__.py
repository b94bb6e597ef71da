"""Weights to and from other programs."""

from charrnn.exchange.pytorch import from_torch, to_torch

__all__ = ["from_torch", "to_torch"]
