import numpy as np
import pytest

from charrnn import CharRNN, Corpus
from charrnn.errors import ConfigError
from charrnn.measures.evaluation import evaluate, losses
from charrnn.views.shades import (
    glyphs,
    lines,
    shades_of_reach,
    shades_of_surprise,
    shades_of_unit,
)
from charrnn.views.units import Unit, activations, followed, name_units, unit_that_follows

TEXT = 'the cat (sat) on "the mat". ' * 30


def network(cell="gru", text=TEXT, **form):
    corpus = Corpus.from_text(text)
    return CharRNN(corpus.vocabulary, 6, cell=cell, dtype=np.float64, **form), corpus.tokens


@pytest.mark.parametrize(("cell", "num_layers"), [("rnn", 1), ("gru", 2), ("lstm", 2)])
def test_a_unit_has_its_own_activations_the_largest_in_full_shade(cell, num_layers):
    model, tokens = network(cell, num_layers=num_layers)
    number = 6 * num_layers - 1
    shades = shades_of_unit(model, tokens, Unit(number, "", "", "remembers", 0, 0))
    np.testing.assert_array_equal(shades.values, activations(model, tokens)[:, number])
    assert np.abs(shades.shades).max() == 1
    assert (np.sign(shades.shades) == np.sign(shades.values)).all()


@pytest.mark.parametrize("n", [2, 256, 257, 258, 700])
def test_surprise_is_the_loss_of_each_character(n):
    model, tokens = network("lstm")
    assert len(losses(model, [tokens[:n]])[0]) == n - 1
    np.testing.assert_allclose(
        losses(model, [tokens[:n]])[0].mean(), evaluate(model, tokens[:n]).loss, rtol=1e-12
    )
    shades = shades_of_surprise(model, tokens[:n])
    assert np.isnan(shades.values[0])
    assert shades.shades[0] == 0
    np.testing.assert_array_equal(shades.values[1:], losses(model, [tokens[:n]])[0])


def test_a_text_of_one_character_surprises_nobody():
    model, tokens = network()
    assert len(shades_of_surprise(model, tokens[:1]).values) == 1


@pytest.mark.parametrize(("cell", "state"), [("gru", "a"), ("lstm", "c")])
def test_reach_ends_at_its_character_in_shades_of_four_decades(cell, state):
    model, tokens = network(cell)
    shades = shades_of_reach(model, tokens, 40, 16)
    assert len(shades.characters) == len(shades.values) == len(shades.shades) == 40
    assert f"∂{state}⟨s⟩" in shades.caption
    lengths = shades.values[:-1]
    expected = np.clip(1 + np.log10(lengths / lengths.max()) / 4, 0, 1)
    np.testing.assert_allclose(shades.shades[:-1], expected)
    assert f"{lengths[: 39 - 16].sum() / lengths.sum():.1%}" in shades.caption


@pytest.mark.parametrize("T", [1, 841])
def test_a_character_that_is_not_there_has_no_reach(T):
    model, tokens = network()
    with pytest.raises(ConfigError, match="the text shown has 840 characters"):
        shades_of_reach(model, tokens, T, 16)


def test_the_unit_that_follows_a_feature_is_chosen_by_the_first_half_and_measured_on_the_second():
    model, tokens = network()
    found, r, shuffled = followed(model, tokens, 0)
    for f, feature in enumerate(found):
        unit = unit_that_follows(model, tokens, feature.name)
        assert unit.number == (abs(r[0, :, f]) - abs(shuffled[0, :, f])).argmax()
        assert (unit.feature, unit.r) == (feature.name, r[1, unit.number, f])
    with pytest.raises(ConfigError, match="'commas': this text has quotes, brackets, strings, word"):
        unit_that_follows(model, tokens, "commas")


def test_a_text_without_features_has_no_unit_that_follows_one():
    model, tokens = network()
    assert name_units(model, tokens[:0]) == []
    with pytest.raises(ConfigError, match="this text has none"):
        unit_that_follows(model, tokens[:0], "quotes")


def test_bytes_are_shown_as_the_characters_they_make():
    corpus = Corpus.from_text(b"anything")
    model = CharRNN(corpus.vocabulary, 4)
    tokens = model.vocabulary.encode("aé日".encode() + b"\xff\xe6")
    assert glyphs(model.vocabulary, tokens) == ["a", "", "é", "", "", "日", r"\xff", r"\xe6"]


def test_lines_break_after_spaces_where_there_are_some():
    text = "one two threefour"
    broken = ["".join(text[i] for i in line) for line in lines(text, [1] * 17, 8)]
    assert broken == ["one two ", "threefou", "r"]
    assert lines("日日日日日\na", [2] * 5 + [1, 1], 4) == [[0, 1], [2, 3], [4, 5], [6]]
    assert lines("", [], 8) == []
