import json
import math
import os
from pathlib import Path

import numpy as np
import pytest
from conftest import assert_same_run, metrics, position
from small import Signal, Spy, train

import charrnn
from charrnn.errors import Interrupted, RunError
from charrnn.npz import read_arrays
from charrnn.runs import RunFolder
from charrnn.training import trainer


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


def test_lines_after_the_last_save_are_written_once(corpus, finished, tmp_path):
    with pytest.raises(Interrupted):
        train(corpus, tmp_path, progress=Signal(30))
    lines = (tmp_path / "metrics.jsonl").read_text().splitlines()
    ahead = [json.dumps(json.loads(lines[-1]) | {"step": step}) for step in (31, 32)]
    (tmp_path / "metrics.jsonl").write_text("\n".join([*lines, *ahead]) + '\n{"step": 33, "lo')
    train(corpus, tmp_path, resume=True)
    assert metrics(tmp_path) == metrics(finished.path)


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


def test_saves_held_back_change_no_bit(corpus, finished, tmp_path, monkeypatch):
    """The same weights, best network and lines as with a save at every validation, resumed anywhere."""
    monkeypatch.setattr(trainer, "OFTEN", math.inf)
    written, original = [], RunFolder._save
    monkeypatch.setattr(
        RunFolder, "_save", lambda *given: written.append(given[1].state.step) or original(*given)
    )
    assert_same_run(finished.path, train(corpus, tmp_path / "whole").path)
    assert written == [0, 123]
    for step in (41, 60, 82, 100):
        run = tmp_path / f"{step}"
        written.clear()
        with pytest.raises(Interrupted):
            train(corpus, run, progress=Signal(step))
        assert written[-1] == position(run)["step"] == step  # a stop loses nothing
        assert read_arrays(run / "best.npz")["step"] == step // 41 * 41
        train(corpus, run, resume=True)
        assert_same_run(finished.path, run)


def test_a_save_held_back_is_written_after_half_a_second(corpus, tmp_path, monkeypatch):
    monkeypatch.setattr(trainer, "OFTEN", 0.5)
    now = 0.0
    monkeypatch.setattr(trainer.time, "monotonic", lambda: now)

    class Clocked(charrnn.Progress):
        steps, saved = 0, []

        def step(self, characters, loss):
            nonlocal now
            self.steps, now = self.steps + 1, now + 0.06
            self.saved.append(position(tmp_path)["step"])

    train(corpus, tmp_path, eval_every=2, max_steps=30, progress=Clocked())
    lost = [step - saved for step, saved in zip(range(1, 31), Clocked.saved, strict=True)]
    assert max(lost) * 0.06 <= 0.5 + 0.12
    assert len(set(Clocked.saved)) <= 30 * 0.06 / 0.5 + 2
