import json
import os
import shutil
import sys
import tracemalloc

import pytest

from charrnn.views.plotting import POINTS, read_losses

LINE = {"step": 1, "epoch": 1, "loss": 1, "val_loss": None, "grad_norm": 0.1}


@pytest.fixture
def run(run_folder, tmp_path):
    return shutil.copytree(run_folder, tmp_path / "run")


@pytest.fixture
def matplotlib():
    return pytest.importorskip("matplotlib", reason="matplotlib is optional")


def test_a_picture_of_two_runs(cli, run_folder, tmp_path, matplotlib):
    out = tmp_path / "losses.png"
    assert cli("plot", run_folder, run_folder, "--out", out).code == 0
    assert out.read_bytes().startswith(b"\x89PNG")


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("name", ["a$\\frac{$", "_hidden", "\u5bd2", "\x1b[31m", os.fsdecode(b"\xff")])
def test_a_run_of_any_name_is_drawn(cli, run, name, matplotlib):
    outcome = cli("plot", run.rename(run.parent / name), "--out", run.parent / "losses.png")
    assert (outcome.code, outcome.err) == (0, "")


def test_what_cannot_be_drawn_is_said(cli, run_folder, tmp_path, matplotlib):
    assert "not the folder of a run" in cli("plot", tmp_path).err
    outcome = cli("plot", run_folder, "--out", tmp_path / "losses.docx")
    assert outcome.code == 2
    assert "losses.docx: cannot be written" in outcome.err


def test_a_picture_that_needs_latex_is_refused_without_it(cli, run_folder, tmp_path, monkeypatch, matplotlib):
    monkeypatch.setenv("PATH", str(tmp_path))
    outcome = cli("plot", run_folder, "--out", tmp_path / "losses.pgf")
    assert outcome.code == 2
    assert "losses.pgf: cannot be written" in outcome.err


@pytest.mark.parametrize("bad", [{"loss": "x"}, {"loss": [1]}, {"epoch": 10**400}, {"val_loss": {"a": 1}}])
def test_a_run_without_a_line_that_can_be_drawn_is_refused(cli, run, bad):
    for text in (
        json.dumps(LINE | bad),
        "{",
        "",
        "[" * 100_000,
        "NaN",
        '{"epoch": 1, "loss": NaN, "val_loss": 1}',
    ):
        (run / "metrics.jsonl").write_text(text)
        outcome = cli("plot", run)
        assert outcome.code == 2
        assert "metrics.jsonl: missing or damaged" in outcome.err
    (run / "metrics.jsonl").unlink()
    assert "metrics.jsonl: cannot be read" in cli("plot", run).err


def test_what_stands_before_a_damaged_line_is_drawn(cli, run, matplotlib):
    whole = (run / "metrics.jsonl").read_bytes()
    count = whole.count(b"\n")
    for tail, noted in (
        (b'{"step": 9, "ep', False),
        (b"\0\0\n", True),
        (b"x" * 10_000 + b"\n", True),
        (b"[]\n{", True),
    ):
        (run / "metrics.jsonl").write_bytes(whole + tail)
        outcome = cli("plot", run, "--out", run / "losses.png")
        note = f"{run / 'metrics.jsonl'}: line {count + 1} is damaged; what stands before it is drawn\n"
        assert (outcome.code, outcome.err) == (0, note if noted else "")


def test_a_long_run_is_thinned_in_a_fixed_memory(run):
    """Sixty thousand lines: every sixteenth, the first and nearly the last among them."""
    with (run / "metrics.jsonl").open("w") as file:
        for step in range(60_000):
            file.write(f'{{"epoch": {step}, "loss": {step % 7}, "val_loss": {"null" if step % 10 else 1}}}\n')
    tracemalloc.start()
    train, val, notes = read_losses(run)
    assert tracemalloc.get_traced_memory()[1] < 5e6
    tracemalloc.stop()
    assert notes == []
    for curve, steps in ((train, 1), (val, 10)):
        assert POINTS / 2 <= len(curve.points) < POINTS
        every = curve.points[1][0]
        assert [x for x, _ in curve.points] == [i * every for i in range(len(curve.points))]
        assert 60_000 - every <= curve.points[-1][0] < 60_000
        assert every % steps == 0


def test_without_matplotlib_it_says_what_to_install(cli, run_folder, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    outcome = cli("plot", run_folder)
    assert outcome.code == 2
    assert "pip install matplotlib" in outcome.err
