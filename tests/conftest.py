"""What several tests share: a small text, a small finished run, and the command line in-process."""

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import hypothesis
import pytest

import charrnn
from charrnn.cli import main

hypothesis.settings.register_profile("charrnn", deadline=None, max_examples=30, derandomize=True)
hypothesis.settings.load_profile("charrnn")

PROVERB = "the fox who asked twice was answered once; the hen who never asked knew.\n"


def mapped_memory() -> float:
    """How much memory of files is in this process's pages, in MB."""
    status = Path("/proc/self/status").read_text()
    return int(status.split("RssFile:")[1].split()[0]) / 1024


class Outcome(NamedTuple):
    code: int
    out: str
    err: str


@pytest.fixture
def cli(capsys: pytest.CaptureFixture[str]) -> Callable[..., Outcome]:
    """Run the command line in this process; a usage error counts as its exit code."""

    def run(*words: object) -> Outcome:
        capsys.readouterr()
        try:
            code = main([str(word) for word in words])
        except SystemExit as end:
            code = int(end.code or 0)
        return Outcome(code, *capsys.readouterr())

    return run


@pytest.fixture(scope="session")
def corpus() -> charrnn.Corpus:
    return charrnn.Corpus.from_text(PROVERB * 40, "proverb")


@pytest.fixture(scope="session")
def text_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("text") / "proverb.txt"
    path.write_text(PROVERB * 40)
    return path


TINY = ["--hidden-size", 24, "--seq-length", 16, "--batch-size", 4, "--warmup-steps", 5]


@pytest.fixture(scope="session")
def run_folder(text_file: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run on the text; not to be changed."""
    out = tmp_path_factory.mktemp("runs") / "proverb"
    words = ["train", text_file, "--out", out, "--epochs", 4, "--learning-rate", 0.01, *TINY]
    assert main([str(word) for word in words]) == 0
    return out
