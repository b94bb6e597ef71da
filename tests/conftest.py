"""What several tests share: a small text, a small finished run, and the command line in-process."""

import io
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any, NamedTuple

import hypothesis
import numpy as np
import pytest

import charrnn
from charrnn.cli import main
from charrnn.npz import read_arrays
from charrnn.text.tokens import release

hypothesis.settings.register_profile("charrnn", deadline=None, max_examples=30, derandomize=True)
hypothesis.settings.load_profile("charrnn")

ROOT = Path(__file__).parents[1]
PROVERB = "the fox who asked twice was answered once; the hen who never asked knew.\n"


def mapped_memory() -> float:
    """How much memory of files is in this process's pages, in MB."""
    status = Path("/proc/self/status").read_text()
    return int(status.split("RssFile:")[1].split()[0]) / 1024


def watch_mapped_memory(monkeypatch: pytest.MonkeyPatch, module: str) -> list[float]:
    """The memory of files in use, in MB, each time that a module lets go of the pages of a text."""
    readings: list[float] = []

    def watched(pages: Any) -> None:
        readings.append(mapped_memory())
        release(pages)

    monkeypatch.setattr(f"{module}.release", watched)
    return readings


CLOCK = {"elapsed", "chars_per_second"}  # what the time of day decides in metrics.jsonl
SAVES = {"elapsed", "metrics_bytes", "kept", "ranks"}  # and in the position that last.npz holds


def metrics(run: Path) -> list[dict[str, object]]:
    """The lines of metrics.jsonl, each whole, but for the clock."""
    lines = (run / "metrics.jsonl").read_text().splitlines()
    return [{key: value for key, value in json.loads(line).items() if key not in CLOCK} for line in lines]


def position(run: Path, name: str = "last.npz") -> dict[str, object]:
    """Where a save stands, but for the clock."""
    at = json.loads(str(read_arrays(run / name)["position"]))
    return {key: value for key, value in at.items() if key not in SAVES}


def assert_same_run(one: Path, other: Path) -> None:
    """The same bits in every array, the same position, and the same lines but for the clock."""
    for name in ("last.npz", "best.npz"):
        arrays, others = read_arrays(one / name), read_arrays(other / name)
        assert arrays.keys() == others.keys()
        for key in arrays.keys() - {"position", "settings"}:
            np.testing.assert_array_equal(arrays[key], others[key], err_msg=f"{name}: {key}")
            assert arrays[key].dtype == others[key].dtype
    assert position(one) == position(other)
    assert metrics(one) == metrics(other)


@pytest.fixture(scope="session", autouse=True)
def usual_signals() -> None:
    """These two act as usual, here and in every process that is started, whatever the shell ignores."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)


@pytest.fixture
def usual_hangup() -> Iterator[None]:
    """And so does SIGHUP, but in these tests alone: elsewhere it may be ignored (nohup)."""
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    yield
    signal.signal(signal.SIGHUP, before)


def start(*words: object, env: dict[str, str] | None = None, **options: Any) -> subprocess.Popen[Any]:
    """The command line in a process of its own, with ``env`` beside the usual variables."""
    command = [sys.executable, "-m", "charrnn", *map(str, words)]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    variables = os.environ | {"PYTHONPATH": str(ROOT)} | (env or {})
    return subprocess.Popen(command, env=variables, **pipes | options)


def says_what_is_wrong(*words: object) -> str:
    """Run a command: it does its work, or ends with a line or two and the exit code 2. Returns: those."""
    out, err = (io.TextIOWrapper(io.BytesIO(), "utf-8") for _ in range(2))
    with redirect_stdout(out), redirect_stderr(err):
        try:
            code = main([str(word) for word in words])
        except SystemExit as end:
            code = end.code
    err.seek(0)
    said = err.read()
    assert code == 0 or (code == 2 and 1 <= said.count("\n") <= 2), (code, said[:2000])
    return said


class Told:
    """The progress of a run: the arguments of each call, by the method's name."""

    def __init__(self) -> None:
        self.calls: dict[str, list[tuple[Any, ...]]] = {}

    def __getattr__(self, name: str) -> Callable[..., None]:
        return lambda *what: self.calls.setdefault(name, []).append(what)


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
