"""How far a gradient reaches: what a gradient at the last step has become some steps earlier.

Only the last step has a loss, with a random gradient; the layers' own backward functions carry it back. Every
W_aa is a random orthogonal matrix Q times a factor, and the inputs are random.
"""

from collections.abc import Iterator

import numpy as np

from charrnn import layers
from charrnn.layers import Array

H, B = 64, 8
DISTANCES = (0, 1, 2, 4, 8, 16, 32, 64)
T = DISTANCES[-1] + 1
TANH = ((0.7, 0.5), (1.0, 0.5), (2.0, 0.5))  # the factor on Q, and the standard deviation of the inputs
OTHERS = (  # the cell, that standard deviation, the bias of the gate that keeps the past
    ("rnn", 0.1, 0.0),
    ("rnn", 2.0, 0.0),
    ("gru", 0.5, 0.0),
    ("gru", 0.5, 4.0),
    ("lstm", 0.5, 1.0),
    ("lstm", 0.5, 4.0),
)


def flow(seed: int) -> Iterator[str]:
    """Two tables of the gradient's length by distance: the tanh cell with a bound; other inputs and cells."""
    yield f"The gradient's length k steps before the only loss. H = {H}, {B} rows averaged."
    yield f"\n{'':4}" + "".join(f"{f'tanh, W_aa = {factor:g} Q':>20}" for factor, _ in TANH)
    yield f"{'k':>4}" + f"{'length':>11}{'bound':>9}" * len(TANH)
    columns = [column for factor, std in TANH for column in lengths("rnn", factor, std, 0.0, seed)]
    yield from _rows(columns, (11, 9) * len(TANH))
    yield f"\n{'':4}{'tanh, W_aa = Q, inputs':>22}{'GRU, bias of u':>22}{'LSTM, bias of f':>22}"
    yield f"{'k':>4}" + "".join(f"{std if cell == 'rnn' else bias:11g}" for cell, std, bias in OTHERS)
    columns = [lengths(cell, 1.0, std, bias, seed)[0] for cell, std, bias in OTHERS]
    yield from _rows(columns, (11,) * len(OTHERS))


def lengths(cell: str, factor: float, std: float, bias: float, seed: int) -> tuple[Array, Array]:
    """The gradient's length at each distance, over that at 0; and for the tanh cell the bound on it.

    Arguments:
        factor: on the orthogonal W_aa of each gate.
        std: standard deviation of x⟨t⟩ W_ax.
        bias: of the GRU's u, or of the LSTM's f.
    """
    rng, gates = np.random.default_rng(seed), layers.CELLS[cell].gates
    W_aa = factor * np.hstack([np.linalg.qr(rng.standard_normal((H, H)))[0] for _ in range(gates)])
    xW, state = std * rng.standard_normal((T, B, gates * H)), np.zeros((B, H))
    da, b_a = np.zeros((T, B, H)), np.zeros((gates, H))
    da[-1] = rng.standard_normal((B, H))
    if gates > 1:
        b_a[1] = bias  # u of r, u, n; f of i, f, g, o
    bound = np.ones((T, B))
    if cell == "gru":
        a, q_n, gate = layers.gru_forward(xW, state, W_aa, b_a.reshape(-1), np.zeros(H))
        layers.gru_backward(da, a, q_n, gate, W_aa)
    elif cell == "lstm":
        _, c, tanh_c, gate = layers.lstm_forward(xW, state, state, W_aa, b_a.reshape(-1))
        layers.lstm_backward(da, c, tanh_c, gate, W_aa)
        da = tanh_c  # dc by now, the gradient of what an LSTM carries
    else:
        a = layers.recurrence_forward(xW, state, W_aa, b_a.reshape(-1))
        layers.recurrence_backward(da, a, W_aa)
        bound = np.linalg.norm(W_aa, 2) * (1 - a[1:] ** 2).max(axis=-1)  # of one step, (T, B)
    size = np.linalg.norm(da, axis=-1)
    measured = [np.exp(np.log(size[T - 1 - k] / size[-1]).mean()) for k in DISTANCES]
    bounds = [np.exp(np.log(bound[T - k :]).sum(axis=0).mean()) for k in DISTANCES]
    return np.array(measured), np.array(bounds)


def _rows(columns: list[Array], widths: tuple[int, ...]) -> Iterator[str]:
    for i, k in enumerate(DISTANCES):
        cells = (f"{column[i]:{width}.1e}" for column, width in zip(columns, widths, strict=True))
        yield f"{k:4}" + "".join(cells)
