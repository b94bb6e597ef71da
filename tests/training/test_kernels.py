"""Runs with the compiled kernels: the same bits again, and what is said where there is no numba."""

import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
from conftest import assert_same_run
from small import Signal, Spy, note_of, train

import charrnn
from charrnn import layers
from charrnn.config import BenchConfig
from charrnn.errors import ConfigError, Interrupted
from charrnn.model.kernels import choose_for_text, choose_kernels
from charrnn.npz import read_arrays
from charrnn.runs import read_note

BEFORE = Path(__file__).parents[1] / "runs" / "before" / "run"


@pytest.fixture
def numba():
    return pytest.importorskip("numba", reason="compiled kernels need numba: pip install '.[fast]'")


@pytest.fixture
def no_numba(monkeypatch):
    """As where it is not installed."""
    monkeypatch.setitem(sys.modules, "numba", None)
    monkeypatch.delitem(sys.modules, "charrnn.layers.compiled", raising=False)
    monkeypatch.delattr(layers, "compiled", raising=False)


def test_without_numba_auto_is_numpy(no_numba):
    assert choose_kernels(charrnn.TrainConfig()).kernels == "numpy"
    assert choose_kernels(BenchConfig()).kernels == "numpy"
    assert choose_for_text(charrnn.SampleConfig(length=10**6)) == "numpy"


def test_numba_that_is_asked_for_and_is_not_there_is_an_error_in_a_line(
    no_numba, cli, text_file, run_folder, tmp_path
):
    for words in (
        ["sample", run_folder],
        ["train", text_file, "--out", tmp_path / "run"],
        ["train", text_file, "--out", tmp_path / "run", "--gradcheck"],
        ["bench", text_file],
        ["gradcheck", text_file],
    ):
        outcome = cli(*words, "--kernels", "numba")
        assert (outcome.code, len(outcome.err.splitlines())) == (2, 1)
        assert "--kernels numba: numba cannot be imported" in outcome.err
        assert "pip install 'charrnn-numpy[fast]'" in outcome.err
    assert not (tmp_path / "run").exists()


def test_a_kernel_that_there_is_not_is_an_error(cli, text_file):
    outcome = cli("train", text_file, "--kernels", "cython")
    assert outcome.code == 2
    assert "--kernels" in outcome.err


def test_auto_takes_numba_and_the_run_notes_it(numba, cli, text_file, tmp_path):
    words = ["--hidden-size", 8, "--seq-length", 16, "--batch-size", 4, "--max-steps", 3]
    outcome = cli("train", text_file, "--out", tmp_path / "run", *words)
    assert outcome.code == 0
    assert "numba kernels" in outcome.out.splitlines()[0]
    assert note_of(tmp_path / "run" / "config.json")["settings"]["kernels"] == "numba"
    assert read_note(tmp_path / "run").settings.kernels == "numba"
    assert cli("sample", tmp_path / "run", "--length", 5).code == 0


def test_a_run_notes_numpy_where_there_is_nothing_else(no_numba, corpus, tmp_path):
    train(corpus, tmp_path, epochs=1)
    assert read_note(tmp_path).settings.kernels == "numpy"


@pytest.mark.parametrize("cell", ["rnn", "gru", "lstm"])
def test_the_same_run_to_rounding_and_again_to_the_bit(numba, corpus, tmp_path, cell):
    def run(name, kernels, **changes):
        train(corpus, tmp_path / name, kernels=kernels, cell=cell, epochs=1, **changes)
        return read_arrays(tmp_path / name / "last.npz")

    first, _, plain = (run(*words) for words in (("a", "numba"), ("b", "numba"), ("c", "numpy")))
    assert_same_run(tmp_path / "a", tmp_path / "b")
    assert np.abs(first["W_aa"] - plain["W_aa"]).max() < 1e-3
    assert (first["W_aa"] != plain["W_aa"]).any()
    double = [run(f"{kernels} 64", kernels, dtype="float64") for kernels in ("numba", "numpy")]
    for name in ("W_ax", "W_aa", "b_a", "W_ya"):
        np.testing.assert_allclose(double[0][name], double[1][name], rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("asked", ["auto", "numba"])
def test_a_run_that_is_stopped_resumes_to_the_same_bits(numba, corpus, tmp_path, threads, asked):
    settings = {"kernels": "numba", "threads": threads, "cell": "lstm", "epochs": 1}
    train(corpus, tmp_path / "whole", **settings)
    with pytest.raises(Interrupted):
        train(corpus, tmp_path / "parts", progress=Signal(7), **settings)
    train(corpus, tmp_path / "parts", resume=True, **settings | {"kernels": asked})
    assert_same_run(tmp_path / "parts", tmp_path / "whole")


def test_a_numba_run_is_not_resumed_without_it_but_goes_on_with_numpy(
    numba, corpus, tmp_path, monkeypatch, request
):
    train(corpus, tmp_path, epochs=1, max_steps=5, kernels="numba")
    request.getfixturevalue("no_numba")
    before = (tmp_path / "last.npz").read_bytes()
    for asked in ("auto", "numba"):
        with pytest.raises(ConfigError, match=r"began with numba.*cannot be imported.*`kernels` numpy"):
            train(corpus, tmp_path, epochs=1, max_steps=9, kernels=asked, resume=True)
        assert (tmp_path / "last.npz").read_bytes() == before
    spy = Spy()
    train(corpus, tmp_path, epochs=1, max_steps=9, kernels="numpy", resume=True, progress=spy)
    assert any("`kernels` numba → numpy" in text for text in spy.said)
    assert any("no longer comes to the bits" in text for text in spy.said)
    assert read_note(tmp_path).settings.kernels == "numpy"


def test_a_run_of_before_there_were_kernels_stays_with_numpy(corpus, tmp_path, cli):
    shutil.copytree(BEFORE, tmp_path / "run")
    for words in ([], ["--kernels", "auto"]):
        outcome = cli("train", "--resume", "--out", tmp_path / "run", *words)
        assert outcome.code == 0
        assert "numpy kernels" in outcome.out
        assert "changed on resuming" not in outcome.out


def test_the_compiled_gradients_agree_with_the_complex_step_through_the_definitions(numba, cli, text_file):
    for words in (["rnn"], ["gru"], ["lstm"], ["lstm", "--num-layers", 2, "--recompute-every", 2]):
        outcome = cli("gradcheck", text_file, "--kernels", "numba", "--cell", *words)
        assert outcome.code == 0
        assert "agree with the complex step to 1e-13" in outcome.out
        assert "the gradients by numba" in " ".join(outcome.out.split())


def test_a_wrong_compiled_kernel_fails_the_gradient_check(numba, cli, text_file, monkeypatch):
    from charrnn.layers import compiled

    right = compiled.tanh_backward

    def wrong(da, future, a, dz):
        right(da, future, a, dz)
        dz *= 1 + 1e-9

    monkeypatch.setattr(compiled, "tanh_backward", wrong)
    assert cli("gradcheck", text_file, "--kernels", "numba").code == 1
    assert cli("gradcheck", text_file).code == 0


def test_a_run_that_diverges_is_seen(numba, corpus, tmp_path):
    with pytest.raises(charrnn.errors.DivergedError):
        train(corpus, tmp_path, kernels="numba", learning_rate=1e6, optimizer="sgd", clip_norm=0.0)
