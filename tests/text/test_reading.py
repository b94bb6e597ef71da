import bz2
import gzip
import lzma
import os

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from charrnn.errors import AnotherTextError, ConfigError, RunError, TextError
from charrnn.text import reading
from charrnn.text.encodings import check_encoding, decode_pieces
from charrnn.text.reading import Spool, Tally, code_points, corpus_name, files_in, read_pieces

PACKED = {".gz": gzip.compress, ".bz2": bz2.compress, ".xz": lzma.compress}
MIXED = "\ufeffa\r\né寒\r𝄞\n\ufeffz"  # of one, two, three and four bytes; marks and line ends stay


def in_pieces(blob, size):
    return [blob[i : i + size] for i in range(0, len(blob), size)]


@pytest.mark.parametrize("size", range(1, 12))
@pytest.mark.parametrize(
    "encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-be", "utf-32", "utf-7", "gb18030"]
)
def test_a_character_may_be_cut_by_the_end_of_a_piece(encoding, size):
    blob = MIXED.encode(encoding)
    text = MIXED if encoding in ("utf-16", "utf-32", "utf-8-sig") else MIXED[1:]  # which write one mark more
    assert "".join(decode_pieces(in_pieces(blob, size), encoding, "a")) == text


@given(
    st.binary(max_size=40),
    st.integers(1, 9),
    st.sampled_from(["utf-8", "utf-16", "utf-32", "ascii", "cp1252"]),
)
@example(b"ab\xe5\xaf", 3, "utf-8")  # the text ends within a character
@example(b"abcdef\xff", 2, "utf-8")
def test_pieces_decode_and_fail_where_the_whole_does(blob, size, encoding):
    def decoded():
        return "".join(decode_pieces(in_pieces(blob, size), encoding, "a.txt"))

    try:
        text = blob.decode(encoding).removeprefix("\ufeff")
    except UnicodeDecodeError as error:
        where = f"byte 0x{blob[error.start]:02x} at offset {error.start:,} "
        with pytest.raises(TextError, match=f"a.txt: not {encoding}: {where}.*`bytes`"):
            decoded()
    else:
        assert decoded() == text


def test_offsets_are_of_the_whole_file(tmp_path):
    path = tmp_path / "a.txt"
    path.write_bytes("é".encode() * 300_000 + b"\xff" + b"a" * 300_000)
    with pytest.raises(TextError, match="offset 600,000"):
        list(decode_pieces(read_pieces(path), "utf-8", "a"))


@pytest.mark.parametrize(
    "encoding", ["klingon", "base64", "rot13", "punycode", "IDNA", "", "a\0b", "\udcff", "../utf-8"]
)
def test_what_is_no_encoding_of_text(encoding):
    with pytest.raises(ConfigError, match="`encoding`"):
        check_encoding(encoding)


@given(st.text(st.characters(exclude_categories=[])))
def test_code_points_are_as_narrow_as_they_can_be(text):
    points = code_points(text)
    assert "".join(map(chr, points)) == text
    largest = max(map(ord, text), default=0)
    assert points.dtype == np.min_scalar_type(largest)


@pytest.mark.parametrize("ending", PACKED)
def test_compressed_files_are_read_as_what_is_in_them(tmp_path, monkeypatch, ending):
    content = bytes(range(256)) * 50
    for size in (1, 100, reading.PIECE):
        monkeypatch.setattr(reading, "PIECE", size)
        for name in ("a.txt" + ending, "a.txt"):  # told by what it begins with
            (tmp_path / name).write_bytes(PACKED[ending](content) * 2)  # such files may be joined
            pieces = list(read_pieces(tmp_path / name))
            assert b"".join(pieces) == content * 2
            assert max(map(len, pieces)) <= size


@pytest.mark.parametrize("ending", PACKED)
def test_compressed_files_that_are_cut_or_damaged_or_something_else(tmp_path, ending):
    path = tmp_path / ("a" + ending)
    whole = PACKED[ending](b"the fox who asked twice was answered once" * 3)
    cuts = [whole[:n] for n in range(1, len(whole))]
    changed = [whole[:n] + bytes([whole[n] ^ 0xFF]) + whole[n + 1 :] for n in range(10, len(whole) - 8)]
    for blob in [*cuts, *changed, b"plain text"]:
        path.write_bytes(blob)
        with pytest.raises(TextError, match=rf"a\{ending}: not a whole \{ending} file: \S"):
            list(read_pieces(path))


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="pipes with names")
def test_names(tmp_path):
    fifo = tmp_path / "63"
    os.mkfifo(fifo)
    assert (
        corpus_name(["/a/book.txt"])
        == corpus_name(["/a/book.txt.gz"])
        == corpus_name(["/a/book.xz"])
        == "book"
    )
    assert corpus_name(["-"]) == "stdin"
    assert corpus_name([fifo]) == "stdin"
    assert corpus_name(["-", "/a/book.txt"]) == "book"


@given(st.lists(st.text()), st.sampled_from([0, 10, 10**6]))
def test_a_spool_gives_back_what_it_was_given(texts, in_memory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(reading, "IN_MEMORY", in_memory)
        with Spool(None) as spool:
            for text in texts:
                spool.add(code_points(text))
            for _ in range(2):
                assert ["".join(map(chr, piece)) for piece in spool] == texts
            assert len(spool) == len("".join(texts))
            assert set(map(chr, np.flatnonzero(spool.counts))) == set("".join(texts))


def test_a_spool_in_a_folder_that_is_not_there(tmp_path, monkeypatch):
    monkeypatch.setattr(reading, "IN_MEMORY", 1)
    with Spool(tmp_path / "gone") as spool, pytest.raises(RunError, match=r"gone: .*No such file"):
        spool.add(code_points("abc"))


# -- files of folders -------------------------------------------------------------------------------


@pytest.fixture
def folder(tmp_path):
    for name in ("a.txt", "b.md", "one/c.txt", "one/two/d.txt", "one/.hidden/e.txt", "x/one/f.txt"):
        path = tmp_path / "folder" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return tmp_path / "folder"


@pytest.mark.parametrize(
    "glob",
    [
        "*.txt",
        "*",
        "**/*",
        "**/*.txt",
        "*/*.txt",
        "one/**/*.txt",
        "**/one/*.txt",
        "**/**/d.txt",
        "?.md",
        "[ab].*",
    ],
)
def test_a_pattern_finds_what_pathlib_finds(folder, glob):
    assert set(files_in(folder, glob)) == {path for path in folder.glob(glob) if path.is_file()}


def test_links_to_folders_are_not_followed_and_links_to_files_if_wanted(folder, tmp_path):
    (tmp_path / "outside.txt").touch()
    (folder / "again").symlink_to(folder)
    (folder / "up").symlink_to(tmp_path)
    (folder / "link.txt").symlink_to(tmp_path / "outside.txt")
    (folder / "dangling.txt").symlink_to(tmp_path / "nothing")
    plain = {folder / name for name in ("a.txt", "one/c.txt", "x/one/f.txt")}
    for glob in ("**/*.txt", "*/" * 30 + "*.txt"):
        found = set(files_in(folder, glob))
        assert all(path.is_relative_to(folder) and "again" not in path.parts for path in found)
    assert {folder / "link.txt", *plain} <= set(files_in(folder, "**/*.txt"))
    assert folder / "link.txt" not in set(files_in(folder, "**/*.txt", links=False))


def test_a_pattern_with_many_folders_lists_each_once(tmp_path, monkeypatch):
    deep = tmp_path.joinpath(*["d"] * 30)
    deep.mkdir(parents=True)
    (deep / "a.txt").touch()
    listed = []
    scandir = os.scandir
    monkeypatch.setattr(os, "scandir", lambda path: listed.append(path) or scandir(path))
    assert list(files_in(tmp_path, "**/" * 20 + "*.txt")) == [deep / "a.txt"]
    assert len(listed) == 31


def test_no_more_is_unpacked_than_is_expected(tmp_path):
    bomb = tmp_path / "bomb.gz"
    bomb.write_bytes(gzip.compress(bytes(2**25)))
    tally = Tally(1000)
    with pytest.raises(AnotherTextError, match=r"bomb.gz: more than the 1,000 bytes expected"):
        for _ in tally.pieces(bomb, lambda n: None):
            pass
    assert tally.sizes[0] <= reading.PIECE
