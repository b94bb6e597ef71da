import numpy as np
import pytest

from charrnn.config import ModelConfig
from charrnn.model.initial import draw_weights
from charrnn.model.network import Network
from charrnn.proofs.calculus import STEP
from charrnn.views.reach import by_distance, cut_share, reach, windows

V, T, B = 5, 7, 2
FORMS = [
    {"cell": "rnn"},
    {"cell": "gru"},
    {"cell": "lstm"},
    {"cell": "gru", "num_layers": 2},
    {"cell": "lstm", "num_layers": 2, "embedding_size": 3},
]


def network(form):
    rng = np.random.default_rng(3)
    net = Network(ModelConfig(hidden_size=4, dtype="float64", **form), V)
    draw_weights(net, rng)
    net.parameters.flat += 0.3 * rng.standard_normal(net.parameters.flat.size)
    return net, rng.integers(0, V, (T, B)), rng.integers(0, V, B)


def loss_moved_at(net, x, y, moved_step, moved_state, direction):
    """The loss of one row, with one state of all layers moved after step ``moved_step``."""
    p, cell = net.parameters, net.cell
    states = [[np.zeros(net.config.hidden_size, complex) for _ in cell.states] for _ in p._layers]
    for t, character in enumerate(x):
        below = None
        for layer, before in enumerate(states):
            w = p.layer(layer)
            if below is None:
                row = p["W_ex"][character] @ w["W_ax"] if "W_ex" in p else w["W_ax"][character]
            else:
                row = below @ w["W_ax"]
            after = list(cell.step((row + w["b_a"]).astype(complex), tuple(before), w))
            if t == moved_step and layer == moved_state[0]:
                after[moved_state[1]] = after[moved_state[1]] + 1j * STEP * direction
                if moved_state[1] == 1:  # a moved cell shows in the activation of that very step
                    after[0] = lstm_activation(row + w["b_a"], before, w, after[1])
            states[layer] = after
            below = after[0]
    logits = below @ p["W_ya"] + p["b_y"]
    return np.log(np.exp(logits).sum()) - logits[y]


def lstm_activation(xW, before, w, c):
    o = (xW + before[0] @ w["W_aa"])[-len(c) :]
    return np.tanh(c) / (1 + np.exp(-o))


@pytest.mark.parametrize("form", FORMS, ids=lambda form: "-".join(map(str, form.values())))
def test_the_reach_is_the_length_of_the_gradient_by_the_complex_step(form):
    net, x, y = network(form)
    found = reach(net, x, y)
    for b in range(B):
        for which, lengths in enumerate(filter(lambda part: part is not None, found)):
            for t in range(T):
                gradient = [
                    loss_moved_at(net, x[:, b], y[b], t, (layer, which), direction).imag / STEP
                    for layer in range(net.config.num_layers)
                    for direction in np.eye(net.config.hidden_size)
                ]
                np.testing.assert_allclose(lengths[t, b], np.linalg.norm(gradient), rtol=1e-12)


def test_only_an_lstm_has_a_cell_to_reach_into():
    assert reach(*network({"cell": "gru"})).c is None
    assert reach(*network({"cell": "lstm"})).c.shape == (T, B)


def test_the_state_before_the_window_counts():
    net, x, y = network({"cell": "gru"})
    _, state = net.logits(x[:3], net.initial_state(B))
    np.testing.assert_allclose(reach(net, x[3:], y, state).a, reach(net, x, y).a[3:], rtol=1e-12)


def test_windows_lie_inside_the_text_and_know_what_follows_them():
    x, y = windows(np.arange(50, dtype=np.uint8), 10, 4)
    assert x.shape == (10, 4)
    np.testing.assert_array_equal(y, x[-1] + 1)
    assert (x[0, 0], y[-1]) == (0, 49)
    assert windows(np.arange(12), 10, 4)[0].shape == (10, 2)


def test_the_median_by_distance_begins_at_the_loss_and_the_cut_share_at_the_truncation():
    distances = by_distance(np.array([[1.0, 1, 9], [2, 2, 2], [4, 8, 8]]))
    np.testing.assert_array_equal(distances, [8, 2, 1])
    assert [cut_share(distances, T) for T in (0, 1, 2, 3)] == pytest.approx([1, 3 / 11, 1 / 11, 0])
    assert cut_share(np.zeros(3), 1) == 0
