"""CharRNN: the layers chained into a network that predicts the next character.

    x⟨t⟩ ── W_ax ──▶ cell ──▶ a⟨t⟩ ── W_ax[2] ──▶ cell ──▶ a⟨t⟩ … ── W_ya ──▶ ŷ⟨t⟩ ──▶ L
                     ▲  │                         ▲  │
                     └──┘ W_aa, to step t+1       └──┘ W_aa[2]

Shapes: characters (T, B), activations (T+1, B, H), logits (T, B, V), a state (B, S): the activations of all
layers side by side, each with its cell c after it where it has one, so that S is H for one layer of tanh.
"""

import codecs
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any, Literal, Self, Unpack

import numpy as np
from numpy.typing import DTypeLike

from charrnn import layers
from charrnn.config import ModelConfig, SampleConfig, SampleSettings
from charrnn.errors import ConfigError, TextError
from charrnn.layers import Array
from charrnn.model.parameters import Parameters
from charrnn.model.sampling import Step, generate, until
from charrnn.text.vocabulary import Tokens, Vocabulary


def orthogonal(H: int, rng: np.random.Generator) -> Array:
    """A random orthogonal matrix (H, H), uniform among them (Mezzadri 2007): it keeps a state's length."""
    q, r = np.linalg.qr(rng.standard_normal((H, H)))
    matrix: Array = q * np.sign(np.diagonal(r))
    return matrix


Steps = list[tuple[slice, Parameters]]  # of some time steps the gradients, and what to write them to
Init = Callable[[int, np.random.Generator], Array]
INITS: dict[str, Init] = {
    "orthogonal": orthogonal,
    "normal": lambda H, rng: rng.standard_normal((H, H)) / np.sqrt(H),
    "identity": lambda H, rng: np.eye(H),
}


def named(name: str, layer: int) -> str:
    """A parameter's name in a layer, counted from 0: W_aa, W_aa[2], W_aa[3] …"""
    return f"{name}[{layer + 1}]" if layer else name


@dataclass(frozen=True)
class Buffers:
    """Memory for one window's passes, kept and reused from window to window."""

    cell: layers.Cell
    memory: tuple[dict[str, Array], ...]  # of each layer: a (T+1, B, H), …
    dz: tuple[Array, ...]  # of each layer (T, B, G·H)
    da: Array  # (T, B, H)
    logits: Array  # (T, B, V), then ŷ, then dlogits
    e: Array | None  # (T, B, E), embedded characters
    dropped: tuple[Array, ...]  # of each layer (T, B, H), what dropout leaves of its activations

    @property
    def nbytes(self) -> int:
        """Their size in bytes."""
        arrays = [array for memory in self.memory for array in memory.values()]
        arrays += [*self.dz, self.da, self.logits, *([] if self.e is None else [self.e])]
        arrays += self.dropped + self.dropped  # and their masks, which are drawn when they are needed
        return sum(array.nbytes for array in arrays)

    def part(self, now: slice) -> Self:
        """The part of the memory that belongs to some of the steps, counted from 0."""
        if now == slice(0, len(self.da)):
            return self
        return replace(
            self,
            memory=tuple(self.cell.part(memory, now) for memory in self.memory),
            dz=tuple(dz[now] for dz in self.dz),
            da=self.da[now],
            logits=self.logits[now],
            e=None if self.e is None else self.e[now],
            dropped=tuple(d[now] for d in self.dropped),
        )

    def sent_up(self, layer: int, masks: Array | None) -> Array:
        """What a layer sends up (T, B, H): its activations, or what dropout leaves of them."""
        up: Array = self.memory[layer]["a"][1:] if masks is None else self.dropped[layer]
        return up

    @property
    def state(self) -> Array:
        """The state after the window (B, S), for the next one to start from."""
        return np.concatenate(
            [memory[name][-1] for memory in self.memory for name in self.cell.states], axis=1
        )


@dataclass(frozen=True)
class Window:
    """What a forward pass leaves for the backward pass."""

    x: Array  # (T, B) integers, or (T, B, V) rows
    y: Array  # (T, B) integers
    buffers: Buffers  # the memory and ŷ are filled
    masks: Array | None  # (L, T, B, H)

    @property
    def state(self) -> Array:
        """The state after the window (B, S)."""
        return self.buffers.state


class CharRNN:
    """A recurrent network over characters with a softmax over the next one at every step.

    Attributes:
        vocabulary: the characters it knows.
        hidden_size: H.
        cell: rnn (tanh), gru or lstm.
        num_layers: L, how many of them stand on one another.
        embedding_size: E; 0 where characters go in one-hot.
        state_size: S, the numbers that are carried from step to step.
        parameters: named views of one flat vector, ``parameters.flat``. One layer of tanh has W_ax (V, H),
            W_aa (H, H), b_a (H,), W_ya (H, V), b_y (V,). A cell of G gates has G·H columns in W_ax, W_aa and
            b_a, a GRU also b_n (H,); the second layer has W_ax[2] (H, G·H), W_aa[2], b_a[2]; an embedding is
            W_ex (V, E), and the first W_ax is (E, G·H) then.
    """

    def __init__(
        self,
        vocabulary: Vocabulary,
        hidden_size: int = 128,
        *,
        cell: str = "rnn",
        num_layers: int = 1,
        embedding_size: int = 0,
        seed: int | np.random.Generator | None = 0,
        init: str = "orthogonal",
        init_scale: float = 1.0,
        input_scale: float = 2.0,
        dtype: DTypeLike = np.float32,
    ):
        """A new network; one of zeros if ``seed`` is None.

        W_aa is ``init_scale`` times an orthogonal matrix, a normal one (variance 1/H) or the identity, for
        each gate by itself. W_ax is normal with a standard deviation of ``input_scale`` (over √X where its
        input is no one-hot row but has X numbers); tests/benchmarks/README.md has what others bring. The
        forget gate of an LSTM starts open: its part of b_a is 1. The output layer starts near zero, so that
        the first loss is ln V to within 2 %: a network that has seen nothing should find every character
        equally likely.

        Raises:
            ConfigError: no such ``init`` or ``cell``, or a size below 1.
        """
        if init not in INITS:
            raise ConfigError(f"init {init!r} is none of {', '.join(INITS)}")
        if np.dtype(dtype).kind not in "fc":
            raise ConfigError(f"dtype {np.dtype(dtype)}: should be float32, float64 or complex128")
        self.vocabulary = vocabulary
        self.hidden_size, self.num_layers, self.embedding_size = hidden_size, num_layers, embedding_size
        self.cell = cell
        self.parameters = Parameters(
            self.shapes(vocabulary, hidden_size, cell, num_layers, embedding_size), dtype
        )
        if seed is not None:
            self._draw(np.random.default_rng(seed), INITS[init], init_scale, input_scale)

    @classmethod
    def described(
        cls,
        vocabulary: Vocabulary,
        config: ModelConfig,
        seed: int | np.random.Generator | None,
        dtype: DTypeLike | None = None,
    ) -> Self:
        """The network that ``config`` describes, in its precision unless another is given."""
        return cls(
            vocabulary,
            config.hidden_size,
            cell=config.cell,
            num_layers=config.num_layers,
            embedding_size=config.embedding_size,
            seed=seed,
            init=config.init,
            init_scale=config.init_scale,
            input_scale=config.input_scale,
            dtype=dtype or config.dtype,
        )

    def like(self, dtype: DTypeLike | None = None) -> Self:
        """A network of zeros of the same form, in another precision if one is given."""
        return type(self)(
            self.vocabulary,
            self.hidden_size,
            cell=self.cell,
            num_layers=self.num_layers,
            embedding_size=self.embedding_size,
            seed=None,
            dtype=dtype or self.dtype,
        )

    @staticmethod
    def shapes(
        vocabulary: Vocabulary, hidden_size: int, cell: str, num_layers: int, embedding_size: int
    ) -> dict[str, tuple[int, ...]]:
        """The parameters of such a network, in the order in which they stand in the flat vector.

        Raises:
            ConfigError: no such ``cell``, or a size below 1.
        """
        if cell not in layers.CELLS:
            raise ConfigError(f"cell {cell[:20]!r} is none of {', '.join(layers.CELLS)}")
        V, H, L, E = len(vocabulary), hidden_size, num_layers, embedding_size
        for name, size, least in (("hidden_size", H, 1), ("num_layers", L, 1), ("embedding_size", E, 0)):
            if size < least:
                raise ConfigError(f"{name} {size} must be at least {least}")
        shapes: dict[str, tuple[int, ...]] = {"W_ex": (V, E)} if E else {}
        for layer in range(L):
            X = H if layer else E or V
            own = layers.CELLS[cell].shapes(X, H)
            shapes |= {named(name, layer): shape for name, shape in own.items()}
        return shapes | {"W_ya": (H, V), "b_y": (V,)}

    @property
    def form(self) -> tuple[Any, ...]:
        """All that two networks must share for their weights to fit each other."""
        return self.cell, self.dtype, self.parameters.shapes

    def _draw(self, rng: np.random.Generator, init: Init, init_scale: float, input_scale: float) -> None:
        p, H = self.parameters, self.hidden_size
        if self.embedding_size:
            p["W_ex"][...] = rng.standard_normal(p["W_ex"].shape)
        for layer in range(self.num_layers):
            W_ax, W_aa = p[named("W_ax", layer)], p[named("W_aa", layer)]
            one_hot = layer == 0 and not self.embedding_size
            std = input_scale if one_hot else input_scale / np.sqrt(len(W_ax))
            W_ax[...] = std * rng.standard_normal(W_ax.shape)
            for gate in range(self._cell.gates):
                W_aa[:, gate * H : (gate + 1) * H] = init_scale * init(H, rng)
            for name, starts in self._cell.biases.items():
                p[named(name, layer)][...] = np.repeat(starts, H)
        p["W_ya"][...] = 0.01 / np.sqrt(H) * rng.standard_normal(p["W_ya"].shape)

    @property
    def _cell(self) -> layers.Cell:
        return layers.CELLS[self.cell]

    def __repr__(self) -> str:
        form = f"cell={self.cell!r}, " * (self.cell != "rnn") + f"hidden_size={self.hidden_size}"
        form += f", num_layers={self.num_layers}" * (self.num_layers > 1)
        form += f", embedding_size={self.embedding_size}" * (self.embedding_size > 0)
        return f"CharRNN({len(self.vocabulary)} characters, {form})"

    @property
    def dtype(self) -> np.dtype[Any]:
        """The dtype of the parameters, in which everything is computed."""
        return self.parameters.flat.dtype

    @property
    def state_size(self) -> int:
        """S, the numbers that are carried from step to step."""
        return self.num_layers * len(self._cell.states) * self.hidden_size

    def initial_state(self, batch_size: int) -> Array:
        """The state at the start of a text: zeros (B, S)."""
        return np.zeros((batch_size, self.state_size), self.dtype)

    def states(self, state: Array) -> list[dict[str, Array]]:
        """The parts of a state (…, S), views (…, H): for each layer a and what else its cell carries."""
        H, names = self.hidden_size, self._cell.states
        parts = [state[..., i : i + H] for i in range(0, self.state_size, H)]
        return [
            dict(zip(names, parts[layer * len(names) :], strict=False)) for layer in range(self.num_layers)
        ]

    def buffers(self, seq_length: int, batch_size: int, *, dropout: bool = False) -> Buffers:
        """Memory for windows of up to ``seq_length`` steps and exactly ``batch_size`` rows."""
        T, B, H, E = seq_length, batch_size, self.hidden_size, self.embedding_size
        each = range(self.num_layers)

        def empty(width: int) -> Array:
            return np.empty((T, B, width), self.dtype)

        return Buffers(
            cell=self._cell,
            memory=tuple(self._cell.allocate(T, B, H, self.dtype) for _ in each),
            dz=tuple(empty(self._cell.gates * H) for _ in each),
            da=empty(H),
            logits=empty(len(self.vocabulary)),
            e=empty(E) if E else None,
            dropped=tuple(empty(H) for _ in each) if dropout else (),
        )

    def bytes_per_step(self, batch_size: int, *, dropout: bool = False) -> int:
        """What each time step takes in such memory, with its masks."""
        widths = sum(width for _, width in self._cell.memory.values()) + self._cell.gates + 2 * dropout
        numbers = (widths * self.num_layers + 1) * self.hidden_size
        return (numbers + self.embedding_size + len(self.vocabulary)) * batch_size * self.dtype.itemsize

    def dropout_masks(self, rngs: Sequence[np.random.Generator], rate: float, seq_length: int) -> Array:
        """What dropout at this rate multiplies each layer's activations by, on their way up (L, T, B, H).

        Arguments:
            rngs: for each row of the batch a generator of its own, so that it matters to none how the
                batch is shared out. Each is drawn from L·H times a step.
        """
        dtype = self.dtype.type(0).real.dtype
        return layers.dropout_masks(rngs, rate, self.num_layers, seq_length, self.hidden_size, dtype)

    def activations(
        self, inputs: Array, state: Array, buffers: Buffers | None = None, masks: Array | None = None
    ) -> Buffers:
        """Run over a window without its output: fills the memory of each layer (F1, F2; GF; LF; DF1)."""
        p = self.parameters
        T, B = inputs.shape[:2]
        if buffers is None:
            buffers = self.buffers(T, B, dropout=masks is not None)
        buffers = buffers.part(slice(0, T))
        x = inputs
        if self.embedding_size:
            x = layers.inputs_forward(x, p["W_ex"], out=buffers.e)
        for layer, (memory, states) in enumerate(zip(buffers.memory, self.states(state), strict=True)):
            xW = layers.inputs_forward(x, p[named("W_ax", layer)], out=layers.room(memory))
            weights = [p[named(name, layer)] for name in ("W_aa", *self._cell.biases)]
            self._cell.forward(xW, *states.values(), *weights, **memory)
            if masks is not None:
                layers.dropout_forward(memory["a"][1:], masks[layer], out=buffers.dropped[layer])
            x = buffers.sent_up(layer, masks)
        return buffers

    def logits(
        self, inputs: Array, state: Array, buffers: Buffers | None = None, masks: Array | None = None
    ) -> Buffers:
        """Run over a window without a loss: fills the memory and the logits (the inside of F3)."""
        p = self.parameters
        buffers = self.activations(inputs, state, buffers, masks)
        layers.dense_forward(buffers.sent_up(-1, masks), p["W_ya"], p["b_y"], out=buffers.logits)
        return buffers

    def forward(
        self,
        inputs: Array,
        targets: Array,
        state: Array | None = None,
        buffers: Buffers | None = None,
        masks: Array | None = None,
    ) -> tuple[Any, Window]:
        """The loss of a window (F1–F4).

        Arguments:
            inputs: (T, B) integers in 0…V−1, or (T, B, V) rows.
            targets: (T, B) integers in 0…V−1, the character after each input.
            state: before the window (B, S); zeros if not given.
            buffers: memory to work in, of ``buffers()``; made anew if not given.
            masks: of ``dropout_masks()``; nothing is dropped if not given.

        Returns: the loss, the mean over T·B characters in nats, and what ``backward`` needs.
        """
        x, y = self._characters(inputs, "inputs"), self._characters(targets, "targets")
        if x.shape[:2] != y.shape:
            raise ValueError(f"inputs {x.shape} and targets {y.shape} differ in shape")
        state = self.initial_state(y.shape[1]) if state is None else state
        if state.shape != (y.shape[1], self.state_size):
            raise ValueError(f"a state of shape {state.shape}; expected {(y.shape[1], self.state_size)}")
        buffers = self.logits(x, state, buffers, masks)
        loss, _ = layers.cross_entropy_forward(buffers.logits, y, out=buffers.logits)
        return loss, Window(x, y, buffers, masks)

    def backward(
        self,
        window: Window,
        gradients: Parameters | None = None,
        *,
        share: float = 1.0,
        future: Array | None = None,
        input_gradient: bool = False,
        summands: Sequence[Parameters] | None = None,
    ) -> tuple[Parameters, Array | None, Array]:
        """The gradients of a window's loss (B1–B9). Uses up the window: call it once for each forward.

        Arguments:
            window: from ``forward``.
            gradients: written if given; made anew if not.
            share: of a segment, its part of the window's time steps, over which the loss is the mean.
            future: of a segment, what the one after it sends back, that one's gradient of the state (B, S).
            input_gradient: also compute dx⟨t⟩, which training has no use for.
            summands: for each time step gradients of its own, which it alone is written to: ``gradients``
                stays as it is then.

        Returns: the gradients of the parameters, dx (T, B, V) or None, and that of the state before the
        window (B, S).
        """
        p, b = self.parameters, window.buffers
        g = p.like() if gradients is None else gradients
        steps: Steps = [(slice(0, len(b.da)), g)]
        if summands is not None:
            steps = [(slice(t, t + 1), own) for t, own in enumerate(summands)]
        dlogits = layers.cross_entropy_backward(b.logits, window.y)
        if share != 1:
            dlogits *= share
        da, up = b.da, b.sent_up(-1, window.masks)
        for now, own in steps:
            layers.dense_backward(dlogits[now], up[now], p["W_ya"], own["W_ya"], own["b_y"], out=da[now])
        dstate = np.empty((da.shape[1], self.state_size), da.dtype)
        dstates = self.states(dstate)
        futures = [None] * self.num_layers if future is None else self.states(future)
        for layer in reversed(range(self.num_layers)):
            self._layer_backward(layer, window, steps, futures[layer], dstates[layer])
            if layer > 0:  # what it sends to the layer below, as its da
                layers.inputs_backward_x(b.dz[layer], p[named("W_ax", layer)], out=da)
        sent, W = b.dz[0], p["W_ax"]
        if b.e is not None:
            sent, W = layers.inputs_backward_x(sent, W, out=b.e), p["W_ex"]
            for now, own in steps:
                layers.inputs_backward(sent[now], window.x[now], own["W_ex"])
        dx = layers.inputs_backward_x(sent, W) if input_gradient else None
        return g, dx, dstate

    def _layer_backward(
        self,
        layer: int,
        window: Window,
        steps: Steps,
        future: dict[str, Array] | None,
        dstates: dict[str, Array],
    ) -> None:
        """One layer's part of ``backward``: from da, what comes from above, to dz and the weights' gradients.

        Arguments:
            steps: what to write the gradients of these time steps to.
            future: what comes back from after the window to each state (B, H).
            dstates: written, the gradients of the states before the window (B, H).
        """
        cell, b, masks = self._cell, window.buffers, window.masks
        memory, da, dz = b.memory[layer], b.da, b.dz[layer]
        rest = {}
        if masks is not None:
            layers.dropout_backward(da, masks[layer])
        if future is not None:
            da[-1] += future["a"]
            rest = {f"d{name}": future[name] for name in cell.states[1:]}
        W_aa, known = self.parameters[named("W_aa", layer)], [memory[name] for name in cell.backward_reads]
        _, *before = cell.backward(da, *known, W_aa, dz=dz, **rest)
        for dstate, gradient in zip(dstates.values(), before, strict=True):
            dstate[...] = gradient
        x = window.x if b.e is None else b.e
        if layer > 0:
            x = b.sent_up(layer - 1, masks)
        for now, g in steps:
            read = cell.part(memory, now)
            written = [g[named(name, layer)] for name in ("W_aa", *cell.biases)]
            cell.backward_weights(dz[now], *(read[name] for name in cell.weights_read), *written)
            scratch = memory.get("gates", da)[now]
            layers.inputs_backward(dz[now], x[now], g[named("W_ax", layer)], scratch)

    def loss_and_gradients(
        self,
        inputs: Array,
        targets: Array,
        state: Array | None = None,
        *,
        masks: Callable[[slice], Array] | None = None,
        recompute_every: int = 0,
        buffers: Buffers | None = None,
        gradients: Parameters | None = None,
    ) -> tuple[float, Parameters, Array]:
        """The loss of a window, the gradient of every parameter, and the state after it.

        Arguments:
            inputs, targets: (T, B) integers in 0…V−1; the target is the character after the input.
            state: (B, S), the state that the window before returned; zeros if not given.
            masks: gives the ``dropout_masks()`` of some of the steps; nothing is dropped if not given.
            recompute_every: K, to keep the state of every K-th step only and compute the others again on the
                way back (Gruslys et al. 2016): the memory of K + T/K steps in place of T, for about a
                third more time. 0 keeps all.
            buffers: memory to work in, for windows of K steps; made anew if not given.
            gradients: written if given; made anew if not.

        Returns: the loss (mean over T·B characters, in nats), the gradients by name, and the state
        after the window (B, S).
        """
        T, K = len(targets), recompute_every
        if not 0 < K < T:
            mask = None if masks is None else masks(slice(0, T))
            loss, window = self.forward(inputs, targets, state, buffers, mask)
            g, _, _ = self.backward(window, gradients)
            return float(loss), g, window.state
        if buffers is None:
            buffers = self.buffers(K, targets.shape[1], dropout=masks is not None)
        kept = [self.initial_state(targets.shape[1]) if state is None else state]
        segments = [slice(t, min(t + K, T)) for t in range(0, T, K)]
        for segment in segments[:-1]:
            mask = None if masks is None else masks(segment)
            kept.append(self.activations(inputs[segment], kept[-1], buffers, mask).state)
        total, future, after = 0.0, None, kept[0]
        g, part = self.parameters.like() if gradients is None else gradients, self.parameters.like()
        g.flat[...] = 0
        for segment, before in zip(reversed(segments), reversed(kept), strict=True):
            mask = None if masks is None else masks(segment)
            loss, window = self.forward(inputs[segment], targets[segment], before, buffers, mask)
            share = (segment.stop - segment.start) / T
            total += share * float(loss)
            after = window.state if future is None else after
            _, _, future = self.backward(window, part, share=share, future=future)
            g.flat += part.flat
        return total, g, after

    def stepper(self, num_samples: int = 1) -> Step:
        """A function that reads the next character: (character, state (S,)) → (logits (V,), state (S,)).

        Of several texts it takes characters (N,) and states (N, S). It computes one step as the layers do a
        window, with copies of the weights as they are now.
        """
        p, cell = self.parameters, self._cell
        order: Literal["F", "C"] = "F" if num_samples == 1 else "C"  # BLAS is a fifth faster on a lone row so
        W_ya, b_y = p["W_ya"].copy(order), p["b_y"].copy()
        first = p["W_ex"] @ p["W_ax"] if self.embedding_size else p["W_ax"]
        W_ax = [first + p["b_a"]]  # a row for each character
        W_ax += [p[named("W_ax", layer)].copy(order) for layer in range(1, self.num_layers)]
        b_a = [p[named("b_a", layer)].copy() for layer in range(self.num_layers)]
        weights = [
            [p[named(name, layer)].copy(order) for name in ("W_aa", *cell.biases) if name != "b_a"]
            for layer in range(self.num_layers)
        ]

        H, n = self.hidden_size, len(cell.states)
        places = [slice(i, i + H) for i in range(0, self.state_size, H)]

        def step(tokens: Array | int, state: Array) -> tuple[Array, Array]:
            before = [state[..., place] for place in places]
            after: list[Array] = []
            xW = W_ax[0][tokens]
            for layer, own in enumerate(weights):
                if layer:
                    xW = np.dot(after[-n], W_ax[layer])
                    xW += b_a[layer]
                after += cell.step(xW, *before[layer * n : (layer + 1) * n], *own)
            logits = np.dot(after[-n], W_ya)
            logits += b_y
            return logits, after[0] if len(after) == 1 else np.concatenate(after, axis=-1)

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
            logits, state = buffers.logits[-1], buffers.state
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
