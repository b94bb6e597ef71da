"""The run that comes with charrnn: named, or where none is named to sample from."""

import numpy as np
import pytest
from conftest import ROOT

import charrnn
from charrnn.errors import CharRNNError, RunError
from charrnn.npz import read_arrays, write_arrays

FOLDER = ROOT / "data" / "fables-gru"


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def test_it_is_small_and_scores_what_its_manual_says_to_the_digit(cli):
    manual = (ROOT / "data" / "README.md").read_text("utf-8")
    for split in ("val", "test"):
        said = cli("eval", "fables-gru", "--split", split)
        assert said.code == 0
        assert said.out.strip() in " ".join(manual.split())
    assert sum(path.stat().st_size for path in FOLDER.glob("*.npz")) < 400_000
    loss = charrnn.evaluate(charrnn.load("fables-gru"), charrnn.Corpus.bundled().split(0.05, 0.05).test).loss
    assert loss < 1.36  # of the network that the README trains
    assert f"{loss:.4f} nats" in said.out


def test_it_writes_text_where_no_run_is_named_and_says_whose(cli):
    drawn = cli("sample", "--seed", 1, "--length", 100)
    assert drawn.err == "fables-gru, a network that comes with charrnn, trained on the bundled fables\n"
    named = cli("sample", "fables-gru", "--seed", 1, "--length", 100)
    assert (named.out, named.err) == (drawn.out, "")
    assert drawn.out == charrnn.load("fables-gru").sample(seed=1, length=100)


@pytest.mark.parametrize(
    "words", [["look", "fables-gru"], ["page", "fables-gru"], ["export", "fables-gru", "x.json"]], ids=str
)
def test_commands_take_it_by_its_name(cli, words):
    assert cli(*words).code == 0


def test_a_folder_of_that_name_comes_first(cli, run_folder, tmp_path):
    (tmp_path / "fables-gru").symlink_to(run_folder)
    assert len(charrnn.load("fables-gru").vocabulary) == len(charrnn.load(run_folder).vocabulary)
    (tmp_path / "fables-gru").unlink()
    (tmp_path / "fables-gru").mkdir()
    with pytest.raises(RunError, match="not the folder of a run"):
        charrnn.load("fables-gru")


def test_where_it_is_not_installed_that_is_said(monkeypatch, tmp_path):
    monkeypatch.setattr("charrnn.files.__file__", str(tmp_path / "charrnn" / "files.py"))
    with pytest.raises(CharRNNError, match=r"data/fables-gru, which comes with charrnn, is missing"):
        charrnn.load("fables-gru")


def test_its_text_is_the_bundled_one_only_if_the_hash_says_so(cli, tmp_path):
    run = tmp_path / "run"
    run.mkdir()
    note = (FOLDER / "config.json").read_text()
    (run / "best.npz").write_bytes((FOLDER / "best.npz").read_bytes())
    (run / "config.json").write_text(note)
    assert cli("eval", run).code == 0
    (run / "config.json").write_text(note.replace('"sha256": "', '"sha256": "0')[:-1].replace("0" * 2, "0"))
    assert cli("eval", run).code == 2


def test_half_precision_in_a_save_becomes_single(run_folder, tmp_path):
    arrays = read_arrays(run_folder / "best.npz")
    halves = {name: a.astype(np.float16) if a.dtype == np.float32 else a for name, a in arrays.items()}
    write_arrays(tmp_path / "half.npz", halves)
    model = charrnn.load(tmp_path / "half.npz")
    assert model.dtype == np.float32
    assert np.array_equal(model.parameters["W_aa"], halves["W_aa"].astype(np.float32))
    write_arrays(tmp_path / "mixed.npz", halves | {"W_ax": arrays["W_ax"]})
    with pytest.raises(RunError, match="W_ax is of dtype float32, expected float16"):
        charrnn.load(tmp_path / "mixed.npz")
    halves["b_y"][0] = np.inf
    write_arrays(tmp_path / "inf.npz", halves)
    with pytest.raises(RunError, match="b_y has entries that are not finite"):
        charrnn.load(tmp_path / "inf.npz")
