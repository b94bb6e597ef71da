import hashlib
import io
import json
import os
import shutil
import tempfile
import tracemalloc
import zipfile
import zlib
from pathlib import Path

import hypothesis
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import charrnn
from charrnn.errors import RunError
from charrnn.files import write_whole
from charrnn.runs.checkpoint import (
    MEMBERS,
    model_arrays,
    model_from,
    read_arrays,
    read_json,
    read_note,
    write_arrays,
    write_json,
)
from charrnn.training.resume import position_from


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
    write_arrays(path, model_arrays(model))
    again = model_from(read_arrays(path), path)
    assert again.vocabulary == vocabulary
    assert again.dtype == dtype
    assert again.config == model.config.model_copy(update={"init": "orthogonal"})
    np.testing.assert_array_equal(again.parameters.flat, model.parameters.flat)
    with np.load(path, allow_pickle=False) as archive:  # any NumPy program can read it
        np.testing.assert_array_equal(archive["W_aa"], model.parameters["W_aa"])


@pytest.fixture(scope="module")
def smallest(tmp_path_factory):
    """The last.npz of a run that is as small as can be."""
    out = tmp_path_factory.mktemp("smallest")
    sizes = {"hidden_size": 1, "seq_length": 2, "batch_size": 1, "max_steps": 1, "val_fraction": 0}
    config = charrnn.TrainConfig(**sizes, test_fraction=0, optimizer="sgd", momentum=0)
    charrnn.train(charrnn.Corpus.from_text("abab"), config, out)
    return (out / "last.npz").read_bytes()


def test_every_flipped_bit_and_every_length_is_refused(smallest, tmp_path):
    """One bit of each byte in turn, and the file cut at each length: never taken for good."""
    path = tmp_path / "last.npz"
    path.write_bytes(smallest)
    assert read_arrays(path).keys() >= {"W_aa", "vocabulary", "state", "position"}
    refused = 0
    for i in range(len(smallest)):
        flipped = bytearray(smallest)
        flipped[i] ^= 1 << i % 8
        for bad in (smallest[:i], bytes(flipped), smallest + smallest[: i + 1]):
            path.write_bytes(bad)
            with pytest.raises(RunError, match="damaged"):
                read_arrays(path)
            refused += 1
    assert refused == 3 * len(smallest) > 5000


@given(st.binary(max_size=300), st.integers(0, 10_000), st.integers(0, 300))
def test_bytes_put_in_anywhere_are_refused_even_with_a_right_checksum(smallest, blob, at, drop):
    """What the zip and npy readers make of bytes that were made to look right: arrays, or a RunError."""
    at %= len(smallest) - 71
    body = smallest[:at] + blob + smallest[at + drop : -64]
    if not body.endswith(b"sha256:"):
        body += b"sha256:"
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "last.npz"
        path.write_bytes(body + hashlib.sha256(body).hexdigest().encode())
        try:
            arrays = read_arrays(path)
            model_from(arrays, path)
            position_from(arrays, path)
        except RunError:
            pass


def npz(path, *members, compression=zipfile.ZIP_STORED):
    """An npz file of these members (name, bytes), with a right checksum."""
    with path.open("w+b") as file:
        with zipfile.ZipFile(file, "w", compression) as archive:
            for name, content in members:
                archive.writestr(name, content)
            archive.comment = b"sha256:" + bytes(64)
        file.seek(0)
        body = file.read()[:-64]
        file.seek(len(body))
        file.write(hashlib.sha256(body).hexdigest().encode())
    return path


def npy(shape, descr="<f4", content=b""):
    """An npy file whose header claims what it likes."""
    file = io.BytesIO()
    header = {"descr": descr, "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(file, header)
    return file.getvalue() + content


BOMB = bytes(1_000_000)


@pytest.mark.parametrize(
    ("members", "compression"),
    [
        ([("W_aa.npy", npy((160_000, 160_000)))], zipfile.ZIP_STORED),  # 100 GB
        ([("W_aa.npy", npy((1 << 62, 1 << 62)))], zipfile.ZIP_STORED),
        ([("W_aa.npy", npy((2,), content=bytes(12)))], zipfile.ZIP_STORED),
        ([("W_aa.npy", npy((-1,)))], zipfile.ZIP_STORED),
        ([("W_aa.npy", npy((1, 1), content=bytes(4)))] * 2, zipfile.ZIP_STORED),
        ([(f"{i}.npy", npy((1, 1), content=bytes(4))) for i in range(MEMBERS + 1)], zipfile.ZIP_STORED),
        ([("W_aa.npy", npy((500, 500), content=BOMB))], zipfile.ZIP_DEFLATED),
        ([("W_aa.npy", npy((1,), "|O", b"cos\nsystem\n"))], zipfile.ZIP_STORED),
        ([("W_aa.npy", npy((1,), [("a", "<f4")], bytes(4)))], zipfile.ZIP_STORED),
        ([("W_aa.npy", npy((0,), "<U0"))], zipfile.ZIP_STORED),
        ([("W_aa.npy", b"")], zipfile.ZIP_STORED),
        ([("W_aa.npy", b"\x93NUMPY\x09\x00" + bytes(99))], zipfile.ZIP_STORED),
    ],
)
@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_arrays_are_not_what_a_stranger_claims(tmp_path, members, compression):
    path = npz(tmp_path / "best.npz", *members, compression=compression)
    tracemalloc.start()
    with pytest.raises(RunError, match="damaged"):
        read_arrays(path)
    assert tracemalloc.get_traced_memory()[1] < 2_000_000
    tracemalloc.stop()


def test_members_within_members_are_refused(tmp_path):
    """Each would be read into memory of its own: with a hundred, a hundred times the file."""
    inner = zipfile.ZipInfo("b.npy")
    data = npy((25_000,), content=bytes(100_000))
    inner.file_size = inner.compress_size = len(data)
    inner.CRC = zlib.crc32(data)
    content = npy((len(inner.FileHeader()) + len(data),), "|u1", inner.FileHeader() + data)
    path = tmp_path / "best.npz"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a.npy", content)
        inner.header_offset = archive.fp.tell() - len(inner.FileHeader()) - len(data)
        archive.filelist.append(inner)
        archive.comment = b"sha256:" + bytes(64)
    body = path.read_bytes()[:-64]
    path.write_bytes(body + hashlib.sha256(body).hexdigest().encode())
    with pytest.raises(RunError, match="damaged"):
        read_arrays(path)


def test_a_network_is_no_larger_than_its_arrays(tmp_path):
    """Arrays of no entries may have any length."""
    vocabulary = npy((2,), "<u4", np.array([97, 98], np.uint32).tobytes())
    nothing = npy((1 << 40, 0))
    path = npz(tmp_path / "best.npz", ("vocabulary.npy", vocabulary), ("W_aa.npy", nothing))
    with pytest.raises(RunError):
        model_from(read_arrays(path), path)


def test_names_of_members_are_never_paths(tmp_path):
    arrays = read_arrays(npz(tmp_path / "a.npz", ("../../evil.npy", npy((1,), content=bytes(4)))))
    assert list(arrays) == ["../../evil"]
    assert [path.name for path in tmp_path.iterdir()] == ["a.npz"]


def test_an_npz_without_a_checksum_is_refused(tmp_path):
    np.savez(tmp_path / "best.npz", W_aa=np.zeros((2, 2)))
    with pytest.raises(RunError, match="of an older version: it does not end in its checksum"):
        read_arrays(tmp_path / "best.npz")


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
            charrnn.train(corpus, charrnn.TrainConfig(**read_note(run)["settings"]), run, resume=True)
        (run / name).unlink()
    for name in (".last.npz.new", ".config.json.new"):
        (run / name).symlink_to(outside)
        write_whole(run / name[1:-4], lambda file: file.write(b"new"))
    assert outside.read_text() == "mine\n"
    (run / "best.npz").unlink()
    os.mkfifo(run / "best.npz")  # to open it would wait for ever
    with pytest.raises(RunError, match="not a plain file"):
        charrnn.load(run)


@pytest.mark.parametrize(("name", "limit"), [("config.json", 2**24), ("best.npz", 2**34)])
def test_files_larger_than_any_run_writes_are_not_read(run_folder, tmp_path, name, limit):
    run = tmp_path / "run"
    shutil.copytree(run_folder, run)
    with (run / name).open("r+b") as file:
        file.truncate(limit + 1)  # a hole: it takes no room
    with pytest.raises(RunError, match="no more than"):
        (charrnn.load if name == "best.npz" else read_note)(run)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=9),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=9), inner, max_size=3),
    max_leaves=5,
)


@given(st.data())
@hypothesis.settings(max_examples=300)
def test_every_field_of_a_note_is_checked(run_folder, data):
    """One field put in or replaced by anything: a note that holds together, or a RunError."""
    note = json.loads((run_folder / "config.json").read_text())
    part = data.draw(st.sampled_from([note, note["settings"], note["corpus"], note["versions"]]))
    key = data.draw(st.sampled_from(sorted(part)) | st.text(max_size=9) | st.just("self"))
    part[key] = data.draw(JSON)
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "config.json").write_text(json.dumps(note))
        try:
            checked = read_note(Path(folder))
        except RunError:
            return
    charrnn.TrainConfig(**checked["settings"])
    corpus = checked["corpus"]
    assert all(isinstance(source, str) for source in corpus.get("sources", []))
    assert isinstance(corpus["size"], int)
    assert isinstance(corpus["encoding"], str)


@given(st.binary())
def test_any_bytes_for_a_note_are_refused(blob):
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "config.json").write_bytes(blob)
        with pytest.raises(RunError, match=r"config\.json"):
            read_note(Path(folder))


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


def test_a_model_from_before_there_were_cells_is_one_of_tanh(tmp_path):
    model = charrnn.CharRNN(charrnn.Corpus.from_text("ab").vocabulary, 5)
    arrays = model_arrays(model)
    del arrays["cell"]
    assert model_from(arrays, tmp_path).config == model.config


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
    assert charrnn.load(run_folder).config.hidden_size == 24
    with pytest.raises(RunError, match="not the folder of a run"):
        charrnn.load(tmp_path)
    (tmp_path / "config.json").write_text(json.dumps({}))
    with pytest.raises(RunError, match="no saved model yet"):
        charrnn.load(tmp_path)
    shutil.copy(run_folder / "last.npz", tmp_path)
    last = charrnn.load(tmp_path)  # nothing was validated: the last one is the best there is
    expected = charrnn.load(run_folder, "last")
    np.testing.assert_array_equal(last.parameters.flat, expected.parameters.flat)
