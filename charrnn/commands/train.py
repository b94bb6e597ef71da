"""``charrnn train``: train on a text and keep the run in a folder."""

import argparse
import math
import os
import shlex
import sys
import tomllib
from contextlib import suppress
from itertools import islice
from pathlib import Path
from typing import Any

from charrnn.commands import gradcheck
from charrnn.commands.flags import (
    Commands,
    add_command,
    add_corpus,
    add_raw,
    add_settings,
    given,
    part_of,
    path,
)
from charrnn.commands.terminal import as_typed, program, say, wrapped
from charrnn.commands.texts import (
    default_out,
    read_corpus,
    reading_of,
    text_of_run,
    text_to_train_on,
)
from charrnn.config import DEFAULTS, CacheConfig, CorpusConfig, GradcheckConfig, TimeConfig, TrainConfig
from charrnn.display import framed, shown
from charrnn.errors import ConfigError, Interrupted, flag
from charrnn.files import read_small
from charrnn.launcher import relaunch
from charrnn.measures.baselines import baselines
from charrnn.model.kernels import choose_kernels
from charrnn.model.sampling import generators
from charrnn.runs import CorpusNote, RunFolder, is_run, load, read_note
from charrnn.signals import stops_raised
from charrnn.text.corpus import Corpus
from charrnn.training import Result, train_in
from charrnn.training.bar import Bar
from charrnn.training.recipe import TOO_OFTEN, choose
from charrnn.training.shards import within_cores
from charrnn.training.world import World

COUNTED = 4_000_000  # characters: more take longer than two seconds to count, which is long to wait unasked
SAMPLED, AT_ONCE = 700, 64  # characters of the sample at the end, and documents at the most
CONFIG_BYTES = 10**6  # of a file of settings


class TrainSettings(TrainConfig, TimeConfig, CacheConfig, CorpusConfig):
    """Everything a file for --config may set."""


def add_parser(commands: Commands) -> None:
    """Add the flags of ``charrnn train``."""
    parser = add_command(
        commands,
        run,
        "train",
        usage="[OPTION ...] [CORPUS ...]",
        description="Train a network on text files. Without CORPUS, on a bundled book of fables.",
    )
    add_corpus(parser)
    parser.add_argument(
        "--out", metavar="RUN", type=path, help="folder of the run (default: runs/NAME-OF-CORPUS)"
    )
    parser.add_argument(
        "--config", metavar="FILE", type=path, help="TOML file of settings; a flag beats the file"
    )
    how = parser.add_mutually_exclusive_group()
    how.add_argument("--resume", action="store_true", help="continue the run in that folder")
    how.add_argument("--overwrite", action="store_true", help="replace the run in that folder")
    parser.add_argument(
        "--from",
        dest="start",
        metavar="NAME",
        type=path,
        help="with --resume: continue from an older save of that folder, such as step-1200.npz",
    )
    parser.add_argument(
        "--allow-changed-corpus",
        action="store_true",
        help="with --resume: continue though the text has changed",
    )
    parser.add_argument(
        "--init-from",
        metavar="RUN",
        type=path,
        help="start a new run from the weights of another (fine-tuning)",
    )
    parser.add_argument(
        "--keep-vocabulary",
        action="store_true",
        help="with --init-from: keep also the characters of that run that this text lacks",
    )
    parser.add_argument(
        "--vocabulary",
        metavar="FILE",
        type=path,
        help="the characters that the network is to know: those of a text file, or of a run",
    )
    parser.add_argument(
        "--ignore-unknown",
        action="store_true",
        help="with --vocabulary: drop the characters of the text that it lacks",
    )
    add_raw(parser)
    parser.add_argument(
        "--gradcheck",
        action="store_true",
        help="check the gradients of a network of these sizes, on this text, and exit",
    )
    add_settings(parser, TrainSettings)


def run(args: argparse.Namespace) -> int:
    """Train. Returns: the exit code."""
    out = Path(args.out or default_out(args.corpus))
    chosen, kept = settings_of(args, out)
    settings = chosen.model_dump()
    config = choose_kernels(TrainConfig(**part_of(settings, TrainConfig)), resumed=args.resume)
    reading = part_of(settings, CorpusConfig)
    if args.gradcheck:
        text = text_of_run(out, kept, "Name it: ") if kept and not args.corpus else None
        corpus = text or read_corpus(args.corpus, reading)
        common = part_of(config.model_dump(exclude={"dtype"}), GradcheckConfig)
        return gradcheck.check(corpus, GradcheckConfig(**common, quick=True))
    mode: Any = "resume" if args.resume else "overwrite" if args.overwrite else "new"
    # the lock is held before anything is written, the encoded text above all
    with stops_raised("stopped before training began"), RunFolder(out, mode) as folder:
        corpus = text_to_train_on(args, settings, kept, folder)
        how = f"seed {config.seed}, {config.kernels} kernels"
        how += f", {args.world.size} ranks" if args.world else ""
        say(wrapped(as_typed(f"{corpus.summary}; {how}, run {out}")))
        if chosen.minutes is not None:
            config = chosen_for_the_time(args, chosen, config, corpus)
        if not args.resume:
            say_what_to_beat(corpus, config)
        if args.world:
            args.world.if_a_rank_dies(f"To resume from the last save: {resuming(out, args.world)}")
        try:
            result = train_in(
                folder,
                corpus,
                config,
                save=args.start or "last.npz",
                init_from=args.init_from,
                keep_vocabulary=args.keep_vocabulary,
                allow_changed_corpus=args.allow_changed_corpus,
                progress=Bar(disable=None, raw=args.raw, words=as_typed),
                world=args.world,
                seconds=seconds_of(chosen, config),
            )
        except Interrupted as stopped:
            if not is_run(out):
                raise
            with suppress(OSError):  # there may be no terminal any more
                say(f"{stopped}. To resume: {resuming(out, args.world)}")
            return 128 + stopped.signal
    if chosen.minutes is not None and (ended := read_note(out).settings) != config:
        say(f"the clock has moved the end: {command_of(args, chosen, ended)}")
    say_result(result, config, corpus.reading.separator, raw=args.raw)
    return 0


def chosen_for_the_time(
    args: argparse.Namespace, settings: TrainSettings, config: TrainConfig, corpus: Corpus
) -> TrainConfig:
    """What the recipe chooses for --minutes, which is printed."""
    minutes = settings.minutes or 0
    config = choose(corpus, config, settings.model_fields_set, 60 * minutes, args.world)
    say(f"chosen for {minutes:g} minutes: {command_of(args, settings, config)}")
    if seconds_of(settings, config) is None:
        say("--schedule cosine has to know its last step: the clock will not move it")
    if config.epochs >= TOO_OFTEN:
        often = f"{config.epochs:,} times through the text"
        say(wrapped(f"{often}: from here on more text would teach more than more time"))
    return config


def seconds_of(settings: TrainSettings, config: TrainConfig) -> float | None:
    """When the clock ends the run; None if its number of steps does."""
    return None if settings.minutes is None or config.schedule == "cosine" else 60 * settings.minutes


def resuming(out: Path, world: World | None) -> str:
    """The command that resumes a run."""
    ranks = f"{relaunch(world.size)} " if world else ""
    return f"{ranks}{program('train')} --resume --out {shlex.quote(str(out))}"


# -- settings ---------------------------------------------------------------------------------------


def settings_of(args: argparse.Namespace, out: Path) -> tuple[TrainSettings, CorpusNote | None]:
    """The settings of a run, and what the run that is resumed notes of its text.

    A flag beats the file of --config, which beats the run that is resumed or whose weights are taken over.
    """
    must_go_together(args)
    flags = given(args, TrainSettings)
    TrainSettings(**part_of(flags, CorpusConfig))
    must_start_alone(args, flags)
    values: dict[str, Any] = {}
    kept: CorpusNote | None = None
    if args.resume:
        note = read_note(out)
        kept = note.corpus
        values |= note.settings.model_dump() | reading_of(kept, args.corpus)
    if args.init_from:
        model = load(args.init_from)
        for name in ("cell", "num_layers", "hidden_size", "embedding_size"):
            values[name] = getattr(model.config, name)
    if args.config:
        file = read_toml(Path(args.config))
        must_start_alone(args, file, f"{args.config}: ")
        flags = file | flags
    for part in ("val", "test"):
        if flags.get(f"{part}_file") and f"{part}_fraction" in flags:
            raise ConfigError(
                f"{flag(f'{part}_fraction')} has no effect with {flag(f'{part}_file')}: leave one of them out"
            )
    if args.resume and flags.get("kernels") == "auto":  # what the run began with
        del flags["kernels"]
    if args.resume and "threads" not in flags:  # what a run says starts no more processes than fit
        threads, values["threads"] = values["threads"], within_cores(values["threads"])
        if threads != values["threads"]:
            say(f"--threads {threads} of this run is more than the cores here; give --threads to have it so")
    try:
        settings = TrainSettings(**values | flags)
    except ConfigError as error:
        raise ConfigError(f"{blamed(args)}{error}") from None
    if settings.minutes is not None:
        must_leave_the_time(args, settings)
    return settings, kept


def must_leave_the_time(args: argparse.Namespace, settings: TrainSettings) -> None:
    """Refuse what has no meaning beside --minutes."""
    if args.resume:
        raise ConfigError(
            "--minutes starts a new run; --resume continues one, to the steps that it has: see --epochs"
        )
    if args.gradcheck:
        raise ConfigError("--minutes has no effect with --gradcheck: leave one of them out")
    for name in ("epochs", "max_steps"):
        if name in settings.model_fields_set:
            raise ConfigError(f"--minutes and {flag(name)} both say when the run ends: leave one of them out")


def must_go_together(args: argparse.Namespace) -> None:
    """Refuse flags that mean something only beside another, or only without it."""
    for name, value, partner in (
        ("--from", args.start, "resume"),
        ("--allow-changed-corpus", args.allow_changed_corpus, "resume"),
        ("--keep-vocabulary", args.keep_vocabulary, "init_from"),
        ("--ignore-unknown", args.ignore_unknown, "vocabulary"),
    ):
        if value and not getattr(args, partner):
            raise ConfigError(f"{name}: is for {flag(partner)}: give both")
    for name in ("init_from", "vocabulary"):
        if getattr(args, name) and args.resume:
            raise ConfigError(f"{flag(name)} starts a new run; --resume continues one: give one of the two")


def must_start_alone(args: argparse.Namespace, values: dict[str, Any], where: str = "") -> None:
    """Refuse settings of how weights start where weights are taken over."""
    for name in ("init", "init_scale", "input_scale"):
        if args.init_from and name in values:
            raise ConfigError(
                f"{where}{flag(name)} has no effect with --init-from, whose weights are taken over"
            )


def blamed(args: argparse.Namespace) -> str:
    """The file whose settings are wrong; nothing if it is the flags by themselves."""
    try:
        TrainSettings(**given(args, TrainSettings))
    except ConfigError:
        return ""
    return f"{args.config}: " if args.config else ""


def read_toml(file: Path) -> dict[str, Any]:
    """The settings in a TOML file."""
    blob = read_small(file, CONFIG_BYTES)
    try:
        return tomllib.loads(blob.decode())
    except (ValueError, RecursionError) as error:  # of TOML, of UTF-8, of a number of too many digits
        raise ConfigError(f"{file}: not TOML: {error}") from None


def command_of(args: argparse.Namespace, settings: TrainSettings, config: TrainConfig) -> str:
    """The command that repeats a run of which ``config`` was chosen."""
    words = [f"./{name}" if name.startswith("-") and name != "-" else name for name in args.corpus]
    for name in ("init_from", "vocabulary"):
        if value := getattr(args, name):
            words.append(f"{flag(name)}={value}")
    words += [flag(name) for name in ("keep_vocabulary", "ignore_unknown") if getattr(args, name)]
    values = settings.model_dump(exclude={"minutes"}) | config.model_dump()
    defaults = TrainSettings().model_dump() | DEFAULTS.get(config.optimizer, {})
    for name, value in values.items():
        if value == defaults[name]:
            continue
        if isinstance(value, bool):
            words.append(flag(name) if value else f"--no-{flag(name)[2:]}")
        else:
            words += [f"{flag(name)}={word}" for word in (value if isinstance(value, tuple) else [value])]
    ranks = f"{relaunch(args.world.size)} " if args.world else ""
    return f"{ranks}{program('train')} {' '.join(map(quoted, words))}"


def quoted(word: str) -> str:
    """A word for the shell, in a line whatever is in it."""
    if word.isprintable():
        return shlex.quote(word)
    in_hex = ((c, "".join(f"\\x{byte:02x}" for byte in os.fsencode(c))) for c in word)
    escaped = (f"\\{c}" if c in "\\'" else c if c.isprintable() else code for c, code in in_hex)
    return f"$'{''.join(escaped)}'"


# -- what is printed --------------------------------------------------------------------------------


def say_what_to_beat(corpus: Corpus, config: TrainConfig) -> None:
    """Print the losses of counting, if the text is short enough to count and has a validation part."""
    parts = corpus.parts(config)
    if len(parts.val) >= 2 and len(parts.train) + len(parts.val) <= COUNTED:
        to_beat = baselines(parts.train, parts.val, len(corpus.vocabulary))
        losses = ", ".join(f"{name}\xa0{loss:.3f}" for name, loss in to_beat.items())
        say(wrapped(f"to beat on the validation part, in nats: {losses}"))


def say_result(result: Result, config: TrainConfig, separator: str, *, raw: bool) -> None:
    """Print how a run ended, with a sample: several documents, if a separator ends them."""
    for name, loss in (("best validation", result.best_val_loss), ("test", result.test_loss)):
        if loss is not None:
            say(f"{name:15}  {loss:.4f} nats ({loss / math.log(2):.3f} bits) per character")
    averaged = ", best with the average of the weights" if result.averaged else ""
    say(f"{result.steps:,} steps in {result.elapsed:.0f} s{averaged}")
    if separator:
        rngs = list(islice(generators(config.seed), AT_ONCE))
        sample = result.model.sample_documents(separator, SAMPLED, rngs)
    else:
        sample = result.model.sample("", length=SAMPLED, seed=config.seed)
    print(f"\n{framed(sample if raw else shown(sample, sys.stdout))}\n", flush=True)
    say(f"More of it: {program('sample')} {shlex.quote(str(result.path))}")
