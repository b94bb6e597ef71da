"""The ranks of an MPI job: rank 0 runs the program, the others do its jobs."""

import os
import socket
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple, Self

from charrnn.errors import ConfigError, WorkerError
from charrnn.signals import StopRequests
from charrnn.training.shards import PATIENCE, available_cores, can_start_workers
from charrnn.training.witness import Witness, join

AT_ONCE = 2e-3  # seconds: what comes that soon is awaited without a pause, unless ranks share cores
AFTER_RANK_0 = 3.0  # seconds: what is wrong on all ranks has been said by rank 0 by then, and ended the job


class Failure(NamedTuple):
    """The answer of a rank that could not do its job."""

    message: str


class World:
    """The ranks of a job, of which this process is one.

    A context manager: when rank 0 leaves it, for whatever reason, the others end.

    Attributes:
        rank: of this process; 0 for the one that runs the program.
        size: how many ranks there are, N.
        cores: for the shards of a rank: what the rank that has the fewest may use.
        on_one_host: the most ranks that share a machine.
        crowded: whether some machine has more ranks than cores.
        stop: once it holds a signal, a rank that stands still is no longer waited for.
        exit_code: of the program, once rank 0 knows it.
        MPI: the module, and ``comm`` its communicator of all ranks.
    """

    def __init__(self, rank: int, size: int):
        """Join the ranks that a launcher has started.

        Raises:
            ConfigError: there is no MPI here, or another than the launcher's.
        """
        self.rank, self.size, self.exit_code = rank, size, 2
        self._busy = False  # with a job that the others may still be at
        self._lost: WorkerError | None = None  # why it is not known any more what they are at
        self.stop = StopRequests()
        self.MPI = _mpi(rank, size)
        self.comm = self.MPI.COMM_WORLD
        host = self.comm.Split_type(self.MPI.COMM_TYPE_SHARED)
        affinity = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else {0}
        sharing = sum(not affinity.isdisjoint(other) for other in host.allgather(affinity))
        fewest: int = min(self.comm.allgather(available_cores() // sharing))
        self.cores, self.crowded = max(1, fewest), fewest == 0
        self.on_one_host: int = max(self.comm.allgather(host.size))
        self._hosts: list[str] = self.comm.allgather(socket.gethostname())
        self._witness: Witness | None = None
        if rank == 0 and can_start_workers() and sys.platform != "win32":
            self._witness = Witness(self._hosts[0] if len(set(self._hosts)) > 1 else None)
        address = self.comm.bcast(self._witness and self._witness.address)
        self._connection = join(address, rank) if rank and address else None
        self.comm.Barrier()  # from here on the witness knows all

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        if self.rank == 0:
            sys.stdout.flush()
            if self._witness:
                self._witness.end()
            self.tell("end")
            if self._busy:
                self.comm.Abort(self.exit_code)

    # -- on every rank ------------------------------------------------------------------------------

    def receive(self, rank: int) -> Any:
        """Wait for what a rank sends: a job from rank 0, which itself gets answers."""
        self._wait(lambda: bool(self.comm.Iprobe(rank)), f"rank {rank}")
        return self.comm.recv(source=rank)

    def wait(self, request: Any) -> None:
        """Wait until what all ranks take part in is done."""
        self._wait(request.Test, "a rank")

    def _wait(self, is_ready: Callable[[], bool], who: str) -> None:
        """Wait, and after a moment leave the core to others; MPI would go on looking without a pause."""
        began = time.monotonic()
        while not is_ready():
            waited = time.monotonic() - began
            if self.crowded or waited > AT_ONCE:
                time.sleep(min(waited / 20, 1e-3))
            if self.stop.signal and min(waited, time.monotonic() - self.stop.since) > PATIENCE:
                raise self._lose(f"{who} has not answered for {PATIENCE:g} seconds")

    def _lose(self, message: str) -> WorkerError:
        """From here on what the other ranks are at is not known. Returns: the error that says so."""
        self._busy, self._lost = True, WorkerError(message)
        return self._lost

    # -- on rank 0 ----------------------------------------------------------------------------------

    def if_a_rank_dies(self, remedy: str) -> None:
        """What to do then: a sentence, said after the one that names the rank."""
        if self._witness:
            self._witness.remedy(remedy)

    def tell(self, job: str, *words: object) -> None:
        """Have the others do a job that has no answer; nothing where they may still be at another."""
        if not self._busy:
            self._send([(job, words)] * self.size)

    def share(self, job: str, words: Sequence[tuple[Any, ...]], do: Callable[..., Any]) -> list[Any]:
        """Have each rank do a job, with words of its own; ``do`` does that of this rank.

        Returns: the answers of all ranks, in their order.

        Raises:
            WorkerError: another rank could not do it, or is gone.
            Exception: what ``do`` raises.
        """
        if self._lost:
            raise self._lost
        self._busy = True
        self._send([(job, own) for own in words])
        try:
            with self._in_touch():
                answer: Any = do(*words[0])
        except Exception as error:
            if self._lost:
                raise
            answer = error
        with self._in_touch():
            answers = [self.receive(rank) for rank in range(1, self.size)]
        self._busy = False
        if isinstance(answer, Exception):
            raise answer
        for rank, other in enumerate(answers, 1):
            if isinstance(other, Failure):
                raise WorkerError(f"rank {rank} on {self._hosts[rank]}: {other.message}")
        return [answer, *answers]

    def _send(self, jobs: Sequence[tuple[str, tuple[Any, ...]]]) -> None:
        with self._in_touch():
            sent = [self.comm.isend(job, rank) for rank, job in enumerate(jobs) if rank]
            self.MPI.Request.Waitall(sent)

    @contextmanager
    def _in_touch(self) -> Iterator[None]:
        try:
            yield
        except self.MPI.Exception as error:
            raise self._lose(f"the ranks have lost touch with one another: {error}") from None


def _mpi(rank: int, size: int) -> Any:
    """Import mpi4py, which starts MPI."""
    try:
        import mpi4py

        mpi4py.rc.threads = False
        from mpi4py import MPI
    except (ImportError, RuntimeError) as error:  # the second where it finds no library of MPI
        if rank:
            time.sleep(AFTER_RANK_0)
        who = f"rank {rank} on {socket.gethostname()}, " if rank else ""
        raise ConfigError(
            f"{who}started as one of {size} ranks, needs mpi4py and an MPI ({str(error).splitlines()[0]}): "
            "pip install 'charrnn-numpy[mpi]' mpich"
        ) from None
    if MPI.COMM_WORLD.size != size:
        if rank:
            time.sleep(AFTER_RANK_0)
        library = MPI.Get_library_version().split("\n")[0].strip()
        raise ConfigError(
            f"the launcher started {size} ranks, but the MPI of mpi4py ({library}) sees "
            f"{MPI.COMM_WORLD.size}: use the mpiexec that belongs to it"
        )
    return MPI
