"""Hundreds of kills and damaged files, counted: python tests/benchmarks/faults.py [KILLS] [FILES]

A run of a small network is killed −9 at random moments and resumed, KILLS times (default 300); after every
fifty it is let to its end and compared, bit for bit, with one that was never interrupted. Then FILES
(default 20,000) damaged copies of a save are read: bytes changed, cut out, doubled or zeroed.
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

from charrnn.errors import RunError  # noqa: E402
from charrnn.runs.npz import read_arrays  # noqa: E402


def kills(folder: Path, total: int) -> None:
    text = folder / "proverb.txt"
    text.write_text(PROVERB * 40)
    finish(*training(text, folder / "whole", 2 * STEPS), "--save-every", 60)
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


def damage(good: bytes, rng: random.Random) -> bytes:
    """A copy with something wrong with it."""
    i, j = sorted(rng.randrange(len(good)) for _ in range(2))
    bad = bytearray(good)
    match rng.randrange(6):
        case 0:
            bad[i] ^= rng.randrange(1, 256)
        case 1:
            del bad[i:]
        case 2:
            del bad[i : j + 1]
        case 3:
            bad[i:j] = rng.randbytes(j - i)
        case 4:
            bad[i:i] = bad[i : j + 1]
        case 5:
            bad[i:] = bytes(len(bad) - i)  # a block that never reached the disk
    return bytes(bad)


def damaged(folder: Path, total: int) -> None:
    good = (folder / "whole" / "last.npz").read_bytes()
    path, rng = folder / "damaged.npz", random.Random(0)
    tried = refused = 0
    while tried < total:
        bad = damage(good, rng)
        if bad == good:
            continue
        path.write_bytes(bad)
        tried += 1
        try:
            read_arrays(path)
        except RunError:
            refused += 1
    print(f"{tried:,} damaged files of about {len(good):,} bytes tried, {refused:,} refused")


def main() -> int:
    numbers = [int(word) for word in sys.argv[1:]]
    total_kills, total_files = (numbers + [300, 20_000][len(numbers) :])[:2]
    with tempfile.TemporaryDirectory() as name:
        kills(Path(name), total_kills)
        damaged(Path(name), total_files)
    return 0


if __name__ == "__main__":
    sys.exit(main())
