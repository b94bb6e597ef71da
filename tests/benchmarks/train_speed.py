"""Characters per second of whole training steps, beside torch.nn.RNN's. Prints, and asserts nothing.

    python tests/benchmarks/train_speed.py [--rounds 5] [--seconds 2]

A step is: next batch, forward, loss, backward, clip by norm, Adam. Each side runs in a process of its
own, in turn, round after round; the table gives medians and the ratio of medians. PyTorch is tried with
one-hot and with embedding input and with each number of threads, and its best stands in the table.
"""

import argparse
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable

import numpy as np

SIZES = [(128, 64, 64), (256, 64, 128), (512, 64, 128)]  # H, B, T
V = 65


def ours(H: int, B: int, T: int) -> Callable[[], float]:
    """A function that takes one training step."""
    from charrnn import CharRNN, Corpus, TrainConfig, optim
    from charrnn.shards import Shards, choose_threads
    from charrnn.text import Streams

    corpus = Corpus.from_text("".join(map(chr, range(48, 48 + V))))
    tokens = np.random.default_rng(0).integers(0, V, B * T * 20 + 1).astype(np.uint8)
    streams = Streams(tokens, B, T)
    model = CharRNN(corpus.vocabulary, H)
    config = TrainConfig(weight_decay=0)
    adam = optim.Adam(model.parameters.flat, config)
    shards = Shards(model, T, B, choose_threads("auto", B, H)).__enter__()
    state, step = model.initial_state(B), 0

    def one_step() -> float:
        nonlocal state, step
        inputs, targets = streams[step % len(streams)]
        loss, gradients, state = shards.loss_and_gradients(inputs, targets, state)
        optim.clip_by_norm(gradients, 1.0)
        adam.step(gradients, 1e-3)
        step += 1
        return loss

    return one_step


def torchs(H: int, B: int, T: int, kind: str, threads: str) -> Callable[[], float]:
    """The same step in PyTorch, with ``kind`` of input: onehot or embedding."""
    import torch

    torch.set_num_threads(int(threads))
    tokens = torch.randint(0, V, (T * 20 + 1, B), generator=torch.Generator().manual_seed(0))
    rnn, dense = torch.nn.RNN(V, H), torch.nn.Linear(H, V)
    embedding = torch.nn.Embedding(V, V)
    used = [rnn, dense] + ([embedding] if kind == "embedding" else [])
    parameters = [p for module in used for p in module.parameters()]
    adam = torch.optim.Adam(parameters, 1e-3, fused=True)
    state, step = torch.zeros(1, B, H), 0

    def one_step() -> float:
        nonlocal state, step
        t = step % 20 * T
        inputs, targets = tokens[t : t + T], tokens[t + 1 : t + T + 1]
        onehot = kind == "onehot"
        x = torch.nn.functional.one_hot(inputs, V).float() if onehot else embedding(inputs)
        a, state = rnn(x, state)
        loss = torch.nn.functional.cross_entropy(dense(a).view(-1, V), targets.reshape(-1))
        adam.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        adam.step()
        state = state.detach()
        step += 1
        return loss.item()

    return one_step


def child(side: str, size: str, seconds: str, *how: str) -> None:
    """Print the characters per second of one side."""
    H, B, T = map(int, size.split(","))
    step = ours(H, B, T) if side == "ours" else torchs(H, B, T, *how)
    for _ in range(3):
        step()
    steps, began = 0, time.perf_counter()
    while time.perf_counter() - began < float(seconds):
        step()
        steps += 1
    print(steps * B * T / (time.perf_counter() - began))


def measure(*words: str) -> float:
    command = [sys.executable, __file__, "child", *words]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return float(done.stdout)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", default="2")
    args = parser.parse_args()
    cores = len(os.sched_getaffinity(0))
    sides = [("ours",)]
    sides += [("torch", kind, str(n)) for kind in ("onehot", "embedding") for n in sorted({1, cores})]
    print(f"{cores} cores, V = {V}, {args.rounds} rounds of {args.seconds} s; characters per second")
    print(f"{'H':>5} {'B':>4} {'T':>4} {'charrnn':>10} {'torch':>10}  {'its best':20} {'ratio':>6}")
    for H, B, T in SIZES:
        speeds: dict[tuple[str, ...], list[float]] = {side: [] for side in sides}
        for _ in range(args.rounds):
            for side in sides:
                speeds[side].append(measure(side[0], f"{H},{B},{T}", args.seconds, *side[1:]))
        medians = {side: statistics.median(values) for side, values in speeds.items()}
        mine = medians.pop(("ours",))
        best = max(medians, key=lambda side: medians[side])
        how = f"{best[1]}, {best[2]} thread{'s' if best[2] != '1' else ''}"
        print(f"{H:5} {B:4} {T:4} {mine:10,.0f} {medians[best]:10,.0f}  {how:20} {mine / medians[best]:6.2f}")


if __name__ == "__main__":
    if sys.argv[1:2] == ["child"]:
        child(*sys.argv[2:])
    else:
        main()
