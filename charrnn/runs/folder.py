"""RunFolder: the folder of a run, written by the one process that holds it.

    RUN/config.json     a Note: all settings, what was read (name, size, SHA-256), versions
    RUN/metrics.jsonl   a line for each logged step
    RUN/last.npz        a Snapshot: weights, vocabulary, and all else that the rest of the run depends on
    RUN/step-N.npz      what last.npz was at step N: the saves before it, and the one to roll back to
    RUN/best.npz        weights and vocabulary of the best validation so far
    RUN/.lock           held by the process that trains there

Every file but metrics.jsonl is written beside its place, flushed to the disk, and renamed into it, and then
the folder is flushed. So neither a killed process, nor a full disk, nor a machine that is reset leaves half
of one: what stands there is the file before or the file after. The lines of metrics.jsonl are flushed before
the last.npz that counts them, and best.npz is written after the last.npz that it can be made from. So
last.npz is the word of record: what it does not count is cut off on resuming, and what it implies is made
again.
"""

import os
import re
import shlex
import shutil
from collections.abc import Mapping
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Literal, Self

import numpy as np

from charrnn.errors import ConfigError, RunError, brief, check_type
from charrnn.files import beside, bundled, flush_folder, write_whole
from charrnn.layers import Array
from charrnn.model.charrnn import CharRNN
from charrnn.npz import NPZ_BYTES, count_in, ends_in_checksum, open_plain, read_arrays, write_arrays
from charrnn.runs.lock import LOCK, Lock
from charrnn.runs.metrics import METRICS, Metrics
from charrnn.runs.note import CONFIG, Note, is_note
from charrnn.runs.state import RunState, Snapshot, settings_from
from charrnn.text.corpus import Corpus
from charrnn.text.tokens import TOKENS, must_be_replaceable, token_file_name

LAST, BEST = "last.npz", "best.npz"
PRETRAINED = "fables-gru"  # the run that comes with charrnn
STEP = re.compile(r"step-(0|[1-9][0-9]{0,17})\.npz")
NEW_TOKENS = f".{TOKENS}.new"
LEFTOVER = re.compile(
    r"\.{1,2}(config\.json|tokens\.bin(\.new)?(\.[0-9a-f]{32})?|(last|best|step-[0-9]+)\.npz)\.new"
)


# -- reading, which takes no lock -------------------------------------------------------------------


def is_run(path: Path) -> bool:
    """Whether a run was written there, whole or in part: config.json has settings, or a save a checksum."""
    path.exists()  # a name too long is an error of its own
    return is_note(path / CONFIG) or any(map(ends_in_checksum, _saves(path)))


def load(run: str | Path, which: str | None = None) -> CharRNN:
    """The model in a save, which ``run`` and ``which`` name as for ``find_save``.

    Raises:
        ConfigError: the run keeps no such save.
        RunError: ``run`` is neither the folder of a run nor a save, or the file is damaged.
    """
    file = find_save(run, which)
    return CharRNN.from_arrays(read_arrays(file), file)


def find_save(run: str | Path, which: str | None = None) -> Path:
    """The file of a save.

    Arguments:
        run: the folder of a run, or one of the .npz files in it; or any that ``CharRNN.save`` has written.
        which: of a folder: ``best``, the best validation; ``last``, as training left it; or an older save
            that the run keeps, such as ``step-56``. If not given, the best, or the last of a run that has
            not been validated yet.
    """
    check_type("run", run, str | Path, "the folder of a run, or the name of an .npz file")
    path = find_run(run)
    if path.suffix == ".npz" and not path.is_dir():
        if which is not None:
            raise ConfigError(f"`which` {brief(which)}: {path} is a save already; name the run's folder")
        if not path.exists():
            raise RunError(f"{path}: no such save{_kept_by(path.parent)}")
        return path
    _check_run(path)
    if which is None:
        which = "best" if (path / BEST).exists() else "last"
    name = f"{which}.npz"
    if (name in (BEST, LAST) or STEP.fullmatch(name)) and (path / name).exists():
        return path / name
    if keeps := _kept_by(path):
        raise ConfigError(f"`which` {brief(which)}: no such save{keeps}")
    raise RunError(f"{path}: this run has no saved model yet")


def find_run(run: str | Path) -> Path:
    """The folder of a run; where none is there, ``fables-gru`` is the one that comes with charrnn."""
    path = Path(run)
    return bundled(PRETRAINED) if str(path) == PRETRAINED and not os.path.lexists(path) else path


def _kept_by(run: Path) -> str:
    names = [file.stem for file in _saves(run) if file.exists()]
    return f"; {run} keeps {', '.join(names)}" if names else ""


def read_note(run: Path) -> Note:
    """The note of a run, with the settings that last.npz holds, since that has a checksum.

    Those of config.json count where last.npz is damaged, or of an older version.

    Raises:
        RunError: ``run`` is not the folder of a run, or its config.json is damaged.
    """
    _check_run(run)
    note = Note.read(run)
    with suppress(RunError):
        settings = settings_from(read_arrays(run / LAST)) or note.settings
        return note.model_copy(update={"settings": settings})
    return note


def _check_run(path: Path) -> None:
    if not is_run(path):
        raise RunError(f"{path}: not the folder of a run. See charrnn train --out")


def step_file(run: Path, step: int) -> Path:
    """Where a save of that step is kept once it is no longer the last."""
    return run / f"step-{step}.npz"


def step_files(run: Path) -> dict[int, Path]:
    """The saves that are kept beside last.npz, by their step, the newest first."""
    try:
        names = [STEP.fullmatch(path.name) for path in run.iterdir()]
    except (OSError, ValueError):  # the folder is gone: whoever writes to it next will say so
        return {}
    steps = sorted((int(name[1]) for name in names if name), reverse=True)
    return {step: step_file(run, step) for step in steps}


def _saves(run: Path) -> list[Path]:
    return [*step_files(run).values(), run / BEST, run / LAST]


# -- writing, under the lock ------------------------------------------------------------------------


class RunFolder:
    """The folder of a run, held by this process: a context manager.

    The lock is held from the beginning to the end, and each method checks it before it writes.

    Attributes:
        path: of the folder.
        mode: "new" for a run that must not exist yet, "overwrite" for one that may, "resume" for one
            that must.
    """

    def __init__(self, path: str | Path, mode: Literal["new", "overwrite", "resume"] = "new"):
        self.path, self.mode = Path(path), mode
        self._lock, self._metrics = Lock(self.path), Metrics(self.path)
        self._last: tuple[int, int] | None = None  # step and rollback_step of last.npz
        self._held: dict[int, Snapshot] = {}  # by their steps
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        """Make the folder, if need be, and take its lock.

        Raises:
            RunError: the run is missing, or in the way, or a file of another program is; another process
                trains there; the folder cannot be written to.
        """
        self._check_mode()
        with ExitStack() as stack:
            stack.callback(self._remove_folders, self._make_folders())
            stack.enter_context(self._lock)
            stack.callback(self._remove_lock)
            self._check_mode()  # another process may have been faster
            self._remove_new_tokens()
            stack.callback(self._remove_new_tokens)
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *error: object) -> None:
        """Release the lock; a folder in which no run was begun is left as it was."""
        self._stack.close()

    @property
    def last_step(self) -> int:
        """The step of last.npz; 0 where there is none."""
        return self._last[0] if self._last else 0

    @property
    def tokens(self) -> Path:
        """Where a command encodes the text: beside tokens.bin until the run that is there is replaced."""
        if self.mode != "overwrite":
            return self.path / TOKENS
        must_be_replaceable(self.path / TOKENS)
        return self.path / NEW_TOKENS

    def begin(self, note: Note, snapshot: Snapshot, corpus: Corpus) -> None:
        """Write the beginning of a run, in place of the run that is there."""
        self._lock.check()
        note.blob(self.path)  # what fails is to fail before the run that is there is gone
        must_be_replaceable(self.path / TOKENS)
        if not self._has_tokens(corpus):
            corpus.write_tokens(self.path / NEW_TOKENS)
        self._clear()
        note.write(self.path)
        self._metrics.cut(0)
        self.save(snapshot)

    def append(self, record: Mapping[str, object]) -> None:
        """Add a line to metrics.jsonl."""
        self._lock.check()
        self._metrics.append(record)

    @property
    def holds(self) -> bool:
        """Whether there is a save in memory."""
        return bool(self._held)

    def hold(self, snapshot: Snapshot) -> None:
        """Keep a save in memory: what it stands for, and those that it goes back to, are written later."""
        held = snapshot.copy()
        held.state.metrics_bytes = self._metrics.size
        self._held = self._held_for(held.state) | {held.state.step: held}

    def write_held(self) -> None:
        """Write the newest save in memory, if there is any."""
        if self._held:
            newest = self._held[max(self._held)]
            self.save(newest, newest.state.metrics_bytes)

    def save(self, snapshot: Snapshot, metrics_bytes: int | None = None) -> None:
        """Write last.npz; before it, of the saves in memory, those that it goes back to.

        Arguments:
            metrics_bytes: how much of metrics.jsonl counts; all of it if not given.
        """
        for _, held in sorted(self._held_for(snapshot.state).items()):
            self._save(held, held.state.metrics_bytes)
            snapshot.state.kept = held.state.kept
        self._held = {}
        self._save(snapshot, metrics_bytes)

    def _held_for(self, state: RunState) -> dict[int, Snapshot]:
        """Those saves in memory that a run at ``state`` would go back to, or is to make best.npz of."""
        steps = {state.rollback_step, state.best_step} - {state.step}
        return {step: held for step, held in self._held.items() if step in steps}

    def _save(self, snapshot: Snapshot, metrics_bytes: int | None) -> None:
        """Write last.npz; keep the one before it under its step, and drop those that are no longer needed."""
        state = snapshot.state
        self._lock.check()
        needed = self._keep(snapshot)
        written = self._metrics.flush()
        state.metrics_bytes = written if metrics_bytes is None else metrics_bytes
        self._write(LAST, snapshot.arrays())
        self._last = state.step, state.rollback_step
        if state.best_step == state.step:
            self._write_best(snapshot.best, state.step)
        self._lock.check()
        for step, path in step_files(self.path).items():
            if step not in needed or step >= state.step:
                with suppress(OSError):  # the next save tries again
                    path.unlink()

    def has_save(self) -> bool:
        """Whether there is anything to resume from: last.npz, whole or damaged, or a good older save."""
        return (self.path / LAST).exists() or bool(self._good_saves())

    def load(self, save: str | int = LAST) -> Snapshot:
        """Read a save, by its name or its step.

        Raises:
            RunError: it is missing or damaged; the message says which one to resume from.
            ConfigError: no save of this run has that name.
        """
        names = [path.name for path in step_files(self.path).values()]
        if isinstance(save, int):
            name = LAST if self._last and self._last[0] == save else step_file(self.path, save).name
        elif (name := save) != LAST and name not in names:
            raise ConfigError(f"--from {name}: {self.path} keeps {', '.join(names) or 'no older saves'}")
        try:
            return Snapshot.read(self.path / name)
        except RunError as error:
            raise RunError(f"{error}. {self._way_out(name)}") from None

    def take_up(self, name: str, state: RunState) -> str | None:
        """Make the save of that name, which holds ``state``, the last one, and cut off what came after it.

        Returns: what is worth telling, if anything.
        """
        self._lock.check()
        self._tidy()
        if name != LAST:
            also_as(self.path / name, self.path / LAST)
        self._last = state.step, state.rollback_step
        if state.rollback_step not in (state.step, *step_files(self.path)):
            state.rollback_step = state.step
        if self._metrics.cut(state.metrics_bytes):
            return None
        return f"{self.path / METRICS}: lines that it had at the last save are missing"

    def go_back(self, snapshot: Snapshot) -> str | None:
        """Save what was an older save, and cut off the lines of metrics.jsonl after it.

        Returns: what is worth telling, if anything.
        """
        self.save(snapshot, snapshot.state.metrics_bytes)
        self._metrics.cut(snapshot.state.metrics_bytes)
        return self.mend(snapshot.state)

    def mend(self, state: RunState) -> str | None:
        """Make best.npz again where it is missing, damaged or of another step, if the save it is of is there.

        Returns: what is worth telling, if it cannot be made.
        """
        step, path, found = state.best_step, self.path / BEST, None
        if step is None:
            return None
        with suppress(RunError):
            best = read_arrays(path)
            CharRNN.from_arrays(best, path)
            found = count_in(best, "step")
        if found == step:
            return None
        with suppress(RunError):
            file = self.path / LAST if step == state.step else step_file(self.path, step)
            self._write_best(Snapshot.read(file).best, step)
            return None
        if found is None:
            state.best_val_loss = state.best_step = None
            return f"{path}: missing or damaged; the next validation takes its place"
        return (
            f"{path}: is of step {found:,}; it stays until a validation is better than "
            f"{state.best_val_loss:.4f}, that of step {step:,}"
        )

    def keep_text(self, corpus: Corpus) -> None:
        """Write tokens.bin, unless it or a cache that is shared holds the text."""
        self._lock.check()
        if not self._has_tokens(corpus):
            corpus.write_tokens(self.path / TOKENS)

    def write_note(self, note: Note) -> None:
        """Write config.json."""
        self._lock.check()
        note.write(self.path)

    # -- inside -------------------------------------------------------------------------------------

    def _check_mode(self) -> None:
        found = is_run(self.path)
        if self.mode == "resume":
            if not found:
                raise RunError(f"{self.path}: there is no run in this folder to resume. See `out`")
            return
        if found and self.mode == "new":
            raise RunError(
                f"{self.path}: there is a run in this folder. `resume` continues it, `overwrite` replaces "
                "it, `out` names another folder"
            )
        ours = [] if not found else [self.path / METRICS, *_saves(self.path)]
        ours += [self.path / CONFIG] if is_note(self.path / CONFIG) else []
        for path in (self.path / CONFIG, self.path / METRICS, *_saves(self.path)):
            if os.path.lexists(path) and path not in ours:
                raise RunError(
                    f"{path}: not written by a run, so it is not replaced. Remove it, or name another folder "
                    "with `out`"
                )

    def _has_tokens(self, corpus: Corpus) -> bool:
        """Whether the tokens of a text are in this folder, or in a cache where its note leads to."""
        cache = Path(corpus.cache)
        shared = cache.name == token_file_name(corpus.sha256, corpus.reading)
        return cache.is_file() and (shared or cache.parent.resolve() == self.path.resolve())

    def _make_folders(self) -> list[Path]:
        """Make the folder and those above it, to outlive a reset of the machine. Returns: the new ones."""
        try:
            made = [folder for folder in (self.path, *self.path.parents) if not folder.exists()]
            self.path.mkdir(parents=True, exist_ok=True)
        except (OSError, ValueError) as error:  # the second for a name that no system knows
            raise RunError(
                f"{self.path}: cannot be written: {getattr(error, 'strerror', None) or error}"
            ) from None
        for folder in self.path.resolve().parents[:2]:  # runs/NAME: both may be new
            with suppress(OSError):  # not every folder above may be opened
                flush_folder(folder)
        return made

    def _remove_folders(self, made: list[Path]) -> None:
        with suppress(OSError):  # the first one that is not empty, and those above it, stay
            for folder in made:
                folder.rmdir()

    def _remove_new_tokens(self) -> None:
        with suppress(OSError):
            (self.path / NEW_TOKENS).unlink()

    def _remove_lock(self) -> None:
        if self._lock.is_ours and self._lock.is_current() and not is_run(self.path):
            with suppress(OSError):
                (self.path / LOCK).unlink()

    def _write(self, name: str, arrays: Mapping[str, Array]) -> None:
        self._lock.check()
        write_arrays(self.path / name, arrays)

    def _write_best(self, model: CharRNN, step: int) -> None:
        self._write(BEST, model.arrays() | {"step": np.array(step)})

    def _keep(self, snapshot: Snapshot) -> set[int]:
        """Give last.npz its name among the older saves. Returns: the steps of those that are needed.

        They are the newest ones, and those that a rollback from one of these would go back to.
        """
        state = snapshot.state
        assert snapshot.settings is not None
        count = snapshot.settings.keep - 1  # beside last.npz
        found = step_files(self.path)
        kept = {step: rollback_step for step, rollback_step in state.kept if step in found}
        if self._last is not None and self._last[0] < state.step:
            step, rollback_step = self._last
            also_as(self.path / LAST, step_file(self.path, step))
            kept[step] = rollback_step
        newest = sorted(kept, reverse=True)[:count]
        needed = {*newest, *(kept[step] for step in newest), state.rollback_step}
        state.kept = sorted((step, rollback_step) for step, rollback_step in kept.items() if step in needed)
        return needed

    def _good_saves(self) -> list[Path]:
        good = []
        for path in step_files(self.path).values():
            with suppress(RunError):
                Snapshot.read(path)
                good.append(path)
        return good

    def _way_out(self, bad: str) -> str:
        """What to do about a save that cannot be read."""
        for path in self._good_saves():
            if path.name != bad:
                command = f"charrnn train --resume --from {path.name} --out {shlex.quote(str(self.path))}"
                return f"The newest good save is {path.name}: {command}"
        if (self.path / BEST).exists():
            return f"{BEST} may still be there to sample from; `overwrite` starts anew"
        return "`overwrite` starts anew"

    def _clear(self) -> None:
        """Remove the run: its note first, so that no part passes for the whole; a save, which tells, last.

        A text that was encoded for the run in its place then becomes tokens.bin.
        """
        try:
            for path in (self.path / CONFIG, self.path / METRICS, *_saves(self.path)):
                path.unlink(missing_ok=True)
            if (self.path / NEW_TOKENS).exists():
                (self.path / NEW_TOKENS).replace(self.path / TOKENS)
                flush_folder(self.path)
            self._tidy()
        except OSError as error:
            raise RunError(f"{self.path}: cannot be written: {error.strerror}") from None

    def _tidy(self) -> None:
        """Remove temporary files that a killed writer left behind."""
        for path in self.path.iterdir():
            if LEFTOVER.fullmatch(path.name):
                path.unlink(missing_ok=True)


def also_as(path: Path, other: Path) -> None:
    """Give a file a second name, whole or not at all; a copy where the disk knows no hard links."""
    new = beside(other)
    try:
        new.unlink(missing_ok=True)
        os.link(path, new)
        new.replace(other)
        flush_folder(other.parent)
    except FileNotFoundError:
        raise RunError(f"{path}: no longer exists") from None
    except OSError:
        with open_plain(path, NPZ_BYTES) as file:
            write_whole(other, lambda copy: shutil.copyfileobj(file, copy))
    finally:
        with suppress(OSError):
            new.unlink(missing_ok=True)  # renaming one name of a file to another of it leaves both
