"""Text: from files to windows of integers."""

from charrnn.text.corpus import Corpus, Parts
from charrnn.text.streams import ShuffledWindows, Streams
from charrnn.text.vocabulary import Tokens, Vocabulary

__all__ = ["Corpus", "Parts", "ShuffledWindows", "Streams", "Tokens", "Vocabulary"]
