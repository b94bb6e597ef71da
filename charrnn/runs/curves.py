"""The curves of a run, from its metrics.jsonl, which is read without trusting it."""

from dataclasses import dataclass, field
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from charrnn.errors import RunError
from charrnn.npz import open_plain
from charrnn.runs.folder import is_run
from charrnn.runs.metrics import METRICS, METRICS_BYTES

POINTS = 4096  # of a curve at the most: more than a picture has columns
LINE_BYTES = 4096  # of a line of metrics.jsonl at the most


class Record(BaseModel):
    """What is drawn of a line of metrics.jsonl, over the epoch it was written at.

    A loss is the mean over all characters since the line before; the gradient's norm is that before clipping.
    """

    model_config = ConfigDict(strict=True, allow_inf_nan=False)

    epoch: float
    loss: float
    val_loss: float | None
    grad_norm: float | None = None
    learning_rate: float | None = None


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


def read_curves(run: Path, most: int = POINTS) -> tuple[dict[str, Curve], list[str]]:
    """The curves of a run over its epochs, by the names in ``Record``; and a note if some of it is missing.

    The lines are read one by one up to the first that is none. That may be a torn last line, as a run leaves
    it that was killed or is being written to: it is not worth a note.

    Arguments:
        most: points of a curve.

    Raises:
        RunError: the folder is not a run, or metrics.jsonl cannot be read.
    """
    if not is_run(run):
        raise RunError(f"{run}: not the folder of a run")
    path = run / METRICS
    curves, notes = {name: Curve(most) for name in Record.model_fields if name != "epoch"}, list[str]()
    try:
        with open_plain(path, METRICS_BYTES) as file:
            for number, line in enumerate(iter(lambda: file.readline(LINE_BYTES), b""), 1):
                try:
                    record = Record.model_validate_json(line)
                except ValidationError:
                    if line.endswith(b"\n") or file.read(1):
                        notes.append(f"{path}: line {number:,} is damaged; what stands before it is drawn")
                    break
                for name, curve in curves.items():
                    if (y := getattr(record, name)) is not None:
                        curve.add(record.epoch, y)
    except OSError as error:
        raise RunError(f"{path}: cannot be read: {error.strerror}") from None
    return curves, notes
