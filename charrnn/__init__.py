"""charrnn: a character-level recurrent network in NumPy, every derivative worked out by hand."""

from charrnn.config import GradcheckConfig, SampleConfig, TrainConfig
from charrnn.errors import CharRNNError
from charrnn.measures.evaluation import Evaluation, evaluate
from charrnn.model.charrnn import CharRNN
from charrnn.runs import load
from charrnn.text.corpus import Corpus
from charrnn.text.vocabulary import Vocabulary
from charrnn.training import train

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
