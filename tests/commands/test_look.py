import json
import re
import shutil

import numpy as np
import pytest
from conftest import PROVERB

from charrnn.cli import main
from charrnn.commands import look
from charrnn.views import shades

COLOUR = re.compile(r"\x1b\[[\d;]*m")
HELD = "the fox who knew "


@pytest.fixture(scope="module")
def bytes_run(tmp_path_factory):
    """A stack of two on the bytes of a text that has some of everything."""
    folder = tmp_path_factory.mktemp("bytes")
    (folder / "text").write_bytes(("é日 (a) \x1b[2J\t" + PROVERB).encode() * 30)
    words = ["train", folder / "text", "--bytes", "--cell", "lstm", "--num-layers", 2, "--hidden-size", 12]
    words += ["--seq-length", 16, "--batch-size", 4, "--epochs", 1, "--out", folder / "run"]
    assert main([str(word) for word in words]) == 0
    return folder / "run"


@pytest.fixture
def terminal(monkeypatch):
    """Standard output as a terminal with 256 colours and 40 columns."""
    monkeypatch.setenv("COLUMNS", "40")
    monkeypatch.setenv("TERM", "xterm-256color")
    for name in ("NO_COLOR", "COLORTERM"):
        monkeypatch.delenv(name, raising=False)


def test_every_way_of_looking_shows_the_whole_text(cli, run_folder, terminal):
    for how in (["--unit", 3], ["--feature", "word"], ["--surprise"], ["--reach", len(HELD)]):
        for color in ("always", "never"):
            outcome = cli("look", run_folder, "--text", HELD, "--color", color, *how)
            assert outcome.code == 0, outcome.err
            _, _, text = outcome.out.partition("\n\n")
            assert (COLOUR.search(text) is not None) == (color == "always")
            assert COLOUR.sub("", text).splitlines()[0] == HELD


def test_a_unit_is_captioned_with_what_it_follows_and_drawn_with_digits(cli, run_folder):
    values = json.loads(cli("look", run_folder, "--unit", 3, "--text", HELD, "--json").out)
    assert "".join(values["characters"]) == HELD
    outcome = cli("look", run_folder, "--unit", 3, "--text", HELD, "--color", "never")
    assert re.match(r"unit 3 (follows|expects) .*, r = -?[\d.]+\n", outcome.out)
    most = max(map(abs, values["values"]))
    steps = [int(np.sign(v) * np.floor(abs(v) / most * 9 + 0.5)) for v in values["values"]]
    drawn = "".join(" " if s == 0 else str(s) if s > 0 else " abcdefghi"[-s] for s in steps)
    assert outcome.out.splitlines()[-1] == drawn.rstrip()


def test_without_a_choice_it_is_the_unit_that_says_most(cli, run_folder):
    units = json.loads(cli("look", run_folder, "--units", "--json").out)
    first = next((unit for unit in units if unit["kind"] == "remembers"), units[0])
    assert cli("look", run_folder).out.startswith(f"unit {first['number']} {first['words']}, r = ")


def test_what_is_dropped_is_said(cli, run_folder, tmp_path):
    (tmp_path / "text.txt").write_text("the Quick fox, QQ")
    for words, where in ((["--text", "the Quick fox, QQ"], "--text"), ([tmp_path / "text.txt"], "text.txt")):
        outcome = cli("look", run_folder, *words, "--surprise", "--json", "--ignore-unknown")
        assert f"{where}: 5 characters dropped, 3 distinct" in outcome.err
        dropped = json.loads(outcome.out)["dropped"]
        assert dropped == {"characters": 5, "distinct": 3, "first": {",": 1, "Q": 3, "u": 1}}


def test_units_are_listed(cli, bytes_run):
    listed = json.loads(cli("look", bytes_run, "--units", "--json").out)
    table = cli("look", bytes_run, "--units").out.splitlines()
    assert len(table) == len(listed) + 2
    assert table[-1].startswith(f"{len(listed)} of 24 units follow something")
    assert all(unit["layer"] == unit["number"] // 12 + 1 for unit in listed)


@pytest.mark.parametrize(
    ("color", "tty", "variables", "expected"),
    [
        ("auto", True, {"TERM": "xterm"}, look.IN_16),
        ("auto", True, {"TERM": "xterm-256color"}, look.IN_256),
        ("auto", True, {"TERM": "xterm", "COLORTERM": "truecolor"}, look.IN_256),
        ("auto", False, {"TERM": "xterm-256color"}, None),
        ("auto", True, {"TERM": "dumb"}, None),
        ("auto", True, {}, None),
        ("auto", True, {"TERM": "vt100"}, None),
        ("auto", True, {"TERM": "xterm", "NO_COLOR": "1"}, None),
        ("auto", True, {"TERM": "xterm", "NO_COLOR": ""}, look.IN_16),
        ("always", False, {"TERM": "dumb", "NO_COLOR": "1"}, look.IN_16),
        ("never", True, {"TERM": "xterm-256color"}, None),
    ],
)
def test_as_many_colours_as_the_terminal_has(monkeypatch, color, tty, variables, expected):
    for name in ("TERM", "COLORTERM", "NO_COLOR"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)

    class Stream:
        def isatty(self):
            return tty

    assert look.colours(color, Stream()) is expected


@pytest.mark.parametrize("palette", [None, look.IN_16, look.IN_256])
@pytest.mark.parametrize("columns", [10, 40, 100])
def test_lines_are_no_wider_than_the_terminal_and_nothing_steers_it(
    cli, bytes_run, palette, columns, monkeypatch
):
    monkeypatch.setenv("COLUMNS", str(columns))
    monkeypatch.setattr(look, "colours", lambda *_: palette)
    out = cli("look", bytes_run, "--unit", 20).out
    plain = COLOUR.sub("", out)
    assert "\x1b" not in plain
    assert r"\x1b[2J\t" in plain.replace("\n", "") or palette is None
    assert "日" in plain
    _, _, text = plain.partition("\n\n")
    assert max(shades.columns(line) for line in text.splitlines()) <= columns


def test_digits_stand_below_wide_letters():
    assert [look.cell(c)[1] for c in ("a", "日", "\u0301", "\t", "\x1b", "", "\n")] == [1, 2, 0, 2, 4, 0, 1]
    assert [look.mark(x) for x in (0, 0.04, 0.06, 1, -1, -0.06)] == [" ", " ", "1", "9", "i", "a"]


def test_what_is_wrong_is_said(cli, run_folder, tmp_path):
    empty, strange = tmp_path / "empty", tmp_path / "strange"
    empty.write_text("")
    strange.write_text("\x1b日")
    for words, expected in (
        (["--unit", 24], "--unit 24: this network has units 0 to 23"),
        (["--unit", -1], "--unit -1"),
        (["--unit", "x"], "--unit x"),
        (["--feature", "commas"], "this text has word, line"),
        (["--reach", 0], "--reach 0"),
        (["--reach", 99, "--text", HELD], "the text shown has 17 characters"),
        (["--unit", 1, "--surprise"], "--unit and --surprise: give one of them"),
        ([empty, "--text", "a"], "FILE and --text: give one of them"),
        ([empty], "no character to show"),
        ([strange], "the model does not know"),
        ([tmp_path], "a folder or a device"),
        ([tmp_path / "none"], "cannot be read"),
        (["--color", "green"], "--color green"),
    ):
        outcome = cli("look", run_folder, *words)
        assert outcome.code == 2, words
        assert expected in outcome.err
        assert outcome.out == ""


def test_a_long_text_is_cut_and_that_is_said(cli, run_folder, tmp_path):
    file = tmp_path / "long.txt"
    file.write_text(PROVERB * 100)
    outcome = cli("look", run_folder, file, "--surprise", "--json")
    assert outcome.err == "the first 2,400 of 7,300 characters are shown\n"
    assert len(json.loads(outcome.out)["values"]) == 2400


def test_units_are_listed_of_the_text_that_is_given(cli, run_folder):
    own, given = (cli("look", run_folder, "--units", *more).out for more in ((), ("--text", "aaaa" * 50)))
    assert own != given
    assert given.splitlines()[-1].startswith("0 of ")


def test_a_feature_that_no_unit_follows_is_said(cli, run_folder, monkeypatch):
    monkeypatch.setattr("charrnn.views.units.NAMED", 2.0)
    assert "no unit follows vowels well" in cli("look", run_folder, "--feature", "vowels").err


def test_a_run_without_its_text_names_units_on_the_one_given(cli, run_folder, tmp_path, text_file):
    run = shutil.copytree(run_folder, tmp_path / "run")
    (run / "tokens.bin").unlink()
    assert cli("look", run).code == 2
    outcome = cli("look", run, text_file)
    assert outcome.code == 0
    assert "units are named on the text given" in outcome.err
