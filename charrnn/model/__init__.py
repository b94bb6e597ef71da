"""The network: the layers chained, their parameters, and the characters drawn from it."""

from charrnn.model.charrnn import CharRNN
from charrnn.model.network import Network
from charrnn.model.parameters import Parameters

__all__ = ["CharRNN", "Network", "Parameters"]
