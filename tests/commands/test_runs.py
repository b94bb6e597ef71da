"""``charrnn runs``: a line a run, whatever stands in its folder."""

import json
import math
import os
import shutil

import pytest

import charrnn
from charrnn.runs import RunFolder, listing


@pytest.fixture(scope="module")
def folder(run_folder, tmp_path_factory):
    """Runs in all states, and what is no run."""
    folder = tmp_path_factory.mktemp("runs")
    for name in ("run2", "run10", "deep/er/run", "cut", "odd"):
        shutil.copytree(run_folder, folder / name)
    corpus = charrnn.Corpus.from_text("the fox and the hen\n" * 40, "hen")
    config = charrnn.TrainConfig(
        hidden_size=8, num_layers=2, cell="gru", seq_length=8, batch_size=2, max_steps=4, val_fraction=0
    )
    charrnn.train(corpus, config, folder / "gru")
    last = folder / "cut" / "last.npz"
    last.write_bytes(last.read_bytes()[:-70])
    (folder / "odd" / "config.json").write_text('{"settings": {"cell": "rnn"}}')
    (folder / "nothing").mkdir()
    (folder / "link").symlink_to(run_folder)
    (folder / "loop").symlink_to(folder)
    return folder


def listed(cli, *words):
    outcome = cli("runs", *words, "--json")
    assert outcome.code == 0, outcome.err
    return [json.loads(line) for line in outcome.out.splitlines()]


def test_each_run_is_a_line_with_its_network_and_its_losses(cli, folder, run_folder):
    rows = {row["name"]: row for row in listed(cli, folder)}
    assert list(rows) == ["cut", "deep/er/run", "gru", "odd", "run2", "run10"]
    state = json.loads(cli("eval", run_folder, "--json").out)
    row = rows["run2"]
    assert (row["cell"], row["num_layers"], row["hidden_size"], row["vocabulary_size"]) == ("rnn", 1, 24, 20)
    assert row["best_val_loss"] == pytest.approx(state["loss"], rel=1e-6)
    assert row["bits_per_char"] == pytest.approx(row["best_val_loss"] / math.log(2))
    assert (row["state"], row["error"]) == ("finished", None)
    assert rows["gru"]["best_val_loss"] is None  # nothing was validated
    assert (rows["gru"]["state"], rows["gru"]["steps"]) == ("finished", 4)
    for name, error in (("cut", "last.npz: damaged"), ("odd", "config.json: damaged")):
        assert rows[name]["state"] == "damaged"
        assert error in rows[name]["error"]
    table = cli("runs", folder).out.splitlines()
    assert [line.split()[0] for line in table] == ["run", *rows]
    assert "1 × 24" in table[5]
    assert f"{row['best_val_loss']:.4f}" in table[5]
    assert cli("runs", folder / "run2").out.splitlines()[1].startswith("run2 ")


def test_it_sorts(cli, folder):
    for name, descending in (
        ("steps", True),
        ("best_val_loss", False),
        ("hidden_size", True),
        ("minutes", True),
    ):
        values = [row[name] for row in listed(cli, folder, "--sort", name)]
        known = [value for value in values if value is not None]
        assert known == sorted(known, reverse=descending)
        assert None not in values[: len(known)]
    assert cli("runs", folder, "--sort", "colour").code == 2


def test_a_run_that_is_being_trained_or_was_killed(cli, folder, tmp_path):
    run = tmp_path / "run"
    shutil.copytree(folder / "run2", run)
    with RunFolder(run, "resume"):
        assert listed(cli, tmp_path)[0]["state"] == "running"
    assert listed(cli, tmp_path)[0]["state"] == "finished"
    (run / ".lock").write_text("4242\n")  # of a process that was killed
    lines = (run / "metrics.jsonl").read_text().splitlines()
    (run / "metrics.jsonl").write_text("\n".join(lines[:-1]) + '\n{"step": ')
    before = {path.name: path.read_bytes() for path in run.iterdir()}
    assert listed(cli, tmp_path)[0]["state"] == "stopped"
    assert {path.name: path.read_bytes() for path in run.iterdir()} == before
    with RunFolder(run, "resume"):  # and it was not locked by looking
        pass


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="pipes with names")
@pytest.mark.parametrize("name", [".lock", "metrics.jsonl", "last.npz", "config.json"])
def test_what_stands_in_the_place_of_a_file_costs_a_line(cli, folder, tmp_path, name):
    run = tmp_path / "run"
    shutil.copytree(folder / "run2", run)
    for put in (os.mkfifo, os.mkdir, lambda path: path.symlink_to("/etc/passwd"), lambda path: path.touch()):
        path = run / name
        path.rmdir() if path.is_dir() else path.unlink()
        put(path)
        (row,) = listed(cli, tmp_path)
        assert row["state"] in ("damaged", "finished", "stopped")


def test_folders_without_runs(cli, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert "runs: no such folder" in cli("runs").err
    assert cli("runs", tmp_path).out == f"{tmp_path}: no run in this folder\n"
    assert listed(cli, tmp_path) == []
    deep = tmp_path.joinpath(*"abcdefghijklmnop")
    deep.mkdir(parents=True)
    assert listed(cli, tmp_path) == []


def test_a_folder_of_too_many_folders_is_said(cli, tmp_path, monkeypatch):
    monkeypatch.setattr(listing, "FOLDERS", 20)
    for i in range(30):
        (tmp_path / str(i)).mkdir()
    outcome = cli("runs", tmp_path)
    assert (outcome.code, "has more than 20 folders" in outcome.err) == (2, True)
