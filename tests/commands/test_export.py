"""charrnn export: formats, what is refused, and what is written beside."""

import json
import sys

import pytest

import charrnn
from charrnn.runs import Snapshot

FORMATS = {"safetensors": "x.safetensors", "json": "x.json"}  # those that need nothing installed


def test_the_format_is_that_of_the_suffix_or_of_the_flag(cli, run_folder, tmp_path):
    for to, name in FORMATS.items():
        done = cli("export", run_folder, tmp_path / name)
        assert (done.code, done.out) == (0, f"{tmp_path / name}\n")
        assert cli("export", run_folder, tmp_path / "other", "--to", to).code == 0
        assert (tmp_path / "other").read_bytes() == (tmp_path / name).read_bytes()
    for name in ("x", "x.bin"):
        refused = cli("export", run_folder, tmp_path / name)
        assert refused.code == 2
        assert "--to names one of safetensors, onnx, torch, json" in refused.err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["other", "x.json", "x.safetensors"]


def test_the_figures_of_the_training_are_in_the_file(cli, run_folder, corpus, tmp_path):
    assert cli("export", run_folder, tmp_path / "x.json").code == 0
    said, model = json.loads((tmp_path / "x.json").read_text()), charrnn.load(run_folder)
    parts, state = corpus.split(0.05, 0.05), Snapshot.read(run_folder / "last.npz").state
    assert (said["corpus"], said["steps"], said["best_step"]) == ("proverb", state.step, state.best_step)
    assert said["test_loss"] == charrnn.evaluate(model, parts.test).loss
    assert said["best_val_loss"] == pytest.approx(charrnn.evaluate(model, parts.val).loss, rel=1e-5)
    assert said["settings"]["hidden_size"] == 24
    assert cli("export", run_folder, tmp_path / "x.safetensors").code == 0
    assert f'"test_loss": "{said["test_loss"]}"' in (tmp_path / "x.safetensors").read_bytes()[:9000].decode(
        "latin-1"
    )


def test_a_run_whose_text_is_not_found_has_no_test_loss_and_says_so(cli, run_folder, tmp_path):
    cli("export", run_folder, tmp_path / "x.safetensors")
    cli("import", tmp_path / "x.safetensors", "--out", tmp_path / "run")
    done = cli("export", tmp_path / "run", tmp_path / "x.json")
    assert (done.code, done.err) == (0, "the text of the run is not found, so no test loss is written\n")
    assert "test_loss" not in json.loads((tmp_path / "x.json").read_text())


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["x.json", "--module"], "--module is NAME.py beside NAME.safetensors"),
        (["x", "--to", "safetensors", "--module"], "--module is NAME.py beside NAME.safetensors"),
        (["x.json", "--quantize", "int8"], "--quantize has no effect on json"),
        (["x.onnx", "--quantize", "int4"], "int4"),
        (["x.onnx", "--to", "tflite"], "tflite"),
        (["train.safetensors", "--module"], "train.py: not written by --module, so it is not replaced"),
        (["nowhere/x.json"], "cannot be written"),
    ],
    ids=str,
)
def test_what_cannot_be_is_a_line_and_writes_nothing(cli, run_folder, tmp_path, monkeypatch, words, says):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "train.py").write_text("import mine\n")
    refused = cli("export", run_folder, *words)
    assert refused.code == 2
    assert says in refused.err.splitlines()[-1]
    assert [path.name for path in tmp_path.iterdir()] == ["train.py"]
    assert (tmp_path / "train.py").read_text() == "import mine\n"


@pytest.mark.parametrize(
    ("package", "name", "says"),
    [("onnx", "x.onnx", "charrnn-numpy[exchange]"), ("torch", "x.pt", "pip install torch")],
)
def test_without_its_package_it_says_what_to_install(
    cli, run_folder, tmp_path, monkeypatch, package, name, says
):
    monkeypatch.setitem(sys.modules, package, None)
    refused = cli("export", run_folder, tmp_path / name)
    assert refused.code == 2
    assert says in refused.err
    assert not any(tmp_path.iterdir())


def test_in_8_bits_it_says_what_that_costs(cli, run_folder, corpus, tmp_path):
    pytest.importorskip("onnx", reason="onnx is optional")
    done = cli("export", run_folder, tmp_path / "x.onnx", "--quantize", "int8")
    assert done.code == 0
    model, val = charrnn.load(run_folder), corpus.split(0.05, 0.05).val
    before, after = (charrnn.evaluate(m, val).loss for m in (model, charrnn.exchange.quantized(model)))
    assert f"int8: {after:.4f} nats per character on the validation part, {before:.4f} before\n" in done.out
