"""``charrnn look``: a text in the colours of what a network makes of it."""

import argparse
import json
import os
import shlex
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TextIO

import numpy as np
from pydantic import Field

from charrnn.blas import one_blas_thread
from charrnn.commands.flags import (
    Commands,
    SavedConfig,
    add_command,
    add_json,
    add_run,
    add_settings,
    add_unknown,
    given,
    path,
)
from charrnn.commands.terminal import say, warn, wrapped
from charrnn.commands.texts import dropped_in, encode_given, parts_of_run, read_given
from charrnn.config import Positive, Whole
from charrnn.display import visible, width
from charrnn.errors import ConfigError, RunError, TextError
from charrnn.model import CharRNN
from charrnn.runs import Note, find_save, load, read_note
from charrnn.text.cleaning import Found
from charrnn.text.vocabulary import Tokens

if TYPE_CHECKING:
    from charrnn.views.shades import Shades
    from charrnn.views.units import Unit

TEXT_BYTES = 64 * 10**6
LEVELS = 5
Scale = dict[int, list[str]]  # by sign, what each level's letters are printed with
BLUES, ORANGES, GREENS = (195, 153, 117, 75, 39), (223, 216, 215, 209, 202), (194, 157, 120, 84, 41)
IN_256: dict[str, Scale] = {
    kind: {sign: [f"38;5;16;48;5;{colour}" for colour in colours] for sign, colours in scale.items()}
    for kind, scale in {
        "unit": {-1: BLUES, 1: ORANGES},
        "surprise": {1: ORANGES},
        "reach": {1: GREENS},
    }.items()
}
CYAN, BLUE, YELLOW, RED, GREEN = "30;46", "1;37;44", "30;43", "1;37;41", "30;42"
IN_16: dict[str, Scale] = {  # one colour from the second level on, another from the fourth
    "unit": {-1: ["0", CYAN, CYAN, BLUE, BLUE], 1: ["0", YELLOW, YELLOW, RED, RED]},
    "surprise": {1: ["0", YELLOW, YELLOW, RED, RED]},
    "reach": {1: ["0", CYAN, CYAN, GREEN, GREEN]},
}


class LookSettings(SavedConfig):
    """What the colours show; without any of these, the unit that says most."""

    unit: Whole | None = Field(default=None, description="the activation of unit N, from 0 to L·H − 1")
    feature: str | None = Field(
        default=None,
        description="the activation of the unit that follows this feature best, such as quotes; a wrong name "
        "lists all",
    )
    reach: Positive | None = Field(
        default=None, description="where the loss at character N of the text reaches back to"
    )
    color: Literal["auto", "always", "never"] = Field(
        default="auto",
        description="auto: where standard output is a terminal that has colours, and NO_COLOR is not set; "
        "without colours, a digit below each letter",
    )


def add_parser(commands: Commands) -> None:
    """Add the flags of ``charrnn look``."""
    parser = add_command(
        commands,
        run,
        "look",
        usage="[OPTION ...] RUN [FILE | --text TEXT]",
        description="Colour a text by what a network makes of it. Without FILE or TEXT it is a piece of what "
        "the run was validated on; of a longer text the beginning is shown.",
    )
    add_run(parser)
    parser.add_argument("file", metavar="FILE", nargs="?", type=path, help="a text; - is standard input")
    parser.add_argument("--text", metavar="TEXT", help="a text, as given")
    parser.add_argument("--surprise", action="store_true", help="what each character cost, in nats")
    parser.add_argument("--units", action="store_true", help="list the units that follow something")
    add_json(parser)
    add_unknown(parser)
    add_settings(parser, LookSettings)


def run(args: argparse.Namespace) -> int:
    """Show a text, or list units. Returns: the exit code."""
    from charrnn.views.units import name_units

    config = LookSettings(**given(args, LookSettings))
    chosen = [name for name in ("unit", "feature", "reach") if getattr(config, name) is not None]
    chosen += [name for name in ("surprise", "units") if getattr(args, name)]
    if len(chosen) > 1:
        raise ConfigError(f"{' and '.join(f'`{name}`' for name in chosen)}: give one of them")
    if args.file is not None and args.text is not None:
        raise ConfigError("FILE and `text`: give one of them")
    file = find_save(args.run, config.which)
    folder = file.parent
    texts = Texts(args, folder, read_note(folder), load(file))
    with one_blas_thread():  # more would wait for one another between small products
        if args.units:
            units = [unit for unit in name_units(texts.model, texts.to_study()) if unit.is_named]
            return list_units(units, texts.model, as_json=args.json)
        shades = shades_of(texts, surprise=args.surprise, config=config)
    if args.json:
        values = [None if np.isnan(value) else float(f"{value:.6g}") for value in shades.values.tolist()]
        report = {"run": str(folder), "kind": shades.kind, "caption": shades.caption}
        report |= dropped_in(texts.found) if texts.found and args.ignore_unknown else {}
        print(json.dumps(report | {"characters": shades.characters, "values": values}))
    else:
        for line in drawn(shades, colours(config.color, sys.stdout)):
            print(line)
    return 0


# -- what is shown ----------------------------------------------------------------------------------


def shades_of(texts: "Texts", *, surprise: bool, config: LookSettings) -> "Shades":
    """The shades that the flags ask for."""
    from charrnn.views.shades import shades_of_reach, shades_of_surprise, shades_of_unit

    model = texts.model
    if surprise:
        return shades_of_surprise(model, texts.to_show())
    if config.reach is not None:
        seq_length = texts.note.settings.seq_length
        return shades_of_reach(model, texts.to_show(), config.reach, seq_length)
    return shades_of_unit(model, texts.to_show(), unit_to_show(texts, config))


def unit_to_show(texts: "Texts", config: LookSettings) -> "Unit":
    """The unit that the flags ask for, with what it follows; or the one that says most."""
    from charrnn.views.units import Unit, name_units, strongest, unit_that_follows

    model = texts.model
    count = model.config.num_layers * model.config.hidden_size
    if config.unit is not None and config.unit >= count:
        raise ConfigError(f"`unit` {config.unit}: this network has units 0 to {count - 1}")
    if config.feature is not None:
        unit = unit_that_follows(model, texts.to_study(), config.feature)
        if not unit.is_named:
            warn(f"no unit follows {config.feature} well: of the best, unit {unit.number}, r is {unit.r:.2f}")
        return unit
    if config.unit is None:
        return strongest(model, texts.to_study())
    units = name_units(model, texts.to_study())
    nameless = Unit(config.unit, "", "", "remembers", 0.0, 0.0)
    return next((unit for unit in units if unit.number == config.unit), nameless)


def list_units(units: "list[Unit]", model: CharRNN, *, as_json: bool) -> int:
    """Print the units that follow something, the strongest first."""
    H, L = model.config.hidden_size, model.config.num_layers
    if as_json:
        print(json.dumps([vars(unit) | {"layer": unit.number // H + 1} for unit in units]))
        return 0
    print("unit  layer      r  shuffled")
    for unit in units:
        say(f"{unit.number:4}  {unit.number // H + 1:5}  {unit.r:5.2f}  {unit.shuffled:8.2f}  {unit.words}")
    print(
        wrapped(f"{len(units)} of {L * H} units follow something; shuffled: r with the characters shuffled")
    )
    return 0


# -- the text ---------------------------------------------------------------------------------------


@dataclass
class Texts:
    """The text that the flags name and the run's own, each read when it is first asked for."""

    args: argparse.Namespace
    run: Path
    note: Note
    model: CharRNN
    found: Found | None = None  # in the text that is named, once it is read

    def to_show(self) -> Tokens:
        """The beginning of the text that is named, or a piece from the end of the run's own."""
        from charrnn.views.page import SHOWN, piece

        if self.given is None:
            return piece(self.model.vocabulary, self.own)
        if len(self.given) > SHOWN:
            warn(f"the first {SHOWN:,} of {len(self.given):,} characters are shown")
        return self.given[:SHOWN]

    def to_study(self) -> Tokens:
        """The text that units are named on: the run's own; where that is not found, the one that is named.

        A list of units is of the text that is named.
        """
        from charrnn.views.page import STUDIED

        if self.args.units and self.given is not None:
            if len(self.given) > STUDIED:
                warn(f"units are named on the first {STUDIED:,} of {len(self.given):,} characters")
            return self.given[:STUDIED]
        try:
            return self.own
        except RunError as error:
            if self.given is None:
                raise
            warn(f"units are named on the text given: {error}")
            return self.given[:STUDIED]

    @cached_property
    def own(self) -> Tokens:
        """The end of what the run was trained and validated on."""
        from charrnn.views.page import studied

        remedy = f"Give a text: charrnn look {shlex.quote(self.args.run)} FILE, or "
        return studied(parts_of_run(self.run, self.model, remedy))

    @cached_property
    def given(self) -> Tokens | None:
        """The text of FILE or --text."""
        file, text = self.args.file, self.args.text
        if file is None and text is None:
            return None
        if file == "-":
            if sys.stdin is None:
                raise TextError("-: standard input is closed")
            text = read_given(sys.stdin.buffer, TEXT_BYTES, self.run, self.model)
        elif file is not None:
            text = read_given(Path(file), TEXT_BYTES, self.run, self.model)
        where = "--text" if file is None else "standard input" if file == "-" else file
        ignore_unknown = self.args.ignore_unknown
        tokens, self.found = encode_given(text, where, self.model, ignore_unknown=ignore_unknown)
        if len(tokens) == 0:
            raise TextError("the text has no character to show")
        return tokens


# -- drawn ------------------------------------------------------------------------------------------


def colours(color: str, stream: TextIO) -> dict[str, Scale] | None:
    """The colours that a stream has: 256, 16 or none.

    ``auto`` is none where it is no terminal, or where NO_COLOR is set (no-color.org); ``always`` is 16 where
    TERM does not tell of more.
    """
    term = os.environ.get("TERM", "")
    none = not stream.isatty() or os.environ.get("NO_COLOR") or term in ("", "dumb") or term.startswith("vt")
    if color == "never" or (color == "auto" and none):
        return None
    many = "256" in term or "direct" in term or os.environ.get("COLORTERM") in ("truecolor", "24bit")
    return IN_256 if many else IN_16


def drawn(shades: "Shades", palette: dict[str, Scale] | None) -> Iterator[str]:
    """The lines of a text with its caption and its scale, as wide as the terminal."""
    from charrnn.views.shades import lines

    yield from wrapped(visible(shades.caption)).splitlines()
    low, high = shades.ends
    signs = (-1, 1) if shades.kind == "unit" else (1,)
    steps = [sign * level for sign in signs for level in (range(LEVELS, 0, -1) if sign < 0 else range(1, 6))]
    scale = palette and palette[shades.kind]
    if scale:
        blocks = "".join(painted("  ", step, scale) for step in steps)
        yield f"{low} {blocks} {high}"
    else:
        letters = f"a to {NEGATIVE[-1]}: down to {low}, " if shades.kind == "unit" else ""
        yield from wrapped(
            f"below each letter, 1 to 9: up to {high}, {letters}blank: next to nothing"
        ).splitlines()
    yield ""
    cells = [cell(character) for character in shades.characters]
    for line in lines(shades.characters, [wide for _, wide in cells], max(8, width())):
        if scale:
            steps_of = [(level(shades.shades[i], LEVELS), cells[i][0]) for i in line]
            yield "".join(
                painted("".join(drawn for _, drawn in run), step, scale)
                for step, run in groupby(steps_of, key=lambda pair: pair[0])
            )
        else:
            yield "".join(cells[i][0] for i in line)
            marks = "".join(mark(shades.shades[i]).ljust(cells[i][1])[: cells[i][1]] for i in line)
            yield marks.rstrip()


def painted(text: str, step: int, scale: Scale) -> str:
    """A text in the colour of a level of the scale, negative ones of the other sign; as it is at 0."""
    style = scale[1 if step > 0 else -1][abs(step) - 1] if step else "0"
    return text if style == "0" else f"\x1b[{style}m{text}\x1b[0m"


NEGATIVE = "abcdefghi"


def mark(shade: float) -> str:
    """A shade as a digit from 1 to 9, a negative one as a letter from a to i; next to nothing as a space."""
    step = level(shade, 9)
    return " " if step == 0 else str(step) if step > 0 else NEGATIVE[-step - 1]


def level(shade: float, levels: int) -> int:
    """A shade of −1 to 1 as a whole number of that many levels; half a level is rounded up."""
    return int(np.sign(shade) * np.floor(min(abs(shade), 1) * levels + 0.5))


def cell(character: str) -> tuple[str, int]:
    """What is printed for a character, and how many columns that takes.

    A line end is an arrow; a tab, and what could steer the terminal or cannot be encoded, is escaped.
    """
    from charrnn.views.shades import columns

    drawn = "↵" if character == "\n" else r"\t" if character == "\t" else visible(character)
    encoding = getattr(sys.stdout, "encoding", None) or "utf-8"
    try:
        drawn.encode(encoding)
    except UnicodeEncodeError:
        drawn = r"\n" if character == "\n" else drawn.encode(encoding, "backslashreplace").decode(encoding)
    return drawn, columns(drawn)
