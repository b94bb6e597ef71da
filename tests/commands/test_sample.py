import io
import json
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
    expected = "".join(f"the{model.vocabulary.decode(text.tokens)}\n" for text in texts)
    assert cli("sample", run_folder, "--prime", "the", "--num-samples", 2, *FLAGS).out == expected


def test_a_sample_is_a_record(cli, run_folder):
    words = ["--prime", "the ", "--stop", ";", "--length", 30, "--seed", 5, "--num-samples", 9]
    as_text = cli("sample", run_folder, *words, "--separator", "|").out.split("|")
    outcome = cli("sample", run_folder, *words, "--format", "jsonl")
    records = [json.loads(line) for line in outcome.out.splitlines()]
    assert outcome.err == ""
    assert as_text == [record["prime"] + record["text"] for record in records] + [""]
    assert {record["ended"] for record in records} == {True, False}
    model = charrnn.load(run_folder)
    for index, record in enumerate(records):
        assert (record["index"], record["seed"], record["prime"]) == (index, 5, "the ")
        assert record["characters"] == len(record["text"])
        assert record["ended"] == (record["characters"] < 30)
        whole, before = charrnn.score_lines(model, ["the " + record["text"], "the "])
        assert record["nats"] == pytest.approx(whole.nats - before.nats, rel=1e-4, abs=1e-4)
    alone = cli("sample", run_folder, *words[:-2], "--format", "jsonl").out
    assert json.loads(alone)["text"] == records[0]["text"]
    assert cli("sample", run_folder, *words[:-2]).out == as_text[0]


def test_without_a_seed_a_record_holds_the_one_that_was_drawn(cli, run_folder):
    words = ["sample", run_folder, "--length", 20, "--format", "jsonl", "--num-samples", 2]
    records = [json.loads(line) for line in cli(*words).out.splitlines()]
    again = cli(*words, "--seed", records[1]["seed"]).out.splitlines()
    assert json.loads(again[1]) == records[1]


def test_samples_are_parted_by_what_ended_them(cli, run_folder):
    """A text keeps its empty line; one that was cut ends in a newline, and is named."""
    stops = ["--stop", "; ", "--stop", ".\n"]
    outcome = cli("sample", run_folder, "--num-samples", 9, "--length", 25, "--seed", 3, *stops)
    model, config = charrnn.load(run_folder), charrnn.SampleConfig(stop=("; ", ".\n"), length=25)
    samples = model.draw_many(model.vocabulary.encode(""), config, list(islice(generators(3), 9)))
    decode = model.vocabulary.decode
    assert outcome.out == "".join(decode(text.tokens) + (decode(text.stop) or "\n") for text in samples)
    assert {decode(text.stop) for text in samples} == {"; ", ".\n", ""}
    *cut, last = [str(i) for i, text in enumerate(samples, 1) if not text.stop]
    assert (
        outcome.err == f"cut at --length 25, before any --stop came: texts {', '.join(cut)} and {last} of 9\n"
    )
    outcome = cli("sample", run_folder, "--length", 5, "--stop", "x", "--seed", 1)
    assert outcome.err == "cut at --length 5, before any --stop came\n"
    assert cli("sample", run_folder, "--length", 5, "--num-samples", 3).err == ""


@pytest.mark.parametrize(
    ("typed", "meant"),
    [(r"\n", "\n"), (r"knew.\nthe", "knew.\nthe"), (r"\x0a", "\n"), (r"\x66o\x78", "fox")],
)
def test_escapes_are_read_where_the_text_as_typed_is_not_known(cli, run_folder, typed, meant):
    words = ["sample", run_folder, "--length", 150, "--seed", 1]
    plain = cli(*words, "--stop", meant, "--prime", meant)
    escaped = cli(*words, "--stop", typed, "--prime", typed)
    assert escaped.out == plain.out
    assert f"--stop {typed}: read with its escapes" in escaped.err
    assert f"--prime {typed}: read with its escapes" in escaped.err
    assert cli(*words, "--stop", typed, "--prime", typed, "--escapes").err == plain.err


def test_where_the_backslash_is_known_escapes_are_asked_for(cli, tmp_path):
    text = tmp_path / "text.txt"
    text.write_text("a\\nb\n" * 50)
    cli("train", text, "--max-steps", 1, "--out", tmp_path / "run", *TINY)
    words = ["sample", tmp_path / "run", "--length", 0, "--prime", r"a\nb\\"]
    assert cli(*words).out == r"a\nb\\"
    assert cli(*words, "--escapes").out == "a\nb\\"
    outcome = cli(*words, "--escapes", "--stop", r"a\q")
    assert (outcome.code, r"--stop a\q: the escapes are \n, \t, \\ and \xNN" in outcome.err) == (2, True)


def test_an_escape_is_a_byte_in_a_run_of_bytes(tmp_path):
    binary = tmp_path / "binary.dat"
    binary.write_bytes(bytes(range(256)) * 8)
    words = ["--bytes", "--max-steps", 2, "--out", tmp_path / "run"]
    start("train", binary, *words, *TINY).communicate(timeout=60)
    words = ["--prime", r"\xff\x00\n", "--escapes", "--separator", r"\xfe"]
    process = start("sample", tmp_path / "run", "--length", 0, "--num-samples", 2, *words)
    assert process.communicate() == (b"\xff\x00\n\xfe" * 2, b"")


def test_a_stop_from_a_file(cli, run_folder, tmp_path):
    words = ["sample", run_folder, "--seed", 1, "--length", 300]
    (tmp_path / "stop.txt").write_bytes(b"\xef\xbb\xbfknew.\n")
    outcome = cli(*words, "--stop", f"@{tmp_path / 'stop.txt'}")
    assert outcome.out == charrnn.load(run_folder).sample(length=300, seed=1, stop="knew.\n")
    assert "the mark is dropped" in outcome.err
    (tmp_path / "stop.txt").write_text("")
    assert "the file is empty: it would never stop" in cli(*words, "--stop", f"@{tmp_path / 'stop.txt'}").err
    assert "--stop '@' has characters" in cli(*words, "--stop", "@").err


def test_forbidden_characters_are_not_written(cli, run_folder):
    outcome = cli("sample", run_folder, "--forbid", r"\neQ", "--length", 200, "--seed", 1)
    assert set(outcome.out) & set("\neQ") == set()
    assert outcome.out == charrnn.load(run_folder).sample(length=200, seed=1, forbid="\neQ")
    assert "--forbid: 'Q' is never drawn anyway" in outcome.err


@pytest.mark.parametrize(
    "words",
    [["--length", 1, "--length", 1], ["--novelty", "--novelty"], ["--prime", "a", "--primetext", "a"]],
)
def test_a_flag_that_cannot_be_repeated_says_so(cli, run_folder, words):
    outcome = cli("sample", run_folder, *words)
    assert (outcome.code, outcome.out) == (2, "")
    assert f"argument {words[0]}" in outcome.err
    assert "given twice" in outcome.err


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
        (["--separator", "|", "--format", "jsonl"], r"--separator has no effect with --format jsonl"),
        (["--format", "json"], r"--format json: should be 'text' or 'jsonl'"),
        (["--forbid", "the", "--stop", "t"], r"--stop 't' has characters that --forbid forbids"),
    ],
)
def test_samples_that_cannot_be_drawn(cli, run_folder, words, message):
    outcome = cli("sample", run_folder, *words)
    assert (outcome.code, outcome.out) == (2, "")
    assert re.search(message, outcome.err), outcome.err


def test_unknown_characters_of_the_prime_text_can_be_dropped(cli, run_folder):
    outcome = cli("sample", run_folder, "--prime", "the Quick fox", "--ignore-unknown", "--length", 0)
    assert (outcome.code, outcome.out) == (0, "the ick fox")
    dropped = "2 characters dropped, 2 distinct, which the vocabulary lacks: 'Q' (U+0051) 1, 'u' (U+0075) 1"
    assert dropped in outcome.err
