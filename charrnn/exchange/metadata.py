"""What a file of a network says beside its weights, the same in each format."""

import json
from collections.abc import Mapping
from typing import Any

from charrnn.model import CharRNN

BYTES = "bytes"  # in place of a vocabulary that is all byte values
About = Mapping[str, Any]  # by name, what JSON can hold


def description(model: CharRNN, about: About | None = None) -> dict[str, Any]:
    """The cell, the sizes, the vocabulary, and what else is known ``about`` a network.

    The vocabulary is a list of code points in the order of their indices, or the word bytes.
    """
    form = model.config.model_dump(include={"cell", "num_layers", "hidden_size", "embedding_size"})
    vocabulary = BYTES if model.vocabulary.is_bytes else model.vocabulary.symbols.tolist()
    return {**(about or {}), **form, "vocabulary": vocabulary}


def metadata(model: CharRNN, about: About | None = None) -> dict[str, str]:
    """The description as texts by name: what is none is written as JSON."""
    said = description(model, about).items()
    return {name: value if isinstance(value, str) else json.dumps(value) for name, value in said}
