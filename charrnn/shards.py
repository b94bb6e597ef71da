"""A batch split by rows over worker threads, its gradients summed in a fixed order.

NumPy lets go of the interpreter lock while it computes, so threads run side by side. Each shard has
rows, buffers and a gradient vector of its own; BLAS is held to one thread a shard, for on products this
small its own threads cost more than they bring. The sum is always taken in the order of the rows: the
same seed and the same number of threads give the same bits.
"""

import os
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from itertools import pairwise
from types import TracebackType
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from charrnn.model import CharRNN

Array = NDArray[Any]


def available_cores() -> int:
    """The cores this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def choose_threads(threads: str | int, batch_size: int, hidden_size: int) -> int:
    """How many shards to use: at most one a row; for ``auto`` one a core, unless the model is tiny."""
    if isinstance(threads, int):
        return min(threads, batch_size)
    if batch_size * hidden_size < 2048:  # a step in the time loop is then too short to share
        return 1
    return min(available_cores(), batch_size)


class Shards:
    """Computes the loss and gradients of whole batches; use it as a context manager."""

    def __init__(self, model: CharRNN, seq_length: int, batch_size: int, threads: int):
        self.gradients = model.parameters.like()  # of the last batch
        bounds = [batch_size * i // threads for i in range(threads + 1)]
        self._model = model
        self._batch_size = batch_size
        self._rows = [slice(*pair) for pair in pairwise(bounds)]
        self._buffers = [model.buffers(seq_length, r.stop - r.start) for r in self._rows]
        self._partial = [self.gradients] + [model.parameters.like() for _ in self._rows[1:]]
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        self._stack.enter_context(threadpool_limits(1, "blas"))
        workers = max(1, len(self._rows) - 1)  # this thread takes the first shard itself
        self._pool = self._stack.enter_context(ThreadPoolExecutor(workers, "shard"))
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._stack.close()

    def loss_and_gradients(self, inputs: Array, targets: Array, state: Array) -> tuple[float, Array, Array]:
        """As the model's own, for inputs and targets (T, B) and a state (B, H).

        Returns: the loss, the gradients (P,) (overwritten by the next call), and the state after (B, H).
        """
        others = [
            self._pool.submit(self._shard, i, inputs, targets, state) for i in range(1, len(self._rows))
        ]
        results = [self._shard(0, inputs, targets, state), *(other.result() for other in others)]
        loss = 0.0
        for rows, partial, (mean, _) in zip(self._rows, self._partial, results, strict=True):
            share = (rows.stop - rows.start) / self._batch_size  # each shard's loss is a mean of its own
            loss += share * mean
            if share != 1:
                partial.flat *= share
            if partial is not self.gradients:
                self.gradients.flat += partial.flat
        return loss, self.gradients.flat, np.concatenate([after for _, after in results])

    def _shard(self, i: int, inputs: Array, targets: Array, state: Array) -> tuple[float, Array]:
        rows = self._rows[i]
        with np.errstate(over="ignore", invalid="ignore"):  # the trainer looks at what comes out
            loss, window = self._model.forward(
                inputs[:, rows], targets[:, rows], state[rows], self._buffers[i]
            )
            self._model.backward(window, self._partial[i])
        return float(loss), window.state
