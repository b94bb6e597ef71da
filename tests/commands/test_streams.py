"""Every command where standard output is no file, as in a notebook: no descriptor, and no bytes."""

import io
import shutil
from contextlib import redirect_stderr, redirect_stdout

import pytest
from conftest import TINY

from charrnn.cli import main
from charrnn.commands import COMMANDS

WORDS = {
    "train": ["TEXT", "--out", "new", "--max-steps", 3, *TINY],
    "sample": ["RUN", "--prime", "the ", "--length", 9],
    "eval": ["RUN", "--by", "line"],
    "gradcheck": ["TEXT", "--quick"],
    "derive": ["--rule", "3W"],
    "bench": ["--seconds", 0.01, "--hidden-size", 8, "--seq-length", 4, "--batch-size", 2, "--threads", 1],
    "plot": ["RUN", "--out", "losses.svg"],
    "runs": ["."],
    "page": ["RUN"],
    "look": ["RUN", "--text", "the fox"],
    "export": ["RUN", "fox.safetensors"],
    "import": ["fox.safetensors", "--out", "theirs"],
    "completion": ["bash"],
}
OPTIONAL = {"plot": "matplotlib", "completion": "shtab"}


def run(*words):
    out, err = io.StringIO(), io.StringIO()
    with redirect_stdout(out), redirect_stderr(err):
        code = main([str(word) for word in words])
    return code, out.getvalue(), err.getvalue()


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_writes_to_what_is_no_file(command, run_folder, text_file, tmp_path, monkeypatch):
    if command in OPTIONAL:
        pytest.importorskip(OPTIONAL[command])
    monkeypatch.chdir(tmp_path)
    shutil.copytree(run_folder, "run")
    if command == "import":
        assert run("export", "run", "fox.safetensors")[0] == 0
    places = {"RUN": "run", "TEXT": text_file}
    code, out, err = run(command, *(places.get(word, word) for word in WORDS[command]))
    assert code == 0, err
    assert out


def test_drawn_text_arrives_as_it_is(run_folder, cli):
    words = ["sample", run_folder, "--seed", 1, "--length", 40]
    for more in ([], ["--num-samples", 3], ["--raw"]):
        assert run(*words, *more) == (0, cli(*words, *more).out, "")


def test_drawn_bytes_arrive_as_text(tmp_path):
    (tmp_path / "binary.dat").write_bytes(bytes(range(256)) * 8)
    out = tmp_path / "run"
    assert run("train", tmp_path / "binary.dat", "--bytes", "--out", out, "--max-steps", 2, *TINY)[0] == 0
    code, drawn, _ = run("sample", out, "--length", 300, "--seed", 1, "--prime", "é")
    assert code == 0
    assert drawn.startswith("é")
    assert "\\x" in drawn  # what is no UTF-8, as Python writes it


@pytest.mark.parametrize("words", [["nonsense"], ["eval"], ["train", "--epochs", "0"], ["--nonsense"], []])
def test_what_cannot_be_ends_in_an_exit_code(words):
    code, out, err = run(*words)
    assert code == 2
    assert out or err


def test_help_and_version_end_well():
    assert run("--help")[0] == run("train", "--help")[0] == run("--version")[0] == 0
