"""What a run goes on from: a model's arrays, and the numbers that the rest of the run depends on beside them.

parameters by name, vocabulary, cell    a model; best.npz holds these, and the step they are of
optimizer.NAME                          the optimiser's vectors, (P,) each
state                                   the activations that are carried to the next window, (B, S)
position                                a RunState, as JSON
settings                                the settings of the run, as JSON; not in saves of older versions
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Self

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from charrnn.config import BEFORE_KERNELS, ModelConfig, TrainConfig
from charrnn.errors import CharRNNError, ConfigError, RunError
from charrnn.layers import Array
from charrnn.model.charrnn import CharRNN
from charrnn.model.network import shapes
from charrnn.runs.note import Count, Hash, sentence
from charrnn.runs.npz import read_arrays, text_in
from charrnn.text.vocabulary import Vocabulary

TEXT_LENGTH = 2**20  # characters of JSON in a save
LARGEST_WEIGHT = 1e15  # a sum of products of two such is finite in single precision, and so is any loss
Loss = Annotated[float, Field(ge=0, lt=2.0**63)]  # nats, or a sum of them


class RunState(BaseModel):
    """The numbers that the rest of a run depends on, beside its arrays and settings."""

    model_config = ConfigDict(strict=True, extra="forbid", allow_inf_nan=False)

    step: Count
    corpus: Hash
    learning_rate: float = Field(gt=0)  # the setting; the schedule and the rollbacks follow from the rest
    elapsed: float = Field(default=0, ge=0, lt=2.0**63)  # seconds of training
    since_log: tuple[Loss, Count] = (0.0, 0)  # nats since then, of how many steps
    since_validation: tuple[Loss, Count] = (0.0, 0)
    first_loss: Loss | None = None
    smoothed_loss: Loss | None = None
    best_val_loss: Loss | None = None
    best_step: Count | None = None
    validations_since_best: Count = 0
    rollbacks: int = Field(default=0, ge=0, le=1000)
    rollback_step: Count = 0  # of the last validation that was not bad, or the beginning
    metrics_bytes: Count = 0  # of metrics.jsonl
    kept: list[tuple[Count, Count]] = Field(default=[], max_length=20_000)  # older saves: step, rollback_step

    @model_validator(mode="after")
    def _holds_together(self) -> Self:
        if (self.best_step is None) != (self.best_val_loss is None):
            raise ValueError("best_step and best_val_loss: one of them alone")
        counted = self.since_log[1], self.since_validation[1], self.validations_since_best
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
        model = model_from(arrays, path)
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
        arrays = model_arrays(self.model)
        arrays |= {f"optimizer.{name}": array for name, array in self.optimizer.items()}
        arrays |= {"state": self.carried, "position": np.array(self.state.model_dump_json())}
        if self.settings is not None:
            arrays["settings"] = np.array(self.settings.model_dump_json())
        return arrays

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


def model_arrays(model: CharRNN) -> dict[str, Array]:
    """The arrays of a model: its parameters by name, its vocabulary's symbols, and the name of its cell."""
    return {**model.parameters, "vocabulary": model.vocabulary.symbols, "cell": np.array(model.config.cell)}


def model_from(arrays: Mapping[str, Array], where: Path) -> CharRNN:
    """The model in such arrays; ``where`` is their file's name in errors.

    Raises:
        RunError: an array is missing, or its shape or dtype does not fit the others.
    """
    try:
        vocabulary = Vocabulary(arrays["vocabulary"])
        cell, W_aa = text_in(arrays, "cell", 20) if "cell" in arrays else "rnn", arrays["W_aa"]
        if W_aa.dtype not in (np.float32, np.float64):
            raise RunError(f"W_aa is of dtype {W_aa.dtype}")
        if W_aa.ndim != 2:
            raise RunError(f"W_aa is {W_aa.dtype} {W_aa.shape}, expected two axes")
        form: dict[str, Any] = {
            "cell": cell,
            "hidden_size": len(W_aa),
            "dtype": W_aa.dtype.name,
            "num_layers": 1 + sum(name.startswith("W_aa[") for name in arrays),
            "embedding_size": max(1, arrays["W_ex"].size // len(vocabulary)) if "W_ex" in arrays else 0,
        }
        config = ModelConfig(**form)
        for name, shape in shapes(config, len(vocabulary)).items():  # before memory is taken
            if arrays[name].shape != shape:
                raise RunError(f"{name} is {arrays[name].dtype} {arrays[name].shape}, expected {shape}")
        model = CharRNN.from_config(vocabulary, config, seed=None)
        for name, view in model.parameters.items():
            if arrays[name].dtype != view.dtype:
                raise RunError(f"{name} is of dtype {arrays[name].dtype}, expected {view.dtype}")
            if not (np.abs(arrays[name]) <= LARGEST_WEIGHT).all():
                raise RunError(f"{name} has entries that are not finite, or beyond ±{LARGEST_WEIGHT:g}")
            view[...] = arrays[name]
    except KeyError as error:
        raise RunError(f"{where}: not a model: it lacks {error}") from None
    except (CharRNNError, TypeError) as error:
        raise RunError(f"{where}: not a model: {error}") from None
    return model
