"""The loop: windows → gradients → clip → step; and now and then evaluate, log, save.

A run's future depends on what last.npz holds and nothing else: the parameters, the optimiser's vectors, the
state a that each row carries, and the ``RunState``: the step, from which the place in the text and the
schedule follow, the best loss so far, the validations since then, the rollbacks. Nothing in the loop draws
from a generator whose state would have to be saved: the first weights come from the seed, and each sample and
the dropout masks of each step from the seed and the step.

So a run killed between any two writes resumes to the same bits. The clock decides when last.npz is saved, but
nothing in the run depends on when: one that diverges goes back to its last validation.
"""

import math
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from charrnn.config import SampleConfig, TrainConfig
from charrnn.errors import ConfigError, DivergedError, Interrupted, RunError, WorkerError
from charrnn.measures.evaluation import evaluate
from charrnn.model.charrnn import CharRNN
from charrnn.model.kernels import compile_kernels
from charrnn.runs import Note, RunFolder, RunState, Snapshot
from charrnn.signals import StopRequests
from charrnn.text.corpus import Corpus
from charrnn.text.documents import Documents, Text
from charrnn.text.streams import DocumentStreams, ShuffledWindows, Streams
from charrnn.training import optim
from charrnn.training.guard import Guard
from charrnn.training.progress import OFTEN, Progress
from charrnn.training.ranks import Ranks, say_how_rows_are_shared
from charrnn.training.shards import Plan, Shards, can_start_workers, choose_threads
from charrnn.training.world import World

OFF_PLAN = 0.03  # of the planned steps: a run that has a time to keep ends that much earlier or later
SCORED = 1.5  # characters that are validated in the time of one trained on: forward only, but the average too
SAMPLE_LENGTH = 240
SAMPLE_DOCUMENTS = 32  # at the most


class Step(NamedTuple):
    """The outcome of a training step."""

    characters: int
    loss: float  # nats per character
    norm: float  # of the gradient, before clipping
    learning_rate: float


class Score(NamedTuple):
    """The outcome of a validation, in nats per character."""

    loss: float  # the mean in training since the last validation
    val_loss: float  # the lower one, where an average of the weights is validated too
    best: bool
    average_val_loss: float | None  # of that average


class Clock:
    """Seconds of training, over all sessions, and since the last line and the last save of this one."""

    def __init__(self, elapsed: float):
        self.time = self.logged = self.saved = time.monotonic()
        self.validating: float | None = None  # what the last validation took
        self._began = self.time - elapsed

    def tick(self) -> float:
        """Read the clock. Returns: the seconds of training."""
        self.time = time.monotonic()
        return self.time - self._began


class Trainer:
    """One run between two steps, and the loop that takes them."""

    def __init__(
        self,
        folder: RunFolder,
        corpus: Corpus,
        config: TrainConfig,
        model: CharRNN,
        progress: Progress,
        world: World | None = None,
        seconds: float | None = None,
    ):
        """A trainer at the first step.

        Arguments:
            world: the ranks of MPI that share the work, of which this one is the first.
            seconds: that the run is to take, whatever number of steps that is; not for ``cosine``, which has
                to know its last step.
        """
        self.seconds, self.noted = seconds, config
        self.folder, self.corpus, self.config, self.model = folder, corpus, config, model
        self.progress, self.world, self.ranks = progress, world, world.size if world else 1
        model.kernels = config.kernels
        self.parts = corpus.parts(config)
        self.streams = windows(self.parts.train, config)
        self.total_steps = config.epochs * len(self.streams)
        if config.max_steps:
            self.total_steps = min(self.total_steps, config.max_steps)
        self.planned_steps = self.total_steps
        self.optimizer = optim.make_optimizer(model.parameters.flat, config)
        self.average = model.at(self.optimizer.state["average"]) if config.average == "ema" else None
        self.carried: Any = model.initial_state(self.streams.batch_size)  # (B, S), or as ``Ranks`` has it
        self.state = RunState(
            step=0, corpus=corpus.sha256, learning_rate=config.learning_rate, ranks=self.ranks
        )
        self.guard = Guard(len(model.vocabulary))
        self.clock = Clock(0)
        for name, part in self.parts._asdict().items():
            if len(part) == 1:
                progress.say(f"the {name} part has one character only, which cannot be scored")
        if self.streams.batch_size < config.batch_size:
            progress.say(
                f"the training part ({len(self.parts.train):,} characters) fills only "
                f"{self.streams.batch_size} rows of {config.seq_length}: `batch_size` "
                f"{config.batch_size} shrunk to {self.streams.batch_size}"
            )
        if world:
            say_how_rows_are_shared(self.streams.batch_size, self.ranks, progress.say)

    # -- the loop -----------------------------------------------------------------------------------

    def run(self, stop: StopRequests) -> None:
        """Train to the end.

        Raises:
            DivergedError: rollbacks did not help.
            Interrupted: a signal has arrived; the run is saved.
        """
        self.progress.start(
            self.streams.characters(self.state.step), self.streams.characters(self.total_steps)
        )
        try:
            self.say_if_finished()
            if self.config.kernels == "numba" and not self.finished:
                self.progress.compiling(True)
                compile_kernels(self.config)
                self.progress.compiling(False)
            # what overflows is for the guard to find
            with self.shards(stop) as shards, np.errstate(over="ignore", invalid="ignore"):
                self.clock = Clock(self.state.elapsed)
                self.loop(shards, stop)
        except WorkerError as error:
            if not stop.signal:
                raise
            place = f"stopped at the last save, after step {self.place(self.folder.last_step)}"
            raise Interrupted(f"{place}: {error}", stop.signal) from None
        finally:
            self.progress.stop()

    def loop(self, shards: Shards | Ranks, stop: StopRequests) -> None:
        """Take the steps; validate, log, save and report as each is due."""
        while not self.finished:
            try:
                step = self.train_step(shards)
                self.keep_time()
                score = self.validate(shards) if self.validation_due else None
            except DivergedError as error:
                self.roll_back(error)
                shards.send_weights()
                continue
            self.state.elapsed = self.clock.tick()
            if score or self.finished or self.state.step % self.config.log_every == 0:
                self.log(step, score)
            if self.validation_due and self.is_good(score):
                self.state.rollback_step = self.state.step  # one that diverges later goes back to here
            if self.save_due:
                self.save()
            elif self.validation_due:
                self.folder.hold(self.snapshot())
            self.report(step, score)
            if stop.signal and not self.finished:
                self.save()
                raise Interrupted(f"stopped after step {self.place(self.state.step)}; saved", stop.signal)

    @property
    def finished(self) -> bool:
        """Whether all steps have been taken, or validations have not improved for too long."""
        return self.state.step >= self.total_steps or self.out_of_patience

    @property
    def out_of_patience(self) -> bool:
        return 0 < self.config.patience <= self.state.validations_since_best

    def keep_time(self) -> None:
        """Move the end to where the clock puts it, unless that is where it was planned to within 3 %."""
        if self.seconds is None:
            return
        step, elapsed = self.state.step, self.clock.tick()
        last = self.clock.validating  # the last one is still to come
        if last is None:
            last = elapsed * len(self.parts.val) / self.streams.characters(step) / SCORED
        steps = step * (self.seconds - last) / elapsed
        if abs(steps - self.planned_steps) <= OFF_PLAN * self.planned_steps:
            steps = self.planned_steps
        self.total_steps = max(step, round(steps))
        if self.validation_due and elapsed + 2 * last > self.seconds:  # too late for another after this one
            self.total_steps = step
        if self.total_steps != self.config.max_steps:
            changes = lasting(self.total_steps, len(self.streams))
            self.config = self.config.model_copy(update=changes)
            self.progress.moved(self.streams.characters(self.total_steps))

    @property
    def validation_due(self) -> bool:
        """Whether a validation follows the step just taken: at the end of an epoch, unless told otherwise."""
        every = len(self.streams) if self.config.eval_every is None else self.config.eval_every
        return self.state.step == self.total_steps or (every > 0 and self.state.step % every == 0)

    @property
    def save_due(self) -> bool:
        """Whether to write last.npz after the step just taken: for a validation, twice a second at most."""
        since = self.clock.time - self.clock.saved
        validated = self.validation_due or self.folder.holds
        return self.finished or since > self.config.save_every or (validated and since >= OFTEN)

    @property
    def epoch(self) -> float:
        """Passes over the training part so far."""
        return self.state.step / len(self.streams)

    def place(self, step: int) -> str:
        return f"{step:,} (epoch {step / len(self.streams):.2f} of {self.config.epochs})"

    # -- a step and its validation ------------------------------------------------------------------

    def train_step(self, shards: Shards | Ranks) -> Step:
        """Train on the next window of every stream.

        Raises:
            DivergedError: a number is not finite, or the loss has exploded.
        """
        config, state = self.config, self.state
        if config.stateless or state.step % len(self.streams) == 0:  # an epoch begins where the streams do
            self.carried = self.model.initial_state(self.streams.batch_size)
        inputs, targets, rho = self.streams.window(state.step)  # (T, B) each
        try:
            loss, gradients, self.carried = shards.loss_and_gradients(
                inputs, targets, self.carried, (config.seed, state.step), rho
            )
        except (WorkerError, MemoryError):  # what was learned before still stands
            self.save()
            raise
        norm = optim.global_norm(gradients)
        self.guard.check_step(state, loss, norm)
        rate = optim.learning_rate(config, state.step, self.total_steps, len(self.streams), state.plateaus)
        rate /= 2**state.rollbacks
        shards.take_step(norm, rate)
        optim.clip(gradients, norm, config)
        self.optimizer.step(gradients, rate)
        state.step += 1
        self.guard.check_weights(state, optim.global_norm(self.model.parameters.flat))
        nats = inputs.size * loss
        state.since_log = _added(state.since_log, nats)
        state.since_validation = _added(state.since_validation, nats)
        return Step(inputs.size, loss, norm, rate)

    def validate(self, shards: Shards | Ranks) -> Score | None:
        """Score the validation part; if it is the best so far, the next save keeps the network as that.

        Where an average of the weights is kept, it is scored too, and the better of the two counts.

        Returns: the score; None if there is nothing to validate on.

        Raises:
            DivergedError: the loss is not finite, or has exploded.
        """
        state = self.state
        if len(self.parts.val) < 2:
            return None
        began = time.monotonic()
        val_loss = evaluate(self.model, self.parts.val, shards.scorer).loss
        self.guard.check_validation(state, val_loss)
        average_val_loss, averaged = None, False
        if self.average:
            average_val_loss = evaluate(self.average, self.parts.val, shards.scorer).loss
            averaged, val_loss = average_val_loss < val_loss, min(val_loss, average_val_loss)
        self.clock.validating = time.monotonic() - began
        best = state.best_val_loss is None or val_loss < state.best_val_loss
        if best:
            state.best_val_loss, state.best_step, state.best_averaged = val_loss, state.step, averaged
        state.validations_since_best = 0 if best else state.validations_since_best + 1
        state.validations_on_plateau = 0 if best else state.validations_on_plateau + 1
        if self.config.schedule == "plateau" and state.validations_on_plateau >= self.config.plateau_patience:
            state.plateaus, state.validations_on_plateau = state.plateaus + 1, 0
        nats, steps = state.since_validation
        state.since_validation = (0.0, 0)
        return Score(nats / self.characters_of(steps), val_loss, best, average_val_loss)

    def is_good(self, score: Score | None) -> bool:
        """Whether to go back to this step one day: by its validation, or without one by its training loss."""
        return self.guard.is_good(self.state, score.val_loss if score else self.state.smoothed_loss or 0)

    def characters_of(self, steps: int) -> int:
        """How many characters the last ``steps`` steps have trained on."""
        step = self.state.step
        return self.streams.characters(step) - self.streams.characters(step - steps)

    # -- logs, saves and rollbacks ------------------------------------------------------------------

    def log(self, step: Step, score: Score | None) -> None:
        """Add a line to metrics.jsonl."""
        nats, steps = self.state.since_log
        self.state.since_log = (0.0, 0)
        characters = self.characters_of(steps)
        record = {
            "step": self.state.step,
            "epoch": round(self.epoch, 4),
            "loss": nats / characters,
            "val_loss": score.val_loss if score else None,
            "grad_norm": step.norm,
            "learning_rate": step.learning_rate,
            "chars_per_second": round(characters / max(1e-9, self.clock.time - self.clock.logged)),
            "elapsed": round(self.state.elapsed, 3),
        }
        if self.average:
            record["average_val_loss"] = score.average_val_loss if score else None
        self.folder.append(record)
        self.clock.logged = self.clock.time

    def save(self) -> None:
        """Save the run."""
        self.folder.save(self.snapshot())
        if self.config != self.noted:  # the clock has moved the end
            note = Note.read(self.folder.path)
            self.folder.write_note(note.model_copy(update={"settings": self.config}))
            self.noted = self.config
        self.clock.saved = self.clock.time

    def snapshot(self) -> Snapshot:
        """The run as it stands; its arrays are the run's own."""
        carried = np.asarray(self.carried)
        return Snapshot(self.model, self.optimizer.state, carried, self.state, self.config)

    def stand_at(self, snapshot: Snapshot) -> None:
        """Stand where a save stood.

        Raises:
            RunError: its arrays are not those of this network, optimiser and batch.
        """
        self.carried = carried = self.model.initial_state(self.streams.batch_size)
        snapshot.into(self.model, self.optimizer.state, carried)
        self.state, self.optimizer.steps = snapshot.state, snapshot.state.step
        if snapshot.settings is None:  # of version 0.1, which summed the mean losses of windows
            window, state = self.streams.characters(1), self.state
            state.since_log, state.since_validation = (
                (total * window, steps) for total, steps in (state.since_log, state.since_validation)
            )
        self.state.learning_rate, self.state.ranks = self.config.learning_rate, self.ranks

    def roll_back(self, error: DivergedError) -> None:
        """Go back to the last good validation, or the beginning, and halve the learning rate.

        Raises:
            DivergedError: that has been done ``max_rollbacks`` times.
            RunError: the save to go back to is damaged.
        """
        self.folder.write_held()
        state, limit = self.state, self.config.max_rollbacks
        if state.rollbacks >= limit:
            raise DivergedError(
                f"{error} (saved: step {self.folder.last_step:,}). {_advice(self.config, state.rollbacks)}"
            )
        try:
            snapshot = self.folder.load(state.rollback_step)
        except RunError as damaged:
            raise RunError(f"{error}; {damaged}") from None
        self.stand_at(snapshot)
        self.state.rollbacks, self.state.elapsed = state.rollbacks + 1, state.elapsed
        note = self.folder.go_back(self.snapshot())
        self.progress.went_back(self.streams.characters(self.state.step))
        self.progress.say(
            f"{error}: back to step {self.state.step:,}, to continue with a learning rate of "
            f"{self.config.learning_rate / 2**self.state.rollbacks:g} (rollback {self.state.rollbacks} of "
            f"{limit})"
        )
        if note:
            self.progress.say(note)

    # -- reports ------------------------------------------------------------------------------------

    def report(self, step: Step, score: Score | None) -> None:
        """Report the step. If that fails (the terminal has gone), the run is saved before it ends."""
        every = self.config.sample_every
        try:
            self.progress.step(step.characters, step.loss)
            if score:
                self.progress.evaluated(self.state.step, self.epoch, *score[:3])
            if every and self.state.step % every == 0 and not self.finished:
                self.progress.sampled(self.sample())
            if self.out_of_patience and self.state.step < self.total_steps:
                self.progress.say(
                    f"{self.state.validations_since_best} validations without improvement: the run ends "
                    "here (`patience`)"
                )
        except Exception:
            self.save()
            raise

    def sample(self) -> str:
        """A short text drawn from the model as it stands, the same whenever the run comes to this step."""
        seed, separator = [self.config.seed, self.state.step], self.corpus.reading.separator
        if separator:
            rngs = [np.random.default_rng([*seed, number]) for number in range(SAMPLE_DOCUMENTS)]
            return self.model.sample_documents(separator, SAMPLE_LENGTH, rngs)
        config, rng = SampleConfig(length=SAMPLE_LENGTH), np.random.default_rng(seed)
        (sample,) = self.model.draw_many(self.corpus.tokens[:0], config, [rng])
        return self.model.vocabulary.decode(sample.tokens)

    def say_if_finished(self) -> None:
        """Say so if a resumed run is complete already."""
        state = self.state
        if state.step >= self.total_steps:
            limit = "`max_steps`" if state.step == self.config.max_steps else "`epochs`"
            self.progress.say(f"this run is complete ({state.step:,} steps); raise {limit} to continue it")
        elif self.out_of_patience:
            self.progress.say(
                f"{state.validations_since_best} validations without improvement ended this run; raise "
                "`patience` to continue it"
            )

    # -- how the work is shared ---------------------------------------------------------------------

    def shards(self, stop: StopRequests) -> Shards | Ranks:
        """The processes that share a batch, and the activations that each keeps."""
        config, world, B, say = self.config, self.world, self.streams.batch_size, self.progress.say
        threads = choose_threads(
            config.threads, B // self.ranks, config.hidden_size, world.cores if world else None
        )
        if threads > 1 and not can_start_workers():
            say(f"`threads` {threads}: no Python interpreter is there to start workers, so one is used")
            threads = 1
        on_one_machine = -(-B * (world.on_one_host if world else 1) // self.ranks)  # rows
        every = recompute_every(self.model, config, on_one_machine, say)
        if world is None:
            return Shards(self.model, config.seq_length, B, threads, every, config.dropout, stop)
        plan = Plan(config.seq_length, B, threads, every, config.dropout)
        return Ranks(world, self.model, self.optimizer, config, plan, stop)


def windows(train: Text, config: TrainConfig) -> Streams | ShuffledWindows:
    """What each step reads of the training part."""
    if isinstance(train, Documents):
        if config.stateless:
            raise ConfigError(
                "`stateless` starts each window from a state of zeros, `documents` each document: leave one "
                "of the two out"
            )
        return DocumentStreams(train, config.batch_size, config.seq_length)
    if config.stateless:
        return ShuffledWindows(train, config.batch_size, config.seq_length, config.seed)
    return Streams(train, config.batch_size, config.seq_length)


def lasting(steps: int, steps_per_epoch: int) -> dict[str, int]:
    """The settings by which a run takes so many steps."""
    return {"max_steps": steps, "epochs": math.ceil(steps / steps_per_epoch)}


def recompute_every(model: CharRNN, config: TrainConfig, batch_size: int, say: Callable[[str], Any]) -> int:
    """How many time steps lie between two whose activations are kept; 0 if all are."""
    T = config.seq_length
    if config.recompute_every:
        return config.recompute_every
    megabytes = T * model.bytes_per_step(batch_size, dropout=config.dropout > 0) / 1e6
    if megabytes <= config.memory_budget:
        return 0
    every = math.isqrt(T - 1) + 1
    say(
        f"the activations of {T:,} time steps would take {megabytes:,.0f} MB, over `memory_budget` "
        f"{config.memory_budget}: as with `recompute_every` {every}, only every {every}-th is kept"
    )
    return every


def _added(since: tuple[float, int], nats: float) -> tuple[float, int]:
    total, steps = since
    return total + nats, steps + 1


def _advice(config: TrainConfig, rollbacks: int) -> str:
    """What to do about a run that diverges again and again."""
    tried = ", ".join(f"{config.learning_rate / 2**n:g}" for n in range(rollbacks + 1))
    clip = (
        f"`clip_norm` (now {config.clip_norm:g})"
        if config.clip_norm
        else "set `clip_norm` (now off), say to 1"
    )
    more = ", or raise `warmup_steps`; `resume` takes them" if rollbacks else ""
    return f"Lower `learning_rate` ({'tried:' if rollbacks else 'now'} {tried}) or {clip}{more}"
