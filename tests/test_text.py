import hashlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from charrnn.corpus import Corpus
from charrnn.errors import CharRNNError, ConfigError, TextError
from charrnn.text import Streams, Vocabulary

some_text = st.text(min_size=2).filter(lambda text: len(set(text)) > 1)


@given(some_text)
def test_any_text_survives_the_round_trip(text):
    corpus = Corpus.from_text(text)
    assert corpus.vocabulary.decode(corpus.tokens) == text
    assert list(map(chr, corpus.vocabulary.symbols)) == sorted(set(text))


@given(st.binary(min_size=2).filter(lambda blob: len(set(blob)) > 1))
def test_any_bytes_survive_the_round_trip(blob):
    corpus = Corpus.from_text(blob)
    assert corpus.vocabulary.decode_bytes(corpus.tokens) == blob
    assert len(corpus.vocabulary) == 256


def test_characters_are_code_points(tmp_path):
    path = tmp_path / "zh.txt"
    path.write_bytes("寒随穷律变\r\n𝄞é".encode())
    corpus = Corpus.from_files(path)
    assert len(corpus) == 9  # the clef is one character, and so is é; the line end is two
    assert corpus.size == 23
    assert corpus.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    assert corpus.vocabulary.decode(corpus.tokens) == "寒随穷律变\r\n𝄞é"


def test_tokens_are_as_narrow_as_the_vocabulary_allows():
    assert Corpus.from_text("ab").tokens.dtype == np.uint8
    assert Corpus.from_text("".join(map(chr, range(0x4E00, 0x4F50)))).tokens.dtype == np.uint16


def test_a_byte_order_mark_is_dropped_and_said(tmp_path):
    path = tmp_path / "a.txt"
    path.write_bytes(b"\xef\xbb\xbfab")
    corpus = Corpus.from_files(path)
    assert corpus.vocabulary.decode(corpus.tokens) == "ab"
    assert "byte-order mark" in corpus.notes[0]
    as_bytes = Corpus.from_files(path, bytes=True)
    assert len(as_bytes) == 5  # bytes are bytes
    assert as_bytes.notes == ()


def test_files_and_folders_are_joined_in_sorted_order(tmp_path):
    for name, text in (("b.txt", "two "), ("a.txt", "one "), ("c.md", "three ")):
        (tmp_path / name).write_text(text)
    folder = Corpus.from_files(tmp_path)
    assert folder.vocabulary.decode(folder.tokens) == "one two "
    assert folder.name == tmp_path.name
    everything = Corpus.from_files(tmp_path, glob="*")
    assert everything.vocabulary.decode(everything.tokens) == "one two three "
    named = Corpus.from_files(tmp_path / "c.md", tmp_path / "a.txt")
    assert named.vocabulary.decode(named.tokens) == "one three "


def test_encodings(tmp_path):
    path = tmp_path / "a.txt"
    path.write_bytes("naïve".encode("latin-1"))
    with pytest.raises(TextError, match=r"offset 2 .*--encoding.*--bytes"):
        Corpus.from_files(path)
    corpus = Corpus.from_files(path, encoding="latin-1")
    assert corpus.vocabulary.decode(corpus.tokens) == "naïve"
    for codec in ("klingon", "base64"):  # the second is a codec, but not of text
        with pytest.raises(ConfigError, match=codec):
            Corpus.from_files(path, encoding=codec)


def test_unknown_characters_are_named_or_dropped():
    vocabulary = Vocabulary.of_text("abc")
    with pytest.raises(TextError, match=r"'é' \(U\+00E9\).*--ignore-unknown"):
        vocabulary.encode("café")
    assert vocabulary.decode(vocabulary.encode("café", ignore_unknown=True)) == "ca"
    with pytest.raises(TextError, match="offset 1"):
        vocabulary.encode(b"a\xff")


@pytest.mark.parametrize("symbols", [[97], [98, 97], [97, 97], [97, 0x110000]])
def test_symbols_that_are_no_vocabulary_are_refused(symbols):
    with pytest.raises(TextError):
        Vocabulary(np.array(symbols, np.uint32))


@given(st.integers(2, 400), st.floats(0, 0.5), st.floats(0, 0.49))
def test_the_parts_are_contiguous_and_whole(n, val_fraction, test_fraction):
    tokens = np.arange(n)
    corpus = Corpus(tokens, Vocabulary.of_bytes(), "n", n, "")
    parts = corpus.split(val_fraction, test_fraction)
    np.testing.assert_array_equal(np.concatenate(parts), tokens)
    assert len(parts.test) == round(n * test_fraction)
    assert abs(len(parts.val) - n * val_fraction) <= 1


def test_fractions_that_leave_nothing_are_refused():
    with pytest.raises(CharRNNError, match="below 1"):
        Corpus.from_text("abc").split(0.5, 0.5)


@given(st.integers(2, 500), st.integers(1, 20), st.integers(1, 30))
def test_the_windows_cover_each_character_once_and_in_order(n, batch_size, seq_length):
    tokens = np.arange(n)
    if n <= seq_length:
        with pytest.raises(TextError, match=f"{seq_length + 1}"):
            Streams(tokens, batch_size, seq_length)
        return
    streams = Streams(tokens, batch_size, seq_length)
    windows = list(streams)
    assert len(windows) == len(streams)
    assert all(len(x) == seq_length for x, _ in windows[:-1])
    rows = np.concatenate([x for x, _ in windows])  # (length of a stream, B)
    for x, y in windows:
        assert x.shape == y.shape == (len(x), streams.batch_size)
        np.testing.assert_array_equal(y, x + 1)  # the target is the next character
    covered = rows.T.reshape(-1)  # stream after stream is the text from its start
    np.testing.assert_array_equal(covered, tokens[: len(covered)])
    assert 0 <= n - 1 - len(covered) < streams.batch_size
    assert streams.batch_size == min(batch_size, (n - 1) // seq_length)
    assert streams.characters(len(streams)) == covered.size
    assert streams.characters(len(streams) + 1) == covered.size + windows[0][0].size
