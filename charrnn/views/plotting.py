"""Pictures of a run, drawn with matplotlib if it is installed (the extra ``plot``)."""

import os
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from charrnn.errors import CharRNNError, RunError
from charrnn.runs import is_run
from charrnn.runs.metrics import METRICS, METRICS_BYTES
from charrnn.runs.npz import open_plain

POINTS = 4096  # of a curve at the most: more than a picture has columns
LINE_BYTES = 4096  # of a line of metrics.jsonl at the most


class Record(BaseModel):
    """What a picture needs of a line of metrics.jsonl."""

    model_config = ConfigDict(strict=True, allow_inf_nan=False)

    epoch: float
    loss: float
    val_loss: float | None


@dataclass
class Curve:
    """The points of a curve: all, or of a long one every second, every fourth …, in a fixed memory."""

    most: int = POINTS
    points: list[tuple[float, float]] = field(default_factory=list)
    every: int = 1
    count: int = 0

    def add(self, x: float, y: float) -> None:
        """Take a point in, or pass it over."""
        if self.count % self.every == 0:
            self.points.append((x, y))
            if len(self.points) == self.most:
                del self.points[1::2]
                self.every *= 2
        self.count += 1


def plot_losses(runs: Sequence[Path], out: Path) -> list[str]:
    """Draw training and validation loss (nats per character) over epochs, one colour a run.

    Arguments:
        runs: folders of runs.
        out: the picture to write; its ending says the format (png, svg, pdf).

    Returns: notes on the lines that could not be drawn.

    Raises:
        RunError: a folder is not a run, or has no metrics yet; or the picture cannot be written.
        CharRNNError: matplotlib is not installed.
    """
    read = [read_losses(run) for run in runs]
    try:
        from matplotlib.figure import Figure
    except ImportError:
        raise CharRNNError(
            "pictures need matplotlib: pip install matplotlib, or install charrnn with the extra 'plot'"
        ) from None
    figure = Figure(figsize=(8, 5), layout="constrained")
    axes = figure.subplots()
    for i, (run, (train, val, _)) in enumerate(zip(runs, read, strict=True)):
        name = os.fsencode(run.resolve().name).decode(errors="replace").replace("$", r"\$")
        name = " " * name.startswith("_") + name  # a label that begins with it would not be shown
        colour, label = f"C{i}", None if val.points else name
        axes.plot(*zip(*train.points, strict=True), color=colour, alpha=0.4, linewidth=1, label=label)
        if val.points:
            axes.plot(*zip(*val.points, strict=True), color=colour, marker=".", label=name)
    axes.set_xlabel("epoch")
    axes.set_ylabel("loss (nats per character)")
    axes.set_title("validation (dots) and training (pale)")
    axes.grid(alpha=0.3)
    axes.legend()
    try:
        with warnings.catch_warnings(action="ignore"):  # the font may lack a character of a name
            figure.savefig(out)
    except (OSError, ValueError, RuntimeError) as error:  # the last one: pgf where there is no LaTeX
        raise RunError(f"{out}: cannot be written: {error}") from None
    return [note for _, _, notes in read for note in notes]


def read_losses(run: Path) -> tuple[Curve, Curve, list[str]]:
    """The losses of a run over epochs, in training and in validation; and a note if some are missing.

    The lines are read one by one up to the first that is none. That may be a torn last line, as a run leaves
    it that was killed or is being written to: it is not worth a note.
    """
    if not is_run(run):
        raise RunError(f"{run}: not the folder of a run")
    path = run / METRICS
    train, val, notes = Curve(), Curve(), list[str]()
    try:
        with open_plain(path, METRICS_BYTES) as file:
            for number, line in enumerate(iter(lambda: file.readline(LINE_BYTES), b""), 1):
                try:
                    record = Record.model_validate_json(line)
                except ValidationError:
                    if line.endswith(b"\n") or file.read(1):
                        notes.append(f"{path}: line {number:,} is damaged; what stands before it is drawn")
                    break
                train.add(record.epoch, record.loss)
                if record.val_loss is not None:
                    val.add(record.epoch, record.val_loss)
    except OSError as error:
        raise RunError(f"{path}: cannot be read: {error.strerror}") from None
    if not train.points:
        raise RunError(f"{path}: missing or damaged: it has no line that can be drawn")
    return train, val, notes
