"""One training step of the same network, in charrnn, in PyTorch and in JAX.

A step is: next batch, forward, loss, backward, clip by norm, Adam. Every side starts from charrnn's first
weights and reads the same windows, so that their losses can be compared; run as a child process (the
only way it is used), a side prints its first losses, and each time it is told to measures for a while.
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
COMPARED = 5  # losses
Step = Callable[[], float]
Batch = tuple[Any, Any]  # inputs and targets (T, B)


def first_weights(H: int, V: int, cell: str = "rnn", num_layers: int = 1, **form: Any) -> Any:
    from charrnn import CharRNN, Vocabulary

    vocabulary = Vocabulary.of_text("".join(map(chr, range(0x4E00, 0x4E00 + V))))
    return CharRNN(vocabulary, H, cell=cell, num_layers=num_layers, **form)


def windows(B: int, T: int, V: int, text: str = "", count: int = 20) -> list[Batch]:
    """Inputs and targets (T, B) of ``text``; without one, of characters that partly follow from the last."""
    rng = np.random.default_rng(0)
    tokens = np.cumsum(rng.integers(0, 3, (count * T + 1, B)), axis=0) % V
    if text:
        from charrnn import Corpus

        corpus = Corpus.from_files(text)
        tokens = corpus.tokens[: (count * T + 1) * B].reshape(B, -1).T.astype(np.intp)
    return [(tokens[t : t + T], tokens[t + 1 : t + T + 1]) for t in range(0, count * T, T)]


def charrnn_side(model: Any, batches: list[Batch], threads: str, kernels: str = "numpy") -> Step:
    from charrnn import TrainConfig
    from charrnn.training import optim
    from charrnn.training.shards import Shards, choose_threads

    model.kernels = kernels
    T, B = batches[0][0].shape
    config = TrainConfig(weight_decay=0, beta1=BETAS[0], beta2=BETAS[1])
    adam = optim.Adam(model.parameters.flat, config)
    number = choose_threads(threads if threads == "auto" else int(threads), B, model.config.hidden_size)
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


def twin(model: Any) -> Any:
    """PyTorch's network of the same form, with the same weights."""
    import torch

    from charrnn.exchange.pytorch import to_torch

    arrays = {name: torch.from_numpy(array) for name, array in to_torch(model).items()}
    cells = {"rnn": torch.nn.RNN, "gru": torch.nn.GRU, "lstm": torch.nn.LSTM}
    X, H = arrays["rnn.weight_ih_l0"].shape[1], model.config.hidden_size
    rnn, dense = (
        cells[model.config.cell](X, H, model.config.num_layers),
        torch.nn.Linear(H, len(model.vocabulary)),
    )
    network = torch.nn.ModuleDict({"rnn": rnn, "dense": dense})
    if model.config.embedding_size:
        network["embedding"] = torch.nn.Embedding(len(model.vocabulary), X)
    network.to(arrays["dense.bias"].dtype)
    network.load_state_dict(arrays)
    return network


def hold(rnn: Any) -> list[Any]:
    """Keep the biases still that PyTorch has twice, as they would move twice as far: bias_hh whole, but of a
    GRU only its parts for r and z, whose gradients are zeroed by hooks.

    Returns: the hooks, for ``remove()``.
    """
    import torch

    biases = [p for name, p in rnn.named_parameters() if name.startswith("bias_hh")]
    if isinstance(rnn, torch.nn.GRU):
        moves = torch.arange(3 * rnn.hidden_size) >= 2 * rnn.hidden_size
        return [p.register_hook(lambda gradient: gradient * moves) for p in biases]
    for p in biases:
        p.requires_grad_(False)
    return []


def zeros(model: Any, B: int) -> Any:
    """The state of a twin at the start of a text: (L, B, H), of an LSTM two of them."""
    import torch

    state = torch.zeros(
        model.config.num_layers, B, model.config.hidden_size, dtype=getattr(torch, model.dtype.name)
    )
    return (state, state) if model.config.cell == "lstm" else state


def detached(state: Any) -> Any:
    return tuple(part.detach() for part in state) if isinstance(state, tuple) else state.detach()


def torch_side(model: Any, batches: list[Batch], threads: str, kind: str) -> Step:
    """``kind`` of input: onehot, lookup (a one-hot row taken from an identity matrix), or embedding, a
    learned one of H numbers: another network, for large V only."""
    import torch

    torch.set_num_threads(int(threads))
    H, V = model.config.hidden_size, len(model.vocabulary)
    if kind == "embedding":
        model = first_weights(H, V, model.config.cell, model.config.num_layers, embedding_size=H)
    network, state, step = twin(model), zeros(model, batches[0][0].shape[1]), 0
    hooks = hold(network.rnn)
    batches = [(torch.tensor(x), torch.tensor(y)) for x, y in batches]
    parameters = [p for p in network.parameters() if p.requires_grad]
    adam = torch.optim.Adam(parameters, RATE, BETAS, EPSILON, fused=True)
    eye = torch.eye(V if kind == "lookup" else 1)

    def inputs_of(x: Any) -> Any:
        if kind == "embedding":
            return network.embedding(x)
        return eye[x] if kind == "lookup" else torch.nn.functional.one_hot(x, V).float()

    def one_step() -> float:
        nonlocal state, step
        if step == COMPARED:  # from here on the clock runs
            for hook in hooks:
                hook.remove()
        x, y = batches[step % len(batches)]
        a, state = network.rnn(inputs_of(x), state)
        loss = torch.nn.functional.cross_entropy(network.dense(a).view(-1, V), y.reshape(-1))
        adam.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(parameters, CLIP)
        adam.step()
        state = detached(state)
        step += 1
        return loss.item()

    return one_step


def jax_side(model: Any, batches: list[Batch], threads: str, unroll: str) -> Step:
    """``unroll``: time steps in one turn of the loop."""
    if threads == "1":
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    import jax
    import jax.numpy as jnp

    from charrnn.model.parameters import name_in_layer

    L, H, lstm = model.config.num_layers, model.config.hidden_size, model.config.cell == "lstm"
    p = {name: jnp.asarray(array) for name, array in model.parameters.items()}
    batches, B = [(jnp.asarray(x), jnp.asarray(y)) for x, y in batches], batches[0][0].shape[1]

    def tanh_cell(state: Any, z: Any, W_aa: Any, _: Any) -> Any:
        return (jnp.tanh(z + state[0] @ W_aa),)

    def gru_cell(state: Any, z: Any, W_aa: Any, b_n: Any) -> Any:
        (a,), q = state, state[0] @ W_aa
        r, u = jnp.split(jax.nn.sigmoid(z[:, : 2 * H] + q[:, : 2 * H]), 2, 1)
        n = jnp.tanh(z[:, 2 * H :] + r * (q[:, 2 * H :] + b_n))
        return (n + u * (a - n),)

    def lstm_cell(state: Any, z: Any, W_aa: Any, _: Any) -> Any:
        i, f, g, o = jnp.split(z + state[0] @ W_aa, 4, 1)
        c = jax.nn.sigmoid(f) * state[1] + jax.nn.sigmoid(i) * jnp.tanh(g)
        return jax.nn.sigmoid(o) * jnp.tanh(c), c

    cell = {"rnn": tanh_cell, "gru": gru_cell, "lstm": lstm_cell}[model.config.cell]

    def loss_of(p: Any, x: Any, y: Any, states: Any) -> Any:
        after = []
        for layer, state in enumerate(states):
            W_ax, W_aa, b_a, b_n = (
                p.get(name_in_layer(name, layer)) for name in ("W_ax", "W_aa", "b_a", "b_n")
            )
            xW = W_ax[x] if layer == 0 else x @ W_ax

            def step(state: Any, z: Any, W_aa: Any = W_aa, b_n: Any = b_n) -> Any:
                state = cell(state, z, W_aa, b_n)
                return state, state[0]

            last, x = jax.lax.scan(step, state, xW + b_a, unroll=int(unroll))
            after.append(last)
        log_y = jax.nn.log_softmax(x @ p["W_ya"] + p["b_y"])
        return -jnp.take_along_axis(log_y, y[..., None], -1).mean(), after

    def update(p: Any, m: Any, v: Any, n: Any, x: Any, y: Any, states: Any) -> Any:
        (loss, after), g = jax.value_and_grad(loss_of, has_aux=True)(p, x, y, states)
        norm = jnp.sqrt(sum(jnp.sum(one * one) for one in g.values()))
        g = {name: one * jnp.minimum(1, CLIP / norm) for name, one in g.items()}
        m = {name: BETAS[0] * m[name] + (1 - BETAS[0]) * g[name] for name in p}
        v = {name: BETAS[1] * v[name] + (1 - BETAS[1]) * g[name] ** 2 for name in p}
        c, d = 1 - BETAS[0] ** n, 1 - BETAS[1] ** n
        p = {name: p[name] - RATE * (m[name] / c) / (jnp.sqrt(v[name] / d) + EPSILON) for name in p}
        return p, m, v, n + 1, loss, after

    update = jax.jit(update, donate_argnums=(0, 1, 2))
    m, v = ({name: jnp.zeros_like(one) for name, one in p.items()} for _ in range(2))
    n, step = 1.0, 0
    states = [(jnp.zeros((B, H)),) * (1 + lstm) for _ in range(L)]

    def one_step() -> float:
        nonlocal p, m, v, n, states, step
        x, y = batches[step % len(batches)]
        p, m, v, n, loss, states = update(p, m, v, n, x, y, states)
        step += 1
        return float(loss)

    return one_step


def peak_side(model: Any, batches: list[Batch], threads: str) -> Step:
    """One large product in float32 in place of a training step; its figure is GFLOP/s."""
    from charrnn.training.bench import peak

    return lambda: peak(int(threads), "float32")


SIDES: dict[str, Callable[..., Step]] = {
    "charrnn": charrnn_side,
    "torch": torch_side,
    "jax": jax_side,
    "peak": peak_side,
}


class Side:
    """A side in a process of its own, ready to be measured as often as wanted; it sleeps in between.

    Attributes:
        losses: its first ones.
    """

    def __init__(
        self, name: str, sizes: tuple[Any, ...], *how: str, text: str = "", package: Path | None = None
    ):
        """Start it and wait until it is warm.

        Arguments:
            sizes: H, B, T and V, and then the cell and the number of layers if it is not one of tanh.
            how: the further arguments of its function.
            package: the folder that another charrnn is in, to take in place of this one.
        """
        path = [str(package), *filter(None, [os.environ.get("PYTHONPATH")])] if package else []
        self._process = subprocess.Popen(
            [sys.executable, __file__, name, json.dumps(sizes), text, *how],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=os.environ | ({"PYTHONPATH": os.pathsep.join(path)} if path else {}),
        )
        self.losses: list[float] = self._answer()

    def measure(self, seconds: float) -> dict[str, float]:
        """Take steps for so long. Returns: the seconds of a step (the median), what the last one returned,
        and MB of memory: the most that was resident, and its share."""
        assert self._process.stdin is not None
        print(seconds, file=self._process.stdin, flush=True)
        report: dict[str, float] = self._answer()
        return report

    def end(self) -> None:
        """End it."""
        self._process.communicate()  # which closes its standard input

    def _answer(self) -> Any:
        assert self._process.stdout is not None
        return json.loads(self._process.stdout.readline())


def measure(side: str, sizes: tuple[Any, ...], *how: str, seconds: float = 2) -> dict[str, float]:
    """Run one side in a process of its own, once."""
    one = Side(side, sizes, *how)
    report = one.measure(seconds)
    one.end()
    return report


def resident(pid: str) -> tuple[float, float]:
    """The most memory that was resident in a process, and its present share with shared pages divided
    among those who share them, in MB."""
    status = Path("/proc", pid, "status").read_text()
    shares = Path("/proc", pid, "smaps_rollup").read_text()
    most, share = (
        int(next(line for line in text.splitlines() if line.startswith(name)).split()[1]) / 1e3
        for text, name in ((status, "VmHWM"), (shares, "Pss:"))
    )
    return most, share


def main(side: str, sizes: str, text: str, *how: str) -> None:
    """Print the first losses, and then a report for each number of seconds that a line of the standard input
    gives."""
    H, B, T, V, *form = json.loads(sizes)
    step = SIDES[side](first_weights(H, V, *form), windows(B, T, V, text), *how)
    losses = [step() for _ in range(COMPARED)]  # also the warm-up
    print(json.dumps(losses), flush=True)
    for seconds in map(float, sys.stdin):
        times: list[float] = []
        began = last = time.perf_counter()
        while not times or last - began < seconds:
            value = step()
            now = time.perf_counter()
            times.append(now - last)
            last = now
        pids = [str(os.getpid()), *Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()]
        most, shares = zip(*map(resident, pids), strict=True)
        report = {
            "seconds": float(np.median(times)),  # a step
            "value": value,
            "resident": sum(most),  # MB
            "proportional": sum(shares),
        }
        print(json.dumps(report), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
