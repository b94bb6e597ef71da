import math
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from conftest import mapped_memory
from threadpoolctl import threadpool_info, threadpool_limits

import charrnn
from charrnn.blas import one_blas_thread
from charrnn.measures.evaluation import ROWS, WARM_UP, Evaluation, Score, losses
from charrnn.model.sampling import stepper
from charrnn.text.tokens import release


@pytest.fixture(scope="module")
def model():
    vocabulary = charrnn.Corpus.from_text("abcdefg").vocabulary
    model = charrnn.CharRNN(vocabulary, 6, dtype=float)
    model.parameters.flat[...] = 0.7 * np.random.default_rng(0).standard_normal(model.parameters.flat.size)
    return model


def slow(model, tokens):
    """One row, one character at a time, the state carried."""
    read, state, nats, hits = stepper(model), model.initial_state(1)[0], 0.0, 0
    for now, after in pairwise(tokens):
        logits, state = read(now, state)
        nats += math.log(np.exp(logits).sum()) - logits[after]
        hits += logits.argmax() == after
    return nats / (len(tokens) - 1), hits / (len(tokens) - 1)


@pytest.mark.parametrize("n", [2, 3, 700, 4 * WARM_UP * 2 + 1, 9001])
def test_every_character_is_scored_with_the_state_carried(model, n):
    tokens = np.random.default_rng(n).integers(0, 7, n).astype(np.uint8)
    score = charrnn.evaluate(model, tokens)
    loss, accuracy = slow(model, tokens)
    assert score.characters == n - 1
    assert score.loss == pytest.approx(loss, rel=1e-12)
    assert score.accuracy == pytest.approx(accuracy)


def test_a_text_long_enough_for_all_rows(model, monkeypatch):
    tokens = np.random.default_rng(1).integers(0, 7, 4 * WARM_UP * ROWS + 17)
    score = charrnn.evaluate(model, tokens)
    held, space, chunk = [], charrnn.CharRNN.space, 10 * model.bytes_per_step(ROWS)

    def counting(self, seq_length, batch_size, **options):
        held.append(seq_length)
        return space(self, seq_length, batch_size, **options)

    monkeypatch.setattr("charrnn.measures.evaluation.CHUNK", chunk)  # in many small pieces
    monkeypatch.setattr(charrnn.CharRNN, "space", counting)
    same = Evaluation(score.characters, pytest.approx(score.loss, rel=1e-12), score.accuracy)
    assert charrnn.evaluate(model, tokens) == same
    assert max(held) == 10
    monkeypatch.setattr("charrnn.measures.evaluation.ROWS", 1)
    assert charrnn.evaluate(model, tokens) == same


@pytest.mark.parametrize("n", [2, 700, 4 * WARM_UP * ROWS + 17])
def test_every_hit_of_every_piece_counts_and_losses_are_added_in_double_precision(n, monkeypatch):
    """The network always says a: with a loss of 0 where that is right, else of the float32 nearest 1e5/3."""
    model = charrnn.CharRNN(charrnn.Vocabulary.of_text("ab"), 2, seed=None)
    model.parameters["b_y"][1] = -1e5 / 3
    rows = min(ROWS, max(1, n // (4 * WARM_UP)))
    tokens = np.random.default_rng(n).integers(0, 2, n)
    misses = int(tokens[1:].sum())
    for chunk in (2**26, 10 * model.bytes_per_step(rows)):
        monkeypatch.setattr("charrnn.measures.evaluation.CHUNK", chunk)
        assert charrnn.evaluate(model, np.zeros(n, int)) == Evaluation(n - 1, 0, 1)
        score = charrnn.evaluate(model, tokens)
        assert score.accuracy == (n - 1 - misses) / (n - 1)
        assert score.loss == pytest.approx(misses * float(np.float32(1e5 / 3)) / (n - 1), rel=1e-14)


def test_one_character_cannot_be_scored(model):
    with pytest.raises(charrnn.CharRNNError, match="at least 2"):
        charrnn.evaluate(model, np.array([3]))


def test_units():
    score = Evaluation(10, math.log(8), 0.5)
    assert score.bits_per_char == pytest.approx(3)
    assert score.perplexity == pytest.approx(8)
    assert Evaluation(10, 1e4, 0).perplexity == math.inf


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="memory is counted by Linux")
def test_a_mapped_text_is_scored_as_it_is_and_does_not_stay_in_memory(model, tmp_path, monkeypatch):
    tokens = np.random.default_rng(2).integers(0, 7, 2**22, np.uint8)
    tokens.tofile(tmp_path / "tokens")
    mapped = np.memmap(tmp_path / "tokens", np.uint8, "r")
    assert charrnn.evaluate(model, mapped[:9001]) == charrnn.evaluate(model, tokens[:9001])
    before, most = mapped_memory(), 0.0

    def watched(pages):
        nonlocal most
        release(pages)
        most = max(most, mapped_memory())

    monkeypatch.setattr("charrnn.measures.evaluation.release", watched)
    charrnn.evaluate(model, mapped)
    assert 0 < most < before + 2  # of 4 MB


def test_texts_scored_side_by_side_are_scored_as_each_is_alone(model, monkeypatch):
    texts = [
        "".join(np.random.default_rng(n).choice(list("abcdefg"), n)) for n in [0, 1, 2, 50, 3, *range(80)]
    ]
    scores = charrnn.score_lines(model, texts)
    monkeypatch.setattr("charrnn.measures.evaluation.CHUNK", 7 * model.bytes_per_step(64))
    for text, score, again in zip(texts, scores, charrnn.score_lines(model, texts), strict=True):
        assert score.characters == max(0, len(text) - 1)
        assert again == Score(score.characters, pytest.approx(score.nats, rel=1e-12))
        if len(text) > 1:
            alone = charrnn.evaluate(model, text)
            assert score.nats == pytest.approx(alone.loss * alone.characters, rel=1e-12)
    assert scores[0] == Score(0, 0)
    assert scores[0].bits_per_char is None


@pytest.mark.parametrize("chunk", [2**26, 1])
def test_with_a_start_the_first_character_is_scored_too(model, chunk, monkeypatch):
    monkeypatch.setattr("charrnn.measures.evaluation.CHUNK", chunk)
    texts = [np.array([1, 2, 3]), np.array([], int), np.array([4])]
    with_start = losses(model, texts, start=6)
    assert [len(nats) for nats in with_start] == [3, 0, 1]
    np.testing.assert_allclose(with_start[0], losses(model, [np.array([6, 1, 2, 3])])[0], rtol=1e-12)


def test_what_is_no_text_is_named(model):
    for wrong, message in [
        (lambda: charrnn.evaluate(model, ["ab", "cd"]), "text is a list"),
        (lambda: charrnn.score_lines(model, "abc"), "lines is a str; expected a list of texts"),
        (lambda: charrnn.score_lines(model, ["ab", 3]), r"lines\[1\] is an int"),
        (lambda: charrnn.score_lines(model, ["ab", "x"]), "does not know 'x'"),
    ]:
        with pytest.raises(charrnn.CharRNNError, match=message):
            wrong()


def test_blas_has_its_threads_back_after_use_from_several_threads(model):
    def threads():
        return [pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas"]

    with threadpool_limits(2, "blas"):
        before, first, second = threads(), one_blas_thread(), one_blas_thread()
        first.__enter__()
        second.__enter__()
        first.__exit__(None, None, None)  # the first to come is the first to go
        assert threads() == [1] * len(before)
        second.__exit__(None, None, None)
        assert threads() == before
        with ThreadPoolExecutor(4) as pool:
            list(pool.map(lambda text: charrnn.evaluate(model, text), ["abcdefg" * 100] * 40))
        assert threads() == before
