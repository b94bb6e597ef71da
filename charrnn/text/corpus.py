"""A corpus: the text of files as integers, read once and kept beside the run."""

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, Self

import numpy as np

from charrnn.errors import ConfigError, RunError, TextError
from charrnn.text import tokens as caching
from charrnn.text.reading import (
    Origin,
    Progress,
    Spool,
    Symbols,
    can_be_read_again,
    check_encoding,
    corpus_name,
    describe,
    find_files,
    read_text,
    silent,
)
from charrnn.text.vocabulary import Tokens, Vocabulary


class Parts(NamedTuple):
    """The three contiguous parts of a corpus, in the order in which they stand in it."""

    train: Tokens
    val: Tokens
    test: Tokens


@dataclass(frozen=True)
class Corpus:
    """A text as integers, with what is known of where it came from.

    Attributes:
        tokens: (n,) indices into the vocabulary; a memory map where there is a cache.
        vocabulary: the characters they stand for.
        name: a short name: the file's or folder's, without its ending.
        size: in bytes, decompressed.
        sha256: the hash of those bytes, in hexadecimal.
        notes: what a reader of the text should be told (a byte-order mark that was dropped).
    """

    tokens: Tokens
    vocabulary: Vocabulary
    name: str
    size: int
    sha256: str
    notes: tuple[str, ...] = ()

    @classmethod
    def from_files(
        cls,
        *paths: str | Path,
        bytes: bool = False,
        encoding: str = "utf-8",
        glob: str = "*.txt",
        vocabulary: Vocabulary | None = None,
        ignore_unknown: bool = False,
        cache: Path | None = None,
        sha256: str | None = None,
        progress: Progress = silent,
    ) -> Self:
        """Read files, and the files in folders that match ``glob``, joined in sorted order.

        Line ends are kept as they are; nothing is put between two files. A file that is compressed with
        gzip, bzip2 or xz is read as what is in it, and the word ``-`` is standard input. With ``bytes``
        the 256 byte values are the vocabulary and the files are not decoded. A ``vocabulary`` given is
        used instead of the text's own.

        With a ``cache`` the text may be larger than memory: its tokens are written to that file, or to
        a file in that folder named after the text's hash, and mapped into memory. What stands there is
        used if it was made from the same bytes in the same way. Tokens of a vocabulary that is not the
        text's own are not cached.

        Raises:
            TextError: a file is missing, cannot be read, cannot be decoded, or is empty; a folder has no
                match; the text has one distinct character only, or some that a given vocabulary lacks.
            AnotherTextError: the text does not have the hash ``sha256`` that was asked for. The cache is
                as it was.
            ConfigError: there is no such encoding.
            RunError: the cache cannot be written.
        """
        as_bytes = bytes or (vocabulary is not None and vocabulary.is_bytes)
        codec = None if as_bytes else check_encoding(encoding)
        sources = find_files(paths, glob)
        name = corpus_name(paths)
        where = describe(paths[0]) if len(paths) == 1 else f"{len(sources)} files"
        notes: list[str] = []
        again = all(map(can_be_read_again, sources))
        if cache and cache.exists() and again:
            origin, _ = read_text(sources, codec, progress)
            origin.must_be(sha256, where)
            if found := caching.look_up(cache, origin, vocabulary, notes, progress):
                return cls(*found, name, origin.size, origin.sha256, tuple(notes))
        with Spool(cache and caching.nearest_folder(cache)) as spool:
            origin, said = read_text(sources, codec, progress, spool)
            origin.must_be(sha256, where)
            found = None
            if cache and not again:
                found = caching.look_up(cache, origin, vocabulary, notes, progress)
            if len(spool) == 0:
                raise TextError(f"{where}: the text is empty. Give a file with some text in it")
            if not found:
                own = vocabulary_of(spool, origin, where) if vocabulary is None else vocabulary
                found = encode(spool, origin, own, where, ignore_unknown, cache, progress), own
        return cls(*found, name, origin.size, origin.sha256, (*said, *notes))

    @classmethod
    def from_cache(
        cls,
        cache: Path,
        name: str,
        sha256: str,
        *,
        bytes: bool = False,
        encoding: str = "utf-8",
        progress: Progress = silent,
    ) -> Self:
        """A text that cannot be read again, from the cache that ``from_files`` made of it.

        Raises:
            RunError: there is no cache of it, or it is damaged.
        """
        codec = None if bytes else check_encoding(encoding)
        path = caching.place(cache, sha256, codec)
        origin, vocabulary, tokens = caching.read(path, progress)
        if (origin.sha256, origin.encoding) != (sha256, codec):
            raise RunError(f"{path}: was made from another text than {name}, or in another way")
        return cls(tokens, vocabulary, name, origin.size, sha256)

    @classmethod
    def from_text(cls, text: str | bytes, name: str = "text") -> Self:
        """A corpus from a string, or from bytes with the 256 byte values as vocabulary.

        Raises:
            TextError: the text is empty or has one distinct character only.
        """
        if len(set(text)) < 2:
            raise TextError(f"{name}: the text is {text[:20]!r}; it takes at least two distinct characters")
        vocabulary = Vocabulary.of_bytes() if isinstance(text, bytes) else Vocabulary.of_text(text)
        blob = text if isinstance(text, bytes) else text.encode("utf-8", "surrogatepass")
        tokens = vocabulary.encode(text)
        return cls(tokens, vocabulary, name, len(blob), hashlib.sha256(blob).hexdigest())

    def __len__(self) -> int:
        return len(self.tokens)

    def split(self, val_fraction: float, test_fraction: float = 0.0) -> Parts:
        """Cut the text in three: its beginning to train on, then validation, then test.

        Raises:
            ConfigError: the fractions are negative or leave nothing to train on.
        """
        if not (val_fraction >= 0 and test_fraction >= 0 and val_fraction + test_fraction < 1):
            raise ConfigError(
                f"val_fraction {val_fraction} and test_fraction {test_fraction} leave nothing to "
                "train on: together they must stay below 1"
            )
        n = len(self.tokens)
        test = n - round(n * test_fraction)
        val = test - round(n * val_fraction)
        return Parts(self.tokens[:val], self.tokens[val:test], self.tokens[test:])


def vocabulary_of(spool: Spool, origin: Origin, where: str) -> Vocabulary:
    """The distinct symbols of what was read.

    Raises:
        TextError: there is only one.
    """
    symbols = np.flatnonzero(spool.seen)
    if len(symbols) == 1:
        one = chr(symbols[0]) if origin.encoding else bytes([symbols[0]])
        raise TextError(
            f"{where}: the text is one character, {one!r}, {len(spool):,} times over. "
            "There is nothing to predict: give a text with at least two distinct characters"
        )
    return Vocabulary(symbols.astype(np.uint32)) if origin.encoding else Vocabulary.of_bytes()


def encode(
    spool: Spool,
    origin: Origin,
    vocabulary: Vocabulary,
    where: str,
    ignore_unknown: bool,
    cache: Path | None,
    progress: Progress,
) -> Tokens:
    """The tokens of what was read: an array, or a memory map of the cache.

    Raises:
        TextError: it has characters that the vocabulary lacks.
        RunError: the cache cannot be written.
    """
    symbols = np.flatnonzero(spool.seen)
    unknown = np.setdiff1d(symbols, vocabulary.symbols, assume_unique=True)
    if len(unknown) and not ignore_unknown:
        raise TextError(f"{where}: {vocabulary.unknown(unknown)}")
    with progress("encoding", spool.size) as done:
        pieces = vocabulary.encode_pieces(counted(spool, done), ignore_unknown=len(unknown) > 0)
        if cache is None or not (vocabulary.is_bytes or np.array_equal(symbols, vocabulary.symbols)):
            tokens = np.empty(len(spool), vocabulary.dtype)
            n = 0
            for piece in pieces:
                tokens[n : n + len(piece)] = piece
                n += len(piece)
            return tokens[:n]
        path = caching.place(cache, origin.sha256, origin.encoding)
        caching.write(path, origin, vocabulary, pieces, len(spool))
    return caching.read(path, progress)[2]


def counted(spool: Spool, done: Callable[[int], object]) -> Iterator[Symbols]:
    """The pieces of the spool, with ``done`` told of the bytes of each."""
    for piece in spool:
        yield piece
        done(piece.nbytes)
