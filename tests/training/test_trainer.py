import json
import math
import os
import re
import shutil
import signal
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from conftest import assert_same_run, metrics, position

import charrnn
from charrnn.errors import DivergedError, Interrupted, RunError, TextError, WorkerError
from charrnn.runs.checkpoint import read_arrays, read_json, write_arrays
from charrnn.training import shards, trainer
from charrnn.training.shards import Shards
from charrnn.training.trainer import Progress

SETTINGS = {
    "hidden_size": 16,
    "seq_length": 16,
    "batch_size": 4,
    "epochs": 3,
    "warmup_steps": 5,
    "learning_rate": 0.01,
    "log_every": 1,
}


def train(corpus, out, *, progress=None, resume=False, **changes):
    config = charrnn.TrainConfig(**SETTINGS | changes)
    return charrnn.train(corpus, config, out, resume=resume, progress=progress)


class Signal(Progress):
    """Sends this process a signal after so many steps."""

    def __init__(self, step, number=signal.SIGINT, times=1):
        self.left, self.number, self.times = step, number, times

    def step(self, characters, loss):
        self.left -= 1
        if self.left == 0:
            for _ in range(self.times):
                os.kill(os.getpid(), self.number)


class Spy(Progress):
    def __init__(self):
        self.said, self.scores, self.samples, self.bounds, self.back = [], [], [], [], []

    def start(self, characters, total):
        self.bounds.append((characters, total))

    def step(self, characters, loss):
        self.bounds[-1] = (self.bounds[-1][0] + characters, self.bounds[-1][1])

    def evaluated(self, step, epoch, loss, val_loss, best):
        self.scores.append((step, epoch, val_loss, best))

    def went_back(self, characters):
        self.back.append(characters)

    def sampled(self, text):
        self.samples.append(text)

    def say(self, text):
        self.said.append(text)


@pytest.fixture(scope="module")
def finished(corpus, tmp_path_factory):
    """A run left alone, which others are compared with."""
    out = tmp_path_factory.mktemp("finished") / "run"
    return train(corpus, out)


@pytest.fixture(autouse=True)
def _no_flushing(request, monkeypatch):
    """Flushing to disk takes most of the time of such small runs, and matters only when the power fails."""
    if "flushed" not in request.node.name:
        monkeypatch.setattr(os, "fsync", lambda descriptor: None)


@pytest.mark.skipif(os.name != "posix", reason="folders are flushed on POSIX systems")
def test_all_is_flushed_in_an_order_that_outlives_a_reset(corpus, tmp_path, monkeypatch):
    """A file before its renaming, the folder after; the lines of metrics before the save that counts them."""
    events = []
    fsync, replace_file = os.fsync, os.replace

    def spying_fsync(descriptor):
        fsync(descriptor)
        events.append(("flushed", os.fstat(descriptor).st_ino, os.fstat(descriptor).st_size))

    def spying_replace(old, new):
        events.append((Path(new).name, Path(old).stat().st_ino, Path(old).stat().st_size))
        replace_file(old, new)

    monkeypatch.setattr(os, "fsync", spying_fsync)
    monkeypatch.setattr(os, "replace", spying_replace)
    train(corpus, tmp_path, eval_every=20)
    folder, lines = tmp_path.stat().st_ino, (tmp_path / "metrics.jsonl").stat().st_ino
    renamed = [i for i, (what, *_) in enumerate(events) if what != "flushed"]
    assert {events[i][0] for i in renamed} >= {"last.npz", "best.npz", "config.json", "step-100.npz"}
    for i in renamed:
        what, inode, size = events[i]
        assert ("flushed", inode, size) in events[:i], what
        assert events[i + 1][:2] == ("flushed", folder), what
    counted = [size for what, inode, size in events if (what, inode) == ("flushed", lines)]
    at = json.loads(str(read_arrays(tmp_path / "last.npz")["position"]))
    assert counted[-1] == at["metrics_bytes"] == (tmp_path / "metrics.jsonl").stat().st_size
    last = max(i for i in renamed if events[i][0] == "last.npz")
    assert ("flushed", lines, counted[-1]) in events[:last]


def test_what_a_run_leaves_on_disk(corpus, finished):
    run = finished.path
    files = [".lock", "best.npz", "config.json", "last.npz", "metrics.jsonl", "step-82.npz"]
    assert sorted(path.name for path in run.iterdir()) == files
    note = read_json(run / "config.json")
    assert charrnn.TrainConfig(**note["settings"]).hidden_size == 16
    assert note["corpus"]["name"] == "proverb"
    assert note["corpus"]["size"] == corpus.size
    assert note["corpus"]["sha256"] == corpus.sha256
    assert note["versions"]["numpy"] == np.__version__
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == list(range(1, finished.steps + 1))
    assert set(lines[0]) == {
        "step", "epoch", "loss", "val_loss", "grad_norm", "learning_rate", "chars_per_second", "elapsed"
    }  # fmt: skip
    assert lines[-1]["epoch"] == 3


def test_it_learns(finished):
    lines = metrics(finished.path)
    assert lines[0]["loss"] == pytest.approx(np.log(len(finished.model.vocabulary)), rel=0.02)
    assert lines[-1]["loss"] < 2
    assert finished.best_val_loss == min(line["val_loss"] for line in lines if line["val_loss"])


def test_the_best_network_is_the_one_kept(corpus, finished):
    parts = corpus.split(0.05, 0.05)
    best = charrnn.load(finished.path)
    assert charrnn.evaluate(best, parts.val).loss == finished.best_val_loss
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
    for name in expected.keys() - {"position"}:
        np.testing.assert_array_equal(last[name], expected[name], err_msg=name)


GATED = {"cell": "lstm", "num_layers": 2, "dropout": 0.3, "embedding_size": 5, "threads": 2}


@pytest.mark.parametrize(
    "settings",
    [{}, {"optimizer": "sgd"}, {"threads": 2}, {"log_every": 7}, {"cell": "gru", "dropout": 0.5}, GATED],
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
    drawn, original = [], shards.masks_of

    def spying(model, seed, rows, dropout):
        drawn.append((tuple(seed), dropout))
        return original(model, seed, rows, dropout)

    monkeypatch.setattr(shards, "masks_of", spying)
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


@pytest.mark.parametrize(
    "change", [{"cell": "gru"}, {"num_layers": 2}, {"hidden_size": 10**6, "num_layers": 100}]
)
def test_settings_of_another_network_than_was_saved_are_refused(corpus, finished, tmp_path, change):
    shutil.copytree(finished.path, tmp_path / "run")
    note = read_json(tmp_path / "run" / "config.json")
    note["settings"] |= change
    (tmp_path / "run" / "config.json").write_text(json.dumps(note))
    with pytest.raises(RunError, match="another network than the settings describe"):
        train(corpus, tmp_path / "run", resume=True, **change)


def test_the_memory_of_dropout_counts(corpus, tmp_path):
    spy = Spy()
    budget = {"hidden_size": 900, "max_steps": 1, "memory_budget": 1, "sample_every": 0, "val_fraction": 0}
    train(corpus, tmp_path / "a", progress=spy, **budget)
    assert not [text for text in spy.said if "memory-budget" in text]
    train(corpus, tmp_path / "b", progress=spy, dropout=0.5, **budget)
    assert [text for text in spy.said if "over --memory-budget 1" in text]


def test_lines_after_the_last_save_are_written_once(corpus, finished, tmp_path):
    with pytest.raises(Interrupted):
        train(corpus, tmp_path, progress=Signal(30))
    lines = (tmp_path / "metrics.jsonl").read_text().splitlines()
    ahead = [json.dumps(json.loads(lines[-1]) | {"step": step}) for step in (31, 32)]
    (tmp_path / "metrics.jsonl").write_text("\n".join([*lines, *ahead]) + '\n{"step": 33, "lo')
    train(corpus, tmp_path, resume=True)
    assert metrics(tmp_path) == metrics(finished.path)


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


def test_a_run_ended_in_its_first_steps_resumes_from_the_start(corpus, finished, tmp_path):
    with pytest.raises(KeyboardInterrupt):
        train(corpus, tmp_path, progress=Signal(3, times=2))
    assert position(tmp_path)["step"] == 0
    train(corpus, tmp_path, resume=True)
    assert_same_run(tmp_path, finished.path)
    for path in [*tmp_path.glob("*.npz"), tmp_path / "metrics.jsonl"]:  # killed when it had just begun
        path.unlink()
    train(corpus, tmp_path, resume=True)
    assert_same_run(tmp_path, finished.path)


def test_a_run_whose_last_state_is_gone_is_not_thrown_away(corpus, tmp_path):
    train(corpus, tmp_path, epochs=1, keep=1, max_rollbacks=0)
    (tmp_path / "last.npz").unlink()
    best = (tmp_path / "best.npz").read_bytes()
    with pytest.raises(RunError, match=r"last.npz: missing.*--overwrite"):
        train(corpus, tmp_path, epochs=1, resume=True)
    assert (tmp_path / "best.npz").read_bytes() == best


@pytest.mark.usefixtures("usual_hangup")
def test_a_signal_that_is_ignored_stays_ignored(corpus, tmp_path):
    with pytest.raises(Interrupted) as stopped:
        train(corpus, tmp_path / "a", epochs=1, progress=Signal(5, signal.SIGHUP))
    assert stopped.value.signal == signal.SIGHUP
    signal.signal(signal.SIGHUP, signal.SIG_IGN)  # as under nohup
    assert train(corpus, tmp_path / "b", epochs=1, progress=Signal(5, signal.SIGHUP)).steps == 41


def test_more_epochs_can_be_had(corpus, tmp_path):
    train(corpus, tmp_path, epochs=1)
    spy = Spy()
    train(corpus, tmp_path, epochs=1, resume=True, progress=spy)
    assert "has had its" in spy.said[0]
    result = train(corpus, tmp_path, epochs=2, resume=True, learning_rate=0.003)
    assert metrics(tmp_path)[-1]["epoch"] == 2
    assert read_json(tmp_path / "config.json")["settings"]["epochs"] == 2
    assert result.steps == len(metrics(tmp_path))


@pytest.mark.parametrize(
    ("changes", "message"),
    [({"hidden_size": 17}, "--hidden-size 17: this run has 16"), ({"seed": 4}, "--seed 4: this run has 0")],
)
def test_what_makes_a_run_cannot_change(corpus, finished, changes, message):
    with pytest.raises(RunError, match=message):
        train(corpus, finished.path, resume=True, **changes)


def test_what_is_noted_of_the_text_outlives_a_resume(corpus, tmp_path):
    """How it was read, above all: without that the run could not be resumed again, or evaluated."""
    about = {"sources": ["/a/b.txt"], "bytes": False, "encoding": "latin-1", "glob": "*.md"}
    charrnn.train(corpus, charrnn.TrainConfig(**SETTINGS | {"epochs": 1}), tmp_path, about=about)
    before = read_json(tmp_path / "config.json")
    train(corpus, tmp_path, epochs=2, resume=True)
    after = read_json(tmp_path / "config.json")
    assert after["corpus"] == before["corpus"]
    assert after["corpus"]["encoding"] == "latin-1"


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


@pytest.mark.parametrize(
    "damage",
    [
        {"step": -5},
        {"step": "7"},
        {"step": None},
        {"best_val_loss": "x"},
        {"best_val_loss": math.nan},
        {"since_log": [1.0]},
        {"since_log": [1.0, -1]},
        {"elapsed": None},
        {"rollbacks": -1},
        {"metrics_bytes": 1.5},
        {"kept": [[1]]},
        {"more": 1},
    ],
)
def test_a_position_that_makes_no_sense_is_refused(corpus, tmp_path, damage):
    train(corpus, tmp_path, epochs=1)
    arrays = read_arrays(tmp_path / "last.npz")
    at = json.loads(str(arrays["position"])) | damage
    write_arrays(tmp_path / "last.npz", arrays | {"position": np.array(json.dumps(at))})
    with pytest.raises(RunError, match="cannot be resumed from"):
        train(corpus, tmp_path, epochs=2, resume=True)


def test_another_text_is_noticed(finished):
    with pytest.raises(RunError, match="another text"):
        train(charrnn.Corpus.from_text("something else entirely " * 90), finished.path, resume=True)


def test_a_run_is_not_overwritten_by_accident(corpus, finished, tmp_path):
    before = (finished.path / "last.npz").read_bytes()
    with pytest.raises(RunError, match=r"--resume.*--overwrite"):
        train(corpus, finished.path)
    assert (finished.path / "last.npz").read_bytes() == before
    with pytest.raises(RunError, match="no run in this folder"):
        train(corpus, tmp_path, resume=True)
    (tmp_path / "metrics.jsonl").write_text("of an older run\n")
    charrnn.train(corpus, charrnn.TrainConfig(**SETTINGS), tmp_path, overwrite=True)
    assert_same_run(tmp_path, finished.path)


@pytest.mark.parametrize("name", ["last.npz", "config.json"])
def test_damage_is_noticed_on_resume(corpus, tmp_path, name):
    train(corpus, tmp_path, epochs=1)
    content = (tmp_path / name).read_bytes()
    (tmp_path / name).write_bytes(content[: len(content) // 2])
    with pytest.raises(RunError, match="damaged"):
        train(corpus, tmp_path, resume=True)


def test_divergence_keeps_what_was_good(corpus, tmp_path):
    train(corpus, tmp_path, epochs=1)
    step = metrics(tmp_path)[-1]["step"]
    good = (tmp_path / "last.npz").read_bytes()
    wild = {"learning_rate": 1e38, "warmup_steps": 0, "clip_norm": 0}
    message = rf"not finite at step {step + 1}.*saved: step {step}.*--learning-rate \(now 1e\+38\)"
    with pytest.raises(DivergedError, match=message):
        train(corpus, tmp_path, epochs=2, resume=True, max_rollbacks=0, **wild)
    assert (tmp_path / "last.npz").read_bytes() == good
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
    original = trainer.Trainer._must_not_explode

    def explode(self, loss):
        original(self, loss)
        if (self.at.step, self.at.rollbacks) in ((50, 0), (69, 1)):
            raise DivergedError("boom")

    monkeypatch.setattr(trainer.Trainer, "_must_not_explode", explode)


def test_a_run_that_diverges_goes_back_and_on_with_half_the_rate(corpus, shaky, tmp_path):
    spy = Spy()
    result = train(corpus, tmp_path, eval_every=15, schedule="constant", progress=spy)
    assert spy.said == [
        "boom: back to step 45, and on with a learning rate of 0.005 (rollback 1 of 3)",
        "boom: back to step 60, and on with a learning rate of 0.0025 (rollback 2 of 3)",
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
    result = train(corpus, tmp_path, learning_rate=8, warmup_steps=0, eval_every=15, progress=spy, **wild)
    assert [re.sub(r" to .*:", ":", line) for line in spy.said] == [
        "the loss has exploded: back to step 0, and on with a learning rate of 4 (rollback 1 of 3)",
        "the loss has exploded: back to step 0, and on with a learning rate of 2 (rollback 2 of 3)",
    ]
    assert result.best_val_loss < 1


def test_a_validation_that_explodes_is_no_validation(corpus, tmp_path, monkeypatch):
    original, results = trainer.evaluate, iter([2.0, math.inf, 12.1, 1.0])

    def evaluate(model, tokens):
        score = original(model, tokens)
        return replace(score, loss=next(results, score.loss))

    monkeypatch.setattr(trainer, "evaluate", evaluate)
    spy = Spy()
    train(corpus, tmp_path, epochs=2, progress=spy)
    assert [line.split(":")[0] for line in spy.said] == [
        "the validation loss is not finite at step 82",
        "the validation loss has exploded to 12.1 at step 82 (guessing costs 3.00)",
    ]
    assert [line["val_loss"] for line in metrics(tmp_path) if line["val_loss"]] == [2.0, 1.0]


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
    assert "3 validations without a better one: the run ends here" in spy.said[-1]
    for step in (5, 10, 15, result.steps - 10, result.steps - 1):
        with pytest.raises(Interrupted):
            train(corpus, tmp_path / f"{step}", progress=Signal(step), **stuck)
        train(corpus, tmp_path / f"{step}", resume=True, **stuck)
        assert_same_run(tmp_path / "whole", tmp_path / f"{step}")
    train(corpus, tmp_path / "whole", resume=True, progress=spy, **stuck)
    assert "have ended this run; a larger --patience gives it more" in spy.said[-1]
    more = train(corpus, tmp_path / "whole", resume=True, **stuck | {"patience": 4})
    assert more.steps > result.steps


# -- older saves ------------------------------------------------------------------------------------


@pytest.mark.parametrize("keep", [1, 2, 4])
@pytest.mark.parametrize("steps", [59, 60, 61, 62])
def test_the_saves_before_the_last_are_kept(corpus, tmp_path, keep, steps):
    """And beside them those that a rollback from one of them would go back to; 60 is a validation."""
    with pytest.raises(Interrupted):
        train(corpus, tmp_path, save_every=0, eval_every=20, keep=keep, progress=Signal(steps))
    saves = range(steps - keep + 1, steps + 1)
    needed = {*saves, *(step // 20 * 20 for step in saves)} - {steps}
    assert {path.name for path in tmp_path.glob("step-*")} == {f"step-{step}.npz" for step in needed}
    for step in needed:
        assert position(tmp_path, f"step-{step}.npz")["step"] == step


@pytest.mark.parametrize("damage", ["cut", "changed", "gone"])
def test_a_damaged_last_save_is_told_and_an_older_one_goes_on_to_the_same_bits(
    corpus, finished, tmp_path, damage
):
    with pytest.raises(Interrupted):
        train(corpus, tmp_path, save_every=0, progress=Signal(83))
    last = tmp_path / "last.npz"
    good = last.read_bytes()
    if damage == "gone":
        last.unlink()
    else:
        last.write_bytes(good[:-9] if damage == "cut" else good[:999] + b"?" + good[1000:])
    message = rf"last.npz: .*step-82.npz: charrnn train --resume --from step-82.npz --out {tmp_path}"
    with pytest.raises(RunError, match=message):
        train(corpus, tmp_path, resume=True)
    with pytest.raises(charrnn.CharRNNError, match=r"--from step-7.npz: .* keeps step-82.npz"):
        train(corpus, tmp_path, resume="step-7.npz")
    for name in ("../last.npz", "best.npz", str(last)):
        with pytest.raises(charrnn.CharRNNError, match=r"keeps step-82.npz"):
            train(corpus, tmp_path, resume=name)
    with pytest.raises(Interrupted):
        train(corpus, tmp_path, resume="step-82.npz", progress=Signal(3))
    train(corpus, tmp_path, resume=True)
    assert_same_run(finished.path, tmp_path)


def test_going_back_beyond_the_best_brings_back_the_best_before(corpus, tmp_path):
    with pytest.raises(Interrupted):
        train(corpus, tmp_path / "one", progress=Signal(82))
    best = read_arrays(tmp_path / "one" / "best.npz")
    train(corpus, tmp_path / "two", keep=9)
    assert read_arrays(tmp_path / "two" / "best.npz")["step"] == 123
    with pytest.raises(Interrupted):
        train(corpus, tmp_path / "two", keep=9, resume="step-82.npz", progress=Signal(1))
    again = read_arrays(tmp_path / "two" / "best.npz")
    assert best["step"] == again["step"] == 82
    np.testing.assert_array_equal(best["W_ax"], again["W_ax"])
    assert metrics(tmp_path / "two")[-1]["step"] == 83
    (tmp_path / "two" / "best.npz").write_bytes(b"")
    spy = Spy()
    train(corpus, tmp_path / "two", resume=True, progress=spy)
    assert not any("damaged" in line for line in spy.said)  # made again from step-82.npz


# -- another text, other weights --------------------------------------------------------------------


def test_another_text_can_be_allowed(corpus, tmp_path):
    train(corpus, tmp_path, epochs=1)
    other = charrnn.Corpus.from_text("the hen who asked once knew. the fox was answered.\n" * 90, "other")
    spy = Spy()
    config = charrnn.TrainConfig(**SETTINGS | {"max_steps": 60, "epochs": 9})
    result = charrnn.train(other, config, tmp_path, resume=True, allow_changed_corpus=True, progress=spy)
    assert result.steps == 60
    assert any("another text than before" in line for line in spy.said)
    assert len(result.model.vocabulary) == 20 > len(other.vocabulary)
    assert position(tmp_path)["corpus"] == other.sha256
    assert [line["step"] for line in metrics(tmp_path)] == list(range(1, 61))
    with pytest.raises(RunError, match="another text"):
        train(corpus, tmp_path, resume=True)
    new = charrnn.Corpus.from_text("Zebras!\n" * 90, "new")
    with pytest.raises(RunError, match=r"3 characters that .* does not know \('!', 'Z', 'b'.*--init-from"):
        charrnn.train(new, config, tmp_path, resume=True, allow_changed_corpus=True)


def test_a_run_can_start_from_the_weights_of_another(corpus, finished, tmp_path):
    other = charrnn.Corpus.from_text("the Quick fox, the hen Ω\n" * 90, "other")
    spy = Spy()
    config = charrnn.TrainConfig(**SETTINGS | {"max_steps": 1, "learning_rate": 1e-30, "weight_decay": 0})
    result = charrnn.train(other, config, tmp_path, init_from=finished.path, progress=spy)
    V = len(other.vocabulary)
    assert f"{V - 4} of {V} characters known to {finished.path}; 4 start afresh" in spy.said  # , Q Ω u c i
    new, old = result.model, finished.model
    fresh = charrnn.CharRNN(other.vocabulary, 16)
    for i, symbol in enumerate(other.vocabulary.symbols):
        known = np.flatnonzero(old.vocabulary.symbols == symbol)
        source, j = (old, known[0]) if len(known) else (fresh, i)
        np.testing.assert_array_equal(new.parameters["W_ax"][i], source.parameters["W_ax"][j])
        np.testing.assert_array_equal(new.parameters["W_ya"][:, i], source.parameters["W_ya"][:, j])
        assert new.parameters["b_y"][i] == pytest.approx(source.parameters["b_y"][j], abs=1e-20)
    for name in ("W_aa", "b_a"):
        np.testing.assert_array_equal(new.parameters[name], old.parameters[name])
    assert read_json(tmp_path / "config.json")["init_from"] == {"run": str(finished.path)}
    with pytest.raises(Interrupted):
        train(other, tmp_path, resume=True, max_steps=0, progress=Signal(4))
    charrnn.train(other, charrnn.TrainConfig(**SETTINGS), tmp_path / "b", init_from=finished.path)
    assert read_json(tmp_path / "config.json")["init_from"] == {"run": str(finished.path)}


@pytest.mark.parametrize(
    ("settings", "text", "message"),
    [
        ({"hidden_size": 17}, "abc", r"--hidden-size 17: .* has 16"),
        ({}, b"abc", "reads characters, and this text is read as bytes"),
    ],
)
def test_weights_that_do_not_fit_are_refused(finished, tmp_path, settings, text, message):
    other = charrnn.Corpus.from_text(text * 90)
    config = charrnn.TrainConfig(**SETTINGS | settings)
    with pytest.raises(RunError, match=message):
        charrnn.train(other, config, tmp_path / "run", init_from=finished.path)
    assert not (tmp_path / "run").exists()
    with pytest.raises(charrnn.CharRNNError, match=r"--init-from starts a new run"):
        charrnn.train(other, config, finished.path, init_from=finished.path, resume=True)


def test_what_changes_on_resuming_is_said(corpus, tmp_path):
    train(corpus, tmp_path, epochs=1)
    spy = Spy()
    train(corpus, tmp_path, epochs=2, log_every=3, resume=True, progress=spy)
    assert spy.said[0] == "changed on resuming: --epochs 1 → 2, --log-every 1 → 3"
    assert "the cosine schedule now ends at step 82" in spy.said[1]


def test_two_at_once_are_refused(corpus, tmp_path):
    class Rival(Progress):
        def step(self, characters, loss):
            for how in ({"resume": True}, {"overwrite": True}):
                with pytest.raises(RunError, match="another process is training there"):
                    charrnn.train(corpus, charrnn.TrainConfig(**SETTINGS), tmp_path, **how)

    train(corpus, tmp_path, max_steps=3, progress=Rival())
    train(corpus, tmp_path, max_steps=4, resume=True)


def test_the_state_is_carried_and_starts_each_epoch_at_zero(corpus, tmp_path, monkeypatch):
    states = []
    original = Shards.loss_and_gradients

    def spying(self, inputs, targets, state, seed):
        result = original(self, inputs, targets, state, seed)
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
    assert "--batch-size 4 shrunk to 2" in spy.said[0]
    with pytest.raises(TextError, match="Lower --seq-length"):
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


@pytest.mark.parametrize("val_fraction", [0.05, 0])
def test_weights_gone_wrong_are_never_saved(corpus, tmp_path, val_fraction):
    """The first loss is finite, but the step it leads to is not."""
    wild = {"optimizer": "sgd", "learning_rate": 1e38, "clip_norm": 0, "warmup_steps": 0, "max_steps": 1}
    with pytest.raises(DivergedError, match=r"not finite at step 1 \(saved: step 0\)"):
        train(corpus, tmp_path, **wild, val_fraction=val_fraction)
    assert [path.name for path in tmp_path.glob("*.npz")] == ["last.npz"]
    first = charrnn.CharRNN(corpus.vocabulary, 16)
    np.testing.assert_array_equal(charrnn.load(tmp_path).parameters.flat, first.parameters.flat)


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
    assert "600 time steps would take 8 MB, over --memory-budget 1: as with --recompute-every 25" in line
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
