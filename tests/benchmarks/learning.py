"""What the network learns on the field's usual texts. Prints, and asserts nothing.

    python tests/benchmarks/learning.py tinyshakespeare FILE
    python tests/benchmarks/learning.py warpeace FILE
    python tests/benchmarks/learning.py tang FILE

tinyshakespeare: the first 90 % is trained on, the last 10 % scored.
warpeace: as bytes (latin-1 has a character for each), cut in 100 equal pieces; of each the first 80 % is
trained on, the next 10 % picks the network, the last 10 % is scored (the protocol of Karpathy, Johnson &
Fei-Fei 2015).
tang: Chinese verse, 5,387 characters; the first 90 % is trained on, the last 10 % scored.

Further words are settings: --hidden-size 128 --epochs 10 …
"""

import hashlib
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np

from charrnn import Corpus, TrainConfig, train

COMMON = {
    "seq_length": 128,
    "batch_size": 64,
    "learning_rate": 3e-3,
    "weight_decay": 0.0,
    "sample_every": 0,
}
TEXTS = {
    "tinyshakespeare": {"hidden_size": 256, "epochs": 40, "val_fraction": 0.1, "test_fraction": 0.0},
    "warpeace": {"hidden_size": 140, "epochs": 50, "val_fraction": 0.1, "test_fraction": 0.1},
    "tang": {
        "cell": "gru",
        "hidden_size": 256,
        "seq_length": 64,
        "epochs": 4,
        "dropout": 0.2,
        "val_fraction": 0.1,
        "test_fraction": 0.0,
    },
}


def in_pieces(corpus: Corpus, pieces: int = 100) -> Corpus:
    """The corpus put in another order: the beginning of every piece, then the middles, then the ends."""
    size = len(corpus.tokens) // pieces
    cut = corpus.tokens[: size * pieces].reshape(pieces, size)
    a, b = size * 8 // 10, size * 9 // 10
    tokens = np.concatenate([part.reshape(-1) for part in (cut[:, :a], cut[:, a:b], cut[:, b:])])
    return replace(corpus, tokens=tokens, sha256=hashlib.sha256(tokens.tobytes()).hexdigest())


def main(name: str, path: str, *words: str) -> None:
    flags = dict(zip(words[::2], words[1::2], strict=True))
    settings = COMMON | TEXTS[name] | {f[2:].replace("-", "_"): value for f, value in flags.items()}
    corpus = Corpus.from_files(path, encoding="latin-1" if name == "warpeace" else "utf-8")
    if name == "warpeace":
        corpus = in_pieces(corpus)
    config = TrainConfig(**settings)
    out = Path(
        "runs", "-".join(["learning", name, *(f"{flag[2:]}-{value}" for flag, value in flags.items())])
    )
    result = train(corpus, config, out, overwrite=True, progress=True)
    test = "" if result.test_loss is None else f", test {result.test_loss:.4f}"
    print(
        f"{name}: {len(corpus):,} characters, {len(corpus.vocabulary)} symbols, "
        f"{result.model.parameters.flat.size:,} parameters: validation {result.best_val_loss:.4f}{test} "
        f"nats per character; {config.epochs} epochs, {result.steps:,} steps in {result.elapsed:.0f} s"
    )


if __name__ == "__main__":
    main(*sys.argv[1:])
