"""Networks in PyTorch's files, and the module that needs nothing of charrnn."""

import math
import os
import subprocess
import sys

import numpy as np
import pytest
from conftest import PROVERB

import charrnn
from charrnn.exchange import to_torch, write_safetensors, write_torch

torch = pytest.importorskip("torch", reason="torch is optional")
saving = pytest.importorskip("safetensors.torch", reason="safetensors is optional")


def alone(folder, code):
    """Run code in a process that finds no charrnn. Returns: what it prints."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    command = [
        sys.executable,
        "-c",
        f"import sys; sys.path.insert(0, '.'); {code}; assert 'charrnn' not in sys.modules",
    ]
    return subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, check=True
    ).stdout.decode()


def test_a_state_dict_is_loaded_by_torch(tmp_path):
    model = charrnn.CharRNN(charrnn.Vocabulary.of_text("abc"), 5, cell="lstm", embedding_size=3)
    write_torch(model, tmp_path / "model.pt")
    found = torch.load(tmp_path / "model.pt", weights_only=True)
    assert list(found) == list(to_torch(model))
    assert all((found[name].numpy() == array).all() for name, array in to_torch(model).items())


def test_the_module_reads_and_writes_text_without_charrnn(cli, run_folder, tmp_path):
    assert cli("export", run_folder, tmp_path / "fox.safetensors", "--module").code == 0
    model = charrnn.load(run_folder)
    code = "import fox; n = fox.Network.load('fox.safetensors')"
    loss = float(alone(tmp_path, f"{code}; print(n.loss({PROVERB!r}))"))
    assert math.isclose(loss, charrnn.evaluate(model, PROVERB).loss, rel_tol=1e-5)
    text = alone(tmp_path, f"{code}; sys.stdout.write(n.sample('the fox ', 100, 1e-6))")
    assert text == model.sample("the fox ", length=100, temperature=0)
    script = [sys.executable, "fox.py", "fox.safetensors", "the hen"]
    drawn = subprocess.run(script, cwd=tmp_path, capture_output=True, check=True).stdout
    assert drawn.startswith(b"the hen")
    assert len(drawn.rstrip(b"\n")) >= 300


@pytest.mark.parametrize(
    "form", [{"cell": "rnn", "embedding_size": 3}, {"cell": "lstm", "num_layers": 2}], ids=str
)
def test_the_module_of_bytes_and_of_other_networks(form, tmp_path):
    from charrnn.exchange import torch_module

    model = charrnn.CharRNN(charrnn.Vocabulary.of_bytes(), 6, dtype="float64", **form)
    write_safetensors(model, tmp_path / "model.safetensors")
    network, text = torch_module.Network.load(tmp_path / "model.safetensors"), "é😀 bytes"
    assert network.decode(network.encode(text)[:, 0].tolist()) == text
    assert math.isclose(network.loss(text), charrnn.evaluate(model, text.encode()).loss, rel_tol=1e-9)


@pytest.mark.parametrize("kind", ["RNN", "GRU", "LSTM"])
def test_a_network_that_torch_trained_becomes_a_run(kind, cli, tmp_path):
    torch.manual_seed(0)
    characters = "héa\n"
    network = torch.nn.ModuleDict(
        {"rnn": getattr(torch.nn, kind)(4, 6, num_layers=2), "dense": torch.nn.Linear(6, 4)}
    )
    saving.save_file(network.state_dict(), tmp_path / "theirs.safetensors")  # no metadata
    (tmp_path / "characters.txt").write_text(characters, encoding="utf-8")
    words = ["import", tmp_path / "theirs.safetensors", "--out", tmp_path / "run"]
    assert "no vocabulary" in cli(*words).err
    assert cli(*words, "--vocabulary", tmp_path / "characters.txt").code == 0
    model, x = charrnn.load(tmp_path / "run"), torch.tensor([[0], [1], [2], [3]])
    expected = network["dense"](network["rnn"](torch.nn.functional.one_hot(x, 4).float())[0]).detach().numpy()
    columns = model.vocabulary.encode(characters).astype(int)
    found, _ = model.logits(columns[:, np.newaxis], model.initial_state(1))
    np.testing.assert_allclose(found[..., columns], expected, rtol=1e-5, atol=1e-6)
