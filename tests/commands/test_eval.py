import json
import re
import shutil

import numpy as np
import pytest
from conftest import PROVERB

import charrnn
from charrnn.npz import read_arrays, write_arrays


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


def test_a_perplexity_beyond_all_numbers_is_null_in_json(cli, run_folder, tmp_path):
    run = shutil.copytree(run_folder, tmp_path / "run")
    arrays = read_arrays(run / "best.npz")
    b_y = np.zeros_like(arrays["b_y"])
    b_y[0] = 1e6
    write_arrays(run / "best.npz", arrays | {"b_y": b_y})
    result = json.loads(cli("eval", run, "--json").out, parse_constant=pytest.fail)
    assert result["loss"] > 1e5
    assert result["perplexity"] is None


def test_eval_of_another_text(cli, run_folder, tmp_path):
    other = tmp_path / "other.txt"
    other.write_text("the hen who knew")
    result = json.loads(cli("eval", run_folder, other, "--json").out)
    assert (result["corpus"], result["split"], result["characters"]) == ("other", "all", 15)
    other.write_text("the hen who knew 7")
    assert "'7' (U+0037)" in cli("eval", run_folder, other).err
    outcome = cli("eval", run_folder, other, "--ignore-unknown", "--json")
    assert "1 characters dropped, 1 distinct, which the vocabulary lacks: '7' (U+0037) 1" in outcome.err
    result = json.loads(outcome.out)
    assert result["characters"] == 16
    assert result["dropped"] == {"characters": 1, "distinct": 1, "first": {"7": 1}}
    assert "dropped" not in json.loads(cli("eval", run_folder, "--ignore-unknown", "--json").out)


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


def test_scores_by_line_and_by_character(cli, run_folder, tmp_path):
    text, model = "the hen\n\nthe fox who knew", charrnn.load(run_folder)
    (tmp_path / "other.txt").write_text(text)
    rows = cli("eval", run_folder, tmp_path / "other.txt", "--by", "line", "--json").out.splitlines()
    rows, lines = list(map(json.loads, rows)), text.splitlines(keepends=True)
    assert [row["text"] for row in rows] == lines
    assert [row["index"] for row in rows] == [0, 1, 2]
    assert [row["characters"] for row in rows] == [len(line) - 1 for line in lines]
    assert rows[1]["bits_per_char"] is None
    scores = charrnn.score_lines(model, lines)
    assert [row["nats"] for row in rows] == [score.nats for score in scores]
    table = cli("eval", run_folder, tmp_path / "other.txt", "--by", "line").out.splitlines()
    assert len(table) == 4
    assert table[1].endswith(r"  the hen\n")
    rows = cli("eval", run_folder, tmp_path / "other.txt", "--by", "character", "--json").out.splitlines()
    rows = list(map(json.loads, rows))
    assert "".join(row["text"] for row in rows) == text[1:]
    whole = json.loads(cli("eval", run_folder, tmp_path / "other.txt", "--json").out)
    assert sum(row["nats"] for row in rows) == pytest.approx(whole["loss"] * whole["characters"], rel=1e-5)


def test_a_dynamic_score_stands_beside_the_static_one_and_changes_nothing(cli, run_folder):
    before = {path: path.read_bytes() for path in run_folder.iterdir() if path.is_file()}
    static, both = (cli("eval", run_folder, *words).out for words in ([], ["--dynamic", 0.1]))
    assert both.startswith(static)
    assert re.fullmatch(
        r"dynamic, learning on the text once it is scored, at a rate of 0.1: \d\.\d{4} nats "
        r"\(\d\.\d{4} bits\) per character\n",
        both.removeprefix(static),
    )
    found = json.loads(cli("eval", run_folder, "--dynamic", 0.1, "--json").out)
    plain = json.loads(cli("eval", run_folder, "--json").out)
    assert found.pop("dynamic") == {"learning_rate": 0.1, "loss": pytest.approx(plain["loss"], abs=0.1)}
    assert found == plain
    assert before == {path: path.read_bytes() for path in run_folder.iterdir() if path.is_file()}


def test_scores_that_cannot_be_printed(cli, run_folder):
    for words, message in [
        (["--by", "line", "--baselines"], "--baselines has no effect with --by line"),
        (["--by", "word"], "--by word: should be"),
        (["--by", "line", "--dynamic", 0.1], "--dynamic has no effect with --by line"),
        (["--dynamic", 0], "--dynamic 0: should be greater than 0"),
        (["--dynamic", "nan"], "--dynamic nan: should be a finite number"),
        (["--dynamic", 1e38], "--dynamic 1e+38: the loss is no longer finite after"),
    ]:
        outcome = cli("eval", run_folder, *words)
        assert (outcome.code, outcome.out) == (2, "")
        assert message in outcome.err
