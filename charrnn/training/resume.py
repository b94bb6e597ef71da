"""What a run takes up: where it stood, the indices of its text, the weights of another."""

import shlex
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, NonNegativeInt, ValidationError

from charrnn.config import flag
from charrnn.errors import RunError
from charrnn.layers import Array
from charrnn.model.charrnn import CharRNN
from charrnn.runs import checkpoint
from charrnn.text.corpus import Corpus
from charrnn.text.vocabulary import Vocabulary


class Position(BaseModel):
    """Where a run stands: what last.npz holds beside arrays."""

    model_config = ConfigDict(strict=True, extra="forbid", allow_inf_nan=False)

    corpus: str  # the text's SHA-256
    learning_rate: float  # the setting; the schedule and the rollbacks follow from the rest
    step: int = Field(default=0, ge=0, lt=2**63)
    elapsed: float = Field(default=0, ge=0)  # seconds of training
    since_log: tuple[float, NonNegativeInt] = (0.0, 0)  # losses since then, their sum and count
    since_validation: tuple[float, NonNegativeInt] = (0.0, 0)
    first_loss: float | None = None
    smoothed_loss: float | None = None
    best_val_loss: float | None = None
    best_step: int | None = None
    validations_since_best: int = Field(default=0, ge=0)
    rollbacks: int = Field(default=0, ge=0, le=1000)
    rollback_step: int = Field(default=0, ge=0)  # of the last validation that was not bad, or the beginning
    metrics_bytes: int = Field(default=0, ge=0)  # of metrics.jsonl
    kept: list[tuple[int, int]] = []  # step and rollback_step of the saves before this one


def position_from(arrays: Mapping[str, Array], where: Path) -> Position:
    """The position in such arrays.

    Raises:
        RunError: there is none, or it makes no sense.
    """
    try:
        return Position.model_validate_json(str(arrays["position"]))
    except ValidationError as error:
        wrong = error.errors()[0]
        raise RunError(
            f"{where}: cannot be resumed from: {'.'.join(map(str, wrong['loc']))}: {wrong['msg']}"
        ) from None
    except KeyError as error:
        raise RunError(f"{where}: cannot be resumed from: it lacks {error}") from None


def good_saves(run: Path) -> list[Path]:
    """The older saves that can be read, the newest first."""
    good = []
    for path in checkpoint.step_files(run).values():
        with suppress(RunError):
            position_from(checkpoint.read_arrays(path), path)
            good.append(path)
    return good


def way_out(run: Path, bad: Path) -> str:
    """What to do about a save that cannot be read."""
    for path in good_saves(run):
        if path != bad:
            command = f"charrnn train --resume --from {path.name} --out {shlex.quote(str(run))}"
            return f"The newest good save is {path.name}: {command}"
    if (run / checkpoint.BEST).exists():
        return f"{checkpoint.BEST} may still be there to sample from; --overwrite starts anew"
    return "--overwrite starts anew"


def in_the_words_of(vocabulary: Vocabulary, corpus: Corpus, run: Path) -> Corpus:
    """A text with fewer characters than the run knows, in the indices of the run.

    Raises:
        RunError: it has others, or one of the two is read as bytes.
    """
    if vocabulary.is_bytes != corpus.vocabulary.is_bytes:
        kind = "bytes: give --bytes" if vocabulary.is_bytes else "characters: give --no-bytes"
        raise RunError(f"{corpus.name}: {run} reads its text as {kind}")
    new = np.setdiff1d(corpus.vocabulary.symbols, vocabulary.symbols)
    if len(new):
        names = ", ".join(repr(chr(symbol)) for symbol in new[:8])
        raise RunError(
            f"{corpus.name}: has {len(new)} characters that {run} does not know ({names}"
            + ("…" if len(new) > 8 else "")
            + "), and a run's vocabulary cannot change on the way. A new run can start from its weights: "
            f"--init-from {run}"
        )
    index = np.searchsorted(vocabulary.symbols, corpus.vocabulary.symbols)
    tokens = index.astype(np.min_scalar_type(len(vocabulary) - 1))[corpus.tokens]
    return replace(corpus, tokens=tokens, vocabulary=vocabulary)


def take_over(model: CharRNN, other: CharRNN, name: str | Path) -> int:
    """Start from what another network has learned; ``name`` is its name in errors.

    The rows of W_ax (with an embedding, of W_ex), the columns of W_ya and the entries of b_y are taken by
    character; those of characters that ``other`` does not know stay as they are. All else is taken as it is.

    Returns: how many characters both know.

    Raises:
        RunError: the cells or sizes differ, or one vocabulary is of bytes and the other of characters.
    """
    for setting in ("cell", "num_layers", "hidden_size", "embedding_size"):
        mine, theirs = getattr(model.config, setting), getattr(other.config, setting)
        if mine != theirs:
            raise RunError(f"{flag(setting)} {mine}: {name} has {theirs}, which its weights come with")
    if model.vocabulary.is_bytes != other.vocabulary.is_bytes:
        kinds = ["characters", "bytes"]
        raise RunError(
            f"--init-from {name}: reads {kinds[other.vocabulary.is_bytes]}, and this text is read as "
            f"{kinds[model.vocabulary.is_bytes]}. See --bytes"
        )
    _, new, old = np.intersect1d(model.vocabulary.symbols, other.vocabulary.symbols, return_indices=True)
    for key, array in model.parameters.items():
        learned = other.parameters[key]
        if key in (next(iter(model.parameters)), "b_y"):  # the first is what characters go in by
            array[new] = learned[old]
        elif key == "W_ya":
            array[:, new] = learned[:, old]
        else:
            array[...] = learned
    return len(new)
