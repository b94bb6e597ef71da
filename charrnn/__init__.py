"""charrnn: a character-level recurrent network in NumPy, every derivative worked out by hand."""

from charrnn import exchange
from charrnn.config import GradcheckConfig, SampleConfig, TrainConfig
from charrnn.errors import CharRNNError
from charrnn.measures.evaluation import Evaluation, Score, evaluate, score_lines
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
    "Score",
    "TrainConfig",
    "Vocabulary",
    "evaluate",
    "exchange",
    "load",
    "score_lines",
    "train",
]
