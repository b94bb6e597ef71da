"""The average of the weights: what it is, what becomes of it, and that nothing else changes for it."""

import numpy as np
import pytest
from conftest import assert_same_run, metrics, position
from small import Signal, train

import charrnn
from charrnn.config import OptimizerConfig
from charrnn.errors import DivergedError, Interrupted, RunError
from charrnn.npz import read_arrays, write_arrays
from charrnn.training import optim
from charrnn.training.guard import Guard

EMA = {
    "average": "ema",
    "schedule": "constant",
    "learning_rate": 0.1,
}  # such steps leave something to average


def average_in(path):
    return read_arrays(path)["optimizer.average"]


@pytest.mark.parametrize("name", ["adam", "sgd"])
def test_it_is_the_weighted_mean_of_where_the_parameters_have_been(name):
    rng = np.random.default_rng(0)
    p, path = rng.normal(size=7), []
    optimizer = optim.make_optimizer(p, OptimizerConfig(optimizer=name, average="ema"))
    path.append(p.copy())
    for t in range(1, 41):
        optimizer.step(rng.normal(size=7), 0.1)
        path.append(p.copy())
        weights = np.array(
            [9 / (s + 9) * np.prod([r / (r + 9) for r in range(s + 1, t + 1)]) for s in range(t + 1)]
        )
        assert weights.sum() == pytest.approx(1)
        np.testing.assert_allclose(optimizer.state["average"], weights @ np.array(path), rtol=1e-12)


def test_the_best_network_is_the_average_where_that_is_better(corpus, tmp_path):
    result = train(corpus, tmp_path, **EMA)
    val = corpus.split(0.05, 0.05).val
    lines = [line for line in metrics(tmp_path) if line["val_loss"]]
    last, best = read_arrays(tmp_path / "last.npz"), charrnn.load(tmp_path)
    assert result.averaged
    assert position(tmp_path)["best_step"] == 123
    np.testing.assert_array_equal(best.parameters.flat, last["optimizer.average"])
    assert lines[-1]["val_loss"] == lines[-1]["average_val_loss"] == result.best_val_loss
    assert charrnn.evaluate(best, val).loss == pytest.approx(result.best_val_loss, rel=1e-6)
    assert charrnn.evaluate(charrnn.load(tmp_path, "last"), val).loss > result.best_val_loss


def test_the_weights_are_the_best_network_where_they_are_better(corpus, finished, tmp_path):
    result = train(corpus, tmp_path, average="ema")  # the cosine has ended all movement
    assert not result.averaged
    np.testing.assert_array_equal(result.model.parameters.flat, finished.model.parameters.flat)
    *_, line = metrics(tmp_path)
    assert line["val_loss"] < line["average_val_loss"]
    for other, expected in zip(metrics(tmp_path), metrics(finished.path), strict=True):
        for name in ("loss", "grad_norm", "learning_rate"):
            assert other[name] == expected[name]


@pytest.mark.parametrize("settings", [{}, {"threads": 2, "optimizer": "sgd"}])
@pytest.mark.parametrize("step", [1, 60, 83])
def test_an_interrupted_run_comes_to_the_same_bits(corpus, tmp_path, settings, step):
    train(corpus, tmp_path / "whole", **EMA, **settings)
    with pytest.raises(Interrupted):
        train(corpus, tmp_path / "cut", progress=Signal(step), **EMA, **settings)
    train(corpus, tmp_path / "cut", resume=True, **EMA, **settings)
    assert_same_run(tmp_path / "whole", tmp_path / "cut")


def test_a_missing_best_network_is_made_again_from_the_average(corpus, tmp_path):
    with pytest.raises(Interrupted):
        train(corpus, tmp_path, progress=Signal(90), **EMA)
    assert position(tmp_path)["best_averaged"]
    whole = (tmp_path / "best.npz").read_bytes()
    (tmp_path / "best.npz").unlink()
    with pytest.raises(Interrupted):
        train(corpus, tmp_path, resume=True, progress=Signal(1), **EMA)
    assert (tmp_path / "best.npz").read_bytes() == whole


def test_a_run_that_diverges_goes_back_to_the_average_of_then(corpus, tmp_path, monkeypatch):
    original, averages = Guard.check_step, []

    def explode(self, state, loss, norm):
        original(self, state, loss, norm)
        if (state.step, state.rollbacks) == (50, 0):
            raise DivergedError("boom")

    class Watch(charrnn.Progress):
        def went_back(self, characters):
            averages.append(average_in(tmp_path / "last.npz"))

    monkeypatch.setattr(Guard, "check_step", explode)
    train(corpus, tmp_path, eval_every=41, keep=9, progress=Watch(), **EMA)
    np.testing.assert_array_equal(averages, [average_in(tmp_path / "step-41.npz")])


@pytest.mark.parametrize(("before", "after"), [("none", "ema"), ("ema", "none")])
def test_it_cannot_begin_or_end_in_the_middle_of_a_run(corpus, tmp_path, before, after):
    train(corpus, tmp_path, average=before, max_steps=5)
    with pytest.raises(RunError, match=f"`average` {after}: this run has {before}"):
        train(corpus, tmp_path, average=after, resume=True)


def test_a_save_whose_average_is_gone_is_refused(corpus, tmp_path):
    train(corpus, tmp_path, max_steps=5, **EMA)
    arrays = read_arrays(tmp_path / "last.npz")
    del arrays["optimizer.average"]
    write_arrays(tmp_path / "last.npz", arrays)
    with pytest.raises(RunError, match=r"optimizer\.average is missing, expected float32"):
        train(corpus, tmp_path, max_steps=9, resume=True, **EMA)
