"""Dynamic evaluation: scored first, learned from afterwards, and nothing but a copy learns."""

import numpy as np
import pytest
from conftest import PROVERB

import charrnn
from charrnn.errors import ConfigError, TextError
from charrnn.measures.dynamic import evaluate_dynamic

TEXT = PROVERB * 3


@pytest.fixture
def model():
    vocabulary = charrnn.Vocabulary.of_text(TEXT)
    return charrnn.CharRNN(vocabulary, 12, cell="gru", num_layers=2, embedding_size=3, dtype=np.float64)


def test_at_a_rate_of_nothing_it_is_the_static_loss(model):
    assert evaluate_dynamic(model, TEXT, 0.0) == pytest.approx(charrnn.evaluate(model, TEXT).loss, rel=1e-12)


def test_each_segment_is_scored_before_it_is_learned_from(model):
    """As by hand: the loss of each 20 characters, then a step along their gradient."""
    tokens, other, nats = model.vocabulary.encode(TEXT).astype(int), model.like(), 0.0
    other.parameters.flat[...] = model.parameters.flat
    state = None
    for start in range(0, len(tokens) - 1, 20):
        x, y = tokens[start : start + 20][: len(tokens) - 1 - start], tokens[start + 1 : start + 21]
        loss, gradients, state = other.loss_and_gradients(x[:, np.newaxis], y[:, np.newaxis], state)
        nats += loss * len(y)
        other.parameters.flat[...] -= 0.3 * gradients.flat
    before = model.parameters.flat.copy()
    assert evaluate_dynamic(model, TEXT, 0.3) == pytest.approx(nats / (len(tokens) - 1), rel=1e-12)
    np.testing.assert_array_equal(model.parameters.flat, before)


def test_it_learns_what_repeats(model):
    losses = [evaluate_dynamic(model, PROVERB * 20, rate) for rate in (0, 0.1, 0.5)]
    assert losses[0] > losses[1] > losses[2]


def test_documents_begin_at_a_state_of_zeros_and_what_was_learned_stays(model):
    texts = ["the more", "one of the", "the", "more"]
    corpus = charrnn.Corpus.from_documents(texts, separator="line")
    small = charrnn.CharRNN(corpus.vocabulary, 8, dtype=np.float64)
    documents = corpus.text
    static = charrnn.evaluate(small, documents)
    assert static.documents == 4
    assert evaluate_dynamic(small, documents, 0.0) == pytest.approx(static.loss, rel=1e-12)
    assert evaluate_dynamic(small, documents, 0.5) != pytest.approx(static.loss, rel=1e-6)


def test_what_cannot_be_scored_is_refused(model):
    with pytest.raises(TextError, match="at least 2 characters"):
        evaluate_dynamic(model, "t", 0.1)
    with pytest.raises(ConfigError, match=r"`dynamic` 1e\+308: the loss is no longer finite after \d+ char"):
        evaluate_dynamic(model, TEXT, 1e308)
