"""The whole tanh network as on a board: one row of text, one step at a time, each line with its equation.

    python -m charrnn.model.plain

trains it on a few lines of text and lays its gradients beside those of the fast network. Slow and plain on
purpose: ``network.py`` computes the same for all rows and steps at once. T is the length of the text, H the
hidden size, V the number of characters; ``p`` has W_ax (V, H), W_aa (H, H), b_a (H,), W_ya (H, V), b_y (V,).
"""

from collections.abc import Mapping

import numpy as np

from charrnn.layers import Array
from charrnn.model.charrnn import CharRNN
from charrnn.text.vocabulary import Vocabulary

TEXT = "the cat sat on the mat.\nthe rat sat on the cat.\nthe cat ran.\n"


def forward(p: Mapping[str, Array], x: Array, y: Array, a0: Array) -> tuple[float, list[Array], list[Array]]:
    """The loss of predicting each y (T,) from the x (T,) before it; a⟨0⟩ … a⟨T⟩ and ŷ⟨1⟩ … ŷ⟨T⟩."""
    T, loss, a, y_hat = len(x), 0.0, [a0], [np.empty(0)]
    for t in range(1, T + 1):
        z = p["W_ax"][x[t - 1]] + a[t - 1] @ p["W_aa"] + p["b_a"]  # (F1), x⟨t⟩ one-hot
        a.append(np.tanh(z))  # (F2)
        e = np.exp(a[t] @ p["W_ya"] + p["b_y"])
        y_hat.append(e / e.sum())  # (F3)
        loss -= np.log(y_hat[t][y[t - 1]]) / T  # (F4)
    return float(loss), a, y_hat


def backward(
    p: Mapping[str, Array], x: Array, y: Array, a: list[Array], y_hat: list[Array]
) -> dict[str, Array]:
    """The gradient of the loss by every parameter; by the rows x⟨t⟩ (T, V), as "x"; and by a⟨0⟩, as "a0"."""
    T, V = len(x), len(p["b_y"])
    g = {name: np.zeros_like(array) for name, array in p.items()}
    g["x"] = np.zeros((T, V))
    from_future = np.zeros_like(a[0])  # dz⟨T+1⟩ W_aaᵀ: nothing follows the window
    for t in range(T, 0, -1):
        dlogits = (y_hat[t] - np.eye(V)[y[t - 1]]) / T  # (B1)
        g["W_ya"] += np.outer(a[t], dlogits)  # (B2)
        g["b_y"] += dlogits  # (B2)
        da = dlogits @ p["W_ya"].T + from_future  # (B3)
        dz = da * (1 - a[t] ** 2)  # (B4)
        g["W_aa"] += np.outer(a[t - 1], dz)  # (B5)
        g["W_ax"][x[t - 1]] += dz  # (B6)
        g["b_a"] += dz  # (B7)
        g["x"][t - 1] = dz @ p["W_ax"].T  # (B8)
        from_future = dz @ p["W_aa"].T
    g["a0"] = from_future  # (B9)
    return g


def main() -> None:
    """Train on ``TEXT`` by gradient descent, and compare each gradient with the fast network's."""
    vocabulary = Vocabulary.of_text(TEXT)
    fast = CharRNN(vocabulary, hidden_size=24, input_scale=0.5, dtype=np.float64)
    p = {name: array.copy() for name, array in fast.parameters.items()}
    tokens, a0, apart = vocabulary.encode(TEXT).astype(int), np.zeros(24), 0.0
    x, y = tokens[:-1], tokens[1:]
    for step in range(201):
        loss, a, y_hat = forward(p, x, y, a0)
        g = backward(p, x, y, a, y_hat)
        for name, array in p.items():
            fast.parameters[name][...] = array
        _, gradients, _ = fast.loss_and_gradients(x[:, np.newaxis], y[:, np.newaxis])
        for name, array in p.items():
            apart = max(apart, float(np.abs(g[name] - gradients[name]).max()))
            array[...] = array - 0.3 * g[name]
        if step % 50 == 0:
            print(f"step {step:3}  loss {loss:.4f} nats")
    print(f"largest difference from a gradient of the fast network: {apart:.1e}")


if __name__ == "__main__":
    main()
