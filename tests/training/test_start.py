import json
import os
import shutil
import tempfile
from contextlib import suppress
from pathlib import Path

import hypothesis
import numpy as np
import pytest
from conftest import PROVERB, assert_same_run, metrics, position
from hypothesis import given
from hypothesis import strategies as st
from small import SETTINGS, Signal, Spy, note_of, train

import charrnn
from charrnn import files, npz
from charrnn.errors import Interrupted, RunError
from charrnn.npz import read_arrays, write_arrays
from charrnn.runs import note, read_note
from charrnn.training import Progress, shards


def test_what_a_run_leaves_on_disk(corpus, finished):
    run = finished.path
    files = [".lock", "best.npz", "config.json", "last.npz", "metrics.jsonl", "step-82.npz", "tokens.bin"]
    assert sorted(path.name for path in run.iterdir()) == files
    note = note_of(run / "config.json")
    assert charrnn.TrainConfig(**note["settings"]).hidden_size == 16
    assert note["corpus"]["name"] == "proverb"
    assert note["corpus"]["size"] == corpus.size
    assert note["corpus"]["sha256"] == corpus.sha256
    assert note["versions"]["numpy"] == np.__version__
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == list(range(1, finished.steps + 1))
    assert set(lines[0]) == {
        "step", "epoch", "loss", "val_loss", "grad_norm", "learning_rate", "chars_per_second", "elapsed"
    }  # fmt: skip
    assert lines[-1]["epoch"] == 3


def test_a_run_ended_in_its_first_steps_resumes_from_the_start(corpus, finished, tmp_path):
    with pytest.raises(KeyboardInterrupt):
        train(corpus, tmp_path, progress=Signal(3, times=2))
    assert position(tmp_path)["step"] == 0
    train(corpus, tmp_path, resume=True)
    assert_same_run(tmp_path, finished.path)
    for path in [*tmp_path.glob("*.npz"), tmp_path / "metrics.jsonl"]:  # killed when it had just begun
        path.unlink()
    train(corpus, tmp_path, resume=True)
    assert_same_run(tmp_path, finished.path)


def test_a_run_whose_last_state_is_gone_is_not_thrown_away(corpus, tmp_path):
    train(corpus, tmp_path, epochs=1, keep=1, max_rollbacks=0)
    (tmp_path / "last.npz").unlink()
    best = (tmp_path / "best.npz").read_bytes()
    with pytest.raises(RunError, match=r"last.npz: missing.*`overwrite`"):
        train(corpus, tmp_path, epochs=1, resume=True)
    assert (tmp_path / "best.npz").read_bytes() == best


def test_more_epochs_can_be_had(corpus, tmp_path):
    train(corpus, tmp_path, epochs=1)
    spy = Spy()
    train(corpus, tmp_path, epochs=1, resume=True, progress=spy)
    assert "is complete" in spy.said[0]
    result = train(corpus, tmp_path, epochs=2, resume=True, learning_rate=0.003)
    assert metrics(tmp_path)[-1]["epoch"] == 2
    assert note_of(tmp_path / "config.json")["settings"]["epochs"] == 2
    assert result.steps == len(metrics(tmp_path))


@pytest.mark.parametrize(
    ("changes", "message"),
    [({"hidden_size": 17}, "`hidden_size` 17: this run has 16"), ({"seed": 4}, "`seed` 4: this run has 0")],
)
def test_what_makes_a_run_cannot_change(corpus, finished, changes, message):
    with pytest.raises(RunError, match=message):
        train(corpus, finished.path, resume=True, **changes)


def test_what_is_noted_of_the_text_outlives_a_resume(tmp_path):
    """How it was read, above all: without that the run could not be resumed again, or evaluated."""
    (tmp_path / "text.md").write_bytes(("naïve " + PROVERB).encode("latin-1") * 40)
    corpus = charrnn.Corpus.from_files(
        tmp_path, encoding="latin-1", glob="*.md", min_count=2, normalize="nfc"
    )
    train(corpus, tmp_path / "run", epochs=1)
    before = note_of(tmp_path / "run" / "config.json")["corpus"]
    tokens, reading = tmp_path / "run" / "tokens.bin", corpus.reading
    kept = charrnn.Corpus.from_cache(tokens, corpus.name, corpus.sha256, corpus.size, reading)
    train(kept, tmp_path / "run", epochs=2, resume=True)
    assert note_of(tmp_path / "run" / "config.json")["corpus"] == before
    names = "sources", "encoding", "glob", "newlines", "normalize", "min_count"
    assert [before[name] for name in names] == [[".."], "iso8859-1", ["*.md"], "lf", "nfc", 2]


@pytest.mark.parametrize(
    "change", [{"cell": "gru"}, {"num_layers": 2}, {"hidden_size": 10**6, "num_layers": 100}]
)
def test_settings_of_another_network_than_was_saved_are_refused(corpus, finished, tmp_path, change):
    shutil.copytree(finished.path, tmp_path / "run")
    edit_settings(tmp_path / "run", **change)
    arrays = read_arrays(tmp_path / "run" / "last.npz")
    del arrays["settings"]  # as of an older version, so that there is nothing to compare with
    write_arrays(tmp_path / "run" / "last.npz", arrays)
    with pytest.raises(RunError, match="another network than the settings describe"):
        train(corpus, tmp_path / "run", resume=True, **change)


def test_another_text_is_noticed(finished):
    with pytest.raises(RunError, match="another text"):
        train(charrnn.Corpus.from_text("something else entirely " * 90), finished.path, resume=True)


def test_a_run_is_not_overwritten_by_accident(corpus, finished, tmp_path):
    before = (finished.path / "last.npz").read_bytes()
    with pytest.raises(RunError, match=r"`resume`.*`overwrite`"):
        train(corpus, finished.path)
    assert (finished.path / "last.npz").read_bytes() == before
    with pytest.raises(RunError, match="no run in this folder"):
        train(corpus, tmp_path, resume=True)
    train(corpus, tmp_path, max_steps=3)
    charrnn.train(corpus, charrnn.TrainConfig(**SETTINGS), tmp_path, overwrite=True)
    assert_same_run(tmp_path, finished.path)


@pytest.mark.parametrize("name", ["last.npz", "config.json"])
def test_damage_is_noticed_on_resume(corpus, tmp_path, name):
    train(corpus, tmp_path, epochs=1)
    content = (tmp_path / name).read_bytes()
    (tmp_path / name).write_bytes(content[: len(content) // 2])
    with pytest.raises(RunError, match="damaged"):
        train(corpus, tmp_path, resume=True)


def test_another_text_can_be_allowed(corpus, tmp_path):
    train(corpus, tmp_path, epochs=1)
    other = charrnn.Corpus.from_text("the hen who asked once knew. the fox was answered.\n" * 90, "other")
    spy = Spy()
    config = charrnn.TrainConfig(**SETTINGS | {"max_steps": 60, "epochs": 9})
    result = charrnn.train(other, config, tmp_path, resume=True, allow_changed_corpus=True, progress=spy)
    assert result.steps == 60
    assert any("another text than before" in line for line in spy.said)
    assert len(result.model.vocabulary) == 20 > len(other.vocabulary)
    assert position(tmp_path)["corpus"] == other.sha256
    assert [line["step"] for line in metrics(tmp_path)] == list(range(1, 61))
    with pytest.raises(RunError, match="another text"):
        train(corpus, tmp_path, resume=True)
    new = charrnn.Corpus.from_text("Zebras!\n" * 90, "new")
    with pytest.raises(RunError, match=r"3 characters that .* does not know \('!', 'Z', 'b'.*`init_from`"):
        charrnn.train(new, config, tmp_path, resume=True, allow_changed_corpus=True)


def test_a_run_can_start_from_the_weights_of_another(corpus, finished, tmp_path):
    other = charrnn.Corpus.from_text("the Quick fox, the hen Ω\n" * 90, "other")
    spy = Spy()
    config = charrnn.TrainConfig(**SETTINGS | {"max_steps": 1, "learning_rate": 1e-30, "weight_decay": 0})
    result = charrnn.train(other, config, tmp_path, init_from=finished.path, progress=spy)
    V = len(other.vocabulary)
    assert f"{V - 4} of {V} characters known to {finished.path}; 4 start afresh" in spy.said  # , Q Ω u c i
    new, old = result.model, finished.model
    fresh = charrnn.CharRNN(other.vocabulary, 16)
    for i, symbol in enumerate(other.vocabulary.symbols):
        known = np.flatnonzero(old.vocabulary.symbols == symbol)
        source, j = (old, known[0]) if len(known) else (fresh, i)
        np.testing.assert_array_equal(new.parameters["W_ax"][i], source.parameters["W_ax"][j])
        np.testing.assert_array_equal(new.parameters["W_ya"][:, i], source.parameters["W_ya"][:, j])
        assert new.parameters["b_y"][i] == pytest.approx(source.parameters["b_y"][j], abs=1e-20)
    for name in ("W_aa", "b_a"):
        np.testing.assert_array_equal(new.parameters[name], old.parameters[name])
    assert note_of(tmp_path / "config.json")["init_from"] == {"run": os.path.relpath(finished.path, tmp_path)}
    with pytest.raises(Interrupted):
        train(other, tmp_path, resume=True, max_steps=0, progress=Signal(4))
    charrnn.train(other, charrnn.TrainConfig(**SETTINGS), tmp_path / "b", init_from=finished.path)
    assert note_of(tmp_path / "config.json")["init_from"] == {"run": os.path.relpath(finished.path, tmp_path)}


@pytest.mark.parametrize(
    ("settings", "text", "message"),
    [
        ({"hidden_size": 17}, "abc", r"`hidden_size` 17: .* has 16"),
        ({}, b"abc", "reads characters, and this text is read as bytes"),
    ],
)
def test_weights_that_do_not_fit_are_refused(finished, tmp_path, settings, text, message):
    other = charrnn.Corpus.from_text(text * 90)
    config = charrnn.TrainConfig(**SETTINGS | settings)
    with pytest.raises(RunError, match=message):
        charrnn.train(other, config, tmp_path / "run", init_from=finished.path)
    assert not (tmp_path / "run").exists()
    with pytest.raises(charrnn.CharRNNError, match=r"`init_from` starts a new run"):
        charrnn.train(other, config, finished.path, init_from=finished.path, resume=True)


def test_what_changes_on_resuming_is_said(corpus, tmp_path):
    train(corpus, tmp_path, epochs=1)
    spy = Spy()
    train(corpus, tmp_path, epochs=2, log_every=3, resume=True, progress=spy)
    assert spy.said[0] == "changed on resuming: `epochs` 1 → 2, `log_every` 1 → 3"
    assert "the cosine schedule now ends at step 82" in spy.said[1]


def test_two_at_once_are_refused(corpus, tmp_path):
    class Rival(Progress):
        def step(self, characters, loss):
            for how in ({"resume": True}, {"overwrite": True}):
                with pytest.raises(RunError, match="another process is training there"):
                    charrnn.train(corpus, charrnn.TrainConfig(**SETTINGS), tmp_path, **how)

    train(corpus, tmp_path, max_steps=3, progress=Rival())
    train(corpus, tmp_path, max_steps=4, resume=True)


# -- config.json beside last.npz --------------------------------------------------------------------


def edit_settings(run, **changes):
    written = note_of(run / "config.json")
    written["settings"] |= changes
    (run / "config.json").write_text(json.dumps(written))


def test_settings_that_were_edited_are_noticed_and_those_of_the_last_save_count(cli, text_file, tmp_path):
    words = ["--hidden-size", 8, "--seq-length", 8, "--batch-size", 4, "--max-steps", 5]
    assert cli("train", text_file, "--out", tmp_path, *words).code == 0
    score = cli("eval", tmp_path, "--json").out
    edit_settings(tmp_path, seq_length=9, learning_rate=7.0, val_fraction=0.3)
    assert cli("eval", tmp_path, "--json").out == score
    outcome = cli("train", "--resume", "--out", tmp_path, "--max-steps", 6)
    assert outcome.code == 0
    line = "does not agree with last.npz, whose settings count: --seq-length 9 (there 8), --learning-rate 7.0"
    line += " (there 0.003), --val-fraction 0.3 (there 0.05)"
    assert f"{tmp_path / 'config.json'}: {line}" in outcome.out
    assert "changed on resuming: --max-steps 5 → 6" in outcome.out
    settings = note_of(tmp_path / "config.json")["settings"]
    assert (settings["seq_length"], settings["learning_rate"], settings["max_steps"]) == (8, 0.003, 6)
    assert metrics(tmp_path)[-1]["learning_rate"] < 0.003
    assert "does not agree" not in cli("train", "--resume", "--out", tmp_path, "--max-steps", 7).out


def test_settings_that_change_on_resuming_outlive_a_kill_at_any_write(corpus, tmp_path, monkeypatch):
    """They stand in last.npz before they stand in config.json; nothing is told of a change nobody made."""
    train(corpus, tmp_path / "run", epochs=1)
    original, writes = files.write_whole, []

    def dying(path, write, mark="new"):
        writes.append(path.name)
        if path.name == dies_at:
            raise KeyboardInterrupt
        original(path, write, mark)

    for module in (npz, note):
        monkeypatch.setattr(module, "write_whole", dying)
    for dies_at, epochs in (("last.npz", 1), ("config.json", 2)):
        shutil.copytree(tmp_path / "run", tmp_path / dies_at)
        with pytest.raises(KeyboardInterrupt):
            train(corpus, tmp_path / dies_at, epochs=2, resume=True)
        assert read_note(tmp_path / dies_at).settings.epochs == epochs
    assert writes == ["last.npz", "last.npz", "best.npz", "config.json"]


def test_a_save_without_settings_is_resumed(corpus, tmp_path):
    """As an older version has left it."""
    train(corpus, tmp_path, epochs=1)
    arrays = read_arrays(tmp_path / "last.npz")
    del arrays["settings"]
    write_arrays(tmp_path / "last.npz", arrays)
    spy = Spy()
    train(corpus, tmp_path, epochs=2, resume=True, progress=spy)
    assert not any("does not agree" in line for line in spy.said)
    assert json.loads(str(read_arrays(tmp_path / "last.npz")["settings"]))["epochs"] == 2


@given(st.data())
@hypothesis.settings(max_examples=60)
def test_whatever_a_save_says_is_refused_or_trained_from(smallest, data):
    """One field of the position or the settings replaced by anything, with a right checksum."""
    arrays = read_arrays(smallest / "last.npz")
    name = data.draw(st.sampled_from(["position", "settings"]))
    values = json.loads(str(arrays[name]))
    key = data.draw(st.sampled_from(sorted(values)))
    values[key] = data.draw(
        st.none()
        | st.booleans()
        | st.integers()
        | st.sampled_from([0, 1, 2**31, 2**62, 2**63 - 1, 10**300, 1e300, 1e-300])
        | st.floats()
        | st.text(max_size=3)
        | st.lists(st.integers(0) | st.floats(0), max_size=2)
    )
    with tempfile.TemporaryDirectory() as folder:
        run = Path(folder) / "run"
        shutil.copytree(smallest, run)
        write_arrays(run / "last.npz", arrays | {name: np.array(json.dumps(values))})
        with suppress(charrnn.CharRNNError):
            config = read_note(run).settings.model_copy(update={"max_steps": 2, "threads": 1})
            charrnn.train(charrnn.Corpus.from_text("abab"), config, run, resume=True)


@pytest.fixture(scope="module")
def smallest(tmp_path_factory):
    out = tmp_path_factory.mktemp("smallest")
    sizes = {"hidden_size": 1, "seq_length": 2, "batch_size": 1, "max_steps": 1, "val_fraction": 0}
    config = charrnn.TrainConfig(**sizes, test_fraction=0, optimizer="sgd", momentum=0)
    charrnn.train(charrnn.Corpus.from_text("abab"), config, out)
    return out


def test_a_run_that_is_resumed_starts_no_more_processes_than_there_are_cores(
    cli, text_file, tmp_path, monkeypatch
):
    words = ["--hidden-size", 8, "--seq-length", 8, "--batch-size", 4, "--max-steps"]
    assert cli("train", text_file, "--out", tmp_path, "--threads", 2, *words, 2).code == 0
    monkeypatch.setattr(shards, "available_cores", lambda: 1)
    outcome = cli("train", "--resume", "--out", tmp_path, "--threads", 2, "--max-steps", 3)
    assert "--threads 2 →" not in outcome.out
    outcome = cli("train", "--resume", "--out", tmp_path, "--max-steps", 4)
    assert "--threads 2 of this run is more than the cores here; give --threads to have it so" in outcome.out
    assert "--threads 2 → 1" in outcome.out
    assert note_of(tmp_path / "config.json")["settings"]["threads"] == 1
