import hashlib
import json
import os

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from charrnn.errors import RunError
from charrnn.text import tokens as cache
from charrnn.text.cleaning import Found
from charrnn.text.reading import Origin, Reading, silent
from charrnn.text.vocabulary import Vocabulary

VOCABULARY = Vocabulary.of_text("abc")
ORIGIN = Origin("12" * 32, (5, 0), Reading(normalize="nfc", min_count=2))
FOUND = Found(files=2, crlf=7, rare=[(97, 1)], num_rare=1, remarks={"is odd": ("a.txt", 2)})
IDS = np.array([2, 0, 1, 1, 0], np.uint8)


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "run" / "tokens.bin"
    cache.write(path, ORIGIN, VOCABULARY, [IDS[:2], IDS[2:]], 5, FOUND)
    return path


def test_what_is_written_is_read(file):
    origin, vocabulary, tokens, found = cache.read(file, silent)
    assert (origin, vocabulary, found) == (ORIGIN, VOCABULARY, FOUND)
    np.testing.assert_array_equal(tokens, IDS)
    assert isinstance(tokens, np.memmap)
    assert not tokens.flags.writeable
    assert list(file.parent.iterdir()) == [file]


@pytest.mark.parametrize("V", [2, 256, 257, 65536, 65537])
def test_ids_are_as_wide_as_the_vocabulary_needs(tmp_path, V):
    vocabulary = Vocabulary(np.arange(V, dtype=np.uint32))
    ids = np.array([0, V - 1])
    cache.write(tmp_path / "t", ORIGIN, vocabulary, [ids], 2)
    _, found, tokens, _ = cache.read(tmp_path / "t", silent)
    assert found == vocabulary
    assert tokens.dtype == vocabulary.dtype
    np.testing.assert_array_equal(tokens, ids)


def test_a_cut_at_any_length_and_a_change_of_any_byte_are_noticed(file):
    whole = file.read_bytes()
    cuts = [whole[:n] for n in range(len(whole))]
    changed = [whole[:n] + bytes([whole[n] ^ 1]) + whole[n + 1 :] for n in range(len(whole))]
    for blob in [*cuts, *changed, whole + b"\0"]:
        file.write_bytes(blob)
        with pytest.raises(RunError, match=r"tokens.bin: damaged"):
            cache.read(file, silent)


def sealed(path, header, ids):
    """A file with any content, and the hash that belongs to it."""
    blob = json.dumps(header).encode() + b"\n" + ids
    path.write_bytes(blob + hashlib.sha256(blob).digest())


HEADER = {
    "format": cache.FORMAT,
    "count": 3,
    "sha256": "12" * 32,
    "sizes": [3],
    "encoding": "utf-8",
    "symbols": [97, 98],
}


@pytest.mark.parametrize(
    "change",
    [
        {"format": "charrnn tokens 99"},
        {"count": 2},
        {"count": -1},
        {"count": None},
        {"count": 10**30},
        {"symbols": [98, 97]},
        {"symbols": [97]},
        {"symbols": [97, 2**40]},
        {"symbols": [[97], [98]]},
        {"symbols": {"a": 1}},
        {"sizes": 3},
        {"sizes": ["x"]},
        {"sizes": [-1]},
        {"sizes": [10**30]},
        {"count": 3.0},
        {"count": True},
        {"sha256": "../" * 21 + "x"},
        {"sha256": None},
        {"encoding": 5},
        {"encoding": None},  # bytes, but not 256 of them
        {"encoding": None, "symbols": list(range(1, 257))},
        {"more": 1},
        {"newlines": "crlf"},
        {"normalize": "nfd"},
        {"min_count": 0},
        {"between": "ab"},
        {"found": {"crlf": -1}},
        {"found": {"rare": [[97, 1]] * 99}},
        {"found": {"rare": [[-1, 1]]}},
    ],
)
def test_a_header_is_not_trusted(tmp_path, change):
    path = tmp_path / "t"
    sealed(path, HEADER, b"\0\1\0")
    assert len(cache.read(path, silent).tokens) == 3
    sealed(path, HEADER | change, b"\0\1\0")
    with pytest.raises(RunError, match="damaged"):
        cache.read(path, silent)


def test_a_file_of_version_0_1_is_of_a_text_that_was_left_as_it_was(tmp_path):
    header = HEADER | {"format": "charrnn tokens 1"}
    sealed(tmp_path / "t", header, b"\0\1\0")
    reading = cache.read(tmp_path / "t", silent).origin.reading
    assert reading == Reading("utf-8", "keep", "none", 1, between="")


@pytest.mark.parametrize(
    "blob", [b"[" * 2**21, b" " * 2**21 + b"\n", b'{"format": "' + b"1" * 2**21 + b'"}\n']
)
def test_a_header_of_megabytes_is_not_parsed(tmp_path, monkeypatch, blob):
    monkeypatch.setattr(cache.Header, "model_validate_json", lambda line: pytest.fail("parsed"))
    (tmp_path / "t").write_bytes(blob)
    with pytest.raises(RunError, match=r"damaged: not a whole file of an encoded text$"):
        cache.read(tmp_path / "t", silent)


def test_the_ids_of_a_text_that_is_not_wanted_are_not_read(file):
    def progress(what, total):
        pytest.fail("the ids are read")

    with pytest.raises(RunError, match="another text"):
        cache.read(file, progress, lambda origin: origin.reading.encoding is None)
    with file.open("r+b") as content:
        content.truncate(2**40)  # with holes: it takes no room
    with pytest.raises(RunError, match="damaged"):
        cache.read(file, progress)


def test_files_of_writers_that_were_killed_are_removed_and_nothing_else(file):
    old = file.parent / f".tokens.bin.{'1' * 32}.new"
    others = [file.parent / name for name in (".tokens.bin.mine.new", f".other.bin.{'1' * 32}.new", "a.new")]
    for path in (old, *others):
        path.touch()
        os.utime(path, (0, 0))
    new = file.parent / f".tokens.bin.{'2' * 32}.new"
    new.touch()
    cache.write(file, ORIGIN, VOCABULARY, [IDS], 5)
    assert sorted(file.parent.iterdir()) == sorted([file, new, *others])


def test_ids_are_not_trusted(tmp_path):
    sealed(tmp_path / "t", HEADER, b"\0\1\2")
    with pytest.raises(RunError, match="damaged"):
        cache.read(tmp_path / "t", silent)


@given(st.binary() | st.recursive(st.none() | st.integers(), st.lists).map(lambda x: json.dumps(x).encode()))
def test_no_file_makes_a_traceback(tmp_path_factory, blob):
    path = tmp_path_factory.mktemp("any") / "tokens.bin"
    path.write_bytes(blob + b"\n" + hashlib.sha256(blob).digest())
    with pytest.raises(RunError, match="damaged"):
        cache.read(path, silent)


def test_a_file_that_is_missing(tmp_path):
    with pytest.raises(RunError, match="No such file"):
        cache.read(tmp_path / "t", silent)


def test_a_write_that_fails_leaves_nothing(tmp_path):
    def ids():
        yield IDS
        raise OSError(28, "No space left on device")

    with pytest.raises(RunError, match="No space left"):
        cache.write(tmp_path / "t", ORIGIN, VOCABULARY, ids(), 5)
    assert list(tmp_path.iterdir()) == []
