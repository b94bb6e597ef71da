"""train(): begin a run, resume it, or start one from another's weights."""

import math
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from charrnn.config import FIXED_ON_RESUME, TrainConfig
from charrnn.errors import ArgumentError, ConfigError, RunError, check_type, setting
from charrnn.measures.evaluation import evaluate
from charrnn.model.charrnn import CharRNN
from charrnn.model.kernels import choose_kernels
from charrnn.model.network import shapes
from charrnn.notebook import curves, panel, table
from charrnn.runs import Note, RunFolder, RunState, Snapshot, load, read_note
from charrnn.runs.curves import read_curves
from charrnn.runs.folder import BEST, LAST
from charrnn.runs.note import CONFIG, InitFrom, path_from
from charrnn.signals import stops_collected
from charrnn.text.corpus import Corpus, in_the_words_of
from charrnn.text.vocabulary import named
from charrnn.training.bar import Bar
from charrnn.training.progress import Progress
from charrnn.training.trainer import Trainer
from charrnn.training.world import World


@dataclass(frozen=True)
class Result:
    """The outcome of a finished run. Losses are in nats per character; None where a part is empty."""

    path: Path
    model: CharRNN  # the best one by validation; the last one where nothing was validated
    steps: int
    best_val_loss: float | None
    test_loss: float | None
    elapsed: float  # seconds of training, over all sessions
    averaged: bool = False  # the best one has the average of the weights

    def _repr_html_(self) -> str:
        """What came of it, and its losses over the epochs, for a notebook."""
        losses = {"best validation": self.best_val_loss, "test": self.test_loss}
        rows = [
            (name, f"{loss:.4f} nats ({loss / math.log(2):.4f} bits) per character")
            for name, loss in losses.items()
            if loss is not None
        ]
        rows += [("steps", f"{self.steps:,} in {self.elapsed:.0f} s"), ("network", repr(self.model))]
        drawn = ""
        with suppress(RunError):  # the folder may be gone
            found, _ = read_curves(self.path, 400)
            drawn = curves([("training", found["loss"].points), ("validation", found["val_loss"].points)])
        return panel(str(self.path), table(rows), drawn)


def train(
    corpus: Corpus,
    config: TrainConfig | None = None,
    out: str | Path = "runs/text",
    *,
    resume: bool | str = False,
    overwrite: bool = False,
    init_from: str | Path | None = None,
    keep_vocabulary: bool = False,
    allow_changed_corpus: bool = False,
    progress: Progress | bool | None = None,
) -> Result:
    """Train a network on a text and keep it in the folder ``out``.

    Arguments:
        corpus: the text.
        config: the settings; the defaults if not given.
        out: the run's folder, made if need be.
        resume: continue from out/last.npz, with ``config``; or from an older save there, by its name.
        overwrite: replace the run that is there.
        init_from: a run whose weights the new one starts from. What the characters of both texts have
            learned is kept; new characters start afresh, and those that are not in this text are dropped.
        keep_vocabulary: with ``init_from``: keep those too.
        allow_changed_corpus: resume on another text than the run's, which must have no new characters.
        progress: is told what happens; True shows a bar, and prints a line for each validation.

    Raises:
        ArgumentError: an argument is of another type.
        TextError: the text is too short for a window.
        RunError: the folder holds a run and neither ``resume`` nor ``overwrite`` is set; or another
            process trains there; or it cannot be written; or, when resuming, its run is missing, damaged
            or of another text; or ``init_from`` has other sizes.
        DivergedError: the loss or the gradient is no longer finite, or has exploded, and going back did
            not help; what was saved before stands.
        Interrupted: SIGINT, SIGTERM or SIGHUP came; the run is saved and can be resumed.
    """
    check_type("corpus", corpus, Corpus, "a charrnn.Corpus, such as Corpus.from_text(text)")
    check_type("config", config, TrainConfig | None, "a charrnn.TrainConfig")
    check_type("out", out, str | Path, "the name of a folder")
    check_type("resume", resume, bool | str, "True, or the name of a save")
    check_type("init_from", init_from, str | Path | None, "the folder of a run")
    if isinstance(progress, bool):
        progress = Bar() if progress else None
    if not (progress is None or hasattr(progress, "evaluated")):
        raise ArgumentError("progress", progress, "True, or a charrnn.Progress")
    if resume and overwrite:
        raise ConfigError("resume and overwrite: a run can be continued or replaced, not both")
    if resume and init_from is not None:
        raise ConfigError("`init_from` starts a new run; `resume` continues one: give one of the two")
    if keep_vocabulary and init_from is None:
        raise ConfigError("`keep_vocabulary` is for `init_from`: give both")
    with RunFolder(out, "resume" if resume else "overwrite" if overwrite else "new") as folder:
        return train_in(
            folder,
            corpus,
            config,
            save=resume if isinstance(resume, str) else LAST,
            init_from=init_from,
            keep_vocabulary=keep_vocabulary,
            allow_changed_corpus=allow_changed_corpus,
            progress=progress,
        )


def train_in(
    folder: RunFolder,
    corpus: Corpus,
    config: TrainConfig | None = None,
    *,
    save: str = LAST,
    init_from: str | Path | None = None,
    keep_vocabulary: bool = False,
    allow_changed_corpus: bool = False,
    progress: Progress | None = None,
    world: World | None = None,
    seconds: float | None = None,
) -> Result:
    """Train in a folder that is held already, so that a text is encoded into it under its lock.

    Arguments:
        folder: what its mode says stands for ``resume`` and ``overwrite`` of ``train``.
        save: the name of the save to resume from.
        world: the ranks of MPI that share the work, of which this one is the first.
        seconds: as of ``Trainer``, for a new run.

    The rest is as in ``train``.
    """
    config, progress = config or TrainConfig(), progress or Progress()
    with stops_collected() as stop:
        if folder.mode == "resume":
            trainer = _resumed(folder, corpus, config, save, progress, allow_changed_corpus, world)
        else:
            config = choose_kernels(config)
            trainer = _begun(folder, corpus, config, progress, world, init_from, keep_vocabulary, seconds)
        trainer.run(stop)
        model = load(folder.path)
        test_loss = evaluate(model, trainer.parts.test).loss if len(trainer.parts.test) > 1 else None
        state = trainer.state
        outcome = state.step, state.best_val_loss, test_loss, state.elapsed, state.best_averaged
        return Result(folder.path, model, *outcome)


def _begun(
    folder: RunFolder,
    corpus: Corpus,
    config: TrainConfig,
    progress: Progress,
    world: World | None = None,
    init_from: str | Path | None = None,
    keep_vocabulary: bool = False,
    seconds: float | None = None,
) -> Trainer:
    """A trainer at the first step of a new run."""
    other = None if init_from is None else load(init_from)
    if other and keep_vocabulary and not (other.vocabulary.is_bytes or corpus.vocabulary.is_bytes):
        corpus = in_the_words_of(corpus.vocabulary.union(other.vocabulary), corpus, folder.path)
    model = CharRNN.from_config(corpus.vocabulary, config, config.seed)
    if other:
        known, V = take_over(model, other, str(init_from)), len(model.vocabulary)
        progress.say(f"{known} of {V} characters known to {init_from}; {V - known} start afresh")
        if dropped := other.vocabulary.without(model.vocabulary):
            progress.say(
                f"{len(dropped)} characters of {init_from} are not in this text and dropped: "
                f"{named(dropped)}. `keep_vocabulary` keeps them"
            )
    trainer = Trainer(folder, corpus, config, model, progress, world, seconds)
    start = None if init_from is None else InitFrom(run=path_from(folder.path, init_from))
    folder.begin(Note.of(folder.path, config, corpus, start), trainer.snapshot(), corpus)
    return trainer


def _resumed(
    folder: RunFolder,
    corpus: Corpus,
    config: TrainConfig,
    save: str,
    progress: Progress,
    allow_changed_corpus: bool,
    world: World | None,
) -> Trainer:
    """A trainer that stands where a save left off. Nothing is written before all of it is found to fit."""
    run, say = folder.path, progress.say
    note = Note.read(run)
    if config.kernels == "auto":
        config = config.model_copy(update={"kernels": note.settings.kernels})
    config = choose_kernels(config, resumed=True)
    changed = _changes(run, note, config, say)
    if save == LAST and not folder.has_save():
        _check_nothing_is_lost(run, note)
        say("this run ended before its first save: it starts from the beginning")
        return _begun(folder, corpus, config, progress, world)
    snapshot = folder.load(save)
    other_text = snapshot.state.corpus != corpus.sha256
    if other_text and not allow_changed_corpus:
        raise RunError(
            f"{run}: this run was trained on another text than {corpus.name} "
            f"({corpus.size:,} bytes, SHA-256 {corpus.sha256[:12]}…). Give the text as it was, or start a "
            "new run with `out`; `allow_changed_corpus` continues all the same"
        )
    _check_reading(run, note, corpus)
    if snapshot.model.vocabulary != corpus.vocabulary:
        corpus = in_the_words_of(snapshot.model.vocabulary, corpus, run)
    _check_network(snapshot, config)
    trainer = Trainer(folder, corpus, config, snapshot.model, progress, world)
    if config.schedule == "cosine" and changed & {"epochs", "max_steps"}:
        say(f"the cosine schedule now ends at step {trainer.total_steps:,}: the learning rate makes a jump")
    if other_text:  # the place in the text means nothing any more, nor does the state that was carried
        snapshot = replace(snapshot, carried=trainer.carried)
    other_rate, ranks = snapshot.state.learning_rate != config.learning_rate, snapshot.state.ranks
    if ranks != trainer.ranks:
        say(
            f"{ranks} rank{'s' * (ranks > 1)} so far, {trainer.ranks} from here: they round otherwise, so "
            "the run no longer comes to the bits it would have come to"
        )
    trainer.stand_at(snapshot)
    notes = [folder.take_up(save, trainer.state)]
    if other_rate:
        trainer.state.rollbacks = 0  # the halved rate was half of another
    if other_text:
        say(
            "another text than before: the weights and the count of steps stay; the state a starts at "
            "zero, and the best validation so far no longer counts"
        )
        _forget_the_text(trainer.state, corpus)
    if other_text or changed:  # before config.json has them: last.npz is what counts
        trainer.save()
    notes.append(folder.mend(trainer.state))
    for text in filter(None, notes):
        say(text)
    folder.keep_text(corpus)
    folder.write_note(Note.of(run, config, corpus, note.init_from, note.corpus))
    return trainer


def _changes(run: Path, note: Note, config: TrainConfig, say: Callable[[str], None]) -> set[str]:
    """The settings that change on resuming, which may not be among those that make the run what it is."""
    before = read_note(run).settings
    if found := _differences(before, note.settings):
        values = ", ".join(f"{setting(name)} {now} (there {was})" for name, (was, now) in found.items())
        say(f"{run / CONFIG}: does not agree with {LAST}, whose settings count: {values}")
    changed = _differences(before, config)
    for name in FIXED_ON_RESUME:
        if name in changed:
            was, now = changed[name]
            raise RunError(
                f"{setting(name)} {now}: this run has {was}, which cannot change on resuming. "
                "Start a new run with `out`"
            )
    if changed:
        values = ", ".join(f"{setting(name)} {was} → {now}" for name, (was, now) in changed.items())
        say(f"changed on resuming: {values}")
        if "kernels" in changed:
            say("other kernels round otherwise: the run no longer comes to the bits it would have come to")
    return set(changed)


def _differences(before: TrainConfig, after: TrainConfig) -> dict[str, tuple[Any, Any]]:
    """The settings that differ, each with its two values."""
    values = after.model_dump()
    return {name: (was, values[name]) for name, was in before.model_dump().items() if was != values[name]}


def _check_nothing_is_lost(run: Path, note: Note) -> None:
    """A run without a save can start from the beginning only if it never came further."""
    best = (run / BEST).exists()
    if best or note.init_from:
        raise RunError(
            f"{run / LAST}: missing, so this run cannot be resumed. `overwrite` starts anew"
            + (f"; {BEST} is still there to sample from" if best else "")
        )


def _check_reading(run: Path, note: Note, corpus: Corpus) -> None:
    """Make sure that the text of a run is read as before."""
    if note.corpus.sha256 == corpus.sha256 and note.corpus.characters != len(corpus):
        raise RunError(
            f"{run}: this run reads the text {corpus.name} as {note.corpus.characters:,} characters, not as "
            f"{len(corpus):,}: with {note.corpus.reading.words}, not {corpus.reading.words}"
        )
    was, now = (repr(name) if name else "none" for name in (note.corpus.documents, corpus.reading.documents))
    if was != now:
        raise RunError(f"{run}: this run reads its text with `documents` {was}, not {now}")


def _check_network(snapshot: Snapshot, config: TrainConfig) -> None:
    """Make sure that the settings describe the network of a save, before memory is taken for it."""
    model = snapshot.model
    expected = config.cell, np.dtype(config.dtype), shapes(config, model.V)
    if (model.config.cell, model.dtype, model.parameters.shapes) != expected:
        raise RunError(f"{snapshot.path}: holds another network than the settings describe")


def _forget_the_text(state: RunState, corpus: Corpus) -> None:
    """What is known of another text no longer counts: its losses, and the saves to go back to."""
    state.corpus, state.rollback_step, state.kept = corpus.sha256, state.step, []
    state.since_log = state.since_validation = (0.0, 0)
    state.first_loss = state.smoothed_loss = state.best_val_loss = state.best_step = None
    state.validations_since_best = state.validations_on_plateau = 0
    state.best_averaged = False


def take_over(model: CharRNN, other: CharRNN, name: str | Path) -> int:
    """Start from what another network has learned; ``name`` is its name in errors.

    The rows of W_ax (with an embedding, of W_ex), the columns of W_ya and the entries of b_y are taken by
    character; those of characters that ``other`` does not know stay as they are. All else is taken as it is.

    Returns: how many characters both know.

    Raises:
        RunError: the cells or sizes differ, or one vocabulary is of bytes and the other of characters.
    """
    for field in ("cell", "num_layers", "hidden_size", "embedding_size"):
        mine, theirs = getattr(model.config, field), getattr(other.config, field)
        if mine != theirs:
            raise RunError(f"{setting(field)} {mine}: {name} has {theirs}, which its weights come with")
    if model.vocabulary.is_bytes != other.vocabulary.is_bytes:
        kinds = ["characters", "bytes"]
        raise RunError(
            f"`init_from` {name}: reads {kinds[other.vocabulary.is_bytes]}, and this text is read as "
            f"{kinds[model.vocabulary.is_bytes]}. See `bytes`"
        )
    _, new, old = np.intersect1d(model.vocabulary.symbols, other.vocabulary.symbols, return_indices=True)
    for key, array in model.parameters.items():
        learned = other.parameters[key]
        if key in (next(iter(model.parameters)), "b_y"):  # the first is what characters go in by
            array[new] = learned[old]
        elif key == "W_ya":
            array[:, new] = learned[:, old]
        else:
            array[...] = learned
    return len(new)
