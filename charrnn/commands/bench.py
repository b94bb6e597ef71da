"""``charrnn bench``: measure how fast this machine trains."""

import argparse
import json
from dataclasses import asdict
from typing import TYPE_CHECKING

from tqdm import tqdm

from charrnn.commands.flags import Commands, add_command, add_corpus, add_json, add_settings, given, part_of
from charrnn.commands.terminal import described, warn, wrapped
from charrnn.commands.texts import read_corpus
from charrnn.config import BenchConfig, TextConfig

if TYPE_CHECKING:
    from charrnn.training.bench import Point, Prediction


class BenchSettings(BenchConfig, TextConfig):
    """The settings of ``charrnn bench``."""


def add_parser(commands: Commands) -> None:
    """Add the flags of ``charrnn bench``."""
    parser = add_command(
        commands,
        run,
        "bench",
        usage="[OPTION ...] [CORPUS ...]",
        description="Train the network that the flags describe for a moment, with several numbers of threads "
        "and half, all and twice the --batch-size, and compare with one large matrix product. CORPUS gives "
        "the size of the vocabulary.",
    )
    add_corpus(parser)
    add_json(parser)
    add_settings(parser, BenchSettings)


def run(args: argparse.Namespace) -> int:
    """Measure. Returns: the exit code."""
    from charrnn.model.kernels import choose_kernels
    from charrnn.training.bench import bench, plan, predictions
    from charrnn.training.ranks import say_how_rows_are_shared
    from charrnn.training.shards import available_cores, choose_threads

    settings = BenchSettings(**given(args, BenchSettings)).model_dump()
    config = choose_kernels(BenchConfig(**part_of(settings, BenchConfig)))
    corpus, world = read_corpus(args.corpus, part_of(settings, TextConfig)), args.world
    if world:
        say_how_rows_are_shared(config.batch_size, world.size, warn)
        if world.crowded:
            warn(f"{world.on_one_host} ranks on a machine have to share its cores: the figures say little")
    planned = len(plan(config, world))
    measured = bench(config, corpus.vocabulary, world)
    points = list(tqdm(measured, total=planned, disable=None, leave=False, unit="point"))
    fastest = max(points, key=lambda point: point.chars_per_second)
    asked = [point for point in points if point.batch_size == config.batch_size]
    best = max(asked, key=lambda point: point.chars_per_second)
    # ranks on several machines are summed over their links already
    predicted = predictions(best) if world and world.on_one_host == world.size else []
    sizes = {"T": config.seq_length, "H": config.hidden_size, "V": len(corpus.vocabulary)}
    if args.json:
        report = {
            "sizes": sizes,
            "dtype": config.dtype,
            "cores": available_cores(),
            "kernels": config.kernels,
            "network": config.model_dump(include={"cell", "num_layers", "embedding_size", "dropout"}),
            "ranks": best.ranks,
            "points": [{**asdict(point), "of_peak": point.of_peak} for point in points],
            "recommended": {"threads": best.threads, "batch_size": best.batch_size},
            "predicted": [asdict(prediction) for prediction in predicted],
        }
        print(json.dumps(report))
        return 0
    cores = world.cores if world else available_cores()
    where = f"{best.ranks} ranks, cores of each: {cores}" if world else f"{cores} cores"
    print(wrapped(f"{described(config, sizes)}, {config.dtype}, {where}, {config.kernels} kernels"))
    print_table(points)
    auto = choose_threads("auto", config.batch_size // best.ranks, config.hidden_size, cores)
    print(
        f"\nBest for --batch-size {best.batch_size}: --threads {best.threads}. --threads auto takes {auto}."
    )
    if fastest.batch_size > best.batch_size:
        gain = fastest.chars_per_second / best.chars_per_second - 1
        advice = (
            f"--batch-size {fastest.batch_size} --threads {fastest.threads} reads {gain:.0%} more characters "
            "a second, but takes fewer steps in an epoch, so it may learn less from it."
        )
        print(wrapped(advice))
    if world:
        print_cost_of_ranks(best)
    if predicted:
        print_predictions(best, predicted)
    return 0


def print_table(points: list["Point"]) -> None:
    """Print a line for each measurement."""
    print("threads  batch size  characters/s   GFLOP/s  of the peak  arrays")
    for p in points:
        print(
            f"{p.threads:7}  {p.batch_size:10}  {p.chars_per_second:12,.0f}  {p.gflops:8.1f}  "
            f"{p.of_peak:5.0%} of {p.peak_gflops:<4.0f} {p.megabytes:4.0f} MB"
        )


def print_cost_of_ranks(p: "Point") -> None:
    """Print what a step over ranks takes beside its arithmetic."""
    cost = (
        f"Of a step of {1e3 * p.step_seconds:.2f} ms, the sum of {p.sum_bytes / 1e6:.2f} MB of gradients "
        f"over {p.ranks} ranks takes {1e3 * p.sum_seconds:.2f} ms, sending rows and awaiting answers "
        f"{1e3 * p.words_seconds:.2f} ms."
    )
    print(f"\n{wrapped(cost)}")


def print_predictions(p: "Point", predicted: list["Prediction"]) -> None:
    """Print what a measurement says of other numbers of machines: a line for each, a column a link."""
    from charrnn.training.bench import LINKS, MACHINES

    what = (
        f"Predicted, not measured: machines with one such rank and {p.batch_size / p.ranks:g} rows each. "
        "Characters a second, and the part of the time that is arithmetic:"
    )
    print(f"\n{wrapped(what)}")
    print("machines" + "".join(f"{f'{gigabits} Gbit/s':>18}" for gigabits in LINKS))
    for machines in MACHINES:
        cells = [q for q in predicted if q.machines == machines]
        print(f"{machines:8}" + "".join(f"{q.chars_per_second:12,.0f} {q.arithmetic:5.0%}" for q in cells))
