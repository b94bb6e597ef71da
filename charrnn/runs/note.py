"""config.json: the settings of a run, what it was trained on, and what wrote it.

It has no checksum, so that a person can read it and a program of any kind can write it. What it says is
checked, and bounds what the program does with it; last.npz holds the settings too.
"""

import json
import os
import platform
import sys
from dataclasses import asdict, replace
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import numpy as np
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, PlainValidator, ValidationError

from charrnn.config import BEFORE_KERNELS, SEPARATOR_LENGTH, Pattern, TrainConfig
from charrnn.errors import ConfigError, RunError
from charrnn.files import write_whole
from charrnn.npz import open_plain
from charrnn.text.corpus import Corpus
from charrnn.text.encodings import check_encoding
from charrnn.text.reading import BYTES, STDIN, Reading
from charrnn.text.tokens import token_file_name
from charrnn.version import __version__

CONFIG = "config.json"
CONFIG_BYTES = 10**6  # the largest file that is read, or written
NAME_LENGTH = 4096  # characters of a path


def _name(value: object) -> str:
    """A file's name; bytes in it that are not Unicode are surrogates, which pydantic's strings refuse."""
    if not isinstance(value, str) or len(value) > NAME_LENGTH or "\0" in value:
        raise ValueError(f"should be text of at most {NAME_LENGTH:,} characters, none of them NUL")
    return value


Name = Annotated[str, PlainValidator(_name)]
Separator = Annotated[str, Field(max_length=SEPARATOR_LENGTH)]


def one_in_a_list(value: object) -> object:
    """One pattern, as earlier versions noted it."""
    return [value] if isinstance(value, str) else value


Word = Annotated[str, Field(max_length=200)]
Count = Annotated[int, Field(ge=0, lt=2**63)]
Hash = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]  # a SHA-256 in hexadecimal


class Noted(BaseModel):
    """The base of what a file notes: its types are strict, and what it does not know it passes over."""

    model_config = ConfigDict(strict=True, frozen=True, extra="ignore", allow_inf_nan=False)


class CorpusNote(Noted):
    """The text of a run: what it is, and where and how it was read."""

    name: Name
    size: Count  # in bytes
    sha256: Hash
    characters: Count
    vocabulary_size: int = Field(ge=2, le=sys.maxunicode + 1)
    sources: list[Name] = Field(default=[], max_length=100_000)  # paths from the run, - for standard input
    cache_dir: Name = ""
    bytes: bool = False
    encoding: Word = "utf-8"
    newlines: Literal["keep", "lf"] = "keep"  # what earlier versions did, which noted none of these
    normalize: Literal["none", "nfc"] = "none"
    min_count: int = Field(default=1, ge=1, lt=2**63)
    between: Literal["", "\n"] = ""
    documents: Separator = ""
    val_file: bool = False  # the last sources are parts of their own
    test_file: bool = False
    glob: Annotated[list[Pattern], BeforeValidator(one_in_a_list)] = Field(default=["*.txt"], max_length=100)

    @property
    def reading(self) -> Reading:
        """How the text was read."""
        reading = BYTES
        if not self.bytes:
            encoding = check_encoding(self.encoding)
            reading = Reading(encoding, self.newlines, self.normalize, self.min_count, self.between)
        own: dict[str, Any] = {"val_file": self.val_file, "test_file": self.test_file}
        return replace(reading, documents=self.documents, **own)


class InitFrom(Noted):
    """The run whose weights another one started from."""

    run: Name


class Note(Noted):
    """What config.json says of a run."""

    settings: TrainConfig
    corpus: CorpusNote
    versions: dict[Word, Word] = Field(default={}, max_length=100)
    init_from: InitFrom | None = None

    @classmethod
    def of(
        cls,
        run: Path,
        config: TrainConfig,
        corpus: Corpus,
        init_from: InitFrom | None = None,
        before: CorpusNote | None = None,
    ) -> Self:
        """The note of a run that this program trains.

        Arguments:
            run: its folder, which paths in the note are relative to.
            before: what it has noted of its text: where that came from counts, if ``corpus`` was taken from
                the encoded text.

        Raises:
            ConfigError: something about the text cannot be noted.
        """
        reading, cache = corpus.reading, Path(corpus.cache)
        noted = {
            "name": corpus.name,
            "size": corpus.size,
            "sha256": corpus.sha256,
            "characters": len(corpus),
            "vocabulary_size": len(corpus.vocabulary),
            "bytes": reading.encoding is None,
            **{key: value for key, value in asdict(reading).items() if value is not None},
            "sources": [path if path == STDIN else path_from(run, path) for path in corpus.sources],
            "glob": list(corpus.glob),
        }
        if corpus.cache and cache.name == token_file_name(corpus.sha256, reading):
            noted["cache_dir"] = path_from(run, cache.parent)
        if before and not corpus.sources:
            noted |= {"sources": before.sources, "glob": before.glob}
        versions = {"charrnn": __version__, "numpy": np.__version__}
        versions["python"] = platform.python_version()
        try:
            return cls(settings=config, corpus=CorpusNote(**noted), versions=versions, init_from=init_from)
        except ValidationError as error:
            raise ConfigError(f"corpus: {sentence(error)}") from None

    @classmethod
    def read(cls, run: Path) -> Self:
        """The note of the run in a folder.

        Raises:
            RunError: config.json is missing, or damaged, or a setting in it cannot be.
        """
        path = run / CONFIG
        note = _read_json(path)
        if not all(isinstance(note.get(key), dict) for key in ("settings", "corpus")):
            raise RunError(f"{path}: damaged: it lacks settings or corpus")
        try:
            return cls.model_validate(note | {"settings": TrainConfig(**BEFORE_KERNELS | note["settings"])})
        except ConfigError as error:
            raise RunError(f"{path}: {error}") from None
        except ValidationError as error:
            raise RunError(f"{path}: damaged: {sentence(error)}") from None

    def write(self, run: Path) -> None:
        """Write config.json, whole or not at all.

        Raises:
            RunError: it cannot be written, or would be larger than what is read.
        """
        blob = self.blob(run)
        write_whole(run / CONFIG, lambda file: file.write(blob))

    def blob(self, run: Path) -> bytes:
        """What is written to config.json.

        Raises:
            RunError: it would be larger than what is read.
        """
        path, value = run / CONFIG, self.model_dump()
        if self.init_from is None:
            del value["init_from"]
        text = json.dumps(value, indent=2, ensure_ascii=False) + "\n"
        blob = text.encode("utf-8", "surrogatepass")
        if len(blob) > CONFIG_BYTES:
            raise RunError(
                f"{path}: would be {len(blob):,} bytes, for {len(self.corpus.sources):,} files of text; no "
                f"more than {CONFIG_BYTES:,} are read. Name their folder in place of them"
            )
        return blob


def path_from(run: Path, path: str | Path) -> str:
    """What is noted of a path: the way to it from the run's folder, or itself if only the root has both.

    So a note tells nothing of the machine it was written on, and holds where both were moved.
    """
    home, path = run.resolve(), Path(path).resolve()
    if home.anchor != path.anchor or os.path.commonpath([home, path]) == home.anchor:
        return str(path)
    return os.path.relpath(path, home)


def is_note(path: Path) -> bool:
    """Whether a file is the config.json of a run, and not of another program: it has settings of ours."""
    try:
        settings = _read_json(path).get("settings")
    except RunError:
        return False
    return isinstance(settings, dict) and not TrainConfig.model_fields.keys().isdisjoint(settings)


def sentence(error: ValidationError) -> str:
    """The first thing that is wrong: the field, and what it should be."""
    wrong = error.errors()[0]
    message = wrong["msg"].removeprefix("Input ").removeprefix("Value error, ")
    return ": ".join(filter(None, [".".join(map(str, wrong["loc"]))[:200], message[0].lower() + message[1:]]))


def _read_json(path: Path) -> dict[str, Any]:
    with open_plain(path, CONFIG_BYTES) as file:
        try:
            value = json.loads(file.read(CONFIG_BYTES))
        except OSError as error:
            raise RunError(f"{path}: cannot be read: {error.strerror}") from None
        except (ValueError, RecursionError):
            raise RunError(f"{path}: damaged: not JSON") from None
    if not isinstance(value, dict):
        raise RunError(f"{path}: damaged: not a JSON object")
    return value
