"""Make the run that comes with charrnn of one that was trained: its best network, in half precision.

charrnn train data/fables.txt … --out runs/fables-gru     # the whole command is in data/README.md
python data/fables-gru/pack.py runs/fables-gru
"""

import sys
from pathlib import Path

import numpy as np

from charrnn.npz import read_arrays, write_arrays
from charrnn.runs import read_note

HERE = Path(__file__).parent


def pack(run: Path, out: Path) -> None:
    """Write best.npz, the note without a path in it, and of the metrics the lines of validations."""
    arrays = read_arrays(run / "best.npz")
    halves = {name: a.astype(np.float16) if a.dtype == np.float32 else a for name, a in arrays.items()}
    write_arrays(out / "best.npz", halves)
    note = read_note(run)
    note.model_copy(update={"corpus": note.corpus.model_copy(update={"sources": []})}).write(out)
    lines = (run / "metrics.jsonl").read_text().splitlines(keepends=True)
    (out / "metrics.jsonl").write_text("".join(line for line in lines if '"val_loss": null' not in line))


if __name__ == "__main__":
    pack(Path(sys.argv[1]), HERE)
