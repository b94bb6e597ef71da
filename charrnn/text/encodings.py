"""Encodings: from bytes to characters, and what bytes look like that are not in the encoding named.

A file that begins with the mark of an encoding is read as that, whatever else was said of it. What is no text
(a PDF, a zip …) is named by its first bytes. Both guess nothing: a guess is made only for the message of an
error, as to which encoding might have been meant.
"""

import codecs
import re
import sys
from collections.abc import Iterable, Iterator
from contextlib import suppress
from itertools import chain

from charrnn.errors import ConfigError, TextError

BYTE_ORDER_MARK = "\ufeff"
MARKS = {  # the longer first: that of UTF-32 begins as that of UTF-16 does
    codecs.BOM_UTF32_LE: "utf-32-le",
    codecs.BOM_UTF32_BE: "utf-32-be",
    codecs.BOM_UTF8: "utf-8",
    codecs.BOM_UTF16_LE: "utf-16-le",
    codecs.BOM_UTF16_BE: "utf-16-be",
}
HOST_NAMES = "idna", "punycode"  # codecs for short names, whose time grows with the square of a text's length
HEAD = 4096  # bytes that are looked at
NO_TEXT = {  # what is no text, by its first bytes; the more special before the general
    rb"%PDF-": "a PDF document",
    rb"PK\x03\x04.{26}mimetypeapplication/epub": "an EPUB book",
    rb"PK\x03\x04.{26}mimetypeapplication/vnd.oasis.opendocument.text": "an OpenDocument text (.odt)",
    rb"PK\x03\x04.{26}mimetypeapplication/vnd.oasis": "an OpenDocument file",
    rb"PK\x03\x04.*[^\w]word/": "a Word document (.docx)",
    rb"PK\x03\x04.*[^\w]xl/": "an Excel workbook (.xlsx)",
    rb"PK\x03\x04.*[^\w]ppt/": "a PowerPoint presentation (.pptx)",
    rb"PK(\x03\x04|\x05\x06)": "a zip archive",
    rb"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1": "a document of an old Microsoft Office (.doc, .xls)",
    rb"\{\\rtf": "an RTF document",
    rb"Rar!\x1a\x07": "a RAR archive",
    rb"7z\xbc\xaf\x27\x1c": "a 7z archive",
    rb"\x28\xb5\x2f\xfd": "a file compressed with zstd, which is not decompressed here",
    rb"\x04\x22\x4d\x18": "a file compressed with lz4, which is not decompressed here",
    rb"\x1f\x9d": "a file compressed with compress, which is not decompressed here",
    rb".{257}ustar": "a tar archive",
    rb"\x89PNG\r\n\x1a\n|\xff\xd8\xff|GIF8[79]a[^\n]*\0": "a picture",
    rb"ID3[\2-\4]\0|OggS\0|fLaC\0|RIFF....(WAVE|AVI )|\0\0\0.ftyp": "a recording",
    rb"SQLite format 3\0": "an SQLite database",
    rb"PAR1[^\n]*\0": "a Parquet file",
    rb"\x89HDF\r\n": "an HDF5 file",
    rb"\x93NUMPY": "a NumPy array",
    rb"\x7fELF|MZ[^\n]{1,60}\0": "a program",
}


def check_encoding(encoding: str) -> str:
    """Find the codec's own name for an encoding of text."""
    try:
        codecs.getincrementaldecoder(encoding)
        name = codecs.lookup(encoding).name
        if name in HOST_NAMES:
            raise LookupError
        with suppress(UnicodeError):
            b"a".decode(encoding)  # a codec from bytes to bytes refuses
    except (LookupError, ValueError):
        raise ConfigError(
            f"`encoding`: {encoding!r:.200} is not a text encoding; try utf-8, utf-16, latin-1 or cp1252"
        ) from None
    return name


def decode(blob: bytes, encoding: str, where: str) -> str:
    """Decode ``blob``, which errors call ``where``; the mark of an encoding at its start is dropped."""
    return "".join(decode_pieces([blob], encoding, where))


def decode_pieces(
    pieces: Iterable[bytes], encoding: str, where: str, remarks: list[str] | None = None
) -> Iterator[str]:
    """Decode the pieces of a file; a character may begin in one and end in the next.

    Arguments:
        encoding: of the file, if it does not begin with the mark of another.
        where: its name in errors, which say at which byte of the whole.
        remarks: is given what is worth knowing about the file.

    Raises:
        TextError: it is no text, or not in that encoding; the message says what it looks like.
    """
    codec, remarks = check_encoding(encoding), [] if remarks is None else remarks
    head, pieces = head_of(iter(pieces))
    mark = next((mark for mark in MARKS if head.startswith(mark)), b"")
    if mark:
        codec = encoding = MARKS[mark]
        remarks.append(f"begins with the mark of {codec.upper()}, is read as that, and the mark is dropped")
    else:
        must_be_text(head, codec, encoding, where)
        if is_single(codec) and is_utf8(head):
            remarks.append(f"is read as {encoding}, but its bytes look like UTF-8")
        if codec in ("utf-16", "utf-32"):  # this machine's order, as bytes.decode has it
            codec += "-le" if sys.byteorder == "little" else "-be"
    decoder, end, begun = codecs.getincrementaldecoder(codec)(), len(mark), bool(mark)
    try:
        for piece in chain([head[len(mark) :]], pieces, [b""]):
            end += len(piece)
            text = decoder.decode(piece, final=not piece)
            if text and not begun and text.startswith(BYTE_ORDER_MARK):  # in GB 18030, for example
                text = text.removeprefix(BYTE_ORDER_MARK)
                remarks.append(f"begins with a byte-order mark in {encoding}, which is dropped")
            begun = begun or bool(text)
            yield text
    except UnicodeDecodeError as error:  # error.object may begin before the piece; it ends with it
        offset = end - len(error.object) + error.start
        byte = "".join(f" 0x{byte:02x}" for byte in error.object[error.start : error.start + 1])
        reason = f"byte{byte} at offset {offset:,} ({error.reason})"
        raise not_in(encoding, where, reason, None if mark else likely_encoding(error.object)) from None
    except UnicodeError as error:
        raise not_in(encoding, where, str(error)) from None


def not_in(encoding: str, where: str, reason: str, likely: str | None = None) -> TextError:
    """Make the error of a file that is not in an encoding, but in another, as is likely."""
    guess = f"It looks like {likely}; name" if likely else "Name"
    return TextError(f"{where}: not {encoding}: {reason}. {guess} the text's `encoding`, or use `bytes`")


def is_single(codec: str) -> bool:
    """Whether each byte is a character of its own."""
    return len(b"\xc3\xa9".decode(codec, "replace")) == 2


def head_of(pieces: Iterator[bytes]) -> tuple[bytes, Iterator[bytes]]:
    """The beginning of a file, at least ``HEAD`` bytes if it has them, and the pieces after it."""
    head = b""
    while len(head) < HEAD and (piece := next(pieces, b"")):
        head += piece
    return head, (piece for piece in pieces if piece)


def must_be_text(head: bytes, codec: str, encoding: str, where: str) -> None:
    """Refuse a file that is no text, or is UTF-16 or UTF-32 and neither marked nor to be read as that."""
    for magic, name in NO_TEXT.items():
        if re.match(magic, head[:HEAD], re.DOTALL):
            raise TextError(f"{where}: is {name}, not a text. Give the text in it; `bytes` reads any file")
    wide = wide_encoding(head[:HEAD])
    if wide and not codec.startswith(("utf-16", "utf-32", "utf_16", "utf_32")):
        raise TextError(
            f"{where}: not {encoding}: its NULs stand as in {wide}. Give `encoding` {wide}, or `bytes`"
        )


WIDE = {  # which of four bytes are NUL in a text that is mostly ASCII
    "utf-32-le": (1, 2, 3),
    "utf-32-be": (0, 1, 2),
    "utf-16-le": (1, 3),
    "utf-16-be": (0, 2),
}


def wide_encoding(head: bytes) -> str | None:
    """UTF-16 or UTF-32 without a mark, told by where its NULs stand in a text that is mostly ASCII."""
    if len(head) < 8:
        return None
    nuls = [head[i::4].count(0) / len(head[i::4]) for i in range(4)]
    for name, places in WIDE.items():
        if all(nuls[i] > 0.6 if i in places else nuls[i] < 0.1 for i in range(4)):
            return name
    return None


def is_utf8(blob: bytes) -> bool:
    """Whether the beginning of a file has characters beyond ASCII, and all of it is UTF-8."""
    try:
        return not blob.isascii() and bool(codecs.getincrementaldecoder("utf-8")().decode(blob))
    except UnicodeDecodeError:
        return False


# How often letters are among the characters beyond ASCII of a text, by its encoding: by what they must match,
# and how large a part of them. A text in another encoding hardly ever does.
LIKELY = {
    "shift_jis": (r"[\u3040-\u30ff]", 0.2),
    "euc-jp": (r"[\u3040-\u30ff]", 0.2),
    "euc-kr": (r"[\uac00-\ud7a3]", 0.8),
    "big5": (r"[的一是不了在人有我他這個們中來上大為和國]", 0.05),
    "gb18030": (r"[的一是不了在人有我他这个们中来上大为和国]", 0.05),
    "cp1251": (r"[а-яё]", 0.6),
    "koi8-r": (r"[а-яё]", 0.6),
    "cp866": (r"[а-яё]", 0.6),
}


def likely_encoding(blob: bytes) -> str | None:
    """Guess the encoding of bytes that are not in the one that was named; None if they may be anything."""
    if is_utf8(blob):
        return "utf-8"
    if wide := wide_encoding(blob):
        return wide
    if re.search(rb"[\0-\x08\x0e-\x1a\x1c-\x1f]", blob):
        return None  # no text at all, as it seems
    for encoding, (letters, part) in LIKELY.items():
        with suppress(UnicodeDecodeError):
            text = codecs.getincrementaldecoder(encoding)().decode(blob)
            beyond = re.sub(r"[\0-\x7f]", "", text)
            if len(beyond) > len(text) / 5 and len(re.findall(letters, beyond)) >= part * len(beyond):
                return encoding
    if re.search(rb"[\x80-\x9f]", blob):
        return None if re.search(rb"[\x81\x8d\x8f\x90\x9d]", blob) else "cp1252"
    return "latin-1"
