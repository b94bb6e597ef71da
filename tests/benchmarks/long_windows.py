"""Windows of many time steps: memory and time with and without --recompute-every. Prints, asserts nothing.

    python tests/benchmarks/long_windows.py

Each line is a process of its own: three rounds in turn, the median of each, its peak memory.
"""

import json
import resource
import statistics
import subprocess
import sys
import time

import numpy as np

H, B, V = 128, 4, 65


def child(T: int, every: int) -> None:
    from threadpoolctl import threadpool_limits

    from charrnn import CharRNN, Vocabulary
    from charrnn.model import segments

    model = CharRNN(Vocabulary.of_text("".join(map(chr, range(48, 48 + V)))), H)
    tokens = np.random.default_rng(0).integers(0, V, (T + 1, B))
    how = {"recompute_every": every, "space": model.space(every or T, B)}
    g, state = model.parameters.like(), model.initial_state(B)
    times = []
    with threadpool_limits(1, "blas"):
        for _ in range(4):
            began = time.perf_counter()
            segments.loss_and_gradients(model, tokens[:-1], tokens[1:], state, g, **how)
            times.append(time.perf_counter() - began)
    megabytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(json.dumps([statistics.median(times[1:]), megabytes]))


def measure(*words: int) -> list[float]:
    command = [sys.executable, __file__, *map(str, words)]
    return json.loads(subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout)


def main() -> None:
    print(f"H = {H}, B = {B}, V = {V}, one thread")
    for T in (128, 2000, 20000, 100000):
        for every in (0, int(np.ceil(np.sqrt(T)))):
            rounds = [measure(T, every) for _ in range(3)]
            seconds, megabytes = (statistics.median(values) for values in zip(*rounds, strict=True))
            print(
                f"  T = {T:6}, --recompute-every {every:3}: {seconds:6.3f} s, {megabytes:6.0f} MB",
                flush=True,
            )


if __name__ == "__main__":
    if sys.argv[1:]:
        child(*map(int, sys.argv[1:]))
    else:
        main()
