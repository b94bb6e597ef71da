"""charrnn: a character-level recurrent network in NumPy, every derivative worked out by hand."""

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
    "load",
    "score_lines",
    "train",
]
