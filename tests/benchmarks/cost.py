"""What a step costs, and starting: curves, memory, a busy neighbour. Prints, and asserts nothing.

python tests/benchmarks/cost.py
"""

import multiprocessing
import os
import statistics
import subprocess
import sys
import time

from sides import measure

V = 65


def curve() -> None:
    """Time a step against T and against B: by the character it should stay the same."""
    print("H = 256, one thread: ms a step, and ns a character")
    for T, B in [
        (32, 32),
        (64, 32),
        (128, 32),
        (256, 32),
        (512, 32),
        (64, 16),
        (64, 32),
        (64, 64),
        (64, 128),
    ]:
        seconds = measure("charrnn", (256, B, T, V), "1", seconds=1)["seconds"]
        print(f"  T = {T:3}, B = {B:3}: {seconds * 1e3:7.2f} ms {seconds / (T * B) * 1e9:7.0f} ns")


def spin() -> None:
    while True:
        pass


def neighbour() -> None:
    """Two threads against one while another process keeps one core busy."""
    hog = multiprocessing.get_context("spawn").Process(target=spin, daemon=True)
    hog.start()
    try:
        print("beside a busy process, two threads to one:")
        for size in [(128, 64, 64, V), (256, 64, 128, V), (512, 64, 128, V)]:
            ratios = []
            for _ in range(5):
                one, two = (measure("charrnn", size, n, seconds=2)["seconds"] for n in ("1", "2"))
                ratios.append(one / two)
            print(f"  {size}: {statistics.median(ratios):.2f}", flush=True)
    finally:
        hog.kill()


def ten_thousand_steps() -> None:
    """Resident memory of a run after 1,000 and after 10,000 steps."""
    code = """
import charrnn, sys, tempfile
from pathlib import Path
def resident():
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS"))
class Watch(charrnn.training.trainer.Progress):
    steps = 0
    def step(self, characters, loss):
        self.steps += 1
        if self.steps in (100, 1000, 10000):
            print(f"  after {self.steps:6,} steps: {resident():,} kB", flush=True)
corpus = charrnn.Corpus.from_text("the quick brown fox jumps over the lazy dog\\n" * 500)
config = charrnn.TrainConfig(hidden_size=32, seq_length=16, batch_size=16, max_steps=10000, epochs=1000,
    sample_every=0, threads=1)
with tempfile.TemporaryDirectory() as folder:
    charrnn.train(corpus, config, folder + "/run", progress=Watch())
""".replace("\\\\n", "\\n")
    print("resident memory of a run:")
    subprocess.run([sys.executable, "-c", code], check=True)


def starting() -> None:
    """Seconds to start, medians of fifteen."""
    quiet = {"stdout": subprocess.DEVNULL}
    commands = {
        "import numpy": [sys.executable, "-c", "import numpy"],
        "import charrnn": [sys.executable, "-c", "import charrnn"],
        "charrnn --help": [sys.executable, "-m", "charrnn", "--help"],
    }
    times = {name: [] for name in commands}
    for _ in range(15):
        for name, command in commands.items():
            began = time.perf_counter()
            subprocess.run(command, check=True, **quiet)
            times[name].append(time.perf_counter() - began)
    for name, values in times.items():
        print(f"{name}: {statistics.median(values):.3f} s")


if __name__ == "__main__":
    print(f"{len(os.sched_getaffinity(0))} cores")
    starting()
    ten_thousand_steps()
    curve()
    neighbour()
