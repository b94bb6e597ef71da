import io
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

import hypothesis
import pytest
from conftest import PROVERB, TINY
from hypothesis import given
from hypothesis import strategies as st

import charrnn
from charrnn.cli import main

ROOT = Path(__file__).parents[2]
ROW = r"^d(\w+) +(B\d) +(\(.*?\)) +(\S+) +(\S+) +(\(.*?\)) +(\w+)$"


def start(*words, **options):
    """The command line in a process of its own."""
    command = [sys.executable, "-m", "charrnn", *map(str, words)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, **options)


# -- train ------------------------------------------------------------------------------------------


def test_train_says_how_it_went(cli, text_file, tmp_path):
    outcome = cli("train", text_file, "--out", tmp_path / "run", "--epochs", 2, "--sample-every", 20, *TINY)
    assert outcome.code == 0
    assert "proverb: 2,920 characters, 20 distinct" in outcome.out
    assert len(re.findall(r"^epoch +\d\.\d\d  step .*train .*validation .*bits", outcome.out, re.M)) == 2
    assert "    | " in outcome.out  # a sample on the way
    assert re.search(r"^best validation \d\.\d{4} nats .* test \d\.\d{4} nats .* steps in", outcome.out, re.M)
    more = re.search(r"^More of it: charrnn (.*)$", outcome.out, re.M)
    assert cli(*more[1].split(), "--length", 10).code == 0


def test_the_default_folder_is_named_after_the_text(cli, text_file, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert cli("train", text_file, "--max-steps", 2, *TINY).code == 0
    assert Path("runs/proverb/last.npz").exists()


def test_without_a_corpus_it_is_the_bundled_text(cli, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    outcome = cli("train", "--max-steps", 1, *TINY)
    assert outcome.code == 0
    assert "fables" in outcome.out
    assert Path("runs/fables/last.npz").exists()
    assert cli("eval", "runs/fables").code == 0


def test_train_py_is_the_same_command(text_file, tmp_path):
    command = [
        sys.executable,
        ROOT / "train.py",
        text_file,
        "--out",
        tmp_path / "run",
        "--max_steps=2",
        *TINY,
    ]
    subprocess.run([str(word) for word in command], check=True, capture_output=True, cwd=tmp_path)
    assert (tmp_path / "run" / "best.npz").exists()


def test_char_rnns_names_are_understood(cli, text_file, tmp_path):
    words = ["--rnn_size", 9, "--seq_length", 8, "--batch_size=3", "--grad_clip", 5, "--max_steps", 1]
    assert cli("train", text_file, "--out", tmp_path, *words).code == 0
    settings = json.loads((tmp_path / "config.json").read_text())["settings"]
    assert (settings["hidden_size"], settings["seq_length"], settings["clip_value"]) == (9, 8, 5)
    primed = cli("sample", tmp_path, "--primetext", "the fox", "--length", 0)
    assert primed.out == "the fox"


def test_a_flag_beats_the_file(cli, text_file, tmp_path):
    file = tmp_path / "my.toml"
    file.write_text('hidden_size = 7\nseq_length = 9\noptimizer = "sgd"\nnesterov = true\nmax_steps = 1\n')
    out = tmp_path / "run"
    outcome = cli("train", text_file, "--config", file, "--hidden-size", 8, "--no-nesterov", "--out", out)
    assert outcome.code == 0
    settings = json.loads((out / "config.json").read_text())["settings"]
    assert (settings["hidden_size"], settings["seq_length"], settings["nesterov"]) == (8, 9, False)
    assert settings["learning_rate"] == 0.5  # sgd's own default


def test_a_flag_can_put_a_file_right(cli, text_file, tmp_path):
    file = tmp_path / "my.toml"
    file.write_text("momentum = 0.5\nval_fraction = 0.7\ntest_fraction = 0.3\n")
    words = ["--config", file, "--out", tmp_path / "run", "--max-steps", 1, *TINY]
    assert "my.toml: " in cli("train", text_file, *words).err
    assert cli("train", text_file, *words, "--epochs", -1).err.startswith("charrnn train: --epochs -1")
    right = ["--optimizer", "sgd", "--val-fraction", 0.1, "--test-fraction", 0.1]
    assert cli("train", text_file, *words, *right).code == 0


def test_resume_needs_no_other_word(cli, text_file, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert cli("train", text_file, "--out", "a", "--max-steps", 30, *TINY).code == 0
    assert cli("train", text_file, "--out", "b", "--max-steps", 60, *TINY).code == 0
    outcome = cli("train", "--resume", "--out", "a", "--max-steps", 60)
    assert outcome.code == 0
    assert re.search(r"; 60 steps in", outcome.out)
    assert not re.search(r"step +30,", outcome.out)
    assert cli("sample", "a", "--seed", 1).out  # a cosine that was planned for 30 steps is not that for 60


@pytest.mark.skipif(os.name != "posix", reason="pipes")
def test_a_terminal_that_goes_away_loses_nothing(text_file, tmp_path):
    words = ["--epochs", 100_000, "--sample-every", 50, "--eval-every", 0, *TINY]
    process = start("train", text_file, "--out", tmp_path / "run", *words)
    for _ in range(2):  # the text, and what is to be beaten
        process.stdout.readline()
    process.stdout.close()
    assert process.wait(timeout=60) == 141
    assert b"Traceback" not in process.stderr.read()
    process.stderr.close()
    assert charrnn.load(tmp_path / "run").hidden_size == 24


@pytest.mark.skipif(os.name != "posix", reason="terminals")
def test_a_terminal_that_is_closed_is_a_signal_and_loses_nothing(text_file, tmp_path):
    import pty

    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "charrnn", "train", text_file, "--out", tmp_path / "run", *TINY]
    command += ["--epochs", 100_000, "--log-every", 1]
    process = subprocess.Popen(
        [str(word) for word in command], stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True
    )
    os.close(theirs)
    while not (tmp_path / "run" / "metrics.jsonl").exists():
        os.read(ours, 1000)
    os.close(ours)
    process.send_signal(signal.SIGHUP)
    assert process.wait(timeout=60) in (129, 2)
    assert charrnn.load(tmp_path / "run", "last").hidden_size == 24


@pytest.mark.skipif(os.name != "posix", reason="closed streams")
def test_closed_streams_are_no_reason_to_fail(text_file):
    for closed in ("2>&-", ">&-"):
        command = f"{sys.executable} -m charrnn gradcheck {text_file} --hidden-size 2 {closed}"
        assert subprocess.run(command, shell=True, capture_output=True, check=False).returncode == 0


def test_a_terminal_that_cannot_show_a_character_is_no_reason_to_stop(tmp_path):
    path = tmp_path / "zh.txt"
    path.write_text("寒随穷律变，春逐鸟声开。\n" * 60)
    words = ["--out", tmp_path / "run", "--max-steps", 12, "--sample-every", 5, *TINY]
    process = start("train", path, *words, env=os.environ | {"PYTHONIOENCODING": "ascii"})
    out, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    assert b"\\u" in out


def test_what_cannot_change_on_resume(cli, run_folder):
    outcome = cli("train", "--resume", "--out", run_folder, "--hidden-size", 25)
    assert outcome.code == 2
    assert "--hidden-size 25: this run has 24" in outcome.err


def test_an_older_save_can_be_gone_on_from(cli, text_file, tmp_path):
    words = ["--max-steps", 60, "--save-every", 0, "--keep", 3, *TINY]
    assert cli("train", text_file, "--out", tmp_path, *words).code == 0
    (tmp_path / "last.npz").write_bytes(b"PK")
    broken = cli("train", "--resume", "--out", tmp_path)
    assert broken.code == 2
    command = re.search(r"The newest good save is step-59.npz: charrnn (.*)$", broken.err)
    outcome = cli(*command[1].split())
    assert outcome.code == 0
    assert "; 60 steps in" in outcome.out
    assert "give both" in cli("train", text_file, "--from", "step-59.npz").err
    assert "--from ../x: " in cli("train", "--resume", "--out", tmp_path, "--from", "../x").err


def test_weights_of_another_run(cli, run_folder, tmp_path):
    text = tmp_path / "other.txt"
    text.write_text("Who asked, Fox? " * 60)
    words = ["train", text, "--init-from", run_folder, "--max-steps", 2, "--seq-length", 8]
    outcome = cli(*words, "--out", tmp_path / "run")
    assert outcome.code == 0
    assert f"9 of 13 characters known to {run_folder}; 4 start afresh" in outcome.out
    assert charrnn.load(tmp_path / "run").hidden_size == 24
    other_size = cli(*words, "--out", tmp_path / "b", "--hidden-size", 25)
    assert other_size.code == 2
    assert f"--hidden-size 25: {run_folder} has 24" in other_size.err
    both = cli("train", "--resume", "--out", tmp_path / "run", "--init-from", run_folder)
    assert "give one of the two" in both.err


@pytest.mark.skipif(os.name != "posix", reason="signals")
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_saves_and_says_how_to_go_on(text_file, tmp_path, number, code):
    out = tmp_path / "run"
    process = start("train", text_file, "--out", out, "--epochs", 100_000, "--log-every", 1, *TINY)
    while not (out / "metrics.jsonl").exists():
        time.sleep(0.05)
    process.send_signal(number)
    stdout, stderr = process.communicate(timeout=60)
    assert process.returncode == code, stderr
    assert f"charrnn train --resume --out {out}" in stdout.decode()
    assert b"Traceback" not in stderr
    assert charrnn.load(out, "last").hidden_size == 24


def test_gradcheck_of_the_network_to_be_trained(cli, text_file, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    outcome = cli("train", text_file, "--gradcheck", *TINY)
    assert outcome.code == 0
    assert "T = 16, B = 4, H = 24, V = 20" in outcome.out
    assert list(tmp_path.iterdir()) == []


# -- gradcheck --------------------------------------------------------------------------------------


@pytest.mark.parametrize(("method", "limit"), [("complex", 1e-13), ("central", 1e-6)])
def test_gradcheck_prints_a_table(cli, method, limit):
    outcome = cli("gradcheck", "--method", method)
    assert outcome.code == 0
    rows = re.findall(ROW, outcome.out, re.M)
    assert [row[0] for row in rows] == ["W_ax", "W_aa", "b_a", "W_ya", "b_y", "x", "a0"]
    assert {row[-1] for row in rows} == {"ok"}
    assert max(float(row[4]) for row in rows) < limit


# -- sample -----------------------------------------------------------------------------------------


def test_sample_writes_the_text_and_nothing_else(cli, run_folder):
    outcome = cli("sample", run_folder, "--prime", "the fox", "--length", 50, "--seed", 1)
    assert outcome.err == ""
    assert outcome.out == charrnn.load(run_folder).sample("the fox", length=50, seed=1)


def test_several_samples_are_a_line_each(cli, run_folder):
    outcome = cli("sample", run_folder, "--num-samples", 5, "--length", 20, "--stop", "\n", "--prime", "the")
    assert len(outcome.out.splitlines()) == 5
    assert all(line.startswith("the") for line in outcome.out.splitlines())


def test_the_prime_text_from_a_file_and_from_standard_input(cli, run_folder, tmp_path):
    (tmp_path / "prime.txt").write_text("the hen")
    assert cli("sample", run_folder, "--prime", f"@{tmp_path / 'prime.txt'}", "--length", 0).out == "the hen"
    process = start("sample", run_folder, "--prime", "-", "--length", 0, stdin=subprocess.PIPE)
    assert process.communicate(b"the fox")[0] == b"the fox"


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


# -- eval -------------------------------------------------------------------------------------------


def test_eval_scores_the_part_asked_for(cli, run_folder, text_file):
    result = json.loads(cli("eval", run_folder, "--json").out)
    assert result["split"] == "val"
    tokens = charrnn.Corpus.from_files(text_file).split(0.05, 0.05).val
    assert result["loss"] == charrnn.evaluate(charrnn.load(run_folder), tokens).loss
    assert result["characters"] == len(tokens) - 1
    everything = json.loads(cli("eval", run_folder, "--split", "all", "--json").out)
    assert everything["characters"] == len(PROVERB) * 40 - 1
    line = cli("eval", run_folder, "--split", "test").out
    assert re.fullmatch(
        r"proverb, test, 145 characters: \d\.\d{4} nats \(\d\.\d{4} bits\) per character, "
        r"perplexity \d+\.\d{3}, accuracy \d+\.\d\d%\n",
        line,
    )


def test_eval_of_another_text(cli, run_folder, tmp_path):
    other = tmp_path / "other.txt"
    other.write_text("the hen who knew")
    result = json.loads(cli("eval", run_folder, other, "--json").out)
    assert (result["corpus"], result["split"], result["characters"]) == ("other", "all", 15)
    other.write_text("the hen who knew 7")
    assert "'7' (U+0037)" in cli("eval", run_folder, other).err
    dropped = json.loads(cli("eval", run_folder, other, "--ignore-unknown", "--json").out)
    assert dropped["characters"] == 16


# -- bad input: one or two clear lines, exit code 2, nothing lost -----------------------------------


def bad_text(tmp_path, content):
    path = tmp_path / "bad.txt"
    path.write_bytes(content)
    return path


@pytest.mark.parametrize(
    ("content", "words", "message"),
    [
        (b"", [], r"bad.txt: the text is empty"),
        (b"\xef\xbb\xbf", [], r"bad.txt: the text is empty"),
        (b"aaaa", [], r"one character, 'a', 4 times"),
        (b"aaaa", ["--bytes"], r"one character, b'a', 4 times"),
        (b"ab" * 10, [], r"the training part has 18 characters; one window needs 65 .* Lower --seq-length"),
        (b"abc\xff", [], r"bad.txt: not utf-8: byte 0xff at offset 3 .* --encoding, or use --bytes"),
        (b"abc" * 99, ["--encoding", "klingon"], r"--encoding: 'klingon' is not a text encoding"),
        (b"abc" * 99, ["--hidden-size", "-1"], r"--hidden-size -1: should be greater than or equal to 1"),
        (b"abc" * 99, ["--hidden-size", "x"], r"--hidden-size x: should be a valid integer"),
        (b"abc" * 99, ["--val-fraction", "0.6", "--test-fraction", "0.5"], r"must stay below 1"),
        (b"abc" * 99, ["--optimizer", "magic"], r"invalid choice: 'magic'"),
        (b"abc" * 99, ["--hiden-size", "3"], r"unknown argument --hiden-size; did you mean --hidden-size\?"),
        (b"abc" * 99, ["--momentum", "0.5"], r"--momentum has no effect with --optimizer adam"),
        (b"abc" * 99, ["--hidden-size", "1000000"], r"not enough memory"),
        (b"abc" * 99, ["--resume", "--overwrite"], r"not allowed with"),
        (
            b"abcd" * 999,
            ["--optimizer", "sgd", "--learning-rate", "1e38", "--clip-norm", "0", "--warmup-steps", "0"],
            r"not finite at step 1 .* Lower --learning-rate \(tried: 1e\+38, 5e\+37",
        ),
    ],
)  # fmt: skip
def test_what_cannot_be_trained_is_said(cli, tmp_path, content, words, message):
    outcome = cli("train", bad_text(tmp_path, content), "--out", tmp_path / "run", *words)
    assert outcome.code == 2
    assert re.search(message, outcome.err), outcome.err
    assert len(outcome.err.strip().splitlines()) <= 2


def test_a_batch_that_cannot_be_filled_is_shrunk(cli, tmp_path):
    path = bad_text(tmp_path, b"abc" * 60)
    outcome = cli("train", path, "--out", tmp_path / "run", "--epochs", 1, "--seq-length", 20)
    assert outcome.code == 0
    assert "--batch-size 32 shrunk to 8" in outcome.out


@pytest.mark.parametrize("words", [["train"], ["sample"], ["eval"], ["train", "--resume", "--out"]])
def test_a_name_too_long(cli, words):
    outcome = cli(*words, "x" * 300)
    assert outcome.code == 2
    assert "File name too long" in outcome.err


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full")
@pytest.mark.parametrize("words", [["sample", "RUN"], ["eval", "RUN"], ["derive"], ["--version"]])
def test_output_that_cannot_be_written(run_folder, words):
    command = [
        sys.executable,
        "-m",
        "charrnn",
        *(str(run_folder) if word == "RUN" else word for word in words),
    ]
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert done.returncode == 2
    assert "No space left" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("hiden_size = 3", r"my.toml: 'hiden_size' is not a setting; did you mean 'hidden_size'\?"),
        ("hidden_size = 0", r"my.toml: --hidden-size 0"),
        ("hidden_size 3", r"my.toml: not TOML: .*line 1"),
        ("optimizer = ['adam']", r"my.toml: --optimizer \['adam'\]: should be 'adam' or 'sgd'"),
        (None, r"my.toml: cannot be read: No such file"),
    ],
)
def test_config_files_that_are_wrong(cli, text_file, tmp_path, content, message):
    file = tmp_path / "my.toml"
    if content:
        file.write_text(content)
    outcome = cli("train", text_file, "--config", file)
    assert outcome.code == 2
    assert re.search(message, outcome.err)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--prime", "zebra Q"], r"does not know 'Q' \(U\+0051\), 'b' \(U\+0062\), 'z' .*--ignore-unknown"),
        (["--top-p", "1.5"], r"--top-p 1.5: should be less than or equal to 1"),
        (["--temperature", "-1"], r"--temperature -1: should be greater than or equal to 0"),
        (["--length", "-5"], r"--length -5"),
        (["--num-samples", "0"], r"--num-samples: 0: should be a whole number from 1"),
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


@pytest.mark.parametrize("command", ["sample", "eval"])
def test_folders_that_are_no_runs_and_files_that_are_damaged(cli, run_folder, tmp_path, command):
    for missing in (tmp_path / "nowhere", tmp_path):
        outcome = cli(command, missing)
        assert (outcome.code, outcome.out) == (2, "")
        assert "not the folder of a run" in outcome.err
    broken = tmp_path / "broken"
    shutil.copytree(run_folder, broken)
    content = (broken / "best.npz").read_bytes()
    for bad in (b"", b"PK", content[:-30], content[:200] + b"!" + content[201:]):
        (broken / "best.npz").write_bytes(bad)
        outcome = cli(command, broken)
        assert (outcome.code, outcome.out) == (2, "")
        assert "best.npz: damaged" in outcome.err
    assert cli(command, broken, "--which", "last").code == 0


def test_a_run_that_exists_is_left_alone(cli, text_file, run_folder):
    before = {path.name: path.read_bytes() for path in run_folder.iterdir()}
    outcome = cli("train", text_file, "--out", run_folder)
    assert outcome.code == 2
    assert "--resume" in outcome.err
    assert "--overwrite" in outcome.err
    assert {path.name: path.read_bytes() for path in run_folder.iterdir()} == before


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


# -- anything at all --------------------------------------------------------------------------------


def says_what_is_wrong(words):
    """Run a command: it does its work, or ends with a line or two and the exit code 2."""
    err = io.StringIO()
    with redirect_stdout(io.TextIOWrapper(io.BytesIO(), "utf-8")), redirect_stderr(err):
        code = main([str(word) for word in words])
    assert code in (0, 2)
    assert code == 0 or 1 <= len(err.getvalue().rstrip("\n").split("\n")) <= 2, err.getvalue()


VALUES = st.integers() | st.floats() | st.booleans() | st.text(max_size=5)
NAMES = [*charrnn.TrainConfig.model_fields, "self", "bytes", "glob", "x"]


@given(st.dictionaries(st.sampled_from(NAMES), VALUES, max_size=3), st.binary(max_size=50))
@hypothesis.settings(max_examples=100)
def test_any_settings_in_a_file(settings, rest):
    """Settings of any value; and those followed by any bytes. (The text's name stops what is right.)"""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "my.toml"
        lines = (f"{name} = {json.dumps(value)}\n" for name, value in settings.items())
        toml = "".join(lines).replace("NaN", "nan").replace("Infinity", "inf").encode()
        for content in (toml, toml + rest):
            file.write_bytes(content)
            says_what_is_wrong(["train", Path(folder) / "none.txt", "--config", file])


# -- help -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("command", ["train", "sample", "eval", "gradcheck", "plot"])
def test_every_command_has_help(cli, command):
    outcome = cli(command, "--help")
    assert outcome.code == 0
    assert command in cli("--help").out
    assert "%%" not in outcome.out


def test_help_gives_groups_defaults_and_every_setting(cli):
    text = cli("train", "--help").out
    for group in ("The network:", "The optimiser:", "Reading the text:"):
        assert group in text
    for name in charrnn.TrainConfig.model_fields:
        assert "--" + name.replace("_", "-") in text
    assert "state, H (default: 256)" in " ".join(text.split())


def test_a_text_behind_the_flags_is_told_where_to_stand(cli, run_folder, text_file):
    outcome = cli("eval", run_folder, "--split", "all", text_file)
    assert outcome.code == 2
    assert "all of CORPUS goes together" in outcome.err


def test_version_and_no_command(cli):
    assert re.fullmatch(r"charrnn \d+\.\d+\.\d+\n", cli("--version").out)
    assert cli().code == 2
    assert cli("trian").code == 2


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--hidden-size", 3_000_000_000], "less than or equal to 1000000"),
        (["--hidden-size", 1_000_000, "--batch-size", 1], "not enough memory"),
        (["--allow-changed-corpus"], "--allow-changed-corpus: is for --resume"),
        (["--from", "step-1.npz"], "--from: is for --resume"),
        (["\x1b]0;x\a"], "\\x1b]0;x\\x07"),
    ],
)
def test_what_cannot_be_done_is_said(cli, tmp_path, text_file, words, said, monkeypatch):
    monkeypatch.setattr("sys.stderr.isatty", lambda: True, raising=False)
    outcome = cli("train", text_file, *TINY, "--out", tmp_path / "run", *words)
    assert outcome.code == 2
    assert said in outcome.err


def test_more_between_checkpoints_than_steps_takes_no_memory(cli, tmp_path, text_file):
    words = ["--recompute-every", 10**8, "--max-steps", 1, "--out", tmp_path / "run"]
    assert cli("train", text_file, *TINY, *words).code == 0


# -- other networks -----------------------------------------------------------------------------------

NETWORKS = [
    ["--cell", "gru"],
    ["--model", "lstm", "--num_layers", 2, "--dropout", 0.25],
    ["--cell", "rnn", "--embedding-size", 6, "--num-layers", 3],
    ["--cell", "lstm", "--embedding-size", 3, "--dropout", 0.5],
]


@pytest.mark.parametrize("network", NETWORKS)
def test_any_network_goes_all_the_way(cli, text_file, tmp_path, network):
    """Checked, measured, trained, stopped, gone on with, scored, sampled from, and taken over."""
    whole, cut, other = tmp_path / "whole", tmp_path / "cut", tmp_path / "other"
    words = ["train", text_file, *network, *TINY, "--epochs", 2, "--learning-rate", 0.01]
    assert cli(*words, "--gradcheck").code == 0
    assert cli("gradcheck", text_file, *network, "--hidden-size", 2).code == 0
    bench = ["--hidden-size", 8, "--seq-length", 4, "--batch-size", 4, "--seconds", 0.01, "--threads", 1]
    assert cli("bench", text_file, *network, *bench).code == 0
    assert cli(*words, "--out", whole).code == 0
    assert cli(*words, "--out", cut, "--max-steps", 9, "--recompute-every", 5).code == 0
    gone_on = cli("train", "--resume", "--out", cut, "--max-steps", 0)
    assert gone_on.code == 0
    model = charrnn.load(whole)
    for flag, value in zip(network[::2], network[1::2], strict=True):
        name = {"--model": "cell", "--num_layers": "num_layers"}.get(flag, flag[2:].replace("-", "_"))
        if name != "dropout":
            assert getattr(model, name) == value
    score = json.loads(cli("eval", whole, "--json").out)
    assert score["loss"] == pytest.approx(charrnn.evaluate(model, parts(whole, text_file).val).loss)
    text = cli("sample", whole, "--length", 40, "--seed", 1).out
    assert text == cli("sample", whole, "--length", 40, "--seed", 1).out
    assert len(cli("sample", whole, "--length", 10, "--num-samples", 3).out.splitlines()) >= 3
    taken = cli("train", text_file, "--init-from", whole, "--out", other, "--max-steps", 1, "--seq-length", 8)
    assert taken.code == 0
    assert charrnn.load(other).form == model.form


def parts(run, text_file):
    settings = json.loads((run / "config.json").read_text())["settings"]
    return charrnn.Corpus.from_files(text_file).split(settings["val_fraction"], settings["test_fraction"])


def test_what_makes_a_network_cannot_change_on_the_way(cli, text_file, tmp_path):
    words = ["train", text_file, "--out", tmp_path, *TINY, "--max-steps", 2]
    assert cli(*words, "--cell", "gru", "--dropout", 0.2).code == 0
    for change in (["--cell", "lstm"], ["--num-layers", 2], ["--embedding-size", 4], ["--input-scale", 3.0]):
        outcome = cli("train", "--resume", "--out", tmp_path, *change)
        assert outcome.code == 2
        assert f"{change[0]} {change[1]}: this run has" in outcome.err
        assert len(outcome.err.splitlines()) <= 2
    outcome = cli("train", "--resume", "--out", tmp_path, "--max-steps", 4, "--dropout", 0.1)
    assert outcome.code == 0
    assert "--dropout 0.2 → 0.1" in outcome.out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--cell", "elman"], "invalid choice: 'elman'"),
        (["--dropout", 1], "--dropout 1: should be less than 1"),
        (["--num-layers", 0], "--num-layers 0: should be greater than or equal to 1"),
        (["--embedding-size", -1], "--embedding-size -1: should be greater than or equal to 0"),
    ],
)
def test_networks_that_are_none_are_refused(cli, text_file, words, message):
    outcome = cli("train", text_file, *words)
    assert outcome.code == 2
    assert message in outcome.err


def test_what_would_have_no_effect_is_refused(cli, run_folder, text_file, tmp_path):
    (tmp_path / "mine.py").write_text("def db_a(dz): return dz.sum((0, 1))")
    outcome = cli("derive", "--answer", tmp_path / "mine.py", "--cell", "lstm")
    assert outcome.code == 2
    assert "--cell has no effect with --answer" in outcome.err
    assert cli("derive", "--answer", tmp_path / "mine.py", "--seed", 3).code == 0
    (tmp_path / "f.toml").write_text("input_scale = 5.0")
    for words in (["--config", tmp_path / "f.toml"], ["--input-scale", 5]):
        outcome = cli("train", text_file, "--init-from", run_folder, "--out", tmp_path / "x", *words)
        assert outcome.code == 2
        assert "--input-scale has no effect with --init-from" in outcome.err


def test_another_cell_than_the_weights_are_of_is_refused(cli, text_file, run_folder, tmp_path):
    outcome = cli("train", text_file, "--init-from", run_folder, "--cell", "gru", "--out", tmp_path / "x")
    assert outcome.code == 2
    assert f"--cell gru: {run_folder} has rnn" in outcome.err
