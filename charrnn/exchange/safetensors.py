"""Networks to and from safetensors files, their weights under PyTorch's names (see pytorch.py).

    8 bytes           the length of the header, little-endian
    the header        JSON: {name: {"dtype", "shape", "data_offsets"}, …, "__metadata__": {word: text}}
    the numbers       of the arrays, one after another

The metadata (metadata.py) say the cell, the sizes, the vocabulary, and what is known of the training. NumPy
and JSON are all it takes. A file is read without trusting it: what its header claims is checked before memory
is taken.
"""

import json
import math
import re
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from charrnn.config import ModelConfig
from charrnn.errors import CharRNNError, RunError, brief
from charrnn.exchange.metadata import BYTES, About, metadata
from charrnn.exchange.pytorch import from_torch, to_torch
from charrnn.files import file_name, read_small, write_output
from charrnn.layers import CELLS, Array
from charrnn.model import CharRNN
from charrnn.model.charrnn import LARGEST_WEIGHT
from charrnn.text.vocabulary import Vocabulary

HEADER_BYTES = 2**24  # the longest header that is read: a vocabulary of all characters fits
FILE_BYTES = 2**34
ARRAYS = 1000  # 100 layers with 4 arrays each, and those beside them
VOCABULARY_BYTES = 2**23  # of a file that holds one
DTYPES: dict[str, np.dtype[Any]] = {"F16": np.dtype("<f2"), "F32": np.dtype("<f4"), "F64": np.dtype("<f8")}
NAME = re.compile(r"rnn\.(weight|bias)_(ih|hh)_l(0|[1-9][0-9]?)")


@dataclass(frozen=True)
class Entry:
    """An array, as the header claims it to be."""

    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    start: int  # in the numbers
    stop: int


def write_safetensors(model: CharRNN, path: Path, about: About | None = None) -> None:
    """Write a network, whole or not at all; the same network gives the same bytes.

    Arguments:
        about: more to be said in the metadata.

    Raises:
        RunError: PyTorch has no such cell, or the file cannot be written.
    """
    arrays = to_torch(model)
    header: dict[str, Any] = {"__metadata__": metadata(model, {**(about or {}), "format": "pt"})}
    dtypes, end = {dtype: name for name, dtype in DTYPES.items()}, 0
    for name, array in arrays.items():
        header[name] = {
            "dtype": dtypes[array.dtype],
            "shape": list(array.shape),
            "data_offsets": [end, end + array.nbytes],
        }
        end += array.nbytes
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)  # so that the numbers are aligned
    numbers = (array.astype(DTYPES[header[name]["dtype"]]).tobytes() for name, array in arrays.items())
    write_output(path, b"".join([len(text).to_bytes(8, "little"), text, *numbers]))


def read_safetensors(path: Path, vocabulary: Path | None = None) -> CharRNN:
    """The network in a file, whoever trained it: a torch.nn.RNN (tanh), GRU or LSTM with a linear layer.

    Half precision becomes single. Where PyTorch has two biases that are added, the model has their sum.

    Arguments:
        vocabulary: a text file of the V characters in the order of their indices, which counts in place of
            the metadata's.

    Raises:
        CharRNNError: the file is missing, damaged or of another network, or its vocabulary is unknown.
    """
    try:
        file_name(str(path))
        if not stat.S_ISREG(path.stat().st_mode):
            raise RunError(f"{path}: not a plain file")
        with path.open("rb") as file:
            entries, said, size = _header(file)
            config, V = _form(entries, said)
            symbols = _symbols(said.get("vocabulary"), V) if vocabulary is None else _listed(vocabulary, V)
            model = CharRNN.from_config(Vocabulary(np.sort(symbols)), config, None)
            begin = file.seek(0, 2) - size
            arrays = {}
            for name, entry in entries.items():
                file.seek(begin + entry.start)
                array: Array = np.frombuffer(file.read(entry.stop - entry.start), entry.dtype)
                array = array.reshape(entry.shape).astype(model.dtype)
                if not (np.abs(array) <= LARGEST_WEIGHT).all():
                    raise RunError(f"{name} has entries that are not finite, or beyond ±{LARGEST_WEIGHT:g}")
                arrays[name] = array
    except (OSError, ValueError) as error:
        raise RunError(f"{path}: cannot be read: {getattr(error, 'strerror', None) or error}") from None
    except CharRNNError as error:
        raise RunError(f"{path}: {error}") from None
    order = np.argsort(symbols)  # ours are sorted
    first = "embedding.weight" if config.embedding_size else "rnn.weight_ih_l0"
    arrays[first] = arrays[first][order] if config.embedding_size else arrays[first][:, order]
    for name in ("dense.weight", "dense.bias"):
        arrays[name] = arrays[name][order]
    from_torch(model, arrays)
    return model


def _header(file: BinaryIO) -> tuple[dict[str, Entry], dict[str, str], int]:
    """What the header claims, and the bytes of numbers after it, which are just those it claims."""
    size = file.seek(0, 2)
    file.seek(0)
    length = int.from_bytes(file.read(8), "little")
    if size < 8 or length > size - 8:
        raise RunError(f"cut short, or not a safetensors file: a header of {length:,} bytes in {size:,}")
    if length > HEADER_BYTES or size > FILE_BYTES:
        raise RunError(f"a header of {length:,} bytes, {size:,} in all: more than is read")
    try:
        header = json.loads(file.read(length), object_pairs_hook=_distinct)
    except (ValueError, RecursionError):
        raise RunError("not a safetensors file: its header is not JSON") from None
    if not isinstance(header, dict):
        raise RunError("not a safetensors file: its header is not a JSON object")
    said = header.pop("__metadata__", {})
    if not isinstance(said, dict) or not all(isinstance(text, str) for text in said.values()):
        raise RunError("its __metadata__ is not texts by name")
    if len(header) > ARRAYS:
        raise RunError(f"{len(header):,} arrays; no more than {ARRAYS:,} are read")
    entries = {name: _entry(name, value) for name, value in header.items()}
    end = 0
    for name, entry in sorted(entries.items(), key=lambda item: (item[1].start, item[1].stop)):
        if entry.start != end:
            raise RunError(f"array {brief(name)} starts at byte {entry.start:,}, expected {end:,}")
        end = entry.stop
    if end != size - 8 - length:
        raise RunError(f"{size - 8 - length:,} bytes of numbers, expected {end:,}: cut short, or damaged")
    return entries, said, end


def _distinct(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if len(found := dict(pairs)) < len(pairs):
        raise RunError("a name occurs twice in its header")
    return found


def _entry(name: str, value: object) -> Entry:
    match value:
        case {"dtype": str(dtype), "shape": list(shape), "data_offsets": [int(start), int(stop)]} if (
            len(shape) <= 2 and all(type(n) is int and 0 <= n < 2**32 for n in shape) and 0 <= start <= stop
        ):
            if dtype not in DTYPES:
                raise RunError(f"array {brief(name)} is {brief(dtype)}, expected one of {', '.join(DTYPES)}")
            if math.prod(shape) * DTYPES[dtype].itemsize != stop - start:
                raise RunError(f"array {brief(name)}: {stop - start:,} bytes for {dtype} {tuple(shape)}")
            return Entry(DTYPES[dtype], tuple(shape), start, stop)
    raise RunError(f"array {brief(name)}: its header is damaged, or it has more than two axes")


def _form(entries: Mapping[str, Entry], said: Mapping[str, str]) -> tuple[ModelConfig, int]:
    """The network that has these arrays, and V; all is told by their shapes, and the metadata must agree."""
    for name in ("rnn.weight_hh_l0", "rnn.weight_ih_l0", "dense.weight"):
        if name not in entries or len(entries[name].shape) != 2:
            raise RunError(f"array {name} is missing, or has not two axes")
    for name in sorted(entries):
        if name not in ("embedding.weight", "dense.weight", "dense.bias") and not NAME.fullmatch(name):
            raise RunError(f"unexpected array {brief(name)}")
    rows, H = entries["rnn.weight_hh_l0"].shape
    cells = [name for name, cell in CELLS.items() if rows == cell.gates * H]
    if H == 0 or not cells:
        raise RunError(f"array rnn.weight_hh_l0 has the shape ({rows}, {H}): of no cell known here")
    dtypes = sorted({entry.dtype.name for entry in entries.values()})
    if len(dtypes) > 1:
        raise RunError(f"arrays of {' and '.join(dtypes)}; expected one precision")
    V, E = entries["dense.weight"].shape[0], 0
    if embedding := entries.get("embedding.weight"):
        E = embedding.shape[-1] if embedding.shape else 0
    num_layers = 1 + max(int(match[3]) for name in entries if (match := NAME.fullmatch(name)))
    form: dict[str, Any] = {"cell": cells[0], "num_layers": num_layers, "hidden_size": H, "embedding_size": E}
    for key, value in form.items():
        if key in said and said[key] != str(value):
            raise RunError(f"the metadata say {key} {brief(said[key])}, the arrays {value}")
    config = ModelConfig(**form, dtype="float64" if dtypes == ["float64"] else "float32")
    G = CELLS[cells[0]].gates * H
    expected: dict[str, tuple[int, ...]] = {"dense.weight": (V, H), "dense.bias": (V,)}
    expected |= {"embedding.weight": (V, E)} if E else {}
    for layer in range(num_layers):
        expected[f"rnn.weight_ih_l{layer}"] = G, H if layer else E or V
        expected[f"rnn.weight_hh_l{layer}"] = G, H
        expected |= {f"rnn.bias_ih_l{layer}": (G,), f"rnn.bias_hh_l{layer}": (G,)}
    for name in (*expected, *entries):  # before memory is taken
        if name not in entries or entries[name].shape != expected.get(name):
            found = entries[name].shape if name in entries else "missing"
            raise RunError(f"array {name}: {found}, expected {expected.get(name, 'none')}")
    return config, V


def _symbols(text: str | None, V: int) -> Array:
    """The symbols that the metadata list."""
    if text is None:
        raise RunError("no vocabulary in the metadata: give a file of it with `vocabulary`")
    if text == BYTES:
        symbols: Array = np.arange(256, dtype=np.uint8)
    else:
        try:
            points = json.loads(text)
        except (ValueError, RecursionError):
            points = None
        if not isinstance(points, list) or not all(type(p) is int and 0 <= p < 0x110000 for p in points):
            raise RunError("the vocabulary in the metadata is not a JSON list of code points")
        symbols = np.array(points, np.uint32)
    return _fitting(symbols, V)


def _listed(path: Path, V: int) -> Array:
    """The characters of a file, in its order."""
    try:
        text = read_small(path, VOCABULARY_BYTES).decode()
    except UnicodeDecodeError:
        raise RunError(f"`vocabulary` {path} is not UTF-8") from None
    return _fitting(np.array([*map(ord, text)], np.uint32), V)


def _fitting(symbols: Array, V: int) -> Array:
    if len(symbols) != V or len(np.unique(symbols)) != V:
        raise RunError(f"a vocabulary of {len(symbols):,} characters, expected {V:,}, each once")
    return symbols
