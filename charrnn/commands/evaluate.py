"""``charrnn eval``: score a text with a trained network."""

import argparse
import json
import math
import shlex
from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from charrnn.commands.flags import (
    Commands,
    SavedConfig,
    add_command,
    add_corpus,
    add_json,
    add_run,
    add_settings,
    add_unknown,
    given,
)
from charrnn.commands.terminal import say
from charrnn.commands.texts import read_corpus, reading_of, text_of_run
from charrnn.config import TextConfig, flag
from charrnn.errors import ConfigError, RunError
from charrnn.measures.baselines import baselines
from charrnn.measures.evaluation import evaluate
from charrnn.runs import load, read_note
from charrnn.text.vocabulary import Tokens


class EvalSettings(TextConfig, SavedConfig):
    """The part to score."""

    split: Literal["train", "val", "test", "all"] | None = Field(
        default=None,
        description="the part to score, cut as in training (default: val, or all of a CORPUS given)",
    )


def add_parser(commands: Commands) -> None:
    """Add the flags of ``charrnn eval``."""
    parser = add_command(
        commands,
        run,
        "eval",
        usage="[OPTION ...] RUN [CORPUS ...]",
        help="score a text with a trained network",
        description="Score a text, every character of it, with the network of a run. Without CORPUS, a "
        "part of the text it was trained on.",
    )
    add_run(parser)
    add_corpus(parser)
    parser.add_argument(
        "--baselines",
        action="store_true",
        help="score it too with what a network has to beat: guessing evenly, and n-grams up to 6 characters "
        "(interpolated Witten-Bell), counted on the training part of the run's own text",
    )
    add_json(parser)
    add_unknown(parser)
    add_settings(parser, EvalSettings, without=["bytes"])  # the network knows


def run(args: argparse.Namespace) -> int:
    """Score a text. Returns: the exit code."""
    config = EvalSettings(**given(args, EvalSettings))
    folder = Path(args.run)
    model = load(folder, config.which)
    note = read_note(folder)
    flags = given(args, TextConfig)
    kept = note.corpus
    if args.corpus:
        how: dict[str, Any] = {"vocabulary": model.vocabulary, "ignore_unknown": args.ignore_unknown}
        reading = TextConfig(**reading_of(kept, args.corpus) | flags).model_dump()
        corpus = read_corpus(args.corpus, reading, **how)
    elif flags:
        raise ConfigError(f"{flag(min(flags))} has no effect without CORPUS: the run's own text is encoded")
    else:
        remedy = f"Name it: charrnn eval {shlex.quote(args.run)} CORPUS, or "
        corpus = text_of_run(folder, kept, remedy, vocabulary=model.vocabulary)
    own = corpus
    if args.corpus and args.baselines:
        own = text_of_run(folder, kept, "Leave out --baselines, or name it: ", vocabulary=model.vocabulary)
    settings = note.settings
    split = config.split or ("all" if args.corpus else "val")
    parts: dict[str, Tokens] = {"all": corpus.tokens}
    if split != "all":
        parts |= corpus.split(settings.val_fraction, settings.test_fraction)._asdict()
    if len(parts[split]) < 2:
        raise RunError(
            f"the {split} part of {corpus.name} is empty or one character: nothing to score. See --split"
        )
    score = evaluate(model, parts[split])
    counted: dict[str, float] = {}
    if args.baselines:
        learned = own.split(settings.val_fraction, settings.test_fraction).train
        counted = baselines(learned, parts[split], len(model.vocabulary))
    if args.json:
        report = {"run": str(folder), "corpus": corpus.name, "split": split, **asdict(score)}
        perplexity = None if math.isinf(score.perplexity) else score.perplexity  # JSON has no infinity
        report |= {"bits_per_char": score.bits_per_char, "perplexity": perplexity}
        print(json.dumps(report | ({"baselines": counted} if args.baselines else {})))
        return 0
    say(
        f"{corpus.name}, {split}, {score.characters:,} characters: {score.loss:.4f} nats "
        f"({score.bits_per_char:.4f} bits) per character, perplexity {score.perplexity:.3f}, "
        f"accuracy {score.accuracy:.2%}"
    )
    if counted:
        say(f"to beat, counted on the training part of the text of the run, {own.name}:")
    for name, loss in counted.items():
        print(f"{name:8}{loss:7.4f} nats ({loss / math.log(2):.4f} bits)")
    return 0
