"""The command line: commands, the terminal, exit codes. Nothing but this and ``flags`` knows of them.

0  done          1  a check failed       2  something the user can put right, said in a line or two
129, 130, 143    stopped by SIGHUP, SIGINT (Ctrl-C) or SIGTERM, with what was learned saved
"""

import argparse
import io
import json
import math
import os
import shlex
import signal
import sys
import textwrap
import threading
import tomllib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits
from tqdm import tqdm

from charrnn.commands import page
from charrnn.commands.flags import (
    BenchSettings,
    GradcheckSettings,
    TrainSettings,
    build_parser,
    given,
    kebab,
    part_of,
)
from charrnn.commands.terminal import Writer, shown
from charrnn.config import (
    BenchConfig,
    DeriveConfig,
    GradcheckConfig,
    ModelConfig,
    SampleConfig,
    TextConfig,
    TrainConfig,
    flag,
)
from charrnn.errors import AnotherTextError, CharRNNError, ConfigError, Interrupted, RunError, TextError
from charrnn.measures.baselines import baselines
from charrnn.measures.evaluation import evaluate
from charrnn.measures.novelty import LENGTHS, Novelty, novelty
from charrnn.model.charrnn import CharRNN
from charrnn.proofs.board import board, lines, markdown
from charrnn.proofs.cells import derive
from charrnn.proofs.exercises import mark
from charrnn.proofs.gradcheck import TOLERANCE, GradientCheck, generic_model
from charrnn.runs.checkpoint import Lock, is_run, load, read_note
from charrnn.text.corpus import Corpus
from charrnn.text.reading import STDIN, check_encoding, corpus_name, read_file
from charrnn.text.streams import Streams
from charrnn.text.tokens import TOKENS, nearest_folder, place
from charrnn.text.vocabulary import Tokens
from charrnn.training.bench import bench, plan
from charrnn.training.shards import available_cores, choose_threads
from charrnn.training.trainer import Progress, must_be_free, package_version, train
from charrnn.views.plotting import plot_losses

MANY = 20_000  # derivatives: more take too long to check one by one unasked
AT_ONCE = 64  # texts of one drawing
COUNTED = 4_000_000  # characters: more take longer than two seconds to count, which is long to wait unasked


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line. Returns: the exit code."""
    parser, commands = build_parser(page.add_parser)
    args, unknown = parser.parse_known_args(kebab(sys.argv[1:] if argv is None else argv))
    if unknown:
        commands.get(args.command, parser).unknown(unknown[0])
    for stream in ("stdout", "stderr"):
        if getattr(sys, stream) is None:  # closed by whoever started us
            setattr(sys, stream, Path(os.devnull).open("w"))  # noqa: SIM115  # until the program ends
    if isinstance(sys.stdout, io.TextIOWrapper):  # a character that cannot be shown is no reason to stop
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        with too_big_is_no_memory():
            code = run(args, parser)
        sys.stdout.flush()
        return code
    except CharRNNError as error:
        return fail(args, str(error), 2)
    except MemoryError as error:
        return fail(args, f"not enough memory: {error}. Ask for a smaller network or smaller windows", 2)
    except Interrupted as stopped:
        return fail(args, str(stopped), 128 + stopped.signal)
    except KeyboardInterrupt:
        return fail(args, "interrupted", 130)
    except OSError as error:
        if error.filename is None:  # it was our output that could not be written: do not try again
            with suppress(OSError, ValueError):
                os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        if isinstance(error, BrokenPipeError):  # the reader has gone: charrnn sample … | head
            return 141
        where = "" if error.filename is None else f"{error.filename}: "
        return fail(args, f"{where}{error.strerror or error}", 2)


@contextmanager
def too_big_is_no_memory() -> Iterator[None]:
    """NumPy has two errors for arrays that do not fit: a MemoryError, and for absurd ones a ValueError."""
    try:
        yield
    except ValueError as error:
        if "array is too big" in str(error) or "Maximum allowed" in str(error):
            raise MemoryError(str(error)) from None
        raise


def run(args: argparse.Namespace, parser: argparse.ArgumentParser) -> int:
    """Do what was asked. Returns: the exit code."""
    if args.version:
        print(f"charrnn {package_version()}")
        return 0
    if not args.command:
        parser.print_help()
        return 2
    return COMMANDS[args.command](args)


def fail(args: argparse.Namespace, message: str, code: int) -> int:
    """Say what is wrong, in a line."""
    with suppress(OSError):  # there may be no terminal any more
        line = f"{' '.join(filter(None, ('charrnn', args.command)))}: {message}"
        print(shown(line, sys.stderr), file=sys.stderr)
    return code


def train_command(args: argparse.Namespace) -> int:
    values: dict[str, Any] = {}
    kept: dict[str, Any] = {}
    must_agree(args)
    out = Path(args.out or default_out(args.corpus))
    if args.resume:
        saved = read_note(out)
        kept = saved["corpus"]
        values |= saved["settings"] | part_of(kept, TextConfig)
    if args.init_from:
        model = load(args.init_from)
        for name in ("cell", "num_layers", "hidden_size", "embedding_size"):
            values[name] = getattr(model.config, name)
    if args.config:
        values |= (file := read_toml(Path(args.config)))
        must_start_alone(args, file, f"{args.config}: ")
    try:
        settings = TrainSettings(**values | given(args, TrainSettings)).model_dump()
    except ConfigError as error:
        raise ConfigError(f"{blamed(args)}{error}") from None
    config = TrainConfig(**part_of(settings, TrainConfig))
    reading = part_of(settings, TextConfig)
    if args.gradcheck:
        corpus = read_corpus(args.corpus or sources_of(kept), reading)
        common = part_of(config.model_dump(exclude={"dtype"}), GradcheckConfig)
        return check(corpus, GradcheckConfig(**common, quick=True))
    corpus, cache = text_to_train_on(args, settings, kept, out)
    say(
        f"{corpus.name}: {len(corpus):,} characters, {len(corpus.vocabulary)} distinct; "
        f"seed {config.seed}, run {out}"
    )
    parts = corpus.split(config.val_fraction, config.test_fraction)
    if not args.resume and len(parts.val) >= 2 and len(parts.train) + len(parts.val) <= COUNTED:
        to_beat = baselines(parts.train, parts.val, len(corpus.vocabulary))
        losses = ", ".join(f"{name} {loss:.3f}" for name, loss in to_beat.items())
        say(f"to beat on the validation part, in nats: {losses}")
    try:
        result = train(
            corpus,
            config,
            out,
            resume=args.start or args.resume,
            overwrite=args.overwrite,
            init_from=args.init_from,
            allow_changed_corpus=args.allow_changed_corpus,
            about={
                "sources": [source_of(path) for path in args.corpus] or sources_of(kept),
                "cache_dir": "" if cache == out / TOKENS else str(cache),
                **reading,
            },
            progress=Bar(raw=args.raw),
        )
    except Interrupted as stopped:
        with suppress(OSError):  # there may be no terminal any more
            say(f"{stopped}. To go on: charrnn train --resume --out {shlex.quote(str(out))}")
        return 128 + stopped.signal
    scores = [
        f"{name} {loss:.4f} nats ({loss / math.log(2):.3f} bits) per character"
        for name, loss in (("best validation", result.best_val_loss), ("test", result.test_loss))
        if loss is not None
    ]
    say("; ".join([*scores, f"{result.steps:,} steps in {result.elapsed:.0f} s"]))
    say(f"\n{framed(result.model.sample(length=700, seed=config.seed))}\n", raw=args.raw)
    say(f"More of it: charrnn sample {shlex.quote(str(out))}")
    return 0


def must_agree(args: argparse.Namespace) -> None:
    """Make sure that no flag of ``charrnn train`` is without effect beside the others.

    Raises:
        ConfigError: one is.
    """
    for name, value in (("--from", args.start), ("--allow-changed-corpus", args.allow_changed_corpus)):
        if value and not args.resume:
            raise ConfigError(f"{name}: is for --resume: give both")
    if args.init_from and args.resume:
        raise ConfigError("--init-from starts a new run; --resume goes on with one: give one of the two")
    must_start_alone(args, vars(args))


def must_start_alone(args: argparse.Namespace, values: dict[str, Any], where: str = "") -> None:
    """Make sure that nothing says how weights start that are taken over.

    Raises:
        ConfigError: something does.
    """
    for name in ("init", "init_scale", "input_scale"):
        if args.init_from and name in values:
            raise ConfigError(
                f"{where}{flag(name)} has no effect with --init-from, whose weights are taken over"
            )


def text_to_train_on(
    args: argparse.Namespace, settings: dict[str, Any], kept: dict[str, Any], out: Path
) -> tuple[Corpus, Path]:
    """The text, and where its tokens are kept; ``kept`` is what the run that is resumed notes of it.

    Raises:
        RunError: the folder is taken, or its run was trained on another text.
        ConfigError: the text would be read in another way than the run's.
    """
    reading = part_of(settings, TextConfig)
    must_be_free(out, overwrite=args.overwrite or args.resume)
    if is_run(out):
        with Lock(out):  # before a long text is read, and its tokens take the place of those there
            pass
    if args.resume:
        must_be_read_alike(reading, kept)
    cache = cache_of(kept, out)
    if settings["cache_dir"]:
        cache = Path(settings["cache_dir"]).absolute()
        try:
            cache.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ConfigError(f"--cache-dir {cache}: cannot be made: {error.strerror}") from None
    if args.resume:
        try:
            corpus = text_of_run(args.corpus, kept, reading, cache, any_text=args.allow_changed_corpus)
        except AnotherTextError as error:
            raise RunError(
                f"{out}: this run was trained on another text: {error}. Give the text as it was; "
                "--allow-changed-corpus goes on with this one, --out names a folder for a new run"
            ) from None
    else:
        corpus = read_corpus(args.corpus, reading, cache=cache)
    return corpus, cache


def must_be_read_alike(reading: dict[str, Any], kept: dict[str, Any]) -> None:
    """Make sure that a run that is resumed reads its text as before.

    Raises:
        ConfigError: as bytes and not as text, or the other way round, or in another encoding.
    """
    was = TextConfig(**part_of(kept, TextConfig))
    if reading["bytes"] != was.bytes:
        raise ConfigError(f"--bytes: this run reads its text as {'bytes' if was.bytes else 'characters'}")
    if not was.bytes and check_encoding(reading["encoding"]) != check_encoding(was.encoding):
        raise ConfigError(f"--encoding {reading['encoding']}: this run reads its text as {was.encoding}")


def sources_of(kept: dict[str, Any]) -> list[str]:
    """Where the text of a run stood when it was last given, as config.json notes it."""
    sources: list[str] = kept.get("sources", [])
    for source in map(Path, sources):  # the note may be a stranger's: no device, no pipe
        if source.exists() and not (source.is_file() or source.is_dir()):
            raise TextError(f"{source}: neither a file nor a folder")
    return sources


def blamed(args: argparse.Namespace) -> str:
    """The file whose settings are wrong; nothing if it is the flags by themselves."""
    try:
        TrainSettings(**given(args, TrainSettings))
    except ConfigError:
        return ""
    return f"{args.config}: " if args.config else ""


def sample_command(args: argparse.Namespace) -> int:
    config = SampleConfig(**given(args, SampleConfig))
    model = load(args.run, args.which)
    prime = model.vocabulary.encode(read_prime(args.prime), ignore_unknown=args.ignore_unknown)
    learned = training_part(Path(args.run), model) if args.novelty else None
    texts: list[list[int]] = []  # for --novelty
    writer, decode = Writer(sys.stdout, raw=args.raw), model.vocabulary.decode_bytes
    with threadpool_limits(1, "blas"):
        if args.num_samples > 1:
            rng = np.random.default_rng(config.seed)
            for done in range(0, args.num_samples, AT_ONCE):
                count = min(AT_ONCE, args.num_samples - done)
                for text in model.draw_many(prime, count, config, rng):
                    writer.write(decode(prime) + decode(text) + b"\n")
                    if args.novelty:
                        texts.append(text)
        else:
            texts.append([])
            writer.write(decode(prime))
            for token in model.draw(prime, config):
                writer.write(decode([token]))
                if args.novelty:
                    texts[0].append(token)
            writer.write(b"\n" if sys.stdout.isatty() else b"", final=True)
    if learned is not None:
        newline = next(iter(model.vocabulary.encode("\n", ignore_unknown=True).tolist()), None)
        ended = [config.stop.startswith("\n") and len(text) < config.length for text in texts]
        report = novelty(learned, prime, texts, newline, ended)
        print(in_words(report, "bytes" if model.vocabulary.is_bytes else "characters"), file=sys.stderr)
    return 0


def in_words(report: Novelty, unit: str) -> str:
    """What ``charrnn sample --novelty`` says."""
    shares = ["–" if (share := report.share(length)) is None else f"{share:.1%}" for length in LENGTHS]
    copies = f"{report.copies} of {report.lines} lines {'is a copy' if report.copies == 1 else 'are copies'}"
    return (
        f"of its substrings of {listed(LENGTHS)} {unit} {listed(shares)} stand in the training text\n"
        f"{copies if report.lines else 'no line is complete'}"
    )


def listed(words: Sequence[object]) -> str:
    """a, b and c."""
    *before, last = map(str, words)
    return f"{', '.join(before)} and {last}"


def eval_command(args: argparse.Namespace) -> int:
    run = Path(args.run)
    model = load(run, args.which)
    note = read_note(run)
    flags = given(args, TextConfig)
    if args.corpus:
        how: dict[str, Any] = {"vocabulary": model.vocabulary, "ignore_unknown": args.ignore_unknown}
        corpus = read_corpus(args.corpus, reading_of(note, model, flags), **how)
    else:
        remedy = "Name the CORPUS to score it as it is" + ", without --baselines" * args.baselines
        corpus = text_learned(run, note, model, remedy, flags, args.ignore_unknown)
    own = corpus
    if args.corpus and args.baselines:
        own = text_learned(run, note, model, "Leave out --baselines to score this CORPUS")
    config = TrainConfig(**note["settings"])
    split = args.split or ("all" if args.corpus else "val")
    parts: dict[str, Tokens] = {"all": corpus.tokens}
    if split != "all":
        parts |= corpus.split(config.val_fraction, config.test_fraction)._asdict()
    if len(parts[split]) < 2:
        raise RunError(
            f"the {split} part of {corpus.name} is empty or one character: nothing to score. See --split"
        )
    score = evaluate(model, parts[split])
    counted: dict[str, float] = {}
    if args.baselines:
        learned = own.split(config.val_fraction, config.test_fraction).train
        counted = baselines(learned, parts[split], len(model.vocabulary))
    if args.json:
        named = {"run": str(run), "corpus": corpus.name, "split": split}
        rest = {"bits_per_char": score.bits_per_char, "perplexity": score.perplexity}
        more = {"baselines": counted} if args.baselines else {}
        print(json.dumps({**named, **asdict(score), **rest, **more}))
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


def gradcheck_command(args: argparse.Namespace) -> int:
    settings = GradcheckSettings(**given(args, GradcheckSettings)).model_dump()
    config = GradcheckConfig(**part_of(settings, GradcheckConfig))
    return check(read_corpus(args.corpus, part_of(settings, TextConfig)), config, args.json)


def check(corpus: Corpus, config: GradcheckConfig, as_json: bool = False) -> int:
    """Check the gradients of the network that ``config`` describes, on the first window of a text."""
    model = generic_model(corpus.vocabulary, config, config.seed)
    inputs, targets = Streams(corpus.tokens, config.batch_size, config.seq_length)[0]
    if inputs.shape[1] < config.batch_size and not as_json:
        print(f"the text fills only {inputs.shape[1]} rows: --batch-size {config.batch_size} shrunk to that")
    rng = np.random.default_rng([config.seed, 1])
    with threadpool_limits(1, "blas"), tqdm(disable=None, leave=False, unit="derivative") as bar:
        window = GradientCheck(model, inputs, targets, rng, config.method, bar.update, config.dropout)
        quick = config.quick
        if quick is None:
            quick = window.derivatives(quick=False, per_step=False) > MANY
        bar.total = window.derivatives(quick=quick, per_step=config.per_step)
        checks = list(window.quick() if quick else window.every_entry())
        checks += window.per_step() if config.per_step else ()
        checks += window.properties(quick=quick)
    passed = all(check.passed for check in checks)
    sizes = {"T": window.T, "B": window.B, "H": model.config.hidden_size, "V": len(corpus.vocabulary)}
    if as_json:
        report = {"passed": passed, "method": config.method, "tolerance": window.tolerance, "sizes": sizes}
        network = config.model_dump(include={"cell", "num_layers", "embedding_size", "dropout"})
        print(json.dumps({**report, "network": network, "checks": [asdict(check) for check in checks]}))
        return 0 if passed else 1
    print(form_of(config) + ", ".join(f"{name} = {size}" for name, size in sizes.items()), end=", ")
    print(f"loss {float(window.loss):.4f} nats, {'float64' if config.method == 'central' else 'complex128'}")
    print(f"{'gradient':12}{'equation':9} {'shape':14} {'norm':>9}  {'largest error':>13}  at")
    for check in checks:
        name = check.name if check.norm is None else f"d{check.name}"
        norm = "" if check.norm is None else f"{check.norm:.2e}"
        where = "" if check.where is None else str(check.where)
        print(
            f"{name:12}{check.equation:9} {check.shape!s:14} {norm:>9}  {check.error:13.1e}  "
            f"{where:14} {'ok' if check.passed else 'WRONG'}"
        )
    how = {"complex": "the complex step", "central": "central differences"}[config.method]
    by = "; gradients along random directions (--no-quick: each entry)" if quick else ""
    if window.tolerance > TOLERANCE[config.method]:
        by += "; less than usual, for this network magnifies rounding"
    print(f"{'All' if passed else 'NOT all'} agree with {how} to {window.tolerance:.0e}{by}")
    return 0 if passed else 1


def form_of(config: ModelConfig) -> str:
    """What of the network is not as it is unless asked for: nothing, or words such as ``lstm, L = 2, ``."""
    form = [config.cell] if config.cell != "rnn" else []
    form += [f"L = {config.num_layers}"] if config.num_layers > 1 else []
    form += [f"E = {config.embedding_size}"] if config.embedding_size else []
    form += [f"dropout {config.dropout:g}"] if config.dropout else []
    return "".join(f"{word}, " for word in form)


def derive_command(args: argparse.Namespace) -> int:
    config = DeriveConfig(**given(args, DeriveConfig))
    rng = np.random.default_rng(config.seed)
    if args.answer is not None and (args.json or args.markdown):
        raise ConfigError("--answer: its replies have no --json or --markdown form")
    if args.answer is not None and (
        without := [flag(name) for name in vars(args) if name in DeriveConfig.model_fields and name != "seed"]
    ):
        raise ConfigError(
            f"{without[0]} has no effect with --answer: the exercises have a cell and sizes of their own"
        )
    if args.answer is not None:
        replies = list(mark(Path(args.answer), rng))
        for reply in replies:
            print(f"{reply.name}: {reply.text}")
        return 0 if all(reply.right for reply in replies) else 1
    sizes = config.time_steps, config.batch_size, config.hidden_size, config.vocabulary_size
    proofs = derive(rng, *sizes, config.cell)
    rules = list(dict.fromkeys(proof.rule for proof in proofs))
    if args.rule is not None:
        names = {rule.lower(): rule for rule in rules}
        if args.rule.lower() not in names:
            raise ConfigError(f"--rule {args.rule}: is none of {', '.join(rules)}")
        proofs = [proof for proof in proofs if proof.rule == names[args.rule.lower()]]
    passed = all(proof.agrees for proof in proofs)
    if args.json:
        report = [
            {
                "rule": proof.rule,
                "step": proof.step,
                "derivative": proof.title,
                "equation": proof.equation,
                "tensor": None if proof.J is None else {"shape": proof.J.shape, "bytes": proof.J.nbytes},
                "trick": {"shape": proof.trick.shape, "bytes": proof.trick.nbytes},
                "difference": proof.difference,
                "agrees": proof.agrees,
            }
            for proof in proofs
        ]
        print(json.dumps({"passed": passed, "proofs": report}))
    elif args.rule is not None:
        shown = [proof for proof in proofs if proof.step == 1] or proofs
        text = "\n\n".join("\n".join(board(proof)) for proof in shown)
        print(f"```\n{text}\n```" if args.markdown else text)
        if len(proofs) > len(shown):
            verdict = "all agree" if passed else "NOT all agree"
            print(f"\nOf the {len(proofs)} such derivatives of the window, {verdict}.")
    else:
        print("\n".join((markdown if args.markdown else lines)(proofs)))
    return 0 if passed else 1


def bench_command(args: argparse.Namespace) -> int:
    settings = BenchSettings(**given(args, BenchSettings)).model_dump()
    config = BenchConfig(**part_of(settings, BenchConfig))
    corpus = read_corpus(args.corpus, part_of(settings, TextConfig))
    planned = len(plan(config))
    measured = bench(config, corpus.vocabulary)
    points = list(tqdm(measured, total=planned, disable=None, leave=False, unit="point"))
    fastest = max(points, key=lambda point: point.chars_per_second)
    asked = [point for point in points if point.batch_size == config.batch_size]
    best = max(asked, key=lambda point: point.chars_per_second)
    sizes = {"T": config.seq_length, "H": config.hidden_size, "V": len(corpus.vocabulary)}
    if args.json:
        report = {"sizes": sizes, "dtype": config.dtype, "cores": available_cores()}
        report["network"] = config.model_dump(include={"cell", "num_layers", "embedding_size", "dropout"})
        table = [{**asdict(point), "of_peak": point.of_peak} for point in points]
        advice = {"threads": best.threads, "batch_size": best.batch_size}
        print(json.dumps({**report, "points": table, "recommended": advice}))
        return 0
    print(form_of(config) + ", ".join(f"{name} = {size}" for name, size in sizes.items()), end=", ")
    print(f"{config.dtype}, {available_cores()} cores")
    print("threads  batch size  characters/s   GFLOP/s  of the peak  arrays")
    for p in points:
        print(
            f"{p.threads:7}  {p.batch_size:10}  {p.chars_per_second:12,.0f}  {p.gflops:8.1f}  "
            f"{p.of_peak:5.0%} of {p.peak_gflops:<4.0f} {p.megabytes:4.0f} MB"
        )
    print(f"\nBest for --batch-size {best.batch_size}: --threads {best.threads}.", end=" ")
    auto = choose_threads("auto", config.batch_size, config.hidden_size)
    print(f"--threads auto takes {auto}.")
    if fastest.batch_size > best.batch_size:
        gain = fastest.chars_per_second / best.chars_per_second - 1
        print(
            f"--batch-size {fastest.batch_size} --threads {fastest.threads} reads {gain:.0%} more characters "
            "a second, but takes fewer steps in an epoch, so it may learn less from it."
        )
    return 0


def plot_command(args: argparse.Namespace) -> int:
    plot_losses([Path(run) for run in args.runs], Path(args.out))
    say(str(args.out))
    return 0


COMMANDS = {
    "train": train_command,
    "sample": sample_command,
    "eval": eval_command,
    "gradcheck": gradcheck_command,
    "derive": derive_command,
    "bench": bench_command,
    "plot": plot_command,
    "page": page.run,
}


# -- what the commands read and show ----------------------------------------------------------------


def say(text: str, *, raw: bool = False) -> None:
    """Print what may hold characters of a text or a name."""
    print(text if raw else shown(text, sys.stdout), flush=True)


def read_corpus(paths: Sequence[str | Path], reading: dict[str, Any], **how: Any) -> Corpus:
    """The text that was named, or the bundled one; says what there is to say about it."""
    if STDIN in paths and sys.stdin is not None and sys.stdin.isatty():
        print("reading the text from standard input; Ctrl-D ends it", file=sys.stderr)
    with ended_cleanly():
        corpus = Corpus.from_files(*(paths or [bundled_text()]), **reading, **how, progress=reading_bar)
    for note in corpus.notes:
        print(shown(note, sys.stderr), file=sys.stderr)
    return corpus


def cache_of(kept: dict[str, Any], run: Path) -> Path:
    """Where a run's tokens are: in the --cache-dir it was trained with, if they are there; or in its folder.

    (config.json may be a stranger's: nothing is made or written at a place that it alone names.)
    """
    shared = Path(kept.get("cache_dir", ""))
    there = place(
        shared, str(kept.get("sha256")), None if kept.get("bytes") else kept.get("encoding", "utf-8")
    )
    return shared if kept.get("cache_dir") and there.is_file() else run / TOKENS


def text_of_run(
    paths: Sequence[str],
    kept: dict[str, Any],
    reading: dict[str, Any],
    cache: Path,
    *,
    any_text: bool = False,
    **how: Any,
) -> Corpus:
    """The text a run was trained on: read again, unless it is in the cache and came through a pipe.

    Arguments:
        paths: where it stands now; none if that is where it was.
        kept: what config.json notes of it.
        any_text: it may be another text.

    Raises:
        AnotherTextError: it is not the same text any more.
        RunError: it came through a pipe, is not piped again, and is not in the cache.
    """
    known, sources = str(kept.get("sha256")), sources_of(kept)
    if any_text and paths and cache.name == TOKENS:
        return read_corpus(paths, reading, **how)  # the run may yet refuse it, and needs what is there
    if paths or STDIN not in sources:
        sha256 = None if any_text else known
        if not (cache.exists() or os.access(nearest_folder(cache), os.W_OK)):
            return read_corpus(paths or sources, reading, sha256=sha256, **how)
        return read_corpus(paths or sources, reading, cache=cache, sha256=sha256, **how)
    named = {key: reading[key] for key in ("bytes", "encoding")}
    try:
        return Corpus.from_cache(cache, str(kept.get("name")), known, **named, progress=reading_bar)
    except RunError as error:
        raise RunError(
            f"{error}. The text came through a pipe and stands nowhere else: pipe it again, "
            "… | charrnn train - --resume --out RUN"
        ) from None


def reading_of(note: dict[str, Any], model: CharRNN, flags: dict[str, Any]) -> dict[str, Any]:
    """How the text of a run is read, but for what ``flags`` say."""
    saved = {name: value for name, value in note["corpus"].items() if name in ("encoding", "glob")}
    return TextConfig(**saved | flags).model_dump() | {"bytes": model.vocabulary.is_bytes}


def text_learned(
    run: Path,
    note: dict[str, Any],
    model: CharRNN,
    remedy: str,
    flags: dict[str, Any] | None = None,
    ignore_unknown: bool = False,
) -> Corpus:
    """The very text a run was trained on, encoded for its network.

    Arguments:
        note: what config.json notes.
        remedy: what to do if it is another text by now.
        flags: what is to be read in another way than the run noted.

    Raises:
        RunError: it is another text by now, or cannot be had any more.
    """
    saved, reading = note["corpus"], reading_of(note, model, flags or {})
    how: dict[str, Any] = {"vocabulary": model.vocabulary, "ignore_unknown": ignore_unknown}
    try:
        return text_of_run([], saved, reading, cache_of(saved, run), **how)
    except AnotherTextError as error:
        raise RunError(
            f"{error}: this text has changed since {run} was trained on it, so its parts are no longer "
            f"the same. {remedy}"
        ) from None


def training_part(run: Path, model: CharRNN) -> Tokens:
    """What a run was trained on, for ``charrnn sample --novelty``."""
    note = read_note(run)
    config = TrainConfig(**note["settings"])
    corpus = text_learned(run, note, model, "Leave out --novelty to sample without it")
    return corpus.split(config.val_fraction, config.test_fraction).train


def source_of(path: str) -> str:
    """Where a text is to be found again: the whole path of a file or folder, - for what was piped."""
    return STDIN if path == STDIN or Path(path).is_fifo() else str(Path(path).resolve())


@contextmanager
def reading_bar(what: str, total: int | None) -> Iterator[Callable[[int], object]]:
    """A bar of bytes, for what takes longer than half a second."""
    with tqdm(
        desc=what,
        total=total,
        unit="B",
        unit_scale=True,
        dynamic_ncols=True,
        delay=0.5,
        leave=False,
        disable=None,  # where standard error is not a terminal
    ) as bar:
        yield bar.update


@contextmanager
def ended_cleanly() -> Iterator[None]:
    """SIGTERM and SIGHUP end what goes on as Ctrl-C does, so that nothing half written is left."""

    def end(number: int, frame: FrameType | None) -> None:
        raise Interrupted("stopped while reading", number)

    numbers = [getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name)]
    ours = [number for number in numbers if signal.getsignal(number) == signal.SIG_DFL]  # nohup ignores one
    if threading.current_thread() is not threading.main_thread():
        ours = []
    for number in ours:
        signal.signal(number, end)
    try:
        yield
    finally:
        for number in ours:
            signal.signal(number, signal.SIG_DFL)


def bundled_text() -> Path:
    """data/fables.txt: inside the installed package, or beside it in a checkout."""
    here = Path(__file__).parent
    for folder in (here, here.parent):
        if (folder / "data" / "fables.txt").is_file():
            return folder / "data" / "fables.txt"
    raise TextError("the bundled text, data/fables.txt, is not there: name a CORPUS")


def default_out(corpus: Sequence[str]) -> Path:
    """runs/NAME-OF-CORPUS."""
    return Path("runs", corpus_name(corpus or [bundled_text()]))


def read_toml(path: Path) -> dict[str, Any]:
    """The settings in a TOML file."""
    try:
        values = tomllib.loads(path.read_text("utf-8"))
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ConfigError(f"{path}: not TOML: {error}") from None
    return values


def read_prime(prime: str) -> str | bytes:
    """The prime text: as given, or from the file @FILE, or from standard input for -."""
    if prime == "-":
        if sys.stdin is None:
            raise TextError("--prime -: standard input is closed")
        return sys.stdin.buffer.read()
    if prime.startswith("@"):
        return read_file(Path(prime[1:]))
    return prime


def framed(text: str) -> str:
    """A sample to be shown among other lines: wrapped and marked at the left."""
    lines = (line for paragraph in text.strip().splitlines() for line in textwrap.wrap(paragraph, 76) or [""])
    return "\n".join(f"    | {line}" for line in lines)


class Bar(Progress):
    """A Progress on the terminal: a bar on standard error, lines on standard output."""

    def __init__(self, *, raw: bool = False):
        """``raw``: samples are printed as they are."""
        self.raw = raw

    def start(self, characters: int, total: int) -> None:
        self._loss = math.nan
        self._bar = tqdm(
            total=total,
            initial=characters,
            unit="char",
            unit_scale=True,
            dynamic_ncols=True,
            smoothing=0.1,
            disable=None,  # where standard error is not a terminal
        )

    def step(self, characters: int, loss: float) -> None:
        self._loss = loss if math.isnan(self._loss) else 0.95 * self._loss + 0.05 * loss
        bits = self._loss / math.log(2)
        self._bar.set_postfix_str(f"loss {self._loss:.3f}, {bits:.3f} bits/char", refresh=False)
        self._bar.update(characters)

    def evaluated(self, step: int, epoch: float, loss: float, val_loss: float, best: bool) -> None:
        self.say(
            f"epoch {epoch:6.2f}  step {step:7,}  train {loss:.4f}  validation {val_loss:.4f} nats "
            f"({val_loss / math.log(2):.3f} bits){'  best' if best else ''}"
        )

    def went_back(self, characters: int) -> None:
        self._loss = math.nan
        self._bar.n = characters
        self._bar.refresh()

    def sampled(self, text: str) -> None:
        self._write("\n" + framed(text) + "\n", self.raw)

    def say(self, text: str) -> None:
        self._write(text)

    def _write(self, text: str, raw: bool = False) -> None:
        tqdm.write(text if raw else shown(text, sys.stdout), file=sys.stdout)
        sys.stdout.flush()

    def stop(self) -> None:
        with suppress(OSError):  # there may be no terminal any more
            self._bar.close()
