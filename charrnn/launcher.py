"""Whether a launcher of MPI has started this process: read off the environment, so nothing is imported."""

import os
from collections.abc import Mapping

# What launchers say to each process they start: its rank, and how many there are.
LAUNCHERS = (
    ("PMI_RANK", "PMI_SIZE"),  # MPICH, Intel MPI, Cray; srun --mpi=pmi2
    ("OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE"),  # Open MPI
    ("SLURM_PROCID", "SLURM_STEP_NUM_TASKS"),  # srun --mpi=pmix; a batch script by itself is no step
)


def launched(environment: Mapping[str, str] = os.environ) -> tuple[int, int] | None:
    """This process's rank and the number of ranks, if an MPI launcher started it among several."""
    for rank, size in LAUNCHERS:
        try:
            place = int(environment[rank]), int(environment[size])
        except (KeyError, ValueError):
            continue
        if place[1] > 1:
            return place
    return None


def relaunch(size: int) -> str:
    """The beginning of a command that starts so many ranks, as these were started."""
    launcher = "srun" if os.environ.get("SLURM_STEP_NUM_TASKS") == str(size) else "mpiexec"
    return f"{launcher} -n {size}"
