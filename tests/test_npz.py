import tracemalloc
import zipfile
import zlib

import numpy as np
import pytest
from hostile import npy, npz, sealed

import charrnn
from charrnn.errors import RunError
from charrnn.files import write_whole
from charrnn.npz import MEMBERS, read_arrays, write_arrays


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
    path.write_bytes(sealed(path.name, path.read_bytes()))
    with pytest.raises(RunError, match="damaged"):
        read_arrays(path)


def test_a_network_is_no_larger_than_its_arrays(tmp_path):
    """Arrays of no entries may have any length."""
    vocabulary = npy((2,), "<u4", np.array([97, 98], np.uint32).tobytes())
    nothing = npy((1 << 40, 0))
    path = npz(tmp_path / "best.npz", ("vocabulary.npy", vocabulary), ("W_aa.npy", nothing))
    with pytest.raises(RunError):
        charrnn.CharRNN.from_arrays(read_arrays(path), path)


def test_names_of_members_are_never_paths(tmp_path):
    arrays = read_arrays(npz(tmp_path / "a.npz", ("../../evil.npy", npy((1,), content=bytes(4)))))
    assert list(arrays) == ["../../evil"]
    assert [path.name for path in tmp_path.iterdir()] == ["a.npz"]


def test_an_npz_without_a_checksum_is_refused(tmp_path):
    np.savez(tmp_path / "best.npz", W_aa=np.zeros((2, 2)))
    with pytest.raises(RunError, match="of an older version: it does not end in its checksum"):
        read_arrays(tmp_path / "best.npz")


def test_pickles_are_refused(tmp_path):
    path = tmp_path / "best.npz"
    np.savez(path, W_aa=np.array([{"a": 1}], object))
    with pytest.raises(RunError, match="damaged"):
        read_arrays(path)
    with pytest.raises(ValueError, match="allow_pickle"):
        write_arrays(path, {"W_aa": np.array([{"a": 1}], object)})


def test_a_write_that_fails_leaves_what_was_there(tmp_path):
    path = tmp_path / "best.npz"
    write_arrays(path, {"a": np.ones(1)})

    def full_disk(file):
        file.write(b"{")
        raise OSError(28, "No space left on device")

    with pytest.raises(RunError, match="No space left"):
        write_whole(path, full_disk)
    assert read_arrays(path) == {"a": 1}
    assert [p.name for p in tmp_path.iterdir()] == ["best.npz"]
