"""Windows: the training part of a text as parallel streams, read T characters at a time.

A corpus of n characters is n integers in 0…V−1. Its training part is cut into B parallel streams,
one a row of the batch, and each step reads the next T characters of every stream:

    the text  a b c d e f g h i j k l m       B = 3 streams of 4, the target is the next character

    stream 0  a b c d        window 1  a b → b c     window 2  c d → d e
    stream 1  e f g h                  e f → f g               g h → h i
    stream 2  i j k l                  i j → j k               k l → l m

The state a of each row is carried from one window to the next, so that a stream is read as one text. Or
each window is read by itself, from a state of zeros: ``ShuffledWindows``.
"""

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from charrnn.errors import TextError
from charrnn.text.documents import Documents
from charrnn.text.tokens import release
from charrnn.text.vocabulary import Tokens


class Window(NamedTuple):
    """What a step of training reads."""

    inputs: Tokens  # (T, B)
    targets: Tokens  # (T, B)
    rho: NDArray[np.bool_] | None  # (T, B), False where a target begins a document; None where none does


class Streams:
    """The training part as B parallel streams, read T characters at a time.

    Every character but the first is a target once, and every character but the last an input once; up to
    B−1 characters at the end, which do not fill a row, are left out. Where T does not divide the length of a
    stream, windows are of T steps or a little shorter, all as even as can be: so each step of training
    weighs its characters alike.

    Attributes:
        inputs: (B, length) integers.
        targets: (B, length) integers, the character after each input.
        length: of a stream, in characters.
        batch_size: B, at most what the text fills.
        seq_length: T, the steps of the longest window.
    """

    def __init__(self, tokens: Tokens, batch_size: int, seq_length: int):
        """Cut ``tokens`` (n,) into streams.

        Raises:
            TextError: the text does not fill one row of one window.
        """
        must_fill_a_window(tokens, seq_length)
        self._tokens = tokens
        self.seq_length = seq_length
        self.batch_size = min(batch_size, (len(tokens) - 1) // seq_length)
        self.length = (len(tokens) - 1) // self.batch_size
        n, plain = self.length * self.batch_size, np.asarray(tokens)
        self.inputs = plain[:n].reshape(self.batch_size, self.length)
        self.targets = plain[1 : n + 1].reshape(self.batch_size, self.length)

    def __len__(self) -> int:
        """Count the windows of one pass over the text."""
        return math.ceil(self.length / self.seq_length)

    def characters(self, steps: int) -> int:
        """Count the characters that ``steps`` steps train on."""
        epochs, windows = divmod(steps, len(self))
        return self.batch_size * (epochs * self.length + self._start(windows))

    def _start(self, index: int) -> int:
        """Return the first step of a window."""
        return self.length * index // len(self)

    def __getitem__(self, index: int) -> tuple[Tokens, Tokens]:
        """Return inputs and targets of one window, (T, B) integers each."""
        if not 0 <= index < len(self):
            raise IndexError(f"window {index} of {len(self)}")
        here = slice(self._start(index), self._start(index + 1))
        # in C order, for which kernels are compiled before the first step
        inputs, targets = (rows[:, here].T.astype(np.intp, order="C") for rows in (self.inputs, self.targets))
        release(self._tokens)
        return inputs, targets

    def window(self, step: int) -> Window:
        """Return what a step of training reads."""
        return Window(*self[step % len(self)], None)


class DocumentStreams(Streams):
    """The documents of the training part, one after the other, as B parallel streams.

    Every character is a target; else as ``Streams``.
    """

    def __init__(self, documents: Documents, batch_size: int, seq_length: int):
        """Cut ``documents`` into streams.

        Raises:
            TextError: they do not fill one row of one window.
        """
        must_fill_a_window(documents, seq_length)
        self._documents = documents
        self.seq_length = seq_length
        self.batch_size = min(batch_size, len(documents) // seq_length)
        self.length = len(documents) // self.batch_size

    def window(self, step: int) -> Window:
        """Return what a step of training reads."""
        index = step % len(self)
        rows = self.length * np.arange(self.batch_size)
        steps = np.arange(self._start(index), self._start(index + 1))
        inputs, targets, rho = self._documents.read(steps[:, np.newaxis] + rows)
        release(self._documents)
        return Window(inputs.astype(np.intp), targets.astype(np.intp), rho)


class ShuffledWindows:
    """The training part as windows of T characters, B of them a step, each from a state of zeros.

    In each epoch the first window begins at another of the first T characters, the next ones follow it
    without a gap, and all come in another order; both follow from the seed and the number of the epoch. What
    lies before and after them, up to 2T−1 characters, and up to B−1 windows are left out of an epoch.

    Attributes:
        batch_size: B, at most what the text fills.
        seq_length: T.
    """

    def __init__(self, tokens: Tokens, batch_size: int, seq_length: int, seed: int):
        """Take windows of ``tokens`` (n,).

        Raises:
            TextError: the text does not fill one window.
        """
        must_fill_a_window(tokens, seq_length)
        self._tokens, self._seed = tokens, seed
        self.seq_length = seq_length
        self._count = max(1, len(tokens) // seq_length - 1)  # windows wherever the first one begins
        self.batch_size = min(batch_size, self._count)
        self._starts = np.empty(0, np.int64), -1  # of the windows of an epoch, in their order

    def __len__(self) -> int:
        """Count the steps of one pass over the text."""
        return self._count // self.batch_size

    def characters(self, steps: int) -> int:
        """Count the characters that ``steps`` steps train on."""
        return steps * self.batch_size * self.seq_length

    def window(self, step: int) -> Window:
        """Return what a step of training reads."""
        epoch, index = divmod(step, len(self))
        if self._starts[1] != epoch:
            self._starts = self._order(epoch), epoch
        rows = self._starts[0][index * self.batch_size : (index + 1) * self.batch_size]
        window = np.asarray(self._tokens)[np.arange(self.seq_length + 1)[:, np.newaxis] + rows]
        release(self._tokens)
        return Window(window[:-1].astype(np.intp), window[1:].astype(np.intp), None)

    def _order(self, epoch: int) -> NDArray[np.int64]:
        """Return where the windows of an epoch begin, (count,), in their order."""
        rng = np.random.default_rng(np.random.SeedSequence(self._seed, spawn_key=(epoch,)))
        places = min(self.seq_length, len(self._tokens) - self._count * self.seq_length)
        starts: NDArray[np.int64] = rng.integers(places) + self.seq_length * rng.permutation(self._count)
        return starts


def must_fill_a_window(text: Tokens | Documents, seq_length: int) -> None:
    """Refuse a text that does not fill one row of one window."""
    if len(text) <= seq_length:
        raise TextError(
            f"the training part has {len(text):,} characters; one window needs "
            f"{seq_length + 1:,} (`seq_length` and the character after). "
            "Lower `seq_length` or give a longer text"
        )
