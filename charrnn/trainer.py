"""The loop: windows → gradients → clip → step; and now and then evaluate, log, save.

A run's future depends on what last.npz holds and nothing else: the parameters, the optimiser's vectors,
the carried state a of every row, and the step, from which the place in the text and the learning rate
follow. Nothing in the loop draws from a generator whose state would have to be kept: the first weights
come from the seed, and each sample from the seed and its step.
"""

import json
import math
import operator
import platform
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from charrnn import checkpoint, optim
from charrnn.config import FIXED_ON_RESUME, SampleConfig, TrainConfig, flag
from charrnn.corpus import Corpus
from charrnn.errors import ConfigError, DivergedError, Interrupted, RunError
from charrnn.evaluation import evaluate
from charrnn.files import write_whole
from charrnn.model import CharRNN
from charrnn.shards import Shards, choose_threads
from charrnn.text import Streams

Array = NDArray[Any]

DISTRIBUTION = "charrnn-numpy"
SAMPLE_LENGTH = 240


class Progress:
    """What is told of a run while it goes on. This one shows nothing; the command line's draws a bar."""

    def start(self, characters: int, total: int) -> None:
        """Training begins, or goes on: so many characters of the total have been trained on."""

    def step(self, characters: int, loss: float) -> None:
        """One step is done, over so many characters, with its loss in nats."""

    def evaluated(self, step: int, epoch: float, loss: float, val_loss: float, best: bool) -> None:
        """The validation part has been scored; ``loss`` is the mean in training since the last time."""

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
    resume: bool = False,
    overwrite: bool = False,
    about: dict[str, Any] | None = None,
    progress: Progress | None = None,
) -> Result:
    """Train a network on a text and keep it in the folder ``out``.

    Arguments:
        corpus: the text.
        config: the settings; the defaults if not given.
        out: the run's folder, made if need be.
        resume: go on from out/last.npz, with ``config``.
        overwrite: replace the run that is there.
        about: more to note in config.json, such as the files the text was read from.
        progress: is told what happens.

    Raises:
        TextError: the text is too short for a window.
        RunError: the folder holds a run and neither ``resume`` nor ``overwrite`` is set; or it
            cannot be written; or, when resuming, its run is missing, damaged or of another text.
        DivergedError: the loss or the gradient is no longer finite; what was saved before stands.
        Interrupted: SIGINT, SIGTERM or SIGHUP came; the run is saved and can be resumed.
    """
    config = config or TrainConfig()
    run = Path(out)
    must_be_free(run, resume=resume, overwrite=overwrite)
    trainer = Trainer(corpus, config, run, progress or Progress())
    if resume:
        trainer.restore(about or {})
    else:
        trainer.begin(about or {})
    with _signals() as received:
        return trainer.run(received)


def must_be_free(run: Path, *, resume: bool, overwrite: bool) -> None:
    """Check that a run may be trained in this folder.

    Raises:
        RunError: it holds a run and neither ``resume`` nor ``overwrite`` is set; or none to resume.
    """
    if resume and overwrite:
        raise ConfigError("resume and overwrite: a run can be gone on with or replaced, not both")
    if checkpoint.is_run(run):
        if not resume and not overwrite:
            raise RunError(
                f"{run}: there is a run in this folder. --resume goes on with it, --overwrite replaces "
                "it, --out names another folder"
            )
    elif resume:
        raise RunError(f"{run}: there is no run in this folder to resume. See --out")


class Trainer:
    """One run: everything that ``train`` needs to know between two steps."""

    def __init__(self, corpus: Corpus, config: TrainConfig, path: Path, progress: Progress):
        self.corpus, self.config, self.path, self.progress = corpus, config, path, progress
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
        self.model = CharRNN(
            corpus.vocabulary,
            config.hidden_size,
            seed=config.seed,
            init=config.init,
            init_scale=config.init_scale,
            dtype=config.dtype,
        )
        self.optimizer = optim.OPTIMIZERS[config.optimizer](self.model.parameters.flat, config)
        self.state = self.model.initial_state(self.streams.batch_size)
        self.step = 0
        self.best_val_loss: float | None = None
        self.elapsed = 0.0
        self.saved_step: int | None = None
        self.losses = {"logged": (0.0, 0), "evaluated": (0.0, 0)}  # sum and count since then

    # -- the loop -----------------------------------------------------------------------------------

    def run(self, received: list[int]) -> Result:
        """Train to the end. ``received`` fills with the numbers of signals that ask it to stop."""
        config, streams = self.config, self.streams
        eval_every = len(streams) if config.eval_every is None else config.eval_every
        threads = choose_threads(config.threads, streams.batch_size, config.hidden_size)
        self.progress.start(streams.characters(self.step), streams.characters(self.total_steps))
        if self.step >= self.total_steps:
            limit = "--max-steps" if self.step == config.max_steps else "--epochs"
            self.progress.say(f"this run has had its {self.step:,} steps; a larger {limit} gives it more")
        saved = logged = time.monotonic()
        began = saved - self.elapsed
        try:
            with (
                Shards(
                    self.model, config.seq_length, streams.batch_size, threads, self._checkpoint_every()
                ) as shards,
                np.errstate(over="ignore", invalid="ignore"),  # looked for in what comes out
            ):
                while self.step < self.total_steps:
                    characters, loss, norm, rate = self._one_step(shards)
                    done = self.step == self.total_steps
                    score = None
                    if done or (eval_every and self.step % eval_every == 0):
                        score = self._evaluate()
                    now = time.monotonic()
                    self.elapsed = now - began
                    if done or score or self.step % config.log_every == 0:
                        self._log(rate, norm, now - logged, score)
                        logged = now
                    if done or score or now - saved > config.save_every:
                        self.save()
                        saved = now
                    self._tell(self.progress.step, characters, loss)  # once all is on disk
                    if score:
                        self._tell(self.progress.evaluated, self.step, self.epoch, *score)
                    if received and not done:
                        self.save()
                        raise Interrupted(f"stopped after step {self.step:,}", received[0])
                    if not done and config.sample_every and self.step % config.sample_every == 0:
                        self._tell(self.progress.sampled, self._sample())
        finally:
            self.progress.stop()
        best = checkpoint.load(self.path)
        test = evaluate(best, self.parts.test).loss if len(self.parts.test) > 1 else None
        return Result(self.path, best, self.step, self.best_val_loss, test, self.elapsed)

    def _checkpoint_every(self) -> int:
        """How many time steps from one whose activations are kept to the next; 0 if all are."""
        config, T = self.config, self.config.seq_length
        if config.checkpoint_every:
            return config.checkpoint_every
        megabytes = T * self.model.bytes_per_step(self.streams.batch_size) / 1e6
        if megabytes <= config.memory_budget:
            return 0
        every = math.isqrt(T - 1) + 1
        self.progress.say(
            f"the activations of {T:,} time steps would take {megabytes:,.0f} MB, over --memory-budget "
            f"{config.memory_budget}: as with --checkpoint-every {every}, the others are computed again"
        )
        return every

    def _one_step(self, shards: Shards) -> tuple[int, float, float, float]:
        """One window of every stream.

        Returns: its characters, its loss, the gradient's norm before clipping, the learning rate.
        """
        config = self.config
        index = self.step % len(self.streams)
        if index == 0:  # each epoch begins at the start of the streams
            self.state = self.model.initial_state(self.streams.batch_size)
        inputs, targets = self.streams[index]
        loss, gradients, self.state = shards.loss_and_gradients(inputs, targets, self.state)
        norm = optim.global_norm(gradients)
        self._must_be_finite(loss, "loss", self.step + 1)
        self._must_be_finite(norm, "gradient", self.step + 1)
        if config.clip_value:
            optim.clip_by_value(gradients, config.clip_value)
        if config.clip_norm:
            optim.clip_by_norm(gradients, config.clip_norm)
        rate = optim.learning_rate(config, self.step, self.total_steps, len(self.streams))
        self.optimizer.step(gradients, rate)
        self.step += 1
        self._must_be_finite(optim.global_norm(self.model.parameters.flat), "weight vector", self.step)
        self.losses = {key: (total + loss, n + 1) for key, (total, n) in self.losses.items()}
        return inputs.size, loss, norm, rate

    def _tell(self, method: Callable[..., None], *what: Any) -> None:
        """Report progress. If that fails (the terminal has gone), the run is saved before it ends."""
        try:
            method(*what)
        except Exception:
            self.save()
            raise

    def _must_be_finite(self, value: float, what: str, step: int) -> None:
        if math.isfinite(value):
            return
        saved = "nothing was saved before" if self.saved_step is None else f"saved: step {self.saved_step:,}"
        clip = self.config.clip_norm
        raise DivergedError(
            f"the {what} is not finite at step {step:,} ({saved}). Lower --learning-rate (now "
            f"{self.config.learning_rate:g}) or "
            + (f"--clip-norm (now {clip:g})" if clip else "set --clip-norm (now off), say to 1")
        )

    def _mean_loss(self, since: str) -> float:
        """The mean training loss of the steps since then, which begin anew."""
        total, n = self.losses[since]
        self.losses[since] = (0.0, 0)
        return total / n

    @property
    def epoch(self) -> float:
        """Passes over the training part so far."""
        return self.step / len(self.streams)

    def _evaluate(self) -> tuple[float, float, bool] | None:
        """Score the validation part; keep the model if it is the best so far.

        Returns: the mean training loss since the last time, the validation loss, and whether it is the
        best; None if there is nothing to validate on.
        """
        if len(self.parts.val) < 2:
            return None
        val_loss = evaluate(self.model, self.parts.val).loss
        self._must_be_finite(val_loss, "validation loss", self.step)
        best = self.best_val_loss is None or val_loss < self.best_val_loss
        if best:
            self.best_val_loss = val_loss
            checkpoint.write_arrays(self.path / checkpoint.BEST, checkpoint.model_arrays(self.model))
        return self._mean_loss("evaluated"), val_loss, best

    def _log(self, rate: float, norm: float, seconds: float, score: tuple[float, float, bool] | None) -> None:
        """Add a line to metrics.jsonl; ``seconds`` have gone by since the one before."""
        steps = self.losses["logged"][1]
        characters = self.streams.characters(self.step) - self.streams.characters(self.step - steps)
        record = {
            "step": self.step,
            "epoch": round(self.epoch, 4),
            "loss": self._mean_loss("logged"),
            "val_loss": score[1] if score else None,
            "grad_norm": norm,
            "learning_rate": rate,
            "chars_per_second": round(characters / max(1e-9, seconds)),
            "elapsed": round(self.elapsed, 3),
        }
        try:
            with (self.path / checkpoint.METRICS).open("a", encoding="utf-8") as file:
                file.write(json.dumps(record) + "\n")
        except OSError as error:
            raise RunError(f"{self.path / checkpoint.METRICS}: {error.strerror}") from None

    def _sample(self) -> str:
        rng = np.random.default_rng([self.config.seed, self.step])
        (text,) = self.model.draw_many(self.corpus.tokens[:0], 1, SampleConfig(length=SAMPLE_LENGTH), rng)
        return self.model.vocabulary.decode(text)

    # -- on disk ------------------------------------------------------------------------------------

    def begin(self, about: dict[str, Any]) -> None:
        """Make the folder of a new run, without a trace of one that was there."""
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            for name in (checkpoint.LAST, checkpoint.BEST, checkpoint.METRICS):
                (self.path / name).unlink(missing_ok=True)
        except OSError as error:
            raise RunError(f"{self.path}: cannot be written: {error.strerror}") from None
        self._write_config(about)

    def _write_config(self, about: dict[str, Any]) -> None:
        corpus = about | {
            "name": self.corpus.name,
            "size": self.corpus.size,
            "sha256": self.corpus.sha256,
            "characters": len(self.corpus),
            "vocabulary_size": len(self.corpus.vocabulary),
        }
        versions = {"charrnn": package_version(), "numpy": np.__version__}
        versions["python"] = platform.python_version()
        settings = self.config.model_dump()
        value = {"settings": settings, "corpus": corpus, "versions": versions}
        checkpoint.write_json(self.path / checkpoint.CONFIG, value)

    def save(self) -> None:
        """Write last.npz: all that the rest of the run depends on."""
        progress = {
            "step": self.step,
            "best_val_loss": self.best_val_loss,
            "elapsed": self.elapsed,
            "losses": self.losses,
        }
        arrays = checkpoint.model_arrays(self.model)
        arrays |= {f"optimizer.{name}": array for name, array in self.optimizer.state.items()}
        arrays |= {"state": self.state, "progress": np.array(json.dumps(progress))}
        checkpoint.write_arrays(self.path / checkpoint.LAST, arrays)
        self.saved_step = self.step

    def restore(self, about: dict[str, Any]) -> None:
        """Take up the run from its last.npz; what was noted of the text is kept but for what is new.

        Raises:
            RunError: the files are damaged, or are of another text or network.
        """
        note = checkpoint.read_note(self.path)
        known = note["corpus"]
        if known.get("sha256") != self.corpus.sha256:
            raise RunError(
                f"{self.path}: this run was trained on another text than {self.corpus.name} "
                f"({self.corpus.size:,} bytes, SHA-256 {self.corpus.sha256[:12]}…). "
                "Give the text as it was, or start a new run with --out"
            )
        settings = self.config.model_dump()
        for name in FIXED_ON_RESUME:
            was = note["settings"].get(name)
            if was != settings[name]:
                raise RunError(
                    f"{flag(name)} {settings[name]}: this run has {was}, which cannot change on the way. "
                    "Start a new run with --out"
                )
        last = self.path / checkpoint.LAST
        if not last.exists():
            if (self.path / checkpoint.BEST).exists():
                raise RunError(
                    f"{last}: missing, so this run cannot be gone on with. {checkpoint.BEST} is still there "
                    "to sample from; --overwrite starts anew"
                )
            self.progress.say("this run ended before its first save: it starts from the beginning")
            self.begin(known | about)
            return
        arrays = checkpoint.read_arrays(last)
        saved = checkpoint.model_from(arrays, last)
        if saved.vocabulary != self.model.vocabulary or saved.hidden_size != self.model.hidden_size:
            raise RunError(f"{last}: holds another network than the settings describe")
        try:
            self.model.parameters.flat[...] = saved.parameters.flat
            for name, array in self.optimizer.state.items():
                array[...] = arrays[f"optimizer.{name}"]
            self.state[...] = arrays["state"]
            progress = json.loads(str(arrays["progress"]))
            self.step = self.saved_step = self.optimizer.steps = operator.index(progress["step"])
            best = progress["best_val_loss"]
            self.best_val_loss = None if best is None else float(best)
            self.elapsed = float(progress["elapsed"])
            self.losses = {
                key: (float(progress["losses"][key][0]), int(progress["losses"][key][1]))
                for key in self.losses
            }
            if self.step < 0:
                raise ValueError(f"step {self.step}")
        except (KeyError, ValueError, TypeError, IndexError) as error:
            raise RunError(f"{last}: cannot be resumed from: {error}") from None
        self._cut_metrics()
        self._write_config(known | about)

    def _cut_metrics(self) -> None:
        """Take the lines after the step that was saved off metrics.jsonl: they will be written again."""
        path = self.path / checkpoint.METRICS
        kept = []
        for line in path.read_bytes().splitlines() if path.exists() else []:
            try:
                if json.loads(line)["step"] <= self.step:
                    kept.append(line + b"\n")
            except (ValueError, KeyError, TypeError):  # torn by a crash
                continue
        write_whole(path, lambda file: file.write(b"".join(kept)))


@contextmanager
def _signals() -> Iterator[list[int]]:
    """Collect SIGINT, SIGTERM and SIGHUP instead of dying of them; a second SIGINT interrupts at once."""
    received: list[int] = []

    def receive(number: int, frame: FrameType | None) -> None:
        if received and number == signal.SIGINT:
            raise KeyboardInterrupt
        received.append(number)

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
