"""Pictures of a run, drawn with matplotlib if it is installed (the extra ``plot``)."""

import json
from collections.abc import Sequence
from pathlib import Path

from charrnn.errors import CharRNNError, RunError
from charrnn.runs import is_run
from charrnn.runs.metrics import METRICS, METRICS_BYTES
from charrnn.runs.npz import open_plain


def plot_losses(runs: Sequence[Path], out: Path) -> None:
    """Draw training and validation loss (nats per character) over epochs, one colour a run.

    Arguments:
        runs: folders of runs.
        out: the picture to write; its ending says the format (png, svg, pdf).

    Raises:
        RunError: a folder is not a run, or has no metrics yet; or the picture cannot be written.
        CharRNNError: matplotlib is not installed.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError:
        raise CharRNNError(
            "pictures need matplotlib: pip install matplotlib, or install charrnn with the extra 'plot'"
        ) from None
    figure = Figure(figsize=(8, 5), layout="constrained")
    axes = figure.subplots()
    for i, run in enumerate(runs):
        if not is_run(run):
            raise RunError(f"{run}: not the folder of a run")
        path = run / METRICS
        try:
            with open_plain(path, METRICS_BYTES) as file:
                lines = [json.loads(line) for line in file]
            train = [(float(line["epoch"]), float(line["loss"])) for line in lines]
            val = [(float(line["epoch"]), float(line["val_loss"])) for line in lines if line["val_loss"]]
        except (OSError, RunError, ValueError, KeyError, TypeError, OverflowError, RecursionError):
            raise RunError(f"{path}: missing or damaged") from None
        colour = f"C{i}"
        label = None if val else run.name
        axes.plot(*zip(*train, strict=True), color=colour, alpha=0.4, linewidth=1, label=label)
        if val:
            axes.plot(*zip(*val, strict=True), color=colour, marker=".", label=run.name)
    axes.set_xlabel("epoch")
    axes.set_ylabel("loss (nats per character)")
    axes.set_title("validation (dots) and training (pale)")
    axes.grid(alpha=0.3)
    axes.legend()
    try:
        figure.savefig(out)
    except (OSError, ValueError) as error:
        raise RunError(f"{out}: cannot be written: {error}") from None
