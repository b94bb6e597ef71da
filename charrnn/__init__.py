"""charrnn: a character-level recurrent network in NumPy, every derivative worked out by hand."""

from charrnn.checkpoint import load
from charrnn.config import GradcheckConfig, SampleConfig, TrainConfig
from charrnn.corpus import Corpus
from charrnn.errors import CharRNNError
from charrnn.evaluation import Evaluation, evaluate
from charrnn.model import CharRNN
from charrnn.text import Vocabulary
from charrnn.trainer import train

__all__ = [
    "CharRNN",
    "CharRNNError",
    "Corpus",
    "Evaluation",
    "GradcheckConfig",
    "SampleConfig",
    "TrainConfig",
    "Vocabulary",
    "evaluate",
    "load",
    "train",
]
