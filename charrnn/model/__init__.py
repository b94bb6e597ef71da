"""The network, its parameters, and what is drawn from it."""

from charrnn.model.charrnn import INITS, Buffers, CharRNN, named
from charrnn.model.parameters import Parameters

__all__ = ["INITS", "Buffers", "CharRNN", "Parameters", "named"]
