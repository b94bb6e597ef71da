"""Real processes, hurt: killed at random moments, stopped by signals, their disk full, their folder gone.

Each test asserts what is left: after a resume the same bits as a run that was never hurt, or the clear line
and the exit code.
"""

import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest
from conftest import PROVERB, assert_same_run

import charrnn

pytestmark = pytest.mark.skipif(os.name != "posix", reason="signals")

ROOT = Path(__file__).parent.parent
ENVIRONMENT = os.environ | {"PYTHONPATH": str(ROOT)}
SMALL = ["--hidden-size", 8, "--seq-length", 8, "--batch-size", 4, "--warmup-steps", 5, "--threads", 1]
KILLS = {1: 17, 2: 17, 3: 17}  # seed: how many


def start(*words, **options):
    """The command line in a process of its own."""
    command = [sys.executable, "-m", "charrnn", *map(str, words)]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen(command, env=ENVIRONMENT, **pipes | options)


def finish(*words, code=0, **options):
    """The command line to its end. Returns: what it wrote to standard output and to standard error."""
    process = start(*words, **options)
    out, err = process.communicate(timeout=60)
    assert process.returncode == code, out + err
    assert "Traceback" not in err
    assert len(err.strip().splitlines()) <= 2, err
    return out, err


def training(text, out, steps, *more):
    """The words of a run that saves after every step."""
    often = ["--save-every", 0, "--log-every", 1, "--eval-every", 25, "--sample-every", 0]
    return ["train", text, "--out", out, "--max-steps", steps, "--epochs", 100, *often, *SMALL, *more]


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
    finish(*words, "--resume", "--save-every", 60)
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
    finish(*training(text, out, STEPS), "--save-every", 60)
    return out


@pytest.mark.parametrize("seed", KILLS)
def test_killed_again_and_again_it_is_the_run_that_was_left_alone(text, whole, tmp_path, seed):
    kill_again_and_again(text, tmp_path, training(text, tmp_path, STEPS), KILLS[seed], random.Random(seed))
    assert_same_run(whole, tmp_path)
    assert not list(tmp_path.glob(".*.new"))
    samples = [finish("sample", run, "--seed", 1)[0] for run in (whole, tmp_path)]
    assert samples[0] == samples[1]
