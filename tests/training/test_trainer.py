import math
import os
import signal
import threading
from pathlib import Path

import numpy as np
import pytest
from conftest import assert_same_run, metrics, position
from small import Signal, Spy, train

import charrnn
from charrnn.errors import Interrupted, RunError, TextError, WorkerError
from charrnn.npz import read_arrays
from charrnn.training import Progress, optim, shards
from charrnn.training.shards import Shards


def test_it_learns(finished):
    lines = metrics(finished.path)
    assert lines[0]["loss"] == pytest.approx(np.log(len(finished.model.vocabulary)), rel=0.02)
    assert lines[-1]["loss"] < 2
    assert finished.best_val_loss == min(line["val_loss"] for line in lines if line["val_loss"])


def test_the_best_network_is_the_one_kept(corpus, finished):
    parts = corpus.split(0.05, 0.05)
    best = charrnn.load(finished.path)
    assert charrnn.evaluate(best, parts.val).loss == pytest.approx(finished.best_val_loss, rel=1e-6)
    assert charrnn.evaluate(best, parts.test).loss == finished.test_loss


def test_the_same_seed_gives_the_same_bits(corpus, finished, tmp_path):
    assert_same_run(finished.path, train(corpus, tmp_path).path)
    for name in ("a", "b"):
        train(corpus, tmp_path / name, threads=2)
    assert_same_run(tmp_path / "a", tmp_path / "b")
    other = train(corpus, tmp_path / "other", seed=1)
    assert other.best_val_loss != finished.best_val_loss


def test_looking_at_a_run_does_not_change_it(corpus, finished, tmp_path):
    spy = Spy()
    looked_at = train(corpus, tmp_path, eval_every=1, sample_every=1, save_every=0, progress=spy)
    assert len(spy.scores) == looked_at.steps
    assert len(spy.samples) == looked_at.steps - 1
    last, expected = (read_arrays(run / "last.npz") for run in (tmp_path, finished.path))
    for name in expected.keys() - {"position", "settings"}:
        np.testing.assert_array_equal(last[name], expected[name], err_msg=name)


STATELESS = {"stateless": True, "threads": 2}
GATED = {"cell": "lstm", "num_layers": 2, "dropout": 0.3, "embedding_size": 5, "threads": 2}


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"optimizer": "sgd"},
        {"threads": 2},
        {"log_every": 7},
        {"cell": "gru", "dropout": 0.5},
        STATELESS,
        GATED,
    ],
)
@pytest.mark.parametrize("step", [1, 20, 41])
def test_a_run_interrupted_and_resumed_is_the_run_that_was_not(corpus, tmp_path, settings, step):
    train(corpus, tmp_path / "whole", **settings)
    with pytest.raises(Interrupted, match=f"after step {step}") as stopped:
        train(corpus, tmp_path / "cut", progress=Signal(step), **settings)
    assert stopped.value.signal == signal.SIGINT
    resumed = train(corpus, tmp_path / "cut", resume=True, **settings)
    assert_same_run(tmp_path / "whole", tmp_path / "cut")
    assert resumed.best_val_loss == metrics(tmp_path / "whole")[-1]["val_loss"]


def test_dropout_is_drawn_anew_for_every_step_from_the_runs_seed(corpus, tmp_path, monkeypatch):
    drawn, original = [], shards.mask_drawer

    def spying(model, seed, rows, dropout):
        drawn.append((tuple(seed), dropout))
        return original(model, seed, rows, dropout)

    monkeypatch.setattr(shards, "mask_drawer", spying)
    settings = {"dropout": 0.3, "threads": 1, "epochs": 1}
    first = train(corpus, tmp_path / "a", seed=5, **settings)
    assert drawn == [((5, step), 0.3) for step in range(first.steps)]
    whole = train(corpus, tmp_path / "b", seed=5, threads=1, epochs=1)
    assert not np.array_equal(first.model.parameters.flat, whole.model.parameters.flat)


@pytest.mark.parametrize("cell", ["rnn", "gru", "lstm"])
def test_as_many_layers_as_there_may_be_are_saved_and_gone_on_with(corpus, tmp_path, cell):
    sizes = {"cell": cell, "num_layers": 100, "hidden_size": 2, "embedding_size": 2}
    train(corpus, tmp_path, max_steps=1, **sizes)
    result = train(corpus, tmp_path, max_steps=2, resume=True, **sizes)
    assert result.steps == 2
    assert charrnn.load(tmp_path).config.num_layers == 100


def test_the_memory_of_dropout_counts(corpus, tmp_path):
    spy = Spy()
    budget = {"hidden_size": 900, "max_steps": 1, "memory_budget": 1, "sample_every": 0, "val_fraction": 0}
    train(corpus, tmp_path / "a", progress=spy, **budget)
    assert not [text for text in spy.said if "memory-budget" in text]
    train(corpus, tmp_path / "b", progress=spy, dropout=0.5, **budget)
    assert [text for text in spy.said if "over `memory_budget` 1" in text]


def test_sigterm_saves_too(corpus, tmp_path):
    with pytest.raises(Interrupted) as stopped:
        train(corpus, tmp_path, progress=Signal(5, signal.SIGTERM))
    assert stopped.value.signal == signal.SIGTERM
    assert position(tmp_path)["step"] == 5
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_second_signal_stops_at_once(corpus, finished, tmp_path, number):
    with pytest.raises(Interrupted, match="at once") as stopped:
        train(corpus, tmp_path, progress=Signal(50, number, times=2))
    assert stopped.value.signal == number
    assert position(tmp_path)["step"] == 41  # saved at the last validation
    train(corpus, tmp_path, resume=True)
    assert_same_run(tmp_path, finished.path)


@pytest.mark.usefixtures("usual_hangup")
def test_a_signal_that_is_ignored_stays_ignored(corpus, tmp_path):
    with pytest.raises(Interrupted) as stopped:
        train(corpus, tmp_path / "a", epochs=1, progress=Signal(5, signal.SIGHUP))
    assert stopped.value.signal == signal.SIGHUP
    signal.signal(signal.SIGHUP, signal.SIG_IGN)  # as under nohup
    assert train(corpus, tmp_path / "b", epochs=1, progress=Signal(5, signal.SIGHUP)).steps == 41


@pytest.mark.parametrize("method", ["step", "sampled", "evaluated"])
def test_a_report_that_fails_loses_nothing(corpus, finished, tmp_path, method):
    """The terminal is closed, or cannot show a character: what was learned is saved before the end."""

    def fail(*args):
        raise BrokenPipeError

    progress = Progress()
    setattr(progress, method, fail)
    with pytest.raises(BrokenPipeError):
        train(corpus, tmp_path, sample_every=20, progress=progress)
    assert (tmp_path / "last.npz").exists()
    train(corpus, tmp_path, sample_every=20, resume=True)
    assert_same_run(tmp_path, finished.path)


def test_patience_ends_a_run_and_outlives_an_interruption(corpus, tmp_path):
    stuck = {
        "learning_rate": 1e-12,
        "weight_decay": 0,
        "eval_every": 10,
        "patience": 3,
        "schedule": "constant",
    }
    spy = Spy()
    result = train(corpus, tmp_path / "whole", progress=spy, **stuck)
    scores = [line["val_loss"] for line in metrics(tmp_path / "whole") if line["val_loss"]]
    assert result.steps == 10 * len(scores) < 123
    assert min(scores[-3:]) >= result.best_val_loss == min(scores[:-3])
    assert "3 validations without improvement: the run ends here" in spy.said[-1]
    for step in (5, 10, 15, result.steps - 10, result.steps - 1):
        with pytest.raises(Interrupted):
            train(corpus, tmp_path / f"{step}", progress=Signal(step), **stuck)
        train(corpus, tmp_path / f"{step}", resume=True, **stuck)
        assert_same_run(tmp_path / "whole", tmp_path / f"{step}")
    train(corpus, tmp_path / "whole", resume=True, progress=spy, **stuck)
    assert "ended this run; raise `patience` to continue it" in spy.said[-1]
    more = train(corpus, tmp_path / "whole", resume=True, **stuck | {"patience": 4})
    assert more.steps > result.steps


def test_the_rate_falls_on_a_plateau_and_a_resumed_run_falls_at_the_same_steps(corpus, tmp_path):
    plateau = {"schedule": "plateau", "plateau_patience": 2, "plateau_factor": 0.25, "eval_every": 5}
    plateau |= {"learning_rate": 0.1, "warmup_steps": 0}
    whole = train(corpus, tmp_path / "whole", **plateau)
    lines = metrics(tmp_path / "whole")
    rates = [line["learning_rate"] for line in lines]
    expected, falls, best, since = [], 0, math.inf, 0
    for line in lines:
        expected.append(0.1 * 0.25**falls)
        if (loss := line["val_loss"]) is not None:
            since, best = (0, loss) if loss < best else (since + 1, best)
            if since == 2:
                falls, since = falls + 1, 0
    assert rates == pytest.approx(expected)
    assert falls >= 2
    first = rates.index(0.025)  # the lines are one a step: this is the step that is the first with it
    for step in (first - 1, first, first + 6):
        with pytest.raises(Interrupted):
            train(corpus, tmp_path / f"{step}", progress=Signal(step), **plateau)
        train(corpus, tmp_path / f"{step}", resume=True, **plateau)
        assert_same_run(whole.path, tmp_path / f"{step}")


def test_the_state_is_carried_and_starts_each_epoch_at_zero(corpus, tmp_path, monkeypatch):
    states = []
    original = Shards.loss_and_gradients

    def spying(self, inputs, targets, state, *rest):
        result = original(self, inputs, targets, state, *rest)
        states.append((state.copy(), result[2].copy()))
        return result

    monkeypatch.setattr(Shards, "loss_and_gradients", spying)
    result = train(corpus, tmp_path, epochs=2)
    per_epoch = result.steps // 2
    for i, (before, _) in enumerate(states):
        expected = np.zeros_like(before) if i % per_epoch == 0 else states[i - 1][1]
        np.testing.assert_array_equal(before, expected)
        assert i % per_epoch == 0 or np.abs(before).max() > 0.01


def test_progress_counts_every_character(corpus, tmp_path):
    spy = Spy()
    result = train(corpus, tmp_path, epochs=2, progress=spy)
    ((done, total),) = spy.bounds
    parts = corpus.split(0.05, 0.05)
    assert done == total == 2 * 4 * ((len(parts.train) - 1) // 4)
    assert [score[1] for score in spy.scores] == [1, 2]
    assert result.steps == spy.scores[-1][0]


def test_max_steps_ends_a_run(corpus, tmp_path):
    assert train(corpus, tmp_path, max_steps=7).steps == 7
    assert metrics(tmp_path)[-1]["val_loss"] is not None


def test_a_small_text_shrinks_the_batch_and_says_so(tmp_path):
    spy = Spy()
    small = charrnn.Corpus.from_text("a small text, but enough for two rows of sixteen")
    train(small, tmp_path, epochs=1, val_fraction=0, test_fraction=0, progress=spy)
    assert "`batch_size` 4 shrunk to 2" in spy.said[0]
    with pytest.raises(TextError, match=r"Lower .*seq.length"):
        train(small, tmp_path / "b", seq_length=60)
    result = train(small, tmp_path / "c", epochs=1, val_fraction=0, test_fraction=0.02, progress=spy)
    assert "the test part has one character only" in spy.said[1]
    assert result.test_loss is None


def test_without_validation_the_last_network_is_the_result(corpus, tmp_path):
    result = train(corpus, tmp_path, epochs=1, val_fraction=0, test_fraction=0)
    assert result.best_val_loss is None
    assert result.test_loss is None
    assert not (tmp_path / "best.npz").exists()
    assert result.model.sample(length=5)


def test_both_clips_limit_the_step(corpus, tmp_path):
    """With plain SGD at rate 1, the first step is the clipped gradient itself."""
    plain = {"optimizer": "sgd", "momentum": 0, "learning_rate": 1, "warmup_steps": 0, "max_steps": 1}
    first = charrnn.CharRNN(corpus.vocabulary, 16)
    moved = {}
    for name, clip in (
        ("none", {"clip_norm": 0}),
        ("norm", {"clip_norm": 0.01}),
        ("value", {"clip_value": 1e-4}),
    ):
        result = train(corpus, tmp_path / name, **plain, **clip)
        moved[name] = result.model.parameters.flat - first.parameters.flat
        assert metrics(tmp_path / name)[0]["grad_norm"] == pytest.approx(
            np.linalg.norm(moved["none"]), rel=1e-4
        )
    assert np.linalg.norm(moved["norm"]) == pytest.approx(0.01, rel=1e-3)
    assert np.abs(moved["value"]).max() == pytest.approx(1e-4, rel=1e-2)


def test_a_window_past_the_memory_budget_keeps_some_activations_only(corpus, tmp_path):
    class Said(Progress):
        def __init__(self):
            self.lines = []

        def say(self, text):
            self.lines.append(text)

    long = {"hidden_size": 128, "seq_length": 600, "batch_size": 4, "max_steps": 2, "dtype": "float64"}
    said = Said()
    train(corpus, tmp_path / "all", progress=said, **long)
    assert said.lines == []
    train(corpus, tmp_path / "some", progress=said, memory_budget=1, **long)
    (line,) = said.lines
    assert "600 time steps would take 8 MB, over `memory_budget` 1: as with `recompute_every` 25" in line
    for one, other in zip(metrics(tmp_path / "all"), metrics(tmp_path / "some"), strict=True):
        assert other["loss"] == pytest.approx(one["loss"], rel=1e-12)
        assert other["grad_norm"] == pytest.approx(one["grad_norm"], rel=1e-11)


def test_a_worker_that_dies_costs_no_step_that_was_done(corpus, tmp_path):
    class Kill(Progress):
        steps = 0

        def step(self, characters, loss):
            self.steps += 1
            if self.steps == 7:
                children = Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()
                for child in children:
                    os.kill(int(child), signal.SIGKILL)

    with pytest.raises(WorkerError, match="killed by signal 9"):
        train(corpus, tmp_path / "cut", threads=2, progress=Kill())
    assert position(tmp_path / "cut")["step"] == 7
    train(corpus, tmp_path / "cut", threads=2, resume=True)
    train(corpus, tmp_path / "whole", threads=2)
    assert_same_run(tmp_path / "whole", tmp_path / "cut")


@pytest.mark.skipif(os.name != "posix", reason="SIGSTOP")
def test_a_signal_ends_a_run_whose_worker_stands_still_at_its_last_save(corpus, tmp_path, monkeypatch):
    class Still(Progress):
        steps = 0

        def step(self, characters, loss):
            self.steps += 1
            if self.steps == 7:
                (child,) = Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()
                os.kill(int(child), signal.SIGSTOP)
                threading.Timer(0.2, os.kill, [os.getpid(), signal.SIGTERM]).start()

    monkeypatch.setattr(shards, "PATIENCE", 0.1)
    monkeypatch.setattr(shards, "LOOK_EVERY", 0.01)
    message = (
        r"stopped at the last save, after step 7 \(.*\): the worker process of rows 2 to 3 has not answered"
    )
    with pytest.raises(Interrupted, match=message) as stopped:
        train(corpus, tmp_path / "cut", threads=2, progress=Still())
    assert stopped.value.signal == signal.SIGTERM
    train(corpus, tmp_path / "cut", threads=2, resume=True)
    train(corpus, tmp_path / "whole", threads=2)
    assert_same_run(tmp_path / "whole", tmp_path / "cut")


def test_the_norm_of_the_gradient_is_computed_once_a_step(corpus, tmp_path, monkeypatch):
    """And once more of the weights; a second time of the gradient where its entries were clipped first."""
    original, calls = optim.global_norm, []
    monkeypatch.setattr(optim, "global_norm", lambda vector: calls.append(1) or original(vector))
    train(corpus, tmp_path / "a", max_steps=5)
    assert len(calls) == 2 * 5
    train(corpus, tmp_path / "b", max_steps=5, clip_value=0.1)
    assert len(calls) == (2 + 3) * 5


def test_a_stateless_run_reads_each_window_from_a_state_of_zeros(corpus, tmp_path, monkeypatch):
    states, original = [], Shards.loss_and_gradients

    def spying(self, inputs, targets, state, *rest):
        states.append((inputs.copy(), state.copy()))
        return original(self, inputs, targets, state, *rest)

    monkeypatch.setattr(Shards, "loss_and_gradients", spying)
    train(corpus, tmp_path, stateless=True, epochs=2)
    assert len(states) == 2 * ((len(corpus.split(0.05, 0.05).train) // 16 - 1) // 4)
    assert not any(state.any() for _, state in states)
    assert not np.array_equal(states[0][0], states[len(states) // 2][0])  # each epoch in another order


def test_a_stateless_run_stays_one(corpus, tmp_path):
    train(corpus, tmp_path, stateless=True, epochs=1)
    with pytest.raises(RunError, match="`stateless` False: this run has True, which cannot change"):
        train(corpus, tmp_path, resume=True, epochs=2)
