"""Networks to ONNX files, for onnxruntime and whatever else runs them.

    tokens (T, B), int64    ──▶  logits (T, B, V)
    state (B, S)            ──▶  next_state (B, S)

T and B are free. The state is that of ``Network``, the layers side by side, zeros at the start of a text. The
metadata are those of a safetensors file (metadata.py). The recurrent layers are ONNX's own RNN, GRU and LSTM,
whose gates stand in another order than PyTorch's and ours.
"""

from pathlib import Path
from typing import Any

import numpy as np

from charrnn.errors import RunError
from charrnn.exchange.metadata import About, metadata
from charrnn.exchange.pytorch import to_torch
from charrnn.exchange.quantize import int8_rows
from charrnn.files import write_output
from charrnn.layers import Array
from charrnn.model import CharRNN

OPSET, IR_VERSION = 17, 8  # of 2022: what runs a file need not be new
LARGEST = 2**31 - 2**20  # bytes of weights: no protocol buffer is longer
OPS: dict[str, tuple[str, tuple[int, ...], dict[str, int]]] = {  # the name there, the order of gates, options
    "rnn": ("RNN", (0,), {}),
    "gru": ("GRU", (1, 0, 2), {"linear_before_reset": 1}),  # r u n → z r h
    "lstm": ("LSTM", (0, 3, 1, 2), {}),  # i f g o → i o f c
}


def write_onnx(model: CharRNN, path: Path, about: About | None = None, *, int8: bool = False) -> None:
    """Write a network, whole or not at all.

    Arguments:
        about: more to be said in the metadata.
        int8: the matrices are written as ``quantized`` rounds them, and the network computes in float32.

    Raises:
        RunError: onnx is not installed, the network is too large, or the file cannot be written.
    """
    try:
        from onnx import TensorProto, helper
    except ModuleNotFoundError:
        raise RunError("an ONNX file needs onnx: pip install 'charrnn-numpy[exchange]'") from None
    if (size := model.parameters.flat.nbytes) > LARGEST:
        raise RunError(f"{size:,} bytes of weights; an ONNX file takes {LARGEST:,}. Write a safetensors file")
    number = TensorProto.DOUBLE if model.dtype == np.float64 and not int8 else TensorProto.FLOAT
    ends: dict[str, tuple[int, list[str | int]]] = {
        "tokens": (TensorProto.INT64, ["T", "B"]),
        "state": (number, ["B", model.state_size]),
        "logits": (number, ["T", "B", model.V]),
        "next_state": (number, ["B", model.state_size]),
    }
    values = [helper.make_tensor_value_info(name, *end) for name, end in ends.items()]
    nodes, constants = _parts(model, number, int8)
    graph = helper.make_graph(nodes, "charrnn", values[:2], values[2:], constants)
    opset = [helper.make_opsetid("", OPSET)]
    proto = helper.make_model(graph, opset_imports=opset, ir_version=IR_VERSION, producer_name="charrnn")
    helper.set_model_props(proto, metadata(model, about))
    write_output(path, proto.SerializeToString())


def _parts(model: CharRNN, number: int, int8: bool) -> tuple[list[Any], list[Any]]:
    """The nodes of the graph, in the order in which they are computed, and its constants."""
    from onnx import helper, numpy_helper

    op, order, options = OPS[model.config.cell]
    p, L, H = to_torch(model), model.config.num_layers, model.config.hidden_size
    nodes, constants = list[Any](), list[Any]()

    def constant(name: str, array: Array) -> str:
        constants.append(numpy_helper.from_array(np.ascontiguousarray(array), name))
        return name

    def node(op: str, inputs: list[str], *outputs: str, **attributes: Any) -> str:
        nodes.append(helper.make_node(op, inputs, outputs, **attributes))
        return outputs[0]

    def vector(name: str, array: Array) -> str:
        return constant(name, array.astype(np.float32) if int8 else array)

    def matrix(name: str, array: Array) -> str:
        if not int8:
            return constant(name, array)
        rounded, steps = int8_rows(array)
        inputs = [constant(f"{name}.int8", rounded), constant(f"{name}.steps", steps[:, 0])]
        return node("DequantizeLinear", inputs, name, axis=0)

    def gates(array: Array) -> Array:  # (G·H, …)
        return np.concatenate([array[gate * H : (gate + 1) * H] for gate in order])

    zero, one, two = (constant(f"axis {axis}", np.array([axis])) for axis in range(3))
    if "embedding.weight" in p:
        x = node("Gather", [matrix("embedding.weight", p["embedding.weight"]), "tokens"], "x")
    else:
        known = constant("known", np.arange(model.V))
        ones = node("Equal", [node("Unsqueeze", ["tokens", two], "columns"), known], "ones")
        x = node("Cast", [ones], "x", to=number)  # one-hot
    kinds = model.cell.states  # a, of an LSTM also c
    before, after = ([f"{kind}{t}.l{layer}" for layer in range(L) for kind in kinds] for t in "0T")
    node("Unsqueeze", ["state", zero], "states")  # (1, B, S)
    node("Split", ["states"], *before, axis=2)  # (1, B, H) each
    for layer in range(L):
        names = [f"rnn.weight_{side}_l{layer}" for side in ("ih", "hh")]
        weights = [
            node("Unsqueeze", [matrix(name, gates(p[name])), zero], f"{name}.of_one_direction")
            for name in names
        ]
        biases = [gates(p[f"rnn.bias_{side}_l{layer}"]) for side in ("ih", "hh")]
        weights.append(vector(f"rnn.bias_l{layer}", np.concatenate(biases)[np.newaxis]))
        own = slice(layer * len(kinds), (layer + 1) * len(kinds))
        inputs = [x, *weights, "", *before[own]]
        node(op, inputs, f"a.l{layer}", *after[own], hidden_size=H, **options)  # (T, 1, B, H)
        x = node("Squeeze", [f"a.l{layer}", one], f"x.l{layer}")
    node("Concat", after, "states_after", axis=2)
    node("Squeeze", ["states_after", zero], "next_state")
    W_ya = node("Transpose", [matrix("dense.weight", p["dense.weight"])], "W_ya", perm=[1, 0])
    node("MatMul", [x, W_ya], "products")
    node("Add", ["products", vector("dense.bias", p["dense.bias"])], "logits")
    return nodes, constants
