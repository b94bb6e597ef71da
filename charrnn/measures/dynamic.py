"""Dynamic evaluation: a network that goes on learning on the text it is scored on (Krause et al. 2018)."""

import math

import numpy as np

from charrnn.blas import one_blas_thread
from charrnn.errors import ConfigError, TextError
from charrnn.measures.evaluation import encoded, read
from charrnn.model.charrnn import CharRNN
from charrnn.text.documents import Documents, Text

SEGMENT = 20  # characters between two steps


def evaluate_dynamic(model: CharRNN, text: str | bytes | Text, rate: float) -> float:
    """Score a text from its first character to its last while a copy of the model learns on it.

    The text is read in segments of 20 characters, the state carried. A segment is scored first; then the
    weights make a step of gradient descent on its mean loss, p ← p − rate dp, before the next one is read.
    So no character is scored by weights that have seen it. Documents are scored each from a state of zeros,
    their first characters too; what was learned from one stays for the next.

    Arguments:
        text: as of ``evaluate``.
        rate: the learning rate; 0 changes nothing.

    Returns: the mean loss over the characters that ``evaluate`` scores, in nats per character.

    Raises:
        TextError: the text has fewer than two characters, or one that the model does not know.
        ConfigError: the rate is so large that the loss is no longer finite.
    """
    text = text if isinstance(text, Documents) else encoded(model, text, "text")
    first = 0 if isinstance(text, Documents) else 1  # of the characters that are scored
    if len(text) <= first:
        raise TextError(f"a text needs at least 2 characters to be scored; this one has {len(text)}")
    learner = model.at(model.parameters.flat.copy())
    p, g = learner.parameters.flat, learner.parameters.like()
    state, space, nats = learner.initial_state(1), learner.space(SEGMENT, 1), 0.0
    with one_blas_thread(), np.errstate(over="ignore", invalid="ignore"):
        for start in range(first, len(text), SEGMENT):
            at = np.arange(start, min(start + SEGMENT, len(text)))[:, np.newaxis]  # (T, 1)
            x, y, rho = read(text, at)
            loss, window = learner.forward(x.astype(np.intp), y.astype(np.intp), state, space, rho=rho)
            if not math.isfinite(loss):
                raise ConfigError(
                    f"`dynamic` {rate:g}: the loss is no longer finite after {start:,} characters. Lower it"
                )
            nats += float(loss) * len(at)
            state = window.state
            learner.backward(window, g)
            p -= rate * g.flat
    return nats / (len(text) - first)
