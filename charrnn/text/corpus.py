"""A corpus: a text as integers, from files, from the token file that keeps it, or from a string."""

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, Self

import numpy as np

from charrnn.errors import ConfigError, TextError
from charrnn.text import tokens as caching
from charrnn.text.reading import (
    Origin,
    ReadingProgress,
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
    """The three contiguous parts of a corpus, in the order of the text."""

    train: Tokens
    val: Tokens
    test: Tokens


@dataclass(frozen=True)
class Corpus:
    """A text as integers, and where it came from.

    Attributes:
        tokens: (n,) indices into the vocabulary; a memory map where there is a token file.
        vocabulary: the characters they stand for.
        name: a short name: the file's or folder's, without its suffix.
        size: in bytes, decompressed.
        sha256: hash of those bytes, in hexadecimal.
        notes: messages for the user, a line each (such as a byte-order mark that was dropped).
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
        size: int | None = None,
        progress: ReadingProgress = silent,
    ) -> Self:
        """Read files, and the files in folders that match ``glob``, joined in sorted order.

        Line ends are kept; nothing is inserted between files. A file that is compressed with gzip, bzip2 or
        xz is decompressed.

        With a ``cache`` the text may be larger than memory: its tokens are written to a token file and mapped
        into memory. One that was made from the same bytes in the same way is used again, one of another text
        or a damaged one is replaced, and any other file in its place is refused.

        Arguments:
            paths: files, pipes and folders; the word ``-`` is standard input.
            bytes: take the 256 byte values as the vocabulary, and do not decode the files; a ``vocabulary``
                given decides this by itself.
            encoding: of the files.
            glob: which files of a folder to read; ``**`` is any number of folders.
            vocabulary: use this one instead of the text's own. Tokens of another one are not cached.
            ignore_unknown: drop the characters that a given vocabulary lacks.
            cache: the token file, or a folder of token files, each named after its text's hash.
            sha256: the hash that the text must have. It is compared before anything is written.
            size: the size in bytes of the text of that hash; no more is read.
            progress: shows how much has been read.

        Raises:
            TextError: a file is missing, cannot be read or decoded, is a device, or is empty; a folder has no
                match; the text has one distinct character only, or some that a given vocabulary lacks.
            AnotherTextError: the text does not have the ``sha256`` asked for.
            ConfigError: unknown encoding, or invalid pattern.
            RunError: the cache cannot be written, or something else is in its place.
        """
        as_bytes = bytes if vocabulary is None else vocabulary.is_bytes
        codec = None if as_bytes else check_encoding(encoding)
        sources = find_files(paths, glob)
        name = corpus_name(paths)
        where = describe(paths[0]) if len(paths) == 1 else f"{len(sources)} files"
        notes: list[str] = []
        reread = all(map(can_be_read_again, sources))
        if reread and (sha256 or (cache and cache.exists())):
            origin, _ = read_text(sources, codec, progress, limit=size)
            origin.must_be(sha256, where)
            if cache and (found := caching.look_up(cache, origin, vocabulary, notes, progress)):
                return cls(*found, name, origin.size, origin.sha256, tuple(notes))
        with Spool(cache and caching.nearest_folder(cache)) as spool:
            origin, said = read_text(sources, codec, progress, spool, size)
            origin.must_be(sha256, where)
            found = None
            if cache and not reread:
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
        path: Path,
        name: str,
        sha256: str,
        size: int,
        *,
        bytes: bool = False,
        encoding: str = "utf-8",
        progress: ReadingProgress = silent,
    ) -> Self:
        """Take a text from a token file that ``from_files`` made of it; its source is not read.

        Arguments:
            path: the token file.
            name: of the text.
            sha256: the hash that the text must have, in hexadecimal.
            size: its size in bytes.
            bytes: whether the 256 byte values are the vocabulary.
            encoding: that the text was decoded with.
            progress: shows how much has been checked.

        Raises:
            RunError: the token file is missing, damaged, or of another text.
            ConfigError: unknown encoding.
        """
        wanted = sha256, size, None if bytes else check_encoding(encoding)
        _, vocabulary, tokens = caching.read(
            path, progress, lambda origin: (origin.sha256, origin.size, origin.encoding) == wanted
        )
        note = f"{path}: the text as it was encoded, not compared with its source"
        return cls(tokens, vocabulary, name, size, sha256, (note,))

    @classmethod
    def from_text(cls, text: str | bytes, name: str = "text") -> Self:
        """Make a corpus of a string, or of bytes with the 256 byte values as vocabulary.

        Raises:
            TextError: the text is empty or has one distinct character only.
        """
        if len(set(text)) < 2:
            raise TextError(f"{name}: the text is {text[:20]!r}; expected at least two distinct characters")
        vocabulary = Vocabulary.of_bytes() if isinstance(text, bytes) else Vocabulary.of_text(text)
        blob = text if isinstance(text, bytes) else text.encode("utf-8", "surrogatepass")
        tokens = vocabulary.encode(text)
        return cls(tokens, vocabulary, name, len(blob), hashlib.sha256(blob).hexdigest())

    def __len__(self) -> int:
        return len(self.tokens)

    def split(self, val_fraction: float, test_fraction: float = 0.0) -> Parts:
        """Cut the text in three: its beginning to train on, then the validation part, then the test part.

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
    """Take the distinct symbols of what was read for its vocabulary."""
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
    progress: ReadingProgress,
) -> Tokens:
    """Encode what was read: into a token file that is mapped, or into an array.

    Into an array if there is no ``cache``, or the vocabulary is another text's, or so large (or the files so
    many) that no header holds it.
    """
    symbols = np.flatnonzero(spool.seen)
    unknown = np.setdiff1d(symbols, vocabulary.symbols, assume_unique=True)
    if len(unknown) and not ignore_unknown:
        raise TextError(f"{where}: {vocabulary.unknown(unknown)}")
    is_own = vocabulary.is_bytes or np.array_equal(symbols, vocabulary.symbols)
    with progress("encoding", spool.size) as done:
        pieces = vocabulary.encode_pieces(counted(spool, done), ignore_unknown=len(unknown) > 0)
        if cache and is_own and caching.has_header(origin, vocabulary):
            return caching.write(caching.place(cache, origin), origin, vocabulary, pieces, len(spool))
        tokens = np.empty(len(spool), vocabulary.dtype)
        n = 0
        for piece in pieces:
            tokens[n : n + len(piece)] = piece
            n += len(piece)
        return tokens[:n]


def counted(spool: Spool, done: Callable[[int], object]) -> Iterator[Symbols]:
    """Iterate over the pieces of the spool; call ``done`` with the bytes of each."""
    for piece in spool:
        yield piece
        done(piece.nbytes)
