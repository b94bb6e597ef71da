"""The runs in a folder, each in a few words; read without trusting them, and without a lock."""

import json
import math
import os
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from charrnn.config import TrainConfig
from charrnn.errors import CharRNNError, RunError, brief
from charrnn.npz import open_plain
from charrnn.runs.folder import LAST, is_run
from charrnn.runs.lock import is_held
from charrnn.runs.metrics import METRICS, METRICS_BYTES
from charrnn.runs.note import Note
from charrnn.runs.state import RunState, Snapshot

DEPTH, FOLDERS = 8, 10_000  # how far below a folder, and how many folders, are looked at
TAIL = 4096  # bytes of metrics.jsonl that its last line is looked for in


@dataclass
class RunSummary:
    """A run in a few words. What cannot be read is None.

    Attributes:
        name: its path from the folder that was listed.
        best_val_loss: in nats per character; ``bits_per_char`` is the same in bits.
        minutes: of training.
        state: ``finished``, ``running`` (a process holds its lock), ``stopped`` or ``damaged``.
        error: what is wrong with a damaged one.
    """

    name: str
    cell: str | None = None
    num_layers: int | None = None
    hidden_size: int | None = None
    vocabulary_size: int | None = None
    steps: int | None = None
    best_val_loss: float | None = None
    bits_per_char: float | None = None
    minutes: float | None = None
    state: str = "stopped"
    error: str | None = None


def runs_below(folder: Path) -> Iterator[Path]:
    """Find the runs in a folder and up to eight below it; links are not followed, and in a run is no other.

    Raises:
        RunError: there are too many folders.
    """
    folders, seen = [(folder, 0)], 1
    while folders:
        path, depth = folders.pop()
        if is_run(path):
            yield path
        elif depth < DEPTH:
            with suppress(OSError), os.scandir(path) as entries:  # not ours to read, or gone
                for entry in entries:
                    if entry.is_dir(follow_symlinks=False):
                        folders.append((Path(entry.path), depth + 1))
                        seen += 1
                        if seen > FOLDERS:
                            raise RunError(f"{folder}: has more than {FOLDERS:,} folders; name one in it")


def summary_of(run: Path, name: str) -> RunSummary:
    """Read a run; one that is damaged is a summary too."""
    summary = RunSummary(name)
    try:
        note = Note.read(run)
        form, size = note.settings, note.corpus.vocabulary_size
        summary.cell, summary.num_layers, summary.hidden_size = form.cell, form.num_layers, form.hidden_size
        summary.vocabulary_size, summary.steps, summary.minutes = size, 0, 0.0
        if (run / LAST).exists():
            snapshot = Snapshot.read(run / LAST)
            state, settings = snapshot.state, snapshot.settings or note.settings
            summary.steps, summary.minutes = state.step, round(state.elapsed / 60, 2)
            if state.best_val_loss is not None:
                summary.best_val_loss = state.best_val_loss
                summary.bits_per_char = state.best_val_loss / math.log(2)
            if is_finished(run, state, settings):
                summary.state = "finished"
    except (CharRNNError, OSError, MemoryError) as error:
        summary.state, summary.error = "damaged", brief(error)
    if is_held(run):
        summary.state = "running"
    return summary


def is_finished(run: Path, state: RunState, settings: TrainConfig) -> bool:
    """Whether a run has taken all its steps, by its save and the last line of its metrics."""
    if 0 < settings.max_steps <= state.step or 0 < settings.patience <= state.validations_since_best:
        return True
    with open_plain(run / METRICS, METRICS_BYTES) as file:
        file.seek(max(0, file.seek(0, os.SEEK_END) - TAIL))
        *_, line = [b"", *file.read(TAIL).splitlines()]
    try:
        record = json.loads(line)
        return bool(record["step"] == state.step and record["epoch"] >= settings.epochs)
    except (ValueError, KeyError, TypeError, RecursionError):  # torn, as of a run that was killed
        return False
