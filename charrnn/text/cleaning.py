"""Cleaning: line ends and Unicode forms of a text that is read in pieces, and what was found in it.

A piece is held back as long as what comes next could change it: a CR until it is known whether an LF follows,
the last letter until no accent can. So the pieces, joined, are the whole text cleaned.
"""

import unicodedata
from collections.abc import Callable, Iterable, Iterator
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

SHOWN = 12  # rare characters that are named
RARE = 3  # a character that occurs less often is rare


Count = Annotated[int, Field(ge=0, lt=2**63)]
Counted = tuple[Annotated[int, Field(ge=0, le=0x10FFFF)], Count]  # a code point


class Found(BaseModel):
    """What was found in a text, and done with it, as told to the user.

    Attributes:
        files: how many it was read from.
        lines: line ends.
        crlf, cr: line ends that are CR LF, or CR alone.
        composed, decomposed: whether there are letters with accents as one character, and as several.
        normalised: whether the Unicode form of anything was changed.
        rare: characters (code points) that occur less than three times with their counts, the first of them.
        num_rare: how many there are.
        dropped: characters left out of the text with their counts, the first of them.
        num_dropped: how many characters and how many distinct ones.
        unknown: whether they were left out because a vocabulary given lacks them, or else because they
            occur less than ``min_count`` times.
        ended: files whose last document did not end with the separator, which was added.
        cuts: where the files that are parts of their own begin, counted in characters of the text.
        marks_within: byte-order marks that do not begin a file; they stay.
        remarks: on files: the first one's name, and how many there are.
    """

    model_config = ConfigDict(strict=True, extra="forbid")

    files: Count = 0
    lines: Count = 0
    crlf: Count = 0
    cr: Count = 0
    marks_within: Count = 0
    composed: bool = False
    decomposed: bool = False
    normalised: bool = False
    rare: list[Counted] = Field(default=[], max_length=SHOWN)
    num_rare: Count = 0
    dropped: list[Counted] = Field(default=[], max_length=SHOWN)
    num_dropped: tuple[Count, Count] = (0, 0)
    unknown: bool = False
    ended: Count = 0
    cuts: tuple[Count, ...] = Field(default=(), max_length=2)
    remarks: dict[str, tuple[str, Count]] = Field(default={}, max_length=100)

    def remark(self, text: str, file: str) -> None:
        """Add a remark on a file."""
        first, count = self.remarks.get(text, (file, 0))
        self.remarks[text] = first, count + 1


def clean(texts: Iterable[str], newlines: str, form: str, found: Found) -> Iterator[str]:
    """Clean the pieces of a file, and count what is in them.

    Arguments:
        newlines: ``lf`` makes an LF of every line end, ``keep`` leaves them.
        form: ``none``, ``nfc`` or ``nfd``: the Unicode form.
        found: is added to.
    """
    return normalised(with_newlines(texts, newlines == "lf", found), form, found)


def with_newlines(texts: Iterable[str], to_lf: bool, found: Found) -> Iterator[str]:
    """Count the line ends CR LF and CR, and make them LF if wanted."""
    for text in held_back(texts, lambda text: len(text) - text.endswith("\r")):
        crlf = text.count("\r\n")
        found.crlf += crlf
        found.cr += text.count("\r") - crlf
        found.marks_within += text.count("\ufeff")
        yield text.replace("\r\n", "\n").replace("\r", "\n") if to_lf else text


def normalised(texts: Iterable[str], form: str, found: Found) -> Iterator[str]:
    """Note in which forms letters with accents are written, and bring them into one if wanted."""
    for text in held_back(texts, last_boundary):
        if not text.isascii():
            nfc = unicodedata.is_normalized("NFC", text)
            found.composed |= not unicodedata.is_normalized("NFD", text)
            found.decomposed |= not nfc
            if form != "none":
                other = in_form(text, form)
                found.normalised |= other != text
                text = other  # noqa: PLW2901
        yield text


def in_form(text: str, form: str) -> str:
    """Bring a text into the Unicode form ``nfc`` or ``nfd``."""
    return unicodedata.normalize("NFC" if form == "nfc" else "NFD", text)


def held_back(texts: Iterable[str], safe: Callable[[str], int]) -> Iterator[str]:
    """Cut pieces elsewhere: after ``safe(text)`` characters of each, the others to be seen with the next."""
    held = ""
    for piece in texts:
        text = held + piece
        end = safe(text)
        held = text[end:]
        if end:
            yield text[:end]
    if held:
        yield held


def last_boundary(text: str) -> int:
    """The last place in a text that no character after it can be joined across."""
    end = len(text) - 1
    while end > 0 and joins(text[end]):
        end -= 1
    return max(end, 0)


def joins(character: str) -> bool:
    """Whether a character may become one with that before it: marks, medial and final jamo, and one vowel."""
    return (
        unicodedata.category(character).startswith("M")
        or "\u1160" <= character <= "\u11ff"
        or character == "\U00016d67"
    )


def form_of(characters: str) -> str:
    """The Unicode form of a vocabulary: ``nfc`` or ``nfd`` if it has letters with accents in one only."""
    nfc, nfd = (all(unicodedata.is_normalized(form, c) for c in characters) for form in ("NFC", "NFD"))
    marks = any(joins(character) for character in characters)
    return "nfc" if nfc and not nfd and not marks else "nfd" if nfd and marks else "none"


# -- in words ---------------------------------------------------------------------------------------


def in_words(found: Found, newlines: str, min_count: int) -> list[str]:
    """What is worth telling of a text: what is in it that may surprise, and what was changed."""
    ends = [f"{count:,} {name}" for name, count in (("CR LF", found.crlf), ("CR alone", found.cr)) if count]
    notes = []
    for remark, (file, count) in found.remarks.items():
        notes.append(f"{file}{f' and {count - 1:,} more' if count > 1 else ''}: {remark}")
    if ends:
        does = "made LF (`newlines`)" if newlines == "lf" else "kept, beside any LF (`newlines`)"
        notes.append(f"line ends: {' and '.join(ends)}, {does}")
    if found.ended:
        files = "the last document" if found.ended == 1 else f"the last documents of {found.ended:,} files"
        notes.append(f"{files} did not end with the separator, which was added (`documents`)")
    if found.marks_within:
        notes.append(f"{found.marks_within:,} byte-order marks (U+FEFF) inside the text, kept")
    if found.normalised:
        notes.append("letters with accents brought into one form, NFC (`normalize`)")
    elif found.composed and found.decomposed:
        notes.append(
            "letters with accents in two forms, NFC and NFD, kept apart: `normalize` nfc makes them one"
        )
    if found.num_dropped[1]:
        count, distinct = found.num_dropped
        why = "the vocabulary lacks" if found.unknown else f"occur less than {min_count} times"
        notes.append(
            f"{count:,} characters dropped, {distinct:,} distinct, which {why}: "
            + listed(found.dropped, distinct)
        )
    return notes


def listed(characters: list[tuple[int, int]], num: int) -> str:
    """Characters with their counts."""
    names = [f"{chr(point)!r} (U+{point:04X}) {count}" for point, count in characters]
    return ", ".join(names) + (f" and {num - len(names):,} more" if num > len(names) else "")
