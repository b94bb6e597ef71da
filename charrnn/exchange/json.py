"""Networks as JSON, to read and to compute with in any language.

    {"cell": "gru", "num_layers": 1, …, "vocabulary": [10, 32, …],
     "shapes": {"W_ax": [61, 192], …},
     "parameters": {"W_ax": [[0.12, …], …], …}}

The parameters have the names and shapes of this program (``Network``), so that the equations in layers/ hold
for them as they stand. A number has the digits that give back the same bits.
"""

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from charrnn.errors import RunError
from charrnn.exchange.metadata import About, description
from charrnn.files import write_output
from charrnn.layers import Array
from charrnn.model import CharRNN

NUMBERS = 10**7  # that are written: some 120 MB


def write_json(model: CharRNN, path: Path, about: About | None = None) -> None:
    """Write a network, whole or not at all, a row of a matrix on a line.

    Raises:
        RunError: the network is too large, or the file cannot be written.
    """
    if (size := model.parameters.flat.size) > NUMBERS:
        raise RunError(f"{size:,} parameters; JSON is for up to {NUMBERS:,}. Write a safetensors file")
    said = description(model, about) | {"dtype": model.dtype.name, "shapes": model.parameters.shapes}
    lines = [f"  {json.dumps(name)}: {json.dumps(value)},\n" for name, value in said.items()]
    arrays = (f"    {json.dumps(name)}: {_text(array)}" for name, array in model.parameters.items())
    blob = "{\n" + "".join(lines) + '  "parameters": {\n' + ",\n".join(arrays) + "\n  }\n}\n"
    write_output(path, blob.encode())


def _text(array: Array) -> str:
    rows = ",\n      ".join(map(json.dumps, _shortest(np.atleast_2d(array))))
    return f"[\n      {rows}\n    ]" if array.ndim == 2 else rows


def _shortest(array: Array) -> Iterator[list[float]]:
    """The rows in double precision, of a single one the number with the fewest digits that stands for it."""
    for row in array:
        yield (row.astype(str).astype(np.float64) if row.dtype == np.float32 else row).tolist()
