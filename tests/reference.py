"""What the layers and the network are checked against: the equations one row and one step at a time.

Arrays are float64; T steps, B rows, H activations, V characters.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from charrnn.model import plain

Array = NDArray[Any]
Shape = tuple[int, int, int, int]


def numeric_gradient(f: Callable[[], float], x: Array, h: float = 1e-5) -> Array:
    """Central differences of f() by each entry of x, which is moved in place and put back."""
    gradient = np.empty(x.shape)
    for index in np.ndindex(x.shape):
        value = x[index]
        x[index] = value + h
        above = f()
        x[index] = value - h
        gradient[index] = (above - f()) / (2 * h)
        x[index] = value
    return gradient


def random_window(seed: int, shape: Shape) -> tuple[dict[str, Array], Array, Array, Array]:
    """Parameters, inputs (T, B), targets (T, B) and a state (B, H), all random."""
    T, B, H, V = shape
    rng = np.random.default_rng(seed)
    shapes = {"W_ax": (V, H), "W_aa": (H, H), "b_a": (H,), "W_ya": (H, V), "b_y": (V,)}
    parameters = {name: rng.standard_normal(s) / np.sqrt(H) for name, s in shapes.items()}
    inputs, targets = rng.integers(0, V, (2, T, B))
    return parameters, inputs, targets, np.tanh(rng.standard_normal((B, H)))


def loss_and_gradients(
    p: dict[str, Array], inputs: Array, targets: Array, a0: Array
) -> tuple[float, dict[str, Array]]:
    """The plain network's loss and gradients, each row (T,) of the batch by itself."""
    B, loss, rows = len(a0), 0.0, []
    for x, y, before in zip(inputs.T, targets.T, a0, strict=True):
        nats, a, y_hat = plain.forward(p, x, y, before)
        loss += nats / B
        rows.append({name: g / B for name, g in plain.backward(p, x, y, a, y_hat).items()})
    g = {name: sum(row[name] for row in rows) for name in p}
    g["x"], g["a0"] = (np.stack([row[name] for row in rows], axis=-2) for name in ("x", "a0"))
    return loss, g


# -- other cells, one row and one step at a time ------------------------------------------------------


def sigma(z: Array) -> Array:
    return 1 / (1 + np.exp(-z))


def tanh_cell(x: Array, states: list[Array], p: dict[str, Array]) -> list[Array]:
    (a,) = states
    return [np.tanh(x @ p["W_ax"] + a @ p["W_aa"] + p["b_a"])]


def gru_cell(x: Array, states: list[Array], p: dict[str, Array]) -> list[Array]:
    (a,) = states
    (W_r, W_u, W_n), (U_r, U_u, U_n) = np.split(p["W_ax"], 3, axis=1), np.split(p["W_aa"], 3, axis=1)
    b_r, b_u, b_in = np.split(p["b_a"], 3)
    r = sigma(x @ W_r + b_r + a @ U_r)
    u = sigma(x @ W_u + b_u + a @ U_u)
    n = np.tanh(x @ W_n + b_in + r * (a @ U_n + p["b_n"]))
    return [(1 - u) * n + u * a]


def lstm_cell(x: Array, states: list[Array], p: dict[str, Array]) -> list[Array]:
    a, c = states
    z_i, z_f, z_g, z_o = np.split(x @ p["W_ax"] + a @ p["W_aa"] + p["b_a"], 4, axis=-1)
    c = sigma(z_f) * c + sigma(z_i) * np.tanh(z_g)
    return [sigma(z_o) * np.tanh(c), c]


CELLS = {"rnn": (tanh_cell, 1), "gru": (gru_cell, 1), "lstm": (lstm_cell, 2)}


def read(config: Any, p: Any, x: Any, states: list[Array], masks: Any = None) -> tuple[Array, list[Array]]:
    """One character of one row, or of each of B.

    Arguments:
        p: the parameters by name.
        x: an integer, or (B,) integers.
        states: of all layers, (H,) or (B, H) each.
        masks: (L, H) or (L, B, H).

    Returns: the logits (V,) or (B, V), and the states after it.
    """
    cell, n = CELLS[config.cell]
    up, after = np.eye(len(p["b_y"]))[x], list[Array]()
    if config.embedding_size:
        up = up @ p["W_ex"]
    for i in range(config.num_layers):
        own = {name: p[f"{name}[{i + 1}]" if i else name] for name in ("W_ax", "W_aa", "b_a")}
        if config.cell == "gru":
            own["b_n"] = p[f"b_n[{i + 1}]" if i else "b_n"]
        after += cell(up, states[i * n : (i + 1) * n], own)
        up = after[i * n] * (1 if masks is None else masks[i])
    return up @ p["W_ya"] + p["b_y"], after


def network_loss(
    model: Any, inputs: Array, targets: Array, state: Array, masks: Array | None = None
) -> tuple[float, Array]:
    """The loss of any of our networks and the state after it, for each row by itself, in plain code."""
    T, B = inputs.shape
    loss, after = 0.0, np.empty_like(state)
    for b in range(B):
        states = np.split(state[b], model.state_size // model.config.hidden_size)
        for t in range(T):
            dropped = None if masks is None else masks[:, t, b]
            logits, states = read(model.config, model.parameters, inputs[t, b], states, dropped)
            e = np.exp(logits)
            loss -= np.log(e[targets[t, b]] / e.sum()) / (T * B)
        after[b] = np.concatenate(states)
    return loss, after


def random_network(seed: int, shape: Shape, **form: Any) -> tuple[Any, Array, Array, Array]:
    """Any of our networks in float64 with random parameters; inputs, targets and a state, all random."""
    from charrnn import CharRNN, Vocabulary

    T, B, H, V = shape
    rng = np.random.default_rng(seed)
    vocabulary = Vocabulary(np.arange(97, 97 + V, dtype=np.uint32))
    model = CharRNN(vocabulary, H, dtype=np.float64, **form)
    model.parameters.flat[...] = rng.standard_normal(model.parameters.flat.size) / np.sqrt(H)
    inputs, targets = rng.integers(0, V, (2, T, B))
    return model, inputs, targets, np.tanh(rng.standard_normal((B, model.state_size)))
