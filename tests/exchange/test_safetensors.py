"""Networks out to safetensors and in again, and files that are damaged or made to harm."""

import json
import tracemalloc

import numpy as np
import pytest
from conftest import says_what_is_wrong

import charrnn
from charrnn.errors import CharRNNError
from charrnn.exchange import read_safetensors, to_torch, write_safetensors

FORMS = [
    {"cell": "rnn"},
    {"cell": "gru", "num_layers": 3, "embedding_size": 4},
    {"cell": "lstm", "num_layers": 2, "dtype": "float64"},
]
VOCABULARY = charrnn.Vocabulary.of_text("\n abé😀")


@pytest.fixture(params=FORMS, ids=str)
def model(request):
    model = charrnn.CharRNN(VOCABULARY, 5, seed=1, **request.param)
    model.parameters.flat[...] = np.random.default_rng(0).standard_normal(model.parameters.flat.size)
    return model


def blob(header, numbers=b""):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + numbers


def parts(file):
    whole = file.read_bytes()
    length = int.from_bytes(whole[:8], "little")
    return json.loads(whole[8 : 8 + length]), whole[8 + length :]


def test_out_and_in_are_the_same_bits(model, tmp_path):
    file = tmp_path / "model.safetensors"
    write_safetensors(model, file)
    back = read_safetensors(file)
    assert back.config == model.config
    assert back.vocabulary == VOCABULARY
    assert back.parameters.flat.tobytes() == model.parameters.flat.tobytes()
    write_safetensors(back, tmp_path / "again")
    assert (tmp_path / "again").read_bytes() == file.read_bytes()


def test_the_library_reads_what_we_write_and_we_what_it_writes(model, tmp_path):
    library = pytest.importorskip("safetensors.numpy", reason="safetensors is optional")
    file = tmp_path / "model.safetensors"
    write_safetensors(model, file)
    arrays = library.load_file(file)
    for name, array in to_torch(model).items():
        np.testing.assert_array_equal(arrays[name], array)
    library.save_file(arrays, file, {"vocabulary": json.dumps(VOCABULARY.symbols.tolist())})
    assert read_safetensors(file).parameters.flat.tobytes() == model.parameters.flat.tobytes()


def test_half_precision_becomes_single(tmp_path):
    file, model = tmp_path / "model.safetensors", charrnn.CharRNN(VOCABULARY, 5, cell="gru")
    model.parameters.flat[...] = model.parameters.flat.astype(np.float16)
    write_safetensors(model, file)
    header, numbers = parts(file)
    for name in header.keys() - {"__metadata__"}:
        offsets = [n // 2 for n in header[name]["data_offsets"]]
        header[name] |= {"dtype": "F16", "data_offsets": offsets}
    file.write_bytes(blob(header, np.frombuffer(numbers, "<f4").astype("<f2").tobytes()))
    back = read_safetensors(file)
    assert back.dtype == np.float32
    np.testing.assert_array_equal(back.parameters.flat, model.parameters.flat)


def test_a_vocabulary_in_another_order_is_the_same_network(model, tmp_path):
    file, words = tmp_path / "model.safetensors", tmp_path / "words.txt"
    write_safetensors(model, file)
    words.write_text("ba\né😀 ", newline="")
    other = read_safetensors(file, words)
    theirs = "ba\né😀 "
    ours = model.vocabulary.decode(range(6))
    x = np.array([[0], [3], [5]])
    renamed = other.vocabulary.encode("".join(theirs[i] for i in x[:, 0])).astype(int)[:, np.newaxis]
    columns = other.vocabulary.encode(theirs)
    expected = model.logits(x, model.initial_state(1))[0]
    found = other.logits(renamed, other.initial_state(1))[0]
    assert theirs != ours
    np.testing.assert_allclose(found[..., columns], expected, rtol=1e-5, atol=1e-5)


def test_a_run_of_it_is_sampled_scored_and_trained_further(cli, run_folder, text_file, tmp_path):
    file, run, more = tmp_path / "model.safetensors", tmp_path / "run", tmp_path / "more"
    assert cli("export", run_folder, file).code == 0
    assert cli("import", file, "--out", run).code == 0
    for words in (["sample", "RUN", "--seed", 1, "--length", 50], ["eval", "RUN", text_file]):
        one, other = (
            cli(*(folder if word == "RUN" else word for word in words)) for folder in (run_folder, run)
        )
        assert one.code == 0
        assert one == other
    assert cli("import", file, "--out", run).code == 2
    sizes = ["--hidden-size", 24, "--seq-length", 16, "--batch-size", 4, "--max-steps", 2]
    assert cli("train", text_file, "--init-from", run, "--out", more, *sizes).code == 0
    assert cli("eval", run).code == 2
    assert cli("train", text_file, "--resume", "--out", run).code == 2


def damaged():
    """A hundred files: the name of what is wrong, and what makes it of the header and the numbers."""

    def changed(name, **values):
        return lambda h, n: blob({**h, name: {**h[name], **values}}, n)

    def said(**words):
        return lambda h, n: blob({**h, "__metadata__": {**h["__metadata__"], **words}}, n)

    yield from (lambda h, n, k=k: blob(h, n)[: len(blob(h, n)) * k // 40] for k in range(40))
    yield from (lambda h, n, k=k: k.to_bytes(8, "little") + b"{}" for k in (3, 2**24 + 1, 2**63, 2**64 - 1))
    texts = (b"", b"[]", b"null", b"{", b"\xff", b"[" * 100_000, b'{"a":1e999}', b'{"a":1,"a":1}')
    yield from (lambda h, n, text=text: blob(text) for text in texts)
    for name in ("dense.weight", "dense.bias", "rnn.weight_hh_l0", "rnn.weight_ih_l0", "rnn.bias_hh_l0"):
        yield lambda h, n, name=name: blob({k: v for k, v in h.items() if k != name}, n)
        yield lambda h, n, name=name: blob({**h, "x" + name: h[name]}, n)
        for dtype in ("I64", "BF16", "F8_E4M3", 7):
            yield changed(name, dtype=dtype)
        for shape in ([], [2**31, 2**31], [-1, 5], [True], [0, 0], [1] * 9, "5"):
            yield changed(name, shape=shape)
        for offsets in ([0, 2**62], [-4, 0], [8, 4], [0], None):
            yield changed(name, data_offsets=offsets)
    yield lambda h, n: blob(h, n + b"1234")
    yield lambda h, n: blob(
        json.dumps(h).encode()[:-1] + f', "dense.bias": {json.dumps(h["dense.bias"])}}}'.encode(), n
    )
    yield lambda h, n: blob({**h, "rnn.bias_ih_l0": h["rnn.bias_hh_l0"]}, n)  # two arrays in one place
    yield lambda h, n: blob(h, n[:-4] + np.float32(np.nan).tobytes())
    yield lambda h, n: blob(h, n[:-4] + np.float32(np.inf).tobytes())
    yield lambda h, n: blob(h, n[:-4] + np.float32(1e30).tobytes())
    yield lambda h, n: blob({**h, "__metadata__": 5}, n)
    vocabularies = ("", "[]", "{}", "[1,2]", "[1,1,2,3,4,5]", "[1,2,3,4,5,1114112]", "bytes", "[" * 100_000)
    yield from (said(vocabulary=text) for text in vocabularies)
    for last in ("-1", "5.5", "true", "null", '"6"', "[6]", "1e400", "NaN", "9" * 5000):
        yield said(vocabulary=f"[1,2,3,4,5,{last}]")
    yield lambda h, n: blob({**h, "__metadata__": {f"{k}": "" for k in range(50_000)} | {"cell": "rnn"}}, n)
    yield lambda h, n: blob({**h, **{f"rnn.weight_ih_l{k}": h["dense.bias"] for k in range(1, 100)}}, n)
    yield lambda h, n: blob({**h, **{f"array {k}": h["dense.bias"] for k in range(2000)}}, n)
    yield lambda h, n: blob({**h, "rnn.weight_ih_l0_reverse": h["dense.bias"]}, n)  # of both directions
    yield from (said(cell="lstm"), said(hidden_size="6"), said(num_layers="x"), said(vocabulary=7))


def test_damaged_and_hostile_files_are_refused_in_a_line_and_little_memory(tmp_path):
    file, made = tmp_path / "model.safetensors", 0
    write_safetensors(charrnn.CharRNN(VOCABULARY, 5, cell="gru"), file)
    header, numbers = parts(file)
    for made, damage in enumerate(damaged(), 1):  # noqa: B007  # counts them
        file.write_bytes(damage(header, numbers))
        tracemalloc.start()
        with pytest.raises(CharRNNError) as error:
            read_safetensors(file)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < 20e6
        assert len(str(error.value)) < 1000
        said = says_what_is_wrong("import", file, "--out", tmp_path / "run")
        assert str(file)[-20:] in said
        assert not (tmp_path / "run").exists()
    assert made >= 100
