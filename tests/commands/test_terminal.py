import io
import os
import re
import subprocess
import sys
import unicodedata
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import charrnn
from charrnn.commands.terminal import Writer, shown, visible
from charrnn.runs.npz import write_arrays
from charrnn.runs.state import model_arrays

ROOT = Path(__file__).parents[2]
EVIL = "\x1b]0;owned\x07\x1b[2J\r\x9b31m\u202eevil\u2066 \ttab\n"


@given(st.text())
def test_nothing_that_steers_a_terminal_is_left(text):
    """By Unicode's own classes: no control character but tab and newline, no override of direction."""
    out = visible(text)
    steering = {c for c in out if unicodedata.category(c) in ("Cc", "Cs")} - set("\t\n")
    assert not steering
    turns = ("LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI")
    assert not any(unicodedata.bidirectional(c) in turns for c in out)
    kept = "".join(c for c in text if unicodedata.category(c) not in ("Cc", "Cs", "Cf") or c in "\t\n")
    assert visible(kept) == kept


def test_escapes_are_pythons():
    assert visible(EVIL) == (r"\x1b]0;owned\x07\x1b[2J\r\x9b31m\u202eevil\u2066 " + "\ttab\n")


class Terminal(io.TextIOWrapper):
    def __init__(self):
        super().__init__(io.BytesIO(), encoding="utf-8", newline="\n")

    def isatty(self):
        return True


def test_elsewhere_everything_is_as_it_is():
    assert shown(EVIL, io.StringIO()) == EVIL
    assert shown(EVIL, Terminal()) == visible(EVIL)


@given(st.lists(st.binary(max_size=5)))
def test_bytes_drawn_one_by_one_are_decoded_across_their_borders(pieces):
    stream = Terminal()
    writer = Writer(stream)
    for piece in pieces:
        writer.write(piece)
    writer.write(b"", final=True)
    whole = visible(b"".join(pieces).decode(errors="backslashreplace"))
    assert stream.buffer.getvalue().decode() == whole
    raw = Terminal()
    for piece in pieces:
        Writer(raw, raw=True).write(piece)
    assert raw.buffer.getvalue() == b"".join(pieces)


@pytest.fixture(scope="module")
def evil_run(tmp_path_factory):
    """A network that writes EVIL over and over, trained on a text of an evil name."""
    folder = tmp_path_factory.mktemp("evil")
    text = folder / "na\x1b[31mme.txt"
    text.write_bytes((EVIL * 60).encode())
    words = ["--hidden-size", 8, "--max-steps", 2, "--batch-size", 4, "--seq-length", 9]
    command = [sys.executable, "-m", "charrnn", "train", text, "--out", folder / "run", *words]
    done = subprocess.run(
        [str(word) for word in command], capture_output=True, check=True, cwd=ROOT, env=environment()
    )
    assert b"na\x1b[31mme: " in done.stdout  # into a pipe: as it is
    model = charrnn.CharRNN(charrnn.Corpus.from_text(EVIL).vocabulary, 8)
    model.parameters.flat[...] = 0
    tokens = model.vocabulary.encode("\x1b\x9b\u202e")
    model.parameters["b_y"][tokens] = 50
    write_arrays(folder / "run" / "best.npz", model_arrays(model))
    return folder / "run"


def environment():
    return os.environ | {"PYTHONPATH": str(ROOT), "PYTHONIOENCODING": "utf-8"}


def on_a_terminal(*words):
    """What a command sends to a terminal, both streams together."""
    import pty

    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "charrnn", *map(str, words)]
    process = subprocess.Popen(command, stdout=theirs, stderr=theirs, stdin=theirs, env=environment())
    os.close(theirs)
    sent = b""
    try:
        while piece := os.read(ours, 10_000):
            sent += piece
    except OSError:  # the other end was closed
        pass
    os.close(ours)
    process.wait(timeout=60)
    return sent.replace(b"\r\n", b"\n").decode()


@pytest.mark.skipif(os.name != "posix", reason="terminals")
def test_what_a_model_draws_is_escaped_on_a_terminal(evil_run):
    words = ["sample", evil_run, "--length", 60, "--seed", 1, "--temperature", 1]
    command = [sys.executable, "-m", "charrnn", *map(str, words)]
    plain = subprocess.run(command, capture_output=True, check=True, env=environment()).stdout.decode()
    assert set(plain) == set("\x1b\x9b\u202e")
    assert on_a_terminal(*words) == visible(plain) + "\n"
    assert on_a_terminal(*words, "--raw") == plain + "\n"
    several = on_a_terminal(*words, "--num-samples", 3)
    assert "\x1b" not in several
    assert r"\x1b" in several


@pytest.mark.skipif(os.name != "posix", reason="terminals")
def test_names_and_errors_are_escaped_on_a_terminal(evil_run, tmp_path):
    assert r"na\x1b[31mme, val" in on_a_terminal("eval", evil_run)
    assert "\x1b" not in on_a_terminal("eval", tmp_path / "\x1b[31m")
    text = tmp_path / "\x1b[32m.txt"
    text.write_bytes((EVIL * 60).encode())
    words = ["--out", tmp_path / "run", "--max-steps", 60, "--sample-every", 1, "--hidden-size", 2]
    sent = on_a_terminal("train", text, *words, "--batch-size", 4, "--seq-length", 9)
    assert r"\x1b[32m: " in sent
    assert "\u202e" not in sent
    assert not re.search("\x1b(?!\\[A)", sent)  # but what the bar itself moves up with
    raw = on_a_terminal("train", text, *words, "--batch-size", 4, "--seq-length", 9, "--raw", "--overwrite")
    assert "\u202e" in raw
