"""charrnn: a character-level recurrent network in NumPy, every derivative worked out by hand."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from charrnn import exchange
    from charrnn.config import GradcheckConfig, SampleConfig, TrainConfig
    from charrnn.errors import CharRNNError
    from charrnn.measures.evaluation import Evaluation, Score, evaluate, score_lines
    from charrnn.model.charrnn import CharRNN
    from charrnn.runs import load
    from charrnn.text.corpus import Corpus
    from charrnn.text.vocabulary import Vocabulary
    from charrnn.training import Progress, train
    from charrnn.version import __version__

__all__ = [
    "CharRNN",
    "CharRNNError",
    "Corpus",
    "Evaluation",
    "GradcheckConfig",
    "Progress",
    "SampleConfig",
    "Score",
    "TrainConfig",
    "Vocabulary",
    "__version__",
    "evaluate",
    "exchange",
    "load",
    "score_lines",
    "train",
]

_PLACES = {
    "config": ("GradcheckConfig", "SampleConfig", "TrainConfig"),
    "errors": ("CharRNNError",),
    "measures.evaluation": ("Evaluation", "Score", "evaluate", "score_lines"),
    "model.charrnn": ("CharRNN",),
    "runs": ("load",),
    "text.corpus": ("Corpus",),
    "text.vocabulary": ("Vocabulary",),
    "training": ("Progress", "train"),
    "version": ("__version__",),
}
_ROOMS = ("exchange", "layers", "measures", "model", "proofs", "runs", "text", "training", "views")


def __getattr__(name: str) -> Any:
    """A name above, or a room: imported when it is first asked for, so that a command loads what it needs."""
    for place, names in _PLACES.items():
        if name in names:
            return getattr(import_module(f"charrnn.{place}"), name)
    if name in (*_ROOMS, "config", "errors"):
        return import_module(f"charrnn.{name}")
    raise AttributeError(f"module 'charrnn' has no attribute {name!r}")


def __dir__() -> list[str]:
    return [*globals(), *__all__, *_ROOMS]
