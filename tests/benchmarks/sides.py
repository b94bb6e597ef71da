"""One training step of the same network, in charrnn, in PyTorch and in JAX.

A step is: next batch, forward, loss, backward, clip by norm, Adam. Every side starts from charrnn's first
weights and reads the same windows, so that their losses can be compared; run as a child process (the
only way it is used), a side prints its first losses, its characters per second and its peak memory.
"""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

CLIP, RATE, BETAS, EPSILON = 1.0, 1e-3, (0.9, 0.99), 1e-8
COMPARED = 10  # losses
Step = Callable[[], float]
Batch = tuple[Any, Any]  # inputs and targets (T, B)


def first_weights(H: int, V: int) -> Any:
    from charrnn import CharRNN, Vocabulary

    return CharRNN(Vocabulary.of_text("".join(map(chr, range(0x4E00, 0x4E00 + V)))), H)


def windows(B: int, T: int, V: int, text: str = "", count: int = 20) -> list[Batch]:
    """Inputs and targets (T, B) of ``text``; without one, of characters that partly follow from the last."""
    rng = np.random.default_rng(0)
    tokens = np.cumsum(rng.integers(0, 3, (count * T + 1, B)), axis=0) % V
    if text:
        from charrnn import Corpus

        corpus = Corpus.from_files(text)
        tokens = corpus.tokens[: (count * T + 1) * B].reshape(B, -1).T.astype(np.intp)
    return [(tokens[t : t + T], tokens[t + 1 : t + T + 1]) for t in range(0, count * T, T)]


def charrnn_side(H: int, V: int, batches: list[Batch], threads: str) -> Step:
    from charrnn import TrainConfig, optim
    from charrnn.shards import Shards, choose_threads

    model, (T, B) = first_weights(H, V), batches[0][0].shape
    config = TrainConfig(weight_decay=0, beta1=BETAS[0], beta2=BETAS[1])
    adam = optim.Adam(model.parameters.flat, config)
    number = choose_threads(threads if threads == "auto" else int(threads), B, H)
    shards = Shards(model, T, B, number).__enter__()
    state, step = model.initial_state(B), 0

    def one_step() -> float:
        nonlocal state, step
        inputs, targets = batches[step % len(batches)]
        loss, gradients, state = shards.loss_and_gradients(inputs, targets, state)
        optim.clip_by_norm(gradients, CLIP)
        adam.step(gradients, RATE)
        step += 1
        return loss

    return one_step


def torch_side(H: int, V: int, batches: list[Batch], threads: str, kind: str) -> Step:
    """``kind`` of input: onehot, lookup (a one-hot row taken from an identity matrix), or embedding, a
    learned one of H numbers: another network, for large V only."""
    import torch

    torch.set_num_threads(int(threads))
    p = {name: torch.tensor(array) for name, array in first_weights(H, V).parameters.items()}
    batches, B = [(torch.tensor(x), torch.tensor(y)) for x, y in batches], batches[0][0].shape[1]
    embedding = torch.nn.Embedding(V, H)
    eye = torch.eye(V if kind == "lookup" else 1)
    rnn, dense = torch.nn.RNN(H if kind == "embedding" else V, H), torch.nn.Linear(H, V)
    with torch.no_grad():
        if kind != "embedding":
            rnn.weight_ih_l0.copy_(p["W_ax"].T)
        rnn.weight_hh_l0.copy_(p["W_aa"].T)
        rnn.bias_ih_l0.zero_()
        rnn.bias_hh_l0.zero_()
        dense.weight.copy_(p["W_ya"].T)
        dense.bias.zero_()
    rnn.bias_hh_l0.requires_grad_(False)  # PyTorch has two biases where one does
    used = [rnn, dense, *([embedding] if kind == "embedding" else [])]
    parameters = [p for module in used for p in module.parameters() if p.requires_grad]
    adam = torch.optim.Adam(parameters, RATE, BETAS, EPSILON, fused=True)
    state, step = torch.zeros(1, B, H), 0
    inputs_of = {
        "onehot": lambda x: torch.nn.functional.one_hot(x, V).float(),
        "lookup": lambda x: eye[x],
        "embedding": embedding,
    }[kind]

    def one_step() -> float:
        nonlocal state, step
        x, y = batches[step % len(batches)]
        a, state = rnn(inputs_of(x), state)
        loss = torch.nn.functional.cross_entropy(dense(a).view(-1, V), y.reshape(-1))
        adam.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(parameters, CLIP)
        adam.step()
        state = state.detach()
        step += 1
        return loss.item()

    return one_step


def jax_side(H: int, V: int, batches: list[Batch], threads: str, kind: str) -> Step:
    """``kind`` of input: onehot, or gather (rows of W_ax)."""
    if threads == "1":
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    import jax
    import jax.numpy as jnp

    p = {name: jnp.asarray(array) for name, array in first_weights(H, V).parameters.items()}
    batches, B = [(jnp.asarray(x), jnp.asarray(y)) for x, y in batches], batches[0][0].shape[1]

    def loss_of(p: Any, x: Any, y: Any, a: Any) -> Any:
        xW = jax.nn.one_hot(x, V) @ p["W_ax"] if kind == "onehot" else p["W_ax"][x]

        def cell(a: Any, xW: Any) -> Any:
            a = jnp.tanh(xW + a @ p["W_aa"] + p["b_a"])
            return a, a

        last, a = jax.lax.scan(cell, a, xW)
        log_y = jax.nn.log_softmax(a @ p["W_ya"] + p["b_y"])
        return -jnp.take_along_axis(log_y, y[..., None], -1).mean(), last

    def update(p: Any, m: Any, v: Any, n: Any, x: Any, y: Any, a: Any) -> Any:
        (loss, last), g = jax.value_and_grad(loss_of, has_aux=True)(p, x, y, a)
        norm = jnp.sqrt(sum(jnp.sum(one * one) for one in g.values()))
        g = {name: one * jnp.minimum(1, CLIP / norm) for name, one in g.items()}
        m = {name: BETAS[0] * m[name] + (1 - BETAS[0]) * g[name] for name in p}
        v = {name: BETAS[1] * v[name] + (1 - BETAS[1]) * g[name] ** 2 for name in p}
        c, d = 1 - BETAS[0] ** n, 1 - BETAS[1] ** n
        p = {name: p[name] - RATE * (m[name] / c) / (jnp.sqrt(v[name] / d) + EPSILON) for name in p}
        return p, m, v, n + 1, loss, last

    update = jax.jit(update, donate_argnums=(0, 1, 2))
    m, v = ({name: jnp.zeros_like(one) for name, one in p.items()} for _ in range(2))
    n, a, step = 1.0, jnp.zeros((B, H)), 0

    def one_step() -> float:
        nonlocal p, m, v, n, a, step
        x, y = batches[step % len(batches)]
        p, m, v, n, loss, a = update(p, m, v, n, x, y, a)
        step += 1
        return float(loss)

    return one_step


SIDES = {"charrnn": charrnn_side, "torch": torch_side, "jax": jax_side}


def measure(
    side: str, sizes: tuple[int, ...], *how: str, text: str = "", seconds: float = 2
) -> dict[str, Any]:
    """Run one side in a process of its own, for so many seconds; ``sizes`` are H, B, T and V."""
    words = [side, json.dumps(sizes), text, str(seconds), *how]
    done = subprocess.run([sys.executable, __file__, *words], stdout=subprocess.PIPE, text=True, check=True)
    report: dict[str, Any] = json.loads(done.stdout)
    return report


def peak(threads: int) -> float:
    """Billions of operations a second of one large float32 product, in a process of its own."""
    code = f"from charrnn.bench import peak; print(peak({threads}, 'float32'))"
    done = subprocess.run([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, check=True)
    return float(done.stdout)


def resident(pid: str) -> tuple[float, float]:
    """The most memory that was resident in a process, and its present share with shared pages divided
    among those who share them, in MB."""
    status = Path("/proc", pid, "status").read_text()
    shares = Path("/proc", pid, "smaps_rollup").read_text()
    return tuple(
        int(next(line for line in text.splitlines() if line.startswith(name)).split()[1]) / 1e3
        for text, name in ((status, "VmHWM"), (shares, "Pss:"))
    )


def main(side: str, sizes: str, text: str, seconds: str, *how: str) -> None:
    H, B, T, V = json.loads(sizes)
    step = SIDES[side](H, V, windows(B, T, V, text), *how)
    losses = [step() for _ in range(COMPARED)]  # also the warm-up
    times = []
    began = last = time.perf_counter()
    while last - began < float(seconds) or len(times) < 3:
        step()
        now = time.perf_counter()
        times.append(now - last)
        last = now
    pids = [str(os.getpid()), *Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()]
    most, shares = zip(*map(resident, pids), strict=True)
    report = {
        "losses": losses,
        "seconds": float(np.median(times)),  # a step
        "resident": sum(most),  # MB
        "proportional": sum(shares),
    }
    print(json.dumps(report))


if __name__ == "__main__":
    main(*sys.argv[1:])
