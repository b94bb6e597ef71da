"""The text of a command: what was named, the bundled book, or what a run was trained on."""

import argparse
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

from tqdm import tqdm

from charrnn.commands.flags import part_of
from charrnn.commands.terminal import shown
from charrnn.config import TextConfig, TrainConfig
from charrnn.errors import AnotherTextError, ConfigError, Interrupted, RunError, TextError
from charrnn.model.charrnn import CharRNN
from charrnn.runs.checkpoint import Lock, is_run, read_note
from charrnn.text.corpus import Corpus
from charrnn.text.reading import STDIN, check_encoding, corpus_name
from charrnn.text.tokens import TOKENS, nearest_folder, place
from charrnn.text.vocabulary import Tokens
from charrnn.training.trainer import must_be_free


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
    here = Path(__file__).parents[1]
    for folder in (here, here.parent):
        if (folder / "data" / "fables.txt").is_file():
            return folder / "data" / "fables.txt"
    raise TextError("the bundled text, data/fables.txt, is not there: name a CORPUS")


def default_out(corpus: Sequence[str]) -> Path:
    """runs/NAME-OF-CORPUS."""
    return Path("runs", corpus_name(corpus or [bundled_text()]))
