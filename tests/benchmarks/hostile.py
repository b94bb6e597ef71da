"""Hostile run folders by the thousand: python tests/benchmarks/hostile.py [SEED] [COUNT]

From SEED (0) on, COUNT (20,000) copies of a run are each made hostile and given to a command, as in
tests/hostile.py. What is not as it should be is printed with its seed; with a COUNT of 1 that repeats it.
"""

import faulthandler
import os
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

sys.path[0] = str(Path(__file__).resolve().parents[1])

from hostile import HANG_SECONDS, Place, attempt  # noqa: E402


def main() -> int:
    seed, count = ([int(word) for word in sys.argv[1:]] + [0, 20_000][len(sys.argv) - 1 :])[:2]
    ends, slowest, good, began = Counter[tuple[str, object]](), (0.0, 0, ""), 0, time.monotonic()
    os.fsync = lambda descriptor: None  # takes its time, and is of no use where nothing dies
    with tempfile.TemporaryDirectory() as folder:
        place = Place.make(Path(folder))
        for n in range(seed, seed + count):
            faulthandler.dump_traceback_later(2 * HANG_SECONDS, exit=True)
            tried = attempt(place, n)
            ends[tried.kind, tried.code if tried.code in (0, 2) else "other"] += 1
            slowest = max(slowest, (tried.seconds, n, f"{tried.kind}, {tried.words[0]}"))
            good += not tried.faults
            for fault in tried.faults:
                print(f"seed {n}, {tried.kind}, {' '.join(tried.words)}: {fault}", flush=True)
    print(f"{'kind':28}{'tried':>7}{'exit 0':>8}{'exit 2':>8}{'other':>7}")
    for kind in sorted({kind for kind, _ in ends}):
        codes = [ends[kind, code] for code in (0, 2, "other")]
        print(f"{kind:28}{sum(codes):7,}{codes[0]:8,}{codes[1]:8,}{codes[2]:7,}")
    print(f"slowest: {slowest[0]:.2f} s of CPU, seed {slowest[1]} ({slowest[2]})")
    print(f"{good:,} of {count:,} as they should be; {time.monotonic() - began:.0f} s")
    return 0


if __name__ == "__main__":
    sys.exit(main())
