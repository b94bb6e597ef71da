"""A corpus: a text as integers, from files, from the token file that keeps it, or from a string."""

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from charrnn.config import CorpusConfig, TrainConfig
from charrnn.errors import ConfigError, RunError, TextError, brief, check_type
from charrnn.text import tokens as caching
from charrnn.text.cleaning import RARE, SHOWN, Found, in_words, listed
from charrnn.text.documents import Documents, Text, ends_of_documents
from charrnn.text.encodings import check_encoding
from charrnn.text.reading import (
    BYTES,
    PIECE,
    SEPARATORS,
    TEXT,
    Origin,
    Reading,
    ReadingProgress,
    Spool,
    Symbols,
    bundled_text,
    can_be_read_again,
    corpus_name,
    describe,
    find_files,
    read_text,
    silent,
    source_of,
)
from charrnn.text.vocabulary import Tokens, Vocabulary


class Parts(NamedTuple):
    """The three parts of a corpus."""

    train: Text
    val: Text
    test: Text


@dataclass(frozen=True)
class Corpus:
    """A text as integers, and where it came from.

    Attributes:
        tokens: (n,) indices into the vocabulary; a memory map where there is a token file.
        vocabulary: the characters they stand for.
        name: a short name: the file's or folder's, without its suffix.
        size: in bytes, decompressed.
        sha256: hash of those bytes, in hexadecimal.
        notes: messages for the user, a line each: what in the text may surprise, and what was changed in it.
        reading: how the bytes became characters.
        sizes: of each file, in bytes.
        sources: the absolute paths it was read from, - for standard input; none for a text from Python.
        glob: which files of folders were read.
        cache: the token file that holds the tokens; empty if none does.
        found: what was found in the text, where that is known.
    """

    tokens: Tokens
    vocabulary: Vocabulary
    name: str
    size: int
    sha256: str
    notes: tuple[str, ...] = ()
    reading: Reading = TEXT
    sizes: tuple[int, ...] = ()
    sources: tuple[str, ...] = ()
    glob: tuple[str, ...] = ("*.txt",)
    cache: str = ""
    found: Found | None = None

    @classmethod
    def from_files(
        cls,
        *paths: str | Path,
        bytes: bool = False,
        encoding: str = "utf-8",
        newlines: str = "lf",
        normalize: str = "none",
        min_count: int = 1,
        between: str = "\n",
        documents: str = "",
        val_file: str | Path = "",
        test_file: str | Path = "",
        glob: str | Sequence[str] = "*.txt",
        vocabulary: Vocabulary | None = None,
        ignore_unknown: bool = False,
        cache: Path | None = None,
        sha256: str | None = None,
        size: int | None = None,
        progress: ReadingProgress = silent,
    ) -> Self:
        """Read files, and the files in folders that match ``glob``, in the order given; a folder's by name.

        A file that begins with the mark of an encoding is read as that, and the mark is dropped. One that is
        compressed with gzip, bzip2 or xz is decompressed.

        With a ``cache`` the text may be larger than memory: its tokens are written to a token file and mapped
        into memory. One that was made from the same bytes in the same way is used again, one of another text
        or a damaged one is replaced, and any other file in its place is refused.

        Arguments:
            paths: files, pipes and folders; the word ``-`` is standard input.
            bytes: take the 256 byte values as the vocabulary, and take the files as they are: nothing is
                decoded, changed or put between them. A ``vocabulary`` given decides this by itself.
            encoding: of the files that do not begin with a mark.
            newlines: ``lf`` makes every line end (CR LF, CR) an LF; ``keep`` leaves them.
            normalize: ``nfc`` writes a letter with an accent as one character; ``none`` leaves it.
            min_count: drop the characters that occur less often.
            between: what stands between two files, unless the first ends a line or a document.
            documents: what ends a document: ``line``, ``blank-line`` (one or more), ``file``, or any text;
                nothing if the text is one. It is added to a file that does not end with it.
            val_file, test_file: files that ``split`` makes parts of their own.
            glob: which files of a folder to read, a pattern or several; ``**`` is any number of folders.
            vocabulary: use this one instead of the text's own. Tokens of another one are not cached.
            ignore_unknown: drop the characters that a given vocabulary lacks.
            cache: the token file, or a folder of token files, each named after its text's hash.
            sha256: the hash that the text must have. It is compared before anything is written.
            size: the size in bytes of the text of that hash; no more is read.
            progress: shows how much has been read.

        Raises:
            TextError: a file is missing, cannot be read or decoded, is no text, is a device, or is empty; a
                folder has no match; the text has one distinct character only, or some that a given
                vocabulary lacks.
            AnotherTextError: the text does not have the ``sha256`` asked for.
            ConfigError: unknown encoding, or invalid pattern.
            RunError: the cache cannot be written, or something else is in its place.
        """
        for i, path in enumerate(paths):
            check_type(f"paths[{i}]", path, str | Path, "the name of a file or folder")
        if not paths:
            raise ConfigError("no files to read: name one. Corpus.bundled() is the bundled text")
        check_type("vocabulary", vocabulary, Vocabulary | None, "a charrnn.Vocabulary")
        as_bytes = bytes if vocabulary is None else vocabulary.is_bytes
        how: dict[str, Any] = {
            "encoding": encoding,
            "newlines": newlines,
            "normalize": normalize,
            "min_count": min_count,
        }
        settings: dict[str, Any] = {"bytes": as_bytes, "glob": glob, **({} if as_bytes else how)}
        globs = CorpusConfig(documents=documents, **settings).glob
        codec = "" if as_bytes else check_encoding(encoding)
        reading = BYTES if as_bytes else Reading(codec, newlines, normalize, min_count, between)
        own: dict[str, Any] = {"val_file": bool(val_file), "test_file": bool(test_file)}
        reading = replace(reading, documents=documents, **own)
        sources = find_files(paths, globs)
        name = corpus_name(paths)
        where = describe(paths[0]) if len(paths) == 1 else f"{len(sources)} files"
        for part in (val_file, test_file):
            if part and Path(part).is_dir():
                raise TextError(f"{part}: a folder; a part of its own is one file")
            sources += find_files([part]) if part else []
            paths = (*paths, part) if part else paths
        notes: list[str] = []
        reread = all(map(can_be_read_again, sources))
        file: caching.TokenFile | None = None
        origin: Origin | None = None
        if reread and (sha256 or (cache and cache.exists())):
            origin, _ = read_text(sources, reading, progress, limit=size)
            origin.must_be(sha256, where)
            file = caching.look_up(cache, origin, vocabulary, notes, progress) if cache else None
        if not file:
            with Spool(cache and caching.nearest_folder(cache)) as spool:
                origin, found = read_text(sources, reading, progress, spool, size)
                origin.must_be(sha256, where)
                if cache and not reread:
                    file = caching.look_up(cache, origin, vocabulary, notes, progress)
                if len(spool) == 0:
                    raise TextError(f"{where}: the text is empty. Give a file with some text in it")
                if not file:
                    mine = vocabulary is None
                    words = vocabulary or vocabulary_of(spool, reading, where)
                    file = encode(spool, origin, found, words, where, mine, ignore_unknown, cache, progress)
        return cls(
            file.tokens,
            file.vocabulary,
            name,
            file.origin.size,
            file.origin.sha256,
            reading=reading,
            sizes=file.origin.sizes,
            sources=tuple(map(source_of, paths)),
            glob=globs,
            cache=str(caching.place(cache, file.origin).absolute()) if cache and mapped(file.tokens) else "",
            found=file.found,
        ).with_notes(notes)

    @classmethod
    def from_cache(
        cls,
        path: Path,
        name: str,
        sha256: str,
        size: int,
        reading: Reading,
        progress: ReadingProgress = silent,
    ) -> Self:
        """Take a text from a token file that ``from_files`` made of it; its source is not read.

        Arguments:
            path: the token file.
            name: of the text.
            sha256: the hash that the text must have, in hexadecimal.
            size: its size in bytes.
            reading: how it was read.
            progress: shows how much has been checked.

        Raises:
            RunError: the token file is missing, damaged, or of another text.
        """
        wanted = sha256, size, reading
        file = caching.read(
            path, progress, lambda origin: (origin.sha256, origin.size, origin.reading) == wanted
        )
        note = f"{path}: the text as it was encoded, not compared with its source"
        return cls(
            file.tokens,
            file.vocabulary,
            name,
            size,
            sha256,
            (note,),
            reading,
            file.origin.sizes,
            cache=str(path.absolute()),
            found=file.found,
        )

    def with_notes(self, notes: Sequence[str]) -> Self:
        """Add notes, and the summary if anything in it is worth a note."""
        worth = self.found and in_words(self.found, self.reading.newlines, self.reading.min_count)
        return replace(self, notes=(*notes, *([self.summary] if worth else [])))

    @classmethod
    def bundled(cls) -> Self:
        """Read the book of fables that comes with this package.

        Raises:
            TextError: it is missing.
        """
        return cls.from_files(bundled_text())

    @property
    def origin(self) -> Origin:
        """What it was read from, and how."""
        return Origin(self.sha256, self.sizes or (self.size,), self.reading)

    @property
    def summary(self) -> str:
        """What was found in the text, and what was done with it."""
        found, V = self.found or Found(), len(self.vocabulary)
        facts = [f"{len(self):,} characters", f"{V} distinct"]
        facts += [f"{found.lines:,} line{'s' * (found.lines > 1)}"] if found.lines else []
        facts += [f"{found.files:,} files"] if found.files > 1 else []
        if self.documents is not None:
            facts.append(f"{self.documents.count:,} document{'s' * (self.documents.count > 1)}")
        facts += [self.reading.encoding or "bytes"]
        parts = [", ".join(facts), *in_words(found, self.reading.newlines, self.reading.min_count)]
        if found.num_rare:
            parts.append(f"rare, less than {RARE} times: {listed(found.rare, found.num_rare)}")
        return f"{self.name}: {'; '.join(parts)}"

    @classmethod
    def from_documents(
        cls, documents: Sequence[str] | Sequence[bytes], name: str = "documents", separator: str = "file"
    ) -> Self:
        """Make a corpus of texts, each of which is read from a state of zeros.

        Arguments:
            documents: strings, or bytes with the 256 byte values as vocabulary.
            separator: what ends each: ``file``, the character U+0003 END OF TEXT; ``line``, ``blank-line``,
                or any text. A document that does not end with it is given it.

        Raises:
            TextError: ``documents`` is no list of texts; one is empty, or has the separator inside.
        """
        texts: list[Any] = list(documents) if isinstance(documents, list | tuple) else []
        if not any(all(isinstance(text, kind) for text in texts) for kind in (str, bytes) if texts):
            raise TextError("documents: expected a list of strings, or of bytes, one at least")
        as_bytes = isinstance(texts[0], bytes)
        reading = replace(BYTES if as_bytes else Reading(newlines="keep"), documents=separator)
        end: Any = SEPARATORS.get(separator, separator)
        end = end.encode() if as_bytes else end
        for i, text in enumerate(texts):
            inside = text.removesuffix(end)
            if not inside or not end or end in inside:
                raise TextError(
                    f"documents[{i}] is {brief(repr(text))}: expected some text without the separator, "
                    f"{end!r}, inside. See `separator`"
                )
        joined = end[:0].join(text.removesuffix(end) + end for text in texts)
        return replace(cls.from_text(joined, name), reading=reading)

    @classmethod
    def from_text(cls, text: str | bytes, name: str = "text") -> Self:
        """Make a corpus of a string, or of bytes with the 256 byte values as vocabulary.

        Raises:
            TextError: the text is empty or has one distinct character only.
            ArgumentError: it is no text.
        """
        check_type("text", text, str | bytes, "a text (str) or bytes; Corpus.from_files reads files")
        if len(set(text)) < 2:
            raise TextError(f"{name}: the text is {text[:20]!r}; expected at least two distinct characters")
        vocabulary = Vocabulary.of_bytes() if isinstance(text, bytes) else Vocabulary.of_text(text)
        blob = text if isinstance(text, bytes) else text.encode("utf-8", "surrogatepass")
        tokens = vocabulary.encode(text)
        reading = BYTES if isinstance(text, bytes) else Reading(newlines="keep")
        return cls(tokens, vocabulary, name, len(blob), hashlib.sha256(blob).hexdigest(), reading=reading)

    def write_tokens(self, path: Path) -> None:
        """Write a token file, from which ``from_cache`` takes the text, if a header holds its vocabulary.

        Raises:
            RunError: it cannot be written, or something else is in its place.
        """
        if len(self) and caching.has_header(self.origin, self.vocabulary, self.found):
            pieces = (self.tokens[i : i + PIECE] for i in range(0, len(self), PIECE))
            caching.write(path, self.origin, self.vocabulary, pieces, len(self), self.found)

    def __len__(self) -> int:
        return len(self.tokens)

    @property
    def text(self) -> Text:
        """All of it: its documents, or its tokens if it is one."""
        return self.tokens if self.documents is None else self.documents

    @cached_property
    def documents(self) -> Documents | None:
        """Its documents in the order of the text; None if it is read as one.

        Raises:
            TextError: the vocabulary lacks what ends them.
        """
        separator = self.reading.separator
        if not separator:
            return None
        symbols = self.vocabulary.encode(separator, ignore_unknown=True)
        if len(symbols) < len(separator):
            lacking = [char for char in separator if char not in self.vocabulary.decode(symbols)]
            raise TextError(
                f"{self.name}: `documents` {brief(repr(separator))}, of which the vocabulary lacks "
                f"{lacking[0]!r}"
            )
        found = [np.zeros(0, np.int64)]
        for start, stop in pairwise((0, *self._cuts, len(self))):
            found.append(ends_of_documents(self.tokens, symbols, start, stop))
            if start < stop and stop not in found[-1][-1:]:
                raise TextError(f"{self.name}: the last document does not end with the separator")
        ends = np.concatenate(found)
        return Documents(self.tokens, np.append(0, ends[:-1]), ends, int(symbols[-1]))

    @property
    def _cuts(self) -> tuple[int, ...]:
        return self.found.cuts if self.found else ()

    def parts(self, config: TrainConfig) -> Parts:
        """Cut it as a run of these settings does.

        Raises:
            ConfigError: the settings ask for a shuffle of documents, which the text does not have.
            TextError: the text is one document.
        """
        if self.documents is None and not config.shuffle_documents:
            raise ConfigError("`shuffle_documents` has no effect without `documents`: the text is one")
        seed = config.seed if config.shuffle_documents else None
        return self.split(config.val_fraction, config.test_fraction, seed)

    def split(self, val_fraction: float, test_fraction: float = 0.0, seed: int | None = None) -> Parts:
        """Cut the text in three: its beginning to train on, then the validation part, then the test part.

        A part that has a file of its own is that file. Documents are not cut into.

        Arguments:
            seed: of a shuffle of the documents; they are not shuffled if not given.

        Raises:
            ConfigError: the fractions are negative or leave nothing to train on.
            TextError: the text is one document.
        """
        if not (val_fraction >= 0 and test_fraction >= 0 and val_fraction + test_fraction < 1):
            raise ConfigError(
                f"val_fraction {val_fraction} and test_fraction {test_fraction} leave nothing to "
                "train on: together they must stay below 1"
            )
        reading, bounds = self.reading, (*self._cuts, len(self))
        end, own = (
            bounds[0],
            [slice(*pair) for pair in pairwise(bounds)],
        )  # of what is cut; the other files
        val_fraction *= not reading.val_file
        test_fraction *= not reading.test_file
        if self.documents is None:
            test = end - round(end * test_fraction)
            val = test - round(end * val_fraction)
            parts = Parts(self.tokens[:val], self.tokens[val:test], self.tokens[test:end])
        else:
            documents = self.documents.within(0, end)
            if documents.count < 2:
                raise TextError(
                    f"{self.name}: the text is one document: its separator, {reading.separator!r}, stands "
                    "nowhere in it but at its end. See `documents`"
                )
            if seed is not None:
                documents = documents.take(np.random.default_rng(seed).permutation(documents.count))
            parts = Parts(*documents.cut(val_fraction, test_fraction))
        names = [name for name in ("val", "test") if getattr(reading, f"{name}_file")]
        return parts._replace(**{name: self._within(part) for name, part in zip(names, own, strict=True)})

    def _within(self, part: slice) -> Text:
        """The text between two places."""
        return self.tokens[part] if self.documents is None else self.documents.within(part.start, part.stop)


def mapped(tokens: Tokens) -> bool:
    """Whether tokens are those of a file."""
    return isinstance(tokens, np.memmap)


def vocabulary_of(spool: Spool, reading: Reading, where: str) -> Vocabulary:
    """Take the distinct symbols of what was read for its vocabulary, if they occur often enough."""
    symbols = np.flatnonzero(spool.counts >= reading.min_count)
    if reading.encoding is None:
        symbols = np.flatnonzero(spool.counts)
    if len(symbols) == 0:
        raise TextError(f"{where}: no character in it occurs {reading.min_count:,} times. Lower `min_count`")
    if len(symbols) == 1:
        one = chr(symbols[0]) if reading.encoding else bytes([symbols[0]])
        raise TextError(
            f"{where}: the text is one character, {one!r}, {spool.counts[symbols[0]]:,} times over. "
            "There is nothing to predict: give a text with at least two distinct characters"
        )
    return Vocabulary(symbols.astype(np.uint32)) if reading.encoding else Vocabulary.of_bytes()


def encode(
    spool: Spool,
    origin: Origin,
    found: Found,
    vocabulary: Vocabulary,
    where: str,
    own: bool,
    ignore_unknown: bool,
    cache: Path | None,
    progress: ReadingProgress,
) -> caching.TokenFile:
    """Encode what was read: into a token file that is mapped, or into an array.

    Into an array if there is no ``cache``, or the vocabulary is not the text's ``own``, or so large (or the
    files so many) that no header holds it.
    """
    symbols = np.flatnonzero(spool.counts)
    unknown = np.setdiff1d(symbols, vocabulary.symbols, assume_unique=True)
    if len(unknown) and not (own or ignore_unknown):
        raise TextError(f"{where}: {vocabulary.unknown(unknown)}")
    found.unknown = not own
    length = len(spool) - int(spool.counts[unknown].sum())
    found.cuts = tuple(int(counts.sum() - counts[unknown].sum()) for counts in spool.marks)
    ends = (*found.cuts, length)
    if any(start == end for start, end in pairwise(ends)):
        raise TextError(
            f"{where}: a file that is to be a part of its own is empty. See `val_file`, `test_file`"
        )
    count_characters(found, spool, unknown, origin.reading)
    with progress("encoding", spool.size) as done:
        pieces = vocabulary.encode_pieces(counted(spool, done), ignore_unknown=len(unknown) > 0)
        if cache and own and caching.has_header(origin, vocabulary, found):
            path = caching.place(cache, origin)
            tokens = caching.write(path, origin, vocabulary, pieces, length, found)
        else:
            tokens = np.empty(length, vocabulary.dtype)
            n = 0
            for piece in pieces:
                tokens[n : n + len(piece)] = piece
                n += len(piece)
    return caching.TokenFile(origin, vocabulary, tokens, found)


def count_characters(found: Found, spool: Spool, dropped: NDArray[np.integer], reading: Reading) -> None:
    """Add to what was found how many lines there are, and which characters are rare or ``dropped``."""
    counts = spool.counts
    found.lines = int(counts[ord("\n")]) + (0 if reading.newlines == "lf" else found.cr)
    if reading.encoding is None:
        return
    rare = np.setdiff1d(np.flatnonzero((counts > 0) & (counts < RARE)), dropped)
    found.rare, found.num_rare = first_of(rare, counts), len(rare)
    found.dropped, found.num_dropped = first_of(dropped, counts), (int(counts[dropped].sum()), len(dropped))


def first_of(symbols: NDArray[np.integer], counts: NDArray[np.int64]) -> list[tuple[int, int]]:
    """The first of some characters, with their counts."""
    return [(int(symbol), int(counts[symbol])) for symbol in symbols[:SHOWN]]


def counted(spool: Spool, done: Callable[[int], object]) -> Iterator[Symbols]:
    """Iterate over the pieces of the spool; call ``done`` with the bytes of each."""
    for piece in spool:
        yield piece
        done(piece.nbytes)


def in_the_words_of(vocabulary: Vocabulary, corpus: Corpus, run: Path) -> Corpus:
    """A text with fewer characters than the run knows, in the indices of the run.

    Raises:
        RunError: it has others, or one of the two is read as bytes.
    """
    if vocabulary.is_bytes != corpus.vocabulary.is_bytes:
        kind = "bytes: give --bytes" if vocabulary.is_bytes else "characters: give --no-bytes"
        raise RunError(f"{corpus.name}: {run} reads its text as {kind}")
    new = np.setdiff1d(corpus.vocabulary.symbols, vocabulary.symbols)
    if len(new):
        names = ", ".join(repr(chr(symbol)) for symbol in new[:8])
        raise RunError(
            f"{corpus.name}: has {len(new)} characters that {run} does not know ({names}"
            + ("…" if len(new) > 8 else "")
            + "), and a run's vocabulary cannot change. A new run can start from its weights: "
            f"`init_from` {run}"
        )
    index = np.searchsorted(vocabulary.symbols, corpus.vocabulary.symbols)
    tokens = index.astype(np.min_scalar_type(len(vocabulary) - 1))[corpus.tokens]
    return replace(corpus, tokens=tokens, vocabulary=vocabulary, cache="")
