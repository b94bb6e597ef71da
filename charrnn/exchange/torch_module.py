"""A character-level network of charrnn in PyTorch, which reads text and writes text.

    python network.py network.safetensors "The fox "

It needs torch and safetensors, and nothing of charrnn. MIT licence.
"""

import json
import sys

import torch
from safetensors import safe_open

KINDS = {"rnn": torch.nn.RNN, "gru": torch.nn.GRU, "lstm": torch.nn.LSTM}


class Network(torch.nn.Module):
    """Indices of characters (T, B) to logits of the next ones (T, B, V).

    Attributes:
        vocabulary: the V characters in the order of their indices; of bytes, each as the character chr(byte).
    """

    def __init__(self, vocabulary, cell, num_layers, hidden_size, embedding_size, is_bytes=False):
        super().__init__()
        self.vocabulary, self.is_bytes = vocabulary, is_bytes
        V = len(vocabulary)
        self.embedding = torch.nn.Embedding(V, embedding_size) if embedding_size else None
        self.rnn = KINDS[cell](embedding_size or V, hidden_size, num_layers)
        self.dense = torch.nn.Linear(hidden_size, V)

    @classmethod
    def load(cls, file):
        """Make the network that a safetensors file holds."""
        with safe_open(file, "pt") as saved:
            said = saved.metadata()
            arrays = {name: saved.get_tensor(name) for name in saved.keys()}  # noqa: SIM118  # not a dict
        is_bytes = said["vocabulary"] == "bytes"
        vocabulary = "".join(map(chr, range(256) if is_bytes else json.loads(said["vocabulary"])))
        sizes = [int(said[name]) for name in ("num_layers", "hidden_size", "embedding_size")]
        network = cls(vocabulary, said["cell"], *sizes, is_bytes).to(arrays["dense.bias"].dtype)
        network.load_state_dict(arrays)
        return network

    def forward(self, tokens, state=None):
        """Read a window. Returns: the logits, and the state after it, for the window that follows."""
        if self.embedding is None:
            x = torch.nn.functional.one_hot(tokens, len(self.vocabulary)).to(self.dense.bias.dtype)
        else:
            x = self.embedding(tokens)
        a, state = self.rnn(x, state)
        return self.dense(a), state

    def encode(self, text):
        """The indices of the characters of a text (T, 1)."""
        if self.is_bytes:
            text = text.encode().decode("latin-1")
        return torch.tensor([[self.vocabulary.index(character)] for character in text])

    def decode(self, tokens):
        """The text of some indices."""
        text = "".join(self.vocabulary[token] for token in tokens)
        return text.encode("latin-1").decode(errors="replace") if self.is_bytes else text

    @torch.no_grad()
    def loss(self, text):
        """What a text costs, in nats per character after the first."""
        tokens = self.encode(text)
        logits, _ = self(tokens[:-1])
        return torch.nn.functional.cross_entropy(logits[:, 0], tokens[1:, 0]).item()

    @torch.no_grad()
    def sample(self, prime="", length=500, temperature=0.6):
        """Continue a text by so many characters. Returns: both."""
        tokens = self.encode(prime or self.vocabulary[0])
        logits, state = self(tokens)
        written = tokens[:, 0].tolist()
        for _ in range(length):
            weights = torch.softmax(logits[-1, 0] / temperature, 0)
            written.append(torch.multinomial(weights, 1).item())
            logits, state = self(torch.tensor([[written[-1]]]), state)
        return self.decode(written)


if __name__ == "__main__":
    print(Network.load(sys.argv[1]).sample(*sys.argv[2:3]))
