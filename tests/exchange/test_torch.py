"""The same network in PyTorch has the same loss and gradients, tensor by tensor, and learns the same."""

import sys
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from reference import random_network

import charrnn
from charrnn.config import TrainConfig
from charrnn.exchange.pytorch import from_torch, to_torch
from charrnn.training.optim import OPTIMIZERS, clip_by_norm, global_norm

torch = pytest.importorskip("torch", reason="torch is optional; nothing but this comparison uses it")
sys.path.append(str(Path(__file__).parents[1] / "benchmarks"))
from beside_torch import curves  # noqa: E402
from sides import first_weights, hold, twin, windows  # noqa: E402

torch.set_num_threads(1)  # of work this small more make none faster, and a busy machine far slower

SHAPE = (30, 5, 13, 11)  # T, B, H, V
CELLS = ["rnn", "gru", "lstm"]
FABLES = Path(__file__).parents[2] / "data" / "fables.txt"


def states_of(model, state):
    """The parts of a state (B, S) as PyTorch has them: a (L, B, H), of an LSTM then c (L, B, H)."""
    layers = model.states(state)
    return [np.stack(parts) for parts in zip(*layers, strict=True)]


def logits_of(network, x, states, masks=None):
    """PyTorch's logits (T, B, V) and states after, for one-hot rows x (T, B, V).

    With masks (L, T, B, H) each layer is run by itself, and what it sends up is multiplied by its mask.
    """
    x = x @ network.embedding.weight if hasattr(network, "embedding") else x
    lone = len(states) == 1
    if masks is None:
        a, after = network.rnn(x, states[0] if lone else tuple(states))
        return network.dense(a), [after] if lone else after
    last = []
    for layer, mask in enumerate(masks):
        one = type(network.rnn)(x.shape[-1], network.rnn.hidden_size)
        own = {n[:-1] + "0": p for n, p in network.rnn.named_parameters() if n.endswith(f"l{layer}")}
        before = [state[layer : layer + 1] for state in states]
        a, after = torch.func.functional_call(one, own, (x, before[0] if lone else tuple(before)))
        x = a * torch.tensor(mask)
        last.append([after] if lone else after)
    return network.dense(x), [torch.cat(parts) for parts in zip(*last, strict=True)]


def cross_entropy(logits, y):
    return torch.nn.functional.cross_entropy(logits.flatten(0, 1), torch.tensor(y).flatten())


def same(ours, theirs, name=""):
    np.testing.assert_allclose(ours, theirs.detach().numpy(), rtol=0, atol=1e-10, err_msg=name)


def compare(dropout=0.0, **form):
    """Forward and back through both networks: everything that comes out is the same."""
    ours, x, y, state = random_network(2, SHAPE, **form)
    T, B, H, V = SHAPE
    network, rng = twin(ours), np.random.default_rng(3)
    for name, p in network.rnn.named_parameters():
        if "bias" in name:  # both of them, though one is zero in a twin
            p.data = torch.tensor(rng.standard_normal(p.shape))
    from_torch(ours, network.state_dict())
    rngs = [np.random.default_rng(row) for row in range(B)]
    masks = ours.dropout_masks(rngs, dropout, T) if dropout else None

    rows = torch.eye(V, dtype=torch.float64)[torch.tensor(x)].requires_grad_()
    states = [torch.tensor(part).requires_grad_() for part in states_of(ours, state)]
    logits, after = logits_of(network, rows, states, masks)
    expected = cross_entropy(logits, y)
    expected.backward()

    same(ours.logits(x, state, masks=masks)[0], logits)
    loss, window = ours.forward(x, y, state, masks=masks)
    same(loss, expected)
    for part, theirs in zip(states_of(ours, window.state), after, strict=True):
        same(part, theirs)
    gradients = ours.parameters.like()
    dstate = ours.backward(window, gradients)
    same(ours.input_gradient(window), rows.grad)
    for part, theirs in zip(states_of(ours, dstate), states, strict=True):
        same(part, theirs.grad)
    ours.parameters.flat[...] = gradients.flat
    found, tensors = to_torch(ours), dict(network.named_parameters())
    assert found.keys() == tensors.keys()
    for name, gradient in found.items():
        if "bias_hh" in name:  # where the two biases are added, their gradients are the same
            added = slice(2 * H if ours.config.cell == "gru" else None)
            gradient[added] = found[name.replace("hh", "ih")][added]
        same(gradient, tensors[name].grad, name)


@pytest.mark.parametrize("num_layers", [1, 2, 3])
@pytest.mark.parametrize("cell", CELLS)
def test_loss_and_every_gradient_equal_torchs(cell, num_layers):
    compare(cell=cell, num_layers=num_layers)


@pytest.mark.parametrize("cell", CELLS)
def test_with_an_embedding(cell):
    compare(cell=cell, num_layers=2, embedding_size=6)


@pytest.mark.parametrize("cell", CELLS)
def test_with_the_same_units_dropped(cell):
    compare(cell=cell, num_layers=3, dropout=0.3)


@pytest.mark.parametrize("cell", CELLS)
def test_with_resets_it_is_torch_run_document_by_document(cell):
    ours, x, y, state = random_network(2, SHAPE, cell=cell, num_layers=2)
    T, B, H, V = SHAPE
    network, rho = twin(ours), np.random.default_rng(3).random((T, B)) < 0.8
    rows, first = torch.eye(V, dtype=torch.float64)[torch.tensor(x)], states_of(ours, state)
    expected = 0.0
    for b in range(B):
        cuts = sorted({0, T, *map(int, np.flatnonzero(~rho[:, b]))})
        for start, end in pairwise(cuts):
            before = [torch.tensor(part[:, b : b + 1] * rho[start, b]) for part in first]
            logits, _ = logits_of(network, rows[start:end, b : b + 1], before)
            expected += cross_entropy(logits, y[start:end, b : b + 1]) * (end - start) / (T * B)
    expected.backward()

    loss, gradients, _ = ours.loss_and_gradients(x, y, state, rho=rho)
    same(loss, expected)
    ours.parameters.flat[...] = gradients.flat
    tensors = dict(network.named_parameters())
    for name, gradient in to_torch(ours).items():
        if "bias_hh" not in name:  # zero in a twin but for a GRU's b_n, the last third
            same(gradient, tensors[name].grad, name)
        elif cell == "gru":
            same(gradient[2 * H :], tensors[name].grad[2 * H :], name)


@pytest.mark.parametrize(
    ("settings", "torch_optimizer"),
    [
        (
            {"optimizer": "adam", "weight_decay": 0.1},
            lambda p: torch.optim.AdamW(p, lr=0.01, betas=(0.9, 0.99), weight_decay=0.1),
        ),
        (
            {"optimizer": "sgd", "nesterov": True, "weight_decay": 0.01},
            lambda p: torch.optim.SGD(p, lr=0.01, momentum=0.9, nesterov=True, weight_decay=0.01),
        ),
        ({"optimizer": "sgd"}, lambda p: torch.optim.SGD(p, lr=0.01, momentum=0.9)),
    ],
    ids=["adam", "nesterov", "sgd"],
)
@pytest.mark.parametrize("cell", CELLS)
def test_ten_steps_of_training_have_the_same_losses(cell, settings, torch_optimizer):
    ours, x, y, state = random_network(2, SHAPE, cell=cell)
    network = twin(ours)
    hold(network.rnn)
    theirs = [p for p in network.parameters() if p.requires_grad]
    optimizer = OPTIMIZERS[settings["optimizer"]](ours.parameters.flat, TrainConfig(**settings))
    other = torch_optimizer(theirs)
    rows = torch.eye(SHAPE[3], dtype=torch.float64)[torch.tensor(x)]
    states = [torch.tensor(part) for part in states_of(ours, state)]
    for _ in range(10):
        loss, gradients, _ = ours.loss_and_gradients(x, y, state)
        other.zero_grad()
        expected = cross_entropy(logits_of(network, rows, states)[0], y)
        expected.backward()
        assert abs(loss - expected.item()) < 1e-10
        norm = torch.nn.utils.get_total_norm([p.grad for p in theirs]).item()
        assert global_norm(gradients.flat) == pytest.approx(norm, rel=1e-10)
        for p in theirs:  # torch's own clipping adds 1e-6 to the norm
            p.grad *= min(1, 0.5 / norm)
        clip_by_norm(gradients.flat, 0.5)
        optimizer.step(gradients.flat, 0.01)
        other.step()


@pytest.mark.parametrize(("dtype", "within"), [("float64", 1e-9), ("float32", 1e-3)])
def test_two_hundred_steps_on_a_text_have_the_same_losses(dtype, within):
    V = len(charrnn.Corpus.from_files(FABLES).vocabulary)
    model = first_weights(48, V, "lstm", dtype=dtype)
    ours, theirs = curves(model, windows(8, 32, V, str(FABLES), 200))
    assert len(ours) == 200
    assert ours[-1] < 0.75 * ours[0]
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=within)
