"""What the layers are checked against: the equations written out, one row and one step at a time.

Slow and plain on purpose. Arrays are float64; T steps, B rows, H activations, V characters.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

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
    """F1–F4 forward and B1–B9 backward, for each row of the batch by itself."""
    T, B = inputs.shape
    V, H = p["W_ax"].shape
    g = {name: np.zeros_like(value) for name, value in p.items()}
    g["x"], g["a0"] = np.zeros((T, B, V)), np.zeros((B, H))
    loss = 0.0
    for b in range(B):
        x = [None, *(np.eye(V)[inputs[t, b]] for t in range(T))]
        a, y_hat = [a0[b]], [None]
        for t in range(1, T + 1):
            z = x[t] @ p["W_ax"] + a[t - 1] @ p["W_aa"] + p["b_a"]
            a.append(np.tanh(z))
            e = np.exp(a[t] @ p["W_ya"] + p["b_y"])
            y_hat.append(e / e.sum())
            loss -= np.log(y_hat[t][targets[t - 1, b]]) / (T * B)
        dz_next = np.zeros(H)
        for t in range(T, 0, -1):
            dlogits = (y_hat[t] - np.eye(V)[targets[t - 1, b]]) / (T * B)
            g["W_ya"] += np.outer(a[t], dlogits)
            g["b_y"] += dlogits
            da = p["W_ya"] @ dlogits + p["W_aa"] @ dz_next
            dz = da * (1 - a[t] ** 2)
            g["W_aa"] += np.outer(a[t - 1], dz)
            g["W_ax"] += np.outer(x[t], dz)
            g["b_a"] += dz
            g["x"][t - 1, b] = p["W_ax"] @ dz
            dz_next = dz
        g["a0"][b] = p["W_aa"] @ dz_next
    return loss, g
