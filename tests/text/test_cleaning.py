"""Line ends, Unicode forms and rare characters, in texts that are read in pieces."""

import itertools
import sys
import unicodedata

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from charrnn.errors import TextError
from charrnn.text import reading
from charrnn.text.cleaning import Found, clean, form_of, joins
from charrnn.text.corpus import Corpus
from charrnn.text.vocabulary import Vocabulary

LETTERS = "aeé\u0301\u0323\u0300ệ각\u1100\u1161\u11a8\u0958\u212b \n\r\u0344"


def text_of(corpus):
    return corpus.vocabulary.decode(corpus.tokens)


def written(folder, **files):
    for name, content in files.items():
        (folder / f"{name}.txt").write_bytes(content if isinstance(content, bytes) else content.encode())
    return folder


@given(
    st.text(LETTERS),
    st.lists(st.integers(0, 30)),
    st.sampled_from(["lf", "keep"]),
    st.sampled_from(["none", "nfc", "nfd"]),
)
@example("a\r\nb\r", [2], "lf", "none")
@example("e\u0301", [1], "lf", "nfc")
@example("\u1100\u1161\u11a8", [1, 2], "lf", "nfc")
def test_pieces_are_cleaned_as_the_whole(text, cuts, newlines, form):
    whole = text.replace("\r\n", "\n").replace("\r", "\n") if newlines == "lf" else text
    if form != "none":
        whole = unicodedata.normalize(form.upper(), whole)
    ends = [0, *sorted(min(cut, len(text)) for cut in cuts), len(text)]
    pieces, found = [text[i:j] for i, j in itertools.pairwise(ends)], Found()
    assert "".join(clean(pieces, newlines, form, found)) == whole
    assert found.crlf == text.count("\r\n")
    assert found.cr == text.count("\r") - text.count("\r\n")
    assert found.decomposed == (not unicodedata.is_normalized("NFC", text))
    assert found.composed == (not unicodedata.is_normalized("NFD", text))


def test_all_that_joins_the_character_before_it_is_known():
    seconds = set()
    for point in range(sys.maxunicode + 1):
        parts = unicodedata.decomposition(chr(point)).split()
        if len(parts) == 2 and not parts[0].startswith("<"):
            seconds.add(chr(int(parts[1], 16)))
    seconds |= set(map(chr, [*range(0x1161, 0x1176), *range(0x11A8, 0x11C3)]))  # by rule: Hangul
    assert all(map(joins, seconds))
    assert not any(map(joins, "aé각寒1 \n-"))


# -- line ends --------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [1, 2, 3, 7, 2**18])
def test_line_ends_become_lf_with_a_note_or_are_kept(tmp_path, monkeypatch, size):
    monkeypatch.setattr(reading, "PIECE", size)
    written(tmp_path, a="one\r\ntwo\r\nthree\rfour\n")
    corpus = Corpus.from_files(tmp_path)
    assert text_of(corpus) == "one\ntwo\nthree\nfour\n"
    assert "line ends: 2 CR LF and 1 CR alone, made LF (`newlines`)" in corpus.notes[0]
    assert "4 lines" in corpus.notes[0]
    kept = Corpus.from_files(tmp_path, newlines="keep")
    assert text_of(kept) == "one\r\ntwo\r\nthree\rfour\n"
    assert "2 CR LF and 1 CR alone, kept" in kept.notes[0]


@pytest.mark.parametrize(
    ("one", "two", "lf", "keep"),
    [
        ("a", "b", "a\nb", "a\nb"),
        ("a\n", "b", "a\nb", "a\nb"),
        ("a\r", "\nb", "a\n\nb", "a\r\nb"),  # of each file by itself: the CR ends its line
        ("a\r\n", "b", "a\nb", "a\r\nb"),
        ("", "b\nc", "b\nc", "b\nc"),
        ("a\nb", "", "a\nb", "a\nb"),
        ("e", "\u0301a", "e\n\u0301a", "e\n\u0301a"),
        ("\ufeffa", "\ufeffb", "a\nb", "a\nb"),
    ],
)
def test_a_newline_stands_between_files_unless_the_first_ends_with_one(tmp_path, one, two, lf, keep):
    written(tmp_path, a=one, b=two)
    assert text_of(Corpus.from_files(tmp_path)) == lf
    assert text_of(Corpus.from_files(tmp_path, newlines="keep")) == keep


# -- Unicode forms ----------------------------------------------------------------------------------


def test_mixed_forms_are_noted_and_made_one(tmp_path):
    written(tmp_path, a="café cafe\u0301")
    assert "in two forms, NFC and NFD, kept apart: `normalize` nfc" in Corpus.from_files(tmp_path).notes[0]
    corpus = Corpus.from_files(tmp_path, normalize="nfc")
    assert text_of(corpus) == "café café"
    assert "brought into one form, NFC (`normalize`)" in corpus.notes[0]
    for text in ("café", "cafe\u0301", "한국어", unicodedata.normalize("NFD", "한국어")):
        written(tmp_path, a=text)
        assert Corpus.from_files(tmp_path).notes == ()


@pytest.mark.parametrize(
    ("text", "form"),
    [
        ("café", "nfc"),
        ("cafe\u0301", "nfd"),
        ("caféé\u0301", "none"),
        ("cafe", "none"),
        ("한국어", "nfc"),
        (unicodedata.normalize("NFD", "한국어"), "nfd"),
        ("Å\u212b", "none"),
        ("寒", "none"),
    ],
)
def test_the_form_of_a_vocabulary(text, form):
    assert form_of(text) == form
    assert Vocabulary.of_text(text + "x").form == form


def test_a_vocabulary_takes_a_text_in_the_other_form_and_with_other_line_ends():
    nfc, nfd = Vocabulary.of_text("café\n"), Vocabulary.of_text("cafe\u0301\n")
    for text in ("café\r\n", "cafe\u0301\r", "café\n".encode(), "\ufeffcafe\u0301\n".encode()):
        assert nfc.decode(nfc.encode(text)) == "café\n"
        assert nfd.decode(nfd.encode(text)) == "cafe\u0301\n"
    both = Vocabulary.of_text("ée\u0301\r\n")
    assert both.decode(both.encode("ée\u0301\r\n")) == "ée\u0301\r\n"
    as_bytes = Vocabulary.of_bytes()
    assert as_bytes.encode("e\u0301\r\n").tobytes() == "e\u0301\r\n".encode()
    with pytest.raises(TextError, match=r"does not know 'à'"):  # as it is written: no mark alone
        nfc.encode("a\u0300")


# -- rare characters --------------------------------------------------------------------------------


def test_rare_characters_are_listed_and_dropped_if_wanted(tmp_path):
    written(tmp_path, a="aaabbbccd\u00e9" * 1 + "aaabbb")
    corpus = Corpus.from_files(tmp_path)
    rare = "rare, less than 3 times: 'c' (U+0063) 2, 'd' (U+0064) 1, 'é' (U+00E9) 1"
    assert rare in corpus.summary
    assert corpus.notes == ()  # most texts have some
    corpus = Corpus.from_files(tmp_path, min_count=2)
    assert text_of(corpus) == "aaabbbccaaabbb"
    assert "2 characters dropped, 2 distinct, which occur less than 2 times: 'd' (U+0064) 1" in corpus.summary
    assert len(Corpus.from_files(tmp_path, min_count=3)) == 12
    written(tmp_path, a="".join(map(chr, range(100, 150))))
    assert "and 38 more" in Corpus.from_files(tmp_path).summary
    with pytest.raises(TextError, match=r"no character in it occurs 2 times\. Lower `min_count`"):
        Corpus.from_files(tmp_path, min_count=2)
    written(tmp_path, a="aab")
    with pytest.raises(TextError, match="is one character, 'a', 2 times over"):
        Corpus.from_files(tmp_path, min_count=2)


@pytest.mark.parametrize("how", [{}, {"newlines": "keep"}, {"normalize": "nfc"}, {"min_count": 2}])
def test_a_cache_keeps_what_was_found_and_is_of_one_way_to_read(tmp_path, how):
    written(tmp_path, a="café\r\ncafe\u0301\r\nx", b="fac\u0301")
    cache = tmp_path / "cache"
    cache.mkdir()
    first = Corpus.from_files(tmp_path, cache=cache, **how)
    again = Corpus.from_files(tmp_path, cache=cache, **how)
    assert again.summary == first.summary
    assert again.notes == first.notes
    assert "CR LF" in again.notes[0]
    np.testing.assert_array_equal(first.tokens, Corpus.from_files(tmp_path, **how).tokens)
    for other in ({}, {"newlines": "keep"}, {"normalize": "nfc"}, {"min_count": 2}):
        assert text_of(Corpus.from_files(tmp_path, cache=cache, **other)) == text_of(
            Corpus.from_files(tmp_path, **other)
        )
    assert len(list(cache.iterdir())) == 4


# -- which files ------------------------------------------------------------------------------------


def test_files_stand_in_the_order_given_and_those_of_a_folder_as_people_order_them(tmp_path):
    names = ["ch1", "ch2", "ch10", "ch010a", "ch" + "9" * 200, "ch10b"]
    for name in names:
        written(tmp_path, **{name: name})
    (tmp_path / "part10").mkdir()
    (tmp_path / "part9").mkdir()
    written(tmp_path / "part10", z="part 10")
    written(tmp_path / "part9", z="part 9")
    lines = text_of(Corpus.from_files(tmp_path, glob="**/*.txt")).splitlines()
    order = ["ch1", "ch2", "ch10", "ch010a", "ch10b", "ch" + "9" * 200, "part 9", "part 10"]
    assert sorted(lines) == sorted(order)
    assert [lines.index(name) for name in order[:3]] == sorted(lines.index(name) for name in order[:3])
    assert lines.index(order[5]) > lines.index("ch10b")
    assert lines[-2:] == ["part 9", "part 10"]
    a, b = tmp_path / "ch2.txt", tmp_path / "ch1.txt"
    assert text_of(Corpus.from_files(a, b, a)) == "ch2\nch1\nch2"


def test_what_git_keeps_and_links_that_lead_back_are_left_out(tmp_path):
    folder = tmp_path / "book"
    (folder / ".git").mkdir(parents=True)
    written(folder, a="one", b="two")
    written(folder / ".git", c="three")
    written(tmp_path, d="four")
    (folder / "again.txt").symlink_to(folder / "a.txt")
    (folder / "other.txt").symlink_to(tmp_path / "d.txt")
    (folder / "other2.txt").symlink_to(tmp_path / "d.txt")
    (folder / "up").symlink_to(folder)
    (folder / "loop.txt").symlink_to(folder / "loop.txt")
    assert text_of(Corpus.from_files(folder, glob="**/*")) == "one\ntwo\nfour"
    assert text_of(Corpus.from_files(folder, glob=".git/*")) == "three"
    assert text_of(Corpus.from_files(folder / "again.txt", folder / "a.txt")) == "one\none"
