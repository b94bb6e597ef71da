"""The gradient check must catch a planted error in every equation of the backward pass."""

import inspect
import json
import re

import numpy as np
import pytest

import charrnn
from charrnn import layers
from charrnn.calculus import EQUATIONS
from charrnn.config import GradcheckConfig, flag
from charrnn.gradcheck import GIVEN_BY, GradientCheck, generic_model
from charrnn.layers import dropout, embedding, gru, lstm, recurrence, softmax

# A line of a backward function, and wrong lines that are planted in its place: a dropped term, a sign,
# a transposed factor, an off-by-one in time, a factor of 1 + 1e-9, and more where a line can go wrong
# in a way of its own. Lines without a tag of their own are the equation's as well.
# ruff: noqa: E501
PLANTED = {
    "B1": (softmax, "cross_entropy_backward", {
        "dlogits /= T * B": ["pass", "dlogits /= -T * B", "dlogits /= T", "dlogits /= B", "dlogits[:B] = 0; dlogits /= T * B", "dlogits /= T * B * (1 + 1e-9)"],
        "] -= 1": ["] -= 0", "] += 1", "] -= 1 + 1e-9"],
        "y.reshape(-1)]": ["np.roll(y, 1, axis=0).reshape(-1)]"],
    }),
    "B2": (softmax, "dense_backward", {
        "np.matmul(a.reshape(-1, H).T, rows, out=dW_ya)": ["dW_ya[...] = 0", "np.matmul(-a.reshape(-1, H).T, rows, out=dW_ya)", "np.matmul(np.roll(a, 1, axis=0).reshape(-1, H).T, rows, out=dW_ya)", "np.matmul(a[1:].reshape(-1, H).T, rows[B:], out=dW_ya)", "np.matmul(a.reshape(-1, H).T, rows, out=dW_ya); dW_ya *= 1 + 1e-9"],
        "np.add.reduce(rows, axis=0, out=db_y)": ["db_y[...] = 0", "np.add.reduce(-rows, axis=0, out=db_y)", "np.add.reduce(rows[B:], axis=0, out=db_y)", "np.mean(rows, axis=0, out=db_y)", "np.add.reduce(rows, axis=0, out=db_y); db_y *= 1 + 1e-9"],
    }),
    "B3": (softmax, "dense_backward", {
        "np.matmul(rows, W_ya.T, out=da.reshape(-1, H))": ["da[...] = 0", "np.matmul(-rows, W_ya.T, out=da.reshape(-1, H))", "np.matmul(np.roll(rows, B, axis=0), W_ya.T, out=da.reshape(-1, H))", "np.matmul(rows, W_ya.T, out=da.reshape(-1, H)); da[:-1] = 0", "np.matmul(rows, W_ya.T, out=da.reshape(-1, H)); da *= 1 + 1e-9"],
    }),
    "B3 future": (recurrence, "recurrence_backward", {
        "da[t] += future": ["pass", "da[t] -= future", "da[t] = future", "da[t] += future * (1 + 1e-9)", "da[t] += future if t else 0"],
        "np.matmul(dz[t + 1], W_aaT, out=future)": ["np.matmul(dz[t + 1], W_aa, out=future)", "np.matmul(dz[T - 1], W_aaT, out=future)", "np.matmul(da[t + 1], W_aaT, out=future)"],
        "if t < T - 1:": ["if t < T - 2:"],
    }),
    "B4": (recurrence, "recurrence_backward", {
        "dz[t] *= da[t]": ["dz[t] = da[t]", "dz[t] *= -da[t]", "pass", "dz[t] *= da[t - 1]", "dz[t] *= da[t] * (1 + 1e-9)"],
        "np.multiply(a[1:], a[1:], out=dz)": ["dz[...] = a[1:]", "np.multiply(a[:-1], a[:-1], out=dz)", "dz[...] = 0"],
    }),
    "B5": (recurrence, "recurrence_backward_weights", {
        "np.matmul(past.T, rows, out=dW_aa)": ["dW_aa[...] = 0", "np.matmul(-past.T, rows, out=dW_aa)", "np.matmul(rows.T, past, out=dW_aa)", "np.matmul(past[1:].T, rows[1:], out=dW_aa)", "np.matmul(past.T, rows, out=dW_aa); dW_aa *= 1 + 1e-9"],
        "a[:-1].reshape": ["a[1:].reshape"],
    }),
    "B6": (embedding, "embedding_backward", {
        "np.add.reduce(rows[i:j], axis=0, out=dW_ax[token])": ["pass", "np.add.reduce(-rows[i:j], axis=0, out=dW_ax[token])", "np.add.reduce(rows[j - 1 : j], axis=0, out=dW_ax[token])", "np.add.reduce(rows[i:j], axis=0, out=dW_ax[token - 1])", "np.add.reduce(rows[i:j], axis=0, out=dW_ax[token]); dW_ax[token] *= 1 + 1e-9"],
        "tokens = x.reshape(-1)": ["tokens = np.roll(x, 1, axis=0).reshape(-1)", "tokens = x.T.reshape(-1)"],
        "dW_ax[...] = 0": ["dW_ax[...] = 1"],
    }),
    "B6 of rows": (embedding, "embedding_backward", {
        "np.matmul(x.reshape(-1, x.shape[-1]).T, dz.reshape(-1, H), out=dW_ax)": ["dW_ax[...] = 0", "np.matmul(-x.reshape(-1, x.shape[-1]).T, dz.reshape(-1, H), out=dW_ax)", "np.matmul(np.roll(x, 1, axis=0).reshape(-1, x.shape[-1]).T, dz.reshape(-1, H), out=dW_ax)", "np.matmul(x[1:].reshape(-1, x.shape[-1]).T, dz[1:].reshape(-1, H), out=dW_ax)", "np.matmul(x.reshape(-1, x.shape[-1]).T, dz.reshape(-1, H), out=dW_ax); dW_ax *= 1 + 1e-9"],
    }),
    "B7": (recurrence, "recurrence_backward_weights", {
        "np.add.reduce(rows, axis=0, out=db_a)": ["db_a[...] = 0", "np.add.reduce(-rows, axis=0, out=db_a)", "np.add.reduce(dz[1:].reshape(-1, dz.shape[-1]), axis=0, out=db_a)", "np.add.reduce(dz[0], axis=0, out=db_a)", "np.mean(rows, axis=0, out=db_a)", "np.add.reduce(rows, axis=0, out=db_a); db_a *= 1 + 1e-9"],
    }),
    "B8": (embedding, "embedding_backward_input", {
        "np.matmul(dz.reshape(-1, H), W_ax.T, out=dx.reshape(T * B, -1))": ["dx[...] = 0", "np.matmul(-dz.reshape(-1, H), W_ax.T, out=dx.reshape(T * B, -1))", "np.matmul(dz[::-1].reshape(-1, H), W_ax.T, out=dx.reshape(T * B, -1))", "np.matmul(np.roll(dz, 1, axis=0).reshape(-1, H), W_ax.T, out=dx.reshape(T * B, -1))", "np.matmul(dz.reshape(-1, H), W_ax.T, out=dx.reshape(T * B, -1)); dx *= 1 + 1e-9"],
    }),
    "B9": (recurrence, "recurrence_backward", {
        "da0 = np.matmul(dz[0], W_aaT)": ["da0 = 0 * dz[0]", "da0 = np.matmul(-dz[0], W_aaT)", "da0 = np.matmul(dz[0], W_aa)", "da0 = np.matmul(dz[-1], W_aaT)", "da0 = np.matmul(dz[0], W_aaT) * (1 + 1e-9)"],
    }),
    "DB1": (dropout, "dropout_backward", {
        "dd *= m": ["pass", "dd *= -m", "dd *= m[::-1]", "dd *= m > 0", "dd *= m * (1 + 1e-9)"],
    }),
    "GB1": (gru, "gru_backward", {
        "np.matmul(dq[t + 1], W_aaT, out=future)": ["future[...] = 0", "np.matmul(-dq[t + 1], W_aaT, out=future)", "np.matmul(dq[T - 1], W_aaT, out=future)", "np.matmul(dq[t + 1], np.concatenate(np.split(W_aa, 3, axis=1)), out=future)"],
        "da[t] += future\n": ["da[t] -= future\n", "da[t] = future\n"],
        "np.multiply(da[t + 1], gates[t + 1, :, H : 2 * H], out=future)": ["np.multiply(da[t + 1], u, out=future)", "np.multiply(da[t + 1], gates[t + 1, :, :H], out=future)", "np.multiply(da[t + 1], 1 - gates[t + 1, :, H : 2 * H], out=future)"],
        "da[t] += future  # (GB1)": ["pass", "da[t] -= future", "da[t] += future * (1 + 1e-9)"],
    }),
    "GB2": (gru, "gru_backward", {
        "dz_n *= da[t]": ["pass", "dz_n *= -da[t]", "dz_n *= da[t - 1]", "dz_n *= da[t] * (1 + 1e-9)"],
        "np.subtract(1, dz_n, out=dz_n)": ["pass"],
        "np.subtract(1, u, out=future)": ["future[...] = u"],
        "dz_n *= future": ["pass"],
    }),
    "GB3": (gru, "gru_backward", {
        "np.multiply(dz_n, r, out=dq_n)": ["dq_n[...] = dz_n", "np.multiply(dz_n, u, out=dq_n)", "np.multiply(-dz_n, r, out=dq_n)", "np.multiply(dz_n, r * (1 + 1e-9), out=dq_n)"],
    }),
    "GB4": (gru, "gru_backward", {
        "dq_r *= q_n[t]": ["pass", "dq_r *= n", "dq_r *= q_n[t - 1]"],
        "dq_r *= dz_n": ["pass", "dq_r *= -dz_n", "dq_r *= da[t]", "dq_r *= dz_n * (1 + 1e-9)"],
    }),
    "GB5": (gru, "gru_backward", {
        "np.subtract(a[t], n, out=future)": ["np.subtract(a[t + 1], n, out=future)", "np.subtract(n, a[t], out=future)", "future[...] = a[t]"],
        "dq_u *= future": ["pass", "dq_u *= -future"],
        "dq_u *= da[t]": ["pass", "dq_u *= da[t - 1]", "dq_u *= da[t] * (1 + 1e-9)"],
        "np.subtract(k, d, out=d)": ["pass"],
    }),
    "GB6": (gru, "gru_backward_weights", {
        "np.matmul(past.T, rows, out=dW_aa)": ["dW_aa[...] = 0", "np.matmul(-past.T, rows, out=dW_aa)", "np.matmul(past[1:].T, rows[1:], out=dW_aa)", "np.matmul(past.T, rows, out=dW_aa); dW_aa *= 1 + 1e-9"],
        "a[:-1].reshape": ["a[1:].reshape"],
    }),
    "GB7": (gru, "gru_backward_weights", {
        "np.add.reduce(rows[:, 2 * H :], axis=0, out=db_n)": ["db_n[...] = 0", "np.add.reduce(-rows[:, 2 * H :], axis=0, out=db_n)", "np.add.reduce(rows[:, :H], axis=0, out=db_n)", "np.add.reduce(q_n.reshape(-1, H), axis=0, out=db_n)", "np.add.reduce(rows[:, 2 * H :], axis=0, out=db_n); db_n *= 1 + 1e-9"],
    }),
    "B7 of the GRU": (gru, "gru_backward_weights", {
        "np.add.reduce(rows, axis=0, out=db_a)": ["db_a[...] = 0", "np.add.reduce(-rows, axis=0, out=db_a)", "np.mean(rows, axis=0, out=db_a)", "np.add.reduce(rows, axis=0, out=db_a); db_a *= 1 + 1e-9"],
        "dz[..., 2 * H :] = q_n": ["pass", "dz[..., 2 * H :] = -q_n", "dz[1:, ..., 2 * H :] = q_n[1:]"],
    }),
    "GB8": (gru, "gru_backward", {
        "da0 = np.matmul(dq[0], W_aaT)": ["da0 = 0 * da[0]", "da0 = np.matmul(dq[-1], W_aaT)", "da0 = np.matmul(-dq[0], W_aaT)"],
        "da0 += da[0] * u": ["pass", "da0 -= da[0] * u", "da0 += da[-1] * u", "da0 += da[0] * r", "da0 += da[0] * u * (1 + 1e-9)"],
    }),
    "LB1": (lstm, "lstm_backward", {
        "np.matmul(dz[t + 1], W_aaT, out=future)": ["future[...] = 0", "np.matmul(-dz[t + 1], W_aaT, out=future)", "np.matmul(dz[T - 1], W_aaT, out=future)", "np.matmul(dz[t + 1], np.concatenate(np.split(W_aa, 4, axis=1)), out=future)"],
        "da[t] += future": ["pass", "da[t] -= future", "da[t] = future", "da[t] += future * (1 + 1e-9)"],
    }),
    "LB2": (lstm, "lstm_backward", {
        "dc_now *= da[t]": ["pass", "dc_now *= -da[t]", "dc_now *= da[t - 1]"],
        "np.multiply(tanh_c[t + 1], gates[t + 1, :, H : 2 * H], out=future)": ["np.multiply(tanh_c[t + 1], f, out=future)", "np.multiply(tanh_c[t + 1], gates[t + 1, :, :H], out=future)", "np.multiply(tanh_c[T - 1], gates[t + 1, :, H : 2 * H], out=future)"],
        "dc_now += future": ["pass", "dc_now -= future", "dc_now += future * (1 + 1e-9)"],
        "dc_now *= o": ["pass", "dc_now *= i"],
        "np.subtract(1, dc_now, out=dc_now)": ["pass"],
    }),
    "LB3": (lstm, "lstm_backward", {
        "dz_i *= g": ["pass", "dz_i *= i"],
        "dz_f *= c[t]": ["pass", "dz_f *= c[t + 1]"],
        "np.subtract(1, dz_g, out=dz_g)": ["pass"],
        "dz_g *= i": ["pass", "dz_g *= -i"],
        "np.subtract(k, d, out=d)": ["pass"],
        "d.reshape(B, 4, H)[:, :3] *= dc_now[:, np.newaxis]": ["pass", "d.reshape(B, 4, H)[:, :3] *= -dc_now[:, np.newaxis]", "d.reshape(B, 4, H)[:, :3] *= da[t][:, np.newaxis]", "d.reshape(B, 4, H)[:, 1:3] *= dc_now[:, np.newaxis]", "d.reshape(B, 4, H)[:, :3] *= dc_now[:, np.newaxis] * (1 + 1e-9)"],
    }),
    "LB4": (lstm, "lstm_backward", {
        "dz_o *= tanh_c[t]": ["pass", "dz_o *= c[t + 1]"],
        "dz_o *= da[t]": ["pass", "dz_o *= -da[t]", "dz_o *= da[t - 1]", "dz_o *= da[t] * (1 + 1e-9)"],
    }),
    "LB5": (lstm, "lstm_backward", {
        "da0, dc0 = np.matmul(dz[0], W_aaT), dc_now * f": ["da0, dc0 = 0 * da[0], dc_now * f", "da0, dc0 = np.matmul(dz[-1], W_aaT), dc_now * f", "da0, dc0 = np.matmul(dz[0], W_aaT), dc_now", "da0, dc0 = np.matmul(dz[0], W_aaT), dc_now * i", "da0, dc0 = np.matmul(dz[0], W_aaT), tanh_c[-1] * f", "da0, dc0 = np.matmul(dz[0], W_aaT), dc_now * f * (1 + 1e-9)"],
    }),
}  # fmt: skip
STACK = {"num_layers": 2, "dropout": 0.4}
ERRORS = [
    (tag, line, wrong)
    for tag, (_, _, lines) in PLANTED.items()
    for line, planted in lines.items()
    for wrong in planted
]


def network(tag):
    """The settings of a network that computes the equation of a tag."""
    if tag[0] == "G" or tag == "B7 of the GRU":
        return {"cell": "gru"}
    if tag[0] == "L":
        return {"cell": "lstm"}
    return STACK if tag in ("DB1", "B6 of rows") else {}


def in_the_cells(monkeypatch, **functions):
    """Put functions in place of those with their names, in the layers and in every cell that has them."""
    for name, function in functions.items():
        monkeypatch.setattr(layers, name, function)
        for key, cell in list(layers.CELLS.items()):
            fields = {
                field: function for field, f in cell._asdict().items() if getattr(f, "__name__", "") == name
            }
            monkeypatch.setitem(layers.CELLS, key, cell._replace(**fields))


def plant(monkeypatch, tag, line, wrong):
    module, function, _ = PLANTED[tag]
    source = inspect.getsource(module)
    assert source.count(line) == 1, f"{line!r} is not one place in the source"
    namespace = {}
    exec(source.replace(line, wrong), namespace)
    in_the_cells(monkeypatch, **{function: namespace[function]})


@pytest.fixture(scope="module")
def small_text(tmp_path_factory):
    path = tmp_path_factory.mktemp("gradcheck") / "small.txt"
    path.write_text("abacabadabacaba " * 3)
    return path


def window(method="complex", text="the quick brown fox jumps over the lazy dog. " * 3, seed=0, **settings):
    corpus = charrnn.Corpus.from_text(text)
    config = GradcheckConfig(hidden_size=5, **settings)
    model = generic_model(corpus.vocabulary, config, seed=0)
    x, y = charrnn.text.Streams(corpus.tokens, 3, 5)[0]
    return GradientCheck(model, x, y, np.random.default_rng(seed), method, dropout=config.dropout)


NETWORKS = [
    {},
    {"cell": "gru"},
    {"cell": "lstm"},
    {"embedding_size": 4},
    {"num_layers": 3, "dropout": 0.3},
    {"cell": "gru", "num_layers": 2, "dropout": 0.5, "embedding_size": 3},
    {"cell": "lstm", "num_layers": 2, "dropout": 0.2, "embedding_size": 3},
]


@pytest.mark.parametrize("settings", NETWORKS)
@pytest.mark.parametrize(("method", "margin"), [("complex", 3e-14), ("central", 2e-7)])
def test_every_tensor_passes_by_a_wide_margin(method, margin, settings):
    check = window(method, **settings)
    checks = list(check.every_entry())
    states = len(layers.CELLS[check.still.cell].states) * check.still.num_layers
    assert len(checks) == len(check.gradients) + 1 + states
    assert all(check.passed and check.norm > 0.001 for check in checks)
    assert max(check.error for check in checks) < margin


def test_the_plain_network_has_these_tensors():
    names = {"W_ax", "W_aa", "b_a", "W_ya", "b_y", "x", "a0"}
    assert {check.name for check in window().every_entry()} == names


@pytest.mark.parametrize("settings", NETWORKS)
def test_projections_and_steps_and_properties_pass(settings):
    check = window(**settings)
    P = len(check.gradients)
    for count, some in ((None, check.quick()), (P, check.per_step()), (3, check.properties())):
        checks = list(some)
        assert len(checks) == (count or len(list(check.tensors())))
        assert all(check.passed for check in checks)


@pytest.mark.parametrize(("tag", "line", "wrong"), ERRORS)
def test_a_planted_error_is_caught(monkeypatch, cli, small_text, tag, line, wrong):
    """By the check of every entry, by one projection a tensor, and by the command line."""
    settings = network(tag)
    plant(monkeypatch, tag, line, wrong)
    wrong_ones = {check.equation for check in window(**settings).every_entry() if not check.passed}
    assert wrong_ones
    if tag in {*GIVEN_BY.values(), *layers.GRU.given_by.values(), *layers.LSTM.given_by.values()}:
        assert tag in wrong_ones  # and the equation at fault is among those named
    assert not all(check.passed for check in window(**settings).quick())
    words = ["--hidden-size", 4, "--seq-length", 4, "--batch-size", 3]
    words += [word for name, value in settings.items() for word in (flag(name), value)]
    outcome = cli("gradcheck", small_text, *words)
    assert outcome.code == 1
    assert "WRONG" in outcome.out


def test_every_tagged_line_has_planted_errors():
    lines = [line for _, _, lines in PLANTED.values() for line in lines]
    modules = (dropout, embedding, gru, lstm, recurrence, softmax)
    tagged = re.findall(r"^(.*# \([DGL]?B\d\).*)$", "".join(map(inspect.getsource, modules)), re.M)
    backward = {tag for tag in EQUATIONS if "B" in tag}
    assert {tag for line in tagged for tag in re.findall(r"[DGL]?B\d", line)} == backward
    for line in tagged:
        assert any(planted in line for planted in lines), line


def test_two_errors_that_cancel_in_the_sum_are_caught_step_by_step(monkeypatch):
    """What one step sends to the bias, another takes away: the sum over time is right, the steps are not."""
    original = layers.recurrence_backward

    def cancelling(*args, dz):
        _, da0 = original(*args, dz=dz)
        dz[1] += 1e-6
        dz[3] -= 1e-6
        return dz, da0

    in_the_cells(monkeypatch, recurrence_backward=cancelling)
    assert {check.name: check.passed for check in window().every_entry()}["b_a"]
    assert not {check.name: check.passed for check in window().per_step()}["b_a⟨t⟩"]


@pytest.mark.parametrize("seed", range(8))
def test_errors_that_cancel_in_a_sum_do_not_in_a_projection(monkeypatch, seed):
    original = layers.recurrence_backward_weights

    def swapping(dz, a, dW_aa, db_a):
        original(dz, a, dW_aa, db_a)
        db_a[[0, 1]] = db_a[[1, 0]]

    in_the_cells(monkeypatch, recurrence_backward_weights=swapping)
    assert [check.name for check in window(seed=seed).quick() if not check.passed] == ["b_a"]


LEAKS = {  # a forward pass that is wrong, though its backward pass may well agree with it
    "backwards in time": ("causality", lambda f, xW, a0, *rest: f(xW + 0.1 * xW[::-1], a0, *rest)),
    "the last step in the first": (
        "causality",
        lambda f, xW, a0, *rest: f(np.concatenate([xW[:1] + 0.1 * xW[-1:], xW[1:]]), a0, *rest),
    ),
    "rows reversed": ("rows apart", lambda f, xW, a0, *rest: f(xW + 0.1 * xW[:, ::-1], a0, *rest)),
    "row 0 in row 1": (
        "rows apart",
        lambda f, xW, a0, *rest: f(xW + 0.1 * xW[:, :1] * (np.arange(xW.shape[1]) == 1)[:, None], a0, *rest),
    ),
    "states of other rows": ("rows apart", lambda f, xW, a0, *rest: f(xW, a0 + 0.1 * a0[::-1], *rest)),
}


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("quick", [False, True])
@pytest.mark.parametrize("leak", LEAKS)
def test_a_loss_that_looks_ahead_or_mixes_rows_is_caught(monkeypatch, leak, quick, seed):
    def failed():
        return [check.name for check in window(seed=seed).properties(quick=quick) if not check.passed]

    assert failed() == []
    name, wrong = LEAKS[leak]
    original = layers.recurrence_forward

    def leaking(xW, a0, *rest, a):
        a[...] = wrong(original, xW.copy(), a0, *rest)

    in_the_cells(monkeypatch, recurrence_forward=leaking)
    assert failed() == [name]


def test_a_loss_that_is_no_mean_is_caught(monkeypatch):
    forward = layers.cross_entropy_forward

    def sum_over_time(logits, y, **out):
        loss, y_hat = forward(logits, y, **out)
        return loss * len(y), y_hat

    monkeypatch.setattr(layers, "cross_entropy_forward", sum_over_time)
    assert [check.name for check in window().properties() if not check.passed] == ["mean"]


def test_a_gradient_that_is_not_a_number_is_wrong(monkeypatch):
    original = layers.embedding_backward

    def poisoned(*args, **kwargs):
        original(*args, **kwargs)[0, 0] = np.nan

    monkeypatch.setattr(layers, "embedding_backward", poisoned)
    assert not next(window().every_entry()).passed
    assert not next(window().quick()).passed


def test_json_has_no_number_that_json_has_not(monkeypatch, cli, small_text):
    monkeypatch.setattr(
        layers, "embedding_backward_input", lambda dz, W_ax, out=None: np.full((4, 3, 5), np.nan)
    )
    words = ["--seq-length", 4, "--batch-size", 3, "--json"]
    for more in ([], ["--quick"]):
        outcome = cli("gradcheck", small_text, *words, *more)
        assert outcome.code == 1
        report = json.loads(outcome.out, parse_constant=pytest.fail)
        assert [check["name"] for check in report["checks"] if not check["passed"]] == ["x"]


@pytest.mark.parametrize(
    "flags", [["--init-scale", 2, "--seq-length", 40], ["--init", "normal", "--init-scale", 30]]
)
def test_a_network_that_magnifies_rounding_is_not_called_wrong(cli, small_text, flags):
    for more in ([], ["--quick"], ["--per-step"]):
        outcome = cli("gradcheck", small_text, *flags, *more)
        assert outcome.code == 0, outcome.out


@pytest.mark.parametrize("seed", range(12))
def test_tiny_and_saturated_networks_are_not_called_wrong(cli, small_text, seed):
    for sizes in ((1, 1, 1), (1, 10, 1), (2, 2, 1)):
        words = zip(("--hidden-size", "--seq-length", "--batch-size"), sizes, strict=True)
        outcome = cli("gradcheck", small_text, *(word for pair in words for word in pair), "--seed", seed)
        assert outcome.code == 0, outcome.out


@pytest.mark.parametrize("seed", range(12))
def test_central_differences_along_directions_are_good_enough(cli, seed):
    outcome = cli("gradcheck", "--method", "central", "--quick", "--seed", seed)
    assert outcome.code == 0, outcome.out


def test_of_an_ordinary_network_no_rounding_is_excused():
    assert window().tolerance == 1e-13


def test_many_numbers_are_checked_by_projections_unless_asked(cli, tmp_path):
    path = tmp_path / "zh.txt"
    path.write_text("".join(map(chr, range(0x4E00, 0x5300))))  # 1,280 characters
    outcome = cli("gradcheck", path)
    assert outcome.code == 0
    assert "gradients along random directions (--no-quick: each entry)" in outcome.out
    assert "along" not in cli("gradcheck").out


def test_the_model_is_left_alone():
    corpus = charrnn.Corpus.from_text("abcabd" * 5)
    model = generic_model(corpus.vocabulary, GradcheckConfig(), seed=0)
    before = model.parameters.flat.copy()
    x, y = charrnn.text.Streams(corpus.tokens, 2, 3)[0]
    list(GradientCheck(model, x, y, np.random.default_rng(0)).every_entry())
    np.testing.assert_array_equal(model.parameters.flat, before)


def test_json(cli, small_text):
    report = json.loads(cli("gradcheck", small_text, "--json", "--per-step", "--hidden-size", 3).out)
    assert report["passed"]
    assert report["sizes"] == {"T": 5, "B": 3, "H": 3, "V": 5}
    names = [check["name"] for check in report["checks"]]
    assert names[:7] == ["W_ax", "W_aa", "b_a", "W_ya", "b_y", "x", "a0"]
    assert names[7:12] == [f"{name}⟨t⟩" for name in names[:5]]
    assert names[12:] == ["mean", "causality", "rows apart"]
