import io
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import ROOT

import charrnn
from charrnn.cli import build_parser
from charrnn.commands.terminal import as_typed, program


@pytest.mark.skipif(os.name != "posix", reason="closed streams")
def test_closed_streams_are_no_reason_to_fail(text_file):
    for closed in ("2>&-", ">&-"):
        command = f"{sys.executable} -m charrnn gradcheck {text_file} --hidden-size 2 {closed}"
        assert subprocess.run(command, shell=True, capture_output=True, check=False).returncode == 0


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full")
@pytest.mark.parametrize("words", [["sample", "RUN"], ["eval", "RUN"], ["derive"], ["--version"]])
def test_output_that_cannot_be_written(run_folder, words):
    command = [
        sys.executable,
        "-m",
        "charrnn",
        *(str(run_folder) if word == "RUN" else word for word in words),
    ]
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert done.returncode == 2
    assert "No space left" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("command", [*build_parser()[1], ""])
@pytest.mark.parametrize("encoding", ["utf-8", "cp1252", "latin-1", "ascii"])
def test_every_command_has_help_wherever_it_is_shown(cli, monkeypatch, command, encoding):
    out = io.TextIOWrapper(io.BytesIO(), encoding)
    monkeypatch.setattr(sys, "stdout", out)
    monkeypatch.setenv("COLUMNS", "80")
    assert cli(*filter(None, [command]), "--help").code == 0
    out.flush()
    text = out.buffer.getvalue().decode(encoding)
    assert text.startswith(f"usage: charrnn {command}".rstrip())
    assert "%%" not in text
    assert encoding == "ascii" or max(map(len, text.splitlines())) <= 80
    assert command != "train" or ("√" if encoding == "utf-8" else r"\u221a") in text


@pytest.mark.parametrize(
    ("words", "rooms"),
    [
        (["--help"], ""),
        (["--version"], "runs model text"),
        (["sample", "--help"], "runs model text measures"),
        (["sample", "RUN", "--length", "3"], "runs model text measures"),
        (["eval", "RUN", "--split", "train"], "runs model text measures"),
    ],
)
def test_a_command_imports_the_rooms_it_needs(run_folder, words, rooms):
    words = [str(run_folder) if word == "RUN" else word for word in words]
    code = f"""
import sys
from charrnn.cli import main
try:
    assert main({words}) == 0
finally:
    print(*sys.modules, file=sys.stderr)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    modules = [name.split(".") for name in done.stderr.split() if name.startswith("charrnn.")]
    found = {room for _, room, *_ in modules if room in charrnn._ROOMS}
    assert found <= {"layers", *rooms.split()}
    assert len(modules) <= (9 if words == ["--help"] else 55)  # all of them are twice as many
    assert words != ["--help"] or {"numpy", "pydantic"}.isdisjoint(done.stderr.split())
    assert sum(name[1:2] == ["commands"] and len(name) > 2 for name in modules) <= 5
    assert "charrnn.measures.baselines" not in done.stderr or words[0] == "eval"


def test_every_public_name_and_room_is_there():
    code = """
import charrnn
for name in dir(charrnn):
    getattr(charrnn, name)
from charrnn import *
print(CharRNN.__name__, charrnn.errors.__name__)
try:
    charrnn.nothing
except AttributeError as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "CharRNN charrnn.errors\nmodule 'charrnn' has no attribute 'nothing'\n"
    names = [name for names in charrnn._PLACES.values() for name in names]
    assert sorted(names) == sorted(set(charrnn.__all__) - set(charrnn._ROOMS))


def test_help_gives_groups_defaults_and_every_setting(cli):
    text = cli("train", "--help").out
    for group in ("The network:", "The optimiser:", "Reading the text:"):
        assert group in text
    for name in charrnn.TrainConfig.model_fields:
        assert "--" + name.replace("_", "-") in text
    assert "state, H (default: 256)" in " ".join(text.split())


def test_a_text_behind_the_flags_is_told_where_to_stand(cli, run_folder, text_file):
    outcome = cli("eval", run_folder, "--split", "all", text_file)
    assert outcome.code == 2
    assert "all of CORPUS goes together" in outcome.err


def test_version_and_no_command(cli):
    assert re.fullmatch(r"charrnn \d+\.\d+\.\d+\n", cli("--version").out)
    assert "COMMAND" in cli().out
    assert cli().code == 2


def test_what_is_misspelt_is_guessed(cli, monkeypatch):
    for words, guess in (
        (
            ["trian", "--hiden-size", 3],
            "charrnn: unknown command trian; did you mean train? (see charrnn --help)",
        ),
        (
            ["train", "--hiden-size=3"],
            "charrnn train: unknown argument --hiden-size=3; did you mean --hidden-size?",
        ),
        (["zzz"], "charrnn: unknown command zzz (see charrnn --help)"),
    ):
        outcome = cli(*words)
        assert outcome.code == 2
        assert outcome.err.startswith(guess)
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    assert r"unknown argument --\x1b]0;x\x07" in cli("train", "--\x1b]0;x\a").err


def test_a_command_is_named_as_it_was_started(tmp_path, monkeypatch):
    """``charrnn`` where the shell finds that one by its name, the script's path where it does not."""
    script = tmp_path / ".venv" / "bin" / "charrnn"
    script.parent.mkdir(parents=True)
    script.write_text("#!/bin/sh")
    script.chmod(0o755)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "orig_argv", ["python3", "-m", "charrnn", "train"])
    path = os.environ["PATH"]
    for argv0, folders, command in (
        (".venv/bin/charrnn", path, ".venv/bin/charrnn sample"),
        (str(script), f"{script.parent}:{path}", "charrnn sample"),
        (str(ROOT / "charrnn" / "__main__.py"), path, "python3 -m charrnn sample"),
        (str(ROOT / "train.py"), path, "python3 -m charrnn sample"),
        ("/somewhere/pytest", path, "charrnn sample"),
    ):
        monkeypatch.setattr(sys, "argv", [argv0])
        monkeypatch.setenv("PATH", folders)
        assert program("sample") == command
    monkeypatch.setattr(sys, "argv", [str(ROOT / "train.py")])
    assert program("train") == f"python3 {ROOT / 'train.py'}"


def test_messages_are_in_the_words_of_the_command_line():
    assert (
        as_typed("`top_k` 5, not `x y`; see charrnn train --out")
        == "--top-k 5, not `x y`; see charrnn train --out"
    )
    assert len(as_typed(f"{'x' * 1000}: no such file")) == 200 + len(" no such file")
    assert len(as_typed("x y " * 10_000)) == 2000


def test_rooms_that_a_command_does_not_need_are_not_loaded(run_folder):
    """``charrnn`` itself, the package, loads what it takes to train."""
    code = "import atexit, sys, charrnn.cli; atexit.register(lambda: print(*sys.modules, file=sys.stderr)); "
    rooms = {"charrnn.proofs.cells", "charrnn.proofs.gradcheck", "charrnn.training.bench", "charrnn.views"}
    for words in (["--help"], ["sample", run_folder, "--length", 1], ["eval", run_folder]):
        command = [sys.executable, "-c", f"{code} charrnn.cli.main({list(map(str, words))})"]
        loaded = subprocess.run(command, capture_output=True, text=True, check=True).stderr.split()
        assert "charrnn.cli" in loaded
        assert not rooms.intersection(loaded)
