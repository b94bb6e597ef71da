import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import hypothesis
import pytest
from conftest import ROOT, TINY, says_what_is_wrong, start
from hypothesis import given
from hypothesis import strategies as st

import charrnn


def test_train_says_how_it_went(cli, text_file, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    outcome = cli("train", text_file, "--out", "run", "--epochs", 2, "--sample-every", 20, *TINY)
    assert outcome.code == 0
    assert max(map(len, outcome.out.splitlines())) <= 80
    assert "proverb: 2,920 characters, 20 distinct" in outcome.out
    assert len(re.findall(r"^epoch +\d\.\d\d  step .*train .*val .*bits", outcome.out, re.M)) == 2
    assert "    | " in outcome.out  # a sample on the way
    assert re.search(
        r"^best validation  \d\.\d{4} nats .*\ntest +\d\.\d{4} nats .*\n\d+ steps in", outcome.out, re.M
    )
    more = re.search(r"^More of it: charrnn (.*)$", outcome.out, re.M)
    assert cli(*more[1].split(), "--length", 10).code == 0


def test_a_signal_before_the_run_begins_promises_nothing_to_resume(cli, text_file, tmp_path, monkeypatch):
    monkeypatch.setattr("charrnn.commands.train.Bar", lambda **_: os.kill(os.getpid(), signal.SIGTERM))
    outcome = cli("train", text_file, "--out", tmp_path / "run", *TINY)
    assert outcome.code == 128 + signal.SIGTERM
    assert outcome.err == "charrnn train: stopped before training began\n"
    assert "--resume" not in outcome.out


def test_a_run_is_named_after_its_text_or_the_bundled_one(cli, text_file, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert cli("train", text_file, "--max-steps", 2, *TINY).code == 0
    assert Path("runs/proverb/last.npz").exists()
    outcome = cli("train", "--max-steps", 1, *TINY)
    assert outcome.code == 0
    assert "fables" in outcome.out
    assert cli("eval", "runs/fables").code == 0


def test_train_py_is_the_same_command_and_names_the_others_as_they_are_started(text_file, tmp_path):
    words = [sys.executable, ROOT / "train.py", text_file, "--out", tmp_path / "run", "--max_steps=2", *TINY]
    done = subprocess.run([str(word) for word in words], check=True, capture_output=True, cwd=ROOT)
    assert f"More of it: {sys.executable} -m charrnn sample {tmp_path / 'run'}\n" in done.stdout.decode()
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
    assert re.search(r"^60 steps in", outcome.out, re.M)
    assert not re.search(r"step +30,", outcome.out)
    assert cli("sample", "a", "--seed", 1).out  # a cosine that was planned for 30 steps is not that for 60


@pytest.mark.skipif(os.name != "posix", reason="pipes")
def test_a_terminal_that_goes_away_loses_nothing(text_file, tmp_path):
    words = ["--epochs", 100_000, "--sample-every", 50, "--eval-every", 0, *TINY]
    process = start("train", text_file, "--out", tmp_path / "run", *words)
    lines = iter(process.stdout.readline, b"")
    assert any(b"6-gram" in line for line in lines)  # the end of what is said before training
    process.stdout.close()
    assert process.wait(timeout=60) == 141
    assert b"Traceback" not in process.stderr.read()
    process.stderr.close()
    assert charrnn.load(tmp_path / "run").config.hidden_size == 24


@pytest.mark.skipif(os.name != "posix", reason="terminals")
@pytest.mark.usefixtures("usual_hangup")
def test_a_terminal_that_is_closed_is_a_signal_and_loses_nothing(text_file, tmp_path):
    import pty

    ours, theirs = pty.openpty()
    words = ["train", text_file, "--out", tmp_path / "run", "--epochs", 100_000, "--log-every", 1, *TINY]
    process = start(*words, stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True)
    os.close(theirs)
    while not (tmp_path / "run" / "metrics.jsonl").exists():
        os.read(ours, 1000)
    os.close(ours)
    process.send_signal(signal.SIGHUP)
    assert process.wait(timeout=60) in (129, 2)
    assert charrnn.load(tmp_path / "run", "last").config.hidden_size == 24


def test_a_terminal_that_cannot_show_a_character_is_no_reason_to_stop(tmp_path):
    path = tmp_path / "zh.txt"
    path.write_text("寒随穷律变，春逐鸟声开。\n" * 60)
    words = ["--out", tmp_path / "run", "--max-steps", 12, "--sample-every", 5, *TINY]
    process = start("train", path, *words, env={"PYTHONIOENCODING": "ascii"})
    out, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    assert b"\\u" in out


def test_an_older_save_can_be_gone_on_from(cli, text_file, tmp_path):
    words = ["--max-steps", 60, "--save-every", 0, "--keep", 3, *TINY]
    assert cli("train", text_file, "--out", tmp_path, *words).code == 0
    (tmp_path / "last.npz").write_bytes(b"PK")
    broken = cli("train", "--resume", "--out", tmp_path)
    assert broken.code == 2
    command = re.search(r"The newest good save is step-59.npz: charrnn (.*)$", broken.err)
    outcome = cli(*command[1].split())
    assert outcome.code == 0
    assert "\n60 steps in" in outcome.out
    assert "--from ../x: " in cli("train", "--resume", "--out", tmp_path, "--from", "../x").err


def test_weights_of_another_run(cli, run_folder, tmp_path):
    text = tmp_path / "other.txt"
    text.write_text("Who asked, Fox? " * 60)
    words = ["train", text, "--init-from", run_folder, "--max-steps", 2, "--seq-length", 8]
    outcome = cli(*words, "--out", tmp_path / "run")
    assert outcome.code == 0
    assert f"9 of 13 characters known to {run_folder}; 4 start afresh" in outcome.out
    assert charrnn.load(tmp_path / "run").config.hidden_size == 24
    other_size = cli(*words, "--out", tmp_path / "b", "--hidden-size", 25)
    assert other_size.code == 2
    assert f"--hidden-size 25: {run_folder} has 24" in other_size.err
    other_cell = cli(*words, "--out", tmp_path / "b", "--cell", "gru")
    assert f"--cell gru: {run_folder} has rnn" in other_cell.err
    both = cli("train", "--resume", "--out", tmp_path / "run", "--init-from", run_folder)
    assert "give one of the two" in both.err
    (tmp_path / "f.toml").write_text("input_scale = 5.0")
    for scale in (["--config", tmp_path / "f.toml"], ["--input-scale", 5]):
        outcome = cli(*words, "--out", tmp_path / "b", *scale)
        assert outcome.code == 2
        assert "--input-scale has no effect with --init-from" in outcome.err


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
    assert f"To resume: {sys.executable} -m charrnn train --resume --out {out}\n" in stdout.decode()
    assert b"Traceback" not in stderr
    assert charrnn.load(out, "last").config.hidden_size == 24


def test_gradcheck_of_the_network_to_be_trained(cli, text_file, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    outcome = cli("train", text_file, "--gradcheck", *TINY)
    assert outcome.code == 0
    assert "T = 16, B = 4, H = 24, V = 20" in outcome.out
    assert list(tmp_path.iterdir()) == []


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
        (b"abc" * 99, ["--hidden-size", "3000000000"], r"less than or equal to 1000000"),
        (b"abc" * 99, ["--num-layers", "0"], r"--num-layers 0: should be greater than or equal to 1"),
        (b"abc" * 99, ["--embedding-size", "-1"], r"--embedding-size -1: should be greater than"),
        (b"abc" * 99, ["--dropout", "1"], r"--dropout 1: should be less than 1"),
        (b"abc" * 99, ["--cell", "elman"], r"--cell elman: should be 'rnn', 'gru' or 'lstm'"),
        (b"abc" * 99, ["--allow-changed-corpus"], r"--allow-changed-corpus: is for --resume"),
        (b"abc" * 99, ["--from", "step-1.npz"], r"--from: is for --resume: give both"),
        (b"abc" * 99, ["--val-fraction", "0.6", "--test-fraction", "0.5"], r"must stay below 1"),
        (b"abc" * 99, ["--optimizer", "magic"], r"--optimizer magic: should be 'adam' or 'sgd'"),
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


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("hiden_size = 3", r"my.toml: 'hiden_size' is not a setting; did you mean 'hidden_size'\?"),
        ("hidden_size = 0", r"my.toml: --hidden-size 0"),
        ("hidden_size 3", r"my.toml: not TOML: .*line 1"),
        ("optimizer = ['adam']", r"my.toml: --optimizer \['adam'\]: should be 'adam' or 'sgd'"),
        ("seed = " + "9" * 5000, r"my.toml: not TOML: "),
        ("#" * (10**6 + 1), r"my.toml: larger than 1 MB"),
        (None, r"my.toml: cannot be read: No such file"),
        (Path("/dev/zero"), r"my.toml: a folder or a device; expected a file or a pipe"),
        (Path("/"), r"my.toml: a folder or a device"),
    ],
)
def test_config_files_that_are_wrong(cli, text_file, tmp_path, content, message):
    file = tmp_path / "my.toml"
    if isinstance(content, str):
        file.write_text(content)
    elif content:
        file.symlink_to(content)
    outcome = cli("train", text_file, "--config", file)
    assert outcome.code == 2
    assert re.search(message, outcome.err)


def test_a_run_that_exists_is_left_alone(cli, text_file, run_folder):
    before = {path.name: path.read_bytes() for path in run_folder.iterdir()}
    outcome = cli("train", text_file, "--out", run_folder)
    assert outcome.code == 2
    assert "--resume" in outcome.err
    assert "--overwrite" in outcome.err
    assert {path.name: path.read_bytes() for path in run_folder.iterdir()} == before


VALUES = st.integers() | st.floats() | st.booleans() | st.text(max_size=5)
VALUES |= st.sampled_from([10**18, 10**400, "9" * 400, "\0", "x y" * 10_000])
NAMES = [*charrnn.TrainConfig.model_fields, "self", "bytes", "glob", "cache_dir", "x"]


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
            said = says_what_is_wrong("train", Path(folder) / "none.txt", "--config", file)
            assert "x y" * 67 not in said


def test_more_steps_between_kept_activations_than_there_are_takes_no_memory(cli, tmp_path, text_file):
    words = ["--recompute-every", 10**8, "--max-steps", 1, "--out", tmp_path / "run"]
    assert cli("train", text_file, *TINY, *words).code == 0


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
            assert getattr(model.config, name) == value
    score = json.loads(cli("eval", whole, "--json").out)
    assert score["loss"] == pytest.approx(charrnn.evaluate(model, parts(whole, text_file).val).loss)
    text = cli("sample", whole, "--length", 40, "--seed", 1).out
    assert text == cli("sample", whole, "--length", 40, "--seed", 1).out
    assert len(cli("sample", whole, "--length", 10, "--num-samples", 3).out.splitlines()) >= 3
    taken = cli("train", text_file, "--init-from", whole, "--out", other, "--max-steps", 1, "--seq-length", 8)
    assert taken.code == 0
    assert charrnn.load(other).parameters.shapes == model.parameters.shapes


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
        assert len(outcome.err.splitlines()) == 2  # the first says where the text is from
    outcome = cli("train", "--resume", "--out", tmp_path, "--max-steps", 4, "--dropout", 0.1)
    assert outcome.code == 0
    assert "--dropout 0.2 → 0.1" in outcome.out


def test_a_run_that_is_not_replaced_after_all_keeps_its_text(cli, text_file, tmp_path):
    out, tiny = tmp_path / "run", tmp_path / "tiny.txt"
    tiny.write_text("ab")
    assert cli("train", text_file, "--out", out, "--max-steps", 1, *TINY).code == 0
    before = {path.name: path.read_bytes() for path in out.iterdir()}
    assert cli("train", tiny, "--out", out, "--overwrite").code == 2
    assert {path.name: path.read_bytes() for path in out.iterdir()} == before
    tiny.write_text("another text, of another few characters. " * 9)
    assert cli("train", tiny, "--out", out, "--overwrite", "--max-steps", 1, *TINY).code == 0
    assert cli("eval", out).code == 0
    assert not [path for path in out.iterdir() if path.name.endswith(".new")]
