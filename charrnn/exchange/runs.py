"""Runs to and from files of other programs."""

import hashlib
from pathlib import Path

import numpy as np

from charrnn.config import TrainConfig
from charrnn.exchange.safetensors import read_safetensors, write_safetensors
from charrnn.runs import Note, RunFolder, RunState, Snapshot, find_save, load, read_note
from charrnn.text.corpus import Corpus
from charrnn.version import __version__


def export_run(run: str | Path, file: str | Path, which: str | None = None) -> None:
    """Write the network of a run to a safetensors file, with what the run notes of its text and training.

    Raises:
        RunError: it is not the folder of a run, or the file cannot be written.
    """
    save = find_save(run, which)
    model, note = load(save), read_note(save.parent)
    about = {"charrnn": __version__, "corpus": note.corpus.name, "corpus_sha256": note.corpus.sha256}
    about["settings"] = note.settings.model_dump_json()
    write_safetensors(model, Path(file), about)


def import_run(file: str | Path, out: str | Path, vocabulary: str | Path | None = None) -> None:
    """Make a run of the network in a safetensors file, to sample, score and start from; it has no text.

    Arguments:
        vocabulary: a text file of the characters in the order of their indices, if the file lists none.

    Raises:
        CharRNNError: the file is damaged or of another network, or there is a run in ``out``.
    """
    path = Path(file)
    model = read_safetensors(path, None if vocabulary is None else Path(vocabulary))
    config = TrainConfig(**model.config.model_dump())
    nothing, sha256 = np.empty(0, model.vocabulary.dtype), hashlib.sha256().hexdigest()
    corpus = Corpus(nothing, model.vocabulary, path.stem, 0, sha256)
    state = RunState(step=0, corpus=sha256, learning_rate=config.learning_rate)
    with RunFolder(out) as folder:
        snapshot = Snapshot(model, {}, model.initial_state(config.batch_size), state, config)
        folder.begin(Note.of(folder.path, config, corpus), snapshot, corpus)
