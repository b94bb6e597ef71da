"""A text in shades: for each of its characters, how strongly to colour it.

The shades are of one of three things: the activation of a unit after it has read the character, what the
character cost in nats, or how far the loss at a later character reaches back to it. Terminal and pictures
draw the same ones.
"""

import codecs
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from charrnn.errors import ConfigError
from charrnn.layers import Array
from charrnn.measures.evaluation import losses
from charrnn.model import CharRNN
from charrnn.text.vocabulary import Tokens, Vocabulary
from charrnn.views.reach import cut_share, reach
from charrnn.views.units import Unit, activations

DECADES = 4  # of a reach that are shaded

Kind = Literal["unit", "surprise", "reach"]


@dataclass(frozen=True)
class Shades:
    """A text with a shade for each character.

    Attributes:
        kind: what the shades are of; those of a unit have two signs.
        caption: the same in words.
        characters: (n), as ``glyphs`` makes them of tokens.
        values: (n,) activations, nats, or lengths of gradients; NaN where there is none.
        shades: (n,) −1 to 1, of surprise and reach from 0 on; 0 where there is no value.
        ends: the values at both ends of the scale, to be printed.
    """

    kind: Kind
    caption: str
    characters: list[str]
    values: Array
    shades: Array
    ends: tuple[str, str]


def shades_of_unit(model: CharRNN, tokens: Tokens, unit: Unit) -> Shades:
    """The activation of a unit after each character; the largest one in the text has the full shade."""
    a = activations(model, tokens)[:, unit.number].astype(np.float64)
    most = max(float(np.abs(a).max()), 1e-6)
    ends = f"−{most:.2f}", f"{most:.2f}"
    return Shades("unit", str(unit), glyphs(model.vocabulary, tokens), a, a / most, ends)


def shades_of_surprise(model: CharRNN, tokens: Tokens) -> Shades:
    """What each character cost, in nats; one that a network that knows nothing would expect as much, ln V,
    has the full shade. Nothing predicts the first.
    """
    nats = losses(model, [tokens])[0]
    mean, most = float(nats.mean()) if len(nats) else 0.0, float(np.log(model.V))
    caption = f"what each character cost, {mean:.2f} nats ({mean / np.log(2):.2f} bits) on average"
    shades = np.concatenate([[0.0], np.minimum(nats / most, 1)])
    values = np.concatenate([[np.nan], nats])
    ends = "0", f"{most:.2f} nats or more, ln V"
    return Shades("surprise", caption, glyphs(model.vocabulary, tokens), values, shades, ends)


def shades_of_reach(model: CharRNN, tokens: Tokens, T: int, seq_length: int) -> Shades:
    """How far the loss at character T of a text, from 1 on, reaches back: ‖∂L⟨T⟩/∂a⟨s⟩‖, of an LSTM
    ‖∂L⟨T⟩/∂c⟨s⟩‖, at each earlier character s, in shades of its logarithm. The text ends there.

    Arguments:
        seq_length: the T at which training truncated.

    Raises:
        ConfigError: the text has no such character, or none before it.
    """
    if not 2 <= T <= len(tokens):
        raise ConfigError(
            f"`reach` {T}: the text shown has {len(tokens):,} characters; expected one from the second on"
        )
    x = np.asarray(tokens[: T - 1]).astype(np.intp)[:, np.newaxis]
    found = reach(model, x, np.asarray(tokens[T - 1 : T]).astype(np.intp))
    lengths = np.asarray(found.a if found.c is None else found.c, np.float64)[:, 0]  # (T − 1,)
    most = float(lengths.max())
    with np.errstate(divide="ignore"):
        decades = np.log10(lengths / most) if most else np.full(T - 1, -np.inf)
    shades = np.append(np.clip(1 + decades / DECADES, 0, 1), 0)
    cut = cut_share(lengths[::-1], seq_length)
    state = "a" if found.c is None else "c"
    caption = (
        f"where the loss at character {T}, the last, reaches back to, ‖∂L⟨{T}⟩/∂{state}⟨s⟩‖; "
        f"truncation at T = {seq_length} cuts off {cut:.1%}"
    )
    characters = glyphs(model.vocabulary, tokens[:T])
    values = np.append(lengths, np.nan)
    return Shades("reach", caption, characters, values, shades, (f"{most * 10**-DECADES:.1e}", f"{most:.1e}"))


def glyphs(vocabulary: Vocabulary, tokens: Tokens) -> list[str]:
    """What each token adds to the text: its character; of bytes, the last of a character has all of it, and
    one that belongs to none is escaped, such as ``\\xff``.
    """
    if not vocabulary.is_bytes:
        return list(vocabulary.decode(tokens))
    decoder = codecs.getincrementaldecoder("utf-8")("backslashreplace")
    blob = vocabulary.decode_bytes(tokens)
    return [decoder.decode(blob[i : i + 1], i == len(blob) - 1) for i in range(len(blob))]


def liveliest(shades: Shades, length: int) -> Shades:
    """Of the stretches that begin with a line after a blank one, that of ``length`` characters whose values
    vary most.
    """
    text = shades.characters
    starts = [i for i in range(2, len(text) - length + 1) if text[i - 2 : i] == ["\n", "\n"]]
    start = max([0, *starts], key=lambda i: float(shades.values[i : i + length].var()))
    part = slice(start, start + length)
    return replace(shades, characters=text[part], values=shades.values[part], shades=shades.shades[part])


# -- laid out in lines ------------------------------------------------------------------------------


def lines(characters: Sequence[str], columns: Sequence[int], width: int) -> list[list[int]]:
    """Break a text into lines no wider than ``width``, after a space where there is one.

    Arguments:
        characters: (n).
        columns: (n), how wide each is drawn.

    Returns: the characters of each line, by their indices.
    """
    done, line, taken = list[list[int]](), list[int](), 0
    for i, (character, wide) in enumerate(zip(characters, columns, strict=True)):
        if line and taken + wide > width:
            cut = next((k + 1 for k in reversed(range(len(line))) if characters[line[k]] == " "), len(line))
            done.append(line[:cut])
            line = line[cut:]
            taken = sum(columns[j] for j in line)
        line.append(i)
        taken += wide
        if character == "\n":
            done.append(line)
            line, taken = [], 0
    return [*done, line] if line else done


def columns(text: str) -> int:
    """How many columns a terminal gives a text: two to wide characters, none to what stands on another."""
    marks = ("Mn", "Me", "Cf")
    return sum(
        0 if unicodedata.category(one) in marks else 2 if unicodedata.east_asian_width(one) in "WF" else 1
        for one in text
    )
