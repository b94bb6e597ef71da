import json
import math
import re
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from conftest import PROVERB, TINY, mapped_memory, watch_mapped_memory
from hypothesis import given
from hypothesis import strategies as st

import charrnn
from charrnn.measures.baselines import NAMES, baselines

TO_BEAT = r"^to beat on the validation part, in nats: " + r",\s+".join(
    rf"{name} (\d+\.\d\d\d)" for name in NAMES
)


class WittenBell:
    """The formula as it is written, on tuples in dictionaries."""

    def __init__(self, train, V):
        self.V, self.after = V, {}
        for length in range(6):
            for i in range(length, len(train)):
                self.after.setdefault(tuple(train[i - length : i]), Counter())[train[i]] += 1

    def probability(self, order, history, w):
        if order == 0:
            return 1 / self.V
        if order - 1 > len(history):
            return self.probability(order - 1, history, w)
        after = self.after.get(tuple(history[len(history) - (order - 1) :]), Counter())
        lower = self.probability(order - 1, history, w)
        if not after:
            return lower
        return (after[w] + len(after) * lower) / (after.total() + len(after))

    def losses(self, scored):
        per_order = [
            [-math.log(self.probability(order, scored[:i], scored[i])) for i in range(1, len(scored))]
            for order in range(7)
        ]
        return [sum(nats) / len(nats) for nats in per_order]


def of(text):
    return np.array([ord(c) - ord("a") for c in text], np.uint8)


@given(st.lists(st.integers(0, 2), max_size=60), st.lists(st.integers(0, 3), max_size=8))
def test_the_slow_models_sum_to_one(train, history):
    slow = WittenBell(train, 5)
    for order in range(7):
        assert sum(slow.probability(order, history, w) for w in range(5)) == pytest.approx(1, rel=1e-12)


TEXTS = st.lists(st.integers(0, 2), max_size=80) | st.lists(st.integers(0, 4), max_size=80)


@given(TEXTS, TEXTS, st.booleans(), st.sampled_from([1, 2, 5, 6, 30, 2**20]))
def test_every_order_is_that_of_the_formula(train, scored, seen, piece):
    """With contexts and characters that were seen or never seen, and the training part in pieces."""
    scored = [0, 4, *(train[len(train) // 2 :] if seen else scored)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("charrnn.measures.baselines.PIECE", piece)
        fast = baselines(np.array(train, np.uint8), np.array(scored, np.uint8), 5)
    assert tuple(fast) == NAMES
    assert list(fast.values()) == pytest.approx(WittenBell(train, 5).losses(scored), rel=1e-12)


def test_an_example_by_hand():
    losses = baselines(of("aab"), of("ab"), 2)
    assert losses["uniform"] == pytest.approx(math.log(2))
    assert losses["unigram"] == pytest.approx(-math.log((1 + 2 * 0.5) / 5))  # b once in 3; 2 followers
    assert losses["bigram"] == pytest.approx(-math.log((1 + 2 * 0.4) / 4))  # once of twice after a
    assert losses["6-gram"] == losses["bigram"]  # no longer context there is


@pytest.mark.parametrize("piece", [1, 2, 5, 6, 2**20])
def test_a_vocabulary_of_every_character_there_is(piece, monkeypatch):
    """A 6-gram as one number would take 120 bits."""
    monkeypatch.setattr("charrnn.measures.baselines.PIECE", piece)
    V = 0x110000
    train = [V - 1, 3, V - 2, V - 1, 3, V - 2, 0, V - 1, 3, V - 3] * 3
    scored = [V - 1, 3, V - 2, 0, V - 1, 3, V - 2, V - 1, 3, V - 3]
    fast = baselines(np.array(train, np.uint32), np.array(scored, np.uint32), V)
    assert list(fast.values()) == pytest.approx(WittenBell(train, V).losses(scored), rel=1e-12)


def test_one_character_cannot_be_scored():
    with pytest.raises(charrnn.CharRNNError, match="at least 2"):
        baselines(of("abc"), of("a"), 3)


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="memory is counted by Linux")
def test_a_mapped_text_is_counted_as_it_is_and_does_not_stay_in_memory(tmp_path, monkeypatch):
    tokens = np.random.default_rng(2).integers(0, 3, 2**23, np.uint8)
    tokens.tofile(tmp_path / "tokens")
    mapped = np.memmap(tmp_path / "tokens", np.uint8, "r")
    monkeypatch.setattr("charrnn.measures.baselines.PIECE", 2**18)
    readings = watch_mapped_memory(monkeypatch, "charrnn.measures.baselines")
    expected = baselines(tokens[:-9000], tokens[-9000:], 3)  # loads what code there is to load, too
    before = mapped_memory()
    readings.clear()
    assert baselines(mapped[:-9000], mapped[-9000:], 3) == expected
    assert readings
    assert max(*readings, mapped_memory()) < before + 5  # of 8 MB; pages may be of 2 MB


# -- the command line -------------------------------------------------------------------------------


def test_eval_scores_them_on_the_same_characters(cli, run_folder, text_file):
    parts = charrnn.Corpus.from_files(text_file).split(0.05, 0.05)
    for split, scored in (("val", parts.val), ("test", parts.test)):
        words = ["eval", run_folder, "--split", split, "--baselines"]
        expected = baselines(parts.train, scored, 20)
        result = json.loads(cli(*words, "--json").out)
        assert result.pop("baselines") == expected
        assert result == json.loads(cli("eval", run_folder, "--split", split, "--json").out)
        score, title, *lines = cli(*words).out.splitlines()
        assert score + "\n" == cli("eval", run_folder, "--split", split).out
        assert title == "to beat, counted on the training part of the text of the run, proverb:"
        assert lines == [
            f"{name:8} {loss:.4f} nats ({loss / math.log(2):.4f} bits)" for name, loss in expected.items()
        ]
        assert lines[0] == "uniform  2.9957 nats (4.3219 bits)"


def test_eval_of_another_text_counts_on_the_runs_own(cli, run_folder, text_file, tmp_path):
    other = tmp_path / "other.txt"
    other.write_text("the hen who knew? the fox", "utf-16")
    words = ["eval", run_folder, other, "--encoding", "utf-16", "--ignore-unknown", "--baselines"]
    result = json.loads(cli(*words, "--json").out)
    vocabulary = charrnn.load(run_folder).vocabulary
    scored = vocabulary.encode("the hen who knew the fox")
    train = vocabulary.encode(text_file.read_text())[: 2920 - 2 * 146]
    assert result["baselines"] == baselines(train, scored, 20)
    out = cli(*words).out
    assert out.startswith("other, all, 23 characters")
    assert "the text of the run, proverb:" in out


def test_a_run_whose_text_is_not_found_has_no_baselines(cli, tmp_path):
    text, other, out = tmp_path / "text.txt", tmp_path / "other.txt", tmp_path / "run"
    text.write_text(PROVERB * 40)
    other.write_text(PROVERB)
    assert cli("train", text, "--out", out, "--max-steps", 1, *TINY).code == 0
    text.unlink()
    assert cli("eval", out, other, "--baselines").code == 0
    (out / "tokens.bin").unlink()
    outcome = cli("eval", out, other, "--baselines")
    assert (outcome.code, outcome.out, len(outcome.err.splitlines())) == (2, "", 1)
    assert "the text it was trained on is not found" in outcome.err
    assert "Leave out --baselines" in outcome.err
    assert cli("eval", out, other).code == 0


def test_a_new_run_is_told_what_to_beat(cli, text_file, run_folder, tmp_path):
    words = ["train", text_file, "--out", tmp_path / "run", "--max-steps"]
    new = cli(*words, 2, *TINY)
    assert new.out.startswith("proverb: 2,920 characters")
    to_beat = re.search(TO_BEAT, new.out, re.M)
    parts = charrnn.Corpus.from_files(text_file).split(0.05, 0.05)
    expected = baselines(parts.train, parts.val, 20)
    assert to_beat.groups() == tuple(f"{loss:.3f}" for loss in expected.values())
    resumed = cli("train", "--resume", "--out", tmp_path / "run", "--max-steps", 4)
    assert resumed.code == 0
    assert "to beat" not in resumed.out
    again = cli(*words, 2, "--overwrite", "--init-from", run_folder)
    assert re.search(TO_BEAT, again.out, re.M)


@pytest.mark.parametrize("words", [["--val-fraction", 0], ["--val-fraction", 1 / 2920], ["--gradcheck"]])
def test_nothing_is_to_be_beaten_where_nothing_is_validated(cli, text_file, tmp_path, words):
    outcome = cli("train", text_file, "--out", tmp_path / "run", "--max-steps", 1, *TINY, *words)
    assert outcome.code == 0
    assert "to beat" not in outcome.out


def test_nor_in_a_run_that_is_refused(cli, text_file, run_folder):
    outcome = cli("train", text_file, "--out", run_folder)
    assert (outcome.code, outcome.out) == (2, "")


def test_what_would_take_long_is_not_counted_unasked(cli, text_file, tmp_path, monkeypatch):
    words = ["train", text_file, "--overwrite", "--out", tmp_path / "run", "--max-steps", 1, *TINY]
    monkeypatch.setattr("charrnn.commands.train.COUNTED", 2920 - 146)  # but for the test part
    assert "to beat" in cli(*words).out
    monkeypatch.setattr("charrnn.commands.train.COUNTED", 2920 - 147)
    assert "to beat" not in cli(*words).out
