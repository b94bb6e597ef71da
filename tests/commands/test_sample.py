import io
import os
import re
import subprocess
import sys
from itertools import islice

import pytest
from conftest import TINY, start

import charrnn
from charrnn.model.sampling import generators

SETTINGS = {"length": 50, "seed": 1, "temperature": 1.5, "top_k": 9, "top_p": 0.8}
FLAGS = [word for name, value in SETTINGS.items() for word in (f"--{name.replace('_', '-')}", value)]


def test_sample_writes_the_text_and_nothing_else(cli, run_folder):
    outcome = cli("sample", run_folder, "--prime", "the fox", *FLAGS)
    assert outcome.err == ""
    assert outcome.out == charrnn.load(run_folder).sample("the fox", **SETTINGS)


def test_several_samples_are_a_line_each(cli, run_folder):
    outcome = cli("sample", run_folder, "--num-samples", 5, "--length", 20, "--stop", "\n", "--prime", "the")
    assert len(outcome.out.splitlines()) == 5
    assert all(line.startswith("the") for line in outcome.out.splitlines())
    model, config = charrnn.load(run_folder), charrnn.SampleConfig(**SETTINGS)
    texts = model.draw_many(model.vocabulary.encode("the"), config, list(islice(generators(1), 2)))
    expected = "".join(f"the{model.vocabulary.decode(text)}\n" for text in texts)
    assert cli("sample", run_folder, "--prime", "the", "--num-samples", 2, *FLAGS).out == expected


def test_the_prime_text_from_a_file_and_from_standard_input(cli, run_folder, tmp_path):
    (tmp_path / "prime.txt").write_text("the hen")
    assert cli("sample", run_folder, "--prime", f"@{tmp_path / 'prime.txt'}", "--length", 0).out == "the hen"
    process = start("sample", run_folder, "--prime", "-", "--length", 0, stdin=subprocess.PIPE)
    assert process.communicate(b"the fox")[0] == b"the fox"
    if os.name == "posix":
        process = start("sample", run_folder, "--prime", "@/dev/stdin", "--length", 0, stdin=subprocess.PIPE)
        assert process.communicate(b"the fox")[0] == b"the fox"


def test_a_prime_text_without_end_is_refused(cli, run_folder, tmp_path, monkeypatch):
    assert "/dev/zero: a folder or a device" in cli("sample", run_folder, "--prime", "@/dev/zero").err
    monkeypatch.setattr("charrnn.commands.sample.PRIME_BYTES", 10)
    (tmp_path / "prime.txt").write_text("the hen who")
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"the hen who")))
    for source, name in ((f"@{tmp_path / 'prime.txt'}", "prime.txt"), ("-", "standard input")):
        outcome = cli("sample", run_folder, "--prime", source)
        assert outcome.code == 2
        assert f"{name}: larger than 1e-05 MB" in outcome.err


def test_values_that_look_like_flags_are_values(cli, run_folder):
    assert "--num-samples --: should be a valid integer" in cli("sample", run_folder, "--num-samples=--").err
    assert "--stop '--' has characters" in cli("sample", run_folder, "--stop=--").err


def test_a_reader_that_goes_away_is_no_error(run_folder):
    process = start("sample", run_folder, "--length", 20_000)
    assert process.stdout.read(10)
    process.stdout.close()
    assert process.stderr.read() == b""
    process.stderr.close()
    assert process.wait(timeout=60) == 141


def test_bytes_come_out_as_they_are(tmp_path):
    binary = tmp_path / "binary.dat"
    binary.write_bytes(bytes(range(256)) * 8)
    words = ["--bytes", "--max-steps", 2, "--out", tmp_path / "run"]
    assert not start("train", binary, *words, *TINY).communicate(timeout=60)[1]
    process = start("sample", tmp_path / "run", "--length", 300, "--temperature", 1)
    assert len(process.communicate()[0]) == 300


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--prime", "zebra Q"], r"does not know 'Q' \(U\+0051\), 'b' \(U\+0062\), 'z' .*--ignore-unknown"),
        (["--top-p", "1.5"], r"--top-p 1.5: should be less than or equal to 1"),
        (["--temperature", "-1"], r"--temperature -1: should be greater than or equal to 0"),
        (["--length", "-5"], r"--length -5"),
        (["--num-samples", "0"], r"--num-samples 0: should be greater than or equal to 1"),
        (["--stop", "Q"], r"--stop 'Q'.*never stop"),
        (["--prime", "@nowhere"], r"nowhere: cannot be read: No such file"),
    ],
)
def test_samples_that_cannot_be_drawn(cli, run_folder, words, message):
    outcome = cli("sample", run_folder, *words)
    assert (outcome.code, outcome.out) == (2, "")
    assert re.search(message, outcome.err), outcome.err


def test_unknown_characters_of_the_prime_text_can_be_dropped(cli, run_folder):
    outcome = cli("sample", run_folder, "--prime", "the Quick fox", "--ignore-unknown", "--length", 0)
    assert (outcome.code, outcome.out) == (0, "the ick fox")
