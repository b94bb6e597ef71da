"""What the bytes of a file are: the marks of encodings, files that are no text, and wrong encodings."""

import codecs
import gzip
import io
import itertools
import tarfile
import zipfile

import pytest

from charrnn.errors import TextError
from charrnn.text.corpus import Corpus
from charrnn.text.encodings import decode, decode_pieces

TEXT = "naïve hen, naïve fox\n"
MARKED = {
    "utf-8": codecs.BOM_UTF8,
    "utf-16-le": codecs.BOM_UTF16_LE,
    "utf-16-be": codecs.BOM_UTF16_BE,
    "utf-32-le": codecs.BOM_UTF32_LE,
    "utf-32-be": codecs.BOM_UTF32_BE,
}


@pytest.mark.parametrize("named", ["utf-8", "latin-1", "utf-16-be", "shift_jis"])
@pytest.mark.parametrize("encoding", MARKED)
def test_a_mark_says_the_encoding_of_its_file_whatever_was_said_of_the_rest(tmp_path, encoding, named):
    (tmp_path / "b.txt").write_bytes(MARKED[encoding] + TEXT.encode(encoding))
    plain = "plain 寒\n" if named == "shift_jis" else "plain ø\n"
    (tmp_path / "a.txt").write_bytes(plain.encode(named))
    corpus = Corpus.from_files(tmp_path, encoding=named)
    assert corpus.vocabulary.decode(corpus.tokens) == plain + TEXT
    (note,) = corpus.notes
    assert f"b.txt: begins with the mark of {encoding.upper()}, is read as that" in note


@pytest.mark.parametrize("size", [1, 2, 3, 5])
def test_a_mark_may_be_cut_by_the_end_of_a_piece(size):
    for encoding, mark in MARKED.items():
        blob = mark + "ab".encode(encoding)
        pieces = [blob[i : i + size] for i in range(0, len(blob), size)]
        assert "".join(decode_pieces(pieces, "utf-8", "a")) == "ab"


def test_each_mark_is_dropped_once_and_those_inside_are_kept_and_told(tmp_path):
    (tmp_path / "a.txt").write_text("\ufeffab\ufeff\ufeffc", "utf-8")
    (tmp_path / "b.txt").write_text("\ufeff\ufeffd", "utf-8")
    (tmp_path / "c.txt").write_text("\ufeff", "utf-8")
    corpus = Corpus.from_files(tmp_path)
    assert corpus.vocabulary.decode(corpus.tokens) == "ab\ufeff\ufeffc\n\ufeffd"
    assert "a.txt and 2 more: begins with the mark" in corpus.notes[0]
    assert "3 byte-order marks (U+FEFF) inside the text, kept" in corpus.notes[0]
    with pytest.raises(TextError, match="the text is empty"):
        Corpus.from_files(tmp_path / "c.txt")


def test_a_mark_in_a_compressed_file_and_in_an_encoding_without_one_of_its_own(tmp_path):
    (tmp_path / "a.txt.gz").write_bytes(gzip.compress(codecs.BOM_UTF16_LE + TEXT.encode("utf-16-le")))
    assert Corpus.from_files(tmp_path / "a.txt.gz").vocabulary == Corpus.from_text(TEXT).vocabulary
    remarks = []
    pieces = decode_pieces(["\ufeff寒".encode("gb18030")], "gb18030", "a", remarks)
    assert "".join(pieces) == "寒"
    assert "byte-order mark in gb18030, which is dropped" in remarks[0]


def test_bytes_are_as_they_are(tmp_path):
    blob = codecs.BOM_UTF8 + b"a\r\nb\rc\0d\0%PDF"
    for name in ("1", "2"):
        (tmp_path / name).write_bytes(blob)
    corpus = Corpus.from_files(tmp_path / "1", tmp_path / "2", bytes=True)
    assert corpus.tokens.tobytes() == blob * 2
    assert corpus.notes == ()


# -- no text ----------------------------------------------------------------------------------------


def zipped(*names):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name in names:
            content = "application/epub+zip" if name == "mimetype" else "<xml/>"
            archive.writestr(name, content)
    return file.getvalue()


def tar():
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as archive:
        archive.addfile(tarfile.TarInfo("a.txt"))
    return file.getvalue()


NO_TEXT = {
    "a PDF document": b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n",
    "a Word document": zipped("[Content_Types].xml", "_rels/.rels", "word/document.xml"),
    "an Excel workbook": zipped("[Content_Types].xml", "xl/workbook.xml"),
    "an EPUB book": zipped("mimetype", "META-INF/container.xml"),
    "a zip archive": zipped("words.txt"),
    "an RTF document": b"{\\rtf1\\ansi hello}",
    "a document of an old Microsoft Office": b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(500),
    "a picture": b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR",
    "a tar archive": tar(),
    "an SQLite database": b"SQLite format 3\0\x10\0",
    "a Parquet file": b"PAR1\x15\0\x15",
    "a file compressed with zstd": b"\x28\xb5\x2f\xfd\x04\0",
    "a 7z archive": b"7z\xbc\xaf\x27\x1c\0\4",
    "a program": b"\x7fELF\2\1\1",
}


@pytest.mark.parametrize("kind", NO_TEXT)
def test_a_file_that_is_no_text_is_named_as_what_it_is(tmp_path, kind):
    path = tmp_path / "a.txt"
    for blob in (NO_TEXT[kind], gzip.compress(NO_TEXT[kind])):
        path.write_bytes(blob)
        for encoding in ("utf-8", "latin-1"):
            with pytest.raises(TextError, match=rf"a.txt: is {kind}.*, not a text\. .*`bytes`"):
                Corpus.from_files(path, encoding=encoding)
        assert len(Corpus.from_files(path, bytes=True)) == len(NO_TEXT[kind])


@pytest.mark.parametrize(
    "text", ["PAR1 is a name\n", "GIF89a is a form\n", "MZ wrote this\n", "RIFF of the band\n"]
)
def test_a_text_that_begins_like_one_of_those_is_a_text(text):
    assert decode(text.encode(), "utf-8", "a") == text


# -- another encoding -------------------------------------------------------------------------------

RUSSIAN = "Все счастливые семьи похожи друг на друга. " * 3
CHINESE = "道可道,非常道。名可名,非常名。的人在我們中來上大為" * 3
SAMPLES = {
    "utf-16-le": "The quick brown fox.\n",
    "utf-16-be": "The quick brown fox.\n",
    "utf-32-le": "The quick brown fox.\n",
    "utf-32-be": "The quick brown fox.\n",
    "cp1252": "“Naïve,” said the fox…",
    "latin-1": "naïve café",
    "cp1251": RUSSIAN,
    "koi8-r": RUSSIAN,
    "cp866": RUSSIAN,
    "shift_jis": "吾輩は猫である。名前はまだ無い。" * 3,
    "euc-jp": "吾輩は猫である。名前はまだ無い。" * 3,
    "euc-kr": "나는 고양이로소이다. 이름은 아직 없다. " * 3,
    "big5": CHINESE,
    "gb18030": "道可道,非常道。名可名,非常名。的人在我们中来上大为" * 3,
}


@pytest.mark.parametrize("encoding", SAMPLES)
def test_an_error_says_which_encoding_it_looks_like_and_that_reads_it(tmp_path, encoding):
    path, text = tmp_path / "a.txt", SAMPLES[encoding]
    path.write_bytes(text.encode(encoding))
    with pytest.raises(TextError, match=rf"a.txt: not utf-8: .*{encoding}.*`encoding`.*`bytes`"):
        Corpus.from_files(path)
    corpus = Corpus.from_files(path, encoding=encoding)
    assert corpus.vocabulary.decode(corpus.tokens) == text


def test_utf8_in_another_encoding_is_told(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text(TEXT, "utf-8")
    (note,) = Corpus.from_files(path, encoding="latin-1").notes
    assert "a.txt: is read as iso8859-1, but its bytes look like UTF-8" in note
    with pytest.raises(TextError, match=r"not ascii: .*looks like utf-8"):
        Corpus.from_files(path, encoding="ascii")
    path.write_bytes(TEXT.encode("latin-1"))
    assert Corpus.from_files(path, encoding="latin-1").notes == ()


def test_what_looks_like_nothing_gets_no_guess():
    blob = bytes(itertools.islice(itertools.cycle(range(250, 0, -1)), 3000))
    with pytest.raises(TextError, match=r"not utf-8: byte 0xfa at offset 0 .*\. Name the text's `encoding`"):
        decode(blob, "utf-8", "a")


def test_a_few_nuls_are_characters():
    assert decode(b"one\0two\0three", "utf-8", "a") == "one\0two\0three"
