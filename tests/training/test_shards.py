import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from reference import random_network, random_window
from small import Spy, train

import charrnn
from charrnn.errors import WorkerError
from charrnn.signals import StopRequests
from charrnn.training import shards as shards_module
from charrnn.training.bench import plan
from charrnn.training.shards import Shards, available_cores, choose_threads, mask_drawer


def gradients(dtype, threads, batch_size=7):
    _, x, y, a0 = random_window(0, (9, batch_size, 12, 10))
    vocabulary = charrnn.Corpus.from_text("abcdefghij").vocabulary
    model = charrnn.CharRNN(vocabulary, 12, dtype=dtype, seed=1)
    with Shards(model, 9, batch_size, threads) as shards:
        loss, flat, state = shards.loss_and_gradients(x, y, a0.astype(dtype))
        again = shards.loss_and_gradients(x, y, a0.astype(dtype))[1]
        np.testing.assert_array_equal(flat, again)
        return loss, flat.copy(), state


@pytest.mark.parametrize(("dtype", "tolerance"), [(np.float32, 1e-6), (np.float64, 1e-13)])
@pytest.mark.parametrize("threads", [2, 3, 7])
def test_any_number_of_shards_gives_the_gradients_of_one(dtype, tolerance, threads):
    loss, flat, state = gradients(dtype, 1)
    sharded_loss, sharded, sharded_state = gradients(dtype, threads)
    assert sharded_loss == pytest.approx(loss, rel=tolerance)
    assert np.abs(sharded - flat).max() <= tolerance * np.abs(flat).max()
    np.testing.assert_allclose(sharded_state, state, rtol=1e-5)


@pytest.mark.parametrize("n", [500, 4000, 9001])
@pytest.mark.parametrize("threads", [2, 3, 7])
def test_any_number_of_shards_gives_the_score_of_one(threads, n, monkeypatch):
    """A text of one row, of three, of eight; read in more than one piece."""
    monkeypatch.setattr(charrnn.measures.evaluation, "CHUNK", 2**16)
    tokens = np.random.default_rng(1).integers(0, 10, n).astype(np.uint8)
    model = charrnn.CharRNN(charrnn.Corpus.from_text("abcdefghij").vocabulary, 12, dtype=float, seed=1)
    expected = charrnn.evaluate(model, tokens)
    with Shards(model, 9, 7, threads) as shards:
        for _ in range(2):
            score = charrnn.evaluate(model, tokens, shards.scorer)
            assert (score.characters, score.accuracy) == (expected.characters, expected.accuracy)
            assert score.loss == pytest.approx(expected.loss, rel=1e-13)
        model.parameters.flat *= 2
        expected = charrnn.evaluate(model, tokens)
        assert charrnn.evaluate(model, tokens, shards.scorer).loss == pytest.approx(expected.loss, rel=1e-13)


def test_the_same_number_of_shards_gives_the_same_bits():
    for _ in range(2):
        np.testing.assert_array_equal(gradients(np.float32, 3)[1], gradients(np.float32, 3)[1])


def test_one_shard_is_the_model_itself():
    _, x, y, a0 = random_window(0, (9, 7, 12, 10))
    model = charrnn.CharRNN(charrnn.Corpus.from_text("abcdefghij").vocabulary, 12, dtype=float, seed=1)
    loss, expected, state = model.loss_and_gradients(x, y, a0)
    sharded_loss, flat, sharded_state = gradients(float, 1)
    assert sharded_loss == loss
    np.testing.assert_array_equal(flat, expected.flat)
    np.testing.assert_array_equal(sharded_state, state)


def test_shards_that_keep_every_kth_activation():
    _, x, y, a0 = random_window(0, (9, 4, 12, 10))
    model = charrnn.CharRNN(charrnn.Corpus.from_text("abcdefghij").vocabulary, 12, dtype=float)
    loss, expected, after = model.loss_and_gradients(x, y, a0)
    with Shards(model, 9, 4, 2, recompute_every=4) as shards:
        sharded_loss, flat, sharded_after = shards.loss_and_gradients(x, y, a0)
        assert shards._space.cells[0].a.shape == (5, 2, 12)
    assert sharded_loss == pytest.approx(loss, rel=1e-13)
    assert np.abs(flat - expected.flat).max() <= 1e-13 * np.abs(expected.flat).max()
    np.testing.assert_allclose(sharded_after, after, rtol=1e-13)


@pytest.mark.parametrize("form", [{}, {"cell": "lstm", "num_layers": 2}])
def test_dropout_does_not_depend_on_the_number_of_shards(form):
    model, x, y, state = random_network(0, (9, 7, 6, 10), **form)
    found = []
    for threads in (1, 3):
        with Shards(model, 9, 7, threads, dropout=0.5) as shards:
            found += [shards.loss_and_gradients(x, y, state, (5, step))[1].copy() for step in (1, 2, 1)]
    first, other, again, *sharded = found
    np.testing.assert_array_equal(first, again)
    assert not np.allclose(first, other)
    for one, many in zip(found, sharded, strict=False):
        assert np.abs(many - one).max() <= 1e-13 * np.abs(one).max()
    with Shards(model, 9, 7, 2, recompute_every=4, dropout=0.5) as shards:
        kept = shards.loss_and_gradients(x, y, state, (5, 1))[1]
    assert np.abs(kept - first).max() <= 1e-12 * np.abs(first).max()


def test_masks_are_drawn_for_the_steps_that_are_asked_for():
    model = random_network(0, (9, 7, 6, 10), num_layers=3)[0]
    masks = mask_drawer(model, (5, 1), slice(2, 6), 0.5)
    whole = masks(slice(0, 9))
    assert whole.shape == (3, 9, 4, 6)
    np.testing.assert_array_equal(masks(slice(4, 7)), whole[:, 4:7])
    np.testing.assert_array_equal(mask_drawer(model, (5, 1), slice(3, 5), 0.5)(slice(0, 9)), whole[:, :, 1:3])
    for other in ((5, 2), (6, 1)):
        assert not np.array_equal(mask_drawer(model, other, slice(2, 6), 0.5)(slice(0, 9)), whole)
    assert mask_drawer(model, (5, 1), slice(2, 6), 0.0) is None


def test_a_shorter_window_uses_the_same_memory():
    _, x, y, a0 = random_window(0, (9, 4, 12, 10))
    model = charrnn.CharRNN(charrnn.Corpus.from_text("abcdefghij").vocabulary, 12, dtype=float)
    with Shards(model, 9, 4, 2) as shards:
        shards.loss_and_gradients(x, y, a0)
        loss, flat, _ = shards.loss_and_gradients(x[:3], y[:3], a0)
    expected_loss, expected, _ = model.loss_and_gradients(x[:3], y[:3], a0)
    assert loss == pytest.approx(expected_loss, rel=1e-13)
    np.testing.assert_allclose(flat, expected.flat, rtol=1e-10, atol=1e-15)


class Faulty(charrnn.CharRNN):
    """Fails on the rows whose first character is ``bad``."""

    def backward(self, window, gradients=None, **how):
        if window.x[0, 0] == self.bad:
            raise MemoryError("no room")
        return super().backward(window, gradients, **how)


@pytest.fixture
def batch():
    _, x, y, a0 = random_window(0, (9, 4, 12, 10))
    x[0] = [0, 1, 2, 3]
    return x, y, a0.astype(np.float32)


@pytest.mark.parametrize("row", [0, 2])
def test_an_error_in_a_shard_comes_out(row, batch):
    model = Faulty(charrnn.Corpus.from_text("abcdefghij").vocabulary, 12)
    model.bad = row
    with pytest.raises(MemoryError, match="no room"), Shards(model, 9, 4, 2) as shards:
        shards.loss_and_gradients(*batch)
    with Shards(model, 9, 4, 2) as shards:
        for error in (MemoryError, WorkerError):  # and no later call takes an old reply for its own
            with pytest.raises(error):
                shards.loss_and_gradients(*batch)
    with pytest.raises(RuntimeError, match="context manager"):
        Shards(model, 9, 4, 2).loss_and_gradients(*batch)


def test_a_worker_that_is_killed_is_no_hang(batch):
    model = charrnn.CharRNN(charrnn.Corpus.from_text("abcdefghij").vocabulary, 12)
    with Shards(model, 9, 4, 2) as shards:
        shards.loss_and_gradients(*batch)
        (worker,) = shards._workers
        worker._process.kill()
        with pytest.raises(WorkerError, match="rows 2 to 3 was killed by signal 9"):
            shards.loss_and_gradients(*batch)


def test_no_worker_outlives_its_run(batch):
    model = charrnn.CharRNN(charrnn.Corpus.from_text("abcdefghij").vocabulary, 12)
    with Shards(model, 9, 4, 3) as shards:
        shards.loss_and_gradients(*batch)
        processes = [worker._process for worker in shards._workers]
    assert [process.poll() for process in processes] == [-signal.SIGKILL] * 2

    code = "\n".join(
        [
            "import charrnn, os, signal",
            "from charrnn.training.shards import Shards",
            "model = charrnn.CharRNN(charrnn.Vocabulary.of_text('abcdefghij'), 12)",
            "with Shards(model, 9, 4, 2) as shards:",
            "    print(shards._workers[0]._process.pid, flush=True)",
            "    os.kill(os.getpid(), signal.SIGKILL)",
        ]
    )
    done = subprocess.run([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, check=False)
    assert done.returncode == -signal.SIGKILL
    for _ in range(500):
        try:
            os.kill(int(done.stdout), 0)
        except ProcessLookupError:
            return
        if Path(f"/proc/{int(done.stdout)}/stat").read_text().split()[2] == "Z":  # nobody collects it here
            return
        time.sleep(0.01)
    pytest.fail("the worker is still there")


def test_the_cores_of_a_container(tmp_path):
    own = tmp_path / "cgroup"
    own.write_text("0::/a/b\n")
    groups = tmp_path / "groups"
    (groups / "a" / "b").mkdir(parents=True)
    free = available_cores(groups, own)
    own.write_text("12:cpu:/a/b\n")  # version 1
    assert available_cores(groups, own) == free
    own.write_text("0::/a/b\n")
    assert free == len(os.sched_getaffinity(0))
    (groups / "a" / "b" / "cpu.max").write_text("max 100000\n")
    assert available_cores(groups, own) == free
    (groups / "a" / "cpu.max").write_text("100000 100000\n")  # of the group above
    assert available_cores(groups, own) == 1
    (groups / "a" / "b" / "cpu.max").write_text("20000 100000\n")  # a fifth of a core is one
    assert available_cores(groups, own) == 1


def test_the_number_of_threads():
    assert choose_threads(3, batch_size=8, hidden_size=1) == 3
    assert choose_threads(3, batch_size=2, hidden_size=1) == 2
    assert choose_threads("auto", batch_size=4, hidden_size=16) == 1
    assert choose_threads("auto", batch_size=64, hidden_size=512) == min(8, available_cores())
    assert choose_threads("auto", batch_size=15, hidden_size=512) == 1


def test_a_worker_that_stands_still_is_waited_for_unless_a_signal_has_arrived(batch, monkeypatch):
    monkeypatch.setattr(shards_module, "PATIENCE", 0.1)
    monkeypatch.setattr(shards_module, "LOOK_EVERY", 0.01)
    model, stop = charrnn.CharRNN(charrnn.Corpus.from_text("abcdefghij").vocabulary, 12), StopRequests()
    with Shards(model, 9, 4, 2, stop=stop) as shards:
        loss, *_ = shards.loss_and_gradients(*batch)
        process = shards._workers[0]._process
        process.send_signal(signal.SIGSTOP)
        awake = threading.Timer(0.5, process.send_signal, [signal.SIGCONT])
        awake.start()
        assert shards.loss_and_gradients(*batch)[0] == loss
        awake.join()
        process.send_signal(signal.SIGSTOP)
        stop.received.append(signal.SIGTERM)
        with pytest.raises(WorkerError, match=r"rows 2 to 3 has not answered for 0\.1 seconds"):
            shards.loss_and_gradients(*batch)
        assert process.poll() == -signal.SIGKILL


def test_a_worker_that_stands_still_from_its_start_is_not_waited_for_either(monkeypatch):
    """The network it is to compute does not fit into the pipe to it, so that the writing waits."""

    class Still(subprocess.Popen):
        def __init__(self, *args, **options):
            super().__init__(*args, **options)
            self.send_signal(signal.SIGSTOP)
            started.append(self)

    started, stop = [], StopRequests()
    stop.received.append(signal.SIGTERM)
    monkeypatch.setattr(subprocess, "Popen", Still)
    monkeypatch.setattr(shards_module, "PATIENCE", 0.1)
    monkeypatch.setattr(shards_module, "LOOK_EVERY", 0.01)
    model = charrnn.CharRNN(charrnn.Corpus.from_text("abcdefghij").vocabulary, 256)
    with pytest.raises(WorkerError, match="has not answered"), Shards(model, 9, 4, 2, stop=stop):
        pass
    assert started[0].poll() == -signal.SIGKILL


@pytest.mark.parametrize("executable", ["", "/nowhere/python", None])
def test_without_an_interpreter_to_start_there_is_one_thread_and_a_word(
    corpus, tmp_path, monkeypatch, executable
):
    if executable is None:
        monkeypatch.setattr(sys, "frozen", True, raising=False)
    else:
        monkeypatch.setattr(sys, "executable", executable)
    spy = Spy()
    train(corpus, tmp_path, threads=2, max_steps=2, progress=spy)
    assert spy.said == ["`threads` 2: no Python interpreter is there to start workers, so one is used"]
    spy = Spy()
    train(corpus, tmp_path / "b", threads=1, max_steps=2, progress=spy)
    assert spy.said == []
    assert {threads for threads, _ in plan(charrnn.config.BenchConfig(threads=2))} == {1}
