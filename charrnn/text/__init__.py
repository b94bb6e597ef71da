"""Text: from files to windows of integers."""

from charrnn.text.corpus import Corpus, Parts
from charrnn.text.streams import Streams
from charrnn.text.vocabulary import Tokens, Vocabulary

__all__ = ["Corpus", "Parts", "Streams", "Tokens", "Vocabulary"]
