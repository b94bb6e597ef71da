"""``charrnn sample``: write text with a trained network."""

import argparse
import sys
from collections.abc import Sequence
from itertools import islice
from pathlib import Path

from pydantic import Field

from charrnn.blas import one_blas_thread
from charrnn.commands.flags import (
    Commands,
    SavedConfig,
    add_command,
    add_raw,
    add_run,
    add_settings,
    add_unknown,
    given,
)
from charrnn.commands.terminal import Writer, warn
from charrnn.commands.texts import note_other_form, read_given, training_part
from charrnn.config import Positive, SampleConfig
from charrnn.errors import TextError
from charrnn.measures.novelty import LENGTHS, Novelty, novelty
from charrnn.model.charrnn import CharRNN
from charrnn.model.sampling import generators
from charrnn.runs import PRETRAINED, find_save, load

AT_ONCE = 64  # texts of one drawing
PRIME_BYTES = 64 * 10**6


class SampleSettings(SampleConfig, SavedConfig):
    """The texts."""

    num_samples: Positive = Field(
        default=1,
        description="texts to draw; several are drawn 64 at a time, and a newline ends each",
    )


def add_parser(commands: Commands) -> None:
    """Add the flags of ``charrnn sample``."""
    parser = add_command(
        commands,
        run,
        "sample",
        usage="[OPTION ...] [RUN]",
        description="Write text with the network of a run, or with one that comes with charrnn. It goes to "
        "standard output as it is drawn.",
    )
    add_run(parser, default=PRETRAINED)
    parser.add_argument(
        "--prime",
        "--primetext",
        metavar="TEXT",
        default="",
        help="text to continue, printed first; @FILE reads it from a file, - from standard input",
    )
    parser.add_argument(
        "--novelty",
        action="store_true",
        help="then say, on standard error, how much of it stands word for word in the training text: of its "
        "substrings, and of its complete lines that are not empty",
    )
    add_unknown(parser)
    add_raw(parser)
    add_settings(parser, SampleSettings)


def run(args: argparse.Namespace) -> int:
    """Draw texts. Returns: the exit code."""
    config = SampleSettings(**given(args, SampleSettings))
    file = find_save(args.run or PRETRAINED, config.which)
    if args.run is None:
        warn(f"{PRETRAINED}, a network that comes with charrnn, trained on the bundled fables")
    model, folder = load(file), file.parent
    given_prime = read_prime(args.prime, folder, model)
    prime = model.vocabulary.encode(given_prime, ignore_unknown=args.ignore_unknown)
    learned = training_part(folder, model) if args.novelty else None
    texts: list[list[int]] = []  # for --novelty
    writer, decode = Writer(sys.stdout, raw=args.raw), model.vocabulary.decode_bytes
    with one_blas_thread():
        if config.num_samples > 1:
            rngs = generators(config.seed)
            for done in range(0, config.num_samples, AT_ONCE):
                count = min(AT_ONCE, config.num_samples - done)
                for text in model.draw_many(prime, config, list(islice(rngs, count))):
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


def read_prime(prime: str, run: Path, model: CharRNN) -> str | bytes:
    """The prime text: as given, or in the run's encoding from the file @FILE, or standard input for -."""
    if prime == "-":
        if sys.stdin is None:
            raise TextError("--prime -: standard input is closed")
        return read_given(sys.stdin.buffer, PRIME_BYTES, run, model)
    if prime.startswith("@"):
        return read_given(Path(prime[1:]), PRIME_BYTES, run, model)
    note_other_form(prime, "--prime", model)
    return prime


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
