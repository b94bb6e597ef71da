"""The flags of the command line: one for each setting, and those that a command has of its own."""

import argparse
import difflib
import json
import sys
from collections.abc import Callable, Sequence
from typing import Any, Literal, NoReturn, get_args, get_origin

from charrnn.commands.terminal import shown
from charrnn.config import (
    BenchConfig,
    CacheConfig,
    DeriveConfig,
    GradcheckConfig,
    SampleConfig,
    Settings,
    TextConfig,
    TrainConfig,
    flag,
)

ALIASES = {  # char-rnn's names
    "cell": ["--model"],
    "hidden_size": ["--rnn-size"],
    "clip_value": ["--grad-clip"],
    "recompute_every": ["--checkpoint-every"],  # its name in version 0.1
}


class TrainSettings(TrainConfig, CacheConfig, TextConfig):
    """Everything a file for --config may set."""


class GradcheckSettings(GradcheckConfig, TextConfig):
    """The settings of ``charrnn gradcheck``."""


class BenchSettings(BenchConfig, TextConfig):
    """The settings of ``charrnn bench``."""


class Parser(argparse.ArgumentParser):
    """An argument parser whose errors are one line."""

    def __init__(self, **options: Any):
        super().__init__(allow_abbrev=False, formatter_class=Help, **options)

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: {message} (see {self.prog} --help)\n")

    def exit(self, status: int = 0, message: str | None = None) -> NoReturn:
        super().exit(status, shown(message or "", sys.stderr))

    def unknown(self, word: str) -> NoReturn:
        """End with an error that names the flag nearest to ``word``."""
        if not word.startswith("-"):
            self.error(f"{word} stands alone: all of CORPUS goes together, before the flags or after them")
        known = [name for action in self._actions for name in action.option_strings]
        near = difflib.get_close_matches(word.split("=", maxsplit=1)[0], known, 1)
        self.error(f"unknown argument {word}" + (f"; did you mean {near[0]}?" if near else ""))


class Help(argparse.RawDescriptionHelpFormatter):
    """Help with room for the names of flags."""

    def __init__(self, prog: str):
        super().__init__(prog, max_help_position=34)
        self._action_max_length = 13  # else the longest name of a command breaks its line


def add_settings(
    parser: argparse.ArgumentParser, settings: type[Settings], without: Sequence[str] = ()
) -> None:
    """A flag for each field, in groups by the class that first has it. Values are parsed by the model."""
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
            if field.default not in (None, ""):
                text += f" (default: {json.dumps(field.default).strip(chr(34))})"
            options: dict[str, Any] = {"dest": name, "default": argparse.SUPPRESS, "help": text}
            if bool in (field.annotation, *get_args(field.annotation)):
                options["action"] = argparse.BooleanOptionalAction
            elif get_origin(field.annotation) is Literal:
                options["choices"] = get_args(field.annotation)
            else:
                options["metavar"] = "TEXT" if field.annotation is str else "N"
            group.add_argument(flag(name), *ALIASES.get(name, []), **options)


def given(args: argparse.Namespace, settings: type[Settings]) -> dict[str, Any]:
    """What the command line sets of these settings."""
    return {name: value for name, value in vars(args).items() if name in settings.model_fields}


def part_of(values: dict[str, Any], settings: type[Settings]) -> dict[str, Any]:
    """The values that belong to these settings."""
    return {name: value for name, value in values.items() if name in settings.model_fields}


def build_parser(*more: Callable[[Any], None]) -> tuple[Parser, dict[str, Parser]]:
    """The whole command line, with commands that add their parsers themselves; and the parsers by name."""
    parser = Parser(
        prog="charrnn",
        description="Train a character-level RNN on a text, sample from it, check its gradients.",
        epilog="charrnn COMMAND --help tells more. charrnn train, with nothing else, trains on a "
        "bundled text.",
    )
    parser.add_argument("--version", action="store_true", help="print the version and exit")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND")

    add_train(commands)

    sample = commands.add_parser(
        "sample",
        usage="charrnn sample [OPTION ...] RUN",
        help="write text with a trained network",
        description="Write text with the network of a run. It goes to standard output as it is drawn.",
    )
    sample.add_argument("run", metavar="RUN", help="folder of the run")
    sample.add_argument(
        "--prime",
        "--primetext",
        metavar="TEXT",
        default="",
        help="text to go on from, printed first; @FILE reads it from a file, - from standard input",
    )
    sample.add_argument(
        "--num-samples",
        metavar="N",
        type=positive,
        default=1,
        help="texts to draw; several are drawn 64 at a time, and a newline ends each (default: 1)",
    )
    sample.add_argument(
        "--novelty",
        action="store_true",
        help="then say, on standard error, how much of it stands word for word in the training text: of its "
        "substrings, and of its complete lines that are not empty",
    )
    add_which(sample)
    add_unknown(sample)
    add_raw(sample)
    add_settings(sample, SampleConfig)

    evaluate = commands.add_parser(
        "eval",
        usage="charrnn eval [OPTION ...] RUN [CORPUS ...]",
        help="score a text with a trained network",
        description="Score a text, every character of it, with the network of a run. Without CORPUS, a "
        "part of the text it was trained on.",
    )
    evaluate.add_argument("run", metavar="RUN", help="folder of the run")
    add_corpus(evaluate)
    evaluate.add_argument(
        "--split",
        choices=["train", "val", "test", "all"],
        help="the part to score, cut as in training (default: val, or all of a CORPUS given)",
    )
    evaluate.add_argument(
        "--baselines",
        action="store_true",
        help="score it too with what a network has to beat: guessing evenly, and n-grams up to 6 characters "
        "(interpolated Witten-Bell), counted on the training part of the run's own text",
    )
    evaluate.add_argument("--json", action="store_true", help="print a JSON object")
    add_which(evaluate)
    add_unknown(evaluate)
    add_settings(evaluate, TextConfig, without=["bytes"])  # the network knows

    gradcheck = commands.add_parser(
        "gradcheck",
        usage="charrnn gradcheck [OPTION ...] [CORPUS ...]",
        help="check every derivative",
        description="Compare the gradient of each parameter, of the inputs and of the incoming state "
        "with derivatives by the complex step or by central differences. Exit status 1 if one is wrong.",
    )
    add_corpus(gradcheck)
    gradcheck.add_argument("--json", action="store_true", help="print a JSON object")
    add_settings(gradcheck, GradcheckSettings)

    derive = commands.add_parser(
        "derive",
        usage="charrnn derive [OPTION ...]",
        help="prove the derivation: the 4-D tensors beside what the layers compute",
        description="Build the tensor of each derivative, contract it, and lay it beside what the layers "
        "compute: the rules of matrix calculus, then B1-B9 at each time step. Exit status 1 if one differs.",
    )
    what = derive.add_mutually_exclusive_group()
    what.add_argument(
        "--rule",
        metavar="NAME",
        help="one rule, its numbers written out: 1, 2, 3W, 3A, 3W-rows, 3A-rows, elementwise, softmax, "
        "bias, time, F1 to F4, B1 to B9",
    )
    what.add_argument(
        "--answer",
        metavar="FILE.py",
        help="check your answers to the exercises of DERIVATION.md, functions such as def db_a(dz). The file "
        "is plain Python and is run as it is: only give it your own",
    )
    how = derive.add_mutually_exclusive_group()
    how.add_argument("--markdown", action="store_true", help="write it as a Markdown document")
    how.add_argument("--json", action="store_true", help="print a JSON object")
    add_settings(derive, DeriveConfig)

    bench = commands.add_parser(
        "bench",
        usage="charrnn bench [OPTION ...] [CORPUS ...]",
        help="measure how fast this machine trains, and recommend --threads and --batch-size",
        description="Train the network that the flags describe for a moment, with several numbers of threads "
        "and half, all and twice the --batch-size, and compare with one large matrix product. CORPUS gives "
        "the size of the vocabulary.",
    )
    add_corpus(bench)
    bench.add_argument("--json", action="store_true", help="print a JSON object")
    add_settings(bench, BenchSettings)

    plot = commands.add_parser(
        "plot",
        help="draw the losses of runs (needs matplotlib)",
        description="Draw training and validation loss of one or more runs into one picture.",
    )
    plot.add_argument("runs", metavar="RUN", nargs="+", help="folders of runs")
    plot.add_argument("--out", metavar="FILE", default="losses.png", help="the picture (default: losses.png)")
    for add_parser in more:
        add_parser(commands)
    return parser, commands.choices


def add_train(commands: Any) -> None:
    """The parser of ``charrnn train``."""
    train = commands.add_parser(
        "train",
        usage="charrnn train [OPTION ...] [CORPUS ...]",
        help="train on a text and keep the run in a folder",
        description="Train a network on text files. Without CORPUS, on a bundled book of fables.",
    )
    add_corpus(train)
    train.add_argument("--out", metavar="RUN", help="folder of the run (default: runs/NAME-OF-CORPUS)")
    train.add_argument("--config", metavar="FILE", help="TOML file of settings; a flag beats the file")
    how = train.add_mutually_exclusive_group()
    how.add_argument("--resume", action="store_true", help="go on with the run in that folder")
    how.add_argument("--overwrite", action="store_true", help="replace the run in that folder")
    train.add_argument(
        "--from",
        dest="start",
        metavar="NAME",
        help="with --resume: go on from an older save of that folder, such as step-1200.npz",
    )
    train.add_argument(
        "--allow-changed-corpus",
        action="store_true",
        help="with --resume: go on though the text has changed",
    )
    train.add_argument(
        "--init-from", metavar="RUN", help="start a new run from the weights of another (fine-tuning)"
    )
    add_raw(train)
    train.add_argument(
        "--gradcheck",
        action="store_true",
        help="check the gradients of a network of these sizes, on this text, and exit",
    )
    add_settings(train, TrainSettings)


def positive(word: str) -> int:
    """A whole number from 1."""
    if not word.isdecimal() or int(word) < 1:
        raise argparse.ArgumentTypeError(f"{word}: should be a whole number from 1")
    return int(word)


def add_corpus(parser: argparse.ArgumentParser) -> None:
    text = "text files, plain or .gz, .bz2 or .xz, or folders of them; - is standard input"
    parser.add_argument("corpus", metavar="CORPUS", nargs="*", help=text)


def add_which(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--which",
        choices=["best", "last"],
        default="best",
        help="the network of the best validation, or as training left it (default: best)",
    )


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


def kebab(argv: Sequence[str]) -> list[str]:
    """Flags may be written with _ for -, as char-rnn has them."""
    flags: list[str] = []
    for i, word in enumerate(argv):
        if word == "--":
            return [*flags, *argv[i:]]
        name, equals, value = word.partition("=")
        flags.append(name.replace("_", "-") + equals + value if word.startswith("--") else word)
    return flags
