import gzip
import hashlib
import io
import os
import subprocess
import sys
import threading
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from conftest import PROVERB
from hypothesis import given
from hypothesis import strategies as st

from charrnn.errors import AnotherTextError, CharRNNError, ConfigError, RunError, TextError
from charrnn.text import reading
from charrnn.text.corpus import Corpus
from charrnn.text.reading import TEXT
from charrnn.text.vocabulary import Vocabulary


def test_characters_are_code_points(tmp_path):
    path = tmp_path / "zh.txt"
    path.write_bytes("寒随穷律变\r\n𝄞é".encode())
    corpus = Corpus.from_files(path)
    assert len(corpus) == 8  # the clef is one character, and so is é
    assert corpus.size == 23
    assert corpus.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    assert corpus.vocabulary.decode(corpus.tokens) == "寒随穷律变\n𝄞é"


def test_a_byte_order_mark_is_dropped_and_said(tmp_path):
    path = tmp_path / "a.txt"
    path.write_bytes(b"\xef\xbb\xbfab")
    corpus = Corpus.from_files(path)
    assert corpus.vocabulary.decode(corpus.tokens) == "ab"
    assert "a.txt: begins with the mark of UTF-8" in corpus.notes[0]
    as_bytes = Corpus.from_files(path, bytes=True)
    assert len(as_bytes) == 5  # bytes are bytes
    assert as_bytes.notes == ()


def test_files_are_joined_in_the_order_given_and_folders_by_name(tmp_path):
    for name, text in (("b.txt", "two "), ("a.txt", "one "), ("c.md", "three ")):
        (tmp_path / name).write_text(text)
    folder = Corpus.from_files(tmp_path)
    assert folder.vocabulary.decode(folder.tokens) == "one \ntwo "
    assert folder.name == tmp_path.name
    everything = Corpus.from_files(tmp_path, glob="*")
    assert everything.vocabulary.decode(everything.tokens) == "one \ntwo \nthree "
    named = Corpus.from_files(tmp_path / "c.md", tmp_path / "a.txt")
    assert named.vocabulary.decode(named.tokens) == "three \none "


def test_encodings(tmp_path):
    path = tmp_path / "a.txt"
    path.write_bytes("naïve".encode("latin-1"))
    with pytest.raises(TextError, match=r"offset 2 .*`encoding`.*`bytes`"):
        Corpus.from_files(path)
    corpus = Corpus.from_files(path, encoding="latin-1")
    assert corpus.vocabulary.decode(corpus.tokens) == "naïve"
    for codec in ("klingon", "base64"):  # the second is a codec, but not of text
        with pytest.raises(ConfigError, match=codec):
            Corpus.from_files(path, encoding=codec)


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


# -- in pieces --------------------------------------------------------------------------------------

some_text = st.text(st.characters(exclude_categories=["Cs"]), min_size=2)


def as_read(text):
    return text.removeprefix("\ufeff").replace("\r\n", "\n").replace("\r", "\n")


@given(some_text.filter(lambda text: len(set(as_read(text))) > 1), st.integers(1, 9))
def test_a_file_read_in_pieces_is_the_text_as_a_whole(tmp_path_factory, text, size):
    path = tmp_path_factory.mktemp("text") / "a.txt"
    path.write_bytes(text.encode())
    whole = Corpus.from_text(as_read(text))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(reading, "PIECE", size)
        for cache in (None, path.with_name("tokens.bin")):
            corpus = Corpus.from_files(path, cache=cache)
            assert corpus.vocabulary == whole.vocabulary
            np.testing.assert_array_equal(corpus.tokens, whole.tokens)
            assert corpus.tokens.dtype == whole.tokens.dtype
            assert corpus.size == path.stat().st_size
            assert corpus.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.mark.parametrize("size", [1, 2, 3, 10])
def test_a_vocabulary_given_is_used_piece_by_piece(tmp_path, monkeypatch, size):
    monkeypatch.setattr(reading, "PIECE", size)
    vocabulary = Vocabulary.of_text("abc寒")
    path = tmp_path / "a.txt"
    path.write_text("café寒 b")
    with pytest.raises(TextError, match=r"a.txt: the model does not know ' ' .*'f' .*'é' \(U\+00E9\)"):
        Corpus.from_files(path, vocabulary=vocabulary)
    corpus = Corpus.from_files(path, vocabulary=vocabulary, ignore_unknown=True)
    assert vocabulary.decode(corpus.tokens) == "ca寒b"
    path.write_text("aaa")  # one character is enough to be scored
    assert len(Corpus.from_files(path, vocabulary=vocabulary)) == 3


def test_a_text_larger_than_what_is_held(tmp_path, monkeypatch):
    monkeypatch.setattr(reading, "IN_MEMORY", 1000)
    path = tmp_path / "a.txt"
    path.write_text(PROVERB * 100)
    corpus = Corpus.from_files(path, cache=tmp_path / "tokens.bin")
    assert corpus.vocabulary.decode(corpus.tokens) == PROVERB * 100
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.txt", "tokens.bin"]


# -- the cache --------------------------------------------------------------------------------------


@pytest.fixture
def text(tmp_path):
    path = tmp_path / "text.txt"
    path.write_text(PROVERB * 3)
    return path


def identity(path):
    """What changes when a file is written again."""
    return path.stat().st_ino, path.stat().st_mtime_ns


def test_the_tokens_are_mapped_and_the_cache_is_used_again(text, tmp_path):
    cache = tmp_path / "run" / "tokens.bin"
    first = Corpus.from_files(text, cache=cache)
    assert isinstance(first.tokens, np.memmap)
    assert first.vocabulary.decode(first.tokens) == PROVERB * 3
    made = identity(cache)
    again = Corpus.from_files(text, cache=cache)
    assert identity(cache) == made
    np.testing.assert_array_equal(again.tokens, first.tokens)
    assert (again.vocabulary, again.size, again.sha256) == (first.vocabulary, first.size, first.sha256)
    assert again.notes == ()
    kept = Corpus.from_cache(cache, "text", first.sha256, first.size, TEXT)
    np.testing.assert_array_equal(kept.tokens, first.tokens)
    assert (kept.vocabulary, kept.size) == (first.vocabulary, first.size)
    for sha256, size, how in (
        ("0" * 64, first.size, {}),
        (first.sha256, first.size + 1, {}),
        (first.sha256, first.size, {"encoding": "latin-1"}),
        (first.sha256, first.size, {"newlines": "keep"}),
        (first.sha256, first.size, {"normalize": "nfc"}),
        (first.sha256, first.size, {"min_count": 2}),
        (first.sha256, first.size, {"between": ""}),
    ):
        with pytest.raises(RunError, match="another text"):
            Corpus.from_cache(cache, "text", sha256, size, replace(TEXT, **how))


@pytest.mark.parametrize(
    ("content", "how"),
    [
        (PROVERB * 4, {}),
        (PROVERB * 3, {"encoding": "latin-1"}),
        (PROVERB * 3, {"bytes": True}),
        (PROVERB * 3, {"newlines": "keep"}),
        (PROVERB * 3, {"normalize": "nfc"}),
        (PROVERB * 3, {"min_count": 2}),
    ],
)
def test_a_cache_of_another_text_is_replaced(text, tmp_path, content, how):
    cache = tmp_path / "tokens.bin"
    Corpus.from_files(text, cache=cache)
    text.write_text(content)
    corpus = Corpus.from_files(text, cache=cache, **how)
    assert "it is replaced" in corpus.notes[0]
    assert corpus.vocabulary.decode(corpus.tokens) == content
    assert Corpus.from_files(text, cache=cache, **how).notes == ()


def test_the_same_bytes_cut_elsewhere_are_another_text(tmp_path):
    one, two, cache = tmp_path / "1.txt", tmp_path / "2.txt", tmp_path / "tokens.bin"
    one.write_text("ab\ufeffcd")
    corpus = Corpus.from_files(one, cache=cache)
    assert len(corpus) == 5
    one.write_text("ab")
    two.write_text("\ufeffcd")
    again = Corpus.from_files(one, two, cache=cache)
    assert again.sha256 == corpus.sha256
    assert again.vocabulary.decode(again.tokens) == "ab\ncd"


def test_a_torn_cache_is_noticed_and_replaced(text, tmp_path):
    cache = tmp_path / "tokens.bin"
    Corpus.from_files(text, cache=cache)
    whole = cache.read_bytes()
    for torn in (whole[:100], whole[:-1], whole[:-40] + b"?" + whole[-39:], whole + b"!"):
        cache.write_bytes(torn)
        corpus = Corpus.from_files(text, cache=cache)
        assert "tokens.bin: damaged" in corpus.notes[0]
        assert corpus.vocabulary.decode(corpus.tokens) == PROVERB * 3
        assert cache.read_bytes() == whole


def test_runs_share_a_folder_of_caches(text, tmp_path):
    folder = tmp_path / "caches"
    folder.mkdir()
    corpus = Corpus.from_files(text, cache=folder)
    (file,) = folder.iterdir()
    assert file.name == f"{corpus.sha256[:32]}.utf-8.lf.bin"
    made = identity(file)
    text.rename(tmp_path / "moved.txt")
    Corpus.from_files(tmp_path / "moved.txt", cache=folder)
    assert identity(file) == made
    Corpus.from_files(tmp_path / "moved.txt", cache=folder, bytes=True)
    assert len(list(folder.iterdir())) == 2


def test_a_vocabulary_of_another_text_does_not_touch_the_cache(text, tmp_path):
    cache = tmp_path / "tokens.bin"
    corpus = Corpus.from_files(text, cache=cache)
    made = identity(cache)
    assert isinstance(Corpus.from_files(text, cache=cache, vocabulary=corpus.vocabulary).tokens, np.memmap)
    other = Vocabulary.of_text(PROVERB + "z")
    tokens = Corpus.from_files(text, cache=cache, vocabulary=other).tokens
    assert other.decode(tokens) == PROVERB * 3
    assert identity(cache) == made


def test_a_text_of_another_hash_than_asked_for_is_not_kept(text, tmp_path, monkeypatch):
    cache = tmp_path / "tokens.bin"
    corpus = Corpus.from_files(text, cache=cache)
    made = identity(cache)
    text.write_text(PROVERB * 2)
    monkeypatch.setattr(reading.Spool, "add", lambda self, symbols: pytest.fail("kept before it is known"))
    for where in (cache, tmp_path / "new.bin", None):
        with pytest.raises(AnotherTextError, match="by its SHA-256"):
            Corpus.from_files(text, cache=where, sha256=corpus.sha256)
    assert identity(cache) == made


def test_two_writers_of_one_cache_each_get_their_own_text(tmp_path):
    cache, results = tmp_path / "tokens.bin", {}

    def write(letter):
        path = tmp_path / f"{letter}.txt"
        path.write_text(f"x{letter}" * 1000)
        results[letter] = [Corpus.from_files(path, cache=cache) for _ in range(50)]

    threads = [threading.Thread(target=write, args=letter) for letter in "abc"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for letter in "abc":
        assert len(results[letter]) == 50
        for corpus in results[letter]:
            assert corpus.vocabulary.decode(corpus.tokens) == f"x{letter}" * 1000
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.txt", "b.txt", "c.txt", "tokens.bin"]


def test_a_cache_that_is_replaced_while_it_is_written_is_not_what_is_read(text, tmp_path, monkeypatch):
    cache, other = tmp_path / "tokens.bin", tmp_path / "other.bin"
    (tmp_path / "other.txt").write_text("another text")
    Corpus.from_files(tmp_path / "other.txt", cache=other)
    rename = Path.replace

    def replace(path, target):
        rename(path, target)
        rename(other, target)

    monkeypatch.setattr(Path, "replace", replace)
    corpus = Corpus.from_files(text, cache=cache)
    assert corpus.vocabulary.decode(corpus.tokens) == PROVERB * 3


def test_a_text_with_more_characters_than_a_header_holds_is_kept_in_memory(tmp_path, monkeypatch):
    text = "".join(map(chr, range(0x10000, 0x50000)))
    (tmp_path / "a.txt").write_text(text)
    corpus = Corpus.from_files(tmp_path / "a.txt", cache=tmp_path / "tokens.bin")
    assert corpus.vocabulary.decode(corpus.tokens) == text
    assert not (tmp_path / "tokens.bin").exists()


@pytest.mark.skipif(os.name != "posix", reason="limits")
@pytest.mark.parametrize("limit", [100, 300_000])  # of a file, in bytes: no cache; no spool
def test_a_full_disk_is_said_and_leaves_nothing_half_written(tmp_path, limit):
    text, cache = tmp_path / "a.txt", tmp_path / "tokens.bin"
    text.write_text(PROVERB * (10 if limit == 100 else 10_000))
    script = (
        "import resource, sys; from charrnn import cli; from charrnn.text import reading\n"
        "reading.IN_MEMORY = 200_000\n"
        f"resource.setrlimit(resource.RLIMIT_FSIZE, ({limit}, {limit}))\n"
        f"sys.exit(cli.main(['train', {str(text)!r}, '--out', {str(tmp_path / 'run')!r}]))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "File too large" in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert [path.name for path in tmp_path.rglob("*") if path.is_file()] == ["a.txt"]
    assert not cache.exists()


# -- standard input and compressed files ------------------------------------------------------------


def piped(monkeypatch, blob):
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BufferedReader(io.BytesIO(blob))))


def test_standard_input(tmp_path, monkeypatch):
    cache = tmp_path / "tokens.bin"
    for blob in (PROVERB.encode(), gzip.compress(PROVERB.encode())):
        piped(monkeypatch, blob)
        corpus = Corpus.from_files("-", cache=cache)
        assert corpus.vocabulary.decode(corpus.tokens) == PROVERB
        assert corpus.name == "stdin"
        assert corpus.notes == ()
        made = identity(cache)
    piped(monkeypatch, PROVERB.encode())
    Corpus.from_files("-", cache=cache)
    assert identity(cache) == made
    piped(monkeypatch, b"something else")
    assert "it is replaced" in Corpus.from_files("-", cache=cache).notes[0]
    assert list(tmp_path.iterdir()) == [cache]


def test_standard_input_beside_files(tmp_path, monkeypatch):
    (tmp_path / "a.txt").write_text("two")
    piped(monkeypatch, b"one ")
    corpus = Corpus.from_files(tmp_path / "a.txt", "-", "-")
    assert corpus.vocabulary.decode(corpus.tokens) == "two\none "


def test_standard_input_that_is_closed(monkeypatch):
    monkeypatch.setattr(sys, "stdin", None)
    with pytest.raises(TextError, match="standard input is closed"):
        Corpus.from_files("-")


def test_a_file_of_that_name_is_a_path(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("-").write_text("ab")
    assert len(Corpus.from_files(Path("-"))) == 2


def test_compressing_a_text_changes_nothing(text, tmp_path):
    packed = tmp_path / "text.txt.gz"
    packed.write_bytes(gzip.compress(text.read_bytes()))
    plain, unpacked = Corpus.from_files(text), Corpus.from_files(packed)
    np.testing.assert_array_equal(unpacked.tokens, plain.tokens)
    assert (unpacked.name, unpacked.size, unpacked.sha256) == (plain.name, plain.size, plain.sha256)


# -- whatever a file holds: a corpus, or one clear line ---------------------------------------------


@given(
    st.binary(max_size=200) | st.text().map(str.encode),
    st.sampled_from(["a.txt", "a.gz", "a.bz2", "a.xz"]),
    st.sampled_from(["", "gz", "bz2", "xz"]),
    st.sampled_from(["utf-8", "utf-16", "utf-7", "gb18030", "shift_jis", "unicode_escape", "bytes"]),
    st.integers(1, 50),
)
@pytest.mark.filterwarnings("ignore:invalid escape")
def test_no_file_makes_a_traceback(tmp_path_factory, blob, name, packed, encoding, size):
    path = tmp_path_factory.mktemp("any") / name
    head = {"": b"", "gz": b"\x1f\x8b\x08\x00", "bz2": b"BZh91AY&SY", "xz": b"\xfd7zXZ\x00"}[packed]
    path.write_bytes(head + blob)
    how = {"bytes": True} if encoding == "bytes" else {"encoding": encoding}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(reading, "PIECE", size)
        with suppress(CharRNNError):
            assert len(Corpus.from_files(path, cache=path.with_name("tokens.bin"), **how)) > 1


@given(st.text())
def test_no_name_of_an_encoding_makes_a_traceback(tmp_path_factory, name):
    path = tmp_path_factory.mktemp("any") / "a.txt"
    path.write_text("ab")
    with pytest.raises(ConfigError, match="`encoding`"):
        Corpus.from_files(path, encoding="no such " + name)
