"""Real processes, hurt: killed at random moments, stopped by signals, their disk full, their folder gone.

Each test asserts what is left: after a resume the same bits as a run that was never hurt, or the clear line
and the exit code.
"""

import math
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from contextlib import suppress
from functools import partial

import conftest
import pytest
from conftest import PROVERB, ROOT, assert_same_run, position

import charrnn
from charrnn.errors import DivergedError, RunError
from charrnn.runs import read_note
from charrnn.training import trainer
from charrnn.training.guard import Guard

pytestmark = pytest.mark.skipif(os.name != "posix", reason="signals")

SMALL = ["--hidden-size", 8, "--seq-length", 8, "--batch-size", 4, "--warmup-steps", 5, "--threads", 1]
KILLS = {1: 17, 2: 17, 3: 17}  # seed: how many
start = partial(conftest.start, text=True)


def finish(*words, code=0, **options):
    """The command line to its end. Returns: what it wrote to standard output and to standard error."""
    process = start(*words, **options)
    out, err = process.communicate(timeout=60)
    assert process.returncode == code, out + err
    assert "Traceback" not in err
    assert len(err.strip().splitlines()) <= 2, err
    return out, err


def training(text, out, steps, *, epochs=100, save_every=0):
    """The words of a run that saves after every step."""
    often = ["--save-every", save_every, "--log-every", 1, "--eval-every", 25, "--sample-every", 0]
    return ["train", text, "--out", out, "--max-steps", steps, "--epochs", epochs, *often, *SMALL]


def wait_for_saves(process, out, seconds=30.0):
    """Wait until last.npz is another than it was: the process is past its start."""
    last, end = out / "last.npz", time.monotonic() + seconds
    before = last.stat().st_ino if last.exists() else None
    while time.monotonic() < end and process.poll() is None:
        if last.exists() and last.stat().st_ino != before:
            return
        time.sleep(0.002)
    assert process.poll() is not None, "no save came"


def kill_again_and_again(text, out, words, kills, rng):
    """Start a run, kill it −9, resume it, kill it again …, until so many kills have hit; then let it end.

    Returns: the kills, and how many of them left a file that was being written.
    """
    done = in_the_middle = 0
    while done < kills:
        resumed = ["--resume"] if (out / "config.json").exists() else []
        process = start(*words, *resumed, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        if rng.random() < 0.9:
            wait_for_saves(process, out)
            time.sleep(rng.random() * 0.03)
        else:  # while it starts
            time.sleep(rng.random() * 0.5)
        process.kill()
        assert process.wait() == -signal.SIGKILL, "it came to its end before its kill: too few steps"
        done += 1
        in_the_middle += bool(list(out.glob(".*.new")))
    at = words.index("--save-every")
    finish(*words[:at], *words[at + 2 :], "--resume", "--save-every", 60)
    return done, in_the_middle


@pytest.fixture(scope="module")
def text(tmp_path_factory):
    path = tmp_path_factory.mktemp("text") / "proverb.txt"
    path.write_text(PROVERB * 40)
    return path


STEPS = 600  # of a run that is killed; more than it gets through before the last kill


@pytest.fixture(scope="module")
def whole(text, tmp_path_factory):
    """The run left alone, which saves at its validations only."""
    out = tmp_path_factory.mktemp("whole")
    finish(*training(text, out, STEPS, save_every=60))
    return out


@pytest.mark.parametrize("seed", KILLS)
def test_killed_again_and_again_it_is_the_run_that_was_left_alone(text, whole, tmp_path, seed):
    kill_again_and_again(text, tmp_path, training(text, tmp_path, STEPS), KILLS[seed], random.Random(seed))
    assert_same_run(whole, tmp_path)
    assert not list(tmp_path.glob(".*.new"))
    samples = [finish("sample", run, "--seed", 1)[0] for run in (whole, tmp_path)]
    assert samples[0] == samples[1]


# -- signals ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_one_signal_saves_and_the_command_it_prints_goes_on_to_the_same_bits(
    text, whole, tmp_path, number, code
):
    process = start(*training(text, tmp_path, STEPS))
    wait_for_saves(process, tmp_path)
    process.send_signal(number)
    out, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (code, "")
    said = re.search(
        r"^stopped after step (\S+) \(epoch \S+ of 100\); saved. To resume: .*charrnn (train .*)$", out, re.M
    )
    assert position(tmp_path)["step"] == int(said[1])
    finish(*said[2].split(), "--save-every", 60)
    assert_same_run(whole, tmp_path)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_two_signals_stop_in_the_middle_of_a_step(tmp_path, number, code):
    long, out = tmp_path / "long.txt", tmp_path / "run"
    long.write_text(PROVERB * 2000)
    sizes = ["--hidden-size", 512, "--seq-length", 512, "--batch-size", 100]  # a step takes a second or so
    process = start("train", long, "--out", out, "--epochs", 100, "--save-every", 0, *sizes)
    wait_for_saves(process, out)
    process.send_signal(number)
    time.sleep(0.1)
    process.send_signal(number)
    stdout, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (code, "")
    assert re.search(
        rf"stopped at once; the last save stands. To resume: .* train --resume --out {out}\n", stdout
    )
    assert charrnn.load(out, "last").config.hidden_size == 512
    assert not list(out.glob(".*.new"))


# -- disks and folders ------------------------------------------------------------------------------


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="prlimit")
def test_a_disk_that_fills(text, whole, tmp_path):
    """As a limit on the size of files."""
    import resource

    process = start(*training(text, tmp_path, STEPS))
    wait_for_saves(process, tmp_path)
    limit = (tmp_path / "last.npz").stat().st_size // 2
    resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (limit, limit))
    out, err = process.communicate(timeout=60)
    assert process.returncode == 2, out
    assert re.fullmatch(r"charrnn train: \S+: cannot be written: File too large\n", err)
    assert not list(tmp_path.glob(".*.new"))
    finish("train", "--resume", "--out", tmp_path, "--save-every", 60)
    assert_same_run(whole, tmp_path)


def test_a_disk_that_is_full(text, whole, tmp_path):
    """A small one of its own, filled while the run is on it."""
    out = tmp_path / "disk" / "run"
    out.parent.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=400k", "tmpfs", str(out.parent)]
    if not shutil.which("mount") or subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("no disk can be mounted")
    try:
        process = start(*training(text, out, STEPS))
        wait_for_saves(process, out)
        with (out.parent / "ballast").open("wb", buffering=0) as file, suppress(OSError):
            while True:
                file.write(bytes(512))
        stdout, err = process.communicate(timeout=60)
        assert process.returncode == 2, stdout
        assert re.fullmatch(r"charrnn train: \S+: cannot be written: No space left on device\n", err)
        (out.parent / "ballast").unlink()
        finish("train", "--resume", "--out", out, "--save-every", 60)
        assert_same_run(whole, out)
    finally:
        subprocess.run(["umount", str(out.parent)], check=True)


def no_longer_almighty():
    """Take the right to write where it is forbidden from a process of root's, before it starts."""
    import ctypes

    ctypes.CDLL(None).prctl(24, 1, 0, 0, 0)  # PR_CAPBSET_DROP, CAP_DAC_OVERRIDE


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="capabilities")
def test_a_folder_that_is_read_only(text, tmp_path):
    """Nothing is half begun, nor half resumed."""
    finish(*training(text, tmp_path / "run", 5))
    before = {path.name: path.read_bytes() for path in (tmp_path / "run").iterdir()}
    for path in (tmp_path, tmp_path / "run"):
        path.chmod(0o555)
    for out, how in ((tmp_path / "new", []), *((tmp_path / "run", [f]) for f in ("--resume", "--overwrite"))):
        _, err = finish("train", text, "--out", out, *how, *SMALL, code=2, preexec_fn=no_longer_almighty)
        assert re.fullmatch(rf"charrnn train: {out}\S*: cannot be written: Permission denied\n", err)
    assert {path.name: path.read_bytes() for path in (tmp_path / "run").iterdir()} == before
    assert not (tmp_path / "new").exists()
    for path in (tmp_path, tmp_path / "run"):
        path.chmod(0o755)


@pytest.mark.parametrize("how", ["deleted", "moved", "replaced"])
def test_a_run_that_is_deleted_while_training(text, tmp_path, how):
    out = tmp_path / "run"
    process = start(*training(text, out, 100_000, epochs=10_000))
    wait_for_saves(process, out)
    process.send_signal(signal.SIGSTOP)
    if how == "deleted":
        shutil.rmtree(out)
    else:
        out.rename(tmp_path / "elsewhere")
    if how == "replaced":
        finish(*training(text, out, 3))
        before = {path.name: path.read_bytes() for path in out.iterdir()}
    process.send_signal(signal.SIGCONT)
    stdout, err = process.communicate(timeout=60)
    assert process.returncode == 2, stdout
    assert re.fullmatch(
        rf"charrnn train: {out}\S*: (was deleted or|cannot be wr|no longer exists).*\n", err
    ), err
    if how == "replaced":
        assert {path.name: path.read_bytes() for path in out.iterdir()} == before
    else:
        assert not out.exists()


def test_a_text_that_changes(text, whole, tmp_path):
    copy, out = tmp_path / "text.txt", tmp_path / "run"
    shutil.copy(text, copy)
    finish(*training(copy, out, 40))
    copy.write_text(PROVERB * 39)
    words = ["train", copy, "--resume", "--out", out, "--max-steps"]
    _, err = finish(*words, 50, code=2)
    assert "this run was trained on another text" in err
    assert "--allow-changed-corpus" in err
    assert "another text than before" in finish(*words, 50, "--allow-changed-corpus")[0]
    finish(*words, 60)  # it is the run's text now


def test_two_processes_on_one_run(text, whole, tmp_path):
    process = start(*training(text, tmp_path, STEPS))
    wait_for_saves(process, tmp_path)
    process.send_signal(signal.SIGSTOP)
    for how in ("--resume", "--overwrite"):
        _, err = finish("train", text, "--out", tmp_path, how, *SMALL, code=2)
        assert "another process is training there" in err
    assert finish("sample", tmp_path, "--length", 10)  # reading takes no lock
    process.kill()
    process.communicate()
    finish("train", "--resume", "--out", tmp_path, "--save-every", 60)  # the lock went with the process
    assert_same_run(whole, tmp_path)


def test_of_two_started_at_once_on_one_new_folder_one_trains_and_the_other_says_who_does(tmp_path):
    """With two texts: the one that trains trains on its own, and notes that one."""
    texts = {name: tmp_path / f"{name}.txt" for name in "ab"}
    for name, path in texts.items():
        path.write_text((PROVERB + name) * 10_000)
    for turn in range(3):
        out = tmp_path / f"run{turn}"
        processes = {name: start(*training(path, out, 3)) for name, path in texts.items()}
        ends = {name: process.communicate(timeout=60) for name, process in processes.items()}
        codes = {name: process.returncode for name, process in processes.items()}
        assert sorted(codes.values()) == [0, 2], ends
        loser, winner = sorted(codes, key=codes.get, reverse=True)
        holder = rf"another process is training there \(process {processes[winner].pid}\)|there is a run in"
        assert re.search(holder, ends[loser][1]), ends[loser]
        assert len(ends[loser][1].splitlines()) == 1
        tokens = charrnn.Corpus.from_files(texts[winner])
        noted = read_note(out).corpus
        assert (noted.sha256, noted.name) == (tokens.sha256, winner)
        assert position(out)["corpus"] == tokens.sha256
        finish("eval", out)


def test_two_started_at_once_with_one_cache_dir_both_train(text, tmp_path):
    words = ["--cache-dir", tmp_path / "cache"]
    processes = [start(*training(text, tmp_path / name, 3), *words) for name in "ab"]
    for process in processes:
        out, err = process.communicate(timeout=60)
        assert process.returncode == 0, out + err
    assert_same_run(tmp_path / "a", tmp_path / "b")


def test_a_disk_without_locks_is_told_before_the_text_is_read(tmp_path):
    code = "import fcntl, errno, sys, charrnn.cli\n"
    code += "def flock(*args): raise OSError(errno.ENOLCK, 'No locks available')\n"
    code += "fcntl.flock = flock; sys.exit(charrnn.cli.main(['train', '-', '--out', sys.argv[1]]))"
    command = [sys.executable, "-c", code, tmp_path / "run"]
    pipes = {"stdin": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    process = subprocess.Popen(command, env=os.environ | {"PYTHONPATH": str(ROOT)}, **pipes)
    assert "cannot lock files (No locks available)" in process.stderr.read()  # though its input has no end
    process.stdin.close()
    process.stderr.close()
    assert process.wait(timeout=60) == 2
    assert list(tmp_path.iterdir()) == []


# -- between any two system calls -------------------------------------------------------------------


class Dead(BaseException):
    """What a kill is to the code it hits: nothing after it runs."""


CALLS = ("open", "fsync", "replace", "link", "unlink")
fsync = os.fsync  # takes its time, and is of no use where nothing but a process dies


class Saboteur:
    """Counts the calls that change the disk; at number ``at`` ends the process, or has the disk full."""

    def __init__(self, monkeypatch, at, dies):
        self.calls, self.at, self.dies = 0, at, dies
        for name in CALLS:
            monkeypatch.setattr(os, name, self.wrapped(getattr(os, name)))

    def wrapped(self, original):
        def call(*args, **named):
            self.calls += 1
            if self.calls >= self.at and self.dies:
                raise Dead
            if self.calls == self.at:
                raise OSError(28, "No space left on device")
            return None if original is fsync else original(*args, **named)

        return call


@pytest.fixture
def settings(monkeypatch):
    """Of a short run with a rollback: it diverges once, at step 6."""
    original = Guard.check_step

    def explode(self, state, loss, norm):
        original(self, state, loss, norm)
        if (state.step, state.rollbacks) == (5, 0):
            raise DivergedError("boom")

    monkeypatch.setattr(Guard, "check_step", explode)
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)
    sizes = {"hidden_size": 4, "seq_length": 16, "batch_size": 4, "warmup_steps": 5, "log_every": 1}
    return sizes | {"max_steps": 7, "eval_every": 2, "keep": 3}


@pytest.mark.parametrize(("dies", "often"), [(True, 0), (False, 0), (True, math.inf)])
def test_a_run_ended_at_any_change_of_the_disk_goes_on_to_the_same_bits(
    corpus, tmp_path, settings, monkeypatch, dies, often
):
    """Killed before the call, or the call finds the disk full; saves held back as long as can be, too."""
    config = charrnn.TrainConfig(**settings)
    monkeypatch.setattr(trainer, "OFTEN", 0)
    whole = charrnn.train(corpus, config, tmp_path / "whole").path
    monkeypatch.setattr(trainer, "OFTEN", often)
    survived = 0
    for at in range(1, 10_000):
        run = tmp_path / str(at)
        with pytest.MonkeyPatch.context() as patch, suppress(Dead, RunError):
            saboteur = Saboteur(patch, at, dies)
            charrnn.train(corpus, config, run)
        if saboteur.calls < at:
            break
        begun = (run / "config.json").exists()
        charrnn.train(corpus, config, run, resume=begun, overwrite=not begun)
        assert_same_run(whole, run)
        assert not list(run.glob(".*.new"))
        survived += 1
        shutil.rmtree(run)
    assert survived > (30 if often else 100)
