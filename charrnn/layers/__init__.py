"""The mathematics: each layer a forward function with its backward right below it.

The functions are pure. They take arrays and return arrays; ``out`` arguments name buffers to write
into, so that a training loop allocates nothing. They hold no state and import only NumPy. All of them
run on float32, on float64 and on complex128 arrays alike.

    T  time steps in a window      H  hidden size
    B  rows of the batch           V  size of the vocabulary

Rows are examples and time comes first: an activation a⟨t⟩ is (B, H), a window of them (T, B, H).
The tags F1–F4 and B1–B9 in the comments are the equations listed in the package's README.
"""

from charrnn.layers.embedding import (
    embedding_backward,
    embedding_backward_input,
    embedding_forward,
)
from charrnn.layers.recurrence import (
    recurrence_backward,
    recurrence_backward_weights,
    recurrence_forward,
)
from charrnn.layers.softmax import (
    cross_entropy_backward,
    cross_entropy_forward,
    dense_backward,
    dense_forward,
    softmax_forward,
)

__all__ = [
    "cross_entropy_backward",
    "cross_entropy_forward",
    "dense_backward",
    "dense_forward",
    "embedding_backward",
    "embedding_backward_input",
    "embedding_forward",
    "recurrence_backward",
    "recurrence_backward_weights",
    "recurrence_forward",
    "softmax_forward",
]
