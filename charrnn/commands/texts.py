"""The text of a run, and any other text that a command reads.

What a user names is read, wherever it is. A run's folder may come from a stranger: of what only its
config.json names, a token file in the cache folder and sources in the run's own folder are read, and nothing
else is opened. Nothing is written but in the run's folder and where this command's own --cache-dir says.
"""

import argparse
import os
import shlex
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from tqdm import tqdm

from charrnn.commands.flags import part_of
from charrnn.commands.terminal import warn
from charrnn.config import TextConfig
from charrnn.errors import AnotherTextError, ConfigError, RunError, TextError
from charrnn.model.charrnn import CharRNN
from charrnn.runs import CorpusNote, RunFolder, read_note
from charrnn.signals import stops_raised
from charrnn.text.corpus import Corpus, Parts
from charrnn.text.reading import STDIN, check_encoding, corpus_name, files_in
from charrnn.text.tokens import TOKENS, token_file_name
from charrnn.text.vocabulary import Tokens, Vocabulary
from charrnn.training.start import in_the_words_of

SOURCES, DEPTH = 1000, 32  # of a note: how many, and how many folders below the run's, are looked for

# -- what a user names ------------------------------------------------------------------------------


def read_corpus(paths: Sequence[str | Path], reading: dict[str, Any], **how: Any) -> Corpus:
    """Read the text that ``paths`` name, or the bundled one, and print its notes."""
    if STDIN in paths and sys.stdin is not None and sys.stdin.isatty():
        print("reading the text from standard input; Ctrl-D ends it", file=sys.stderr)
    with stops_raised("stopped while reading"):
        corpus = Corpus.from_files(*(paths or [bundled_text()]), **reading, **how, progress=reading_bar)
    return noted(corpus)


def noted(corpus: Corpus) -> Corpus:
    """Print the notes of a corpus on standard error."""
    for note in corpus.notes:
        warn(note)
    return corpus


def bundled_text() -> Path:
    """Find data/fables.txt: inside the installed package, or beside it in a checkout."""
    package = Path(__file__).parents[1]
    for folder in (package, package.parent):
        if (folder / "data" / "fables.txt").is_file():
            return folder / "data" / "fables.txt"
    raise TextError("the bundled text, data/fables.txt, is missing: name a CORPUS")


def default_out(corpus: Sequence[str]) -> Path:
    """Name the folder of a run: runs/NAME-OF-CORPUS."""
    return Path("runs", corpus_name(corpus or [bundled_text()]))


def source_of(path: str) -> str:
    """Return what config.json notes of a source: its absolute path, or - for a pipe."""
    return STDIN if path == STDIN or Path(path).is_fifo() else str(Path(path).resolve())


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
) -> tuple[Corpus, Path]:
    """Read the text of a run that is begun, or resumed if ``kept`` is what it notes of its text.

    Returns: the text, and the token file or the cache folder that config.json is to note.
    """
    reading, out, cache = part_of(settings, TextConfig), folder.path, folder.tokens
    if settings["cache_dir"]:
        cache = Path(settings["cache_dir"]).absolute()
        try:
            cache.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ConfigError(f"--cache-dir {cache}: cannot be made: {error.strerror}") from None
    if kept is None:
        return read_corpus(args.corpus, reading, cache=cache), cache
    must_be_read_alike(reading, kept)
    if not args.corpus:
        if args.allow_changed_corpus:
            raise ConfigError("--allow-changed-corpus: name the CORPUS to resume with")
        if settings["cache_dir"]:
            kept = kept.model_copy(update={"cache_dir": str(cache)})
        return text_of_run(out, kept, "Name it: ", cache=cache), Path(kept.cache_dir or cache)
    if args.allow_changed_corpus:  # a run that refuses it after all still needs its own tokens
        return read_corpus(args.corpus, reading, cache=cache if settings["cache_dir"] else None), cache
    try:
        same = {"sha256": kept.sha256, "size": kept.size}
        return read_corpus(args.corpus, reading, cache=cache, **same), cache
    except AnotherTextError as error:
        raise RunError(
            f"{out}: this run was trained on another text: {error}. Give the text as it was; "
            "--allow-changed-corpus resumes with this one, --out names a folder for a new run"
        ) from None


def must_be_read_alike(reading: dict[str, Any], kept: CorpusNote) -> None:
    """Refuse to resume a run with its text as bytes instead of characters, or in another encoding."""
    if reading["bytes"] != kept.bytes:
        raise ConfigError(f"--bytes: this run reads its text as {'bytes' if kept.bytes else 'characters'}")
    if not kept.bytes and check_encoding(reading["encoding"]) != check_encoding(kept.encoding):
        raise ConfigError(f"--encoding {reading['encoding']}: this run reads its text as {kept.encoding}")


def reading_of(kept: CorpusNote, named: Sequence[str] = ()) -> dict[str, Any]:
    """Return how the text of a run is read; the pattern it notes is not used on the folders ``named``."""
    return {"bytes": kept.bytes, "encoding": kept.encoding} | ({} if named else {"glob": kept.glob})


def text_of_run(
    run: Path,
    kept: CorpusNote,
    remedy: str,
    *,
    vocabulary: Vocabulary | None = None,
    cache: Path | None = None,
) -> Corpus:
    """Find the text that a run was trained on; a source outside of its folder is not opened.

    It is looked for in tokens.bin, then in the cache folder that the run notes, then in its sources.

    Arguments:
        kept: what config.json notes of the text.
        remedy: what to do if the text is not found: a sentence that ends in a command's name.
        vocabulary: the run's, in whose indices the text is wanted; if not given, the text's own.
        cache: where the text of sources is encoded to; into memory if not given.
    """
    files = [run / TOKENS]
    if kept.cache_dir:
        codec = None if kept.bytes else check_encoding(kept.encoding)
        files.append(Path(kept.cache_dir) / token_file_name(kept.sha256, codec))
    reading, reasons = reading_of(kept), list[str]()
    for file in files:
        try:
            with stops_raised("stopped while reading"):
                corpus = Corpus.from_cache(
                    file,
                    kept.name,
                    kept.sha256,
                    kept.size,
                    bytes=kept.bytes,
                    encoding=kept.encoding,
                    progress=reading_bar,
                )
            if vocabulary is not None and vocabulary != corpus.vocabulary:
                corpus = in_the_words_of(vocabulary, corpus, run)
            return noted(corpus)
        except RunError as error:
            reasons.append(str(error))
    try:
        sources = sources_in(run, kept)
        same = {"sha256": kept.sha256, "size": kept.size, "vocabulary": vocabulary, "cache": cache}
        return replace(read_corpus(sources, reading, **same), name=kept.name)
    except (ConfigError, TextError, OSError, ValueError) as error:
        reason = getattr(error, "strerror", error)  # without a path as long as a stranger likes
        raise RunError(
            f"{run}: the text it was trained on is not found: {reasons[0]}; {reason}. "
            f"{remedy}charrnn train CORPUS --resume --out {shlex.quote(str(run))}"
        ) from None


def sources_in(run: Path, kept: CorpusNote) -> list[Path]:
    """List the sources that a run notes, if all are files in its own folder and have the size it notes.

    Links are not followed, and nothing outside of the folder is looked at.
    """
    home, files = run.resolve(), set[Path]()
    if STDIN in kept.sources:
        raise TextError("it came through a pipe")
    if len(kept.sources) > SOURCES:
        raise TextError(f"it has {len(kept.sources):,} sources; no more than {SOURCES:,} are looked for")
    for name in dict.fromkeys(map(os.path.abspath, kept.sources)):  # without following a link
        path = Path(name)
        below = [path, *path.parents][: len(path.parts) - len(home.parts)]
        if path.is_relative_to(home) and len(below) > DEPTH:
            raise TextError(f"its source {name!r:.200} is more than {DEPTH} folders deep")
        if not path.is_relative_to(home) or any(part.is_symlink() for part in reversed(below)):
            raise TextError(f"its source {name!r:.200} is outside of the run, so it is not opened")
        files.update(files_in(path, kept.glob, links=False) if path.is_dir() else [path])
    if not files:
        raise TextError("it has no source")
    if not all(file.is_file() for file in files) or sum(file.stat().st_size for file in files) != kept.size:
        raise TextError("its sources are missing or have changed")
    return sorted(files)


def parts_of_run(run: Path, model: CharRNN, remedy: str) -> Parts:
    """Find the text that a run was trained on, in its three parts; ``remedy`` as in ``text_of_run``."""
    note = read_note(run)
    corpus = text_of_run(run, note.corpus, remedy, vocabulary=model.vocabulary)
    return corpus.split(note.settings.val_fraction, note.settings.test_fraction)


def training_part(run: Path, model: CharRNN) -> Tokens:
    """Return what a run was trained on, for ``charrnn sample --novelty``."""
    return parts_of_run(run, model, "Leave out --novelty, or name it: ").train
