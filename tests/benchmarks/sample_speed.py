"""Sampling: one text beside PyTorch's step by step, and 64 at once. Prints, and asserts nothing.

    python tests/benchmarks/sample_speed.py [--rounds 7]

One text is drawn by NumPy and by the loop that numba compiles, 64 by NumPy. All sides draw at temperature 1
from an untrained network over 65 characters. PyTorch runs torch.nn.RNN one step at a time under
inference_mode with torch.multinomial, with one thread and with all; its best stands.
"""

import argparse
import os
import statistics
import subprocess
import sys
import time
from itertools import islice
from typing import Any

from sides import first_weights

V, LENGTH = 65, 2000


def timed(drawn: Any, length: int) -> float:
    """Characters a second, of each text."""
    list(islice(drawn, 100))
    began = time.perf_counter()
    list(islice(drawn, length))
    return length / (time.perf_counter() - began)


def numpy_side(H: int, texts: int) -> float:
    import numpy as np
    from threadpoolctl import threadpool_limits

    from charrnn import SampleConfig
    from charrnn.model.sampling import generate, generators

    rngs, nothing = list(islice(generators(0), texts)), np.zeros(0, np.uint8)
    with threadpool_limits(1, "blas"):
        drawn = generate(first_weights(H, V), nothing, SampleConfig(temperature=1), rngs)
        return texts * timed(drawn, LENGTH)


def numba_side(H: int, texts: int) -> float:
    import numpy as np

    from charrnn import SampleConfig
    from charrnn.model.compiled import generate

    rng, nothing = np.random.default_rng(0), np.zeros(0, np.uint8)
    drawn = generate(first_weights(H, V), nothing, SampleConfig(temperature=1), rng)
    return texts * timed(drawn, 20 * LENGTH)


def torch_side(H: int, threads: int) -> float:
    import torch

    torch.set_num_threads(threads)
    rnn, dense, eye = torch.nn.RNN(V, H), torch.nn.Linear(H, V), torch.eye(V)
    with torch.inference_mode():
        token, state = 0, torch.zeros(1, 1, H)
        for i in range(100 + LENGTH):
            if i == 100:
                began = time.perf_counter()
            a, state = rnn(eye[token].view(1, 1, V), state)
            token = int(torch.multinomial(torch.softmax(dense(a[0, 0]), -1), 1))
        return LENGTH / (time.perf_counter() - began)


def measure(*words: object) -> float:
    command = [sys.executable, __file__, *map(str, words)]
    return float(subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=7)
    rounds = range(parser.parse_args().rounds)
    cores = len(os.sched_getaffinity(0))
    print("   H     NumPy     numba  ratio    torch  ratio   64 at once  to one  (characters per second)")
    for H in (128, 512):
        sides = [
            *(("numpy", H, 1), ("numba", H, 1), ("numpy", H, 64)),
            *(("torch", H, n) for n in sorted({1, cores})),
        ]
        speeds = {side: [] for side in sides}
        for _ in rounds:
            for side in sides:
                speeds[side].append(measure(*side))
        one, fast, many, *torchs = (statistics.median(speeds[side]) for side in sides)
        best = max(torchs)
        print(
            f"{H:4} {one:9,.0f} {fast:9,.0f} {fast / one:6.2f} {best:8,.0f} {one / best:6.2f} {many:12,.0f} "
            f"{many / one:7.1f}",
            flush=True,
        )


SIDES = {"numpy": numpy_side, "numba": numba_side, "torch": torch_side}

if __name__ == "__main__":
    if len(sys.argv) > 1 and sys.argv[1] in SIDES:
        side, *sizes = sys.argv[1:]
        print(SIDES[side](*map(int, sizes)))
    else:
        main()
