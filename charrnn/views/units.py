"""Units named by what they follow.

For each unit the feature is chosen that it follows best on one part of a text, and how well it does is
measured on another part. So a search through many features finds nothing where there is nothing.

Any recurrent network, even an untrained one, follows the characters it has just read, and so the spaces and
the position in a word. It does so as well when the same characters come in a shuffled order. So the
correlation there is measured too, and a unit is named only where it follows the text by ``NAMED`` more.
"""

from dataclasses import dataclass

import numpy as np

from charrnn.errors import ConfigError, brief
from charrnn.layers import Array
from charrnn.model import CharRNN
from charrnn.model.network import Network
from charrnn.text.vocabulary import Tokens, Vocabulary
from charrnn.views.features import Feature, Kind, features

NAMED = 0.2
ROWS = 16  # parts of a text read at once
WARM_UP, PIECE = 256, 256  # characters read before a part, and at once in each


@dataclass(frozen=True)
class Unit:
    """A unit and the feature that it follows best.

    Attributes:
        number: of L·H, those of the first layer first.
        feature, words, kind: of the feature.
        r: the correlation of activation and feature, on another part of the text than chose it.
        shuffled: that on the characters of the text in a shuffled order.
    """

    number: int
    feature: str
    words: str
    kind: Kind
    r: float
    shuffled: float

    @property
    def strength(self) -> float:
        """How much better it follows the text than shuffled characters."""
        return abs(self.r) - abs(self.shuffled)

    @property
    def is_named(self) -> bool:
        """Whether it follows anything worth a name."""
        return self.strength >= NAMED

    def __str__(self) -> str:
        return f"unit {self.number} {self.words if self.is_named else 'follows nothing'}, r = {self.r:.2f}"


def name_units(model: CharRNN, tokens: Tokens, seed: int = 0) -> list[Unit]:
    """Every unit of a model with the feature that it follows best on a text, the strongest first.

    Arguments:
        tokens: (n,) a text; its first half chooses, its second half measures.
        seed: of the shuffled order.
    """
    found, r, r_shuffled = followed(model, tokens, seed)
    if not found:
        return []
    best = (np.abs(r[0]) - np.abs(r_shuffled[0])).argmax(axis=1)  # (U,)
    units = [unit_of(found[f], u, r[1, u, f], r_shuffled[1, u, f]) for u, f in enumerate(best.tolist())]
    return sorted(units, key=lambda unit: -unit.strength)


def strongest(model: CharRNN, tokens: Tokens) -> Unit:
    """The unit that says most of a text: the strongest that remembers something, or else of all.

    Raises:
        ConfigError: no unit follows anything.
    """
    named = [unit for unit in name_units(model, tokens) if unit.is_named]
    if not named:
        raise ConfigError("no unit of this network follows anything that was looked for")
    return next((unit for unit in named if unit.kind == "remembers"), named[0])


def unit_that_follows(model: CharRNN, tokens: Tokens, feature: str, seed: int = 0) -> Unit:
    """The unit that follows a feature best on a text, chosen and measured as in ``name_units``.

    Raises:
        ConfigError: the text has no such feature; the message lists those that it has.
    """
    found, r, r_shuffled = followed(model, tokens, seed)
    names = [f.name for f in found]
    if feature not in names:
        raise ConfigError(f"`feature` {brief(repr(feature))}: this text has {', '.join(names) or 'none'}")
    f = names.index(feature)
    u = int((np.abs(r[0, :, f]) - np.abs(r_shuffled[0, :, f])).argmax())
    return unit_of(found[f], u, r[1, u, f], r_shuffled[1, u, f])


def unit_of(feature: Feature, number: int, r: float, shuffled: float) -> Unit:
    """A unit that follows a feature."""
    return Unit(number, feature.name, feature.words, feature.kind, float(r), float(shuffled))


def followed(model: CharRNN, tokens: Tokens, seed: int) -> tuple[list[Feature], Array, Array]:
    """The features of a text (F), and how well each unit follows each.

    Returns: the features, and the correlations (2, U, F) on its two halves, with the text and with its
    characters in a shuffled order.
    """
    text = text_of(model.vocabulary, tokens)
    order = np.random.default_rng(seed).permutation(len(tokens))
    shuffled = {feature.name: feature.values for feature in features("".join(text[i] for i in order))}
    found = features(text)
    if not found:
        return [], np.zeros((2, 0, 0)), np.zeros((2, 0, 0))
    values = np.stack([feature.values for feature in found], axis=1)  # (n, F)
    nothing = np.zeros(len(tokens), np.float32)
    control = np.stack([shuffled.get(feature.name, nothing) for feature in found], axis=1)
    half = len(tokens) // 2
    r, r_shuffled = (
        np.stack([correlations(a[part], v[part]) for part in (slice(half), slice(half, None))])
        for a, v in ((activations(model, tokens), values), (activations(model, tokens[order]), control))
    )
    return found, r, r_shuffled


def text_of(vocabulary: Vocabulary, tokens: Tokens) -> str:
    """The text with one character for each token, bytes as those of Latin-1."""
    if vocabulary.is_bytes:
        return vocabulary.decode_bytes(tokens).decode("latin-1")
    return vocabulary.decode(tokens)


def activations(network: Network, tokens: Tokens) -> Array:
    """The activations of all layers after each character of a text (n,), side by side (n, L·H).

    The text is read in rows, many at a time; each row but the first begins ``WARM_UP`` characters early.
    """
    n = len(tokens)
    stride = -(-max(0, n - WARM_UP) // ROWS)
    at = np.arange(WARM_UP + stride)[:, np.newaxis] + stride * np.arange(ROWS)
    x = np.asarray(tokens)[np.minimum(at, n - 1)].astype(np.intp)  # (WARM_UP + stride, ROWS)
    space, state, pieces = network.space(PIECE, ROWS), network.initial_state(ROWS), []
    for start in range(0, len(x), PIECE):
        part = space.first(len(x[start : start + PIECE]))
        network.activations(x[start : start + PIECE], state, part)
        state = part.state
        pieces.append(np.concatenate([memory.a[1:] for memory in part.cells], axis=-1))
    a = np.concatenate(pieces)
    rows = a[WARM_UP:].swapaxes(0, 1).reshape(-1, a.shape[-1])  # one after another
    return np.concatenate([a[:WARM_UP, 0], rows])[:n]


def correlations(a: Array, values: Array) -> Array:
    """Pearson's correlation of each unit with each feature, (U, F); 0 where either is the same throughout.

    Arguments:
        a: (n, U) activations.
        values: (n, F) features.
    """
    a, values = (x - x.mean(axis=0, dtype=np.float64).astype(x.dtype) for x in (a, values))
    squares = [np.square(x).sum(axis=0, dtype=np.float64) for x in (a, values)]
    lengths = np.sqrt(np.outer(*squares))
    return np.asarray(np.divide(a.T @ values, lengths, out=np.zeros_like(lengths), where=lengths > 1e-9))
