"""Networks in ONNX compute what Python computes: in onnxruntime, or, where that has no float64, in onnx."""

import re
from itertools import product

import numpy as np
import pytest
from conftest import ROOT
from reference import random_network

import charrnn
from charrnn.exchange import quantized, write_onnx

onnx = pytest.importorskip("onnx", reason="onnx is optional")
runtime = pytest.importorskip("onnxruntime", reason="onnxruntime is optional")

SHAPE = (6, 3, 5, 7)  # T, B, H, V
FORMS = [
    {"cell": cell, "num_layers": layers, "embedding_size": size}
    for cell, layers, size in product(("rnn", "gru", "lstm"), (1, 2, 3), (0, 4))
]


@pytest.fixture
def file(tmp_path):
    return tmp_path / "model.onnx"


def in_float32(model):
    single = model.like(np.float32)
    single.parameters.flat[...] = model.parameters.flat
    return single


def run(file, x, state):
    """Logits and next state, of the runtime that has kernels for this precision."""
    feeds = {"tokens": x.astype(np.int64), "state": state}
    if state.dtype == np.float64:
        from onnx.reference import ReferenceEvaluator

        return ReferenceEvaluator(str(file)).run(["logits", "next_state"], feeds)
    session = runtime.InferenceSession(file, providers=["CPUExecutionProvider"])
    return session.run(["logits", "next_state"], feeds)


def assert_same(found, expected):
    for ours, theirs in zip(found, expected, strict=True):
        assert ours.dtype == theirs.dtype
        np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-5 * np.abs(theirs).max())


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("form", FORMS, ids=str)
def test_logits_and_state_are_those_of_python(form, dtype, file):
    model, x, _, state = random_network(0, SHAPE, **form)
    model = in_float32(model) if dtype == np.float32 else model
    state = state.astype(dtype)
    write_onnx(model, file)
    onnx.checker.check_model(onnx.load(file), full_check=True)
    assert_same(run(file, x, state), model.logits(x, state))
    assert_same(run(file, x[:1, :1], state[:1]), model.logits(x[:1, :1], state[:1]))  # of another T and B


@pytest.mark.parametrize("form", FORMS[::3], ids=str)
def test_in_8_bits_it_is_the_network_that_quantized_gives(form, file, tmp_path):
    model, x, _, state = random_network(1, (6, 3, 32, 7), **form)
    write_onnx(model, file, int8=True)
    write_onnx(in_float32(model), tmp_path / "whole.onnx")
    onnx.checker.check_model(onnx.load(file), full_check=True)
    state = state.astype(np.float32)
    found, expected = run(file, x, state), quantized(model).logits(x, state)
    assert_same(found, expected)
    assert not np.allclose(found[0], in_float32(model).logits(x, state)[0], rtol=1e-5, atol=1e-5)
    assert file.stat().st_size < (tmp_path / "whole.onnx").stat().st_size / 2


def test_rows_are_rounded_to_half_a_step_at_the_most():
    model = random_network(2, SHAPE, cell="gru", embedding_size=4)[0]
    model.parameters["W_ya"][...] = 0  # a row of zeros has a step too
    for name, rounded in charrnn.exchange.to_torch(quantized(model)).items():
        array = charrnn.exchange.to_torch(model)[name]
        steps = np.abs(array).max(axis=1, keepdims=True) / 127 if array.ndim == 2 else 1e-6
        assert (np.abs(rounded - array) <= steps * 0.5001).all()


def test_the_metadata_hold_the_vocabulary_and_what_is_known(file):
    vocabulary = charrnn.Vocabulary.of_text("\n é😀")
    write_onnx(charrnn.CharRNN(vocabulary, 3, cell="lstm"), file, {"steps": 7, "corpus": "tales"})
    said = runtime.InferenceSession(file).get_modelmeta().custom_metadata_map
    assert said["vocabulary"] == "[10, 32, 233, 128512]"
    assert (said["cell"], said["hidden_size"], said["steps"], said["corpus"]) == ("lstm", "3", "7", "tales")
    write_onnx(charrnn.CharRNN(charrnn.Vocabulary.of_bytes(), 3), file)
    assert runtime.InferenceSession(file).get_modelmeta().custom_metadata_map["vocabulary"] == "bytes"


@pytest.mark.skipif(not (ROOT / "README.md").exists(), reason="installed without the README")
def test_the_lines_of_the_readme_write_text(tmp_path, monkeypatch, capsys):
    blocks = re.findall(r"^```python\n(.*?)^```$", (ROOT / "README.md").read_text("utf-8"), re.M | re.S)
    (code,) = [block for block in blocks if "onnxruntime" in block]
    monkeypatch.chdir(tmp_path)
    text = "The fox who asked once was asked twice.\n"
    model = charrnn.CharRNN(charrnn.Vocabulary.of_text(text), 8, cell="gru", num_layers=2)
    model.parameters["b_y"][...] = np.where(model.vocabulary.symbols == ord("f"), 9, 0)  # it likes an f
    write_onnx(model, tmp_path / "fables.onnx")
    exec(compile(code, "README", "exec"), {})
    drawn = capsys.readouterr().out
    assert (drawn[:8], len(drawn)) == ("The fox ", 309)
    assert drawn.count("f") > 290
    assert "charrnn" not in code
