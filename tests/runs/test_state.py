import json
import math

import numpy as np
import pytest
from small import SETTINGS, train

import charrnn
from charrnn.errors import RunError
from charrnn.model.kernels import choose_kernels
from charrnn.npz import read_arrays, write_arrays
from charrnn.runs.state import RunState, Snapshot


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(
    ("text", "form"),
    [
        ("añ𝄞", {}),
        (b"ab", {}),
        ("añ𝄞", {"cell": "gru", "num_layers": 3}),
        (b"ab", {"cell": "lstm", "embedding_size": 4}),
        ("añ𝄞", {"num_layers": 12, "embedding_size": 2}),
    ],
)
def test_a_model_survives_the_round_trip(tmp_path, dtype, text, form):
    vocabulary = charrnn.Corpus.from_text(text).vocabulary
    model = charrnn.CharRNN(vocabulary, 5, dtype=dtype, **form)
    path = tmp_path / "best.npz"
    write_arrays(path, model.arrays())
    again = charrnn.CharRNN.from_arrays(read_arrays(path), path)
    assert again.vocabulary == vocabulary
    assert again.dtype == dtype
    assert again.config == model.config
    np.testing.assert_array_equal(again.parameters.flat, model.parameters.flat)
    with np.load(path, allow_pickle=False) as archive:  # any NumPy program can read it
        np.testing.assert_array_equal(archive["W_aa"], model.parameters["W_aa"])


@pytest.mark.parametrize(
    "change",
    [
        {"W_ax": np.zeros((2, 3), np.float32)},
        {"W_ax": None},
        {"W_aa": np.zeros((5, 5), np.int64)},
        {"W_aa": np.zeros(())},
        {"W_aa": np.zeros((5, 15), np.float32)},
        {"cell": np.array("gru")},
        {"cell": np.array("magic")},
        {"cell": np.array([1.0, 2.0])},
        {"W_ex": np.zeros((2, 3), np.float32)},
        {"W_ex": np.zeros(3, np.float32)},
        {"W_ex": np.zeros((2, 0), np.float32)},
        {"W_aa[2]": np.zeros((5, 5), np.float32)},
        {"W_aa[7]": np.zeros((5, 5), np.float32)},
        {"b_a": np.full(5, np.nan, np.float32)},
        {"b_a": np.zeros(5)},
        {"b_y": np.array([3e38, -3e38], np.float32)},  # whose difference is infinite
        {"W_aa": np.full((5, 5), -1e300)},
        {"vocabulary": np.array([98, 97], np.uint32)},
        {"vocabulary": np.array(["a", "b"])},
        {"vocabulary": None},
    ],
)
def test_arrays_that_make_no_model_are_refused(tmp_path, change):
    model = charrnn.CharRNN(charrnn.Corpus.from_text("ab").vocabulary, 5)
    arrays = {name: a for name, a in (model.arrays() | change).items() if a is not None}
    with pytest.raises(RunError, match="not a model"):
        charrnn.CharRNN.from_arrays(arrays, tmp_path)


def test_a_model_from_before_there_were_cells_is_one_of_tanh(tmp_path):
    model = charrnn.CharRNN(charrnn.Corpus.from_text("ab").vocabulary, 5)
    arrays = model.arrays()
    del arrays["cell"]
    assert charrnn.CharRNN.from_arrays(arrays, tmp_path).config == model.config


# -- saves ------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def save(tmp_path_factory):
    """The arrays of a save of a short run."""
    out = tmp_path_factory.mktemp("save")
    train(charrnn.Corpus.from_text("the fox asked the hen\n" * 20), out, max_steps=3)
    return read_arrays(out / "last.npz")


def with_position(arrays, **changes):
    """A save whose position says something else; a field that is to be ... is left out."""
    position = json.loads(str(arrays["position"])) | changes
    position = {name: value for name, value in position.items() if value is not ...}
    return arrays | {"position": np.array(json.dumps(position))}


HUGE = 10**400
ABSURD = [
    {"step": -5}, {"step": "7"}, {"step": None}, {"step": ...}, {"step": 3.0}, {"step": [3, 4]},
    {"step": True}, {"step": 2**63}, {"step": HUGE}, {"step": 1}, {"corpus": ...}, {"corpus": "../../x"},
    {"corpus": "f" * 65}, {"learning_rate": ...}, {"learning_rate": 0}, {"learning_rate": -1.0},
    {"learning_rate": math.inf}, {"elapsed": None}, {"elapsed": -1}, {"elapsed": math.nan},
    {"elapsed": HUGE}, {"elapsed": 1e300}, {"since_log": [1.0]}, {"since_log": [1.0, -1]},
    {"since_log": [-1.0, 1]}, {"since_log": [1.0, 4]}, {"since_log": [math.inf, 1]},
    {"since_validation": [1.0, HUGE]}, {"since_validation": [1.0, 1, 1]}, {"first_loss": -1.0},
    {"first_loss": math.nan}, {"smoothed_loss": "x"}, {"smoothed_loss": 1e300}, {"best_val_loss": "x"},
    {"best_val_loss": math.nan}, {"best_val_loss": None}, {"best_step": None}, {"best_step": 4},
    {"best_step": [3, 3]}, {"validations_since_best": 4}, {"validations_since_best": -1}, {"rollbacks": -1},
    {"rollbacks": 1001}, {"rollbacks": HUGE}, {"rollback_step": 4}, {"rollback_step": -1},
    {"metrics_bytes": 1.5}, {"metrics_bytes": 2**63}, {"kept": [[1]]}, {"kept": [[1, -1]]},
    {"kept": [[HUGE, 1]]}, {"kept": {}}, {"kept": [[0, 0]] * 20_001}, {"more": 1},
]  # fmt: skip


@pytest.mark.parametrize("changes", ABSURD, ids=lambda changes: str(changes)[:40])
def test_a_position_that_makes_no_sense_is_refused(save, tmp_path, changes):
    path = tmp_path / "last.npz"
    write_arrays(path, with_position(save, **changes))
    with pytest.raises(RunError, match=r"last.npz: cannot be resumed from: position: ") as refused:
        Snapshot.read(path)
    assert len(str(refused.value)) < 600


def test_a_position_without_a_step_is_not_one_at_the_beginning(save, tmp_path):
    bare = dict.fromkeys(RunState.model_fields.keys() - {"corpus", "learning_rate"}, ...)
    write_arrays(tmp_path / "last.npz", with_position(save, **bare))
    with pytest.raises(RunError, match="position: step: field required"):
        Snapshot.read(tmp_path / "last.npz")


STRINGS = [
    None,
    np.array(3.0),
    np.array(["{}", "{}"]),
    np.array(b"{}"),
    np.frombuffer(b"\xff\xff\xff\x7f" * 5, "<U5").reshape(()),  # no code points
    np.frombuffer(b"\x00\xd8\x00\x00" * 5, "<U5").reshape(()),  # halves of pairs
    np.frombuffer(b"\xff\xff\xff\x7f" * 5, ">U5").reshape(()),
    np.array("[" * 100_000),
    np.array("9" * 5000),
    np.array("[1]"),
    np.array("x" * (2**20 + 1)),
]


@pytest.mark.parametrize("name", ["position", "settings", "cell"])
@pytest.mark.parametrize("array", STRINGS, ids=range(len(STRINGS)))
def test_a_string_that_is_none_is_refused(save, tmp_path, name, array):
    if array is None and name != "position":
        return  # saves of older versions have no settings and no cell
    path = tmp_path / "last.npz"
    arrays = {key: value for key, value in (save | {name: array}).items() if value is not None}
    write_arrays(path, arrays)
    with pytest.raises(RunError, match=r"last.npz: (cannot be resumed from|not a model|damaged)") as refused:
        Snapshot.read(path)
    assert len(str(refused.value)) < 600


@pytest.mark.parametrize(
    ("name", "array"),
    [
        ("state", None),
        ("state", np.zeros((4, 16), int)),
        ("state", np.full((4, 16), np.nan, np.float32)),
        ("optimizer.m", np.full(3, np.inf, np.float32)),
        ("optimizer.m", np.array("x")),
        ("settings", np.array('{"hidden_size": 0}')),
        ("settings", np.array('{"no_such_setting": 0}')),
    ],
)
def test_other_arrays_that_make_no_sense_are_refused(save, tmp_path, name, array):
    path = tmp_path / "last.npz"
    write_arrays(path, {key: value for key, value in (save | {name: array}).items() if value is not None})
    with pytest.raises(RunError, match=r"last.npz: cannot be resumed from: "):
        Snapshot.read(path)


def test_a_save_comes_back_as_it_was(save, tmp_path):
    path = tmp_path / "last.npz"
    write_arrays(path, save)
    snapshot = Snapshot.read(path)
    assert snapshot.settings == choose_kernels(charrnn.TrainConfig(**SETTINGS, max_steps=3))
    assert snapshot.state.step == 3
    again = snapshot.arrays()
    assert again.keys() == save.keys()
    for name, array in save.items():
        np.testing.assert_array_equal(again[name], array, err_msg=name)
