"""What a step costs, and starting: curves, memory, a busy neighbour. Prints, and asserts nothing.

python tests/benchmarks/cost.py
"""

import multiprocessing
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from sides import first_weights, measure

from charrnn.training.bench import operations

V = 65


def curve() -> None:
    """Time a step against T, B and V: by the character it stays the same, but for the products with W_ya."""
    print("H = 128, one thread, NumPy kernels: of a step, a character")
    top = measure("peak", (16, 1, 1, 2), "1", seconds=0)["value"]
    sizes = [(T, 32, V) for T in (16, 64, 256, 1024)]
    sizes += [(64, B, V) for B in (16, 64, 128)]
    sizes += [(64, 32, more) for more in (500, 5000)]
    for T, B, characters in sizes:
        report = measure("charrnn", (128, B, T, characters), "1", seconds=1)
        ns = report["seconds"] / (T * B) * 1e9
        products = operations(first_weights(128, characters), T, B) / (T * B) / top
        print(
            f"  T = {T:4}, B = {B:3}, V = {characters:4}: {ns:7.0f} ns, of which products at the peak "
            f"{products:6.0f}, the rest {ns - products:6.0f}; {report['resident']:4.0f} MB",
            flush=True,
        )


def growing_text() -> None:
    """Time a step, and the memory of a run, against the size of its text."""
    code = """
import charrnn, resource, sys, tempfile, time
class Watch(charrnn.Progress):
    times = []
    def step(self, characters, loss):
        self.times.append(time.perf_counter())
corpus = charrnn.Corpus.from_files(sys.argv[1])
config = charrnn.TrainConfig(hidden_size=128, max_steps=300, sample_every=0, threads=1, kernels="numpy")
with tempfile.TemporaryDirectory() as folder:
    charrnn.train(corpus, config, folder + "/run", progress=Watch())
steps = sorted(b - a for a, b in zip(Watch.times[50:], Watch.times[51:]))
ns = steps[len(steps) // 2] / (config.seq_length * config.batch_size) * 1e9
print(f"{ns:.0f} ns, {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3:.0f} MB")
"""
    print("a run over a random text of 65 characters, H = 128, one thread: a character of a step, and memory")
    piece = np.random.default_rng(0).integers(48, 48 + V, 10**6, np.uint8).tobytes()
    with tempfile.TemporaryDirectory() as folder:
        for megabytes in (1, 10, 100):
            text = Path(folder, f"{megabytes}.txt")
            text.write_bytes(piece * megabytes)
            done = subprocess.run(
                [sys.executable, "-c", code, text], capture_output=True, text=True, check=True
            )
            print(f"  {megabytes:3} MB: {done.stdout.strip().splitlines()[-1]}", flush=True)


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
    growing_text()
    curve()
    neighbour()
