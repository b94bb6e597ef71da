"""Memory and encoding speed by the size of the text. Prints, and asserts nothing.

    python tests/benchmarks/large_texts.py FILE ... [--sizes 10 100 1000]

Of each FILE, repeated to so many MB (10^6 bytes), one process encodes the text and says how fast, another
trains on it from a cache that is not there yet and scores 1 % of it, and a third trains on it again with
the cache that is there. Peak memory is ru_maxrss, as the system counts it when the process has ended. Takes
2.5 times the largest size on the disk of the temporary folder.
"""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

ENCODE = """
import sys, time
from pathlib import Path
from charrnn import Corpus
began = time.perf_counter()
corpus = Corpus.from_files(sys.argv[1], cache=Path(sys.argv[2]))
print(corpus.size / 1e6 / (time.perf_counter() - began))
"""
SETTINGS = ["--hidden-size", "128", "--val-fraction", "0.01", "--test-fraction", "0", "--max-steps"]


def peak(command: Sequence[str]) -> tuple[float, str]:
    """Run it. Returns: its peak memory in MB, and what it printed."""
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    said = process.stdout.read()
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        raise SystemExit(f"{' '.join(command)}: failed")
    return usage.ru_maxrss / (1e6 if sys.platform == "darwin" else 1e3 / 1.024), said


def repeated(file: Path, size: int, path: Path) -> None:
    """Write whole lines of ``file`` again and again, up to ``size`` bytes."""
    content = file.read_bytes()
    content = content[: content.rindex(b"\n") + 1]
    with path.open("wb") as text:
        for _ in range(max(1, size // len(content))):
            text.write(content)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("files", nargs="+", type=Path, metavar="FILE")
    parser.add_argument("--sizes", nargs="+", type=int, default=[10, 100, 1000], metavar="MB")
    parser.add_argument("--steps", default="300")
    args = parser.parse_args()
    print(f"{'text':20} {'MB':>6} {'encoding':>10} {'first run':>10} {'next run':>10}")
    for file in args.files:
        for size in args.sizes:
            with tempfile.TemporaryDirectory() as name:
                folder = Path(name)
                text = folder / "text.txt"
                repeated(file, size * 10**6, text)
                _, speed = peak([sys.executable, "-c", ENCODE, str(text), str(folder / "tokens.bin")])
                (folder / "tokens.bin").unlink()
                command = [sys.executable, "-m", "charrnn", "train", str(text), "--overwrite"]
                command += ["--out", str(folder / "run"), *SETTINGS, args.steps]
                runs = [peak(command)[0], peak(command)[0]]
                megabytes = text.stat().st_size / 1e6
                shutil.rmtree(folder / "run")
            memory = "".join(f" {run:7.1f} MB" for run in runs)
            print(f"{file.name:20} {megabytes:6.0f} {float(speed):5.0f} MB/s{memory}", flush=True)


if __name__ == "__main__":
    main()
