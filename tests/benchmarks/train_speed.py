"""Whole training steps beside PyTorch's and JAX's. Prints, and asserts nothing.

    python tests/benchmarks/train_speed.py [--rounds 7] [--seconds 2] [--text FILE | --cells [--only gru 2]]
                                           [--threads 2] [--kernels numpy | numba]

First every side takes five steps from the same weights on the same windows: the table begins with how far
their losses lie apart. Then each way of using PyTorch and JAX (form of the input, number of threads) runs
once, and the fastest of each goes on. The rounds follow: each side in a process of its own, in turn. Medians.

With FILE, that text and its vocabulary at H = 256 instead, PyTorch with a learned embedding of 256 numbers
among its ways. With --cells, GRUs and LSTMs of one and of two layers in place of tanh: 16 rows. --only picks
the rows that have all its words (a cell, an H, a number of layers), so that a table can be made row by row;
JAX may also unroll the loop of such cells. --kernels are charrnn's. "Best" is the ratio of the best rounds.
--threads leaves PyTorch and JAX that many and no other number to choose from.
PyTorch has two biases where one does, and the second is kept still, or they would move twice as far. Of a
GRU's only a part may be, which costs PyTorch time: so that is done in the compared steps alone.
"""

import argparse
import os
import statistics
from typing import Any

from sides import first_weights, measure, peak

from charrnn import Corpus
from charrnn.training.bench import operations

SIZES = [(64, 32, 64, 65), (128, 64, 64, 65), (256, 64, 128, 65), (512, 64, 128, 65), (1024, 64, 128, 65)]
CELLS = [
    (*size, cell, layers)
    for cell in ("gru", "lstm")
    for layers, sizes in ((1, SIZES), (2, SIZES[1:4]))
    for size in sizes
]


def ways(threads: list[str], text: str, cells: bool) -> dict[str, list[tuple[str, ...]]]:
    """For each of the others numbers of threads, forms of the input, and of JAX time steps to unroll."""
    forms: dict[str, list[tuple[str, ...]]] = {
        "torch": [("embedding",)] if text else [("onehot",), ("lookup",)],
        "jax": [("gather",)] if text else [("gather",), ("gather", "4") if cells else ("onehot",)],
    }
    return {name: [(n, *form) for n in threads for form in forms[name]] for name in forms}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--seconds", type=float, default=2)
    parser.add_argument("--text", default="")
    parser.add_argument("--cells", action="store_true")
    parser.add_argument("--only", nargs="+", default=[])
    parser.add_argument("--threads", default="")
    parser.add_argument("--kernels", choices=["numpy", "numba"], default="numpy")
    args = parser.parse_args()
    cores = len(os.sched_getaffinity(0))
    sizes: list[tuple[Any, ...]] = [*(CELLS if args.cells else SIZES)]
    if args.text:
        sizes = [(256, 64, 64, len(Corpus.from_files(args.text).vocabulary))]
    sizes = [(H, *rest) for H, *rest in sizes if {*args.only} <= {str(H), *map(str, rest[3:])}]
    if not sizes:
        parser.error(f"--only {' '.join(args.only)}: there is no such row")
    common = {"text": args.text, "seconds": args.seconds}
    print(
        f"{cores} cores, {args.rounds} rounds of {args.seconds:g} s, {args.kernels} kernels; thousands of "
        "characters per second"
    )
    print(
        "(H, B, T, V)                   losses within  charrnn   torch     jax  ratio   best  two/one  "
        "of peak  load  MB: most (share)  torch  with"
    )
    ratios = []
    for size in sizes:
        H, B, T, V, *form = size
        best, apart = {}, 0.0
        ours = measure("charrnn", size, "auto", args.kernels, **common)["losses"]
        threads = [args.threads] if args.threads else sorted({"1", str(cores)})
        for name, options in ways(threads, args.text, args.cells).items():
            tried = {option: measure(name, size, *option, **common) for option in options}
            best[name] = min(tried, key=lambda option: tried[option]["seconds"])
            for option, report in tried.items():
                if "embedding" not in option:  # another network
                    apart = max(apart, *(abs(a - b) for a, b in zip(ours, report["losses"], strict=True)))
        sides = {"charrnn": ("auto", args.kernels), **best}
        sides |= {} if args.cells else {"one": ("1", args.kernels)}
        reports: dict[str, list[dict[str, Any]]] = {name: [] for name in sides}
        peaks: list[float] = []
        for _ in range(args.rounds):
            for name, option in sides.items():
                side = "charrnn" if name == "one" else name
                reports[name].append(measure(side, size, *option, **common))
            peaks.append(peak(cores))
        median = {name: statistics.median(r["seconds"] for r in reports[name]) for name in sides}
        speed = {name: T * B / seconds / 1e3 for name, seconds in median.items()}
        ratio = speed["charrnn"] / max(speed["torch"], speed["jax"])
        ratios.append(ratio)
        fastest = {name: min(r["seconds"] for r in reports[name]) for name in sides}
        best_ratio = min(fastest["torch"], fastest["jax"]) / fastest["charrnn"]
        gflops = operations(first_weights(H, V, *form), T, B) / median["charrnn"] / 1e9
        of_peak = gflops / statistics.median(peaks)
        two_to_one = f"{speed['charrnn'] / speed['one']:.2f}" if "one" in speed else ""
        memory = reports["charrnn"][-1]
        print(
            f"{size!s:31} {apart:12.0e} {speed['charrnn']:8.1f} {speed['torch']:7.1f} {speed['jax']:7.1f} "
            f"{ratio:6.2f} {best_ratio:6.2f} {two_to_one:>8} {of_peak:8.2f} {os.getloadavg()[0]:5.1f} "
            f"{memory['resident']:9.0f} ({memory['proportional']:.0f}) "
            f"{reports['torch'][-1]['resident']:9.0f}  "
            + "; ".join(f"{name} {' unroll '.join(how)}, {n} thr." for name, (n, *how) in best.items()),
            flush=True,
        )
    print(f"geometric mean of the ratios: {statistics.geometric_mean(ratios):.2f}")


if __name__ == "__main__":
    main()
