"""The argument parser of all commands. What it needs is imported in a moment, so that --help is quick."""

import argparse
import difflib
import sys
from collections.abc import Sequence
from typing import Any, NoReturn

from charrnn.commands.terminal import as_typed, program
from charrnn.display import shown
from charrnn.errors import QUOTED, brief


class Parser(argparse.ArgumentParser):
    """An argument parser whose errors are one line."""

    def __init__(self, **options: Any):
        super().__init__(allow_abbrev=False, formatter_class=Help, **options)
        self._given = set[str]()  # of the flags that can be given once

    def error(self, message: str) -> NoReturn:
        see = program(self.prog.removeprefix("charrnn").strip()).strip()
        self.exit(2, f"{self.prog}: {as_typed(brief(message, QUOTED + 60))} (see {see} --help)\n")

    def exit(self, status: int = 0, message: str | None = None) -> NoReturn:
        super().exit(status, shown(message or "", sys.stderr))

    def unknown(self, word: str, known: Sequence[str] = ()) -> NoReturn:
        """End with an error that names the flag, or the command of those ``known``, nearest to ``word``."""
        if not known and not word.startswith("-"):
            self.error(
                f"{brief(word)} stands alone: all of CORPUS goes together, before the flags or after them"
            )
        known = known or [name for action in self._actions for name in action.option_strings]
        near = difflib.get_close_matches(brief(word.split("=", maxsplit=1)[0]), known, 1)
        kind = "argument" if word.startswith("-") else "command"
        self.error(f"unknown {kind} {brief(word)}" + (f"; did you mean {near[0]}?" if near else ""))

    def _get_values(self, action: argparse.Action, arg_strings: list[str]) -> Any:
        if action.option_strings and not isinstance(action, argparse._AppendAction):
            if action.dest in self._given:
                raise argparse.ArgumentError(
                    action, "given twice, and only one counts: leave one of them out"
                )
            self._given.add(action.dest)
        if action.option_strings and arg_strings == ["--"]:  # --stop=--, which argparse takes for no value
            return self._get_value(action, "--")
        return super()._get_values(action, arg_strings)


class Help(argparse.HelpFormatter):
    """Help with room for the names of flags."""

    def __init__(self, prog: str):
        super().__init__(prog, max_help_position=34)
        self._action_max_length = 13  # else the longest name of a command breaks its line


def kebab(argv: Sequence[str]) -> list[str]:
    """Flags may be written with _ for -, as char-rnn has them."""
    flags: list[str] = []
    for i, word in enumerate(argv):
        if word == "--":
            return [*flags, *argv[i:]]
        name, equals, value = word.partition("=")
        flags.append(name.replace("_", "-") + equals + value if word.startswith("--") else word)
    return flags
