"""Runs beside those of a second trainer, which takes only settings and first weights from the package.

It is as plain as can be: derivatives come from a tape of operations, figures from loops over the characters.
Everything is float64; T steps, B rows, L layers, H activations, V characters, P parameters.
"""

import json
import math
from itertools import pairwise
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from conftest import Told
from numpy.lib.mixins import NDArrayOperatorsMixin
from reference import CELLS, Array, read

import charrnn


def words(seed: int, n: int) -> str:
    """A text of n characters: words that keep coming back, in an order drawn evenly."""
    rng = np.random.default_rng(seed)
    known = ["".join(rng.choice(list("aeioubdkmst"), rng.integers(2, 6))) for _ in range(30)]
    return " ".join(rng.choice(known, n))[:n]


# -- derivatives ------------------------------------------------------------------------------------

# of each operand, from the gradient g of what came out: (g, out, the operands) → its gradient
DERIVATIVES: dict[np.ufunc, Any] = {
    np.add: (lambda g, out, a, b: g, lambda g, out, a, b: g),
    np.subtract: (lambda g, out, a, b: g, lambda g, out, a, b: -g),
    np.multiply: (lambda g, out, a, b: g * b, lambda g, out, a, b: g * a),
    np.divide: (lambda g, out, a, b: g / b, lambda g, out, a, b: -g * out / b),
    np.matmul: (lambda g, out, a, b: g @ b.T, lambda g, out, a, b: a.T @ g),
    np.negative: (lambda g, out, a: -g,),
    np.exp: (lambda g, out, a: g * out,),
    np.log: (lambda g, out, a: g / a,),
    np.tanh: (lambda g, out, a: g * (1 - out**2),),
}


class Traced(NDArrayOperatorsMixin):
    """An array on a tape, which remembers what it was computed from."""

    def __init__(self, value: Array, tape: list["Traced"], origin: Any = None):
        self.value, self.tape, self.origin, self.gradient = value, tape, origin, np.zeros_like(value)
        tape.append(self)

    def __len__(self) -> int:
        return len(self.value)

    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *operands: Any) -> "Traced":
        values = [x.value if isinstance(x, Traced) else x for x in operands]
        return Traced(ufunc(*values), self.tape, (ufunc, operands, values))

    def __array_function__(self, function: Any, types: Any, args: Any, kwargs: Any) -> list["Traced"]:
        """np.split along the last axis: products with columns of the identity."""
        assert function is np.split
        return [self @ columns for columns in np.split(np.eye(self.value.shape[-1]), args[1], axis=1)]


def backpropagate(tape: list[Traced]) -> None:
    """Set the gradients of the last array on a tape, a single number, with respect to all the others."""
    tape[-1].gradient += 1
    for result in reversed(tape):
        if result.origin:
            ufunc, operands, values = result.origin
            for x, derivative in zip(operands, DERIVATIVES[ufunc], strict=True):
                if isinstance(x, Traced):
                    part = derivative(result.gradient, result.value, *values)
                    rows = tuple(range(part.ndim - x.gradient.ndim))  # that a bias was added to
                    x.gradient += part.sum(axis=rows)


# -- the trainer ------------------------------------------------------------------------------------


def mean(losses: list[tuple[float, int]]) -> float:
    """The mean of the losses of windows, each weighed by the characters it is of."""
    return sum(loss * size for loss, size in losses) / sum(size for _, size in losses)


def windows_of(training: Array, config: Any) -> list[Array]:
    """What the steps of an epoch read (B, steps + 1): of each stream at most T characters, and the one after.

    As few windows as there can be, as even as they can be.
    """
    T = config.seq_length
    B = min(config.batch_size, (len(training) - 1) // T)
    length = (len(training) - 1) // B
    streams = np.array([training[b * length : (b + 1) * length + 1] for b in range(B)])
    W = math.ceil(length / T)
    ends = [length * i // W for i in range(W + 1)]
    return [streams[:, start : end + 1] for start, end in pairwise(ends)]


def masks_of(config: Any, step: int, B: int, steps: int) -> Array:
    """The dropout masks of a step (steps, L, B, H), each row's from numbers of its own."""
    shape = steps, config.num_layers, config.hidden_size
    u = [np.random.default_rng([config.seed, step, row + 1]).random(shape) for row in range(B)]
    return np.stack([row >= config.dropout for row in u], axis=2) / (1 - config.dropout)


def loss_and_gradient(
    config: Any, p: dict[str, Array], window: Array, states: list[Array], masks: Array
) -> tuple[float, Array, list[Array]]:
    """The mean loss of a window, its gradient (P,) and the states after it."""
    B, steps, V = len(window), window.shape[1] - 1, len(p["b_y"])
    tape: list[Traced] = []
    traced: Any = {name: Traced(array, tape) for name, array in p.items()}
    nats: Any = 0.0  # (B, 1)
    for t in range(steps):
        logits, states = read(config, traced, window[:, t], states, masks[t])
        chosen = logits * np.eye(V)[window[:, t + 1]]
        nats = nats + (np.log(np.exp(logits) @ np.ones((V, 1))) - chosen @ np.ones((V, 1)))
    loss = np.ones((1, B)) @ nats / (steps * B)
    backpropagate(tape)
    gradient = np.concatenate([traced[name].gradient.reshape(-1) for name in p])
    return loss.value.item(), gradient, [state.value for state in states]


def score(config: Any, p: dict[str, Array], tokens: Array) -> float:
    """The mean loss of a text's characters from its second on, read one by one."""
    states, nats = [np.zeros(config.hidden_size)] * (config.num_layers * CELLS[config.cell][1]), 0.0
    for x, y in pairwise(tokens):
        logits, states = read(config, p, x, states)
        nats += math.log(np.exp(logits).sum()) - logits[y]
    return nats / (len(tokens) - 1)


def learning_rate(config: Any, step: int, total: int, per_epoch: int, falls: int) -> float:
    """The rate of step 0, 1, …"""
    peak, warmup = config.learning_rate, config.warmup_steps
    if step < warmup:
        return peak * (step + 1) / warmup
    if config.schedule == "cosine":
        half = (1 + math.cos(math.pi * (step - warmup) / (total - 1 - warmup))) / 2
        return peak * config.min_learning_rate_ratio + peak * (1 - config.min_learning_rate_ratio) * half
    if config.schedule == "plateau":
        return peak * config.plateau_factor**falls
    if config.schedule == "step":
        epoch = step // per_epoch + 1
        return peak * config.learning_rate_decay ** max(0, epoch - config.learning_rate_decay_after)
    return peak


class Optimizer:
    """Adam with decoupled weight decay, or momentum, as in PyTorch; they move w (P,) in place."""

    def __init__(self, config: Any, w: Array):
        self.config, self.w, self.t = config, w, 0
        names = ("m", "v") if config.optimizer == "adam" else ("velocity",) if config.momentum else ()
        self.moments = {name: np.zeros(w.size) for name in names}

    def step(self, g: Array, rate: float) -> None:
        c, w, moments = self.config, self.w, self.moments
        self.t += 1
        if c.optimizer == "adam":
            moments["m"] = c.beta1 * moments["m"] + (1 - c.beta1) * g
            moments["v"] = c.beta2 * moments["v"] + (1 - c.beta2) * g**2
            m, v = moments["m"] / (1 - c.beta1**self.t), moments["v"] / (1 - c.beta2**self.t)
            w -= rate * c.weight_decay * w + rate * m / (np.sqrt(v) + 1e-8)
            return
        g = g + c.weight_decay * w
        if c.momentum:
            moments["velocity"] = c.momentum * moments["velocity"] + g
            g = g + c.momentum * moments["velocity"] if c.nesterov else moments["velocity"]
        w -= rate * g


def train(text: str, config: Any, first: dict[str, Array]) -> SimpleNamespace:
    """Train from these first weights. Returns: everything that ``charrnn.train`` should come to."""
    characters = sorted(set(text))
    tokens = np.array([characters.index(character) for character in text])
    n = len(text)
    for_val, for_test = round(n * config.val_fraction), round(n * config.test_fraction)
    training, val, test = np.split(tokens, [n - for_test - for_val, n - for_test])
    windows = windows_of(training, config)
    total = min(config.epochs * len(windows), config.max_steps or math.inf)
    eval_every = len(windows) if config.eval_every is None else config.eval_every

    w = np.concatenate([array.reshape(-1) for array in first.values()])
    parts = np.split(w, np.cumsum([array.size for array in first.values()])[:-1])
    p = {name: part.reshape(first[name].shape) for name, part in zip(first, parts, strict=True)}  # views of w
    optimizer = Optimizer(config, w)
    run = SimpleNamespace(lines=[], scores=[], best_val_loss=math.inf, characters=0)
    since_line, since_score, worse, step = [], [], 0, 0  # losses and characters; scores that were no best
    falls = level = 0  # of the rate by the plateau schedule; scores on the present level
    while step < total and not 0 < config.patience == worse:
        window = windows[step % len(windows)]
        B, steps = len(window), window.shape[1] - 1
        if step % len(windows) == 0:
            states = [np.zeros((B, config.hidden_size))] * (config.num_layers * CELLS[config.cell][1])
        masks = masks_of(config, step, B, steps)
        loss, g, states = loss_and_gradient(config, p, window, states, masks)
        norm, rate = math.sqrt((g**2).sum()), learning_rate(config, step, total, len(windows), falls)
        if config.clip_value:
            g = np.maximum(-config.clip_value, np.minimum(config.clip_value, g))
        if config.clip_norm:
            g = g * min(1, config.clip_norm / math.sqrt((g**2).sum()))
        optimizer.step(g, rate)
        step, val_loss = step + 1, None
        run.characters += B * steps
        since_line.append((loss, B * steps))
        since_score.append(since_line[-1])
        if step == total or (eval_every and step % eval_every == 0):
            val_loss = score(config, p, val)
            best, worse = val_loss < run.best_val_loss, worse + 1
            if best:
                run.best_val_loss, run.best, worse = val_loss, w.copy(), 0
                run.test_loss = score(config, p, test)
            level = 0 if best else level + 1
            if level == config.plateau_patience:
                falls, level = falls + 1, 0
            run.scores.append((step, step / len(windows), mean(since_score), val_loss, best))
            since_score = []
        if val_loss is not None or step % config.log_every == 0:
            epoch = round(step / len(windows), 4)
            run.lines.append((step, epoch, mean(since_line), val_loss, norm, rate))
            since_line = []
    run.steps, run.last, run.moments = step, w, optimizer.moments
    run.state = np.concatenate(states, axis=1)
    return run


# -- the comparison ---------------------------------------------------------------------------------


SHARED = {"dtype": "float64", "hidden_size": 8, "seq_length": 8, "batch_size": 4, "warmup_steps": 20}
SHARED |= {"val_fraction": 0.1, "test_fraction": 0.2}
LENGTH = 1969  # 1,378 characters to train on: 4 streams of 344, 43 windows of 8
RUNS: dict[str, dict[str, Any]] = {
    "rnn, adam, cosine": {"epochs": 6, "learning_rate": 0.03, "clip_norm": 0.45},
    "gru, dropout, sgd with nesterov, step decay, both clips": {
        "cell": "gru",
        "num_layers": 2,
        "dropout": 0.25,
        "seed": 3,
        "optimizer": "sgd",
        "nesterov": True,
        "weight_decay": 1e-3,
        "schedule": "step",
        "learning_rate_decay": 0.8,
        "learning_rate_decay_after": 2,
        "clip_value": 0.02,
        "clip_norm": 0.15,
        "epochs": 6,
        "eval_every": 50,  # the best at step 250
        "log_every": 7,
    },
    "lstm, embedding, adam, constant, two shards, patience": {
        "cell": "lstm",
        "embedding_size": 5,
        "dropout": 0.1,
        "seed": 1,
        "threads": 2,
        "learning_rate": 0.03,
        "weight_decay": 0.0,
        "beta1": 0.8,
        "beta2": 0.97,
        "schedule": "constant",
        "clip_norm": 0.0,
        "epochs": 9,  # patience ends it in the fifth
        "eval_every": 6,
        "patience": 2,
    },
    "rnn, adam, plateau": {
        "schedule": "plateau",
        "plateau_patience": 1,
        "plateau_factor": 0.3,
        "learning_rate": 0.1,
        "eval_every": 5,
        "epochs": 5,
    },
    "short windows, plain sgd, recomputed": {
        "seq_length": 10,  # 35 windows, 29 of 10 and six of 9
        "num_layers": 2,
        "dropout": 0.2,
        "recompute_every": 3,
        "optimizer": "sgd",
        "momentum": 0.0,
        "min_learning_rate_ratio": 0.2,
        "clip_norm": 0.5,
        "epochs": 20,
        "max_steps": 258,
        "log_every": 100,
    },
}


@pytest.mark.parametrize("settings", RUNS.values(), ids=RUNS)
def test_a_run_is_that_of_an_independent_trainer(tmp_path, monkeypatch, settings):
    monkeypatch.setattr("os.fsync", lambda descriptor: None)  # takes most of the time of such small runs
    config, text, told = charrnn.TrainConfig(**SHARED | settings), words(2, LENGTH), Told()
    corpus = charrnn.Corpus.from_text(text)
    form = {name: getattr(config, name) for name in ("cell", "num_layers", "embedding_size", "dtype", "seed")}
    first = charrnn.CharRNN(corpus.vocabulary, config.hidden_size, **form).parameters
    expected = train(text, config, {name: array.copy() for name, array in first.items()})
    result = charrnn.train(corpus, config, tmp_path, progress=told)

    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    names = "step", "epoch", "loss", "val_loss", "grad_norm", "learning_rate"
    for found, wanted in (
        ([[line[name] for name in names] for line in lines], expected.lines),
        (told.calls["evaluated"], expected.scores),
        (sum(characters for characters, _ in told.calls["step"]), expected.characters),
        (result.steps, expected.steps),
        (result.best_val_loss, expected.best_val_loss),
        (result.test_loss, expected.test_loss),
    ):
        np.testing.assert_allclose(np.array(found, float), np.array(wanted, float), rtol=1e-11)

    with np.load(tmp_path / "last.npz") as last:
        for found, wanted in (
            (np.concatenate([last[name].reshape(-1) for name in first]), expected.last),
            (result.model.parameters.flat, expected.best),
            (charrnn.load(tmp_path).parameters.flat, expected.best),
            (last["state"], expected.state),
            *((last[f"optimizer.{name}"], moment) for name, moment in expected.moments.items()),
        ):
            np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-12)
