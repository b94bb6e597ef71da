"""Networks as JSON: the numbers are those of the model to the last bit."""

import json

import numpy as np
import pytest

import charrnn
from charrnn.errors import RunError
from charrnn.exchange import json as module
from charrnn.exchange import write_json


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_names_shapes_and_the_same_bits(dtype, tmp_path):
    file, vocabulary = tmp_path / "model.json", charrnn.Vocabulary.of_text("\n é😀")
    model = charrnn.CharRNN(vocabulary, 40, cell="gru", num_layers=2, dtype=dtype)
    model.parameters.flat[:4] = [np.finfo(dtype).tiny, -0.0, 1 / 3, 16777217]
    write_json(model, file, {"corpus": "tales", "steps": 7})
    said = json.loads(file.read_text())
    assert (said["cell"], said["num_layers"], said["corpus"], said["steps"]) == ("gru", 2, "tales", 7)
    assert "".join(map(chr, said["vocabulary"])) == "\n é😀"
    assert list(said["parameters"]) == list(model.parameters)
    for name, array in model.parameters.items():
        assert said["shapes"][name] == list(array.shape)
        assert np.array(said["parameters"][name], dtype).tobytes() == array.tobytes()
    assert len(max(file.read_text().splitlines(), key=len)) < 40 * 3 * 26  # a row on a line


def test_a_network_that_is_too_large_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "NUMBERS", 100)
    with pytest.raises(RunError, match=r"parameters; JSON is for up to 100. Write a safetensors file"):
        write_json(charrnn.CharRNN(charrnn.Vocabulary.of_text("ab"), 50), tmp_path / "model.json")
    assert not any(tmp_path.iterdir())
