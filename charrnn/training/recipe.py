"""The recipe: the network and the training that suit a text and the time there is.

Found by trials that tests/benchmarks/README.md lists, with what was tried and lost:

- Two layers of GRU on an embedding beat one layer and the other cells in the same time. Small windows and
  batches cost a tenth of the speed and make four times the steps.
- A constant rate with an average of the weights beats a cosine; and since it does not need to know the last
  step, the clock can say which that is.
- The largest network wins that can still read the text some 25 times in that time, fewer times if it is long.
- The oftener a text is read, the more dropout it takes.
"""

from math import ceil
from typing import Any

from charrnn.config import BenchConfig, TrainConfig
from charrnn.model.network import Network
from charrnn.text.corpus import Corpus
from charrnn.text.documents import Documents, Text
from charrnn.training.bench import Point, measure, operations
from charrnn.training.shards import can_start_workers, choose_threads
from charrnn.training.trainer import lasting, windows
from charrnn.training.world import World

NETWORK = {"cell": "gru", "num_layers": 2}
TRAINING = {"learning_rate": 3e-3, "schedule": "constant", "average": "ema"}
SIZES = 64, 96, 128, 160, 192, 256, 320, 384, 512  # hidden sizes to choose from
MOST_WEIGHTS = 10  # for each character of the text
DROPOUT = {5: 0.1, 12: 0.2, 50: 0.3, 100: 0.4}  # by how many times the text is read, up to there
MOST_DROPOUT = 0.5  # if it is read more often
VALIDATIONS, VALIDATING = 25, 0.1  # in a run, and the part of the time for them, at the most
TOO_OFTEN = 200  # times through a text, from which on more text would teach more than more time


def epochs_wanted(n: int) -> float:
    """How many times a text of n characters is to be read, by the largest network that can."""
    return float(25 * min(1, 5e5 / n) ** 0.6)


def windows_of(train: Text) -> dict[str, int]:
    """T and B for a training part."""
    n = len(train)
    short = isinstance(train, Documents) and n < 64 * train.count
    T = max(1, min(32 if short else 64, n // 8))
    return {"seq_length": T, "batch_size": max(1, min(32, n // (4 * T)))}


def choose(
    corpus: Corpus, config: TrainConfig, given: set[str], seconds: float, world: World | None = None
) -> TrainConfig:
    """The settings of a run that takes so many seconds, by what this machine does in one.

    Arguments:
        config: the settings so far.
        given: the names of those that stay.
        world: the ranks of MPI that share a batch.

    Raises:
        ConfigError: what was given does not go with what is chosen.
    """
    own = {f"{part}_fraction" for part in ("val", "test") if getattr(corpus.reading, f"{part}_file")}

    def updated(**changes: Any) -> TrainConfig:
        return config.model_copy(update={k: v for k, v in changes.items() if k not in given | own})

    train, V = corpus.parts(config).train, len(corpus.vocabulary)
    n = len(train)
    config = updated(**NETWORK, **TRAINING, **windows_of(train), embedding_size=32 if V < 500 else 128)
    config = updated(hidden_size=SIZES[2])
    gflops = measured(config, corpus, 0.3, world).gflops
    for size in reversed(SIZES):
        config = updated(hidden_size=size)
        network = Network(config, V)
        epochs = seconds * gflops * 1e9 / operations(network, 1, 1) / n
        if epochs >= epochs_wanted(n) and network.parameters.flat.size <= MOST_WEIGHTS * n:
            break
    rates = [rate for most, rate in DROPOUT.items() if epochs < most]
    config = updated(dropout=[*rates, MOST_DROPOUT][0])
    speed = measured(config, corpus, 0.7, world).chars_per_second
    scored = 1.5 * speed  # characters a second: forward only, but the average too
    fraction = float(f"{min(0.05, VALIDATING * seconds * scored / n):.2g}")
    config = updated(val_fraction=fraction, test_fraction=fraction)
    parts = corpus.parts(config)
    streams, validation = windows(parts.train, config), max(1, len(parts.val)) / scored  # seconds
    count = max(1, min(VALIDATIONS, int(VALIDATING * seconds / validation)))
    training = max(0, seconds - count * validation)
    steps = max(1, round(training * speed * len(streams) / streams.characters(len(streams))))
    config = updated(eval_every=ceil(steps / count), warmup_steps=min(100, steps // 10))
    return TrainConfig(**config.model_dump() | lasting(steps, len(streams)))


def measured(config: TrainConfig, corpus: Corpus, seconds: float, world: World | None) -> Point:
    """How fast this machine trains such a network, measured for so many seconds."""
    B, cores = config.batch_size // (world.size if world else 1), world.cores if world else None
    threads = choose_threads(config.threads, B, config.hidden_size, cores) if can_start_workers() else 1
    fields = BenchConfig.model_fields.keys() & TrainConfig.model_fields.keys() - {"threads"}
    bench = BenchConfig(**config.model_dump(include=fields), seconds=seconds)
    return measure(bench, corpus.vocabulary, threads, config.batch_size, 1.0, world)
