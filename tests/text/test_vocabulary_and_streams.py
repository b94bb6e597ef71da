from pathlib import Path

import numpy as np
import pytest
from conftest import mapped_memory
from hypothesis import given
from hypothesis import strategies as st

from charrnn.errors import TextError
from charrnn.text.corpus import Corpus
from charrnn.text.streams import ShuffledWindows, Streams
from charrnn.text.vocabulary import Vocabulary

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


def test_tokens_are_as_narrow_as_the_vocabulary_allows():
    assert Corpus.from_text("ab").tokens.dtype == np.uint8
    assert Corpus.from_text("".join(map(chr, range(0x4E00, 0x4F50)))).tokens.dtype == np.uint16


def test_unknown_characters_are_named_or_dropped():
    vocabulary = Vocabulary.of_text("abc")
    with pytest.raises(TextError, match=r"'é' \(U\+00E9\).*`ignore_unknown`"):
        vocabulary.encode("café")
    assert vocabulary.decode(vocabulary.encode("café", ignore_unknown=True)) == "ca"
    with pytest.raises(TextError, match="offset 1"):
        vocabulary.encode(b"a\xff")


@pytest.mark.parametrize("symbols", [[97], [98, 97], [97, 97], [97, 0x110000]])
def test_symbols_that_are_no_vocabulary_are_refused(symbols):
    with pytest.raises(TextError):
        Vocabulary(np.array(symbols, np.uint32))


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
    sizes = [len(x) for x, _ in windows]
    assert max(sizes) <= seq_length
    assert max(sizes) - min(sizes) <= 1
    assert len(windows) == -(-sum(sizes) // seq_length)  # no more than there must be
    rows = np.concatenate([x for x, _ in windows])  # (length of a stream, B)
    for x, y in windows:
        assert x.shape == y.shape == (len(x), streams.batch_size)
        np.testing.assert_array_equal(y, x + 1)  # the target is the next character
        assert x.flags.c_contiguous
        assert y.flags.c_contiguous
    covered = rows.T.reshape(-1)  # stream after stream is the text from its start
    np.testing.assert_array_equal(covered, tokens[: len(covered)])
    assert 0 <= n - 1 - len(covered) < streams.batch_size
    assert streams.batch_size == min(batch_size, (n - 1) // seq_length)
    for step in range(2 * len(windows)):
        size = windows[step % len(windows)][0].size
        assert streams.characters(step + 1) - streams.characters(step) == size


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="memory is counted by Linux")
def test_windows_of_a_mapped_text_do_not_stay_in_memory(tmp_path):
    n = 2**23
    tokens = np.random.default_rng(0).integers(0, 200, n, np.uint8)
    tokens.tofile(tmp_path / "tokens")
    mapped = np.memmap(tmp_path / "tokens", np.uint8, "r")
    before = most = mapped_memory()
    for ours, plain in zip(Streams(mapped, 8, 20_000), Streams(tokens, 8, 20_000), strict=True):
        most = max(most, mapped_memory())
        for window, expected in zip(ours, plain, strict=True):
            assert type(window) is np.ndarray
            np.testing.assert_array_equal(window, expected)
    assert most - before < 4  # of 8 MB


@given(st.integers(2, 400), st.integers(1, 9), st.integers(1, 40))
def test_shuffled_windows_cover_the_text_in_another_order_each_epoch(n, batch_size, seq_length):
    tokens = np.arange(n)  # each character is its own place
    if n <= seq_length:
        with pytest.raises(TextError, match="one window needs"):
            ShuffledWindows(tokens, batch_size, seq_length, seed=0)
        return
    windows = ShuffledWindows(tokens, batch_size, seq_length, seed=0)
    assert windows.characters(1) == windows.batch_size * seq_length
    first = set()
    for epoch in range(3):
        begins = []
        for step in range(epoch * len(windows), (epoch + 1) * len(windows)):
            x, y, _ = windows.window(step)
            assert x.shape == y.shape == (seq_length, windows.batch_size)
            np.testing.assert_array_equal(y, x + 1)
            np.testing.assert_array_equal(x - x[0], np.arange(seq_length)[:, np.newaxis] + np.zeros_like(x))
            begins += x[0].tolist()
        assert len(set(begins)) == len(begins)  # no window twice
        assert len({begin % seq_length for begin in begins}) == 1  # and no two overlap
        left_out = n - 1 - len(begins) * seq_length
        assert 0 <= left_out < 2 * seq_length + (windows.batch_size - 1) * seq_length
        first.add(tuple(begins))
    if len(windows) * windows.batch_size > 20:
        assert len(first) == 3


def test_shuffled_windows_follow_from_seed_and_step_alone():
    tokens = np.arange(1000)
    one, other = (ShuffledWindows(tokens, 4, 8, seed=3) for _ in range(2))
    late = other.window(70)  # without those before it
    for step in range(71):
        window = one.window(step)
    np.testing.assert_array_equal(window[:2], late[:2])
    assert (ShuffledWindows(tokens, 4, 8, seed=4).window(70)[0] != late[0]).any()
