"""``charrnn sample``: write text with a trained network."""

import argparse
import json
import sys
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Literal, Self

import numpy as np
from pydantic import Field, model_validator

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
from charrnn.commands.texts import (
    encode_given,
    note_other_form,
    read_given,
    read_typed,
    separator_of,
    training_part,
)
from charrnn.config import Positive, SampleConfig
from charrnn.errors import TextError, setting
from charrnn.measures.novelty import LENGTHS, Novelty, novelty
from charrnn.model.charrnn import CharRNN
from charrnn.model.kernels import choose_for_text
from charrnn.model.sampling import Sample, generators
from charrnn.runs import PRETRAINED, find_save, load
from charrnn.text.documents import begun
from charrnn.text.reading import END_OF_TEXT
from charrnn.text.vocabulary import Tokens

AT_ONCE = 64  # texts of one drawing
PRIME_BYTES = 64 * 10**6
STOP_BYTES = 10**6
NAMED = 8  # cut texts that are named
PATIENCE = 3.0  # seconds; numba loads what it has compiled before in one


class SampleSettings(SampleConfig, SavedConfig):
    """The texts."""

    num_samples: Positive = Field(default=1, description="texts to draw; several are drawn 64 at a time")
    format: Literal["text", "jsonl"] = Field(
        default="text", description="jsonl is a JSON object for each text, on a line of its own"
    )
    separator: str | None = Field(
        default=None,
        max_length=10_000,
        description="printed after each text (default: what ended it, or else a newline; after a single text "
        "nothing)",
    )

    @model_validator(mode="after")
    def _nothing_is_ignored(self) -> Self:
        if self.separator is not None and self.format == "jsonl":
            raise ValueError(f"{setting('separator')} has no effect with {setting('format')} jsonl")
        return self


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
        help="text to continue, printed first; @FILE reads it from a file, as it does for --stop, - from "
        "standard input",
    )
    parser.add_argument(
        "--escapes",
        action="store_true",
        help=r"read \n, \t, \\ and \xNN in --prime, --stop, --forbid and --separator as escapes even where "
        "the network knows the text as typed",
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
    config = with_texts_read(config, folder, model, escapes=args.escapes)
    text = read_prime(args.prime, folder, model, escapes=args.escapes)
    prime, _ = encode_given(text, "--prime", model, ignore_unknown=args.ignore_unknown)
    learned = training_part(folder, model) if args.novelty else None
    start = prime
    if separator := separator_of(folder):
        start = begun(prime, model.vocabulary.encode(separator))
        parting = "\n" if separator == END_OF_TEXT and config.format == "text" else None
        by_document = {"stop": (*config.stop, separator), "separator": config.separator or parting}
        config = config.model_copy(update=by_document)
    output = Output(model, prime, start, config, Writer(sys.stdout, raw=args.raw), keep=args.novelty)
    with one_blas_thread():
        if config.num_samples == 1 and config.format == "text":
            output.stream_one()
        else:
            if config.kernels == "numba":
                warn(f"{setting('kernels')} numba is for one text in the format text; these NumPy draws")
            output.write_many()
    output.note_cut()
    if learned is not None:
        newline = next(iter(model.vocabulary.encode("\n", ignore_unknown=True).tolist()), None)
        ended = [stop[:1] == [newline] for stop in output.stops]
        report = novelty(learned, prime, output.texts, newline, ended)
        print(in_words(report, "bytes" if model.vocabulary.is_bytes else "characters"), file=sys.stderr)
    return 0


# -- what is given ----------------------------------------------------------------------------------


def with_texts_read(config: SampleSettings, run: Path, model: CharRNN, *, escapes: bool) -> SampleSettings:
    """The settings with their texts as they are meant, and with a seed."""
    stops = [read_stop(stop, run, model, escapes=escapes) for stop in config.stop]
    forbid = read_typed(config.forbid, "--forbid", model, escapes=escapes)
    if lacking := model.vocabulary.lacking(forbid):
        warn(f"--forbid: {''.join(lacking)!r} is never drawn anyway, as the model does not know it")
    separator = config.separator and read_typed(config.separator, "--separator", model, escapes=escapes)
    seed = int(np.random.SeedSequence().generate_state(1)[0]) if config.seed is None else config.seed
    texts = {"stop": tuple(stops), "forbid": forbid, "separator": separator, "seed": seed}
    return config.model_copy(update=texts)


def read_stop(stop: str, run: Path, model: CharRNN, *, escapes: bool) -> str:
    """A stop text: as given, or from the file @FILE. A lone @ is itself."""
    if stop == "@" or not stop.startswith("@"):
        return read_typed(stop, "--stop", model, escapes=escapes)
    text = read_given(Path(stop[1:]), STOP_BYTES, run, model)
    if not text:
        raise TextError(f"--stop {stop}: the file is empty: it would never stop")
    return text.decode("utf-8", "surrogateescape") if isinstance(text, bytes) else text


def read_prime(prime: str, run: Path, model: CharRNN, *, escapes: bool) -> str | bytes:
    """The prime text: as given, or in the run's encoding from the file @FILE, or standard input for -."""
    if prime == "-":
        if sys.stdin is None:
            raise TextError("--prime -: standard input is closed")
        return read_given(sys.stdin.buffer, PRIME_BYTES, run, model)
    if prime.startswith("@"):
        return read_given(Path(prime[1:]), PRIME_BYTES, run, model)
    prime = read_typed(prime, "--prime", model, escapes=escapes)
    note_other_form(prime, "--prime", model)
    return prime


# -- what is written --------------------------------------------------------------------------------


@dataclass
class Output:
    """The texts as they are drawn and written.

    Attributes:
        prime: what each text continues.
        start: what is read of it, and before it.
        keep: whether ``texts`` are kept.
        texts: the characters of each.
        stops: what ended each; empty if it was cut at ``length``.
    """

    model: CharRNN
    prime: Tokens
    start: Tokens
    config: SampleSettings
    writer: Writer
    keep: bool
    texts: list[list[int]] = field(default_factory=list)
    stops: list[list[int]] = field(default_factory=list)

    def stream_one(self) -> None:
        """Write one text, its characters as they are drawn."""
        decode, text = self.model.vocabulary.decode_bytes, list[int]()
        waiting = threading.Timer(PATIENCE, warn, ["numba compiles for the first text on this machine"])
        drawn = self.model.draw(self.start, self.config)
        self.writer.write(decode(self.prime))
        if choose_for_text(self.config) == "numba":
            waiting.start()
        while True:
            try:
                piece = next(drawn)
            except StopIteration as end:
                stop: list[int] = end.value
                break
            finally:
                waiting.cancel()
            self.writer.write(decode(piece))
            if self.keep:
                text += piece
        after = b"" if self.config.separator is None else self.after(stop)
        self.writer.write(after)
        self.end_line(after)
        self.texts.append(text)
        self.stops.append(stop)

    def write_many(self) -> None:
        """Draw texts 64 at a time and write them."""
        rngs, is_json = generators(self.config.seed), self.config.format == "jsonl"
        for first in range(0, self.config.num_samples, AT_ONCE):
            count = min(AT_ONCE, self.config.num_samples - first)
            of_each = list(islice(rngs, count))
            samples = self.model.draw_many(self.start, self.config, of_each, score=is_json)
            for index, sample in enumerate(samples, first):
                blob = self.record(index, sample) if is_json else self.text(sample)
                self.writer.write(blob)
                self.stops.append(sample.stop)
                if self.keep:
                    self.texts.append(sample.tokens)
        self.end_line(blob)

    def text(self, sample: Sample) -> bytes:
        """A sample as text, with what comes after it."""
        decode = self.model.vocabulary.decode_bytes
        return decode(self.prime) + decode(sample.tokens) + self.after(sample.stop)

    def after(self, stop: list[int]) -> bytes:
        """What comes after a text: the separator, or what ended it, or a newline where it was cut."""
        if self.config.separator is not None:
            return self.config.separator.encode("utf-8", "surrogateescape")
        return self.model.vocabulary.decode_bytes(stop) or b"\n"

    def record(self, index: int, sample: Sample) -> bytes:
        """A sample as a line of JSON."""
        decode = self.model.vocabulary.decode
        record = {
            "index": index,
            "seed": self.config.seed,
            "prime": decode(self.prime),
            "text": decode(sample.tokens),
            "characters": len(sample.tokens),
            "ended": bool(sample.stop),
            "nats": sample.nats,
        }
        return json.dumps(record).encode() + b"\n"

    def end_line(self, last: bytes) -> None:
        """End the last line of a terminal, unless what was written last did."""
        open_line = sys.stdout.isatty() and not last.endswith(b"\n")
        self.writer.write(b"\n" if open_line else b"", final=True)

    def note_cut(self) -> None:
        """Print which texts were cut though there are stops."""
        cut = [index for index, stop in enumerate(self.stops, 1) if not stop]
        if not cut or not any(self.config.stop) or self.config.format == "jsonl":
            return
        words = [*map(str, cut[:NAMED]), *([f"{len(cut) - NAMED:,} more"] if len(cut) > NAMED else [])]
        texts = f": text{'s' * (len(cut) > 1)} {listed(words)} of {len(self.stops):,}"
        several = texts if len(self.stops) > 1 else ""
        awaited = "any --stop came" if self.start is self.prime else "the document ended"
        warn(f"cut at --length {self.config.length:,}, before {awaited}{several}")


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
    return f"{', '.join(before)} and {last}" if before else last
