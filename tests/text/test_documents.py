"""Documents: where they start and end, in which order they are read, and how they are cut in parts."""

import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from charrnn import TrainConfig
from charrnn.errors import ConfigError, TextError
from charrnn.text import documents as module
from charrnn.text.corpus import Corpus
from charrnn.text.documents import Documents, ends_of_documents
from charrnn.text.streams import DocumentStreams


def texts_of(corpus):
    """The documents of a corpus as strings."""
    documents = corpus.documents
    return [corpus.vocabulary.decode(documents.document(i)) for i in range(documents.count)]


def as_documents(texts, separator="."):
    """Some texts as the documents of a text; characters are their code points."""
    tokens = np.frombuffer("".join(texts).encode(), np.uint8)
    ends = np.cumsum([len(text) for text in texts])
    return Documents(tokens, np.append(0, ends[:-1]), ends, ord(separator[-1]))


@given(
    st.text("ab.", max_size=60), st.sampled_from([".", "..", "ab", "aba", ".a."]), st.sampled_from([1, 3, 50])
)
def test_documents_end_after_a_run_of_separators(text, separator, piece):
    text += separator
    tokens, symbols = (np.frombuffer(word.encode(), np.uint8) for word in (text, separator))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "PIECE", piece)
        ends = ends_of_documents(tokens, symbols, 0, len(text)).tolist()
    found = [i for i in range(len(text)) if text.startswith(separator, i)]
    k, expected = len(separator), []
    for i, at in enumerate(found):
        if i + 1 == len(found) or found[i + 1] > at + k:
            expected.append(at + k)
    if len(expected) > 1 and found[0] == 0:
        del expected[0]
    assert ends == expected
    assert ends[-1] == len(text)
    starts = [0, *ends[:-1]]
    assert all(start < end for start, end in zip(starts, ends, strict=True))


@given(st.lists(st.text("ab", max_size=6), min_size=1, max_size=9), st.randoms())
def test_documents_are_read_as_one_text_in_their_order(words, random):
    texts = [word + "." for word in words]
    order = list(range(len(texts)))
    random.shuffle(order)
    documents = as_documents(texts).take(np.array(order))
    text = "".join(texts[i] for i in order)
    assert len(documents) == len(text)
    x, y, rho = documents.read(np.arange(len(text)))
    assert bytes(y.tolist()).decode() == text
    assert bytes(x.tolist()).decode() == "." + text[:-1]  # the separator, whatever came before
    assert rho.tolist() == [bool(i and text[i - 1] != ".") for i in range(len(text))]
    assert bytes(documents[-5:].tolist()).decode() == text[-5:]
    padded = "".join("..." + texts[i] for i in order)
    tokens, real = documents.padded(3, 2, 20)
    assert bytes(tokens.tolist()).decode() == padded[2:20]
    assert [bool(r) for r in real] == [r for i in order for r in [False] * 3 + [True] * len(texts[i])][2:20]


@given(st.lists(st.integers(1, 30), min_size=1, max_size=40), st.floats(0, 0.5), st.floats(0, 0.49))
def test_parts_are_cut_between_documents_near_the_fractions(lengths, val_fraction, test_fraction):
    documents = as_documents(["x" * (n - 1) + "." for n in lengths])
    parts = documents.cut(val_fraction, test_fraction)
    assert sum(part.count for part in parts) == documents.count
    assert sum(map(len, parts)) == len(documents)
    assert parts[0].count >= 1
    wanted = [fraction > 0 for fraction in (val_fraction, test_fraction)]
    if documents.count > sum(wanted):
        for part, is_wanted in zip(parts[1:], wanted, strict=True):
            assert part.count >= is_wanted
    if documents.count > 20:
        assert abs(len(parts[2]) - test_fraction * len(documents)) <= max(lengths)


LINES = "anna\nbert\n\ncarl\n"


@pytest.mark.parametrize(
    ("text", "separator", "expected"),
    [
        ("anna\nbert\ncarl", "line", ["anna\n", "bert\n", "carl\n"]),
        (LINES, "line", ["anna\n", "bert\n\n", "carl\n"]),
        ("\n\nanna\nbert\n", "line", ["\n\nanna\n", "bert\n"]),
        ("a\nb\n\nc\n\n\n\nd\n", "blank-line", ["a\nb\n\n", "c\n\n\n\n", "d\n\n"]),
        ("C1CC\n$$$$\nCCO\n$$$$", "$$$$\n", ["C1CC\n$$$$\n", "CCO\n$$$$\n"]),
        ("a\r\n\r\nb\r\n", "blank-line", ["a\n\n", "b\n\n"]),
        ("a<|end|>b", "<|end|>", ["a<|end|>", "b<|end|>"]),
    ],
)
def test_what_parts_documents(tmp_path, text, separator, expected):
    (tmp_path / "a.txt").write_bytes(text.encode())
    corpus = Corpus.from_files(tmp_path / "a.txt", documents=separator)
    assert texts_of(corpus) == expected
    assert f"{len(expected)} documents" in corpus.summary
    ended = text.replace("\r\n", "\n").endswith(expected[-1])
    assert any("the last document did not end with the separator" in note for note in corpus.notes) != ended


def test_each_file_ends_a_document(tmp_path):
    for name, text in (("a", "one\n\ntwo"), ("b", "three\n"), ("c", "four\n\n")):
        (tmp_path / f"{name}.txt").write_text(text)
    (tmp_path / "d.txt").write_text("")
    corpus = Corpus.from_files(tmp_path, documents="blank-line")
    assert texts_of(corpus) == ["one\n\n", "two\n\n", "three\n\n", "four\n\n"]
    assert any("the last documents of 2 files did not end" in note for note in corpus.notes)
    files = Corpus.from_files(tmp_path, documents="file")
    assert texts_of(files) == ["one\n\ntwo\x03", "three\n\x03", "four\n\n\x03"]
    assert not any("did not end" in note for note in files.notes)
    as_bytes = Corpus.from_files(tmp_path, documents="file", bytes=True)
    assert texts_of(as_bytes) == texts_of(files)
    (tmp_path / "e.txt").write_text("a\x03b")
    with pytest.raises(TextError, match=r"e.txt: has the character '\\x03' \(END OF TEXT\)"):
        Corpus.from_files(tmp_path, documents="file")


def test_a_separator_of_several_bytes(tmp_path):
    (tmp_path / "a.txt").write_text("ab¶cd¶")
    for as_bytes in (False, True):
        corpus = Corpus.from_files(tmp_path / "a.txt", documents="¶", bytes=as_bytes)
        assert texts_of(corpus) == ["ab¶", "cd¶"]
        assert corpus.documents.before == corpus.tokens[-1]


def test_a_separator_that_the_vocabulary_lacks_is_named(tmp_path):
    (tmp_path / "a.txt").write_text("aaaabbbb||bbba||")
    with pytest.raises(TextError, match=r"a: `documents` '\|\|', of which the vocabulary lacks '\|'"):
        Corpus.from_files(tmp_path / "a.txt", documents="||", min_count=5)


def test_a_text_of_one_document_is_not_cut(tmp_path):
    (tmp_path / "a.txt").write_text("one line\nand another\n")
    corpus = Corpus.from_files(tmp_path / "a.txt", documents="blank-line")
    with pytest.raises(
        TextError, match=r"a: the text is one document: its separator, '\\n\\n', stands nowhere"
    ):
        corpus.split(0.1)


def test_documents_are_shuffled_once_by_the_seed():
    corpus = Corpus.from_documents([f"name{i}" for i in range(100)], separator="line")
    plain, one, same, other = (corpus.split(0.1, 0.1, seed) for seed in (None, 1, 1, 2))
    for part, twin in zip(one, same, strict=True):
        np.testing.assert_array_equal(part[:], twin[:])
    assert not np.array_equal(one.train[:], other.train[:])
    everything = np.concatenate([part.starts for part in one])
    assert sorted(everything.tolist()) == corpus.documents.starts.tolist()
    assert plain.train.starts.tolist() == corpus.documents.starts[: plain.train.count].tolist()
    config = TrainConfig(val_fraction=0.1, test_fraction=0.1, seed=1)
    np.testing.assert_array_equal(corpus.parts(config).val[:], one.val[:])
    config = config.model_copy(update={"shuffle_documents": False})
    np.testing.assert_array_equal(corpus.parts(config).val[:], plain.val[:])
    with pytest.raises(ConfigError, match="`shuffle_documents` has no effect without `documents`"):
        Corpus.from_text("some text").parts(config)


@pytest.mark.parametrize("documents", ["", "line"])
def test_files_of_ones_own_are_parts(tmp_path, documents):
    for name, text in (("a", "one\ntwo\nthree\n"), ("v", "\nfour\nfive"), ("t", "six\n")):
        (tmp_path / f"{name}.txt").write_text(text)
    a, v, t = (tmp_path / f"{name}.txt" for name in "avt")

    def parts(cache, **own):
        corpus = Corpus.from_files(a, documents=documents, **own, cache=cache)
        return [
            re.sub("\n+", " ", corpus.vocabulary.decode(part[:])).strip() for part in corpus.split(0.4, 0.4)
        ]

    for cache in (None, tmp_path / "tokens.bin", tmp_path / "tokens.bin"):  # made, then used again
        assert parts(cache, val_file=v, test_file=t) == ["one two three", "four five", "six"]
    for cache in (None, tmp_path / "tokens.bin"):
        train, val, test = parts(cache, val_file=v)
        assert val == "four five"
        assert f"{train} {test}".replace(" ", "") == "onetwothree"
        assert test
        train, val, test = parts(cache, test_file=t)
        assert test == "six"
        assert f"{train} {val}".replace(" ", "") == "onetwothree"
    with pytest.raises(TextError, match="a folder; a part of its own is one file"):
        Corpus.from_files(a, val_file=tmp_path)
    (tmp_path / "empty.txt").write_text("")
    for own in ({"val_file": tmp_path / "empty.txt"}, {"test_file": tmp_path / "empty.txt", "val_file": v}):
        with pytest.raises(TextError, match="a part of its own is empty"):
            Corpus.from_files(a, documents=documents, **own)


def test_the_cuts_count_what_is_kept(tmp_path):
    for name, text in (("a", "aaaxaaa"), ("v", "abbbb")):
        (tmp_path / f"{name}.txt").write_text(text)
    corpus = Corpus.from_files(tmp_path / "a.txt", val_file=tmp_path / "v.txt", min_count=2)
    parts = corpus.split(0.1)
    assert [corpus.vocabulary.decode(part) for part in parts] == ["aaaaaa", "abbbb", ""]


def test_documents_from_python():
    corpus = Corpus.from_documents(["anna", "bert\nberta", "c\x03"])
    assert texts_of(corpus) == ["anna\x03", "bert\nberta\x03", "c\x03"]
    as_bytes = Corpus.from_documents([b"\xff\x00", b"b"], separator="line")
    assert as_bytes.vocabulary.is_bytes
    assert bytes(as_bytes.tokens) == b"\xff\x00\nb\n"
    for wrong in ("anna", [], ["a", b"b"], [1, 2], None):
        with pytest.raises(TextError, match="documents: expected"):
            Corpus.from_documents(wrong)
    with pytest.raises(
        TextError, match=r"documents\[1\] is 'a\\nb': expected some text without the separator"
    ):
        Corpus.from_documents(["a", "a\nb"], separator="line")
    with pytest.raises(TextError, match=r"documents\[0\] is ''"):
        Corpus.from_documents(["", "b"])


@given(st.lists(st.integers(1, 9), min_size=2, max_size=60), st.integers(1, 5), st.integers(1, 12))
def test_windows_of_documents(lengths, batch_size, seq_length):
    documents = as_documents(["x" * (n - 1) + "." for n in lengths])
    n = len(documents)
    if n <= seq_length:
        with pytest.raises(TextError, match="one window needs"):
            DocumentStreams(documents, batch_size, seq_length)
        return
    streams = DocumentStreams(documents, batch_size, seq_length)
    windows = [streams.window(step) for step in range(len(streams))]
    x, y, rho = (np.concatenate(column).T.reshape(-1) for column in zip(*windows, strict=True))
    expected = documents.read(np.arange(n))
    for found, all_of_it in zip((x, y, rho), expected, strict=True):
        np.testing.assert_array_equal(found, all_of_it[: len(found)])  # stream after stream
    assert 0 <= n - len(x) < streams.batch_size
    assert max(len(window.targets) for window in windows) <= seq_length
    again = streams.window(len(streams))
    np.testing.assert_array_equal(again.inputs, windows[0].inputs)
    assert streams.characters(len(streams)) == len(x)
