"""Whole training steps beside PyTorch's and JAX's. Prints, and asserts nothing.

    python tests/benchmarks/train_speed.py [--rounds 7] [--seconds 1] [--threads 2]
                                           [--text FILE | --only gru 64] [--before FOLDER]

For a row each side starts once, in a process of its own, from the same weights on the same windows:
charrnn with either of its kernels (and the charrnn in FOLDER, an older one), PyTorch, JAX. After five steps
they are warm; the row says how far their losses lie apart. PyTorch and JAX are started in every way (form of
the input, time steps in one turn of the loop, number of threads), of which the fastest goes on. The rounds
follow: in each, the sides and one large product take turns while the others sleep. A row has a line for each
charrnn: ``grep numba`` makes one table of what is printed and ``grep numpy`` another. Medians; "best" is the
ratio of the best rounds.

--only picks the rows that have all its words (a cell, an H, a number of layers). --threads leaves PyTorch and
JAX that many and no other number to choose from. With --text, that text and its vocabulary at H = 256
instead, PyTorch with a learned embedding of 256 numbers.
PyTorch has two biases where one does, and the second is kept still, or they would move twice as far. Of a
GRU's only a part may be, which costs PyTorch time: so that is done in the compared steps alone.
"""

import argparse
import os
import statistics
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from sides import Side, first_weights

from charrnn import Corpus
from charrnn.training.bench import operations

SIZES = [(64, 32, 64, 65), (128, 64, 64, 65), (256, 64, 128, 65), (512, 64, 128, 65), (1024, 64, 128, 65)]
ROWS: list[tuple[Any, ...]] = [
    (*size, cell, layers)
    for cell, num_layers in (("rnn", 1), ("gru", 2), ("lstm", 2))
    for layers, sizes in ((1, SIZES), (2, SIZES[1:4]))[:num_layers]
    for size in sizes
]
HEAD = (
    "| with | cell | layers | H | B | T | losses within | charrnn | torch | jax | ratio to the faster | best "
    "| of the peak | load | MB | torch, MB | torch and JAX with |"
)
Report = dict[str, float]


def ways(threads: list[str], text: str) -> dict[str, list[tuple[str, ...]]]:
    """For each of the others numbers of threads, with PyTorch's forms of the input and JAX's unrolling."""
    forms = {"torch": ["embedding"] if text else ["onehot", "lookup"], "jax": ["1", "4"]}
    return {name: [(n, form) for n in threads for form in forms[name]] for name in forms}


def fastest(
    name: str, options: list[tuple[str, ...]], row: tuple[Any, ...], text: str
) -> tuple[Side, tuple[str, ...]]:
    """Start a side in each of these ways; the fastest of them is left."""
    sides = {option: Side(name, row, *option, text=text) for option in options}
    seconds = {option: min(side.measure(0.3)["seconds"] for _ in range(2)) for option, side in sides.items()}
    best = min(seconds, key=lambda option: seconds[option])
    for option, side in sides.items():
        if option != best:
            side.end()
    return sides[best], best


def rounds(row: tuple[Any, ...], args: argparse.Namespace, threads: list[str]) -> tuple[Any, str, float]:
    """Measure a row.

    Returns: the reports of each side, one a round; with what PyTorch and JAX were the fastest; and how far
    the losses lie apart.
    """
    with ExitStack() as stack:
        sides = {name: Side("charrnn", row, "auto", name, text=args.text) for name in ("numba", "numpy")}
        if args.before:
            sides["before"] = Side("charrnn", row, "auto", "numpy", text=args.text, package=args.before)
        chosen = {}
        for name, options in ways(threads, args.text).items():
            sides[name], (n, form) = fastest(name, options, row, args.text)
            chosen[name] = f"{name} {'unroll ' if name == 'jax' else ''}{form}, {n} thr."
        other_network = {"torch"} if args.text else set()
        losses = [side.losses for name, side in sides.items() if name not in other_network]
        apart = max(max(of_step) - min(of_step) for of_step in zip(*losses, strict=True))
        sides["peak"] = Side("peak", (16, 1, 1, 2), str(cores()))
        for side in sides.values():
            stack.callback(side.end)
        reports: dict[str, list[Report]] = {name: [] for name in sides}
        for _ in range(args.rounds):
            for name, side in sides.items():
                reports[name].append(side.measure(args.seconds if name != "peak" else 0))
    return reports, "; ".join(chosen.values()), apart


def cores() -> int:
    return len(os.sched_getaffinity(0))


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--seconds", type=float, default=1)
    parser.add_argument("--threads", default="")
    parser.add_argument("--text", default="")
    parser.add_argument("--only", nargs="+", default=[])
    parser.add_argument("--before", type=Path)
    args = parser.parse_args()
    threads = [args.threads] if args.threads else sorted({"1", str(cores())})
    rows = [row for row in ROWS if {*args.only} <= {str(row[0]), *map(str, row[4:])}]
    if args.text:
        rows = [(256, 64, 64, len(Corpus.from_files(args.text).vocabulary), "rnn", 1)]
    if not rows:
        parser.error(f"--only {' '.join(args.only)}: there is no such row")
    if args.before and not (args.before / "charrnn/__init__.py").exists():
        parser.error(f"--before {args.before}: there is no charrnn in this folder")
    print(
        f"{cores()} cores, {args.rounds} rounds of {args.seconds:g} s; thousands of characters per second\n"
    )
    print(HEAD, "|---" * (HEAD.count("|") - 1) + "|", sep="\n", flush=True)
    ratios: dict[str, dict[tuple[Any, ...], float]] = {}
    for row in rows:
        H, B, T, V, cell, layers = row
        reports, chosen, apart = rounds(row, args, threads)
        seconds = {name: [report["seconds"] for report in reports[name]] for name in reports}
        speed = {name: T * B / statistics.median(values) / 1e3 for name, values in seconds.items()}
        top = {name: T * B / min(values) / 1e3 for name, values in seconds.items()}
        peak = statistics.median(report["value"] for report in reports["peak"])
        each = operations(first_weights(H, V, cell, layers), T, B) / (T * B)  # of a character
        others = f"{reports['torch'][-1]['resident']:.0f} | {chosen}"
        for name in [name for name in reports if name not in ("torch", "jax", "peak")]:
            ratio, best = (of[name] / max(of["torch"], of["jax"]) for of in (speed, top))
            ratios.setdefault(name, {})[row] = ratio
            memory = reports[name][-1]
            print(
                f"| {name} | {cell} | {layers} | {H} | {B} | {T} | {apart:.0e} | {speed[name]:.1f} "
                f"| {speed['torch']:.1f} | {speed['jax']:.1f} | {ratio:.2f} | {best:.2f} "
                f"| {each * speed[name] / 1e6 / peak:.2f} | {os.getloadavg()[0]:.1f} "
                f"| {memory['resident']:.0f} ({memory['proportional']:.0f}) | {others} |",
                flush=True,
            )
    print()
    for name, of_rows in ratios.items():
        small = [ratio for (H, *_, layers), ratio in of_rows.items() if layers == 1 and H <= 256]
        said = f"; one layer of H = 64, 128, 256: {statistics.geometric_mean(small):.2f}" if small else ""
        print(f"{name}: geometric mean of the ratios {statistics.geometric_mean(of_rows.values()):.2f}{said}")


if __name__ == "__main__":
    main()
