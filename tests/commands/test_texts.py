"""Texts that the commands read, and what a run's own note may make them read and write."""

import gzip
import io
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from contextlib import redirect_stderr, redirect_stdout
from operator import attrgetter
from pathlib import Path

import pytest
from conftest import PROVERB, TINY
from hostile import recorded
from hypothesis import given
from hypothesis import strategies as st

import charrnn
from charrnn.cli import main
from charrnn.runs import RunFolder, read_note
from charrnn.text import reading

TEXT = PROVERB * 40
NEEDS_FIFO = pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no FIFOs")


def start(*words, **options):
    """The command line in a process of its own."""
    command = [sys.executable, "-m", "charrnn", *map(str, words)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, **options)


def identity(path):
    """What changes when a file is written again."""
    return path.stat().st_ino, path.stat().st_mtime_ns


@pytest.fixture
def text(tmp_path):
    path = tmp_path / "outside" / "text.txt"
    path.parent.mkdir()
    path.write_text(TEXT)
    return path


@pytest.fixture
def run(cli, text, tmp_path):
    """A short run on that text."""
    out = tmp_path / "run"
    assert cli("train", text, "--out", out, "--max-steps", 2, *TINY).code == 0
    return out


def change_note(run, **changes):
    note = json.loads((run / "config.json").read_text())
    note["corpus"] |= changes
    (run / "config.json").write_text(json.dumps(note))
    return note["corpus"]


def users_of(run):
    """The commands that need the text of a run."""
    return [
        ["eval", run],
        ["eval", run, run / "config.json", "--ignore-unknown", "--baselines"],
        ["sample", run, "--novelty", "--length", 0],
        ["train", "--resume", "--gradcheck", "--out", run],
        ["train", "--resume", "--out", run, "--max-steps", 3],
    ]


def contents(folder):
    """The names below a folder, with the contents of regular files."""
    return {
        path.relative_to(folder): path.read_bytes() if path.is_file() else None
        for path in folder.rglob("*")
        if path.name != ".lock"
    }


# -- which text -------------------------------------------------------------------------------------


def test_a_run_whose_text_is_gone_and_that_was_moved_is_evaluated_and_resumed(cli, text, run, tmp_path):
    score = cli("eval", run, "--json").out.replace(str(run), "RUN")
    text.unlink()
    run = run.rename(tmp_path / "moved")
    for words in users_of(run):
        outcome = cli(*words)
        assert outcome.code == 0, outcome.err
        note = f"{run}/tokens.bin: the text as it was encoded, not compared with its source\n"
        assert note in outcome.err
        if words == ["eval", run]:
            assert cli("eval", run, "--json").out.replace(str(run), "RUN") == score


def test_a_text_that_moved_is_noted_where_it_was_last_named(cli, text, run, tmp_path):
    new = text.rename(tmp_path / "new.txt")
    (run / "tokens.bin").unlink()
    assert cli("train", new, "--resume", "--out", run, "--max-steps", 3).code == 0
    assert json.loads((run / "config.json").read_text())["corpus"]["sources"] == ["../new.txt"]
    assert cli("eval", run).code == 0


def test_the_encoded_text_is_kept_and_used_again(cli, text, run):
    tokens = run / "tokens.bin"
    made, whole = identity(tokens), tokens.read_bytes()
    assert cli("train", "--resume", "--out", run, "--max-steps", 4).code == 0
    assert cli("eval", run).code == 0
    assert cli("train", text, "--resume", "--out", run, "--max-steps", 5).code == 0
    assert identity(tokens) == made
    tokens.write_bytes(whole[:-1])
    for words in users_of(run):
        outcome = cli(*words)
        assert outcome.code == 2
        assert f"{tokens}: damaged: not a whole file of an encoded text" in outcome.err
        assert "CORPUS" in outcome.err
    outcome = cli("train", text, "--resume", "--out", run, "--max-steps", 6)
    assert outcome.err == f"{tokens}: damaged: not a whole file of an encoded text; it is replaced\n"
    assert tokens.read_bytes() == whole


def test_a_text_that_changed_is_refused_when_it_is_named(cli, text, run, tmp_path):
    made = identity(run / "tokens.bin")
    for content in (PROVERB * 39, PROVERB * 41, TEXT.replace("f", "o")):
        text.write_text(content)
        outcome = cli("train", text, "--resume", "--out", run)
        assert outcome.code == 2
        assert "this run was trained on another text" in outcome.err
    assert "there is a run" in cli("train", text, "--out", run).err  # said before the text is read
    assert identity(run / "tokens.bin") == made
    assert cli("eval", run).code == 0
    allowed = ["--resume", "--allow-changed-corpus", "--max-steps", 3, "--out", run]
    assert "--allow-changed-corpus: name the CORPUS" in cli("train", *allowed).err
    assert cli("train", text, *allowed).code == 0
    assert cli("eval", run).code == 0
    assert cli("train", text, "--resume", "--out", run).code == 0
    assert cli("eval", run).code == 0


def test_a_changed_text_with_fewer_characters_is_kept_and_scored(cli, text, run):
    text.write_text(TEXT.replace("f", "o"))
    words = ["--resume", "--out", run, "--max-steps", 4]
    assert cli("train", text, *words, "--allow-changed-corpus").code == 0
    assert cli("train", text, *words).code == 0  # it is kept, without the f
    whole = json.loads(cli("eval", run, "--split", "all", "--json").out)
    named = json.loads(cli("eval", run, text, "--json").out)
    assert whole["loss"] == named["loss"]


def test_a_run_of_another_encoding_is_resumed_twice_and_evaluated(cli, tmp_path):
    path, out = tmp_path / "text.md", tmp_path / "run"
    path.write_bytes(("naïve " + PROVERB).encode("latin-1") * 40)
    words = ["--encoding", "latin-1", "--glob", "*.md", "--out", out, "--max-steps"]
    assert cli("train", tmp_path, *words, 3, *TINY).code == 0
    for steps in (6, 9):
        assert cli("train", "--resume", "--out", out, "--max-steps", steps).code == 0
    corpus = json.loads((out / "config.json").read_text())["corpus"]
    assert (corpus["encoding"], corpus["glob"]) == ("iso8859-1", ["*.md"])
    assert cli("eval", out).code == 0
    assert cli("eval", out, path).code == 0
    for flag in ("--encoding", "--glob"):
        assert f"{flag} has no effect without CORPUS" in cli("eval", out, flag, "latin-1").err


def test_runs_share_a_cache_dir(cli, text, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    words = ["--cache-dir", "caches", "--max-steps", 2, *TINY]
    for out in ("a", "b"):
        assert cli("train", text, "--out", out, *words).code == 0
    (file,) = Path("caches").iterdir()
    made = identity(file)
    assert not Path("a/tokens.bin").exists()
    text.unlink()
    monkeypatch.chdir("/")  # it is found from everywhere
    run = tmp_path / "a"
    for words in users_of(run):
        assert cli(*words).code == 0
    assert json.loads((run / "config.json").read_text())["corpus"]["cache_dir"] == "../caches"
    assert identity(tmp_path / "caches" / file.name) == made
    shutil.move(tmp_path / "caches", tmp_path / "elsewhere")
    assert cli("eval", run).code == 2
    words = ["train", "--resume", "--out", run, "--max-steps", 4]
    assert cli(*words).code == 2
    assert cli(*words, "--cache-dir", tmp_path / "elsewhere").code == 0
    assert cli("eval", run).code == 0
    shutil.rmtree(tmp_path / "elsewhere")
    text.write_text(TEXT)
    assert cli("train", text, "--resume", "--out", run).code == 0
    assert cli("eval", run).code == 0
    assert not (tmp_path / "elsewhere").exists()


def test_a_run_on_a_file_whose_name_is_not_utf8(cli, tmp_path):
    path = Path(os.fsdecode(os.fsencode(tmp_path) + b"/bad\xff.txt"))
    path.write_text(TEXT)
    assert cli("train", path, "--max-steps", 2, *TINY, "--out", tmp_path / "run").code == 0
    assert cli("train", "--resume", "--max-steps", 3, "--out", tmp_path / "run").code == 0
    assert cli("eval", tmp_path / "run").code == 0


# -- compressed and piped texts ---------------------------------------------------------------------


def test_a_compressed_text_is_the_same_text(cli, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("book.txt.gz").write_bytes(gzip.compress(TEXT.encode()))
    assert cli("train", "book.txt.gz", "--max-steps", 2, *TINY).code == 0
    Path("book.txt").write_text(TEXT)
    assert cli("train", "book.txt", "--resume", "--max-steps", 3).code == 0
    Path("book.txt.gz").write_bytes(gzip.compress(TEXT.encode())[:-9])
    outcome = cli("train", "book.txt.gz", "--out", "other")
    assert (outcome.code, len(outcome.err.splitlines())) == (2, 1)
    assert "book.txt.gz: not a whole .gz file" in outcome.err
    assert not Path("other").exists()


def pipe(blob, *words, **options):
    """The command line with ``blob`` on its standard input. Returns: exit code, output, errors."""
    process = start(*words, stdin=subprocess.PIPE, **options)
    out, err = process.communicate(blob, timeout=60)
    return process.returncode, out.decode(), err.decode()


def test_a_piped_text_is_trained_on_resumed_and_evaluated(cli, tmp_path):
    blob, out = TEXT.encode(), tmp_path / "runs" / "stdin"
    code, said, _ = pipe(blob, "train", "-", "--max-steps", 2, *TINY, cwd=tmp_path)
    assert code == 0
    assert "stdin: 2,920 characters" in said
    made = identity(out / "tokens.bin")
    assert cli("train", "--resume", "--out", out, "--max-steps", 3).code == 0
    assert cli("eval", out).code == 0
    assert pipe(blob, "train", "-", "--resume", "--out", out, "--max-steps", 4)[0] == 0
    code, _, errors = pipe(blob[1:], "train", "-", "--resume", "--out", out, "--max-steps", 5)
    assert code == 2
    assert "this run was trained on another text" in errors
    assert identity(out / "tokens.bin") == made
    names = {path.name for path in out.iterdir()} - {".lock"}
    assert names == {"best.npz", "config.json", "last.npz", "metrics.jsonl", "step-3.npz", "tokens.bin"}
    whole = (out / "tokens.bin").read_bytes()
    (out / "tokens.bin").write_bytes(whole[:-1])
    for words in (["train", "--resume", "--out", out], ["eval", out]):
        outcome = cli(*words)
        assert outcome.code == 2
        assert re.search(r"tokens.bin: damaged.*; it came through a pipe\. Name it: ", outcome.err)
    assert pipe(blob, "train", "-", "--resume", "--out", out, "--max-steps", 4)[0] == 0
    assert (out / "tokens.bin").read_bytes() == whole


def test_a_refused_command_leaves_a_piped_text_where_it_is(cli, tmp_path):
    out = tmp_path / "piped"
    words = ["train", "-", "--max-steps", 2, *TINY, "--out", out]
    assert pipe(TEXT.encode(), *words, cwd=tmp_path)[0] == 0
    made = (out / "tokens.bin").read_bytes()
    other = tmp_path / "other.txt"
    other.write_text("quite another text, with 12 other characters!" * 60)
    with RunFolder(out, "resume"):
        assert "another process" in cli("train", other, "--overwrite", "--out", out, *TINY).err
    for words in (
        ["--allow-changed-corpus"],
        ["--bytes"],
        ["--encoding", "latin-1"],
        ["--init-from", out],
        [],
    ):
        assert cli("train", other, "--resume", "--out", out, *words).code == 2, words
    assert (out / "tokens.bin").read_bytes() == made
    assert cli("train", "--resume", "--out", out, "--max-steps", 3).code == 0


@pytest.mark.skipif(os.name != "posix", reason="signals")
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_while_the_text_is_read_leaves_nothing(tmp_path, number, code):
    process = start("train", "-", "--out", tmp_path / "run", stdin=subprocess.PIPE)
    process.stdin.write(PROVERB.encode() * 200_000)  # more than a pipe holds: it is being read
    process.stdin.flush()
    process.send_signal(number)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == code
    assert len(errors.splitlines()) == 1
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(os.name != "posix", reason="terminals")
def test_a_terminal_is_told_what_is_waited_for(tmp_path):
    import pty

    ours, theirs = pty.openpty()
    process = start("train", "-", "--out", tmp_path / "run", stdin=theirs)
    assert process.stderr.readline() == b"reading the text from standard input; Ctrl-D ends it\n"
    os.write(ours, b"\x04")
    assert b"standard input: the text is empty" in process.communicate(timeout=60)[1]
    assert process.returncode == 2
    os.close(ours)
    os.close(theirs)


# -- what a stranger's note may not do: write outside -----------------------------------------------


@pytest.mark.parametrize("where", ["the file", "a folder of it", "a new folder", "a link"])
def test_a_note_makes_no_command_write_outside_of_the_run(cli, text, tmp_path, where):
    run, outside = tmp_path / "run", text.parent
    assert cli("train", text, "--bytes", "--out", run, "--max-steps", 2, *TINY).code == 0
    source = shutil.move(text, run / "text.txt")
    script = outside / "victim.sh"
    script.write_text("#!/bin/sh\necho mine\n")
    note = change_note(run, sources=[str(source)])
    named = outside / f"{note['sha256'][:32]}.bytes.bin"
    shutil.copy(script, named)
    if where == "a link":
        named.unlink()
        named.symlink_to(script)
    (run / "tokens.bin").unlink()
    cache_dir = {"the file": script, "a new folder": outside / "new"}.get(where, outside)
    change_note(run, cache_dir=str(cache_dir))
    before = contents(outside)
    for words in users_of(run):
        outcome = cli(*words)
        assert outcome.code == 0, outcome.err
        assert contents(outside) == before
    assert (run / "tokens.bin").exists()  # of the last command, which resumed the run


@pytest.mark.parametrize("kind", ["text", "nothing", "link", "dangling", "pipe", "folder"])
@pytest.mark.parametrize("how", ["new", "--overwrite", "--resume", "--cache-dir"])
def test_a_file_that_is_no_token_file_is_not_replaced(cli, text, run, tmp_path, kind, how):
    outside = text.parent
    note = json.loads((run / "config.json").read_text())["corpus"]
    if how == "new":
        for path in run.iterdir():
            path.unlink()
    file = outside / f"{note['sha256'][:32]}.utf-8.lf.bin" if how == "--cache-dir" else run / "tokens.bin"
    file.unlink(missing_ok=True)
    match kind:
        case "text" | "nothing":
            file.write_text('{"format": "mine"}\n' if kind == "text" else "")
        case "link" | "dangling":
            file.symlink_to(text if kind == "link" else outside / "new")
        case "pipe":
            os.mkfifo(file)
        case "folder":
            file.mkdir()
    itself = attrgetter("st_ino", "st_mode", "st_mtime_ns")  # reading a link may change when it was read
    before = contents(tmp_path), itself(file.lstat())
    words = {"new": [], "--cache-dir": ["--cache-dir", outside, "--overwrite"]}.get(how, [how])
    outcome = cli("train", text, "--out", run, *words, *([] if how == "--resume" else TINY))
    assert outcome.code == 2
    assert outcome.err == (
        f"charrnn train: {file}: is not a token file, so the encoded text does not replace it. "
        "Move it away, or choose another folder with --out or --cache-dir\n"
    )
    assert (contents(tmp_path), itself(file.lstat())) == before


def test_a_cache_dir_that_is_a_file(cli, text, tmp_path):
    outcome = cli("train", text, "--out", tmp_path / "run", "--cache-dir", text)
    assert (outcome.code, outcome.err) == (
        2,
        f"charrnn train: --cache-dir {text}: cannot be made: File exists\n",
    )
    assert text.read_text() == TEXT


# -- … and read outside -----------------------------------------------------------------------------


def hostile_sources(run, outside):
    """Sources that a note may name, with its glob, none of which may be opened."""
    (run / "link").symlink_to(outside / "text.txt")
    (run / "linked").symlink_to(outside)
    os.mkfifo(outside / "fifo")
    os.mkfifo(run / "fifo")
    (run / "books").mkdir()
    (run / "books" / "link.txt").symlink_to(outside / "text.txt")
    (run / "books" / "again").symlink_to(run / "books")
    return [
        ([outside / "text.txt"], "*.txt"),  # the very text
        ([outside], "*.txt"),
        (["outside/text.txt"], "*.txt"),
        ([run / ".." / "outside" / "text.txt"], "*.txt"),
        ([run / "link"], "*.txt"),
        ([run / "linked" / "text.txt"], "*.txt"),
        ([run / "linked"], "*.txt"),
        ([run / "books"], "*.txt"),
        ([run / "books"], "*/" * 40 + "*.txt"),
        ([run / "books"], "../../outside/*.txt"),
        ([run], "/".join(["**"] * 20 + ["*.txt"])),
        ([run / "books"], "**/" * 300 + "*.txt"),
        ([run / "books" / f"{'/' * n}" for n in range(100)], "**/*.txt"),
        (["/"], "**/*"),
        (["/dev/zero"], "*.txt"),
        (["/proc/self/environ"], "*.txt"),
        ([outside / "fifo"], "*.txt"),
        ([run / "fifo"], "*.txt"),
        ([run / "gone.txt"], "*.txt"),
        (["\ud800"], "*.txt"),
        (["x" * 10**5], "*.txt"),
        ([str(run / "x") * 10**3], "*.txt"),
        ([""], "*.txt"),
        ([], "*.txt"),
        (["-"], "*.txt"),
    ]


@NEEDS_FIFO
def test_a_note_makes_no_command_open_what_is_outside_of_the_run(cli, text, run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for index, (sources, glob) in enumerate(hostile_sources(run, text.parent)):
        change_note(run, sources=list(map(str, sources)), glob=glob)
        (run / "tokens.bin").unlink(missing_ok=True)
        for words in users_of(run) if index == 0 else users_of(run)[-1:]:
            with recorded() as seen:
                outcome = cli(*words)
            assert outcome.code == 2, (sources, outcome)
            if any(len(str(source)) > 4096 for source in sources):  # no file's name is as long
                assert "config.json: damaged: corpus.sources" in outcome.err
            else:
                assert "the text it was trained on is not found" in outcome.err
                assert "train CORPUS --resume --out" in outcome.err
            assert outcome.err.count("\n") <= 2
            assert len(outcome.err) < 1000
            names = [name for _, name in seen]
            outside = [name for name in names if name.startswith(str(text.parent))]
            strange = {"/", "/dev/zero", "/proc/self/environ", str(run / "fifo"), str(run / "link")}
            assert not outside
            assert not strange & set(names)
    change_note(run, sources=[str(run / "fifo")], size=0)
    assert "its sources are missing or have changed" in cli("eval", run).err


@NEEDS_FIFO
@pytest.mark.parametrize("kind", ["pipe", "link", "text", "cut", "other", "folder"])
def test_a_cache_that_a_note_names_is_passed_over_unless_it_is_the_texts(cli, text, run, tmp_path, kind):
    cache, note = tmp_path / "cache", json.loads((run / "config.json").read_text())["corpus"]
    cache.mkdir()
    change_note(run, cache_dir=str(cache))
    file = cache / f"{note['sha256'][:32]}.utf-8.lf.bin"
    whole = (run / "tokens.bin").read_bytes()
    (run / "tokens.bin").rename(file)
    assert cli("eval", run).code == 0
    file.unlink()
    match kind:
        case "pipe":
            os.mkfifo(file)
        case "link":
            (cache / "whole").write_bytes(whole)
            file.symlink_to(cache / "whole")
        case "text" | "cut":
            file.write_bytes(b"secret" * 9 if kind == "text" else whole[:-1])
        case "other":
            text.write_text(PROVERB * 30)
            charrnn.Corpus.from_files(text, cache=file)
        case "folder":
            file.mkdir()
    before = contents(cache)
    for words in users_of(run):
        outcome = cli(*words)
        assert outcome.code == 2
        assert "tokens.bin: cannot be read: No such file" in outcome.err
        assert "secret" not in outcome.err
    assert contents(cache) == before


@pytest.mark.parametrize("note", [{"sha256": "../" * 10 + "x" * 34}, {"sha256": 5}, {"cache_dir": "a\0b"}])
def test_a_note_that_is_none_is_refused(cli, run, note):
    change_note(run, **note)
    for words in (["eval", run], ["train", "--resume", "--out", run]):
        outcome = cli(*words)
        assert outcome.code == 2
        assert f"config.json: damaged: corpus.{next(iter(note))}" in outcome.err


# -- sources inside the run -------------------------------------------------------------------------


def test_a_source_inside_the_run_is_read_and_only_resuming_writes(cli, text, run):
    inside = run / "books" / "one" / "moved.txt"
    inside.parent.mkdir(parents=True)
    text.rename(inside)
    (run / "tokens.bin").unlink()
    for source, glob in ((inside, "*.txt"), (run / "books", "**/*.txt")):
        change_note(run, sources=[str(source)], glob=glob)
        before = contents(run)
        for words in users_of(run)[:-1]:
            outcome = cli(*words)
            assert (outcome.code, outcome.err.count("not compared")) == (0, 0), outcome.err
        assert json.loads(cli("eval", run, "--json").out)["corpus"] == "text"
        assert contents(run) == before
    assert cli(*users_of(run)[-1]).code == 0
    assert (run / "tokens.bin").exists()
    (run / "tokens.bin").unlink()
    inside.write_text(TEXT.replace("f", "o"))  # the same size
    outcome = cli("eval", run)
    assert outcome.code == 2
    assert f"{inside}: another text than expected" in outcome.err


def test_a_source_of_another_size_is_not_read_and_nothing_is_unpacked(cli, text, run, monkeypatch):
    def refuse(*args):
        pytest.fail("it was kept before its hash was known")

    monkeypatch.setattr(reading.Spool, "add", refuse)
    bomb = run / "bomb.txt.gz"
    bomb.write_bytes(gzip.compress(bytes(2**25)))
    (run / "tokens.bin").unlink()
    for size in (2920, 2**25, bomb.stat().st_size):
        change_note(run, sources=[str(bomb)], size=size)
        with recorded() as seen:
            outcome = cli("eval", run)
        assert outcome.code == 2
        assert (("open", str(bomb)) in seen) == (size == bomb.stat().st_size)
        assert re.search("its sources are missing or have changed|bytes expected", outcome.err)


def test_more_sources_than_are_looked_for(cli, text, run):
    """Each costs time, and a folder within a folder costs it twice."""
    deep = run / Path(*"d" * 33)
    deep.mkdir(parents=True)
    (run / "tokens.bin").unlink()
    for sources, reason in (([run] * 1001, "1,001 sources; no more"), ([deep], "more than 32 folders deep")):
        change_note(run, sources=list(map(str, sources)))
        with recorded() as seen:
            outcome = cli("eval", run)
        assert outcome.code == 2
        assert reason in outcome.err
        assert "list" not in dict(seen)


def test_the_pattern_of_a_note_is_not_used_on_a_folder_that_is_named(cli, text, run):
    (text.parent / "secret.md").write_text("the secret")
    change_note(run, glob="*.md")
    named = json.loads(cli("eval", run, text.parent, "--json").out)
    assert named["characters"] == len(TEXT) - 1
    assert cli("train", text.parent, "--resume", "--out", run, "--max-steps", 3).code == 0


# -- bad input: one or two clear lines, exit code 2, nothing lost -----------------------------------


def test_files_that_cannot_be_read(cli, tmp_path):
    outcome = cli("train", tmp_path / "no.txt")
    assert (outcome.code, outcome.err) == (
        2,
        f"charrnn train: {tmp_path / 'no.txt'}: no such file or folder\n",
    )
    outcome = cli("train", tmp_path)
    assert outcome.code == 2
    assert "no file in this folder matches '*.txt'. See --glob" in outcome.err


@pytest.mark.skipif(not Path("/dev/zero").exists(), reason="no /dev/zero")
def test_a_device_that_never_ends_is_refused(cli, run, tmp_path):
    for words in (["train"], ["eval", run], ["gradcheck"], ["bench"]):
        outcome = cli(*words, "/dev/zero")
        assert outcome.code == 2
        assert "/dev/zero: a device or a socket; expected a file, a pipe or a folder" in outcome.err
    with Path("/dev/zero").open("rb") as zero:
        process = start("train", "-", "--out", tmp_path / "new", stdin=zero)
        assert b"standard input is a device" in process.communicate(timeout=60)[1]


def test_several_patterns_all_count(cli, text, tmp_path):
    """A file that several match is read once; the run notes them."""
    books = tmp_path / "books"
    books.mkdir()
    for name in ("ch2.md", "ch10.txt", "ch1.txt", "x.csv"):
        (books / name).write_text(f"{name} {PROVERB * 10}")
    patterns = ["--glob", "*.txt", "--glob", "ch*.txt", "--glob", "*.md"]
    assert cli("train", books, *patterns, *TINY, "--max-steps", 1, "--out", tmp_path / "run").code == 0
    corpus = charrnn.Corpus.from_files(books, glob=["*.txt", "*.md"])
    assert corpus.vocabulary.decode(corpus.tokens) == "".join(
        f"{name} {PROVERB * 10}" for name in ("ch1.txt", "ch2.md", "ch10.txt")
    )
    note = read_note(tmp_path / "run").corpus
    assert (note.sha256, note.glob) == (corpus.sha256, ["*.txt", "ch*.txt", "*.md"])
    assert "matches '*.c' or '*.h'. See --glob" in cli("train", books, "--glob", "*.c", "--glob", "*.h").err


@pytest.mark.parametrize("glob", ["/abs", "", "**.md", "../*.txt", "a/../../*.txt", "."])
def test_a_pattern_that_is_none(cli, tmp_path, glob):
    outcome = cli("train", tmp_path, "--glob", glob)
    assert outcome.code == 2
    assert len(outcome.err.splitlines()) == 1


def bad_text(tmp_path):
    path = tmp_path / "bad.txt"
    path.write_bytes(b"abc" * 99)
    return path


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="root may read anything")
def test_a_file_without_permission(cli, tmp_path):
    path = bad_text(tmp_path)
    path.chmod(0)
    assert "Permission denied" in cli("train", path).err


def test_an_unreadable_file(cli, tmp_path, monkeypatch):
    path = bad_text(tmp_path)

    def refuse(self, mode):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", refuse)
    outcome = cli("train", path, "--out", tmp_path / "run")
    assert (outcome.code, outcome.err) == (2, f"charrnn train: {path}: cannot be read: Permission denied\n")


@given(
    st.binary(max_size=200),
    st.sampled_from(["utf-8", "utf-16", "utf-7", "cp1252", "shift_jis", "idna", "rot13", "a\0"]),
    st.booleans(),
)
def test_any_bytes_for_a_text(blob, encoding, as_bytes):
    with tempfile.TemporaryDirectory() as folder:
        text = Path(folder) / "text.txt"
        text.write_bytes(blob)
        words = ["--hidden-size", 2, "--seq-length", 2, "--batch-size", 2, "--max-steps", 1]
        words += ["--encoding", encoding, *(["--bytes"] if as_bytes else [])]
        err = io.StringIO()
        with redirect_stdout(io.TextIOWrapper(io.BytesIO(), "utf-8")), redirect_stderr(err):
            code = main([str(word) for word in ["train", text, "--out", Path(folder) / "run", *words]])
        assert code in (0, 2)
        assert code == 0 or 1 <= len(err.getvalue().rstrip("\n").split("\n")) <= 2, err.getvalue()
