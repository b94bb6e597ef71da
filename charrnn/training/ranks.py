"""A batch split by rows over the ranks of an MPI job, and within each rank over its shards.

    mpiexec -n 2 charrnn train …     B = 32      --threads 2
    rank 0  runs the program         rows 0–15   shards of 0–7 and 8–15
    rank 1  follows                  rows 16–31  shards of 16–23 and 24–31

Rank 0 reads the text, writes the run and decides. The others know neither: they wait for a job, do it, and
answer. With each window they are sent their rows of it, which are little beside a gradient; so they need no
disk, and cannot have another text. The state after a window stays with its rows, until a save asks for it.

The sum: each rank weighs its gradient, one flat vector of P numbers, by its part of the rows, and cuts it
into a part for each rank. Each gets its part of all gradients (Alltoall), adds them in the order of the
ranks, and gives the sum to all (Allgather). So 2 P (N − 1) / N numbers leave and reach each of N ranks, and
the order is that of shards: N ranks of one process give the bits of one rank with N. Then every rank clips
and takes the optimiser's step by itself, by the norm and the learning rate that rank 0 has found.
"""

import signal
import time
import traceback
import zlib
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from typing import Any, Literal, Self

import numpy as np

from charrnn.config import ModelConfig, OptimizerConfig, WindowConfig
from charrnn.errors import CharRNNError, ConfigError, WorkerError
from charrnn.layers import Array
from charrnn.measures.evaluation import Piece, Scoring
from charrnn.model import CharRNN
from charrnn.model.kernels import choose_kernels, compile_kernels
from charrnn.signals import NAMES, StopRequests
from charrnn.text.vocabulary import Vocabulary
from charrnn.training import optim
from charrnn.training.shards import Plan, Shards, cut
from charrnn.training.world import Failure, World


class Ranks:
    """Computes the loss and gradients of whole batches, as ``Shards`` does: what rank 0 has of the others."""

    def __init__(
        self,
        world: World,
        model: CharRNN,
        optimizer: optim.Optimizer,
        config: OptimizerConfig,
        plan: Plan,
        stop: StopRequests | None = None,
    ):
        """All ranks, for a plan of the whole batch of which ``threads`` are those of each rank.

        Arguments:
            optimizer: what moves the model's parameters here; each rank has its like.
            config: the optimiser's settings.
            stop: as of ``Shards``.
        """
        self._world, self._model, self._optimizer = world, model, optimizer
        world.stop = stop or StopRequests()
        self._rows = cut(plan.batch_size, world.size)
        plans = [plan._replace(batch_size=r.stop - r.start, first_row=r.start) for r in self._rows]
        self._shares = [own.batch_size / plan.batch_size for own in plans]
        self._rank = Rank(world, model, optimizer, config, plans[0], self._shares[0], stop)
        self._starts = [
            (model.vocabulary, model.config, model.kernels, config, *own)
            for own in zip(plans, self._shares, strict=True)
        ]
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            self._world.share("start", self._starts, lambda *_: stack.enter_context(self._rank))
            stack.callback(self._world.tell, "stop")
            self._stack = stack.pop_all()
        self.send_weights()
        return self

    def __exit__(self, *error: object) -> None:
        self._stack.close()

    @property
    def nbytes(self) -> int:
        """Memory of this rank's arrays, in bytes."""
        return self._rank.nbytes

    def loss_and_gradients(
        self,
        inputs: Array,
        targets: Array,
        state: "Array | Carried",
        seed: Sequence[int] = (),
        rho: Array | None = None,
    ) -> tuple[float, Array, "Carried"]:
        """As that of ``Shards``, but the state stays on the ranks; each of them then has the gradients."""
        windows = self._windows(inputs, targets, state, seed, rho)
        losses = self._world.share("window", windows, self._rank.window)
        loss = 0.0
        for share, own in zip(self._shares, losses, strict=True):
            loss += share * own
        return loss, self._rank.gradients, Carried(self._gather_state)

    def _gather_state(self) -> Array:
        return np.concatenate(self._world.share("carried", [()] * self._world.size, self._rank.carried))

    def sum_alone(self, inputs: Array, targets: Array, state: "Carried") -> tuple[float, float]:
        """Send and sum what a step does, without its arithmetic.

        Returns: the seconds of the sum, on the slowest rank, and those of the words and answers around it.
        """
        began = time.perf_counter()
        windows = self._windows(inputs, targets, state, (), None)
        seconds: float = max(self._world.share("sum_alone", windows, self._rank.sum_alone))
        return seconds, time.perf_counter() - began - seconds

    def _windows(
        self,
        inputs: Array,
        targets: Array,
        state: "Array | Carried",
        seed: Sequence[int],
        rho: Array | None,
    ) -> list[tuple[Any, ...]]:
        """What each rank is sent of a window; of a state that it has, or that is zero, no numbers."""
        narrow = self._model.vocabulary.dtype
        inputs, targets = inputs.astype(narrow), targets.astype(narrow)
        states: list[Any] = [None] * len(self._rows)
        if not isinstance(state, Carried):
            states = [state[r] if state.any() else 0 for r in self._rows]
        return [
            (inputs[:, r], targets[:, r], own, seed, None if rho is None else rho[:, r])
            for r, own in zip(self._rows, states, strict=True)
        ]

    def scorer(self, model: CharRNN, rows: int, T: int) -> Scoring:
        """Score a text as ``evaluation.scorer`` does, each rank some of the rows.

        Arguments:
            model: that which is trained; or another for the average of its weights, which each rank keeps.

        Raises:
            WorkerError: a rank no longer has the same weights.
        """
        parts = cut(rows, self._world.size)
        averaged = model is not self._model
        words = [(p.stop - p.start, T, averaged) for p in parts]
        sums = self._world.share("scorer", words, self._rank.scorer)
        for rank, found in enumerate(sums):
            if found != sums[0]:
                raise WorkerError(
                    f"rank {rank} no longer has the weights of rank 0: its machine computes the same sums to "
                    "other bits. Use machines of one kind"
                )

        def score(piece: Piece) -> tuple[float, int]:
            nats, hits = 0.0, 0
            for own in self._world.share("score", [(piece.of(p),) for p in parts], self._rank.score):
                nats, hits = nats + own[0], hits + own[1]
            return nats, hits

        return score

    def take_step(self, norm: float, learning_rate: float) -> None:
        """The parameters are about to move along the gradient of the last batch, which has this norm."""
        self._rank.keep_state()
        self._world.tell("step", norm, learning_rate)

    def send_weights(self) -> None:
        """The parameters and the optimiser's vectors have been replaced."""
        self._world.share("weights", [(self._optimizer.steps,)] * self._world.size, self._rank.weights)


class Carried:
    """The state (B, S) after a window: an array to ``np.asarray``, which has it gathered from the ranks.

    It is that after the last step taken; one by itself, after which no step was taken, is never asked for.
    """

    def __init__(self, gather: Callable[[], Array]):
        self._gather = gather

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Array:
        return self._gather()


def say_how_rows_are_shared(rows: int, ranks: int, say: Callable[[str], Any]) -> None:
    """Say so if some ranks have more rows than others.

    Raises:
        ConfigError: some would have none.
    """
    if ranks > rows:
        raise ConfigError(
            f"`batch_size` {rows}: {ranks} ranks share its rows, so some would have none. Raise it, or start "
            f"{rows} ranks at most"
        )
    if rows % ranks:
        say(
            f"`batch_size` {rows}: {ranks} ranks have {rows // ranks} or {rows // ranks + 1} rows each, and "
            "wait for those with more"
        )


class Rank:
    """What each rank does of a job, rank 0 with what it has and the others with what they are sent."""

    def __init__(
        self,
        world: World,
        model: CharRNN,
        optimizer: optim.Optimizer,
        config: OptimizerConfig,
        plan: Plan,
        share: float,
        stop: StopRequests | None = None,
    ):
        """This rank's shards; its rows are ``share`` of the batch."""
        self._world, self._model, self._optimizer, self._config = world, model, optimizer, config
        self._share, self._rows = share, plan.batch_size
        self._shards = Shards(model, *plan[:5], stop, plan.first_row)
        self.gradients = self._shards.gradients.flat  # (P,)
        parts = cut(self.gradients.size, world.size)
        self._counts = [part.stop - part.start for part in parts]
        own = self._counts[world.rank]
        self._parts = np.empty((world.size, own), self.gradients.dtype)  # this rank's, of all gradients
        self._own = [own] * world.size
        self._state = self._after = model.initial_state(plan.batch_size)  # after the last step, this window

    def __enter__(self) -> Self:
        self._shards.__enter__()
        return self

    def __exit__(self, *error: object) -> None:
        self._shards.__exit__(*error)

    @property
    def nbytes(self) -> int:
        return self._shards.nbytes + self._parts.nbytes

    def window(
        self,
        inputs: Array,
        targets: Array,
        state: Array | Literal[0] | None,
        seed: Sequence[int],
        rho: Array | None,
    ) -> float:
        """Compute some rows, and sum the gradients of all. Returns: the loss of these.

        Arguments:
            state: what they start from, if that is not the state after the last step.
        """
        try:
            if state is not None:
                self._state[...] = state
            window = inputs.astype(np.intp), targets.astype(np.intp)
            loss, _, self._after = self._shards.loss_and_gradients(*window, self._state, seed, rho)
            return loss
        finally:  # the others are waiting
            self.gradients *= self._share
            self._sum()

    def keep_state(self) -> None:
        """The step along the last window is taken: the next one goes on from the state after it."""
        self._state = self._after

    def carried(self) -> Array:
        """The state after the last step."""
        return self._state

    def sum_alone(self, *window: Any) -> float:
        """Sum gradients of zeros. Returns: the seconds it took."""
        self.gradients[...] = 0  # others would double with each sum
        self._world.wait(self._world.comm.Ibarrier())
        began = time.perf_counter()
        self._sum()
        return time.perf_counter() - began

    def _sum(self) -> None:
        comm, parts, wait = self._world.comm, self._parts, self._world.wait
        wait(comm.Ialltoallv([self.gradients, self._counts], [parts, self._own]))
        for part in parts[1:]:
            parts[0] += part
        wait(comm.Iallgatherv(parts[0], [self.gradients, self._counts]))

    def step(self, norm: float, learning_rate: float) -> None:
        """Take the optimiser's step along the gradient of the last window."""
        self.keep_state()
        optim.clip(self.gradients, norm, self._config)
        self._optimizer.step(self.gradients, learning_rate)

    def weights(self, steps: int) -> None:
        """Take over the parameters and the optimiser's vectors of rank 0."""
        self._optimizer.steps = steps
        for array in (self._model.parameters.flat, *self._optimizer.state.values()):
            self._world.comm.Bcast(array)

    def scorer(self, rows: int, T: int, averaged: bool) -> int:
        """Begin to score a text, of which these are so many rows, with the weights or their average.

        Returns: a sum of the bits of these weights.
        """
        model = self._model.at(self._optimizer.state["average"]) if averaged else self._model
        self._score = self._shards.scorer(model, rows, T) if rows else None
        return zlib.crc32(model.parameters.flat.data)

    def score(self, piece: Piece) -> tuple[float, int]:
        """Score the next piece of it. Returns: nats, hits."""
        return self._score(piece) if self._score else (0.0, 0)


def follow(world: World) -> int:
    """Do what rank 0 says, until it says that all is done. Returns: the exit code."""
    for name in NAMES:  # rank 0 decides when to stop
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), signal.SIG_IGN)
    with ExitStack() as stack, np.errstate(over="ignore", invalid="ignore"):
        rank: Any = None
        while True:
            job, words = world.receive(0)
            if job == "end":
                return 0
            if job == "stop":
                stack.close()
                continue
            if job == "step":
                rank.step(*words)
                continue
            answer: Any
            try:
                if job == "start":
                    rank = stack.enter_context(follower(world, *words))
                    answer = None
                else:
                    answer = getattr(rank, job)(*words)
            except CharRNNError as error:
                answer = Failure(str(error))
            except MemoryError as error:
                answer = Failure(f"not enough memory: {error}")
            except Exception as error:
                traceback.print_exc()
                answer = Failure(repr(error))
            world.comm.send(answer, 0)


def follower(
    world: World,
    vocabulary: Vocabulary,
    model_config: ModelConfig,
    kernels: Any,
    config: OptimizerConfig,
    plan: Plan,
    share: float,
) -> Rank:
    """A rank with a network and an optimiser of its own, whose numbers are still to come."""
    choose_kernels(WindowConfig(kernels=kernels))
    model = CharRNN.from_config(vocabulary, model_config, seed=None)
    model.kernels = kernels
    if kernels == "numba":
        compile_kernels(model_config)
    optimizer = optim.make_optimizer(model.parameters.flat, config)
    return Rank(world, model, optimizer, config, plan, share)
