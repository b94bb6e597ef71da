import math
from itertools import pairwise

import numpy as np
import pytest

import charrnn
from charrnn.evaluation import ROWS, WARM_UP, Evaluation


@pytest.fixture(scope="module")
def model():
    vocabulary = charrnn.Corpus.from_text("abcdefg").vocabulary
    model = charrnn.CharRNN(vocabulary, 6, dtype=float)
    model.parameters.flat[...] = 0.7 * np.random.default_rng(0).standard_normal(model.parameters.flat.size)
    return model


def slow(model, tokens):
    """One row, one character at a time, the state carried."""
    read, state, nats, hits = model.stepper(), model.initial_state(1)[0], 0.0, 0
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
    monkeypatch.setattr("charrnn.evaluation.CHUNK", 7 * ROWS * 10)  # in many small pieces
    assert charrnn.evaluate(model, tokens).loss == pytest.approx(score.loss, rel=1e-12)
    monkeypatch.setattr("charrnn.evaluation.ROWS", 1)
    assert charrnn.evaluate(model, tokens).loss == pytest.approx(score.loss, rel=1e-12)


def test_one_character_cannot_be_scored(model):
    with pytest.raises(charrnn.CharRNNError, match="at least 2"):
        charrnn.evaluate(model, np.array([3]))


def test_units():
    score = Evaluation(10, math.log(8), 0.5)
    assert score.bits_per_char == pytest.approx(3)
    assert score.perplexity == pytest.approx(8)
    assert Evaluation(10, 1e4, 0).perplexity == math.inf
