"""A batch split by rows over processes, its gradients summed in a fixed order.

Each shard has rows, memory and a gradient vector of its own and one BLAS thread, for on products this small
BLAS's own threads cost more than they bring. This process computes the first shard, a worker each of the
others. They share a block of memory; down a pipe go only the word to begin and the loss that comes back, so
that a worker that dies is noticed as the end of its pipe, and one whose run has died ends with it. (Threads
wait for the interpreter between any two short NumPy calls: tests/benchmarks/README.md has both.)

The sum is always taken in the order of the rows: the same seed and the same number of threads give the same
bits. Validation is shared out by rows too.
"""

import mmap
import os
import pickle
import select
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from itertools import pairwise
from math import prod
from pathlib import Path
from typing import IO, Any, NamedTuple, Self

import numpy as np

from charrnn.blas import one_blas_thread
from charrnn.errors import WorkerError
from charrnn.layers import Array
from charrnn.measures import evaluation
from charrnn.measures.evaluation import Piece, Scoring
from charrnn.model import CharRNN, segments
from charrnn.model.parameters import Parameters
from charrnn.model.window import Space
from charrnn.signals import StopRequests

LEAST_WORK = 2048  # B·H; below it a step in the time loop is too short to share
LEAST_ROWS = 8  # of a shard: a product with fewer takes as long, for it has to read all of W_aa anyway
PATIENCE = 10.0  # seconds: how long a worker that stands still is waited for once the run is asked to stop
LOOK_EVERY = 0.5  # seconds: how often, while waiting, that is asked
PIPE_BYTES = getattr(select, "PIPE_BUF", 512)  # what a pipe that is ready takes without a wait


def available_cores(cgroups: Path = Path("/sys/fs/cgroup"), own: Path = Path("/proc/self/cgroup")) -> int:
    """The cores this process may use: those it may run on, and no more than its container's share of time.

    The share is the least ``cpu.max`` of the process's control group (version 2) and those above it.
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    with suppress(OSError, ValueError, ZeroDivisionError):
        group = next((line for line in own.read_text().splitlines() if line.startswith("0::")), "0::/")
        path = cgroups / group.removeprefix("0::").strip("/")
        for folder in (path, *path.parents):
            if cgroups in (folder, *folder.parents) and (folder / "cpu.max").exists():
                quota, period = (folder / "cpu.max").read_text().split()
                if quota != "max":
                    cores = min(cores, max(1, int(quota) // int(period)))
    return cores


def choose_threads(threads: str | int, batch_size: int, hidden_size: int, cores: int | None = None) -> int:
    """How many shards to use: at most one a row; for ``auto`` one a core, fewer if they would be tiny."""
    if isinstance(threads, int):
        return min(threads, batch_size)
    if batch_size * hidden_size < LEAST_WORK:
        return 1
    return max(1, min(cores or available_cores(), batch_size // LEAST_ROWS))


def within_cores(threads: str | int) -> str | int:
    """As many threads, but no more than there are cores."""
    return threads if isinstance(threads, str) else min(threads, available_cores())


def can_start_workers() -> bool:
    """Whether there is a Python interpreter to start; a program that embeds one, or is frozen, has none."""
    return bool(sys.executable) and os.access(sys.executable, os.X_OK) and not getattr(sys, "frozen", False)


class Plan(NamedTuple):
    """What all shards of a run agree on."""

    seq_length: int  # T, of the longest window
    batch_size: int  # B, of all shards together
    threads: int
    recompute_every: int  # 0 keeps all activations
    dropout: float
    first_row: int = 0  # of a larger batch, of which these B rows are a part


def cut(rows: int, parts: int) -> list[slice]:
    """Rows in as many parts, as even as can be; where there are fewer rows, some are empty."""
    bounds = [rows * i // parts for i in range(parts + 1)]
    return [slice(*pair) for pair in pairwise(bounds)]


class Shards:
    """Computes the loss and gradients of whole batches; use it as a context manager."""

    def __init__(
        self,
        model: CharRNN,
        seq_length: int,
        batch_size: int,
        threads: int,
        recompute_every: int = 0,
        dropout: float = 0.0,
        stop: StopRequests | None = None,
        first_row: int = 0,
    ):
        """Shards for windows of up to ``seq_length`` steps and exactly ``batch_size`` rows.

        Arguments:
            stop: once it holds a signal, a worker that stands still is no longer waited for.
            first_row: where these rows begin in a larger batch, by whose numbers they draw dropout.
        """
        self.gradients = model.parameters.like()  # of the last batch
        self._model, self._stop = model, stop or StopRequests()
        self._plan = Plan(seq_length, batch_size, threads, recompute_every, dropout, first_row)
        self._rows = cut(batch_size, threads)
        self._space = space_for(model, self._plan, self._rows[0].stop)
        self._workers: list[Worker] = []
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        with ExitStack() as stack:  # what has begun ends, should a worker fail to start
            stack.enter_context(one_blas_thread())
            if len(self._rows) > 1:
                self._memory = Memory(self._model, self._plan)
            for i, rows in enumerate(self._rows[1:]):
                worker = Worker(self._model, self._memory, self._plan, i, rows, self._stop)
                stack.callback(worker.end)
                self._workers.append(worker)
            if self._workers:
                self._memory.workers_have_it()
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *error: object) -> None:
        self._stack.close()

    @property
    def nbytes(self) -> int:
        """Memory of all shards' arrays, in bytes."""
        shared = self._memory.nbytes if self._workers else 0
        workers = sum(self._space.nbytes * (r.stop - r.start) // self._rows[0].stop for r in self._rows[1:])
        return int(self._space.nbytes + self.gradients.flat.nbytes + workers + shared)

    def loss_and_gradients(
        self,
        inputs: Array,
        targets: Array,
        state: Array,
        seed: Sequence[int] = (),
        rho: Array | None = None,
    ) -> tuple[float, Array, Array]:
        """As the model's own, for inputs and targets (T, B) and a state (B, S).

        Arguments:
            seed: of the dropout masks. Each row draws its own from it, so that the number of shards does not
                matter to them.
            rho: (T, B) booleans, False where a row begins a document.

        Returns: the loss, the gradients (P,) (overwritten by the next call), and the state after (B, S).

        Raises:
            WorkerError: a worker process has ended, or stands still while the run is asked to stop.
            Exception: what a shard raises, a MemoryError for one.
        """
        with self._at_work():
            return self._loss_and_gradients(inputs, targets, state, seed, rho)

    @contextmanager
    def _at_work(self) -> Iterator[None]:
        if len(self._workers) < len(self._rows) - 1:
            raise RuntimeError("Shards: use them as a context manager: with Shards(…) as shards")
        try:
            yield
        except BaseException:
            self._stack.close()  # a worker may still be at this batch: its reply must not pass for the next's
            raise

    def _loss_and_gradients(
        self, inputs: Array, targets: Array, state: Array, seed: Sequence[int], rho: Array | None
    ) -> tuple[float, Array, Array]:
        T, B = targets.shape
        if self._workers:
            shared = self._memory
            shared.parameters[...] = self._model.parameters.flat
            shared.inputs[:T], shared.targets[:T], shared.state[...] = inputs, targets, state
            if rho is not None:
                shared.rho[:T] = rho
        for worker in self._workers:
            worker.begin("window", T, seed, rho is not None)
        rows = self._rows[0]
        part = inputs[:, rows], targets[:, rows], state[rows], None if rho is None else rho[:, rows]
        loss, after = one_shard(self._model, self._plan, *part, seed, rows, self._space, self.gradients)
        if not self._workers:
            return loss, self.gradients.flat, after
        loss *= rows.stop / B  # the loss of a shard, and so its gradient, is the mean over its own rows
        self.gradients.flat *= rows.stop / B
        for worker, partial in zip(self._workers, shared.gradients, strict=True):
            share = (worker.rows.stop - worker.rows.start) / B
            loss += share * float(worker.finish())
            self.gradients.flat += np.multiply(partial, share, out=partial)
        shared.state[rows] = after
        return loss, self.gradients.flat, shared.state.copy()

    def scorer(self, model: CharRNN, rows: int, T: int) -> Scoring:
        """Score a text as ``evaluation.scorer`` does, each shard some of the rows."""
        parts = [part for part in cut(rows, len(self._rows)) if part.stop > part.start]
        workers = self._workers[: len(parts) - 1]
        if workers:
            self._memory.parameters[...] = model.parameters.flat
        with self._at_work():
            for worker, part in zip(workers, parts[1:], strict=True):
                worker.begin("scorer", part.stop - part.start, T)
            score_first = evaluation.scorer(model, parts[0].stop, T)
            for worker in workers:
                worker.finish()

        def score(piece: Piece) -> tuple[float, int]:
            with self._at_work():
                for worker, part in zip(workers, parts[1:], strict=True):
                    worker.begin("score", piece.of(part))
                nats, hits = score_first(piece.of(parts[0]))
                for worker in workers:
                    more_nats, more_hits = worker.finish()
                    nats, hits = nats + more_nats, hits + more_hits
            return nats, hits

        return score

    # What ``Ranks`` tells the others: workers read the weights anew for each batch.

    def take_step(self, norm: float, learning_rate: float) -> None:
        """The parameters are about to move along the gradient of the last batch, which has this norm."""

    def send_weights(self) -> None:
        """The parameters and the optimiser's vectors have been replaced."""


def space_for(model: CharRNN, plan: Plan, rows: int) -> Space:
    """Memory for a shard of so many rows."""
    T = plan.seq_length
    return model.space(min(plan.recompute_every or T, T), rows, dropout=plan.dropout > 0)


def mask_drawer(
    model: CharRNN, seed: Sequence[int], rows: slice, dropout: float
) -> Callable[[slice], Array] | None:
    """A function that draws the dropout masks of some rows for steps of a window; None without dropout.

    So a window of which few activations are kept need not keep the masks either.
    """
    if not dropout:
        return None

    def draw_masks(steps: slice) -> Array:
        rngs = []
        for row in range(rows.start, rows.stop):  # (a seed that ends in 0 is the same one without it)
            numbers = np.random.PCG64([*seed, row + 1])
            numbers.advance(steps.start * model.config.num_layers * model.config.hidden_size)
            rngs.append(np.random.Generator(numbers))
        return model.dropout_masks(rngs, dropout, steps.stop - steps.start)

    return draw_masks


def one_shard(
    model: CharRNN,
    plan: Plan,
    inputs: Array,  # (T, b), b rows of the batch
    targets: Array,  # (T, b)
    state: Array,  # (b, S)
    rho: Array | None,  # (T, b)
    seed: Sequence[int],
    rows: slice,
    space: Space,
    gradients: Parameters,  # written
) -> tuple[float, Array]:
    """The loss of some rows of the batch, the mean over them, and the state after (b, S)."""
    numbers = slice(plan.first_row + rows.start, plan.first_row + rows.stop)
    draw_masks = mask_drawer(model, seed, numbers, plan.dropout)
    with np.errstate(over="ignore", invalid="ignore"):  # the trainer looks at what comes out
        return segments.loss_and_gradients(
            model,
            inputs,
            targets,
            state,
            gradients,
            draw_masks=draw_masks,
            recompute_every=plan.recompute_every,
            rho=rho,
            space=space,
        )


class Memory:
    """What the processes share: arrays in one block of memory that no file's name leads to."""

    def __init__(self, model: CharRNN, plan: Plan, file: Any = None):
        """A new block, or the one that another process has made and calls ``file``."""
        P, dtype = model.parameters.flat.size, model.dtype
        T, B, S, threads = plan.seq_length, plan.batch_size, model.state_size, plan.threads
        tokens = np.dtype(np.intp)
        kinds = [
            ((P,), dtype),
            ((threads - 1, P), dtype),
            ((T, B), tokens),
            ((T, B), tokens),
            ((B, S), dtype),
            ((T, B), np.dtype(np.bool_)),
        ]
        sizes = [-(-prod(shape) * kind.itemsize // 64) * 64 for shape, kind in kinds]  # in whole cache lines
        self.nbytes = sum(sizes)
        self.file, block = open_block(self.nbytes, file)
        arrays: list[Array] = [
            np.frombuffer(block, kind, prod(shape), sum(sizes[:i])).reshape(shape)
            for i, (shape, kind) in enumerate(kinds)
        ]
        self.parameters, self.gradients, self.inputs, self.targets, self.state, self.rho = arrays

    def workers_have_it(self) -> None:
        """Let go of the descriptor: it is needed to start workers only."""
        if isinstance(self.file, int):
            os.close(self.file)


def open_block(size: int, file: Any = None) -> tuple[Any, mmap.mmap]:
    """Shared memory: a new block, or the one behind ``file``, a descriptor (on Windows a tag)."""
    if sys.platform == "win32":
        tag = file or f"charrnn-{os.getpid()}-{time.monotonic_ns()}"
        return tag, mmap.mmap(-1, size, tagname=tag)
    if file is None:
        if hasattr(os, "memfd_create"):
            file = os.memfd_create("charrnn")
        else:
            with tempfile.TemporaryFile() as unnamed:
                file = os.dup(unnamed.fileno())
        os.ftruncate(file, size)
    return file, mmap.mmap(file, size)


class Worker:
    """A process that computes one shard."""

    def __init__(
        self, model: CharRNN, memory: Memory, plan: Plan, index: int, rows: slice, stop: StopRequests
    ):
        """Start it; ``index`` counts the workers."""
        self.rows, self._stop = rows, stop
        path = [os.path.abspath(entry) for entry in sys.path]  # noqa: PTH100  # '' too, the folder we are in
        self._process = subprocess.Popen(
            [
                sys.executable,
                "-c",
                f"import sys; sys.path[:] = {path}; from charrnn.training.shards import work; work()",
            ],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            pass_fds=() if sys.platform == "win32" else (memory.file,),
            start_new_session=True,  # Ctrl-C is for the run, which decides when to stop
        )
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._words, self._replies = self._process.stdin, self._process.stdout
        try:
            self._send((model, plan, memory.file, index, rows))
        except BaseException:
            self.end()
            raise

    def begin(self, job: str, *arguments: object) -> None:
        """Have it do what the method of ``Shard`` of that name does."""
        self._send((job, arguments))

    def finish(self) -> Any:
        """Wait for it. Returns: what that method returns."""
        self._wait_for(self._replies)
        try:
            reply = pickle.load(self._replies)
        except (EOFError, OSError, pickle.UnpicklingError):
            raise self._gone() from None
        if isinstance(reply, Exception):
            raise reply
        return reply

    def end(self) -> None:
        """End the process, whatever it is doing: it holds nothing that is needed."""
        self._process.kill()
        self._process.wait()
        for pipe in (self._words, self._replies):
            with suppress(OSError):  # words that it has not read
                pipe.close()

    @property
    def _name(self) -> str:
        return f"the worker process of rows {self.rows.start} to {self.rows.stop - 1}"

    def _send(self, message: object) -> None:
        words = pickle.dumps(message)
        try:
            for start in range(0, len(words), PIPE_BYTES):
                self._wait_for(self._words)
                self._words.write(words[start : start + PIPE_BYTES])
                self._words.flush()
        except (OSError, ValueError):  # the second where the pipe is closed
            raise self._gone() from None

    def _wait_for(self, pipe: IO[bytes]) -> None:
        """Wait until a pipe is ready; not for ever where the worker stands still and the run is to stop."""
        if sys.platform == "win32":  # where this cannot be asked of a pipe
            return
        began, poll = time.monotonic(), select.poll()
        poll.register(pipe, select.POLLIN if pipe.readable() else select.POLLOUT)
        while not poll.poll(1000 * LOOK_EVERY):
            if self._stop.signal and time.monotonic() - max(began, self._stop.since) > PATIENCE:
                raise WorkerError(f"{self._name} has not answered for {PATIENCE:g} seconds")

    def _gone(self) -> WorkerError:
        try:
            code = self._process.wait(5)
        except subprocess.TimeoutExpired:  # what it said made no sense, but it lives
            self._process.kill()
            code = self._process.wait()
        end = f"was killed by signal {-code}" if code < 0 else f"ended with exit code {code}"
        return WorkerError(f"{self._name} {end}. If memory is short, lower `batch_size` or `threads`")


class Shard:
    """What a worker does, each method when it is told to."""

    def __init__(self, model: CharRNN, plan: Plan, file: Any, index: int, rows: slice):
        """A shard of some rows, number ``index`` among the workers' own; ``file`` is the shared memory."""
        self._model, self._plan, self._rows = model, plan, rows
        self._memory = Memory(model, plan, file)
        model.parameters = model.parameters.like(self._memory.parameters)
        self._gradients = model.parameters.like(self._memory.gradients[index])
        self._space = space_for(model, plan, rows.stop - rows.start)

    def window(self, T: int, seed: Sequence[int], resets: bool) -> float:
        """Compute the window of T steps that lies in the shared memory, with its ρ or without.

        Returns: the loss; the gradients and the rows of the state after are left in shared memory.
        """
        memory, rows = self._memory, self._rows
        rho = memory.rho[:T, rows] if resets else None
        part = memory.inputs[:T, rows], memory.targets[:T, rows], memory.state[rows], rho
        loss, memory.state[rows] = one_shard(
            self._model, self._plan, *part, seed, rows, self._space, self._gradients
        )
        return loss

    def scorer(self, rows: int, T: int) -> None:
        """Begin to score a text, of which these are so many rows."""
        self._score = evaluation.scorer(self._model, rows, T)

    def score(self, piece: Piece) -> tuple[float, int]:
        """Score the next piece of it. Returns: nats, hits."""
        with np.errstate(over="ignore", invalid="ignore"):
            return self._score(piece)


def work() -> None:
    """The whole life of a worker: what to do comes down its standard input, until that ends."""
    words, replies = sys.stdin.buffer, sys.stdout.buffer
    sys.stdout = sys.stderr  # nothing else may come between the replies
    ended = EOFError, BrokenPipeError, pickle.UnpicklingError  # the last in the middle of a word
    with suppress(*ended), one_blas_thread():
        shard = Shard(*pickle.load(words))
        while True:
            job, arguments = pickle.load(words)
            try:
                reply = getattr(shard, job)(*arguments)
            except Exception as error:
                reply = error
            pickle.dump(reply, replies)
            replies.flush()
