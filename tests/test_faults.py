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
KILLS = {1: 18, 2: 18, 3: 18}  # seed: how many


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
        if rng.random() < 0.85:
            wait_for_saves(process, out)
        time.sleep(rng.random() * 0.03)
        process.kill()
        assert process.wait() == -signal.SIGKILL, "it came to its end before its kill: too few steps"
        done += 1
        in_the_middle += bool(list(out.glob(".*.new")))
    finish(*words, "--resume")
    return done, in_the_middle


@pytest.fixture(scope="module")
def text(tmp_path_factory):
    path = tmp_path_factory.mktemp("text") / "proverb.txt"
    path.write_text(PROVERB * 40)
    return path


@pytest.mark.parametrize("seed", KILLS)
def test_killed_again_and_again_it_is_the_run_that_was_left_alone(text, tmp_path, seed):
    words = training(text, tmp_path / "killed", 2500, "--learning-rate", 0.01)
    kill_again_and_again(text, tmp_path / "killed", words, KILLS[seed], random.Random(seed))
    words[words.index("--save-every") + 1] = 60
    finish(*words[:2], "--out", tmp_path / "whole", *words[4:])
    assert_same_run(tmp_path / "whole", tmp_path / "killed")
    assert not list((tmp_path / "killed").glob(".*.new"))
    samples = [finish("sample", tmp_path / name, "--seed", 1)[0] for name in ("whole", "killed")]
    assert samples[0] == samples[1]
