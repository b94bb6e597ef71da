"""How weights start.

W_aa is ``init_scale`` times an orthogonal matrix, a normal one (variance 1/H) or the identity, for each gate
by itself. W_ax is normal with a standard deviation of ``input_scale`` (over √X where its input is no one-hot
row but has X numbers); tests/benchmarks/README.md has what others bring. Biases start where the cell says.
The output layer starts near zero, so that the first loss is ln V to within 2 %: a network that has seen
nothing should find every character equally likely.
"""

from collections.abc import Callable

import numpy as np

from charrnn.layers import Array
from charrnn.model.network import Network


def orthogonal(H: int, rng: np.random.Generator) -> Array:
    """A random orthogonal matrix (H, H), uniform among them (Mezzadri 2007): it keeps a state's length."""
    q, r = np.linalg.qr(rng.standard_normal((H, H)))
    return np.asarray(q * np.sign(np.diagonal(r)))


INITS: dict[str, Callable[[int, np.random.Generator], Array]] = {
    "orthogonal": orthogonal,
    "normal": lambda H, rng: rng.standard_normal((H, H)) / np.sqrt(H),
    "identity": lambda H, rng: np.eye(H),
}


def draw_weights(network: Network, rng: np.random.Generator) -> None:
    """Write the weights that training starts from into a network's parameters."""
    p, config, cell = network.parameters, network.config, network.cell
    H, init = config.hidden_size, INITS[config.init]
    if config.embedding_size:
        p["W_ex"][...] = rng.standard_normal(p["W_ex"].shape)
    for layer in range(config.num_layers):
        w = p.layer(layer)
        one_hot = layer == 0 and not config.embedding_size
        std = config.input_scale if one_hot else config.input_scale / np.sqrt(len(w["W_ax"]))
        w["W_ax"][...] = std * rng.standard_normal(w["W_ax"].shape)
        for gate in range(cell.gates):
            w["W_aa"][:, gate * H : (gate + 1) * H] = config.init_scale * init(H, rng)
        for name, starts in cell.biases.items():
            w[name][...] = np.repeat(starts, H)
    p["W_ya"][...] = 0.01 / np.sqrt(H) * rng.standard_normal(p["W_ya"].shape)
