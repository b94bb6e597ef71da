"""How fast this machine trains a network, and how near that is to what it could do at most.

A step's work is counted as its matrix products: for each character three (one forward, two back) with every
matrix but that in which it is looked up, at two operations a number. The rest (tanh, softmax, the optimiser)
is left out, so the fraction of the peak can only be understated. The peak is one large matrix product of the
same precision, on the same number of cores, measured in the same run.

Over the ranks of an MPI job a step is more than its arithmetic: the gradients are summed, and rank 0 sends
the others their rows and awaits their answers. Both are measured by themselves, and say what as many machines
would take as are not there: M of them, each with a rank like one of these N and as many rows, would need

    step + words ((M − 1) / (N − 1) − 1) + (2 G (M − 1) / M + (M − 1) W) / bandwidth

seconds, of which ``step`` and ``words`` are measured; G are the bytes of a gradient, W those of the rows
of a rank. The last summand is what leaves rank 0, whose link is the busiest. The latency of messages is left
out.
"""

import statistics
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits

from charrnn.config import BenchConfig, TrainConfig
from charrnn.model.charrnn import CharRNN
from charrnn.model.kernels import choose_kernels, compile_kernels
from charrnn.model.network import Network
from charrnn.text.vocabulary import Vocabulary
from charrnn.training import optim
from charrnn.training.ranks import Ranks
from charrnn.training.shards import Plan, Shards, available_cores, can_start_workers
from charrnn.training.world import World

MACHINES = 2, 4, 8, 16, 32, 64
LINKS = 1, 10, 100  # Gbit/s
PEAK_SIZE = 2048  # rows and columns: 17 GFLOP


@dataclass(frozen=True)
class Point:
    """Whole training steps (forward, backward, clipping, Adam) with so many shards and rows."""

    threads: int
    batch_size: int
    characters: int  # of a step
    chars_per_second: float
    gflops: float  # billions of floating-point operations a second, in matrix products
    peak_gflops: float  # of one large product on as many cores
    megabytes: float  # of all arrays that training holds, the text aside; over ranks, those of rank 0
    ranks: int = 1
    sum_seconds: float = 0.0  # of a step: the gradients of all ranks are summed
    words_seconds: float = 0.0  # of a step: rank 0 sends the others their rows and awaits their answers
    sum_bytes: int = 0  # of one gradient
    words_bytes: int = 0  # of a rank's rows

    @property
    def of_peak(self) -> float:
        return self.gflops / self.peak_gflops

    @property
    def step_seconds(self) -> float:
        return self.characters / self.chars_per_second


@dataclass(frozen=True)
class Prediction:
    """What so many machines would do on links of so many Gbit/s."""

    machines: int
    gigabits: int
    chars_per_second: float
    arithmetic: float  # the part of the time that is spent on it


def predictions(point: Point) -> list[Prediction]:
    """From a measurement over several ranks of one machine, by the formula above."""
    found = []
    for M in MACHINES:
        for gigabits in LINKS:
            sent = 2 * point.sum_bytes * (M - 1) / M + (M - 1) * point.words_bytes
            words = point.words_seconds * ((M - 1) / (point.ranks - 1) - 1)
            seconds = point.step_seconds + words + sent * 8 / (gigabits * 1e9)
            rate = point.characters / point.ranks * M / seconds
            arithmetic = point.step_seconds - point.sum_seconds - point.words_seconds
            found.append(Prediction(M, gigabits, rate, arithmetic / seconds))
    return found


def operations(model: Network, T: int, B: int) -> int:
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


def plan(config: BenchConfig, world: World | None = None) -> list[tuple[int, int]]:
    """What to measure: numbers of threads (of each rank), each with half, all and twice the rows."""
    cores, ranks = (world.cores, world.size) if world else (available_cores(), 1)
    threads = thread_counts(cores) if config.threads == "auto" else [config.threads]
    if not can_start_workers():
        threads = [1]
    rows = sorted({max(ranks, config.batch_size // 2), config.batch_size, 2 * config.batch_size})
    return sorted({(min(n, B // ranks), B) for n in threads for B in rows})  # no shard without a row


def bench(config: BenchConfig, vocabulary: Vocabulary, world: World | None = None) -> Iterator[Point]:
    """Measure the points of the plan, one after another."""
    points, ranks = plan(config, world), world.size if world else 1
    peaks = {threads: ranks * peak(threads, config.dtype) for threads, _ in points}
    for threads, batch_size in points:
        yield measure(config, vocabulary, threads, batch_size, peaks[threads], world)


def measure(
    config: BenchConfig,
    vocabulary: Vocabulary,
    threads: int,
    B: int,
    peak_gflops: float,
    world: World | None = None,
) -> Point:
    """Train for ``config.seconds`` on random characters: the median step counts."""
    T, V = config.seq_length, len(vocabulary)
    model = CharRNN.from_config(vocabulary, config, config.seed)
    model.kernels = choose_kernels(config).kernels
    if model.kernels == "numba":
        compile_kernels(config)
    settings = TrainConfig()
    adam = optim.Adam(model.parameters.flat, settings)
    tokens = np.random.default_rng(config.seed).integers(0, V, (T + 1, B))
    inputs, targets = tokens[:-1], tokens[1:]
    state: Any = model.initial_state(B)
    split = Plan(T, B, threads, recompute_every=0, dropout=config.dropout)
    times: list[float] = []
    sums = [(0.0, 0.0)]
    with Ranks(world, model, adam, settings, split) if world else Shards(model, *split[:5]) as shards:
        while len(times) < 5 or sum(times[2:]) < config.seconds:
            began = time.perf_counter()
            seed = config.seed, len(times)
            _, gradients, state = shards.loss_and_gradients(inputs, targets, state, seed)
            norm = optim.global_norm(gradients)
            shards.take_step(norm, 1e-6)
            optim.clip(gradients, norm, settings)
            adam.step(gradients, 1e-6)
            times.append(time.perf_counter() - began)
        held = shards.nbytes + model.parameters.flat.nbytes + sum(a.nbytes for a in adam.state.values())
        if isinstance(shards, Ranks):
            sums = [shards.sum_alone(inputs, targets, state) for _ in times]
    step = statistics.median(times[2:])  # the first ones wait for the workers to start
    summed, words = (statistics.median(seconds) for seconds in zip(*sums, strict=True))
    ranks = world.size if world else 1
    sent = (inputs.size + targets.size) * vocabulary.dtype.itemsize
    return Point(
        threads=threads,
        batch_size=B,
        characters=T * B,
        chars_per_second=T * B / step,
        gflops=operations(model, T, B) / step / 1e9,
        peak_gflops=peak_gflops,
        megabytes=held / 1e6,
        ranks=ranks,
        sum_seconds=summed,
        words_seconds=words,
        sum_bytes=model.parameters.flat.nbytes,
        words_bytes=sent // ranks,
    )
