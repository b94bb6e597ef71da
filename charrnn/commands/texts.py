"""The text of a run, and any other text that a command reads.

What a user names is read, wherever it is. A run's folder may come from a stranger: of what only its
config.json names, a token file in the cache folder and sources in the run's own folder are read, and nothing
else is opened. Nothing is written but in the run's folder and where this command's own --cache-dir says.
"""

import argparse
import os
import re
import shlex
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO

from tqdm import tqdm

from charrnn.commands.flags import part_of
from charrnn.commands.terminal import warn
from charrnn.config import CorpusConfig
from charrnn.errors import AnotherTextError, ConfigError, RunError, TextError, brief, flag
from charrnn.files import read_small
from charrnn.model.charrnn import CharRNN
from charrnn.runs import CorpusNote, RunFolder, load, read_note
from charrnn.signals import stops_raised
from charrnn.text.cleaning import SHOWN, Found, in_words
from charrnn.text.corpus import Corpus, Parts, in_the_words_of
from charrnn.text.documents import Text
from charrnn.text.encodings import check_encoding, decode_pieces
from charrnn.text.reading import STDIN, bundled_text, corpus_name, files_matching
from charrnn.text.tokens import TOKENS, token_file_name
from charrnn.text.vocabulary import Tokens, Vocabulary

ESCAPE = re.compile(r"\\(?:([nt\\])|x([0-9a-fA-F]{2}))")
SOURCES, DEPTH = 1000, 32  # of a note: how many, and how many folders below the run's, are looked for

# -- what a user names ------------------------------------------------------------------------------


def read_corpus(
    paths: Sequence[str | Path], reading: dict[str, Any], *, summary: bool = True, **how: Any
) -> Corpus:
    """Read the text that ``paths`` name, or the bundled one, and print its notes as ``noted`` does."""
    if STDIN in paths and sys.stdin is not None and sys.stdin.isatty():
        print("reading the text from standard input; Ctrl-D ends it", file=sys.stderr)
    with stops_raised("stopped while reading"):
        corpus = Corpus.from_files(*(paths or [bundled_text()]), **reading, **how, progress=reading_bar)
    return noted(corpus, summary)


def noted(corpus: Corpus, summary: bool = True) -> Corpus:
    """Print the notes of a corpus on standard error; its summary only if that is not printed elsewhere."""
    for note in corpus.notes:
        if summary or note != corpus.summary:
            warn(note)
    return corpus


def read_given(source: Path | BinaryIO, limit: int, run: Path, model: CharRNN) -> str | bytes:
    """Read a text that a command was given to feed to the model of a run, in the encoding of the run.

    Arguments:
        source: a file, or standard input.
        limit: the largest size, in bytes.

    Returns: the bytes, if the model is one of bytes.
    """
    where = brief(source) if isinstance(source, Path) else "standard input"
    blob = read_small(source, limit, where)
    if model.vocabulary.is_bytes:
        return blob
    remarks = list[str]()
    text = "".join(decode_pieces([blob], read_note(run).corpus.encoding, where, remarks))
    for remark in remarks:
        warn(f"{where}: {remark}")
    note_other_form(text, where, model)
    return text


def read_typed(text: str, where: str, model: CharRNN, *, escapes: bool) -> str:
    r"""Read a text that was typed on the command line, in which \n, \t, \\ and \xNN may be escapes.

    They are if ``escapes`` is set, or if the model does not know the text as it was typed. \xNN is a
    character, or for a model of bytes a byte.
    """
    if not ESCAPE.search(text) and not (escapes and "\\" in text):
        return text
    if escapes and "\\" in ESCAPE.sub("", text):
        raise ConfigError(
            f"{where} {brief(text)}: the escapes are \\n, \\t, \\\\ and \\xNN; found another one"
        )
    if not escapes:
        if not model.vocabulary.lacking(text):
            return text
        warn(f"{where} {brief(text)}: read with its escapes, as the model does not know it as typed")
    is_bytes = model.vocabulary.is_bytes

    def meant(found: re.Match[str]) -> str:
        if not found[2]:
            return {"n": "\n", "t": "\t", "\\": "\\"}[found[1]]
        code = int(found[2], 16)
        return chr(0xDC00 + code if is_bytes and code > 127 else code)  # as surrogateescape has bytes

    return ESCAPE.sub(meant, text)


def encode_given(
    text: str | bytes, where: str, model: CharRNN, *, ignore_unknown: bool
) -> tuple[Tokens, Found]:
    """Encode a text that a command was given. Returns: and what was dropped, which is printed in a note."""
    dropped = model.vocabulary.lacking(text) if ignore_unknown else {}
    first = [(ord(character), count) for character, count in dropped.items()][:SHOWN]
    found = Found(dropped=first, num_dropped=(sum(dropped.values()), len(dropped)), unknown=True)
    for note in in_words(found, "keep", 1):
        warn(f"{where}: {note}")
    return model.vocabulary.encode(text, ignore_unknown=ignore_unknown), found


def dropped_in(found: Found) -> dict[str, Any]:
    """What ``--ignore-unknown`` dropped, for JSON; of the distinct characters no more than the first."""
    characters, distinct = found.num_dropped
    first = {chr(point): count for point, count in found.dropped}
    return {"dropped": {"characters": characters, "distinct": distinct, "first": first}}


def note_other_form(text: str, where: str, model: CharRNN) -> None:
    """Print a note if a model reads a text that it is given as its own text was written."""
    if model.vocabulary.in_known_form(text) != text:
        warn(f"{where}: line ends or letters with accents are written as in the text of the run")


def default_out(corpus: Sequence[str]) -> Path:
    """Name the folder of a run: runs/NAME-OF-CORPUS."""
    return Path("runs", corpus_name(corpus or [bundled_text()]))


@contextmanager
def reading_bar(what: str, total: int | None) -> Iterator[Callable[[int], object]]:
    """Show a bar of bytes for what takes longer than half a second."""
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


# -- what a run was trained on ----------------------------------------------------------------------


def text_to_train_on(
    args: argparse.Namespace, settings: dict[str, Any], kept: CorpusNote | None, folder: RunFolder
) -> Corpus:
    """Read the text of a run that is begun, or resumed if ``kept`` is what it notes of its text."""
    reading, out, cache = part_of(settings, CorpusConfig), folder.path, folder.tokens
    how: dict[str, Any]
    if settings["cache_dir"]:
        cache = Path(settings["cache_dir"]).absolute()
        try:
            cache.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ConfigError(f"--cache-dir {cache}: cannot be made: {error.strerror}") from None
    if kept is None:
        if args.vocabulary:
            known = vocabulary_in(Path(args.vocabulary), reading)
            how = {"vocabulary": known, "ignore_unknown": args.ignore_unknown}
            return read_corpus(args.corpus, reading, summary=False, **how)
        return read_corpus(args.corpus, reading, cache=cache, summary=False)
    must_be_read_alike(reading, kept)
    for name in ("val_file", "test_file"):
        if bool(reading[name]) != (getattr(kept, name) and bool(args.corpus)):
            has = "has one: give it" if getattr(kept, name) else "has none: leave it out"
            raise ConfigError(f"{flag(name)}: beside CORPUS, a run that {has}; without CORPUS, none is read")
    if not args.corpus:
        if args.allow_changed_corpus:
            raise ConfigError("--allow-changed-corpus: name the CORPUS to resume with")
        if settings["cache_dir"]:
            kept = kept.model_copy(update={"cache_dir": str(cache)})
        return text_of_run(out, kept, "Name it: ", cache=cache, summary=False)
    how = {"between": kept.between, "summary": False}
    if args.allow_changed_corpus:  # a run that refuses it after all still needs its own tokens
        return read_corpus(args.corpus, reading, cache=cache if settings["cache_dir"] else None, **how)
    try:
        how |= {"sha256": kept.sha256, "size": kept.size}
        return read_corpus(args.corpus, reading, cache=cache, **how)
    except AnotherTextError as error:
        raise RunError(
            f"{out}: this run was trained on another text: {error}. Give the text as it was; "
            "--allow-changed-corpus resumes with this one, --out names a folder for a new run"
        ) from None


def vocabulary_in(path: Path, reading: dict[str, Any]) -> Vocabulary:
    """The vocabulary of a run, or that of a text file, for a text that is read in this way."""
    if reading["min_count"] > 1:
        raise ConfigError("--min-count has no effect with --vocabulary, which says what is dropped")
    vocabulary = load(path).vocabulary if path.is_dir() else Corpus.from_files(path, **reading).vocabulary
    if vocabulary.is_bytes or reading["bytes"]:
        raise ConfigError(f"--vocabulary {path}: has no effect on bytes, all 256 of which are known")
    return vocabulary


def must_be_read_alike(reading: dict[str, Any], kept: CorpusNote) -> None:
    """Refuse to resume a run with its text read in another way."""
    if reading["bytes"] != kept.bytes:
        raise ConfigError(f"--bytes: this run reads its text as {'bytes' if kept.bytes else 'characters'}")
    if not kept.bytes and check_encoding(reading["encoding"]) != check_encoding(kept.encoding):
        raise ConfigError(f"--encoding {reading['encoding']}: this run reads its text as {kept.encoding}")
    for name in ("documents", *(() if kept.bytes else ("newlines", "normalize", "min_count"))):
        if reading[name] != getattr(kept, name):
            raise ConfigError(f"{flag(name)} {reading[name]}: this run has {getattr(kept, name)}")


def reading_of(kept: CorpusNote, named: Sequence[str] = ()) -> dict[str, Any]:
    """Return how the text of a run is read; the pattern it notes is not used on the folders ``named``."""
    names = ["bytes"] if kept.bytes else ["encoding", "newlines", "normalize", "min_count"]
    return {name: getattr(kept, name) for name in [*names, "documents", *([] if named else ["glob"])]}


def text_of_run(
    run: Path,
    kept: CorpusNote,
    remedy: str,
    *,
    vocabulary: Vocabulary | None = None,
    cache: Path | None = None,
    summary: bool = True,
) -> Corpus:
    """Find the text that a run was trained on; a source outside of its folder is not opened.

    It is looked for in tokens.bin, then in the cache folder that the run notes, then in its sources, which
    may be the bundled text.

    Arguments:
        kept: what config.json notes of the text.
        remedy: what to do if the text is not found: a sentence that ends in a command's name.
        vocabulary: the run's, in whose indices the text is wanted; if not given, the text's own.
        cache: where the text of sources is encoded to; into memory if not given.
        summary: as in ``noted``.
    """
    files = [run / TOKENS]
    if kept.cache_dir:
        files.append(run / kept.cache_dir / token_file_name(kept.sha256, kept.reading))
    reading, reasons = reading_of(kept), list[str]()
    for file in files:
        try:
            with stops_raised("stopped while reading"):
                corpus = Corpus.from_cache(file, kept.name, kept.sha256, kept.size, kept.reading, reading_bar)
            if vocabulary is not None and vocabulary != corpus.vocabulary:
                corpus = in_the_words_of(vocabulary, corpus, run)
            return noted(corpus, summary)
        except RunError as error:
            reasons.append(str(error))
    try:
        sources = sources_in(run, kept)
        for name in ("test_file", "val_file"):
            if getattr(kept, name):
                reading[name] = sources.pop()
        how: dict[str, Any] = {"sha256": kept.sha256, "size": kept.size, "between": kept.between}
        how |= {"vocabulary": vocabulary, "cache": cache, "summary": summary}
        corpus = read_corpus(sources, reading, **how)
        return replace(corpus, name=kept.name, sources=(), glob=tuple(kept.glob))
    except (ConfigError, TextError, OSError, ValueError) as error:
        reason = getattr(error, "strerror", error)  # without a path as long as a stranger likes
        raise RunError(
            f"{run}: the text it was trained on is not found: {reasons[0]}; {reason}. "
            f"{remedy}charrnn train CORPUS --resume --out {shlex.quote(str(run))}"
        ) from None


def sources_in(run: Path, kept: CorpusNote) -> list[Path]:
    """List the sources that a run notes, if all are files in its own folder and have the size it notes.

    A run that notes none may be of the bundled text, which its hash then tells.

    Links are not followed, and nothing outside of the folder is looked at.
    """
    if not kept.sources and kept.size == bundled_text().stat().st_size:
        return [bundled_text()]
    home, files = run.resolve(), dict[Path, None]()
    if STDIN in kept.sources:
        raise TextError("it came through a pipe")
    if len(kept.sources) > SOURCES:
        raise TextError(f"it has {len(kept.sources):,} sources; no more than {SOURCES:,} are looked for")
    names = map(partial(os.path.join, home), kept.sources)
    for name in dict.fromkeys(map(os.path.abspath, names)):  # without following a link
        path = Path(name)
        below = [path, *path.parents][: len(path.parts) - len(home.parts)]
        if path.is_relative_to(home) and len(below) > DEPTH:
            raise TextError(f"its source {name!r:.200} is more than {DEPTH} folders deep")
        if not path.is_relative_to(home) or any(part.is_symlink() for part in reversed(below)):
            raise TextError(f"its source {name!r:.200} is outside of the run, so it is not opened")
        below_it = files_matching(path, kept.glob, links=False) if path.is_dir() else [path]
        files |= dict.fromkeys(below_it)
    if not files:
        raise TextError("it has no source")
    if not all(file.is_file() for file in files) or sum(file.stat().st_size for file in files) != kept.size:
        raise TextError("its sources are missing or have changed")
    return list(files)


def parts_of_run(run: Path, model: CharRNN, remedy: str) -> Parts:
    """Find the text that a run was trained on, in its three parts; ``remedy`` as in ``text_of_run``."""
    note = read_note(run)
    corpus = text_of_run(run, note.corpus, remedy, vocabulary=model.vocabulary)
    return corpus.parts(note.settings)


def separator_of(run: Path) -> str:
    """What ends a document that the model of a run writes; nothing if its text is one, or no note says so."""
    with suppress(RunError):
        return read_note(run).corpus.reading.separator
    return ""


def training_part(run: Path, model: CharRNN) -> Text:
    """Return what a run was trained on, for ``charrnn sample --novelty``."""
    return parts_of_run(run, model, "Leave out --novelty, or name it: ").train
