import json
import os
import shutil
import sys
import tracemalloc
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest

from charrnn import CharRNN, Corpus, load
from charrnn.cli import main
from charrnn.runs.curves import POINTS, read_curves
from charrnn.views.page import median_reach
from charrnn.views.plotting import (
    Beside,
    Trained,
    draw_gradients,
    draw_loss,
    draw_sheet,
    draw_weights,
    names,
)
from charrnn.views.shades import Shades, liveliest

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
    curves, notes = read_curves(run)
    assert tracemalloc.get_traced_memory()[1] < 5e6
    tracemalloc.stop()
    assert notes == []
    for curve, steps in ((curves["loss"], 1), (curves["val_loss"], 10)):
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


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs a pipe")
def test_a_pipe_or_a_device_is_written_to_and_not_replaced(cli, run_folder, tmp_path, matplotlib):
    pipe, full = tmp_path / "pipe.svg", Path("/dev/full")
    os.mkfifo(pipe)
    commands = {("plot", run_folder, "--out"): b"<?xml", ("page", run_folder, "--out"): b"<!doctype"}
    for command, beginning in (commands | {("derive", "--page"): b"<!doctype"}).items():
        with ThreadPoolExecutor() as pool:
            read = pool.submit(pipe.read_bytes)
            assert cli(*command, pipe).code == 0
            assert read.result(timeout=10).startswith(beginning)
    assert pipe.is_fifo()
    if full.is_char_device():
        (tmp_path / "full.png").symlink_to(full)
        outcome = cli("plot", run_folder, "--out", tmp_path / "full.png")
        assert outcome.code == 2
        assert "cannot be written: No space left" in outcome.err


# -- what there is to draw --------------------------------------------------------------------------


@pytest.fixture(scope="module")
def gru(tmp_path_factory):
    """A small run that follows something, on a text with quotation marks, with a test part."""
    folder = tmp_path_factory.mktemp("gru")
    (folder / "text").write_text('the fox said "who asked me twice" and went. $x_1$ <é日\n\n' * 150)
    words = ["train", folder / "text", "--cell", "gru", "--hidden-size", 16, "--num-layers", 2]
    words += ["--seq-length", 16, "--batch-size", 4, "--epochs", 3, "--out", folder / "run"]
    assert main([str(word) for word in words]) == 0
    return folder / "run"


@pytest.mark.parametrize("what", ["loss", "gradients", "units", "weights"])
@pytest.mark.parametrize("ending", ["png", "svg", "pdf"])
def test_everything_is_drawn_in_every_format(cli, gru, what, ending, tmp_path, matplotlib):
    out = tmp_path / f"picture.{ending}"
    outcome = cli("plot", gru, "--what", what, "--out", out)
    assert (outcome.code, outcome.out) == (0, f"{out}\n"), outcome.err
    assert out.read_bytes().startswith({"png": b"\x89PNG", "svg": b"<?xml", "pdf": b"%PDF"}[ending])


@pytest.mark.parametrize(("what", "name"), [(None, "losses"), ("loss", "losses"), ("gradients", "gradients")])
def test_a_picture_is_named_by_what_it_shows(cli, gru, what, name, tmp_path, monkeypatch, matplotlib):
    monkeypatch.chdir(tmp_path)
    assert cli("plot", gru, *(["--what", what] if what else [])).out == f"{name}.png\n"


def svg(cli, out, *words):
    """The words of a picture."""
    outcome = cli("plot", *words, "--out", out)
    assert outcome.code == 0, outcome.err
    root = ElementTree.parse(out).getroot()
    return [node.text for node in root.iter("{http://www.w3.org/2000/svg}text")], outcome.err


def test_losses_are_laid_beside_n_grams_and_ln_v(cli, gru, tmp_path, matplotlib):
    words, _ = svg(cli, tmp_path / "a.svg", gru, "--what", "loss")
    assert "uniform, ln V" in words
    assert any("3-gram" in word for word in words)


def test_without_the_text_of_a_run_its_losses_are_drawn_and_that_is_said(cli, run, tmp_path, matplotlib):
    (run / "tokens.bin").unlink()
    words, said = svg(cli, tmp_path / "a.svg", run, "--what", "loss")
    assert "the n-gram lines and the test loss are left out: " in said
    assert not any("gram" in word for word in words)
    for what in ("gradients", "units"):
        assert "is not found" in cli("plot", run, "--what", what).err


def test_runs_on_different_texts_have_no_n_grams_in_common(cli, run, gru, tmp_path, matplotlib):
    words, said = svg(cli, tmp_path / "a.svg", run, gru, "--what", "loss")
    assert "they are not the same for all" in said
    assert not any("gram" in word for word in words)


def test_texts_are_drawn_word_for_word_below_what_their_unit_follows(cli, gru, tmp_path, matplotlib):
    words, _ = svg(cli, tmp_path / "a.svg", gru, "--what", "units")
    first = svg(cli, tmp_path / "b.svg", gru, "--what", "units")[0]
    assert words == first
    assert (tmp_path / "a.svg").read_bytes() == (tmp_path / "b.svg").read_bytes()
    assert words[0] == "unit"
    assert {'"who', "asked", "$x_1$", "<é日↵"} <= set(words)


def test_equal_names_are_told_apart_by_the_folders_above_them(tmp_path):
    runs = [tmp_path / name for name in ("a/x/run", "b/x/run", "c/other", "a/x/run")]
    assert names(runs) == ["a/x/run", "b/x/run", "other", "a/x/run"]
    assert names([tmp_path / "a" / "run", tmp_path / "run"])[0] == "a/run"


def test_more_runs_than_colours_stay_apart(run, matplotlib):
    from matplotlib.colors import to_rgba

    curves, _ = read_curves(run)
    axes = draw_sheet([(f"run {i}", curves) for i in range(12)]).axes[0]
    lines = [line for line in axes.get_lines() if line.get_label().startswith("run ")]
    assert len({(to_rgba(line.get_color()), line.get_linestyle()) for line in lines}) == len(lines) == 12


def test_a_run_whose_lines_have_no_norm_or_rate_is_drawn(cli, run, matplotlib):
    (run / "metrics.jsonl").write_text('{"epoch": 1, "loss": 2.5, "val_loss": null}\n')
    assert cli("plot", run, "--out", run / "a.png").code == 0
    assert cli("plot", run, "--what", "loss", "--out", run / "a.png").code == 0


def test_a_large_matrix_is_thinned(monkeypatch, matplotlib):
    monkeypatch.setattr("charrnn.views.plotting.ENTRIES", 8)
    model = CharRNN(Corpus.from_text("ab").vocabulary, 12)
    figure = draw_weights([Trained("wide", {}, model, model, 16, np.zeros(0, int))])
    sizes = [axes.images[0].get_array().shape for axes in figure.axes if axes.images]
    assert sizes[:3] == [(2, 6), (6, 6), (6, 2)]


def test_the_best_point_and_the_test_loss_are_marked(run, matplotlib):
    curves, _ = read_curves(run)
    axes = draw_loss([("one", curves)], [Beside({"uniform": 3.0}, 2.5)]).axes[0]
    points = {line.get_marker(): line.get_xydata()[0].tolist() for line in axes.get_lines()}
    best = min(curves["val_loss"].points, key=lambda point: point[1])
    assert points["o"] == list(best)
    assert points["*"] == [best[0], 2.5]


def test_the_reach_is_that_of_the_start_and_of_the_best_network(gru, matplotlib):
    model, tokens = load(gru), np.tile(np.arange(20), 50)
    start = model.like()
    start.parameters.flat[:] = model.parameters.flat / 2
    curves, _ = read_curves(gru)
    axes = draw_gradients([Trained("one", curves, model, start, 16, tokens)]).axes[1]
    drawn = {line.get_linestyle(): line.get_ydata() for line in axes.get_lines()[:2]}
    for style, network in ((":", start), ("-", model)):
        np.testing.assert_array_equal(drawn[style], median_reach(network, tokens)["a"])


def test_the_liveliest_stretch_begins_a_paragraph():
    text = list("aaaa\n\nbbbb\n\ncccc")
    values = np.array([0.0] * 6 + [1, -1, 1, -1] + [0] * 6)
    shades = liveliest(Shades("unit", "", text, values, values, ("", "")), 4)
    assert "".join(shades.characters) == "bbbb"
    assert shades.values.tolist() == shades.shades.tolist() == [1, -1, 1, -1]
