"""A run on disk: README.md says what is in its folder, and what survives what."""

from charrnn.runs.folder import PRETRAINED, RunFolder, find_run, find_save, is_run, load, read_note
from charrnn.runs.note import CorpusNote, Note
from charrnn.runs.state import RunState, Snapshot

__all__ = [
    "PRETRAINED",
    "CorpusNote",
    "Note",
    "RunFolder",
    "RunState",
    "Snapshot",
    "find_run",
    "find_save",
    "is_run",
    "load",
    "read_note",
]
