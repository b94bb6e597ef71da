import json
import sys

import pytest


def test_a_picture_of_two_runs(cli, run_folder, tmp_path):
    pytest.importorskip("matplotlib", reason="matplotlib is optional")
    out = tmp_path / "losses.png"
    assert cli("plot", run_folder, run_folder, "--out", out).code == 0
    assert out.read_bytes().startswith(b"\x89PNG")


def test_what_cannot_be_drawn_is_said(cli, run_folder, tmp_path):
    pytest.importorskip("matplotlib", reason="matplotlib is optional")
    assert "not the folder of a run" in cli("plot", tmp_path).err
    outcome = cli("plot", run_folder, "--out", tmp_path / "losses.docx")
    assert outcome.code == 2
    assert "losses.docx: cannot be written" in outcome.err
    line = {"epoch": 1, "loss": 1, "val_loss": None}
    for bad in ({"loss": "x"}, {"loss": [1]}, {"epoch": 10**400}, {"val_loss": {"a": 1}}):
        (tmp_path / "metrics.jsonl").write_text(json.dumps(line | bad))
        assert "missing or damaged" in cli("plot", tmp_path).err
    (tmp_path / "metrics.jsonl").write_text("{")
    assert "missing or damaged" in cli("plot", tmp_path).err


def test_without_matplotlib_it_says_what_to_install(cli, run_folder, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    outcome = cli("plot", run_folder)
    assert outcome.code == 2
    assert "pip install matplotlib" in outcome.err
