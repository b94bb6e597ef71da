"""Weights to and from PyTorch, as NumPy arrays under the names of a ``state_dict``; torch is only needed to
write a file of its own.

The other network is a torch.nn.Module with an ``rnn`` (torch.nn.RNN, GRU or LSTM), a ``dense``
(torch.nn.Linear) and, where ours has W_ex, an ``embedding`` (torch.nn.Embedding):

    embedding.weight            (V, E)       W_ex
    rnn.weight_ih_l0            (G·H, X)     W_axᵀ; of the second layer rnn.weight_ih_l1, from W_ax[2]; …
    rnn.weight_hh_l0            (G·H, H)     W_aaᵀ
    rnn.bias_ih_l0, _hh_l0      (G·H,)       b_a is their sum; of a GRU the last third of bias_hh is b_n
    dense.weight, dense.bias    (V, H) (V,)  W_yaᵀ, b_y

The gates' columns are in PyTorch's order already.
"""

import io
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike

from charrnn.errors import RunError
from charrnn.files import write_output
from charrnn.layers import Array
from charrnn.model import CharRNN

IN_PYTORCH = ("rnn", "gru", "lstm")  # the cells that PyTorch has too


def to_torch(model: CharRNN) -> dict[str, Array]:
    """Copies of the weights, by PyTorch's names. All of b_a is in bias_ih, and bias_hh is 0 but for b_n.

    ``module.load_state_dict({name: torch.from_numpy(a) for name, a in to_torch(model).items()})`` takes them.

    Raises:
        RunError: PyTorch has no such cell.
    """
    if model.config.cell not in IN_PYTORCH:
        raise RunError(f"{model!r}: PyTorch has no such cell; it has {', '.join(IN_PYTORCH)}")
    p, H = model.parameters, model.config.hidden_size
    arrays = {"embedding.weight": p["W_ex"].copy()} if "W_ex" in p else {}
    for layer in range(model.config.num_layers):
        w = p.layer(layer)
        b_ih, b_hh = w["b_a"].copy(), np.zeros_like(w["b_a"])
        if "b_n" in w:
            b_hh[2 * H :] = w["b_n"]
        arrays[f"rnn.weight_ih_l{layer}"] = w["W_ax"].T.copy()
        arrays[f"rnn.weight_hh_l{layer}"] = w["W_aa"].T.copy()
        arrays |= {f"rnn.bias_ih_l{layer}": b_ih, f"rnn.bias_hh_l{layer}": b_hh}
    return arrays | {"dense.weight": p["W_ya"].T.copy(), "dense.bias": p["b_y"].copy()}


def from_torch(model: CharRNN, arrays: Mapping[str, ArrayLike]) -> None:
    """Fill the model's parameters from arrays, or tensors on the CPU, by PyTorch's names.

    Raises:
        RunError: an array is missing or unexpected, or has another shape. The model is as it was then.
    """
    p, H = model.parameters, model.config.hidden_size
    shapes = {name: array.shape for name, array in to_torch(model).items()}
    remedy = f"{model!r} is filled from a network of the same cell and sizes, biases included"
    for name in (*shapes, *arrays):
        if name not in arrays:
            raise RunError(f"array {name} is missing: {remedy}")
        if name not in shapes:
            raise RunError(f"unexpected array {name}: {remedy}")
    theirs = {name: np.asarray(array) for name, array in arrays.items()}
    for name, shape in shapes.items():
        if theirs[name].shape != shape:
            raise RunError(f"array {name} has the shape {theirs[name].shape}, expected {shape}: {remedy}")
    if "W_ex" in p:
        p["W_ex"][...] = theirs["embedding.weight"]
    for layer in range(model.config.num_layers):
        w, b_ih, b_hh = p.layer(layer), theirs[f"rnn.bias_ih_l{layer}"], theirs[f"rnn.bias_hh_l{layer}"]
        w["b_a"][...] = b_ih + b_hh
        if "b_n" in w:
            w["b_a"][2 * H :], w["b_n"][...] = b_ih[2 * H :], b_hh[2 * H :]
        w["W_ax"][...] = theirs[f"rnn.weight_ih_l{layer}"].T
        w["W_aa"][...] = theirs[f"rnn.weight_hh_l{layer}"].T
    p["W_ya"][...], p["b_y"][...] = theirs["dense.weight"].T, theirs["dense.bias"]


def write_torch(model: CharRNN, path: Path) -> None:
    """Write the state dict to a file for ``torch.load``; it holds no vocabulary.

    Raises:
        RunError: torch is not installed, PyTorch has no such cell, or the file cannot be written.
    """
    try:
        import torch
    except ModuleNotFoundError:
        raise RunError("PyTorch's own files need torch: pip install torch") from None
    file = io.BytesIO()
    torch.save({name: torch.from_numpy(array) for name, array in to_torch(model).items()}, file)
    write_output(path, file.getvalue())
