"""The mathematics: each layer a forward function with its backward right below it.

The functions are pure. They take arrays and return arrays; ``out`` arguments name buffers to write
into, so that a training loop allocates next to nothing. They hold no state and import only NumPy. All of them
run on float32, on float64 and on complex128 arrays alike.

    T  time steps in a window      H  hidden size
    B  rows of the batch           V  size of the vocabulary

Rows are examples and time comes first: an activation a⟨t⟩ is (B, H), a window of them (T, B, H).
The tags in the comments are the equations that DERIVATION.md derives: F1–F4 and B1–B9 of the tanh cell and
all that is common, GF and GB of the GRU, LF and LB of the LSTM, DF and DB of dropout, RF and RB of resets.

The network chains an input side, a cell and an output side, and asks each cell for the same things
(``cell.Cell``): a new one is one file here and one line in ``CELLS``.
"""

from collections.abc import Mapping
from types import ModuleType
from typing import Any

from charrnn.layers import elementwise
from charrnn.layers.array import Array
from charrnn.layers.cell import Cell, Memory, States, Weights
from charrnn.layers.dense import dense_backward, dense_forward
from charrnn.layers.dropout import dropout_backward, dropout_forward, dropout_masks
from charrnn.layers.elementwise import cross_entropy_backward, cross_entropy_forward, softmax_forward
from charrnn.layers.gru import GRU, gru_backward, gru_backward_weights, gru_forward
from charrnn.layers.inputs import (
    inputs_backward,
    inputs_backward_x,
    inputs_forward,
)
from charrnn.layers.lstm import LSTM, lstm_backward, lstm_forward
from charrnn.layers.recurrence import (
    Tanh,
    recurrence_backward,
    recurrence_backward_weights,
    recurrence_forward,
)
from charrnn.layers.reset import reset_backward, reset_forward, reset_past

CELLS: Mapping[str, Cell[Any]] = {"rnn": Tanh(), "gru": GRU(), "lstm": LSTM()}


def kernels(name: str) -> ModuleType:
    """The element-wise functions: ``numpy``, the definitions, or ``numba``, compiled.

    Raises:
        ImportError: numba is not installed, or does not go with this NumPy.
    """
    if name == "numpy":
        return elementwise
    from charrnn.layers import compiled

    return compiled


__all__ = [
    "CELLS",
    "Array",
    "Cell",
    "Memory",
    "States",
    "Weights",
    "cross_entropy_backward",
    "cross_entropy_forward",
    "dense_backward",
    "dense_forward",
    "dropout_backward",
    "dropout_forward",
    "dropout_masks",
    "gru_backward",
    "gru_backward_weights",
    "gru_forward",
    "inputs_backward",
    "inputs_backward_x",
    "inputs_forward",
    "kernels",
    "lstm_backward",
    "lstm_forward",
    "recurrence_backward",
    "recurrence_backward_weights",
    "recurrence_forward",
    "reset_backward",
    "reset_forward",
    "reset_past",
    "softmax_forward",
]
