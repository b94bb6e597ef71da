"""From a corpus to a run."""

from charrnn.training.progress import Progress
from charrnn.training.start import Result, train, train_in

__all__ = ["Progress", "Result", "train", "train_in"]
