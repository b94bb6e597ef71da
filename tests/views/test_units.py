import numpy as np
import pytest

from charrnn import CharRNN, Corpus
from charrnn.config import TrainConfig
from charrnn.training.optim import Adam
from charrnn.views.units import Unit, activations, correlations, name_units

STEPS = {"{}": 1, '"{}"': -1, "({})": 0}  # letters rise outside, fall in quotations, and stay in brackets


def made_text(n, rng):
    """A text in which what a quotation or a bracket contains has a rule of its own."""
    pieces = []
    for _ in range(n // 18):
        shape, step = list(STEPS.items())[rng.integers(3)]
        start, length = rng.integers(4), rng.integers(8, 25)
        pieces.append(shape.format("".join("abcd"[(start + step * i) % 4] for i in range(length))))
    return " ".join(pieces)


@pytest.fixture(scope="module")
def trained():
    """A GRU that has learned such a text, and the text."""
    rng = np.random.default_rng(0)
    corpus = Corpus.from_text(made_text(12_000, rng))
    model = CharRNN(corpus.vocabulary, 24, cell="gru", seed=1)
    adam, tokens = Adam(model.parameters.flat, TrainConfig()), corpus.tokens.astype(int)
    for _ in range(400):
        window = tokens[rng.integers(0, len(tokens) - 32, 16) + np.arange(33)[:, np.newaxis]]
        _, gradients, _ = model.loss_and_gradients(window[:-1], window[1:])
        adam.step(gradients.flat, 0.01)
    return model, corpus.tokens


def test_units_that_follow_quotations_and_brackets_are_found_and_named(trained):
    units = [unit for unit in name_units(*trained) if unit.is_named]
    for feature, words in (("quotes", "follows quotation marks"), ("brackets", "follows brackets")):
        unit = next(unit for unit in units if unit.feature == feature)
        assert abs(unit.r) > 0.4
        assert str(unit) == f"unit {unit.number} {words}, r = {unit.r:.2f}"


def test_on_shuffled_text_nothing_is_named(trained):
    model, tokens = trained
    units = name_units(model, np.random.default_rng(1).permutation(tokens))
    assert max(unit.strength for unit in units) < 0.2
    assert not any(unit.is_named for unit in units)


def test_every_unit_of_every_layer_is_listed_once_the_strongest_first():
    corpus = Corpus.from_text("the cat (sat) on the mat. " * 40)
    units = name_units(CharRNN(corpus.vocabulary, 5, num_layers=2), corpus.tokens)
    assert sorted(unit.number for unit in units) == list(range(10))
    assert units == sorted(units, key=lambda unit: -unit.strength)


def test_a_unit_that_follows_nothing_has_no_name():
    weak = Unit(3, "quotes", "follows quotation marks", "remembers", 0.5, -0.4)
    assert not weak.is_named
    assert str(weak) == "unit 3 follows nothing, r = 0.50"


@pytest.mark.parametrize("n", [1, 100, 256, 257, 1000])
def test_activations_read_in_rows_are_those_of_reading_from_the_start(n):
    corpus = Corpus.from_text("the cat sat on the mat. " * 50)
    model = CharRNN(corpus.vocabulary, 6, cell="lstm", num_layers=2, dtype=np.float64)
    space = model.space(n, 1)
    model.activations(corpus.tokens[:n, np.newaxis].astype(int), model.initial_state(1), space)
    expected = np.concatenate([memory.a[1:, 0] for memory in space.cells], axis=1)
    np.testing.assert_allclose(activations(model, corpus.tokens[:n]), expected, atol=1e-6)


def test_correlations_are_pearsons_and_of_constants_zero():
    rng = np.random.default_rng(0)
    a, values = rng.standard_normal((50, 3)), rng.standard_normal((50, 2))
    np.testing.assert_allclose(correlations(a, values), np.corrcoef(a.T, values.T)[:3, 3:], rtol=1e-12)
    values[:, 0] = 7
    np.testing.assert_array_equal(correlations(a, values)[:, 0], 0)


def test_bytes_have_features_too():
    corpus = Corpus.from_text("“é” (a) b ".encode() * 60)
    assert name_units(CharRNN(corpus.vocabulary, 4), corpus.tokens)
