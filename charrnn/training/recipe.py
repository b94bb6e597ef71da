"""The recipe: the network and the training that suit a text and the time there is.

Found by trials that tests/benchmarks/README.md lists, with what was tried and lost:

- Two layers of GRU on an embedding beat one layer and the other cells in the same time.
- Small windows and batches cost a tenth of the speed and make more steps, which a short run is short of.
- A constant rate with an average of the weights beats a cosine; and since it does not need to know the last
  step, the clock can say which that is.
- The largest network wins that can still read the text some 10 times in that time, fewer times if it is long.
- The oftener a text is read by a network that is large for it, the more dropout it takes.
"""

from math import ceil
from typing import Any

from charrnn.config import BenchConfig, TrainConfig
from charrnn.model.network import Network
from charrnn.text.corpus import Corpus
from charrnn.text.documents import Documents, Text
from charrnn.training.bench import Point, measure, operations
from charrnn.training.shards import can_start_workers, choose_threads
from charrnn.training.trainer import SCORED, lasting, windows
from charrnn.training.world import World

NETWORK = {"cell": "gru", "num_layers": 2, "embedding_size": 32}
MANY, NETWORK_OF_MANY = 500, {"cell": "gru", "num_layers": 1, "embedding_size": 128}  # of so many characters
SIZES, SIZES_OF_MANY = (64, 96, 128, 160, 192, 256, 320, 384, 512), (256,)  # hidden sizes to choose from
WINDOWS, MOST_WINDOWS = {2e7: (32, 32), 4e7: (64, 32)}, (64, 64)  # T and B by the characters trained on
MOST_WEIGHTS = 10  # for each character of the text
DROPOUT = {10: 0.0, 25: 0.1, 60: 0.2, 200: 0.3, 600: 0.4}  # by weights for each character, times its readings
MOST_DROPOUT = 0.5  # for more
VALIDATIONS, VALIDATING = 25, 0.1  # in a run, and the part of the time for them, at the most
LARGEST = 128  # T and B of a measurement
TOO_OFTEN = 200  # times through a text, from which on more text would teach more than more time


def epochs_wanted(n: int) -> float:
    """How many times a text of n characters is to be read, by the largest network that can."""
    return float(10 * min(1, 5e5 / n) ** 0.6)


def windows_of(train: Text, characters: float) -> dict[str, int]:
    """T and B to train on so many characters, the text as often as that takes."""
    n, short = len(train), isinstance(train, Documents) and len(train) < 64 * train.count
    T, B = next((sizes for most, sizes in WINDOWS.items() if characters < most), MOST_WINDOWS)
    T = max(1, min(32 if short else T, n // 8))
    return {"seq_length": T, "batch_size": max(1, min(B, n // (4 * T)))}


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
    form, sizes = (NETWORK, SIZES) if V < MANY else (NETWORK_OF_MANY, SIZES_OF_MANY)
    average = "ema" if config.val_fraction else "none"  # validations say where it is better
    config = updated(**form, schedule="constant", average=average, **windows_of(train, 0), hidden_size=128)
    windows(train, config)  # a text that is too short for what was given is refused before any measurement
    gflops = measured(config, corpus, 0.3, world).gflops
    for size in reversed(sizes):
        config = updated(hidden_size=size)
        network = Network(config, V)
        epochs = seconds * gflops * 1e9 / operations(network, 1, 1) / n
        per_character = network.parameters.flat.size / n
        if epochs >= epochs_wanted(n) and per_character <= MOST_WEIGHTS:
            break
    rates = [rate for most, rate in DROPOUT.items() if epochs * per_character < most]
    config = updated(dropout=[*rates, MOST_DROPOUT][0], **windows_of(train, epochs * n))
    speed = measured(config, corpus, 0.7, world).chars_per_second
    scored = SCORED * speed  # characters a second
    fraction = float(f"{min(0.05, VALIDATING / 2 * seconds * scored / n):.2g}")  # so that there are two
    config = updated(val_fraction=fraction, test_fraction=fraction)
    parts = corpus.parts(config)
    streams, validation = windows(parts.train, config), max(1, len(parts.val)) / scored  # seconds
    count = max(1, min(VALIDATIONS, round(VALIDATING * seconds / validation)))
    training = max(0, seconds - count * validation)
    steps = max(1, round(training * speed * len(streams) / streams.characters(len(streams))))
    config = updated(
        eval_every=ceil(steps / count),
        warmup_steps=min(100, steps // 10),
        threads=threads_of(config, config.batch_size, world),  # as many everywhere: others round otherwise
    )
    return TrainConfig(**config.model_dump() | lasting(steps, len(streams)))


def measured(config: TrainConfig, corpus: Corpus, seconds: float, world: World | None) -> Point:
    """How fast this machine trains such a network, in windows that are not too large to measure soon."""
    T, B = min(config.seq_length, LARGEST), min(config.batch_size, LARGEST)
    fields = BenchConfig.model_fields.keys() & TrainConfig.model_fields.keys() - {"threads"}
    bench = BenchConfig(**config.model_dump(include=fields) | {"seq_length": T}, seconds=seconds)
    return measure(bench, corpus.vocabulary, threads_of(config, B, world), B, 1.0, world)


def threads_of(config: TrainConfig, B: int, world: World | None) -> int:
    """The threads, of each rank, that share a batch of B rows."""
    ranks, cores = (world.size, world.cores) if world else (1, None)
    return choose_threads(config.threads, B // ranks, config.hidden_size, cores) if can_start_workers() else 1
