import numpy as np
import pytest

from charrnn.views.features import (
    bracket_depth,
    comments_and_strings,
    features,
    inside_quotes,
    is_code,
    steps_since,
)


def marks(values):
    """A row of integers, a digit each."""
    return "".join(str(int(value)) for value in values)


def picked(text, inside):
    return "".join(character for character, chosen in zip(text, inside, strict=True) if chosen)


def named(text):
    return {feature.name: feature.values for feature in features(text)}


def test_a_quotation_ends_with_its_mark_or_with_its_paragraph():
    assert marks(inside_quotes('a "b" c')) == "0011000"
    assert marks(inside_quotes("“a” «b» „c“")) == "11001100110"
    assert marks(inside_quotes('"a\nb\n\nc"d')) == "1111100" + "11"
    assert marks(inside_quotes("it's")) == "0000"


def test_brackets_are_counted_and_stray_ones_forgiven():
    assert marks(bracket_depth("a(b[c]d)e")) == "011221100"
    assert marks(bracket_depth(":) (x]y)")) == "00011110"
    assert marks(bracket_depth("([)x")) == "1200", "the outer one closes those inside it"
    assert marks(bracket_depth("{(\n\n}x")) == "122100"


def test_a_position_counts_from_its_boundary():
    found = named("ab c\nd\n\ne\n\n\nf")
    count = {name: marks(np.expm1(found[name]).round()) for name in ("word", "line", "paragraph")}
    assert count == {
        "word": "0101010010001",
        "line": "0123010010001",
        "paragraph": "0123456012001",
    }
    np.testing.assert_allclose(np.expm1(found["document"])[-4:], [9, 10, 0, 1], rtol=1e-6)


def test_what_is_read_and_what_comes_next():
    found = named("aB 1" * 2)
    assert marks(found["capitals"]) == "01000100"
    assert marks(found["digits"]) == "00010001"
    assert marks(found["vowels"]) == "10001000"
    assert marks(found["next-spaces"]) == "01000100"
    assert marks(found["next-B"]) == "10001000"
    assert marks(np.expm1(found["since-1"]).round()) == "01201230"


def test_a_program_has_comments_and_strings_and_prose_has_none():
    code = 'x = "a # b"  # "c"\ny = f(\'\\\'\') + [1]\n"""d\n"""\n'
    assert is_code(code)
    comment, string = comments_and_strings(code)
    assert picked(code, comment) == '# "c"'
    assert picked(code, string) == '"a # b\'\\\'"""d\n""'
    code = "f(); // it's\n/* a\nb */ g('//');\n"
    comment, string = comments_and_strings(code)
    assert picked(code, comment) == "// it's/* a\nb *"
    assert picked(code, string) == "'//"
    prose = '"It isn\'t," he said, and looked round (twice) at the hill.\n'
    assert not is_code(prose)
    assert "strings" not in named(prose)


@pytest.mark.parametrize("text", ["", "a", "aaa", "\n\n\n", "\ud800x", '"(', "é" * 9 + "x"])
def test_any_text_has_features_of_its_length_that_vary(text):
    for feature in features(text):
        assert feature.values.shape == (len(text),)
        assert np.ptp(feature.values) > 0


def test_steps_before_the_first_place_count_from_the_start():
    assert marks(steps_since([2, 4], 6)) == "010101"
    assert marks(steps_since([], 3)) == "012"
