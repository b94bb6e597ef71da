"""``charrnn eval``: score a text with a trained network."""

import argparse
import json
import math
import shlex
from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal

import numpy as np
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
from charrnn.commands.texts import dropped_in, read_corpus, reading_of, text_of_run
from charrnn.config import CorpusConfig, TextConfig
from charrnn.display import visible
from charrnn.errors import ConfigError, RunError, flag
from charrnn.measures.baselines import baselines
from charrnn.measures.evaluation import Evaluation, Score, evaluate, losses
from charrnn.model.charrnn import CharRNN
from charrnn.runs import CorpusNote, find_save, load, read_note
from charrnn.text.corpus import Corpus
from charrnn.text.documents import Documents, Text
from charrnn.text.vocabulary import Tokens, Vocabulary

KNOWN = "bytes", "newlines", "normalize", "min_count"  # what the network decides
BEGINNING = 60  # characters of a text that are shown


class EvalSettings(TextConfig, SavedConfig):
    """The part to score."""

    split: Literal["train", "val", "test", "all"] | None = Field(
        default=None,
        description="the part to score, cut as in training (default: val, or all of a CORPUS given)",
    )
    by: Literal["line", "document", "character"] | None = Field(
        default=None,
        description="score each line or document by itself, from a state of zeros, or print what each "
        "character costs",
    )
    dynamic: float | None = Field(
        default=None,
        gt=0,
        description="score it also while the network goes on learning on it, at this learning rate, from "
        "each 20 characters once they are scored",
    )


def add_parser(commands: Commands) -> None:
    """Add the flags of ``charrnn eval``."""
    parser = add_command(
        commands,
        run,
        "eval",
        usage="[OPTION ...] RUN [CORPUS ...]",
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
    add_settings(parser, EvalSettings, without=KNOWN)


def run(args: argparse.Namespace) -> int:
    """Score a text. Returns: the exit code."""
    config = EvalSettings(**given(args, EvalSettings))
    file = find_save(args.run, config.which)
    model, folder = load(file), file.parent
    note = read_note(folder)
    check_by(config, note.corpus.documents, baselines=args.baselines)
    own = corpus = text_to_score(args, folder, note.corpus, model.vocabulary)
    if args.corpus and args.baselines:
        remedy = "Leave out --baselines, or name it: "
        own = text_of_run(folder, note.corpus, remedy, vocabulary=model.vocabulary)
    split = config.split or ("all" if args.corpus else "val")
    parts: dict[str, Text] = {"all": corpus.text}
    if split != "all":
        parts |= corpus.parts(note.settings)._asdict()
    if len(parts[split]) < 2:
        raise RunError(
            f"the {split} part of {corpus.name} is empty or one character: nothing to score. See --split"
        )
    if config.by:
        print_scores(model, parts[split], config.by, as_json=args.json)
        return 0
    score = evaluate(model, parts[split])
    learning = None
    if config.dynamic is not None:
        from charrnn.measures.dynamic import evaluate_dynamic

        learning = evaluate_dynamic(model, parts[split], config.dynamic)
    counted: dict[str, float] = {}
    if args.baselines:
        learned = own.parts(note.settings).train
        counted = baselines(learned, parts[split], len(model.vocabulary))
    if args.json:
        report = {"run": str(folder), "corpus": corpus.name, "split": split, **in_json(score)}
        if learning is not None:
            report["dynamic"] = {"learning_rate": config.dynamic, "loss": learning}
        report |= dropped_in(corpus.found) if corpus.found and args.corpus and args.ignore_unknown else {}
        print(json.dumps(report | ({"baselines": counted} if args.baselines else {})))
        return 0
    print_score(f"{corpus.name}, {split}", score)
    if learning is not None:
        say(
            f"dynamic, learning on the text once it is scored, at a rate of {config.dynamic:g}: "
            f"{learning:.4f} nats ({learning / math.log(2):.4f} bits) per character"
        )
    if counted:
        say(f"to beat, counted on the training part of the text of the run, {own.name}:")
    for name, loss in counted.items():
        print(f"{name:8}{loss:7.4f} nats ({loss / math.log(2):.4f} bits)")
    return 0


def in_json(score: Evaluation) -> dict[str, Any]:
    """A score for JSON, which has no infinity."""
    report: dict[str, Any] = asdict(score)
    if score.documents:
        report["nats_per_document"] = score.nats_per_document
    else:
        del report["documents"]
    perplexity = None if math.isinf(score.perplexity) else score.perplexity
    return report | {"bits_per_char": score.bits_per_char, "perplexity": perplexity}


def print_score(what: str, score: Evaluation) -> None:
    """Print a score in a line."""
    each = (
        f"; {score.documents:,} documents, {score.nats_per_document:.4f} nats each" if score.documents else ""
    )
    say(
        f"{what}, {score.characters:,} characters: {score.loss:.4f} nats "
        f"({score.bits_per_char:.4f} bits) per character, perplexity {score.perplexity:.3f}, "
        f"accuracy {score.accuracy:.2%}{each}"
    )


def text_to_score(args: argparse.Namespace, folder: Path, kept: CorpusNote, vocabulary: Vocabulary) -> Corpus:
    """The text that is named, read as that of the run, or that of the run."""
    flags = given(args, TextConfig)
    if args.corpus:
        reading = CorpusConfig(**reading_of(kept, args.corpus) | flags).model_dump()
        reading |= {"newlines": vocabulary.newlines, "normalize": vocabulary.form, "min_count": 1}
        how: dict[str, Any] = {"vocabulary": vocabulary, "ignore_unknown": args.ignore_unknown}
        return read_corpus(args.corpus, reading, **how)
    if flags:
        raise ConfigError(f"{flag(min(flags))} has no effect without CORPUS: the run's own text is encoded")
    remedy = f"Name it: charrnn eval {shlex.quote(args.run)} CORPUS, or "
    return text_of_run(folder, kept, remedy, vocabulary=vocabulary)


def check_by(config: EvalSettings, documents: str, *, baselines: bool) -> None:
    """Refuse a --by that cannot be for a run that reads its text by ``documents``, and what has no effect."""
    by = config.by
    if by == "document" and not documents:
        raise ConfigError("--by document: this run was trained without --documents. See --by line")
    for name, is_given in {"--baselines": baselines, "--dynamic": config.dynamic is not None}.items():
        if by and is_given:
            raise ConfigError(f"{name} has no effect with --by {by}: leave one of them out")


def print_scores(model: CharRNN, text: Text, by: str, *, as_json: bool) -> None:
    """Print a row for each line or document of a text, or each character that is scored, numbered from 0."""
    start = None
    if by == "line":
        texts = lines_of(model, text[:])
    elif isinstance(text, Documents):
        texts, start = [text.document(i) for i in range(text.count)], text.before
    else:
        texts = [text]
    nats = losses(model, texts, start)
    if by == "character":
        texts = [part[i : i + 1] for part in texts for i in range(start is None, len(part))]
        nats = list(np.concatenate(nats)[:, np.newaxis])
    scores = [Score(len(of_text), float(of_text.sum())) for of_text in nats]
    if not as_json:
        say("   index  characters       nats  bits/char  text")
    for index, (part, score) in enumerate(zip(texts, scores, strict=True)):
        beginning, bits = model.vocabulary.decode(part[:BEGINNING]), score.bits_per_char
        if as_json:
            record = {"index": index, **asdict(score), "bits_per_char": bits, "text": beginning}
            print(json.dumps(record))
        else:
            rate = "–" if bits is None else f"{bits:.4f}"
            print(f"{index:8,}  {score.characters:10,}  {score.nats:9.4f}  {rate:>9}  {in_a_line(beginning)}")


def lines_of(model: CharRNN, tokens: Tokens) -> list[Tokens]:
    """The lines of a text, each with the newline that ends it."""
    newline = model.vocabulary.encode("\n", ignore_unknown=True)
    ends = np.flatnonzero(np.isin(tokens, newline)) + 1
    return [line for line in np.split(tokens, ends) if len(line)]


def in_a_line(text: str) -> str:
    """A beginning of a text in a line of its own."""
    return visible(text.replace("\\", "\\\\").replace("\n", "\\n").replace("\t", "\\t"))
