"""200 steps of learning beside PyTorch's, loss by loss. Prints, and asserts nothing.

    python tests/benchmarks/beside_torch.py FILE

An LSTM and a GRU, H = 128, B = 32, T = 64: charrnn's and torch.nn's, from the same weights on the same
windows of FILE, the state carried, with the same clipping and the same Adam, in float64 and in float32. A row
is the largest difference of two losses, then the first and the last loss of both. tests/test_torch.py does it
with a small LSTM and asserts that they are the same.
"""

import sys
from typing import Any

from sides import BETAS, CLIP, EPSILON, Batch, detached, first_weights, hold, twin, windows, zeros
from threadpoolctl import threadpool_limits

from charrnn import Corpus, TrainConfig
from charrnn.training import optim

STEPS, RATE = 200, 3e-3
H, B, T = 128, 32, 64


def curves(model: Any, batches: list[Batch]) -> tuple[list[float], list[float]]:
    """The losses of a model and of its twin in PyTorch, one a batch. Trains the model, on one thread."""
    import torch

    torch.set_num_threads(1)
    network, B = twin(model), batches[0][0].shape[1]
    hold(network.rnn)
    parameters = [p for p in network.parameters() if p.requires_grad]
    their_adam = torch.optim.Adam(parameters, RATE, BETAS, EPSILON)
    config = TrainConfig(weight_decay=0, beta1=BETAS[0], beta2=BETAS[1])
    our_adam = optim.Adam(model.parameters.flat, config)
    eye = torch.eye(len(model.vocabulary), dtype=network.dense.bias.dtype)
    our_state, their_state = model.initial_state(B), zeros(model, B)
    ours, theirs = [], []
    for x, y in batches:
        with threadpool_limits(1, "blas"):
            our_loss, gradients, our_state = model.loss_and_gradients(x, y, our_state)
        optim.clip_by_norm(gradients.flat, CLIP)
        our_adam.step(gradients.flat, RATE)
        ours.append(our_loss)

        a, their_state = network.rnn(eye[torch.tensor(x)], detached(their_state))
        loss = torch.nn.functional.cross_entropy(network.dense(a).flatten(0, 1), torch.tensor(y).flatten())
        their_adam.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        norm = torch.nn.utils.get_total_norm([p.grad for p in parameters if p.grad is not None])
        for p in parameters:
            assert p.grad is not None
            p.grad *= min(1, CLIP / norm.item())  # torch's own clipping adds 1e-6 to the norm
        their_adam.step()
        theirs.append(loss.item())
    return ours, theirs


def main(path: str) -> None:
    V = len(Corpus.from_files(path).vocabulary)
    batches = windows(B, T, V, path, STEPS)
    print("cell  dtype    differ by   charrnn from … to   torch from … to")
    for cell in ("lstm", "gru"):
        for dtype in ("float64", "float32"):
            ours, theirs = curves(first_weights(H, V, cell, dtype=dtype), batches)
            apart = max(abs(a - b) for a, b in zip(ours, theirs, strict=True))
            print(
                f"{cell:5} {dtype} {apart:10.0e} {ours[0]:12.6f} {ours[-1]:.6f} "
                f"{theirs[0]:8.6f} {theirs[-1]:.6f}",
                flush=True,
            )


if __name__ == "__main__":
    main(*sys.argv[1:])
