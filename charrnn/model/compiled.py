"""The twin of ``sampling.generate`` for one text: each character is drawn and read back by compiled code.

The same random numbers are used in the same way. Only the products are summed in an order of their own, so
that logits differ in their last bits: where a random number falls between the two, the texts part.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from charrnn.config import SampleConfig
from charrnn.layers import Array
from charrnn.layers.compiled import exp, gru_gates, kernel, lstm_gates, tanh_forward
from charrnn.model.network import Network
from charrnn.model.sampling import AHEAD, read

FACTORS = {"rnn": [1], "gru": [0.5, 0.5, 1], "lstm": [0.5, 0.5, 1, 0.5]}  # on W_aa, in the cells' kernels


def generate(
    network: Network,
    prime: Array,
    config: SampleConfig,
    rng: np.random.Generator,
    forbidden: Sequence[int] = (),
) -> Iterator[int]:
    """Draw characters without end, as ``sampling.generate`` does with one generator."""
    p, H, dtype = network.parameters, network.config.hidden_size, network.dtype
    factors = np.repeat(np.array(FACTORS[network.config.cell], dtype), H)  # (G·H,)
    w = [p.layer(layer) for layer in range(network.config.num_layers)]
    logits, state = read(network, prime)
    arrays = (
        p["W_ex"] @ p["W_ax"] if "W_ex" in p else p["W_ax"],
        np.array([one["W_ax"] for one in w[1:]], dtype).reshape(-1, H, factors.size),
        np.array([one["W_aa"] * factors for one in w]),
        np.array([one["b_a"] for one in w]),
        np.array([one.get("b_n", np.zeros(H)) for one in w], dtype),
        p["W_ya"],
        p["b_y"],
        state.reshape(len(w), -1, 1, H).copy(),
        logits[0].copy(),
    )
    shape = float(config.temperature), int(config.top_k), float(config.top_p), np.array(forbidden, np.intp)
    while True:
        u = rng.random(AHEAD)
        tokens = np.empty(len(u), np.intp)
        draw_and_read(*arrays, *shape, u, tokens)
        yield from tokens.tolist()


@kernel
def draw_and_read(
    table: Array,  # (V, G·H): x⟨t⟩ W_ax of each character
    W_ax: Array,  # (L−1, H, G·H), of the layers above the first
    W_aa: Array,  # (L, H, G·H), times FACTORS
    b_a: Array,  # (L, G·H)
    b_n: Array,  # (L, H), of a GRU
    W_ya: Array,  # (H, V)
    b_y: Array,  # (V,)
    state: Array,  # (L, 1 or 2, 1, H): each layer's a, and an LSTM's c; overwritten
    logits: Array,  # (V,): of the next character; overwritten
    temperature: float,
    top_k: int,
    top_p: float,
    forbidden: Array,
    u: Array,  # (N,)
    tokens: Array,  # (N,), written
) -> None:
    """Draw a character for each of the numbers u, and read it."""
    L, H, columns = W_aa.shape
    k, q = np.empty((1, columns), table.dtype), np.empty((1, columns), table.dtype)
    a, c, scratch = (
        np.empty((1, H), table.dtype),
        np.empty((1, H), table.dtype),
        np.empty((1, H), table.dtype),
    )
    w = np.empty(len(logits))
    for i in range(len(u)):
        weights(logits, temperature, top_k, top_p, forbidden, w)
        tokens[i] = draw(w, u[i])
        k[0] = table[tokens[i]]
        for layer in range(L):
            before = state[layer, 0]
            if layer:
                k[...] = 0
                add_product(state[layer - 1, 0, 0], W_ax[layer - 1], k[0])
            q[...] = 0
            add_product(before[0], W_aa[layer], q[0])
            if columns == H:
                tanh_forward(k, q, b_a[layer])
                before[...] = k
            elif columns == 3 * H:
                gru_gates(k, q, b_a[layer], b_n[layer], before, scratch, a)
                before[...] = a
            else:
                lstm_gates(k, q, b_a[layer], state[layer, 1], c, scratch, a)
                before[...] = a
                state[layer, 1] = c
        logits[...] = b_y
        add_product(state[L - 1, 0, 0], W_ya, logits)


@kernel
def add_product(a: Array, W: Array, out: Array) -> None:
    """out += a W for a row a (H,), eight rows of W at a time so that ``out`` is read and written less."""
    H, columns = W.shape
    i = 0
    while i + 8 <= H:
        a0, a1, a2, a3, a4, a5, a6, a7 = (
            a[i],
            a[i + 1],
            a[i + 2],
            a[i + 3],
            a[i + 4],
            a[i + 5],
            a[i + 6],
            a[i + 7],
        )
        w0, w1, w2, w3, w4, w5, w6, w7 = (
            W[i],
            W[i + 1],
            W[i + 2],
            W[i + 3],
            W[i + 4],
            W[i + 5],
            W[i + 6],
            W[i + 7],
        )
        for j in range(columns):
            first = a0 * w0[j] + a1 * w1[j] + a2 * w2[j] + a3 * w3[j]
            out[j] += first + (a4 * w4[j] + a5 * w5[j] + a6 * w6[j] + a7 * w7[j])
        i += 8
    while i < H:
        a0, w0 = a[i], W[i]
        for j in range(columns):
            out[j] += a0 * w0[j]
        i += 1


@kernel
def weights(logits: Array, temperature: float, top_k: int, top_p: float, forbidden: Array, w: Array) -> None:
    """``sampling.weights`` of one text, written to w (V,)."""
    V = len(w)
    for j in range(V):
        w[j] = logits[j]
    for j in forbidden:
        w[j] = -np.inf
    likeliest = np.argmax(w)
    if temperature == 0:
        w[...] = 0
        w[likeliest] = 1
        return
    shift, divisor = w[likeliest], max(temperature, 1e-200)
    for j in range(V):
        w[j] = exp((w[j] - shift) / divisor)
    if 0 < top_k < V or top_p < 1:
        order = np.argsort(-w, kind="mergesort")  # which is stable
        whole = 0.0
        for rank in range(V):
            if 0 < top_k <= rank:
                w[order[rank]] = 0
            whole += w[order[rank]]
        upto = 0.0
        for character in order:
            upto += w[character]
            if upto - w[character] >= top_p * whole:
                w[character] = 0


@kernel
def draw(w: Array, u: float) -> Any:
    """``sampling.draw`` of one text; w (V,) becomes its cumulative sum."""
    total = 0.0
    for j in range(len(w)):
        total += w[j]
        w[j] = total
    return min(np.searchsorted(w, u * total, side="right"), len(w) - 1)
