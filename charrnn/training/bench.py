"""How fast this machine trains a network, and how near that is to what it could do at most.

A step's work is counted as its matrix products: for each character three (one forward, two back) with every
matrix but that in which it is looked up, at two operations a number. The rest (tanh, softmax, the optimiser)
is left out, so the fraction of the peak can only be understated. The peak is one large matrix product of the
same precision, on the same number of cores, measured in the same run.
"""

import statistics
import time
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from threadpoolctl import threadpool_limits

from charrnn.config import BenchConfig, TrainConfig
from charrnn.model.charrnn import CharRNN
from charrnn.model.kernels import choose_kernels, compile_kernels
from charrnn.text.vocabulary import Vocabulary
from charrnn.training import optim
from charrnn.training.shards import Shards, available_cores, can_start_workers

PEAK_SIZE = 2048  # rows and columns: 17 GFLOP


@dataclass(frozen=True)
class Point:
    """Whole training steps (forward, backward, clipping, Adam) with so many shards and rows."""

    threads: int
    batch_size: int
    chars_per_second: float
    gflops: float  # billions of floating-point operations a second, in matrix products
    peak_gflops: float  # of one large product on as many cores
    megabytes: float  # of all arrays that training holds, the text aside

    @property
    def of_peak(self) -> float:
        return self.gflops / self.peak_gflops


def operations(model: CharRNN, T: int, B: int) -> int:
    """Floating-point operations in the matrix products of one training step."""
    p = model.parameters
    looked_up = "W_ex" if "W_ex" in p else "W_ax"
    return 3 * 2 * T * B * sum(W.size for name, W in p.items() if W.ndim == 2 and name != looked_up)


def peak(threads: int, dtype: str) -> float:
    """Billions of operations a second that one large matrix product reaches."""
    A = np.ones((PEAK_SIZE, PEAK_SIZE), dtype)
    out = np.empty_like(A)
    with threadpool_limits(threads, "blas"):
        times = []
        for _ in range(4):
            began = time.perf_counter()
            np.matmul(A, A, out=out)
            times.append(time.perf_counter() - began)
    return 2 * PEAK_SIZE**3 / min(times) / 1e9


def thread_counts(cores: int) -> list[int]:
    """1, 2, 4 … and the number of cores."""
    return sorted({*(2**i for i in range(cores.bit_length()) if 2**i <= cores), cores})


def plan(config: BenchConfig) -> list[tuple[int, int]]:
    """What to measure: numbers of threads, each with half, all and twice the rows."""
    threads = thread_counts(available_cores()) if config.threads == "auto" else [config.threads]
    if not can_start_workers():
        threads = [1]
    rows = sorted({max(1, config.batch_size // 2), config.batch_size, 2 * config.batch_size})
    return sorted({(min(n, B), B) for n in threads for B in rows})  # no shard without a row, as in training


def bench(config: BenchConfig, vocabulary: Vocabulary) -> Iterator[Point]:
    """Measure the points of the plan, one after another."""
    peaks = {threads: peak(threads, config.dtype) for threads, _ in plan(config)}
    for threads, batch_size in plan(config):
        yield measure(config, vocabulary, threads, batch_size, peaks[threads])


def measure(config: BenchConfig, vocabulary: Vocabulary, threads: int, B: int, peak_gflops: float) -> Point:
    """Train for ``config.seconds`` on random characters: the median step counts."""
    T, V = config.seq_length, len(vocabulary)
    model = CharRNN.from_config(vocabulary, config, config.seed)
    model.kernels = choose_kernels(config).kernels
    if model.kernels == "numba":
        compile_kernels(config)
    settings = TrainConfig()
    adam = optim.Adam(model.parameters.flat, settings)
    tokens = np.random.default_rng(config.seed).integers(0, V, (T + 1, B))
    state = model.initial_state(B)
    times: list[float] = []
    with Shards(model, T, B, threads, dropout=config.dropout) as shards:
        while len(times) < 5 or sum(times[2:]) < config.seconds:
            began = time.perf_counter()
            seed = config.seed, len(times)
            _, gradients, state = shards.loss_and_gradients(tokens[:-1], tokens[1:], state, seed)
            optim.clip_by_norm(gradients, settings.clip_norm)
            adam.step(gradients, 1e-6)
            times.append(time.perf_counter() - began)
        held = shards.nbytes + model.parameters.flat.nbytes + sum(a.nbytes for a in adam.state.values())
    step = statistics.median(times[2:])  # the first ones wait for the workers to start
    gflops = operations(model, T, B) / step / 1e9
    return Point(threads, B, T * B / step, gflops, peak_gflops, held / 1e6)
