"""Hundreds of kills, counted: python tests/benchmarks/faults.py [KILLS]

A run of a small network is killed −9 at random moments and resumed, KILLS times (default 300); after every
fifty it is let to its end and compared, bit for bit, with one that was never interrupted.
"""

import random
import sys
import tempfile
import time
from pathlib import Path

TESTS = Path(__file__).parents[1]
sys.path[:0] = [str(TESTS / "runs"), str(TESTS), str(TESTS.parent)]

from conftest import PROVERB, assert_same_run  # noqa: E402
from test_faults import STEPS, finish, kill_again_and_again, training  # noqa: E402


def kills(folder: Path, total: int) -> None:
    text = folder / "proverb.txt"
    text.write_text(PROVERB * 40)
    finish(*training(text, folder / "whole", 2 * STEPS, save_every=60))
    began, done, writing, runs = time.monotonic(), 0, 0, 0
    while done < total:
        run = folder / f"killed-{runs}"
        words = training(text, run, 2 * STEPS)
        more, torn = kill_again_and_again(text, run, words, min(50, total - done), random.Random(runs))
        assert_same_run(folder / "whole", run)
        done, writing, runs = done + more, writing + torn, runs + 1
        print(
            f"{done} kills survived ({writing} of them while a file was being written); {runs} runs ended "
            f"with the same bits; {time.monotonic() - began:.0f} s",
            flush=True,
        )


def main() -> int:
    with tempfile.TemporaryDirectory() as name:
        kills(Path(name), int(sys.argv[1]) if len(sys.argv) > 1 else 300)
    return 0


if __name__ == "__main__":
    sys.exit(main())
