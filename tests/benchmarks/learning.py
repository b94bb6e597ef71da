"""What the network learns on the field's usual texts. Prints, and asserts nothing.

    python tests/benchmarks/learning.py text data/fables.txt --minutes 2
    python tests/benchmarks/learning.py tinyshakespeare FILE --minutes 10
    python tests/benchmarks/learning.py warpeace FILE --hidden-size 272

text: any; the first 90 % is trained on, the next 5 % picks the network, the last 5 % is scored.
tinyshakespeare: the first 90 % is trained on, the last 10 % picks and is scored, as the field does it.
apart: tinyshakespeare with the last 10 % scored only; the 5 % before it pick.
names: by document; 1,000 names pick, which makemore scores, and another 1,000 are scored only.
warpeace: as bytes (latin-1 has a character for each), cut in 100 equal pieces; of each the first 80 % is
trained on, the next 10 % picks the network, the last 10 % is scored (the protocol of Karpathy, Johnson &
Fei-Fei 2015).
tang: Chinese verse, 5,387 characters; the first 90 % is trained on, the last 10 % picks and is scored.

Further words are settings: --hidden-size 128 --epochs 10 … With --minutes M the recipe chooses the others, as
``charrnn train --minutes``; without, they are those below and the defaults.
"""

import hashlib
import shlex
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from charrnn import Corpus, TrainConfig
from charrnn.measures.baselines import baselines
from charrnn.model.kernels import choose_kernels
from charrnn.runs import RunFolder, read_note
from charrnn.training import train_in
from charrnn.training.bar import Bar
from charrnn.training.recipe import choose

COMMON = {"seq_length": 128, "batch_size": 64, "learning_rate": 3e-3, "weight_decay": 0.0, "sample_every": 0}
PARTS: dict[str, dict[str, Any]] = {
    "text": {},
    "tinyshakespeare": {"val_fraction": 0.1, "test_fraction": 0.0},
    "apart": {"val_fraction": 0.05, "test_fraction": 0.1},
    "names": {"val_fraction": 0.0312, "test_fraction": 0.0312},
    "warpeace": {"val_fraction": 0.1, "test_fraction": 0.1},
    "tang": {"val_fraction": 0.1, "test_fraction": 0.0},
}
NETWORKS: dict[str, dict[str, Any]] = {  # without --minutes
    "tinyshakespeare": {"hidden_size": 256, "epochs": 40},
    "warpeace": {"hidden_size": 140, "epochs": 50},
    "tang": {"cell": "gru", "hidden_size": 256, "seq_length": 64, "epochs": 4, "dropout": 0.2},
}


def in_pieces(corpus: Corpus, pieces: int = 100) -> Corpus:
    """The corpus put in another order: the beginning of every piece, then the middles, then the ends."""
    size = len(corpus.tokens) // pieces
    cut = corpus.tokens[: size * pieces].reshape(pieces, size)
    a, b = size * 8 // 10, size * 9 // 10
    tokens = np.concatenate([part.reshape(-1) for part in (cut[:, :a], cut[:, a:b], cut[:, b:])])
    return replace(corpus, tokens=tokens, sha256=hashlib.sha256(tokens.tobytes()).hexdigest())


def read(name: str, path: str) -> Corpus:
    """The text, as it is trained on."""
    if name == "warpeace":
        return in_pieces(Corpus.from_files(path, encoding="latin-1"))
    return Corpus.from_files(path, documents="line" if name == "names" else "")


def main(name: str, path: str, *words: str) -> None:
    flags = {flag[2:].replace("-", "_"): value for flag, value in zip(words[::2], words[1::2], strict=True)}
    minutes = float(flags.pop("minutes", 0))
    corpus, settings = read(name, path), PARTS[name] | {"sample_every": 0} | flags
    if minutes:
        config = choose_kernels(TrainConfig(**settings))
        config = choose(corpus, config, set(settings), 60 * minutes)
    else:
        config = TrainConfig(**COMMON | NETWORKS.get(name, {}) | settings)
    out = Path("runs", "-".join(["learning", name, Path(path).stem, *(word.strip("-") for word in words)]))
    with RunFolder(out, "overwrite") as folder:
        seconds = 60 * minutes if minutes else None
        result = train_in(folder, corpus, config, progress=Bar(disable=None), seconds=seconds)
    parts, config = corpus.parts(config), read_note(out).settings
    chosen = {key: value for key, value in config if value != TrainConfig.model_fields[key].default}
    print(f"settings: {' '.join(f'{key}={value}' for key, value in chosen.items())}")
    print(
        f"{name} {shlex.quote(path)}: {len(corpus):,} characters, {len(corpus.vocabulary)} symbols, "
        f"{result.model.parameters.flat.size:,} parameters, {result.steps:,} steps in {result.elapsed:.0f} s"
    )
    for part, loss in (("val", result.best_val_loss), ("test", result.test_loss)):
        if loss is not None:
            counted = baselines(parts.train, getattr(parts, part), len(corpus.vocabulary))
            best = min(counted, key=lambda order: counted[order])
            print(f"{part:4}  {loss:.4f} nats per character; the best n-gram, a {best}: {counted[best]:.4f}")


if __name__ == "__main__":
    main(*sys.argv[1:])
