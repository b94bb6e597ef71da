"""What a run goes on from: a model's arrays, and the numbers that the rest of the run depends on beside them.

parameters by name, vocabulary, cell    a model; best.npz holds these, and the step they are of
optimizer.NAME                          the optimiser's vectors, (P,) each
state                                   the activations that are carried to the next window, (B, S)
position                                a RunState, as JSON
settings                                the settings of the run, as JSON; not in saves of older versions
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Self

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from charrnn.config import BEFORE_KERNELS, TrainConfig
from charrnn.errors import CharRNNError, ConfigError, RunError
from charrnn.layers import Array
from charrnn.model.charrnn import CharRNN
from charrnn.npz import read_arrays, text_in
from charrnn.runs.note import Count, Hash, sentence

TEXT_LENGTH = 2**20  # characters of JSON in a save
Loss = Annotated[float, Field(ge=0, lt=2.0**63)]  # nats, or a sum of them


class RunState(BaseModel):
    """The numbers that the rest of a run depends on, beside its arrays and settings."""

    model_config = ConfigDict(strict=True, extra="forbid", allow_inf_nan=False)

    step: Count
    corpus: Hash
    ranks: int = Field(default=1, ge=1, lt=2**31)  # of MPI, that took the last step; others round otherwise
    learning_rate: float = Field(gt=0)  # the setting; the schedule and the rollbacks follow from the rest
    elapsed: float = Field(default=0, ge=0, lt=2.0**63)  # seconds of training
    since_log: tuple[Loss, Count] = (0.0, 0)  # nats since then, of how many steps
    since_validation: tuple[Loss, Count] = (0.0, 0)
    first_loss: Loss | None = None
    smoothed_loss: Loss | None = None
    best_val_loss: Loss | None = None
    best_step: Count | None = None
    best_averaged: bool = False  # it was the average of the weights that was best
    validations_since_best: Count = 0
    plateaus: Count = 0  # how often the learning rate has fallen, by the schedule of that name
    validations_on_plateau: Count = 0  # without improvement, since the best one or since it last fell
    rollbacks: int = Field(default=0, ge=0, le=1000)
    rollback_step: Count = 0  # of the last validation that was not bad, or the beginning
    metrics_bytes: Count = 0  # of metrics.jsonl
    kept: list[tuple[Count, Count]] = Field(default=[], max_length=20_000)  # older saves: step, rollback_step

    @model_validator(mode="after")
    def _holds_together(self) -> Self:
        if (self.best_step is None) != (self.best_val_loss is None):
            raise ValueError("best_step and best_val_loss: one of them alone")
        counted = self.since_log[1], self.since_validation[1], self.validations_since_best, self.plateaus
        if max(self.best_step or 0, self.rollback_step, *counted) > self.step:
            raise ValueError(f"step {self.step:,}, but other numbers are of a later one")
        return self


@dataclass
class Snapshot:
    """All that a run goes on from, on its way to a save or from one.

    Attributes:
        model: the network.
        optimizer: its vectors by name, (P,) each.
        carried: the activations that the next window starts from, (B, S).
        state: the numbers beside them.
        settings: of the run; None in a save of an older version.
        path: of the save it was read from.
    """

    model: CharRNN
    optimizer: Mapping[str, Array]
    carried: Array
    state: RunState
    settings: TrainConfig | None
    path: Path | None = None

    @classmethod
    def read(cls, path: Path) -> Self:
        """The snapshot in a save.

        Raises:
            RunError: the file is missing or damaged, or what it holds makes no sense.
        """
        arrays = read_arrays(path)
        model = CharRNN.from_arrays(arrays, path)
        optimizer = {
            name.removeprefix("optimizer."): array
            for name, array in arrays.items()
            if name.startswith("optimizer.")
        }
        try:
            state = RunState.model_validate_json(text_in(arrays, "position", TEXT_LENGTH))
            settings = settings_from(arrays)
            if "state" not in arrays:
                raise RunError("state is missing")
            for name, array in {**optimizer, "state": arrays["state"]}.items():
                if array.dtype.kind != "f" or not np.isfinite(array).all():
                    raise RunError(f"{name} is {array.dtype} {array.shape}, expected finite numbers")
        except ValidationError as error:
            raise RunError(f"{path}: cannot be resumed from: position: {sentence(error)}") from None
        except CharRNNError as error:
            raise RunError(f"{path}: cannot be resumed from: {error}") from None
        return cls(model, optimizer, arrays["state"], state, settings, path)

    def arrays(self) -> dict[str, Array]:
        """What a save holds."""
        arrays = self.model.arrays()
        arrays |= {f"optimizer.{name}": array for name, array in self.optimizer.items()}
        arrays |= {"state": self.carried, "position": np.array(self.state.model_dump_json())}
        if self.settings is not None:
            arrays["settings"] = np.array(self.settings.model_dump_json())
        return arrays

    @property
    def best(self) -> CharRNN:
        """The network whose validation at this step was the best: the model, or the average of its weights.

        Raises:
            RunError: the average is missing or damaged.
        """
        if not self.state.best_averaged:
            return self.model
        average, p = self.optimizer.get("average"), self.model.parameters.flat
        if average is None or (average.shape, average.dtype) != (p.shape, p.dtype):
            found = "missing" if average is None else f"{average.dtype} {average.shape}"
            raise RunError(f"{self.path}: optimizer.average is {found}, expected {p.dtype} {p.shape}")
        return self.model.at(average)

    def copy(self) -> Self:
        """The same, apart from the run, whose arrays and numbers go on changing."""
        model = self.model.like()
        model.parameters.flat[...] = self.model.parameters.flat
        optimizer = {name: array.copy() for name, array in self.optimizer.items()}
        state = self.state.model_copy(deep=True)
        return replace(self, model=model, optimizer=optimizer, carried=self.carried.copy(), state=state)

    def into(self, model: CharRNN, optimizer: Mapping[str, Array], carried: Array) -> None:
        """Copy the arrays into those of a run.

        Raises:
            RunError: they are not of that network, optimiser or batch.
        """
        theirs = {f"optimizer.{name}": array for name, array in self.optimizer.items()}
        theirs |= {**self.model.parameters, "state": self.carried}
        mine = {f"optimizer.{name}": array for name, array in optimizer.items()}
        mine |= {**model.parameters, "state": carried}
        for name, array in mine.items():
            saved = theirs.get(name)
            if saved is None or saved.shape != array.shape or saved.dtype != array.dtype:
                found = "missing" if saved is None else f"{saved.dtype} {saved.shape}"
                raise RunError(
                    f"{self.path}: cannot be resumed from: {name} is {found}, "
                    f"expected {array.dtype} {array.shape}"
                )
        for name, array in mine.items():
            array[...] = theirs[name]


def settings_from(arrays: Mapping[str, Array]) -> TrainConfig | None:
    """The settings in the arrays of a save; None in one of an older version.

    Raises:
        RunError: they are damaged.
    """
    if "settings" not in arrays:
        return None
    try:
        values = json.loads(text_in(arrays, "settings", TEXT_LENGTH))
        return TrainConfig(**BEFORE_KERNELS | values)
    except (ValueError, TypeError, RecursionError):
        raise RunError("settings: not a JSON object") from None
    except ConfigError as error:
        raise RunError(f"settings: {error}") from None
