import json
import math
import re
from dataclasses import replace

import numpy as np
import pytest
from conftest import assert_same_run, metrics, position
from small import Signal, Spy, train

import charrnn
from charrnn.errors import DivergedError, Interrupted
from charrnn.npz import read_arrays
from charrnn.training import trainer
from charrnn.training.guard import Guard


def test_divergence_keeps_what_was_good(corpus, tmp_path):
    train(corpus, tmp_path, epochs=1)
    step = metrics(tmp_path)[-1]["step"]
    good = read_arrays(tmp_path / "last.npz")
    wild = {"learning_rate": 1e38, "warmup_steps": 0, "clip_norm": 0}
    message = rf"not finite at step {step + 1}.*saved: step {step}.*`learning_rate` \(now 1e\+38\)"
    with pytest.raises(DivergedError, match=message):
        train(corpus, tmp_path, epochs=2, resume=True, max_rollbacks=0, **wild)
    last = read_arrays(tmp_path / "last.npz")
    for name in good.keys() - {"position", "settings"}:
        np.testing.assert_array_equal(last[name], good[name])
    best = (tmp_path / "best.npz").read_bytes()
    spy = Spy()
    with pytest.raises(DivergedError, match=r"tried: 1e\+38, 5e\+37, 2.5e\+37\)"):
        train(corpus, tmp_path, epochs=2, resume=True, max_rollbacks=2, progress=spy, **wild)
    assert [f"back to step {step}" in line for line in spy.said].count(True) == 2
    assert (tmp_path / "best.npz").read_bytes() == best
    after, before = read_arrays(tmp_path / "last.npz"), read_arrays(tmp_path / "best.npz")
    np.testing.assert_array_equal(after["W_aa"], before["W_aa"])
    spy = Spy()
    train(corpus, tmp_path, epochs=2, resume=True, progress=spy)
    assert position(tmp_path)["rollbacks"] == 0  # another rate than the one that was halved
    assert not any("back to step" in line for line in spy.said)


@pytest.fixture
def shaky(monkeypatch):
    """Every run explodes at step 51 and, with half the rate, at step 70; 41 steps are an epoch."""
    original = Guard.check_step

    def explode(self, state, loss, norm):
        original(self, state, loss, norm)
        if (state.step, state.rollbacks) in ((50, 0), (69, 1)):
            raise DivergedError("boom")

    monkeypatch.setattr(Guard, "check_step", explode)


def test_a_run_that_diverges_goes_back_and_on_with_half_the_rate(corpus, shaky, tmp_path):
    spy = Spy()
    result = train(corpus, tmp_path, eval_every=15, schedule="constant", progress=spy)
    assert spy.said == [
        "boom: back to step 45, to continue with a learning rate of 0.005 (rollback 1 of 3)",
        "boom: back to step 60, to continue with a learning rate of 0.0025 (rollback 2 of 3)",
    ]
    lines = metrics(tmp_path)
    assert [line["step"] for line in lines] == list(range(1, result.steps + 1))
    assert [line["learning_rate"] for line in lines[4:]] == 41 * [0.01] + 15 * [0.005] + 63 * [0.0025]
    assert result.best_val_loss == min(line["val_loss"] for line in lines if line["val_loss"])
    last = json.loads((tmp_path / "metrics.jsonl").read_text().splitlines()[-1])
    assert len(spy.back) == 2
    assert last["elapsed"] == pytest.approx(result.elapsed, abs=1e-3)


@pytest.mark.parametrize("step", [5, 15, 41, 44, 45, 46, 50, 51, 52, 66, 75, 76, 110])
def test_rollbacks_are_the_same_in_a_run_that_was_interrupted(corpus, shaky, tmp_path, step):
    """Right after a validation, between it and the explosion, right before, and right after going back."""
    settings = {"eval_every": 15, "epochs": 2}
    train(corpus, tmp_path / "whole", **settings)
    with pytest.raises(Interrupted):
        train(corpus, tmp_path / "cut", progress=Signal(min(step, 85)), **settings)
    train(corpus, tmp_path / "cut", resume=True, save_every=0, **settings)
    assert_same_run(tmp_path / "whole", tmp_path / "cut")
    assert position(tmp_path / "cut")["rollbacks"] == 2


def test_an_explosion_is_noticed_while_it_is_finite(corpus, tmp_path):
    """And the way there is nothing to go back to: validations worse than guessing."""
    spy, wild = Spy(), {"optimizer": "sgd", "momentum": 0, "clip_norm": 0, "schedule": "constant"}
    wild["kernels"] = "numpy"  # whose rounding says which of the losses explodes first
    result = train(corpus, tmp_path, learning_rate=8, warmup_steps=0, eval_every=15, progress=spy, **wild)
    assert [re.sub(r" to .*:", ":", line) for line in spy.said] == [
        "the loss has exploded: back to step 0, to continue with a learning rate of 4 (rollback 1 of 3)",
        "the loss has exploded: back to step 0, to continue with a learning rate of 2 (rollback 2 of 3)",
    ]
    assert result.best_val_loss < 1


def test_a_validation_that_explodes_is_no_validation(corpus, tmp_path, monkeypatch):
    original, results = trainer.evaluate, iter([2.0, math.inf, 12.1, 1.0])

    def evaluate(model, tokens, *scorer):
        score = original(model, tokens, *scorer)
        return replace(score, loss=next(results, score.loss))

    monkeypatch.setattr(trainer, "evaluate", evaluate)
    spy = Spy()
    train(corpus, tmp_path, epochs=2, progress=spy)
    assert [line.split(":")[0] for line in spy.said] == [
        "the validation loss is not finite at step 82",
        "the validation loss has exploded to 12.1 at step 82 (guessing costs 3.00)",
    ]
    assert [line["val_loss"] for line in metrics(tmp_path) if line["val_loss"]] == [2.0, 1.0]


@pytest.mark.parametrize("val_fraction", [0.05, 0])
@pytest.mark.parametrize(("rate", "how"), [(1e38, "is not finite"), (1e18, r"has exploded to \S+")])
def test_weights_gone_wrong_are_never_saved(corpus, tmp_path, val_fraction, rate, how):
    """The first loss is finite, but the step it leads to is not, or so large that no loss after it is."""
    wild = {"optimizer": "sgd", "learning_rate": rate, "clip_norm": 0, "warmup_steps": 0, "max_steps": 1}
    with pytest.raises(DivergedError, match=rf"{how} at step 1 \(saved: step 0\)"):
        train(corpus, tmp_path, **wild, val_fraction=val_fraction)
    assert [path.name for path in tmp_path.glob("*.npz")] == ["last.npz"]
    first = charrnn.CharRNN(corpus.vocabulary, 16)
    np.testing.assert_array_equal(charrnn.load(tmp_path).parameters.flat, first.parameters.flat)
