"""CharRNN: the layers chained into a network that predicts the next character.

    x⟨t⟩ ── W_ax ──▶ z⟨t⟩ ── tanh ──▶ a⟨t⟩ ── W_ya ──▶ ŷ⟨t⟩ ──▶ L
                      ▲                │
                      └──── W_aa ──────┘   to step t+1

Shapes: characters (T, B), activations (T+1, B, H), logits (T, B, V), a state (B, H).
"""

import codecs
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any, Literal, Self, Unpack

import numpy as np
from numpy.typing import DTypeLike, NDArray

from charrnn import layers
from charrnn.config import SampleConfig, SampleSettings
from charrnn.errors import ConfigError, TextError
from charrnn.parameters import Parameters
from charrnn.sampling import Step, generate, until
from charrnn.text import Tokens, Vocabulary

Array = NDArray[Any]


def orthogonal(H: int, rng: np.random.Generator) -> Array:
    """A random orthogonal matrix (H, H), uniform among them (Mezzadri 2007): it keeps a state's length."""
    q, r = np.linalg.qr(rng.standard_normal((H, H)))
    matrix: Array = q * np.sign(np.diagonal(r))
    return matrix


INITS: dict[str, Callable[[int, np.random.Generator], Array]] = {
    "orthogonal": orthogonal,
    "normal": lambda H, rng: rng.standard_normal((H, H)) / np.sqrt(H),
    "identity": lambda H, rng: np.eye(H),
}


@dataclass(frozen=True)
class Buffers:
    """Memory for one window's passes, kept and reused from window to window."""

    a: Array  # (T+1, B, H)
    logits: Array  # (T, B, V), then ŷ, then dlogits
    da: Array  # (T, B, H)
    dz: Array  # (T, B, H)

    @classmethod
    def allocate(cls, T: int, B: int, H: int, V: int, dtype: DTypeLike) -> Self:
        return cls(
            a=np.empty((T + 1, B, H), dtype),
            logits=np.empty((T, B, V), dtype),
            da=np.empty((T, B, H), dtype),
            dz=np.empty((T, B, H), dtype),
        )

    @property
    def nbytes(self) -> int:
        """Their size in bytes."""
        return self.a.nbytes + self.logits.nbytes + self.da.nbytes + self.dz.nbytes

    def first(self, T: int) -> Self:
        """The part of the memory that a window of T steps uses."""
        if len(self.da) == T:
            return self
        return type(self)(self.a[: T + 1], self.logits[:T], self.da[:T], self.dz[:T])


@dataclass(frozen=True)
class Window:
    """What a forward pass leaves for the backward pass."""

    x: Array  # (T, B) integers, or (T, B, V) rows
    y: Array  # (T, B) integers
    buffers: Buffers  # a and ŷ are filled

    @property
    def state(self) -> Array:
        """a⟨T⟩ (B, H), for the next window to start from."""
        state: Array = self.buffers.a[-1].copy()
        return state


class CharRNN:
    """A one-layer tanh RNN over characters with a softmax over the next one at every step.

    Attributes:
        vocabulary: the characters it knows.
        hidden_size: H.
        parameters: W_ax (V, H), W_aa (H, H), b_a (H,), W_ya (H, V), b_y (V,): named views of one flat
            vector, ``parameters.flat``.
    """

    def __init__(
        self,
        vocabulary: Vocabulary,
        hidden_size: int = 128,
        *,
        seed: int | np.random.Generator = 0,
        init: str = "orthogonal",
        init_scale: float = 1.0,
        dtype: DTypeLike = np.float32,
    ):
        """A new network.

        W_aa is ``init_scale`` times an orthogonal matrix, a normal one (variance 1/H) or the identity.
        W_ax is normal with a standard deviation of 2; tests/benchmarks/README.md has what others bring.
        The output layer starts near zero, so that the first loss is ln V to within 2 %: a network that
        has seen nothing should find every character equally likely.

        Raises:
            ConfigError: no such ``init``, or a hidden size below 1.
        """
        if init not in INITS:
            raise ConfigError(f"init {init!r} is none of {', '.join(INITS)}")
        if hidden_size < 1:
            raise ConfigError(f"hidden_size {hidden_size} must be at least 1")
        if np.dtype(dtype).kind not in "fc":
            raise ConfigError(f"dtype {np.dtype(dtype)}: should be float32, float64 or complex128")
        V, H = len(vocabulary), hidden_size
        rng = np.random.default_rng(seed)
        self.vocabulary = vocabulary
        self.hidden_size = H
        self.parameters = Parameters(
            {"W_ax": (V, H), "W_aa": (H, H), "b_a": (H,), "W_ya": (H, V), "b_y": (V,)}, dtype
        )
        self.parameters["W_ax"][...] = 2.0 * rng.standard_normal((V, H))
        self.parameters["W_aa"][...] = init_scale * INITS[init](H, rng)
        self.parameters["W_ya"][...] = 0.01 / np.sqrt(H) * rng.standard_normal((H, V))

    def __repr__(self) -> str:
        return f"CharRNN({len(self.vocabulary)} characters, hidden_size={self.hidden_size})"

    @property
    def dtype(self) -> np.dtype[Any]:
        """The dtype of the parameters, in which everything is computed."""
        return self.parameters.flat.dtype

    def initial_state(self, batch_size: int) -> Array:
        """a⟨0⟩ at the start of a text: zeros (B, H)."""
        return np.zeros((batch_size, self.hidden_size), self.dtype)

    def buffers(self, seq_length: int, batch_size: int) -> Buffers:
        """Memory for windows of up to ``seq_length`` steps and exactly ``batch_size`` rows."""
        return Buffers.allocate(seq_length, batch_size, self.hidden_size, len(self.vocabulary), self.dtype)

    def bytes_per_step(self, batch_size: int) -> int:
        """What each time step takes in such memory."""
        return (3 * self.hidden_size + len(self.vocabulary)) * batch_size * self.dtype.itemsize

    def activations(self, inputs: Array, state: Array, buffers: Buffers | None = None) -> Buffers:
        """Run over a window without its output: fills the activations (F1, F2)."""
        p = self.parameters
        T, B = inputs.shape[:2]
        buffers = self.buffers(T, B) if buffers is None else buffers.first(T)
        xW = layers.embedding_forward(inputs, p["W_ax"], out=buffers.a[1:])
        layers.recurrence_forward(xW, state, p["W_aa"], p["b_a"], out=buffers.a)
        return buffers

    def logits(self, inputs: Array, state: Array, buffers: Buffers | None = None) -> Buffers:
        """Run over a window without a loss: fills the activations and the logits (F1, F2, inside of F3)."""
        p = self.parameters
        buffers = self.activations(inputs, state, buffers)
        layers.dense_forward(buffers.a[1:], p["W_ya"], p["b_y"], out=buffers.logits)
        return buffers

    def forward(
        self,
        inputs: Array,
        targets: Array,
        state: Array | None = None,
        buffers: Buffers | None = None,
    ) -> tuple[Any, Window]:
        """The loss of a window (F1–F4).

        Arguments:
            inputs: (T, B) integers in 0…V−1, or (T, B, V) rows.
            targets: (T, B) integers in 0…V−1, the character after each input.
            state: a⟨0⟩ (B, H); zeros if not given.
            buffers: memory to work in, of ``buffers()``; made anew if not given.

        Returns: the loss, the mean over T·B characters in nats, and what ``backward`` needs.
        """
        x, y = self._characters(inputs, "inputs"), self._characters(targets, "targets")
        if x.shape[:2] != y.shape:
            raise ValueError(f"inputs {x.shape} and targets {y.shape} differ in shape")
        state = self.initial_state(y.shape[1]) if state is None else state
        if state.shape != (y.shape[1], self.hidden_size):
            raise ValueError(f"a state of shape {state.shape}; expected {(y.shape[1], self.hidden_size)}")
        buffers = self.logits(x, state, buffers)
        loss, _ = layers.cross_entropy_forward(buffers.logits, y, out=buffers.logits)
        return loss, Window(x, y, buffers)

    def backward(
        self,
        window: Window,
        gradients: Parameters | None = None,
        *,
        share: float = 1.0,
        future: Array | None = None,
        input_gradient: bool = False,
    ) -> tuple[Parameters, Array | None, Array]:
        """The gradients of a window's loss (B1–B9). Uses up the window: call it once for each forward.

        Arguments:
            window: from ``forward``.
            gradients: written if given; made anew if not.
            share: of a segment, its part of the window's time steps, over which the loss is the mean.
            future: of a segment, what the one after it sends back, that one's da⟨0⟩ (B, H).
            input_gradient: also compute dx⟨t⟩, which training has no use for.

        Returns: the gradients of the parameters, dx (T, B, V) or None, and da⟨0⟩ (B, H).
        """
        p = self.parameters
        g = p.like() if gradients is None else gradients
        a, da, dz = window.buffers.a, window.buffers.da, window.buffers.dz
        dlogits = layers.cross_entropy_backward(window.buffers.logits, window.y)
        if share != 1:
            dlogits *= share
        layers.dense_backward(dlogits, a[1:], p["W_ya"], g["W_ya"], g["b_y"], out=da)
        if future is not None:
            da[-1] += future
        _, da0 = layers.recurrence_backward(da, a, p["W_aa"], out=dz)
        layers.recurrence_backward_weights(dz, a, g["W_aa"], g["b_a"])
        layers.embedding_backward(dz, window.x, g["W_ax"], scratch=da)
        dx = layers.embedding_backward_input(dz, p["W_ax"]) if input_gradient else None
        return g, dx, da0

    def loss_and_gradients(
        self,
        inputs: Array,
        targets: Array,
        state: Array | None = None,
        *,
        checkpoint_every: int = 0,
        buffers: Buffers | None = None,
        gradients: Parameters | None = None,
    ) -> tuple[float, Parameters, Array]:
        """The loss of a window, the gradient of every parameter, and the state after it.

        Arguments:
            inputs, targets: (T, B) integers in 0…V−1; the target is the character after the input.
            state: a⟨0⟩ (B, H), the state that the window before returned; zeros if not given.
            checkpoint_every: K, to keep a⟨t⟩ of every K-th step only and compute the others again on the
                way back (Gruslys et al. 2016): the memory of K + T/K steps in place of T, for about a
                third more time. 0 keeps all.
            buffers: memory to work in, for windows of K steps; made anew if not given.
            gradients: written if given; made anew if not.

        Returns: the loss (mean over T·B characters, in nats), the gradients by name, and a⟨T⟩ (B, H).
        """
        T, K = len(targets), checkpoint_every
        if not 0 < K < T:
            loss, window = self.forward(inputs, targets, state, buffers)
            g, _, _ = self.backward(window, gradients)
            return float(loss), g, window.state
        buffers = self.buffers(K, targets.shape[1]) if buffers is None else buffers
        kept = [self.initial_state(targets.shape[1]) if state is None else state]
        segments = [slice(t, min(t + K, T)) for t in range(0, T, K)]
        for segment in segments[:-1]:
            kept.append(self.activations(inputs[segment], kept[-1], buffers).a[-1].copy())
        total, future, after = 0.0, None, kept[0]
        g, part = self.parameters.like() if gradients is None else gradients, self.parameters.like()
        g.flat[...] = 0
        for segment, before in zip(reversed(segments), reversed(kept), strict=True):
            loss, window = self.forward(inputs[segment], targets[segment], before, buffers)
            share = (segment.stop - segment.start) / T
            total += share * float(loss)
            after = window.state if future is None else after
            _, _, future = self.backward(window, part, share=share, future=future)
            g.flat += part.flat
        return total, g, after

    def stepper(self, num_samples: int = 1) -> Step:
        """A function that reads the next character: (character, state (H,)) → (logits (V,), state (H,)).

        Of several texts it takes characters (N,) and states (N, H). It computes F1, F2 and the inside of
        F3 for one step, as the layers do for a window, with copies of the weights as they are now.
        """
        p = self.parameters
        order: Literal["F", "C"] = "F" if num_samples == 1 else "C"  # BLAS is a fifth faster on a lone row so
        xW, b_y = p["W_ax"] + p["b_a"], p["b_y"].copy()
        W_aa, W_ya = p["W_aa"].copy(order), p["W_ya"].copy(order)

        def step(tokens: Array | int, state: Array) -> tuple[Array, Array]:
            z = np.dot(state, W_aa)
            z += xW[tokens]
            a = np.tanh(z, out=z)
            logits = np.dot(a, W_ya)
            logits += b_y
            return logits, a

        return step

    def generate(
        self, prime: Tokens, num_samples: int, config: SampleConfig, rng: np.random.Generator
    ) -> Iterator[Array | int]:
        """Draw characters without end for ``num_samples`` texts at once, after reading ``prime`` (n,).

        With nothing to read, each text begins as a line does: after a newline, if the model knows one;
        else with a character drawn evenly from the vocabulary.

        Yields: (num_samples,) integers; of one text just the integer.
        """
        state = self.initial_state(1)
        if len(prime) == 0:
            prime = self.vocabulary.encode("\n", ignore_unknown=True)
        if len(prime) == 0:
            logits = np.zeros((1, len(self.vocabulary)), self.dtype)
        for start in range(0, len(prime), 1024):  # a long prime text in pieces
            buffers = self.logits(prime[start : start + 1024, np.newaxis].astype(np.intp), state)
            logits, state = buffers.logits[-1], buffers.a[-1]
        if num_samples == 1:
            logits, state = logits[0], state[0]
        else:
            logits, state = (np.repeat(rows, num_samples, axis=0) for rows in (logits, state))
        shape = config.temperature, config.top_k, config.top_p
        yield from generate(self.stepper(num_samples), logits, state, rng, *shape)

    def stream(
        self, prime: str | bytes = "", *, ignore_unknown: bool = False, **settings: Unpack[SampleSettings]
    ) -> Iterator[str]:
        """Draw text piece by piece: first ``prime``, then character by character what follows it.

        Arguments:
            prime: the text to go on from.
            ignore_unknown: drop characters of ``prime`` that the model does not know.
            settings: those of ``charrnn.SampleConfig``: length, temperature, top_k, top_p, stop, seed.

        Raises:
            TextError: ``prime`` or ``stop`` has characters that the model does not know.
            ConfigError: a setting has a value that it cannot have.
        """
        config = SampleConfig(**settings)
        start = self.vocabulary.encode(prime, ignore_unknown=ignore_unknown)
        decoder = codecs.getincrementaldecoder("utf-8")("replace")  # bytes may end inside a character
        yield decoder.decode(self.vocabulary.decode_bytes(start))
        for token in self.draw(start, config):
            if piece := decoder.decode(self.vocabulary.decode_bytes([token])):
                yield piece
        yield decoder.decode(b"", final=True)

    def draw(self, prime: Tokens, config: SampleConfig) -> Iterator[int]:
        """Draw ``config.length`` characters after ``prime`` (n,), fewer if ``config.stop`` comes first."""
        stop = self._stop(config)
        drawn = self.generate(prime, 1, config, np.random.default_rng(config.seed))
        return until(map(int, islice(drawn, config.length)), stop)

    def sample(
        self, prime: str | bytes = "", *, ignore_unknown: bool = False, **settings: Unpack[SampleSettings]
    ) -> str:
        """``stream`` as one string."""
        return "".join(self.stream(prime, ignore_unknown=ignore_unknown, **settings))

    def draw_many(
        self, prime: Tokens, num_samples: int, config: SampleConfig, rng: np.random.Generator
    ) -> list[list[int]]:
        """Draw several texts at once, which is much faster than one by one; each as ``draw`` does."""
        stop = self._stop(config)
        drawn = self.generate(prime, num_samples, config, rng)
        texts: list[list[int]] = [[] for _ in range(num_samples)]
        running = texts
        for tokens in islice(drawn, config.length):
            for text, token in zip(texts, np.atleast_1d(tokens).tolist(), strict=True):
                text.append(token)
            if stop:
                running = [text for text in running if text[-len(stop) :] != stop]
                if not running:
                    break
        return [list(until(text, stop)) for text in texts]

    def _stop(self, config: SampleConfig) -> list[int]:
        try:
            return list(map(int, self.vocabulary.encode(config.stop)))
        except TextError:
            raise TextError(
                f"--stop {config.stop!r} has characters that the model does not know: it would never stop"
            ) from None

    def _characters(self, tokens: Array, what: str) -> Array:
        tokens = np.asarray(tokens)
        if tokens.ndim == 3 and what == "inputs":
            return tokens
        if tokens.ndim != 2 or tokens.dtype.kind not in "iu" or tokens.size == 0:
            raise ValueError(f"{what}: {tokens.dtype} {tokens.shape}; expected integers (T, B)")
        V = len(self.vocabulary)
        if tokens.min() < 0 or tokens.max() >= V:
            raise ValueError(f"{what}: characters are 0 to {V - 1}; found {tokens.max()}")
        return tokens.astype(np.intp, copy=False)
