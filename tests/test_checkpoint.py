import json
import shutil

import numpy as np
import pytest

import charrnn
from charrnn.checkpoint import (
    model_arrays,
    model_from,
    read_arrays,
    read_json,
    write_arrays,
    write_json,
)
from charrnn.errors import RunError
from charrnn.files import write_whole


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("text", ["añ𝄞", b"ab"])
def test_a_model_survives_the_round_trip(tmp_path, dtype, text):
    vocabulary = charrnn.Corpus.from_text(text).vocabulary
    model = charrnn.CharRNN(vocabulary, 5, dtype=dtype)
    path = tmp_path / "best.npz"
    write_arrays(path, model_arrays(model))
    again = model_from(read_arrays(path), path)
    assert again.vocabulary == vocabulary
    assert again.dtype == dtype
    np.testing.assert_array_equal(again.parameters.flat, model.parameters.flat)
    with np.load(path, allow_pickle=False) as archive:  # any NumPy program can read it
        np.testing.assert_array_equal(archive["W_aa"], model.parameters["W_aa"])


def test_no_damage_goes_unnoticed(run_folder, tmp_path):
    """Every part of the file, cut off or changed by one bit, is refused or makes no difference."""
    good = (run_folder / "best.npz").read_bytes()
    expected = charrnn.load(run_folder)
    path = tmp_path / "best.npz"
    rng = np.random.default_rng(0)
    for i in rng.choice(len(good), 150, replace=False):
        for bad in (good[:i], good[:i] + bytes([good[i] ^ 1 << int(rng.integers(8))]) + good[i + 1 :]):
            path.write_bytes(bad)
            try:
                model = model_from(read_arrays(path), path)
            except RunError:
                continue
            else:
                np.testing.assert_array_equal(model.parameters.flat, expected.parameters.flat)
                assert model.vocabulary == expected.vocabulary


@pytest.mark.parametrize(
    "change",
    [
        {"W_ax": np.zeros((2, 3), np.float32)},
        {"W_ax": None},
        {"W_aa": np.zeros((5, 5), np.int64)},
        {"W_aa": np.zeros(())},
        {"b_a": np.full(5, np.nan, np.float32)},
        {"b_a": np.zeros(5)},
        {"vocabulary": np.array([98, 97], np.uint32)},
        {"vocabulary": np.array(["a", "b"])},
        {"vocabulary": None},
    ],
)
def test_arrays_that_make_no_model_are_refused(tmp_path, change):
    model = charrnn.CharRNN(charrnn.Corpus.from_text("ab").vocabulary, 5)
    arrays = {name: a for name, a in (model_arrays(model) | change).items() if a is not None}
    with pytest.raises(RunError, match="not a model"):
        model_from(arrays, tmp_path)


def test_pickles_are_refused(tmp_path):
    path = tmp_path / "best.npz"
    np.savez(path, W_aa=np.array([{"a": 1}], object))
    with pytest.raises(RunError, match="damaged"):
        read_arrays(path)
    with pytest.raises(ValueError, match="allow_pickle"):
        write_arrays(path, {"W_aa": np.array([{"a": 1}], object)})


def test_a_write_that_fails_leaves_what_was_there(tmp_path):
    path = tmp_path / "config.json"
    write_json(path, {"a": 1})

    def full_disk(file):
        file.write(b"{")
        raise OSError(28, "No space left on device")

    with pytest.raises(RunError, match="No space left"):
        write_whole(path, full_disk)
    assert read_json(path) == {"a": 1}
    assert [p.name for p in tmp_path.iterdir()] == ["config.json"]


@pytest.mark.parametrize("content", [b"", b"[1]", b"\xff", b"{", b"[" * 100_000])
def test_json_that_is_none_is_refused(tmp_path, content):
    path = tmp_path / "config.json"
    path.write_bytes(content)
    with pytest.raises(RunError, match="damaged"):
        read_json(path)


def test_load(run_folder, tmp_path):
    assert charrnn.load(run_folder).hidden_size == 24
    with pytest.raises(RunError, match="not the folder of a run"):
        charrnn.load(tmp_path)
    (tmp_path / "config.json").write_text(json.dumps({}))
    with pytest.raises(RunError, match="no saved model yet"):
        charrnn.load(tmp_path)
    shutil.copy(run_folder / "last.npz", tmp_path)
    last = charrnn.load(tmp_path)  # nothing was validated: the last one is the best there is
    expected = charrnn.load(run_folder, "last")
    np.testing.assert_array_equal(last.parameters.flat, expected.parameters.flat)
