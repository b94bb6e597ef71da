"""What the flags of all commands are made with: one for each setting, and those that several commands have.

A value goes through argparse as it was typed and is judged by the settings' own models, so that the command
line, a file and Python refuse the same values in the same words.
"""

import argparse
import json
from collections.abc import Callable, Sequence
from typing import Any, Literal, TypeAlias, get_args, get_origin

from pydantic import Field

from charrnn.commands import COMMANDS
from charrnn.commands.parser import Parser
from charrnn.config import Settings
from charrnn.errors import brief, flag
from charrnn.files import file_name

ALIASES = {  # char-rnn's names
    "cell": ["--model"],
    "hidden_size": ["--rnn-size"],
    "clip_value": ["--grad-clip"],
    "recompute_every": ["--checkpoint-every"],  # its name in version 0.1
}


Commands: TypeAlias = "argparse._SubParsersAction[Parser]"


def add_command(
    commands: Commands,
    run: Callable[[argparse.Namespace], int],
    name: str,
    usage: str,
    description: str,
) -> Parser:
    """The parser of a command that ``run`` does. Returns: it, still without flags."""
    _, help = COMMANDS[name]
    parser = commands.add_parser(name, usage=f"charrnn {name} {usage}", help=help, description=description)
    parser.set_defaults(function=run)
    return parser


def add_settings(
    parser: argparse.ArgumentParser, settings: type[Settings], without: Sequence[str] = ()
) -> None:
    """A flag for each field, in groups by the class that first has it."""
    done: set[str] = set()
    for model in reversed(settings.__mro__):
        fields = getattr(model, "model_fields", {}).keys() & getattr(model, "__annotations__", {})
        own = [name for name in settings.model_fields if name in fields - done and name not in without]
        if not own:
            continue
        done.update(own)
        group = parser.add_argument_group((model.__doc__ or "").splitlines()[0].rstrip("."))
        for name in own:
            field = settings.model_fields[name]
            text = str(field.description).replace("%", "%%")
            is_list = get_origin(field.annotation) is tuple
            default = " ".join(field.default) if is_list else field.default
            if default not in (None, ""):
                text += f" (default: {json.dumps(default).strip(chr(34))})"
            options: dict[str, Any] = {"dest": name, "default": argparse.SUPPRESS, "help": text}
            kinds = field.annotation, *get_args(field.annotation)
            choices = [word for kind in kinds if get_origin(kind) is Literal for word in get_args(kind)]
            if is_list:
                options["action"] = "append"
            if bool in kinds:
                options["action"] = argparse.BooleanOptionalAction
            elif len(choices) > 1:
                options["metavar"] = f"{{{','.join(choices)}}}"
            else:
                options["metavar"] = "TEXT" if str in kinds else "N"
            group.add_argument(flag(name), *ALIASES.get(name, []), **options)


def given(args: argparse.Namespace, settings: type[Settings]) -> dict[str, Any]:
    """What the command line sets of these settings."""
    return part_of(vars(args), settings)


def part_of(values: dict[str, Any], settings: type[Settings]) -> dict[str, Any]:
    """The values that belong to these settings."""
    return {name: value for name, value in values.items() if name in settings.model_fields}


# -- what several commands have ---------------------------------------------------------------------


class SavedConfig(Settings):
    """The network of the run."""

    which: str | None = Field(
        default=None,
        max_length=100,
        description="the save: best, of the best validation; last, as training left it; or an older one, "
        "such as step-1200 (default: best)",
    )


def path(word: str) -> str:
    """The type of an argument that names a file or folder."""
    try:
        return file_name(word)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{brief(word)}: {error}") from None


def add_corpus(parser: argparse.ArgumentParser) -> None:
    text = "text files, plain or .gz, .bz2 or .xz, or folders of them; - is standard input"
    parser.add_argument("corpus", metavar="CORPUS", nargs="*", type=path, help=text)


def add_run(parser: argparse.ArgumentParser, default: str | None = None) -> None:
    text = "folder of the run, or a save in it" + (f" (default: {default})" if default else "")
    parser.add_argument("run", metavar="RUN", nargs="?" if default else None, type=path, help=text)


def add_unknown(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--ignore-unknown",
        action="store_true",
        help="drop characters that the network does not know",
    )


def add_raw(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--raw",
        action="store_true",
        help="print drawn text as it is on a terminal too, control characters and all",
    )


def add_json(parser: Any) -> None:
    parser.add_argument("--json", action="store_true", help="print a JSON object")
