import gzip
import json
import os
import re
import shutil
import signal
import subprocess
import tempfile
from pathlib import Path

import pytest
from conftest import PROVERB, TINY, says_what_is_wrong, start
from hypothesis import given
from hypothesis import strategies as st

from charrnn.runs import checkpoint


def test_a_run_of_another_encoding_is_resumed_twice_and_evaluated(cli, tmp_path):
    path, out = tmp_path / "text.md", tmp_path / "run"
    path.write_bytes(("naïve " + PROVERB).encode("latin-1") * 40)
    words = ["--encoding", "latin-1", "--glob", "*.md", "--out", out, "--max-steps"]
    assert cli("train", tmp_path, *words, 3, *TINY).code == 0
    for steps in (6, 9):
        assert cli("train", "--resume", "--out", out, "--max-steps", steps).code == 0
    assert cli("eval", out).code == 0


def test_a_text_that_moved_is_found_where_it_was_last_given(cli, text_file, tmp_path):
    first, second, out = tmp_path / "proverb.txt", tmp_path / "sub" / "proverb.txt", tmp_path / "run"
    shutil.copy(text_file, first)
    assert cli("train", first, "--out", out, "--max-steps", 2, *TINY).code == 0
    second.parent.mkdir()
    first.rename(second)
    assert "no such file" in cli("eval", out).err
    assert cli("train", second, "--resume", "--out", out, "--max-steps", 3).code == 0
    assert cli("eval", out).code == 0


def tokens_file(path):
    """What changes when it is written again."""
    return path.stat().st_ino, path.stat().st_mtime_ns


def test_the_encoded_text_is_kept_and_used_again(cli, tmp_path):
    text, out = tmp_path / "text.txt", tmp_path / "run"
    text.write_text(PROVERB * 40)
    assert cli("train", text, "--out", out, "--max-steps", 2, *TINY).code == 0
    made = tokens_file(out / "tokens.bin")
    assert cli("train", "--resume", "--out", out, "--max-steps", 4).code == 0
    assert cli("eval", out).code == 0
    assert cli("train", text, "--overwrite", "--out", out, "--max-steps", 2, *TINY).code == 0
    assert tokens_file(out / "tokens.bin") == made
    (out / "tokens.bin").write_bytes(b"torn")
    outcome = cli("eval", out)
    assert (outcome.code, outcome.err) == (
        0,
        f"{out / 'tokens.bin'}: damaged: not a whole file of an encoded text; it is made anew\n",
    )
    assert cli("eval", out).err == ""
    text.write_text(PROVERB * 39)
    made = tokens_file(out / "tokens.bin")
    assert "has changed since" in cli("eval", out).err
    assert "another text" in cli("train", "--resume", "--out", out).err
    assert "there is a run" in cli("train", text, "--out", out).err  # said before the text is read
    assert tokens_file(out / "tokens.bin") == made


def test_runs_share_a_cache_dir(cli, text_file, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    words = ["--cache-dir", "caches", "--max-steps", 2, *TINY]
    for out in ("a", "b"):
        assert cli("train", text_file, "--out", out, *words).code == 0
    (file,) = Path("caches").iterdir()
    made = tokens_file(file)
    assert not Path("a/tokens.bin").exists()
    monkeypatch.chdir("/")  # it is found from everywhere
    assert cli("eval", tmp_path / "a").code == 0
    assert cli("train", "--resume", "--out", tmp_path / "a", "--max-steps", 3).code == 0
    assert tokens_file(tmp_path / "caches" / file.name) == made
    shutil.rmtree(tmp_path / "caches")  # and done without
    assert cli("eval", tmp_path / "a").code == 0
    assert cli("train", "--resume", "--out", tmp_path / "a", "--max-steps", 4).code == 0


def test_a_cache_dir_that_is_a_file(cli, text_file, tmp_path):
    outcome = cli("train", text_file, "--out", tmp_path / "run", "--cache-dir", text_file)
    assert (outcome.code, outcome.err) == (
        2,
        f"charrnn train: --cache-dir {text_file}: cannot be made: File exists\n",
    )


def test_a_compressed_text_is_the_same_text(cli, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("book.txt.gz").write_bytes(gzip.compress((PROVERB * 40).encode()))
    assert cli("train", "book.txt.gz", "--max-steps", 2, *TINY).code == 0
    Path("book.txt").write_text(PROVERB * 40)
    assert cli("train", "book.txt", "--resume", "--max-steps", 3).code == 0
    Path("book.txt.gz").write_bytes(gzip.compress((PROVERB * 40).encode())[:-9])
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
    blob, out = (PROVERB * 40).encode(), tmp_path / "runs" / "stdin"
    code, said, _ = pipe(blob, "train", "-", "--max-steps", 2, *TINY, cwd=tmp_path)
    assert code == 0
    assert "stdin: 2,920 characters" in said
    made = tokens_file(out / "tokens.bin")
    assert cli("train", "--resume", "--out", out, "--max-steps", 3).code == 0
    assert cli("eval", out).code == 0
    assert pipe(blob, "train", "-", "--resume", "--out", out, "--max-steps", 4)[0] == 0
    code, _, errors = pipe(blob[1:], "train", "-", "--resume", "--out", out, "--max-steps", 5)
    assert code == 2
    assert "this run was trained on another text" in errors
    assert tokens_file(out / "tokens.bin") == made
    names = {path.name for path in out.iterdir()} - {".lock"}
    assert names == {"best.npz", "config.json", "last.npz", "metrics.jsonl", "step-3.npz", "tokens.bin"}
    whole = (out / "tokens.bin").read_bytes()
    (out / "tokens.bin").write_bytes(whole[:-1])
    for words in (["train", "--resume", "--out", out], ["eval", out]):
        outcome = cli(*words)
        assert outcome.code == 2
        assert re.search(r"tokens.bin: damaged.* pipe it again", outcome.err)
    assert pipe(blob, "train", "-", "--resume", "--out", out, "--max-steps", 4)[0] == 0
    assert (out / "tokens.bin").read_bytes() == whole


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


def test_files_that_cannot_be_read(cli, tmp_path):
    outcome = cli("train", tmp_path / "no.txt")
    assert (outcome.code, outcome.err) == (
        2,
        f"charrnn train: {tmp_path / 'no.txt'}: no such file or folder\n",
    )
    outcome = cli("train", tmp_path)
    assert outcome.code == 2
    assert "no file in this folder matches '*.txt'. See --glob" in outcome.err


@pytest.mark.parametrize("glob", ["/abs", "", "**.md"])
def test_a_pattern_that_is_none(cli, tmp_path, glob):
    outcome = cli("train", tmp_path, "--glob", glob)
    assert outcome.code == 2
    assert len(outcome.err.splitlines()) == 1


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="root may read anything")
def test_a_file_without_permission(cli, tmp_path):
    path = tmp_path / "bad.txt"
    path.write_bytes(b"abc" * 99)
    path.chmod(0)
    assert "Permission denied" in cli("train", path).err


def test_an_unreadable_file(cli, tmp_path, monkeypatch):
    path = tmp_path / "bad.txt"
    path.write_bytes(b"abc" * 99)

    def refuse(self, mode):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", refuse)
    outcome = cli("train", path, "--out", tmp_path / "run")
    assert (outcome.code, outcome.err) == (2, f"charrnn train: {path}: cannot be read: Permission denied\n")


def test_a_text_that_changed_is_noticed(cli, tmp_path):
    path = tmp_path / "text.txt"
    path.write_text(PROVERB * 40)
    out = tmp_path / "run"
    assert cli("train", path, "--out", out, "--max-steps", 1, *TINY).code == 0
    path.write_text(PROVERB * 41)
    assert "has changed since" in cli("eval", out).err
    assert "another text" in cli("train", "--resume", "--out", out).err


def test_settings_in_a_run_are_not_trusted(cli, run_folder, tmp_path):
    broken = tmp_path / "broken"
    shutil.copytree(run_folder, broken)
    note = json.loads((broken / "config.json").read_text())
    for bad in ({}, {**note, "settings": {"hidden_size": -1}}, {**note, "corpus": 3}):
        (broken / "config.json").write_text(json.dumps(bad))
        for words in (["eval", broken], ["train", "--resume", "--out", broken]):
            outcome = cli(*words)
            assert outcome.code == 2
            assert "config.json" in outcome.err


@given(
    st.binary(max_size=200),
    st.sampled_from(["utf-8", "utf-16", "utf-7", "cp1252", "shift_jis", "idna", "punycode", "rot13", "a\0"]),
    st.booleans(),
)
def test_any_bytes_for_a_text(blob, encoding, as_bytes):
    with tempfile.TemporaryDirectory() as folder:
        text = Path(folder) / "text.txt"
        text.write_bytes(blob)
        words = ["--hidden-size", 2, "--seq-length", 2, "--batch-size", 2, "--max-steps", 1]
        words += ["--encoding", encoding, *(["--bytes"] if as_bytes else [])]
        says_what_is_wrong("train", text, "--out", Path(folder) / "run", *words)


def test_a_refused_command_leaves_a_piped_text_where_it_is(cli, tmp_path, text_file):
    out = tmp_path / "piped"
    assert (
        pipe((PROVERB * 40).encode(), "train", "-", "--max-steps", 2, *TINY, "--out", out, cwd=tmp_path)[0]
        == 0
    )
    made = (out / "tokens.bin").read_bytes()
    other = tmp_path / "other.txt"
    other.write_text("quite another text, with 12 other characters!" * 60)
    with checkpoint.Lock(out):
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


def test_a_strangers_note_makes_nothing_outside_the_run(cli, tmp_path, text_file):
    out, outside = tmp_path / "run", tmp_path / "outside"
    assert cli("train", text_file, "--max-steps", 2, *TINY, "--out", out).code == 0
    note = json.loads((out / "config.json").read_text())
    note["corpus"]["cache_dir"] = str(outside)
    (out / "config.json").write_text(json.dumps(note))
    assert cli("train", "--resume", "--out", out, "--max-steps", 3).code == 0
    assert not outside.exists()
    outside.mkdir()
    (out / "tokens.bin").unlink()
    (out / "tokens.bin").symlink_to(outside)
    assert cli("eval", out).code == 0
    assert not list(outside.iterdir())
    for wrong in (5, "a\0b"):
        note["corpus"]["cache_dir"] = wrong
        (out / "config.json").write_text(json.dumps(note))
        assert "cache_dir" in cli("eval", out).err


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no FIFOs")
def test_a_pipe_in_place_of_the_tokens_is_no_hang(cli, tmp_path, text_file):
    out = tmp_path / "run"
    assert cli("train", text_file, "--max-steps", 2, *TINY, "--out", out).code == 0
    (out / "tokens.bin").unlink()
    os.mkfifo(out / "tokens.bin")
    assert cli("eval", out).code == 0


def test_a_run_on_a_file_whose_name_is_not_utf8(cli, tmp_path):
    path = Path(os.fsdecode(os.fsencode(tmp_path) + b"/bad\xff.txt"))
    path.write_text(PROVERB * 40)
    assert cli("train", path, "--max-steps", 2, *TINY, "--out", tmp_path / "run").code == 0
    assert cli("train", "--resume", "--max-steps", 3, "--out", tmp_path / "run").code == 0
    assert cli("eval", tmp_path / "run").code == 0
