"""Each setting by itself: what another value of it changes in a run or a sample, and what it leaves alone."""

import json
from functools import cache
from importlib.util import find_spec
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from unittest import mock

import numpy as np
import pytest
from conftest import PROVERB, Told

import charrnn
from charrnn.errors import DivergedError
from charrnn.model.sampling import generators

SHARED = {
    "hidden_size": 8,
    "seq_length": 8,
    "batch_size": 4,
    "dtype": "float64",
    "warmup_steps": 5,
    "max_steps": 30,
    "eval_every": 10,
    "log_every": 1,
}


SGD = {"optimizer": "sgd"}
DECAY = {"schedule": "step", "learning_rate_decay": 0.9}
STUCK = {"learning_rate": 5e-324, "optimizer": "sgd", "momentum": 0.0, "eval_every": 5}  # nothing moves
PLATEAU = SGD | {"schedule": "plateau", "learning_rate": 3.0, "eval_every": 2, "warmup_steps": 0}
LONG = {"seq_length": 96, "batch_size": 8, "hidden_size": 64, "max_steps": 2}  # takes over a megabyte
WILD = SGD | {"learning_rate": 10.0, "clip_norm": 0.0, "warmup_steps": 0, "max_rollbacks": 9}
# another value, all that it changes of what is seen of a run, and other settings of both runs
TRAINING: dict[str, tuple[Any, ...]] = {
    "cell": ("gru", "arrays first weights"),
    "num_layers": (2, "arrays first weights"),
    "hidden_size": (9, "arrays first weights"),
    "embedding_size": (3, "arrays first weights"),
    "dropout": (0.5, "first weights"),
    "init": ("identity", "first weights"),
    "init_scale": (0.5, "first weights"),
    "input_scale": (1.0, "first weights"),
    "dtype": ("float32", "arrays first weights"),
    "seq_length": (16, "first weights"),
    "batch_size": (5, "arrays first weights"),
    "stateless": (True, "first weights"),
    "optimizer": ("sgd", "arrays weights", {"learning_rate": 0.01}),
    "learning_rate": (0.01, "rates weights"),
    "momentum": (0.5, "weights", SGD),
    "nesterov": (True, "weights", SGD),
    "beta1": (0.5, "weights"),
    "beta2": (0.9, "weights"),
    "weight_decay": (0.5, "weights"),
    "schedule": ("constant", "rates weights"),
    "warmup_steps": (9, "rates weights"),
    "min_learning_rate_ratio": (0.5, "rates weights"),
    "learning_rate_decay": (0.5, "rates weights", DECAY | {"learning_rate_decay_after": 1}),
    "learning_rate_decay_after": (1, "rates weights", DECAY),
    "average": ("ema", "arrays"),
    "plateau_patience": (1, "rates weights", PLATEAU),
    "plateau_factor": (0.1, "rates weights", PLATEAU),
    "clip_norm": (0.01, "weights", SGD),
    "clip_value": (0.01, "weights", SGD),
    "epochs": (1, "steps validations rates weights files", {"max_steps": 0, "epochs": 2}),
    "max_steps": (20, "steps validations rates weights files"),
    "val_fraction": (0.2, "first weights"),
    "test_fraction": (0.2, "first weights"),
    "shuffle_documents": (False, "first weights", {"shuffle_documents": True}),
    "seed": (1, "first weights"),
    "threads": (2, "rounding"),
    "kernels": ("numpy", "rounding" if find_spec("numba") else ""),
    "recompute_every": (3, "rounding"),
    "memory_budget": (1, "rounding said", LONG),
    "eval_every": (15, "validations files"),
    "sample_every": (10, "samples"),
    "log_every": (3, "first steps"),
    "save_every": (0.0, "files", {"eval_every": 0}),
    "keep": (3, "files"),
    "patience": (2, "steps validations files said", STUCK),
    "max_rollbacks": (0, "end steps validations rates weights files said", WILD),
}


@cache
def run(settings: tuple[tuple[str, Any], ...]) -> dict[str, Any]:
    """What is seen of a run; ``weights`` are those of its last save."""
    config = charrnn.TrainConfig(**dict(settings))
    corpus = charrnn.Corpus.from_text(PROVERB * 12)
    if "shuffle_documents" in dict(settings):
        corpus = charrnn.Corpus.from_documents([PROVERB[i:] for i in range(12)])
    told, seen = Told(), {"end": "done"}
    with TemporaryDirectory() as folder, mock.patch("os.fsync"):
        try:
            charrnn.train(corpus, config, folder, progress=told)
        except DivergedError:
            seen["end"] = "diverged"
        lines = [json.loads(line) for line in (Path(folder) / "metrics.jsonl").read_text().splitlines()]
        with np.load(Path(folder) / "last.npz") as last:
            arrays = {name: (last[name].shape, last[name].dtype) for name in last if last[name].ndim}
        files = sorted(path.name for path in Path(folder).iterdir())
        weights = charrnn.load(folder, "last").parameters.flat
    return seen | {
        "arrays": arrays,
        "weights": weights,
        "first": lines[0]["loss"],
        "rates": {line["step"]: line["learning_rate"] for line in lines},
        "steps": [line["step"] for line in lines],
        "validations": [line["step"] for line in lines if line["val_loss"]],
        "files": files,
        "samples": told.calls.get("sampled"),
        "said": told.calls.get("say"),
    }


def differences(one: dict[str, Any], other: dict[str, Any]) -> set[str]:
    """In what two runs differ; "rounding" is a difference of the weights that is no larger."""
    found = {name for name in one.keys() - {"weights", "first", "rates"} if one[name] != other[name]}
    if abs(one["first"] - other["first"]) > 1e-11:
        found.add("first")
    if any(
        one["rates"][step] != other["rates"][step] for step in one["rates"].keys() & other["rates"].keys()
    ):
        found.add("rates")
    w, v = one["weights"], other["weights"]
    if w.shape != v.shape or np.abs(w - v).max() > 1e-11:
        found.add("weights")
    elif not np.array_equal(w, v):
        found.add("rounding")
    return found


def test_every_setting_is_in_a_table():
    assert set(TRAINING) == set(charrnn.TrainConfig.model_fields)
    assert set(SAMPLING) == set(charrnn.SampleConfig.model_fields)


@pytest.mark.parametrize("name", TRAINING)
def test_a_setting_of_training_changes_just_what_it_should(name):
    value, changes, *others = TRAINING[name]
    settings = SHARED | dict(*others)
    one, other = (run(tuple(sorted(given.items()))) for given in (settings, settings | {name: value}))
    assert differences(one, other) == set(changes.split())


def test_a_worker_keeps_as_few_activations_as_the_first_shard(tmp_path, monkeypatch):
    """Where both have the same text, a gradient is two equal halves: its bits are those of one shard."""
    monkeypatch.setattr("os.fsync", lambda descriptor: None)
    weights = []
    for rows in (1, 2):
        settings = {"batch_size": rows, "threads": rows, "recompute_every": 3}
        config = charrnn.TrainConfig(**SHARED | settings, val_fraction=0, test_fraction=0)
        corpus = charrnn.Corpus.from_text(PROVERB * 3 * rows + PROVERB[0])
        weights.append(charrnn.train(corpus, config, tmp_path / f"{rows}").model.parameters.flat)
    np.testing.assert_array_equal(*weights)


# -- sampling ---------------------------------------------------------------------------------------

DRAWN = {"length": 80, "temperature": 0.8, "seed": 0}
SAMPLING: dict[str, tuple[Any, Any]] = {  # another value, and the text that it makes of the one without it
    "length": (30, lambda text: text[:30]),
    "temperature": (1.5, None),  # another
    "top_k": (2, None),
    "top_p": (0.5, None),
    "forbid": ("e", None),
    "stop": ("e", lambda text: text[: text.index("e")]),
    "seed": (1, None),
    "kernels": ("numba" if find_spec("numba") else "numpy", lambda text: text),
}


@pytest.mark.parametrize("name", SAMPLING)
@pytest.mark.parametrize("way", ["sample", "draw_many", "command"])
def test_a_setting_of_sampling_changes_the_text(run_folder, cli, way, name):
    model = charrnn.load(run_folder)

    def drawn(**settings):
        if way == "sample":
            return model.sample(**settings)
        if way == "draw_many":
            config, rngs = charrnn.SampleConfig(**settings), generators(settings["seed"])
            (_, sample) = model.draw_many(model.vocabulary.encode("\n"), config, list(islice(rngs, 2)))
            return model.vocabulary.decode(sample.tokens)
        flags = [word for key, value in settings.items() for word in (f"--{key.replace('_', '-')}", value)]
        return cli("sample", run_folder, *flags).out

    value, made_of = SAMPLING[name]
    text, other = drawn(**DRAWN), drawn(**DRAWN | {name: value})
    assert (other != text) == (name != "kernels")
    assert made_of is None or other.rstrip("\n") == made_of(text).rstrip("\n")
