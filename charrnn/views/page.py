"""The page of a run: one file that opens anywhere and needs nothing but a browser.

page.html, page.css and page.js stand beside this module, readable as they are. ``render`` puts style and
script into the first, and one JSON with all that they show. The script computes the network itself, by the
equations that trained it; the JSON holds its weights, a piece of text, and what takes longer than a reader
would wait: which unit follows what, the n-gram losses, eigenvalues.
"""

import base64
import hashlib
import json
import re
from collections.abc import Sequence
from importlib import resources
from pathlib import Path
from typing import Any, Literal

import numpy as np

from charrnn.config import TrainConfig
from charrnn.exchange.quantize import int8_rows
from charrnn.layers import Array
from charrnn.measures.baselines import baselines
from charrnn.measures.evaluation import evaluate
from charrnn.model import CharRNN
from charrnn.runs import read_note
from charrnn.runs.curves import read_curves
from charrnn.text.corpus import Parts
from charrnn.text.vocabulary import Tokens, Vocabulary
from charrnn.views.features import is_code
from charrnn.views.reach import by_distance, reach, windows
from charrnn.views.units import name_units, text_of

Precision = Literal["int8", "float16", "float32"]

POINTS = 400  # the most points of a curve
COUNTED = 4_000_000  # the longest text in which n-grams are counted: more would take seconds
STUDIED = 40_000  # characters that units are named on
SHOWN = 2_400  # characters to look into
DISTANCES = 200  # steps that a loss is sent back
SENT_BACK = 64  # losses whose median is drawn, fewer of a wide network: they take memory
NEW_CONTENT = {"rnn": 0, "gru": 2, "lstm": 2}  # the gate of W_aa that writes it: all of it, n, g
BEFORE = 100  # characters read before those steps, so that no state is that of a text's start


def render(data: dict[str, Any], name: str = "page", styles: Sequence[str] = ("page",)) -> str:
    """The page of these data: NAME.html with the styles, NAME.js and the data in their places.

    The page may run this script and use this style, known by their hashes, and nothing else: it can load
    nothing and send nothing.
    """
    style = "\n".join(asset(f"{part}.css") for part in styles)
    html, script = asset(f"{name}.html"), asset(f"{name}.js")
    places = {
        "STYLE_HASH": source_hash(style),
        "SCRIPT_HASH": source_hash(script),
        "STYLE": style,
        "SCRIPT": script,
        "DATA": json.dumps(data, allow_nan=False, separators=(",", ":")).replace("<", "\\u003c"),
    }
    return re.sub(r"\{\{([A-Z_]+)\}\}", lambda place: places[place[1]], html)


def asset(name: str) -> str:
    """A file that stands beside this module."""
    return resources.files(__package__).joinpath(name).read_text("utf-8")


def source_hash(source: str) -> str:
    """The name of a script or style in a content security policy."""
    return "'sha256-" + base64.b64encode(hashlib.sha256(source.encode()).digest()).decode() + "'"


def run_data(run: Path, model: CharRNN, parts: Parts, which: str, precision: Precision) -> dict[str, Any]:
    """All that the page shows of a run, as JSON takes it.

    Arguments:
        run: its folder.
        model: its network, ``which`` of its saves that is.
        parts: a text in the network's vocabulary. The end of its training and validation parts is shown, and
            units are named on it; n-grams are counted in the training part, which may be empty.
        precision: in which weights are stored.

    Raises:
        RunError: the folder is not a run, or is damaged.
    """
    note = read_note(run)
    config = note.settings
    tokens = studied(parts)
    shown = piece(model.vocabulary, tokens)
    network, rounded = network_data(model, precision)
    return {
        **network,
        "name": run.resolve().name,
        "corpus": note.corpus.name,
        "characters": note.corpus.characters,
        "T": config.seq_length,
        "which": which,
        "precision": precision,
        "rounding": loss_of(rounded, shown) - loss_of(model, shown),
        "shown": shown.tolist(),
        "code": is_code(text_of(model.vocabulary, shown)),
        "units": [
            {
                "number": unit.number,
                "feature": unit.feature,
                "words": unit.words,
                "kind": unit.kind,
                "r": round(unit.r, 3),
                "shuffled": round(unit.shuffled, 3),
            }
            for unit in name_units(model, tokens)
            if unit.is_named
        ],
        "reach": median_reach(model, tokens),
        "curves": curves(run),
        "to_beat": losses_to_beat(parts, model.V),
        "eigenvalues": {
            "now": eigenvalues(model),
            "start": [] if note.init_from else eigenvalues(start_of(model, config)),
        },
    }


def losses_to_beat(parts: Parts, V: int) -> dict[str, float]:
    """The n-gram losses of the validation part; none if a part is empty, or there is too much to count."""
    if len(parts.train) == 0 or len(parts.val) < 2 or len(parts.train) + len(parts.val) > COUNTED:
        return {}
    return {name: round(loss, 4) for name, loss in baselines(parts.train, parts.val, V).items()}


def studied(parts: Parts) -> Tokens:
    """The text that units are named on: the end of the training and validation parts."""
    return np.concatenate([parts.train[-STUDIED:], parts.val[-STUDIED:]])[-STUDIED:]


def piece(vocabulary: Vocabulary, tokens: Tokens) -> Tokens:
    """The end of a text, from the beginning of a paragraph on if one begins in good time."""
    end = text_of(vocabulary, tokens[-2 * SHOWN :])
    start = max(0, len(end) - SHOWN)
    for boundary in (r"\n\n\n+", r"\n\n+", r"\n", r" "):
        if starts := [match.end() for match in re.finditer(boundary, end) if match.end() <= start]:
            start = starts[-1]
            break
    return tokens[-2 * SHOWN :][start : start + SHOWN]


def loss_of(model: CharRNN, tokens: Tokens) -> float:
    """The mean loss of a text, in nats; 0 if nothing in it can be scored."""
    return evaluate(model, tokens).loss if len(tokens) > 1 else 0.0


# -- the network ------------------------------------------------------------------------------------


def network_data(model: CharRNN, precision: Precision) -> tuple[dict[str, Any], CharRNN]:
    """What the script makes its network from; and that network, whose weights are rounded."""
    weights, rounded = {}, model.like()
    for name, array in model.parameters.items():
        weights[name], rounded.parameters[name][...] = packed(array, precision)
    data = {
        "cell": model.config.cell,
        "H": model.config.hidden_size,
        "L": model.config.num_layers,
        "bytes": model.vocabulary.is_bytes,
        "symbols": model.vocabulary.symbols.tolist(),
        "weights": weights,
    }
    return data, rounded


def packed(array: Array, precision: Precision) -> tuple[dict[str, Any], Array]:
    """An array as the page holds it, and what it is there.

    As int8 each row of a matrix is rounded to 255 steps of its own; biases stay float32.

    Returns: shape, type and base64 of its bytes, of int8 also those of the steps; and the rounded array.
    """
    kind = "float32" if precision == "int8" and array.ndim == 1 else precision
    stored: dict[str, Any] = {"shape": array.shape, "type": kind}
    if kind == "int8":
        rounded, steps = int8_rows(array)
        return stored | {"data": text64(rounded), "steps": text64(steps)}, rounded * steps
    rounded = array.astype(np.dtype(kind).newbyteorder("<"))
    return stored | {"data": text64(rounded)}, rounded


def text64(array: Array) -> str:
    """The bytes of an array in base64."""
    return base64.b64encode(array.tobytes()).decode()


# -- figures ----------------------------------------------------------------------------------------


def median_reach(model: CharRNN, tokens: Tokens) -> dict[str, Any]:
    """The median of the reach at each distance, over a number of losses of a text; nothing of a short one."""
    if len(tokens) <= BEFORE + DISTANCES:
        return {}
    units = model.config.num_layers * model.config.hidden_size
    x, y = windows(tokens, BEFORE + DISTANCES, max(8, min(SENT_BACK, 2**15 // units)))
    medians = {
        state: [float(f"{length:.3g}") for length in by_distance(lengths)[:DISTANCES].tolist()]
        for state, lengths in reach(model, x, y)._asdict().items()
        if lengths is not None
    }
    return {"count": len(y), **medians}


def start_of(model: CharRNN, config: TrainConfig) -> CharRNN:
    """The network that training began with, drawn again from its seed."""
    return CharRNN.from_config(model.vocabulary, config, config.seed)


def eigenvalues(model: CharRNN) -> list[list[tuple[float, float]]]:
    """The eigenvalues of W_aa in each layer, of a gated cell those of its new content's part.

    They come in conjugate pairs; only those above and on the real axis are told.
    """
    H, content = model.config.hidden_size, NEW_CONTENT[model.config.cell]
    found = []
    for layer in range(model.config.num_layers):
        W = model.parameters.layer(layer)["W_aa"][:, content * H : (content + 1) * H]
        values = np.linalg.eigvals(W.astype(np.float64))
        found.append([(round(v.real, 3), round(v.imag, 3)) for v in values.tolist() if v.imag >= 0])
    return found


def curves(run: Path) -> dict[str, list[tuple[float, float]]]:
    """The curves of a run over its epochs, thinned where they are long, up to the first damaged line.

    Raises:
        RunError: metrics.jsonl cannot be read.
    """
    found, _ = read_curves(run, POINTS)
    return {
        name: [(round(x, 4), float(f"{y:.5g}")) for x, y in curve.points] for name, curve in found.items()
    }
