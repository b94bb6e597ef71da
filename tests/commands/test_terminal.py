import io
import os
import re
import sys
import unicodedata

import pytest
from conftest import start
from hypothesis import given
from hypothesis import strategies as st

import charrnn
from charrnn.commands.terminal import Writer, wrapped
from charrnn.display import framed, shown, visible
from charrnn.npz import write_arrays

UTF8 = {"PYTHONIOENCODING": "utf-8"}
EVIL = "\x1b]0;owned\x07\x1b[2J\r\x9b31m\u202eevil\u2066 \ttab\n"


JOINERS = "\u200c\u200d"  # what some scripts are spelt with
SIGNS = [
    *range(0x600, 0x606),
    0x6DD,
    0x70F,
    0x890,
    0x891,
    0x8E2,
    0x110BD,
    0x110CD,
]  # over numbers: to be seen


def test_nothing_that_steers_a_terminal_or_is_invisible_is_left():
    """By Unicode's own classes: no control character but tab and newline, no mark that nobody sees."""
    for code in range(sys.maxunicode + 1):
        character, kind = chr(code), unicodedata.category(chr(code))
        hidden = (
            kind in ("Cc", "Cs", "Cf", "Zl", "Zp") and code not in SIGNS and character not in JOINERS + "\t\n"
        )
        if hidden or kind != "Cn":  # what is not assigned yet may be either
            assert (visible(character) != character) == hidden, hex(code)


@given(st.text())
def test_text_is_escaped_character_by_character(text):
    assert visible(text) == "".join(map(visible, text))


def test_escapes_are_pythons():
    assert visible(EVIL) == (r"\x1b]0;owned\x07\x1b[2J\r\x9b31m\u202eevil\u2066 " + "\ttab\n")


def test_lines_are_as_wide_as_the_terminal(monkeypatch):
    words = "the fox who asked twice was answered once " * 9
    for columns, widest in ((40, 40), (80, 80), (200, 80)):
        monkeypatch.setenv("COLUMNS", str(columns))
        assert widest - 8 < max(map(len, framed(words).splitlines())) <= widest
        assert columns - 8 < max(map(len, wrapped(words).splitlines())) <= columns
    assert wrapped("n " * 60 + "1\xa02\xa03").endswith(" 1 2 3")


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
    out, err = start("train", text, "--out", folder / "run", *words, env=UTF8).communicate()
    assert b"na\x1b[31mme: " in out, err  # into a pipe: as it is
    model = charrnn.CharRNN(charrnn.Corpus.from_text(EVIL).vocabulary, 8)
    model.parameters.flat[...] = 0
    tokens = model.vocabulary.encode("\x1b\x9b\u202e")
    model.parameters["b_y"][tokens] = 50
    write_arrays(folder / "run" / "best.npz", model.arrays())
    return folder / "run"


def on_a_terminal(*words):
    """What a command sends to a terminal, both streams together."""
    import pty

    ours, theirs = pty.openpty()
    process = start(*words, stdout=theirs, stderr=theirs, stdin=theirs, env=UTF8)
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
    plain = start(*words, env=UTF8).communicate()[0].decode()
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
