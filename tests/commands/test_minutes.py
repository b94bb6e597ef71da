"""``charrnn train --minutes``: the line it prints is the command that repeats the run."""

import io
import os
import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from conftest import PROVERB, assert_same_run
from small import note_of

from charrnn.commands.train import quoted
from charrnn.display import visible
from charrnn.training import recipe

SECONDS = 0.6


@pytest.fixture(autouse=True)
def _measured_at_once(monkeypatch, request):
    if "measured" not in request.node.name:
        found = SimpleNamespace(gflops=1.0, chars_per_second=20_000.0)
        monkeypatch.setattr(recipe, "measured", lambda *given: found)


@pytest.fixture
def text(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "my text.txt").write_text(PROVERB * 100)
    return "my text.txt"


def commands_in(out):
    """The commands that a run says it is, as words, the last one as it was."""
    lines = [line for line in out.splitlines() if line.startswith(("chosen for", "the clock has moved"))]
    words = [re.sub(r".* train ", "", line, count=1) for line in lines]
    said = [
        subprocess.run(["bash", "-c", f"printf '%s\\0' {some}"], check=True, stdout=subprocess.PIPE).stdout
        for some in words
    ]
    return [some.decode().split("\0")[:-1] for some in said]


FLAGS = {
    "nothing": [],
    "sizes": ["--cell", "lstm", "--hidden-size", 20, "--num-layers", 1, "--seed", 7],
    "sgd": ["--optimizer", "sgd", "--learning-rate", 0.003, "--weight-decay", 0.1],
    "documents": ["--documents", "it's\t\\\n", "--no-shuffle-documents"],
    "bytes": ["--bytes", "--threads", 1],
    "not averaged": ["--average", "none", "--schedule", "constant", "--patience", 9],
    "cosine": ["--schedule", "cosine"],
}


WORDS = ["a b", "it's $1", "", "two\nlines\\n", "\x1b[31m", "zero\u200bwidth", "no-break\xa0é", "\u202e'"]


@pytest.mark.parametrize("word", [*map(os.fsencode, WORDS), b"not UTF-8 \xff"])
def test_a_word_can_be_pasted_from_a_terminal(word):
    """Which does not show all characters as they are."""
    written = quoted(os.fsdecode(word))
    assert "\n" not in written
    assert visible(written) == written
    said = subprocess.run(["bash", "-c", f"printf %s {written}"], check=True, stdout=subprocess.PIPE).stdout
    assert said == word


@pytest.mark.parametrize("flags", FLAGS.values(), ids=FLAGS)
def test_the_line_repeats_the_run(cli, text, tmp_path, flags):
    if "--documents" in flags:
        Path(text).write_text((PROVERB + "it's\t\\\n") * 50)
    first = cli("train", text, *flags, "--minutes", SECONDS / 60, "--out", "one")
    assert first.code == 0, first.err
    said = commands_in(first.out)
    assert text in said[0]
    again = cli("train", *said[-1], "--out", "two")
    assert again.code == 0, again.err
    assert "chosen" not in again.out
    assert_same_run(tmp_path / "one", tmp_path / "two")
    assert ("the clock will not move it" in first.out) == ("cosine" in flags)


def test_a_file_whose_name_looks_like_a_flag(cli, text):
    Path(text).rename("-text")
    first = cli("train", "--minutes", SECONDS / 60, "--hidden-size", 4, "--out", "one", "--", "-text")
    assert first.code == 0, first.err
    assert cli("train", *commands_in(first.out)[-1], "--out", "two").code == 0


def test_a_run_that_is_measured_is_a_run(cli, text, tmp_path):
    first = cli("train", text, "--minutes", SECONDS / 60, "--hidden-size", 16, "--out", "one")
    assert cli("train", *commands_in(first.out)[-1], "--out", "two").code == 0
    assert_same_run(tmp_path / "one", tmp_path / "two")


def test_of_a_settings_file_too(cli, text, tmp_path):
    (tmp_path / "my.toml").write_text(f"minutes = {SECONDS / 60}\nhidden_size = 17\n")
    said = commands_in(cli("train", text, "--config", "my.toml", "--out", "one").out)
    assert "--hidden-size=17" in said[0]
    assert not any("config" in word or "minutes" in word for word in said[0])
    (tmp_path / "my.toml").write_text("minutes = 1\nepochs = 3\n")
    assert "both say when the run ends" in cli("train", text, "--config", "my.toml", "--out", "two").err


def test_piped_text_and_a_part_of_ones_own(cli, text, tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BufferedReader(io.BytesIO(PROVERB.encode() * 50))))
    piped = cli("train", "-", "--minutes", SECONDS / 60, "--hidden-size", 16, "--out", "one")
    assert piped.code == 0, piped.err
    assert "-" in commands_in(piped.out)[0]
    (tmp_path / "val").write_text(PROVERB * 4)
    own = cli("train", text, "--minutes", SECONDS / 60, "--val-file", "val", "--out", "two")
    assert cli("train", *commands_in(own.out)[-1], "--out", "three").code == 0
    assert_same_run(tmp_path / "two", tmp_path / "three")


def test_a_resumed_run_keeps_what_was_chosen(cli, text, tmp_path):
    cli("train", text, "--minutes", SECONDS / 60, "--out", "one")
    settings = note_of(tmp_path / "one" / "config.json")["settings"]
    again = cli("train", "--resume", "--out", "one")
    assert "this run is complete" in again.out
    assert note_of(tmp_path / "one" / "config.json")["settings"] == settings
    assert "--minutes starts a new run" in cli("train", "--resume", "--out", "one", "--minutes", 1).err


@pytest.mark.parametrize("minutes", ["0", "-1", "nan", "inf", "soon", "1e9", ""])
def test_no_time_is_no_time(cli, text, tmp_path, minutes):
    outcome = cli("train", text, f"--minutes={minutes}", "--out", "one")
    assert outcome.code == 2
    assert outcome.err.startswith("charrnn train: --minutes")
    assert outcome.err.count("\n") == 1
    assert not (tmp_path / "one").exists()


@pytest.mark.parametrize("flags", [["--epochs", 3], ["--max-steps", 3], ["--gradcheck"]])
def test_what_says_when_it_ends_does_not_go_with_it(cli, text, tmp_path, flags):
    outcome = cli("train", text, "--minutes", 1, *flags, "--out", "one")
    assert outcome.code == 2
    assert flags[0] in outcome.err
    assert not (tmp_path / "one").exists()


def test_more_time_than_a_text_deserves_is_told(cli, text, tmp_path):
    (tmp_path / "short").write_text(PROVERB[:60])
    assert "more text would teach" in cli("train", "short", "--minutes", 0.05, "--out", "one").out
    assert "more text would teach" not in cli("train", text, "--minutes", SECONDS / 60, "--out", "two").out
