"""Every flag of every command, with values that somebody may try: a line or two, or a sane run."""

import io
import sys
from functools import cache

import pytest
from conftest import says_what_is_wrong

from charrnn import cli

VALUES = [
    *("", " ", "\t\n", "-", "--", "--x", "-x", "-1", "-0", "nan", "-nan", "inf", "-inf", "1e999", "-1e999"),
    *("1e-999", "9" * 19, "-" + "9" * 19, "9" * 400, "9" * 5000, "0x10", "1_0", "1e3", "٣", "²", "½", "\0"),
    *(
        "a\0b",
        "\ud800",
        "\udcff",
        "@",
        "@\0",
        "@\ud800",
        "\x1b[31m",
        "\u200f\u2028",
        "true",
        "null",
        "[",
        "**",
    ),
    *("/", "..", "/dev/zero", "@/dev/zero", "x" * 100_000, "x y " * 25_000, "x/" * 50_000, "@" + "x " * 999),
]
NAMES = {  # what a command is given besides: it ends early, but not before its flags are judged
    "train": ["nowhere.txt"],
    "sample": ["RUN", "--length", 2],
    "eval": ["RUN", "nowhere.txt"],
    "gradcheck": ["nowhere.txt"],
    "derive": ["--time-steps", 1, "--batch-size", 1],
    "bench": ["nowhere.txt"],
    "plot": ["nowhere"],
    "page": ["nowhere"],
    "look": ["RUN", "--surprise"],
    "runs": ["nowhere"],
    "export": ["nowhere", "file"],
    "import": ["nowhere", "--out", "run"],
    "completion": ["csh"],
}
BESIDE = {"--from": ["--resume", "--out", "RUN"], "--answer": []}
PARSERS = cli.build_parser()[1]
FLAGS = [
    (command, action.option_strings[0])
    for command, parser in PARSERS.items()
    for action in parser._actions
    if action.option_strings and action.dest != "help"
]


@pytest.fixture
def quick(monkeypatch, tmp_path, run_folder):
    """Commands in an empty folder, with nothing on standard input; the parser is built once."""
    monkeypatch.setattr(cli, "build_parser", cache(cli.build_parser))
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BufferedReader(io.BytesIO())))
    monkeypatch.chdir(tmp_path)

    def run(*words):
        return says_what_is_wrong(*(run_folder if word == "RUN" else word for word in words))

    return run


def test_every_command_is_in_the_table():
    assert NAMES.keys() == PARSERS.keys()
    assert len(FLAGS) > 100


@pytest.mark.parametrize(("command", "flag"), FLAGS)
def test_a_flag_takes_any_value_or_says_what_is_wrong(quick, command, flag):
    names = BESIDE.get(flag, NAMES[command])
    for value in VALUES:
        for words in ([f"{flag}={value}"], [flag, value])[: 1 + value.startswith("-")]:
            said = quick(command, *names, *words)
            assert len(value) <= 200 or value[:201] not in said


@pytest.mark.parametrize("command", [*PARSERS, ""])
def test_a_name_takes_any_value_or_says_what_is_wrong(quick, command):
    for value in VALUES:
        if value in ("--", "/dev/zero"):  # no name at all; and refused where texts are read
            continue
        for words in ([value], ["--", value]):
            said = quick(*filter(None, [command]), *words)
            assert len(value) <= 200 or value[:201] not in said


@pytest.mark.parametrize(
    ("command", "flag"),
    [
        (command, flag)
        for command, flag in FLAGS
        if flag not in ("--prime", "--primetext", "--stop") and (command, flag) != ("look", "--text")
    ],
)
def test_a_value_is_judged_before_files_are_read(quick, command, flag):
    """Or else the table proves nothing. A lone surrogate is no value of any of these flags."""
    assert flag in quick(command, *BESIDE.get(flag, NAMES[command]), f"{flag}=\ud800")


@pytest.mark.parametrize("size", ["9" * 400, 2**63 - 1, 2**62])
def test_a_window_of_any_size_is_measured_or_refused(quick, monkeypatch, text_file, size):
    monkeypatch.setattr("charrnn.training.bench.PEAK_SIZE", 8)
    said = quick("bench", text_file, "--seq-length", size, "--batch-size", size)
    assert "--seq-length" in said or "not enough memory" in said
