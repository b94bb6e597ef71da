"""Features of a text: what a unit of the network may turn out to follow, one number a character.

A feature is taken after its character has been read, as the activation is: an opening quotation mark stands
inside its quotation, the closing one does not. A position is log(1 + k), k characters after a boundary.

Each feature is of one kind:

    remembers   needs more than the character just read: quotations, brackets, positions, times
    reads       is a property of the character just read: capitals, digits, vowels, spaces
    expects     is a property of the character after it
"""

import re
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Literal

import numpy as np

from charrnn.layers import Array

Kind = Literal["remembers", "reads", "expects"]

CLOSERS = {"“": "”", "«": "»", "„": "“"}  # of marks that differ from the one that opens
BRACKETS = {")": "(", "]": "[", "}": "{"}
BLANK_LINE = r"(?<=\n)[ \t\r]*\n"
BOUNDARIES = {
    "word": r"\s",
    "line": r"\n",
    "paragraph": BLANK_LINE,
    "document": rf"{BLANK_LINE}[ \t\r]*\n|\f",  # two blank lines or more
}
CLASSES: dict[str, tuple[str, str, Callable[[str], bool]]] = {  # words for many and for one; which belong
    "capitals": ("capital letters", "a capital letter", str.isupper),
    "digits": ("digits", "a digit", str.isdigit),
    "vowels": ("vowels", "a vowel", lambda letter: letter.lower() in "aeiouäöüàáâèéêìíîòóôùúû"),
    "spaces": ("spaces", "white space", str.isspace),
}
HASH_COMMENT = r"#[^\n]*\n?"
SLASH_COMMENT = r"//[^\n]*\n?|/\*[\s\S]*?(?:\*/|\Z)"
STRING = "|".join(
    [rf"{mark}[\s\S]*?(?:{mark}|\Z)" for mark in ('"""', "'''")]
    + [rf"{mark}(?:\\.|[^{mark}\\\n])*(?:{mark}|\n|\Z)" for mark in ('"', "'")]
)
CODE = frozenset("()[]{}<>=;_#/\\*+&|")
CODE_SHARE = 0.05  # of such marks among the visible characters, from which on a text is taken for code
FREQUENT = 0.005  # the share of a text from which on a character has features of its own
LARGEST = 24  # the most characters that have
NAMES = {" ": "a space", "\n": "a line end", "\t": "a tab", "\r": "a carriage return"}


@dataclass(frozen=True)
class Feature:
    """A number for each character of a text.

    Attributes:
        name: a word for flags and links, such as quotes.
        words: what a unit does that follows it, such as "follows quotation marks".
        kind: what it takes to follow it.
        values: (n,) float32, not all equal.
    """

    name: str
    words: str
    kind: Kind
    values: Array


def features(text: str) -> list[Feature]:
    """The features of a text of n characters; those that are the same throughout are left out."""
    n, found = len(text), list[Feature]()

    def add(name: str, words: str, kind: Kind, values: Array) -> None:
        if n and values.min() != values.max():
            found.append(Feature(name, words, kind, values.astype(np.float32)))

    depth = bracket_depth(text)
    add("quotes", "follows quotation marks", "remembers", inside_quotes(text))
    add("brackets", "follows brackets", "remembers", depth > 0)
    if n and depth.max() > 1:
        add("depth", "follows the depth of brackets", "remembers", depth)
    if is_code(text):
        comment, string = comments_and_strings(text)
        add("comments", "follows comments", "remembers", comment)
        add("strings", "follows strings", "remembers", string)
    for name, pattern in BOUNDARIES.items():
        ends = (match.end() - 1 for match in re.finditer(pattern, text))
        add(name, f"follows the position in the {name}", "remembers", np.log1p(steps_since(ends, n)))
    for name, (many, one, belongs) in CLASSES.items():
        values = members(text, belongs)
        add(name, f"follows {many}", "reads", values)
        add(f"next-{name}", f"expects {one}", "expects", ahead(values))
    for character, count in Counter(text).most_common(LARGEST):
        if count >= FREQUENT * n:
            values, mark = members(text, character.__eq__), NAMES.get(character, f"‘{character}’")
            since = np.log1p(steps_since(np.flatnonzero(values), n))
            add(f"since-{character}", f"follows the time since {mark}", "remembers", since)
            add(f"next-{character}", f"expects {mark}", "expects", ahead(values))
    return found


def inside_quotes(text: str) -> Array:
    """Whether each character stands in a quotation (n,); one ends with its paragraph at the latest."""
    inside, closer = np.zeros(len(text), bool), ""
    blank = {match.end() - 1 for match in re.finditer(BLANK_LINE, text)}
    for i, character in enumerate(text):
        if i in blank or character == closer:
            closer = ""
        elif not closer:
            closer = '"' if character == '"' else CLOSERS.get(character, "")
        inside[i] = closer != ""
    return inside


def bracket_depth(text: str) -> Array:
    """How many brackets are open after each character (n,).

    A closing bracket without its opening one counts for nothing, and one that is closed closes those inside
    it. A blank line closes all but braces: no bracket of a sentence outlives its paragraph.
    """
    depth, stack = np.zeros(len(text), np.int64), list[str]()
    blank = {match.end() - 1 for match in re.finditer(BLANK_LINE, text)}
    for i, character in enumerate(text):
        if character in "([{":
            stack.append(character)
        elif BRACKETS.get(character) in stack:
            while stack.pop() != BRACKETS[character]:
                pass
        elif i in blank:
            stack = [bracket for bracket in stack if bracket == "{"]
        depth[i] = len(stack)
    return depth


def is_code(text: str) -> bool:
    """Whether a text is taken for a program, by the share of marks that programs are full of."""
    visible = [character for character in text if not character.isspace()]
    return sum(character in CODE for character in visible) > CODE_SHARE * len(visible)


def comments_and_strings(code: str) -> tuple[Array, Array]:
    """Whether each character stands in a comment (n,), and whether it stands in a string (n,).

    Comments begin with ``#`` in a text that has more of those than of ``//`` and ``/*``; else with these two.
    """
    hashes = code.count("#") > code.count("//") + code.count("/*")
    syntax = re.compile(f"(?P<comment>{HASH_COMMENT if hashes else SLASH_COMMENT})|{STRING}")
    comment, string = np.zeros(len(code), bool), np.zeros(len(code), bool)
    for match in syntax.finditer(code):
        (comment if match["comment"] else string)[match.start() : match.end() - 1] = True
    return comment, string


def steps_since(places: Iterable[int], n: int) -> Array:
    """How many characters ago the last of some places was (n,), 0 at each; before the first, the start."""
    last = np.zeros(n, np.int64)
    at = np.fromiter(places, np.int64)
    last[at] = at
    return np.arange(n) - np.maximum.accumulate(last)


def members(text: str, belongs: Callable[[str], bool]) -> Array:
    """Which characters belong (n,), by a function that is called once for each distinct one."""
    chosen = {character for character in set(text) if belongs(character)}
    return np.fromiter((character in chosen for character in text), bool, len(text))


def ahead(values: Array) -> Array:
    """The values (n,) one character further on; after the last one it stays as it is."""
    return np.append(values[1:], values[-1:])
