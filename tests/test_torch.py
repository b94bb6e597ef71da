"""The same network in PyTorch gives the same loss and the same gradients, tensor by tensor."""

import numpy as np
import pytest
from reference import random_window

import charrnn
from charrnn.config import TrainConfig
from charrnn.optim import OPTIMIZERS, clip_by_norm, global_norm

torch = pytest.importorskip("torch", reason="torch is optional; nothing but this comparison uses it")

SHAPE = (30, 5, 13, 11)  # T, B, H, V


def pair():
    """Our network and torch's with the same random parameters, in float64."""
    _, _, H, V = SHAPE
    parameters, x, y, a0 = random_window(2, SHAPE)
    vocabulary = charrnn.Corpus.from_text("abcdefghijk").vocabulary
    ours = charrnn.CharRNN(vocabulary, H, dtype=float)
    rnn, dense = torch.nn.RNN(V, H).double(), torch.nn.Linear(H, V).double()
    theirs = {
        "W_ax": rnn.weight_ih_l0,
        "W_aa": rnn.weight_hh_l0,
        "b_a": rnn.bias_ih_l0,
        "W_ya": dense.weight,
        "b_y": dense.bias,
    }
    rnn.bias_hh_l0.requires_grad_(False).zero_()
    for name, value in parameters.items():
        ours.parameters[name][...] = value
        theirs[name].data = torch.tensor(value.T.copy())

    def loss_of(x, y, a0):
        a, _ = rnn(torch.eye(V, dtype=torch.float64)[x] if x.ndim == 2 else x, a0[None])
        return torch.nn.functional.cross_entropy(dense(a).reshape(-1, V), y.reshape(-1))

    return ours, theirs, loss_of, x, y, a0


def test_loss_and_every_gradient_equal_torchs():
    ours, theirs, loss_of, x, y, a0 = pair()
    rows = torch.eye(SHAPE[3], dtype=torch.float64)[torch.tensor(x)].requires_grad_()
    state = torch.tensor(a0).requires_grad_()
    expected = loss_of(rows, torch.tensor(y), state)
    expected.backward()
    loss, window = ours.forward(x, y, a0)
    gradients, dx, da0 = ours.backward(window, input_gradient=True)
    assert abs(loss - expected.item()) < 1e-10
    for name, tensor in theirs.items():
        np.testing.assert_allclose(gradients[name], tensor.grad.numpy().T, rtol=0, atol=1e-10, err_msg=name)
    np.testing.assert_allclose(dx, rows.grad.numpy(), rtol=0, atol=1e-10)
    np.testing.assert_allclose(da0, state.grad.numpy(), rtol=0, atol=1e-10)


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
def test_ten_steps_of_training_have_the_same_losses(settings, torch_optimizer):
    ours, theirs, loss_of, x, y, a0 = pair()
    optimizer = OPTIMIZERS[settings["optimizer"]](ours.parameters.flat, TrainConfig(**settings))
    other = torch_optimizer(theirs.values())
    for _ in range(10):
        loss, gradients, _ = ours.loss_and_gradients(x, y, a0)
        other.zero_grad()
        expected = loss_of(torch.tensor(x), torch.tensor(y), torch.tensor(a0))
        expected.backward()
        assert abs(loss - expected.item()) < 1e-10
        norm = torch.nn.utils.get_total_norm([p.grad for p in theirs.values()]).item()
        assert global_norm(gradients.flat) == pytest.approx(norm, rel=1e-10)
        for p in theirs.values():  # torch's own clipping adds 1e-6 to the norm
            p.grad *= min(1, 0.5 / norm)
        clip_by_norm(gradients.flat, 0.5)
        optimizer.step(gradients.flat, 0.01)
        other.step()
