"""The layers chained into a network that predicts the next character.

    x⟨t⟩ ── W_ax ──▶ cell ──▶ a⟨t⟩ ── W_ax[2] ──▶ cell ──▶ a⟨t⟩ … ── W_ya ──▶ ŷ⟨t⟩ ──▶ L
                     ▲  │                         ▲  │
                     └──┘ W_aa, to step t+1       └──┘ W_aa[2]

Shapes: characters (T, B), activations (T+1, B, H), logits (T, B, V), a state (B, S): the activations of all
layers side by side, each with its cell c after it where it has one, so that S is H for one layer of tanh.
"""

import copy
from collections.abc import Sequence
from typing import Any, Self

import numpy as np
from numpy.typing import DTypeLike

from charrnn import layers
from charrnn.config import ModelConfig
from charrnn.layers import Array, States
from charrnn.model.parameters import Parameters, name_in_layer
from charrnn.model.window import Space, Window


class Network:
    """A recurrent network over V characters, with a softmax over the next one at every step.

    Attributes:
        config: its form: cell, num_layers (L), hidden_size (H), embedding_size (E), dtype.
        V: how many characters there are.
        cell: the recurrent layer.
        kernels: the element-wise functions, ``numpy`` or ``numba``; the latter know no complex numbers.
        parameters: named views of one flat vector, ``parameters.flat``; zeros at first. One layer of tanh has
            W_ax (V, H), W_aa (H, H), b_a (H,), W_ya (H, V), b_y (V,). A cell of G gates has G·H columns in
            W_ax, W_aa and b_a, a GRU also b_n (H,); the second layer has W_ax[2] (H, G·H), W_aa[2], b_a[2];
            an embedding is W_ex (V, E), and the first W_ax is (E, G·H) then.
    """

    def __init__(self, config: ModelConfig, V: int):
        self.config, self.V, self.cell = config, V, layers.CELLS[config.cell]
        self.kernels = "numpy"
        self.parameters = Parameters(shapes(config, V), config.dtype)

    def like(self, dtype: DTypeLike | None = None) -> Self:
        """A network of zeros of the same form, in another precision if one is given."""
        return self.at(np.zeros(self.parameters.flat.shape, dtype or self.dtype))

    def at(self, flat: Array) -> Self:
        """A network of the same form whose parameters are views of ``flat`` (P,)."""
        other = copy.copy(self)
        other.parameters = Parameters(self.parameters.shapes, flat=flat)
        return other

    @property
    def dtype(self) -> np.dtype[Any]:
        """The dtype of the parameters, in which everything is computed."""
        return self.parameters.flat.dtype

    @property
    def state_size(self) -> int:
        """S, how many numbers are carried from step to step."""
        return self.config.num_layers * len(self.cell.states) * self.config.hidden_size

    def initial_state(self, batch_size: int) -> Array:
        """The state at the start of a text: zeros (B, S)."""
        return np.zeros((batch_size, self.state_size), self.dtype)

    def states(self, state: Array) -> list[States]:
        """The states of each layer, views (…, H) of a state (…, S)."""
        H, n = self.config.hidden_size, len(self.cell.states)
        parts = [state[..., i : i + H] for i in range(0, self.state_size, H)]
        return [tuple(parts[i : i + n]) for i in range(0, len(parts), n)]

    def space(self, seq_length: int, batch_size: int, *, dropout: bool = False) -> Space:
        """Memory for windows of up to ``seq_length`` steps and exactly ``batch_size`` rows."""
        T, B, config, dtype = seq_length, batch_size, self.config, self.dtype
        H, E, each = config.hidden_size, config.embedding_size, range(config.num_layers)
        return Space(
            cells=tuple(self.cell.memory(T, B, H, dtype) for _ in each),
            da=np.empty((T, B, H), dtype),
            logits=np.empty((T, B, self.V), dtype),
            e=np.empty((T, B, E), dtype) if E else None,
            dropped=tuple(np.empty((T, B, H), dtype) for _ in each) if dropout else (),
        )

    def bytes_per_step(self, batch_size: int, *, dropout: bool = False) -> int:
        """How many bytes of such memory each further time step takes."""
        one, two = (self.space(T, batch_size, dropout=dropout).nbytes for T in (1, 2))
        return two - one

    def dropout_masks(self, rngs: Sequence[np.random.Generator], rate: float, seq_length: int) -> Array:
        """What dropout at this rate multiplies each layer's activations by, on their way up (L, T, B, H).

        Arguments:
            rngs: a generator for each row of the batch, so that it does not matter how the batch is shared
                out. L·H numbers a step are drawn from each.
        """
        config, dtype = self.config, self.dtype.type(0).real.dtype  # real, for complex parameters too
        return layers.dropout_masks(rngs, rate, config.num_layers, seq_length, config.hidden_size, dtype)

    # -- forward and backward -----------------------------------------------------------------------

    def activations(
        self,
        x: Array,
        state: Array,
        space: Space,
        masks: Array | None = None,
        rho: Array | None = None,
    ) -> list[Array]:
        """Fill the memory of each layer (F1, F2; GF; LF; DF1; RF1), from the state (B, S) before the window.

        Returns: what each layer reads, and last what the output layer reads.
        """
        p, kernels = self.parameters, layers.kernels(self.kernels)
        inputs = [x]
        if space.e is not None:
            inputs = [layers.inputs_forward(x, p["W_ex"], out=space.e)]
        for layer, (memory, before) in enumerate(zip(space.cells, self.states(state), strict=True)):
            w = p.layer(layer)
            layers.inputs_forward(inputs[-1], w["W_ax"], out=memory.xW)
            self.cell.forward(before, w, memory, rho=rho, kernels=kernels)  # F1, F2, RF1
            output = memory.a[1:]
            if masks is not None:
                output = layers.dropout_forward(output, masks[layer], out=space.dropped[layer])  # DF1
            inputs.append(output)
        return inputs

    def logits(
        self,
        x: Array,
        state: Array,
        space: Space | None = None,
        masks: Array | None = None,
        rho: Array | None = None,
    ) -> tuple[Array, Array]:
        """Read a window without a loss. Returns: the logits (T, B, V), and the state after it (B, S)."""
        p, space = self.parameters, self._space_for(x, space, masks)
        *_, top = self.activations(x, state, space, masks, rho)
        return layers.dense_forward(top, p["W_ya"], p["b_y"], out=space.logits), space.state

    def forward(
        self,
        x: Array,
        y: Array,
        state: Array,
        space: Space | None = None,
        masks: Array | None = None,
        rho: Array | None = None,
    ) -> tuple[Any, Window]:
        """The loss of a window (F1–F4), and what ``backward`` needs.

        Arguments:
            x: (T, B) integers in 0…V−1, which are not checked, or (T, B, V) rows.
            y: (T, B) integers in 0…V−1, the character after each input.
            state: before the window (B, S).
            space: memory to work in, for T steps or more; new memory if not given.
            masks: of ``dropout_masks`` (L, T, B, H); nothing is dropped if not given.
            rho: (T, B) booleans, False where a row begins a document: its state is zero before that step.

        Returns: the loss, the mean over T·B characters in nats; and the window.
        """
        p, space = self.parameters, self._space_for(x, space, masks)
        *inputs, top = self.activations(x, state, space, masks, rho)
        kernels = layers.kernels(self.kernels)
        layers.dense_forward(top, p["W_ya"], None, out=space.logits)
        loss, y_hat = kernels.cross_entropy_forward(space.logits, y, space.logits, p["b_y"])  # F3, F4
        return loss, Window(x, y, inputs, top, y_hat, masks, rho, space)

    def backward(
        self, window: Window, g: Parameters, future: Array | None = None, share: float = 1.0
    ) -> Array:
        """The gradient of every parameter (B1–B8), written to ``g``, and of the state before the window (B9).

        Arguments:
            future: the gradient of the state after the window (B, S), where more of the text follows whose
                loss is counted.
            share: the part of that longer text's steps that this window is: the loss is the mean over all.

        Returns: the gradient of the state before the window (B, S).
        """
        p, space, masks = self.parameters, window.space, window.masks
        kernels = layers.kernels(self.kernels)
        dlogits = kernels.cross_entropy_backward(window.y_hat, window.y)  # B1
        if share != 1:
            dlogits *= share
        # B2, and of B3 the direct term
        da = layers.dense_backward(
            dlogits, window.top, p["W_ya"], g["W_ya"], g["b_y"], out=space.da, kernels=kernels
        )
        after = [None] * len(space.cells) if future is None else self.states(future)
        before: list[States] = []
        for layer in reversed(range(len(space.cells))):
            memory, w, dw = space.cells[layer], p.layer(layer), g.layer(layer)
            if masks is not None:
                layers.dropout_backward(da, masks[layer])  # DB1
            before.insert(
                0, self.cell.backward(da, memory, w, after[layer], rho=window.rho, kernels=kernels)
            )  # B3, B4, B9, RB1–RB4
            self.cell.backward_weights(memory.dz, memory, dw, kernels=kernels)  # B5, B7
            layers.inputs_backward(memory.dz, window.inputs[layer], dw["W_ax"], kernels=kernels)  # B6
            if layer > 0:
                layers.inputs_backward_x(memory.dz, w["W_ax"], out=da)  # B8: the da of the layer below
        if space.e is not None:
            de = layers.inputs_backward_x(
                space.cells[0].dz, p["W_ax"], out=space.e
            )  # B8; e is no longer needed
            layers.inputs_backward(de, window.x, g["W_ex"], kernels=kernels)  # B6, of the embedding
        return np.concatenate([gradient for states in before for gradient in states], axis=1)

    def input_gradient(self, window: Window) -> Array:
        """dx (T, B, V) (B8), once ``backward`` is through; training has no use for it."""
        p, space = self.parameters, window.space
        if space.e is not None:
            return layers.inputs_backward_x(space.e, p["W_ex"])  # its memory holds de by now
        return layers.inputs_backward_x(space.cells[0].dz, p["W_ax"])

    def _space_for(self, x: Array, space: Space | None, masks: Array | None) -> Space:
        """Memory for just the steps of ``x``, of what is given or new."""
        T, B = x.shape[:2]
        return self.space(T, B, dropout=masks is not None) if space is None else space.first(T)


def shapes(config: ModelConfig, V: int) -> dict[str, tuple[int, ...]]:
    """The parameters of a network, in the order in which they stand in the flat vector."""
    H, E, cell = config.hidden_size, config.embedding_size, layers.CELLS[config.cell]
    result: dict[str, tuple[int, ...]] = {"W_ex": (V, E)} if E else {}
    for layer in range(config.num_layers):
        of_layer = cell.shapes(H if layer else E or V, H)
        result |= {name_in_layer(name, layer): shape for name, shape in of_layer.items()}
    return result | {"W_ya": (H, V), "b_y": (V,)}
