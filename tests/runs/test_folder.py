import os
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from small import train

import charrnn
from charrnn.errors import CharRNNError, RunError
from charrnn.files import write_whole
from charrnn.npz import read_arrays, write_arrays
from charrnn.runs import Note, RunFolder, find_save, is_run, read_note


@pytest.mark.skipif(os.name != "posix", reason="links and pipes")
def test_what_leads_out_of_a_run_is_not_read_and_not_written(run_folder, corpus, tmp_path):
    run, outside = tmp_path / "run", tmp_path / "outside"
    for name in ("best.npz", "config.json"):
        shutil.copytree(run_folder, run)
        (run / name).rename(outside)
        (run / name).symlink_to(outside)
        with pytest.raises(RunError, match=rf"{name}: leads out of the run's folder"):
            (charrnn.load if name == "best.npz" else read_note)(run)
        shutil.rmtree(run)
    shutil.copytree(run_folder, run)
    outside.write_text("mine\n")
    for name in ("metrics.jsonl", ".lock"):
        (run / name).unlink()
        (run / name).symlink_to(outside)
        with pytest.raises(RunError, match="cannot be written"):
            charrnn.train(corpus, read_note(run).settings, run, resume=True)
        (run / name).unlink()
    for name in (".last.npz.new", ".config.json.new"):
        (run / name).symlink_to(outside)
        write_whole(run / name[1:-4], lambda file: file.write(b"new"))
    assert outside.read_text() == "mine\n"
    (run / "best.npz").unlink()
    os.mkfifo(run / "best.npz")  # to open it would wait for ever
    with pytest.raises(RunError, match="not a plain file"):
        charrnn.load(run)


@pytest.mark.parametrize(("name", "limit"), [("config.json", 10**6), ("best.npz", 2**34)])
def test_files_larger_than_any_run_writes_are_not_read(run_folder, tmp_path, name, limit):
    run = tmp_path / "run"
    shutil.copytree(run_folder, run)
    with (run / name).open("r+b") as file:
        file.truncate(limit + 1)  # a hole: it takes no room
    with pytest.raises(RunError, match="no more than"):
        (charrnn.load if name == "best.npz" else read_note)(run)


def test_load(run_folder, tmp_path):
    assert charrnn.load(run_folder).config.hidden_size == 24
    with pytest.raises(RunError, match="not the folder of a run"):
        charrnn.load(tmp_path)
    shutil.copy(run_folder / "config.json", tmp_path)
    with pytest.raises(RunError, match="no saved model yet"):
        charrnn.load(tmp_path)
    shutil.copy(run_folder / "last.npz", tmp_path)
    last = charrnn.load(tmp_path)  # nothing was validated: the last one is the best there is
    expected = charrnn.load(run_folder, "last")
    np.testing.assert_array_equal(last.parameters.flat, expected.parameters.flat)


# -- whose files they are ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("config.json", b'{"theme": "dark"}'),
        ("config.json", b'{"settings": {"theme": "dark"}, "corpus": {}}'),
        ("config.json", b'{"settings": 3, "corpus": {}}'),
        ("config.json", b"{ not JSON"),
        ("metrics.jsonl", b'{"accuracy": 0.9}\n'),
        ("best.npz", b"PK"),
        ("last.npz", b""),
        ("step-3.npz", b"mine"),
    ],
)
@pytest.mark.parametrize("beside_a_run", [False, True])
def test_a_file_of_another_program_makes_no_run_and_is_never_replaced(
    corpus, run_folder, tmp_path, name, content, beside_a_run
):
    if beside_a_run:
        if name != "config.json":
            return  # a damaged file of the run's own
        shutil.copytree(run_folder, tmp_path, dirs_exist_ok=True)
    (tmp_path / name).write_bytes(content)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    assert is_run(tmp_path) == beside_a_run
    config = charrnn.TrainConfig(max_steps=1)
    for how in ({}, {"overwrite": True}, {"resume": True}):
        with pytest.raises(RunError, match=r"not written by a run|no run in|is a run in|config\.json"):
            charrnn.train(corpus, config, tmp_path, **how)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before
    if not beside_a_run:
        with pytest.raises(RunError, match="not the folder of a run"):
            charrnn.load(tmp_path)


def test_a_run_that_is_half_removed_is_still_a_run(corpus, run_folder, tmp_path, monkeypatch):
    """Killed while it is overwritten: what is left can be overwritten, and does not pass for the whole."""
    original, left = Path.unlink, []

    def count(path, missing_ok=False):
        left.append(is_run(tmp_path))
        original(path, missing_ok)

    shutil.copytree(run_folder, tmp_path, dirs_exist_ok=True)
    with RunFolder(tmp_path, "overwrite") as folder:
        monkeypatch.setattr(Path, "unlink", count)
        folder._clear()
        monkeypatch.undo()
    assert len(left) >= 5
    assert all(left)
    assert {path.name for path in tmp_path.iterdir()} == {"tokens.bin"}


def test_a_folder_in_which_no_run_is_begun_is_left_as_it_was(tmp_path):
    with RunFolder(tmp_path / "a" / "b"):
        assert (tmp_path / "a" / "b" / ".lock").exists()
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "mine").mkdir()
    with pytest.raises(ZeroDivisionError), RunFolder(tmp_path / "mine"):
        raise ZeroDivisionError
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]
    assert list((tmp_path / "mine").iterdir()) == []
    with RunFolder(tmp_path / "run"):  # one that another process has put in its place is that one's
        (tmp_path / "run").rename(tmp_path / "elsewhere")
        (tmp_path / "run").mkdir()
        (tmp_path / "run" / ".lock").touch()
    assert (tmp_path / "run" / ".lock").exists()


def test_nothing_is_written_to_a_folder_that_was_replaced(run_folder, corpus, tmp_path):
    run = tmp_path / "run"
    shutil.copytree(run_folder, run)
    with RunFolder(run, "resume") as folder:
        snapshot, note = folder.load(), Note.read(run)
        folder.take_up("last.npz", snapshot.state)
        run.rename(tmp_path / "elsewhere")
        shutil.copytree(run_folder, run)
        (run / "best.npz").unlink()
        before = {path.name: path.read_bytes() for path in run.iterdir()}
        for write in (
            lambda: folder.begin(note, snapshot, corpus),
            lambda: folder.append({"step": 1}),
            lambda: folder.save(snapshot),
            lambda: folder.take_up("last.npz", snapshot.state),
            lambda: folder.go_back(snapshot),
            lambda: folder.keep_text(corpus),
            lambda: folder.write_note(note),
        ):
            with pytest.raises(RunError, match="was deleted or replaced"):
                write()
        folder.mend(snapshot.state)
        assert {path.name: path.read_bytes() for path in run.iterdir()} == before


def test_metrics_with_a_second_name_are_not_written_to(run_folder, corpus, tmp_path):
    run = tmp_path / "run"
    shutil.copytree(run_folder, run)
    (tmp_path / "mine").write_text("mine\n")
    (run / "metrics.jsonl").unlink()
    os.link(tmp_path / "mine", run / "metrics.jsonl")
    with pytest.raises(RunError, match=r"metrics.jsonl: has a second name \(a hard link\)"):
        charrnn.train(corpus, read_note(run).settings, run, resume=True)
    assert (tmp_path / "mine").read_text() == "mine\n"


@pytest.mark.parametrize(
    "step",
    [None, [3, 4], [[3]], -1, 1.0, 2**63, "3"],
    ids=str,
)
def test_a_best_model_of_a_step_that_is_none_is_made_again(run_folder, corpus, tmp_path, step):
    run = tmp_path / "run"
    shutil.copytree(run_folder, run)
    best = read_arrays(run / "best.npz")
    good = best.pop("step")
    more = {} if step is None else {"step": np.array(step)}
    write_arrays(run / "best.npz", best | more)
    charrnn.train(corpus, read_note(run).settings, run, resume=True)
    assert read_arrays(run / "best.npz")["step"] == good


def test_a_note_that_could_not_be_read_again_is_not_written(corpus, tmp_path):
    many = replace(corpus, sources=tuple(f"/{i:0100}" for i in range(10_000)))
    with pytest.raises(RunError, match=r"config.json: would be 1,\d+,\d+ bytes, for 10,000 files .*folder"):
        charrnn.train(many, charrnn.TrainConfig(max_steps=1), tmp_path / "run")
    assert not (tmp_path / "run").exists()
    with pytest.raises(charrnn.CharRNNError, match=r"corpus: .*name"):
        charrnn.train(replace(corpus, name="a\0"), charrnn.TrainConfig(max_steps=1), tmp_path / "run")


def test_a_text_left_by_a_replacement_that_was_killed_is_no_text_of_a_resumed_run(corpus, tmp_path):
    train(corpus, tmp_path, max_steps=1, val_fraction=0)
    for path in [*tmp_path.glob("*.npz")]:  # a run that ended before its first save
        path.unlink()
    own = (tmp_path / "tokens.bin").read_bytes()
    (tmp_path / ".tokens.bin.new").write_bytes(b"another's")
    train(corpus, tmp_path, max_steps=1, val_fraction=0, resume=True)
    assert (tmp_path / "tokens.bin").read_bytes() == own
    assert not (tmp_path / ".tokens.bin.new").exists()


# -- which save -------------------------------------------------------------------------------------


def test_any_save_is_loaded_by_its_name_or_its_file(run_folder):
    older = next(path for path in run_folder.iterdir() if path.name.startswith("step-"))
    for name in ("best", "last", older.stem):
        weights = read_arrays(run_folder / f"{name}.npz")["W_aa"]
        for model in (charrnn.load(run_folder, which=name), charrnn.load(str(run_folder / f"{name}.npz"))):
            np.testing.assert_array_equal(model.parameters["W_aa"], weights)
    assert find_save(run_folder) == run_folder / "best.npz"


def test_a_save_that_is_not_there_is_named_with_those_that_are(run_folder, tmp_path):
    older = next(path.stem for path in run_folder.iterdir() if path.name.startswith("step-"))
    kept = rf"no such save; .*proverb keeps {older}, best, last"
    for name in ("step-1", "bset", "", "config.json", "../proverb/best", "step-1.npz", "\0"):
        with pytest.raises(CharRNNError, match=kept):
            charrnn.load(run_folder, name)
    with pytest.raises(CharRNNError, match=rf"step-1\.npz: {kept}"):
        charrnn.load(run_folder / "step-1.npz")
    with pytest.raises(CharRNNError, match=r"here\.npz: no such save$"):
        charrnn.load(tmp_path / "here.npz")
    with pytest.raises(CharRNNError, match=r"`which` best: .*best\.npz is a save already"):
        charrnn.load(run_folder / "best.npz", "best")
    with pytest.raises(CharRNNError, match=r"config\.json: not the folder of a run"):
        charrnn.load(run_folder / "config.json")


def test_a_run_without_a_validation_gives_its_last_save_but_not_as_its_best(run_folder, tmp_path):
    run = tmp_path / "run.npz"  # a folder of that name is a folder
    shutil.copytree(run_folder, run)
    (run / "best.npz").unlink()
    assert find_save(run) == run / "last.npz"
    for words in ((run, "best"), (run / "best.npz",)):
        with pytest.raises(CharRNNError, match="no such save"):
            charrnn.load(*words)
