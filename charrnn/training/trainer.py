"""The loop: windows → gradients → clip → step; and now and then evaluate, log, save.

A run's future depends on what last.npz holds and nothing else: the parameters, the optimiser's vectors,
the carried state a of every row, and the ``Position``: the step, from which the place in the text and the
schedule follow, the best loss so far, the validations since then, the rollbacks. Nothing in the loop
draws from a generator whose state would have to be kept: the first weights come from the seed, and each
sample and the dropout masks of each step from the seed and the step.

So last.npz is the word of record: what else a save writes is counted in it (metrics.jsonl) or can be made
from it again (best.npz), and a run killed between any two of these writes goes on as if it had not been.
The clock decides when last.npz is saved, but nothing in the run depends on when: one that diverges goes
back to its last validation.
"""

import math
import platform
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np

from charrnn.config import FIXED_ON_RESUME, SampleConfig, TrainConfig, flag
from charrnn.errors import ConfigError, DivergedError, Interrupted, RunError, WorkerError
from charrnn.layers import Array
from charrnn.measures.evaluation import evaluate
from charrnn.model.charrnn import CharRNN
from charrnn.model.network import shapes
from charrnn.runs import checkpoint
from charrnn.text.corpus import Corpus
from charrnn.text.streams import Streams
from charrnn.training import optim
from charrnn.training.resume import Position, good_saves, in_the_words_of, position_from, take_over, way_out
from charrnn.training.shards import Shards, choose_threads

DISTRIBUTION = "charrnn-numpy"
SAMPLE_LENGTH = 240
EXPLODED = 4.0  # times the loss of guessing evenly, ln V, or of the first step if that is larger
LEAST_EXPLODED = 10.0  # nats: of two or three characters a sure guess can be wrong for a while at that price
SMOOTHING = 0.9  # of the loss that is held against it: one hard window is no explosion


class Progress:
    """What is told of a run while it goes on. This one shows nothing; the command line's draws a bar."""

    def start(self, characters: int, total: int) -> None:
        """Training begins, or goes on: so many characters of the total have been trained on."""

    def step(self, characters: int, loss: float) -> None:
        """One step is done, over so many characters, with its loss in nats."""

    def evaluated(self, step: int, epoch: float, loss: float, val_loss: float, best: bool) -> None:
        """The validation part has been scored; ``loss`` is the mean in training since the last time."""

    def went_back(self, characters: int) -> None:
        """The run has diverged and goes on from where so many characters had been trained on."""

    def sampled(self, text: str) -> None:
        """A short sample was drawn from the model as it stands."""

    def say(self, text: str) -> None:
        """Something worth knowing happened."""

    def stop(self) -> None:
        """Training ends, for whatever reason."""


@dataclass(frozen=True)
class Result:
    """What a finished run came to. Losses are in nats per character; None where a part is empty."""

    path: Path
    model: CharRNN  # the best one by validation; the last one where nothing was validated
    steps: int
    best_val_loss: float | None
    test_loss: float | None
    elapsed: float  # seconds of training, over all sessions


def train(
    corpus: Corpus,
    config: TrainConfig | None = None,
    out: str | Path = "runs/text",
    *,
    resume: bool | str = False,
    overwrite: bool = False,
    init_from: str | Path | None = None,
    allow_changed_corpus: bool = False,
    about: dict[str, Any] | None = None,
    progress: Progress | None = None,
) -> Result:
    """Train a network on a text and keep it in the folder ``out``.

    Arguments:
        corpus: the text.
        config: the settings; the defaults if not given.
        out: the run's folder, made if need be.
        resume: go on from out/last.npz, with ``config``; or from an older save there, by its name.
        overwrite: replace the run that is there.
        init_from: a run whose weights the new one starts from. What the characters of both texts have
            learned is kept; new characters start afresh.
        allow_changed_corpus: resume on another text than the run's, which must have no new characters.
        about: more to note in config.json, such as the files the text was read from.
        progress: is told what happens.

    Raises:
        TextError: the text is too short for a window.
        RunError: the folder holds a run and neither ``resume`` nor ``overwrite`` is set; or another
            process trains there; or it cannot be written; or, when resuming, its run is missing, damaged
            or of another text; or ``init_from`` has other sizes.
        DivergedError: the loss or the gradient is no longer finite, or has exploded, and going back did
            not help; what was saved before stands.
        Interrupted: SIGINT, SIGTERM or SIGHUP came; the run is saved and can be resumed.
    """
    config, progress = config or TrainConfig(), progress or Progress()
    run = Path(out)
    if resume and overwrite:
        raise ConfigError("resume and overwrite: a run can be gone on with or replaced, not both")
    if resume and init_from is not None:
        raise ConfigError("--init-from starts a new run; --resume goes on with one: give one of the two")
    must_be_free(run, overwrite=overwrite or bool(resume))
    with _signals() as received, ExitStack() as stack:
        if resume:
            if not checkpoint.is_run(run):
                raise RunError(f"{run}: there is no run in this folder to resume. See --out")
            lock = stack.enter_context(checkpoint.Lock(run))
            name = checkpoint.LAST if resume is True else resume
            trainer = _resumed(corpus, config, lock, name, progress, about or {}, allow_changed_corpus)
        else:
            model = _new_model(corpus, config, init_from, progress)
            trainer = Trainer(corpus, config, model, checkpoint.Lock(run), progress)
            checkpoint.make_folder(run)
            stack.enter_context(trainer.lock)
            must_be_free(run, overwrite=overwrite)  # it may have been taken since
            checkpoint.clear(run)
            trainer.begin(about or {}, init_from)
        return trainer.run(received)


def must_be_free(run: Path, *, overwrite: bool) -> None:
    """Make sure that no run is lost.

    Raises:
        RunError: there is one in the folder, and it is not to be overwritten.
    """
    if checkpoint.is_run(run) and not overwrite:
        raise RunError(
            f"{run}: there is a run in this folder. --resume goes on with it, --overwrite replaces "
            "it, --out names another folder"
        )


def _new_model(
    corpus: Corpus, config: TrainConfig, init_from: str | Path | None, progress: Progress
) -> CharRNN:
    """The network that a new run starts with: drawn from the seed, or taken over from another run."""
    model = CharRNN.from_config(corpus.vocabulary, config, config.seed)
    if init_from is not None:
        known, V = take_over(model, checkpoint.load(init_from), init_from), len(model.vocabulary)
        progress.say(f"{known} of {V} characters known to {init_from}; {V - known} start afresh")
    return model


def _resumed(
    corpus: Corpus,
    config: TrainConfig,
    lock: checkpoint.Lock,
    name: str,
    progress: Progress,
    about: dict[str, Any],
    allow_changed_corpus: bool,
) -> "Trainer":
    """A trainer that stands where the save of that name left off.

    Raises:
        RunError: the files are damaged, or are of another text or network.
    """
    run = lock.path.parent
    note = checkpoint.read_note(run)
    changed = []
    for key, value in config.model_dump().items():
        was = note["settings"].get(key, TrainConfig.model_fields[key].default)
        if was == value:
            continue
        if key in FIXED_ON_RESUME:
            raise RunError(
                f"{flag(key)} {value}: this run has {was}, which cannot change on the way. "
                "Start a new run with --out"
            )
        changed.append(f"{flag(key)} {was} → {value}")
    if changed:
        progress.say(f"changed on resuming: {', '.join(changed)}")
    file = run / name
    if name != checkpoint.LAST and file not in checkpoint.step_files(run).values():
        names = [path.name for path in checkpoint.step_files(run).values()]
        raise ConfigError(f"--from {name}: {run} keeps {', '.join(names) or 'no older saves'}")
    if name == checkpoint.LAST and not file.exists() and not good_saves(run):
        if (run / checkpoint.BEST).exists() or note.get("init_from"):
            raise RunError(
                f"{file}: missing, so this run cannot be gone on with. --overwrite starts anew"
                + (f"; {checkpoint.BEST} is still there to sample from" * (run / checkpoint.BEST).exists())
            )
        progress.say("this run ended before its first save: it starts from the beginning")
        trainer = Trainer(corpus, config, _new_model(corpus, config, None, progress), lock, progress)
        checkpoint.clear(run)
        trainer.begin(note["corpus"] | about)
        return trainer
    try:
        arrays = checkpoint.read_arrays(file)
        position, model = position_from(arrays, file), checkpoint.model_from(arrays, file)
    except RunError as error:
        raise RunError(f"{error}. {way_out(run, file)}") from None
    if position.corpus != corpus.sha256 and not allow_changed_corpus:
        raise RunError(
            f"{run}: this run was trained on another text than {corpus.name} "
            f"({corpus.size:,} bytes, SHA-256 {corpus.sha256[:12]}…). Give the text as it was, or start a "
            "new run with --out; --allow-changed-corpus goes on all the same"
        )
    if model.vocabulary != corpus.vocabulary:
        corpus = in_the_words_of(model.vocabulary, corpus, run)
    expected = config.cell, np.dtype(config.dtype), shapes(config, model.V)
    if (model.config.cell, model.dtype, model.parameters.shapes) != expected:
        raise RunError(f"{file}: holds another network than the settings describe")
    trainer = Trainer(corpus, config, model, lock, progress)
    if config.schedule == "cosine" and any(word.startswith(("--epochs", "--max-steps")) for word in changed):
        progress.say(
            f"the cosine schedule now ends at step {trainer.total_steps:,}, so the learning rate makes a jump"
        )
    trainer.take_up(arrays, position, file, note, about)
    return trainer


class Trainer:
    """One run: everything that ``train`` needs to know between two steps."""

    def __init__(
        self,
        corpus: Corpus,
        config: TrainConfig,
        model: CharRNN,
        lock: checkpoint.Lock,
        progress: Progress,
    ):
        self.corpus, self.config, self.model, self.progress = corpus, config, model, progress
        self.lock, self.path = lock, lock.path.parent
        self.parts = corpus.split(config.val_fraction, config.test_fraction)
        self.streams = Streams(self.parts.train, config.batch_size, config.seq_length)
        for name, part in self.parts._asdict().items():
            if len(part) == 1:
                progress.say(f"the {name} part has one character only, which cannot be scored")
        if self.streams.batch_size < config.batch_size:
            progress.say(
                f"the training part ({len(self.parts.train):,} characters) fills only "
                f"{self.streams.batch_size} rows of {config.seq_length}: --batch-size "
                f"{config.batch_size} shrunk to {self.streams.batch_size}"
            )
        self.total_steps = config.epochs * len(self.streams)
        if config.max_steps:
            self.total_steps = min(self.total_steps, config.max_steps)
        self.optimizer = optim.OPTIMIZERS[config.optimizer](self.model.parameters.flat, config)
        self.state = self.model.initial_state(self.streams.batch_size)
        self.at = Position(corpus=corpus.sha256, learning_rate=config.learning_rate)
        self.saved: tuple[int, int] | None = None  # step and rollback_step of last.npz

    # -- the loop -----------------------------------------------------------------------------------

    def run(self, received: list[int]) -> Result:
        """Train to the end. ``received`` fills with the numbers of signals that ask it to stop."""
        config, streams, at = self.config, self.streams, self.at
        eval_every = len(streams) if config.eval_every is None else config.eval_every
        threads = choose_threads(config.threads, streams.batch_size, config.hidden_size)
        self.progress.start(streams.characters(at.step), streams.characters(self.total_steps))
        self._say_if_over()
        saved = logged = time.monotonic()
        began = saved - at.elapsed
        try:
            with (
                Shards(
                    self.model,
                    config.seq_length,
                    streams.batch_size,
                    threads,
                    self._recompute_every(),
                    config.dropout,
                ) as shards,
                np.errstate(over="ignore", invalid="ignore"),  # looked for in what comes out
            ):
                while self.at.step < self.total_steps and not self._out_of_patience():
                    try:
                        characters, loss, norm, rate = self._one_step(shards)
                        at = self.at
                        last = at.step == self.total_steps
                        due = last or (eval_every > 0 and at.step % eval_every == 0)
                        score = self._evaluate() if due else None
                    except DivergedError as error:
                        self._go_back(error)
                        continue
                    done = last or self._out_of_patience()
                    now = time.monotonic()
                    at.elapsed = now - began
                    if done or score or at.step % config.log_every == 0:
                        self._log(rate, norm, now - logged, score)
                        logged = now
                    if due or now - saved > config.save_every:
                        if due and (score[1] if score else at.smoothed_loss or 0) <= self._level():
                            at.rollback_step = at.step  # worse than guessing is nothing to go back to
                        self.save()
                        saved = now
                    self._tell(self.progress.step, characters, loss)  # once all is on disk
                    if score:
                        self._tell(self.progress.evaluated, at.step, self.epoch, *score)
                    if not done and config.sample_every and at.step % config.sample_every == 0:
                        self._tell(self.progress.sampled, self._sample())
                    if done and not last:
                        self.progress.say(
                            f"{at.validations_since_best} validations without a better one: the run ends "
                            "here (--patience)"
                        )
                    if received and not done:
                        self.save()
                        epoch = f"epoch {self.epoch:.2f} of {config.epochs}"
                        raise Interrupted(f"stopped after step {at.step:,} ({epoch}); saved", received[0])
        finally:
            self.progress.stop()
        best = checkpoint.load(self.path)
        test = evaluate(best, self.parts.test).loss if len(self.parts.test) > 1 else None
        return Result(self.path, best, self.at.step, self.at.best_val_loss, test, self.at.elapsed)

    def _say_if_over(self) -> None:
        """A run that is resumed may have come to its end already."""
        at = self.at
        if at.step >= self.total_steps:
            limit = "--max-steps" if at.step == self.config.max_steps else "--epochs"
            self.progress.say(f"this run has had its {at.step:,} steps; a larger {limit} gives it more")
        elif self._out_of_patience():
            self.progress.say(
                f"{at.validations_since_best} validations without a better one have ended this run; a larger "
                "--patience gives it more"
            )

    def _recompute_every(self) -> int:
        """How many time steps from one whose activations are kept to the next; 0 if all are."""
        config, T = self.config, self.config.seq_length
        if config.recompute_every:
            return config.recompute_every
        megabytes = T * self.model.bytes_per_step(self.streams.batch_size, dropout=config.dropout > 0) / 1e6
        if megabytes <= config.memory_budget:
            return 0
        every = math.isqrt(T - 1) + 1
        self.progress.say(
            f"the activations of {T:,} time steps would take {megabytes:,.0f} MB, over --memory-budget "
            f"{config.memory_budget}: as with --recompute-every {every}, the others are computed again"
        )
        return every

    def _one_step(self, shards: Shards) -> tuple[int, float, float, float]:
        """One window of every stream.

        Returns: its characters, its loss, the gradient's norm before clipping, the learning rate.

        Raises:
            DivergedError: something is not finite, or the loss has exploded.
        """
        config, at = self.config, self.at
        index = at.step % len(self.streams)
        if index == 0:  # each epoch begins at the start of the streams
            self.state = self.model.initial_state(self.streams.batch_size)
        inputs, targets = self.streams[index]
        try:
            seed = config.seed, at.step
            loss, gradients, self.state = shards.loss_and_gradients(inputs, targets, self.state, seed)
        except (WorkerError, MemoryError):  # what was learned before still stands
            self.save()
            raise
        norm = optim.global_norm(gradients)
        self._must_be_finite(loss, "loss", at.step + 1)
        self._must_be_finite(norm, "gradient", at.step + 1)
        self._must_not_explode(loss)
        if config.clip_value:
            optim.clip_by_value(gradients, config.clip_value)
        if config.clip_norm:
            optim.clip_by_norm(gradients, config.clip_norm)
        rate = optim.learning_rate(config, at.step, self.total_steps, len(self.streams)) / 2**at.rollbacks
        self.optimizer.step(gradients, rate)
        at.step += 1
        self._must_be_finite(optim.global_norm(self.model.parameters.flat), "weight vector", at.step)
        at.since_log = at.since_log[0] + loss, at.since_log[1] + 1
        at.since_validation = at.since_validation[0] + loss, at.since_validation[1] + 1
        return inputs.size, loss, norm, rate

    def _tell(self, method: Callable[..., None], *what: Any) -> None:
        """Report progress. If that fails (the terminal has gone), the run is saved before it ends."""
        try:
            method(*what)
        except Exception:
            self.save()
            raise

    def _must_be_finite(self, value: float, what: str, step: int) -> None:
        if not math.isfinite(value):
            raise DivergedError(f"the {what} is not finite at step {step:,}")

    def _must_not_explode(self, loss: float) -> None:
        at = self.at
        at.first_loss = loss if at.first_loss is None else at.first_loss
        before = loss if at.smoothed_loss is None else at.smoothed_loss
        at.smoothed_loss = SMOOTHING * before + (1 - SMOOTHING) * loss
        self._must_be_near(at.smoothed_loss, f"loss has exploded to {loss:.4g}", at.step + 1)

    def _must_be_near(self, loss: float, what: str, step: int) -> None:
        if loss > max(LEAST_EXPLODED, EXPLODED * self._level()):
            guess = math.log(len(self.model.vocabulary))
            raise DivergedError(f"the {what} at step {step:,} (guessing costs {guess:.2f})")

    def _level(self) -> float:
        """The loss of guessing evenly; or of the first step, where weights taken over began above that."""
        return max(math.log(len(self.model.vocabulary)), self.at.first_loss or 0)

    def _go_back(self, error: DivergedError) -> None:
        """Go back to the last validation, or the beginning, and on with half the learning rate.

        Raises:
            DivergedError: that has been done ``max_rollbacks`` times.
        """
        config, at, run = self.config, self.at, self.path
        if at.rollbacks >= config.max_rollbacks:
            clip = f"--clip-norm (now {config.clip_norm:g})" if config.clip_norm else ""
            tried = ", ".join(f"{config.learning_rate / 2**n:g}" for n in range(at.rollbacks + 1))
            raise DivergedError(
                f"{error} (saved: step {self.saved[0] if self.saved else 0:,}). Lower --learning-rate "
                f"({'now' if at.rollbacks == 0 else 'tried:'} {tried}) or "
                + (clip or "set --clip-norm (now off), say to 1")
                + (", or raise --warmup-steps; --resume takes them" if at.rollbacks else "")
            )
        here = self.saved is not None and self.saved[0] == at.rollback_step
        file = run / checkpoint.LAST if here else checkpoint.step_file(run, at.rollback_step)
        try:
            arrays = checkpoint.read_arrays(file)
            before = position_from(arrays, file)
        except RunError as damaged:
            raise RunError(f"{error}; {damaged}. {way_out(run, file)}") from None
        before.rollbacks, before.elapsed = at.rollbacks + 1, at.elapsed
        self._take(arrays, before, file)
        self.save(before.metrics_bytes)
        checkpoint.cut_metrics(run, before.metrics_bytes)
        self._mend_best()
        self.progress.went_back(self.streams.characters(before.step))
        self.progress.say(
            f"{error}: back to step {before.step:,}, and on with a learning rate of "
            f"{config.learning_rate / 2**before.rollbacks:g} (rollback {before.rollbacks} of "
            f"{config.max_rollbacks})"
        )

    def _out_of_patience(self) -> bool:
        return 0 < self.config.patience <= self.at.validations_since_best

    @property
    def epoch(self) -> float:
        """Passes over the training part so far."""
        return self.at.step / len(self.streams)

    def _evaluate(self) -> tuple[float, float, bool] | None:
        """Score the validation part; if it is the best so far, the next save keeps the model as that.

        Returns: the mean training loss since the last time, the validation loss, and whether it is the
        best; None if there is nothing to validate on.
        """
        at = self.at
        if len(self.parts.val) < 2:
            return None
        val_loss = evaluate(self.model, self.parts.val).loss
        self._must_be_finite(val_loss, "validation loss", at.step)
        self._must_be_near(val_loss, f"validation loss has exploded to {val_loss:.4g}", at.step)
        best = at.best_val_loss is None or val_loss < at.best_val_loss
        if best:
            at.best_val_loss, at.best_step = val_loss, at.step
        at.validations_since_best = 0 if best else at.validations_since_best + 1
        total, n = at.since_validation
        at.since_validation = (0.0, 0)
        return total / n, val_loss, best

    def _log(self, rate: float, norm: float, seconds: float, score: tuple[float, float, bool] | None) -> None:
        """Add a line to metrics.jsonl; ``seconds`` have gone by since the one before."""
        step, (total, steps) = self.at.step, self.at.since_log
        self.at.since_log = (0.0, 0)
        characters = self.streams.characters(step) - self.streams.characters(step - steps)
        record = {
            "step": step,
            "epoch": round(self.epoch, 4),
            "loss": total / steps,
            "val_loss": score[1] if score else None,
            "grad_norm": norm,
            "learning_rate": rate,
            "chars_per_second": round(characters / max(1e-9, seconds)),
            "elapsed": round(self.at.elapsed, 3),
        }
        self.lock.check()
        checkpoint.add_line(self.path, record)

    def _sample(self) -> str:
        rng = np.random.default_rng([self.config.seed, self.at.step])
        (text,) = self.model.draw_many(self.corpus.tokens[:0], 1, SampleConfig(length=SAMPLE_LENGTH), rng)
        return self.model.vocabulary.decode(text)

    # -- on disk ------------------------------------------------------------------------------------

    def begin(self, about: dict[str, Any], init_from: str | Path | None = None) -> None:
        """Write the beginning of a new run into an empty folder."""
        start = None if init_from is None else {"run": str(init_from)}
        self._write_config(about, start)
        checkpoint.cut_metrics(self.path, 0)
        self.save()

    def _write_config(self, about: dict[str, Any], init_from: dict[str, str] | None) -> None:
        corpus = about | {
            "name": self.corpus.name,
            "size": self.corpus.size,
            "sha256": self.corpus.sha256,
            "characters": len(self.corpus),
            "vocabulary_size": len(self.corpus.vocabulary),
        }
        versions = {"charrnn": package_version(), "numpy": np.__version__}
        versions["python"] = platform.python_version()
        value = {"settings": self.config.model_dump(), "corpus": corpus, "versions": versions}
        if init_from:
            value["init_from"] = init_from
        checkpoint.write_json(self.path / checkpoint.CONFIG, value)

    def save(self, metrics_bytes: int | None = None) -> None:
        """Write last.npz; keep the one before under its step, and drop those that are no longer needed.

        Arguments:
            metrics_bytes: how much of metrics.jsonl counts; all of it if not given.

        The lines of metrics.jsonl reach the disk before the last.npz that counts them, and best.npz after
        the last.npz that it can be made from.
        """
        run, at = self.path, self.at
        self.lock.check()
        before = checkpoint.step_files(run)
        kept = {step: back for step, back in at.kept if step in before}
        if self.saved is not None and self.saved[0] < at.step:
            step, back = self.saved
            checkpoint.also_as(run / checkpoint.LAST, checkpoint.step_file(run, step))
            kept[step] = back
        newest = sorted(kept)[len(kept) - self.config.keep + 1 :] if len(kept) >= self.config.keep else kept
        needed = {*newest, *(kept[step] for step in newest), at.rollback_step}
        at.kept = sorted((step, back) for step, back in kept.items() if step in needed)
        at.learning_rate = self.config.learning_rate
        written = checkpoint.flush_metrics(run)
        at.metrics_bytes = written if metrics_bytes is None else metrics_bytes
        model = checkpoint.model_arrays(self.model)
        arrays = model | {f"optimizer.{name}": array for name, array in self.optimizer.state.items()}
        arrays |= {"state": self.state, "position": np.array(at.model_dump_json())}
        self.lock.check()  # again after each wait for the disk: the folder may be another's by then
        checkpoint.write_arrays(run / checkpoint.LAST, arrays)
        self.saved = at.step, at.rollback_step
        if at.best_step == at.step:
            self.lock.check()
            self._write_best()
        self.lock.check()
        for step, path in checkpoint.step_files(run).items():
            if step not in needed or step >= at.step:
                with suppress(OSError):  # it will go next time
                    path.unlink()

    def _write_best(self) -> None:
        arrays = checkpoint.model_arrays(self.model) | {"step": np.array(self.at.best_step)}
        checkpoint.write_arrays(self.path / checkpoint.BEST, arrays)

    def _take(self, arrays: Mapping[str, Array], position: Position, where: Path) -> None:
        """Stand where a save stood.

        Raises:
            RunError: its arrays are not those of this network, optimiser and batch.
        """
        mine = dict(self.model.parameters) | {
            f"optimizer.{name}": array for name, array in self.optimizer.state.items()
        }
        mine["state"] = self.state = self.model.initial_state(self.streams.batch_size)
        for name, array in mine.items():
            saved = arrays.get(name)
            if saved is None or saved.shape != array.shape or saved.dtype != array.dtype:
                found = "nothing" if saved is None else f"{saved.dtype} {saved.shape}"
                raise RunError(
                    f"{where}: cannot be resumed from: {name} is {found}, "
                    f"expected {array.dtype} {array.shape}"
                )
            if not np.isfinite(saved).all():
                raise RunError(f"{where}: cannot be resumed from: {name} has entries that are not finite")
            array[...] = saved
        self.at = position
        self.optimizer.steps = position.step

    def take_up(
        self,
        arrays: dict[str, Array],
        position: Position,
        file: Path,
        note: dict[str, Any],
        about: dict[str, Any],
    ) -> None:
        """Go on from a save of this folder; what was noted of the text is kept but for what is new."""
        run, config, say = self.path, self.config, self.progress.say
        other_text = position.corpus != self.corpus.sha256
        if other_text:  # the place in the text means nothing any more, nor does the state that was carried
            arrays["state"] = self.state
        self._take(arrays, position, file)
        at = self.at
        checkpoint.tidy(run)
        if file.name != checkpoint.LAST:
            checkpoint.also_as(file, run / checkpoint.LAST)
        self.saved = at.step, at.rollback_step
        if at.rollback_step not in (at.step, *checkpoint.step_files(run)):
            at.rollback_step = at.step
        if not checkpoint.cut_metrics(run, at.metrics_bytes):
            say(f"{run / checkpoint.METRICS}: lines that were there at the last save are missing")
        if config.learning_rate != at.learning_rate:
            at.rollbacks = 0  # the halved rate was half of another
        if other_text:
            say(
                "another text than before: the weights and the count of steps go on; the state a starts at "
                "zero, and the best validation so far counts no more"
            )
            at.corpus, at.rollback_step, at.kept = self.corpus.sha256, at.step, []
            at.first_loss = at.smoothed_loss = at.best_val_loss = at.best_step = None
            at.validations_since_best = 0
            self.save()
        self._mend_best()
        self._write_config(note["corpus"] | about, note.get("init_from"))

    def _mend_best(self) -> None:
        """Make best.npz the one of ``best_step``, if it is of another step, or damaged, and can be made."""
        run, step = self.path, self.at.best_step
        if step is None:
            return
        path = run / checkpoint.BEST
        found = None
        with suppress(RunError):
            best = checkpoint.read_arrays(path)
            checkpoint.model_from(best, path)
            found = int(best.get("step", np.array(-1)))
        if found == step:
            return
        with suppress(RunError):
            file = run / checkpoint.LAST if step == self.at.step else checkpoint.step_file(run, step)
            model = checkpoint.model_arrays(checkpoint.model_from(checkpoint.read_arrays(file), file))
            checkpoint.write_arrays(path, model | {"step": np.array(step)})
            return
        if found is None:
            self.at.best_val_loss = self.at.best_step = None
            self.progress.say(f"{path}: missing or damaged; the next validation takes its place")
        else:
            self.progress.say(
                f"{path}: is of step {found:,}; it stays until a validation is better than "
                f"{self.at.best_val_loss:.4f}, that of step {step:,}"
            )


@contextmanager
def _signals() -> Iterator[list[int]]:
    """Collect SIGINT, SIGTERM and SIGHUP instead of dying of them; a second SIGINT or SIGTERM ends at once.

    (A closed terminal may well send two SIGHUP.)
    """
    received: list[int] = []

    def receive(number: int, frame: FrameType | None) -> None:
        received.append(number)
        if len(received) == 2 and number in (signal.SIGINT, signal.SIGTERM):
            raise Interrupted("stopped at once; the last save stands", number)

    if threading.current_thread() is not threading.main_thread():
        yield received
        return
    numbers = [signal.SIGINT, signal.SIGTERM]
    if hasattr(signal, "SIGHUP"):  # the terminal was closed
        numbers.append(signal.SIGHUP)
    ours = [number for number in numbers if signal.getsignal(number) not in (signal.SIG_IGN, None)]  # nohup
    old = {number: signal.signal(number, receive) for number in ours}
    try:
        yield received
    finally:
        for number, handler in old.items():
            signal.signal(number, handler)


def package_version() -> str:
    """The version of this package, as installed."""
    try:
        return version(DISTRIBUTION)
    except PackageNotFoundError:
        return "not installed"
