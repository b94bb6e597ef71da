"""The gradient check must catch a planted error in every equation of the backward pass."""

import inspect
import json
import re

import numpy as np
import pytest

import charrnn
from charrnn import layers
from charrnn.config import GradcheckConfig
from charrnn.gradcheck import GIVEN_BY, GradientCheck, generic_model
from charrnn.layers import embedding, recurrence, softmax

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
    "B7": (recurrence, "recurrence_backward_weights", {
        "np.add.reduce(rows, axis=0, out=db_a)": ["db_a[...] = 0", "np.add.reduce(-rows, axis=0, out=db_a)", "np.add.reduce(dz[1:].reshape(-1, H), axis=0, out=db_a)", "np.add.reduce(dz[0], axis=0, out=db_a)", "np.mean(rows, axis=0, out=db_a)", "np.add.reduce(rows, axis=0, out=db_a); db_a *= 1 + 1e-9"],
    }),
    "B8": (embedding, "embedding_backward_input", {
        "np.matmul(dz, W_ax.T)": ["np.matmul(0 * dz, W_ax.T)", "np.matmul(-dz, W_ax.T)", "np.matmul(dz[::-1], W_ax.T)", "np.matmul(np.roll(dz, 1, axis=0), W_ax.T)", "np.matmul(dz, W_ax.T) * (1 + 1e-9)"],
    }),
    "B9": (recurrence, "recurrence_backward", {
        "da0 = np.matmul(dz[0], W_aaT)": ["da0 = 0 * dz[0]", "da0 = np.matmul(-dz[0], W_aaT)", "da0 = np.matmul(dz[0], W_aa)", "da0 = np.matmul(dz[-1], W_aaT)", "da0 = np.matmul(dz[0], W_aaT) * (1 + 1e-9)"],
    }),
}  # fmt: skip
ERRORS = [
    (tag, line, wrong)
    for tag, (_, _, lines) in PLANTED.items()
    for line, planted in lines.items()
    for wrong in planted
]


def plant(monkeypatch, tag, line, wrong):
    module, function, _ = PLANTED[tag]
    source = inspect.getsource(module)
    assert source.count(line) == 1, f"{line!r} is not one place in the source"
    namespace = {}
    exec(source.replace(line, wrong), namespace)
    monkeypatch.setattr(layers, function, namespace[function])


@pytest.fixture(scope="module")
def small_text(tmp_path_factory):
    path = tmp_path_factory.mktemp("gradcheck") / "small.txt"
    path.write_text("abacabadabacaba " * 3)
    return path


def window(method="complex", text="the quick brown fox jumps over the lazy dog. " * 3, seed=0):
    corpus = charrnn.Corpus.from_text(text)
    model = generic_model(corpus.vocabulary, GradcheckConfig(hidden_size=5), seed=0)
    x, y = charrnn.text.Streams(corpus.tokens, 3, 5)[0]
    return GradientCheck(model, x, y, np.random.default_rng(seed), method)


@pytest.mark.parametrize(("method", "margin"), [("complex", 1e-14), ("central", 2e-7)])
def test_every_tensor_passes_by_a_wide_margin(method, margin):
    checks = list(window(method).every_entry())
    assert [check.name for check in checks] == list(GIVEN_BY)
    assert all(check.passed and check.norm > 0.01 for check in checks)
    assert max(check.error for check in checks) < margin


def test_projections_and_steps_and_properties_pass():
    for count, some in ((7, window().quick()), (5, window().per_step()), (3, window().properties())):
        checks = list(some)
        assert len(checks) == count
        assert all(check.passed for check in checks)


@pytest.mark.parametrize(("tag", "line", "wrong"), ERRORS)
def test_a_planted_error_is_caught(monkeypatch, cli, small_text, tag, line, wrong):
    """By the check of every entry, by one projection a tensor, and by the command line."""
    plant(monkeypatch, tag, line, wrong)
    wrong_ones = {check.equation for check in window().every_entry() if not check.passed}
    assert wrong_ones
    if tag in GIVEN_BY.values():
        assert tag in wrong_ones  # and the equation at fault is among those named
    assert not all(check.passed for check in window().quick())
    words = ["--hidden-size", 4, "--seq-length", 4, "--batch-size", 3]
    outcome = cli("gradcheck", small_text, *words)
    assert outcome.code == 1
    assert "WRONG" in outcome.out


def test_every_tagged_line_has_planted_errors():
    lines = [line for _, _, lines in PLANTED.values() for line in lines]
    tagged = re.findall(
        r"^(.*# \(B\d\).*)$", "".join(map(inspect.getsource, (embedding, recurrence, softmax))), re.M
    )
    assert {tag for line in tagged for tag in re.findall(r"B\d", line)} == {f"B{i}" for i in range(1, 10)}
    for line in tagged:
        assert any(planted in line for planted in lines), line


def test_two_errors_that_cancel_in_the_sum_are_caught_step_by_step(monkeypatch):
    """What one step sends to the bias, another takes away: the sum over time is right, the steps are not."""
    original = layers.recurrence_backward

    def cancelling(da, a, W_aa, out=None):
        dz, da0 = original(da, a, W_aa, out=out)
        dz[1] += 1e-6
        dz[3] -= 1e-6
        return dz, da0

    monkeypatch.setattr(layers, "recurrence_backward", cancelling)
    assert {check.name: check.passed for check in window().every_entry()}["b_a"]
    assert not {check.name: check.passed for check in window().per_step()}["b_a⟨t⟩"]


@pytest.mark.parametrize("seed", range(8))
def test_errors_that_cancel_in_a_sum_do_not_in_a_projection(monkeypatch, seed):
    original = layers.recurrence_backward_weights

    def swapping(dz, a, dW_aa, db_a):
        original(dz, a, dW_aa, db_a)
        db_a[[0, 1]] = db_a[[1, 0]]

    monkeypatch.setattr(layers, "recurrence_backward_weights", swapping)
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

    def leaking(xW, a0, *rest, out=None):
        a = wrong(original, xW.copy(), a0, *rest)
        if out is None:
            return a
        out[...] = a
        return out

    monkeypatch.setattr(layers, "recurrence_forward", leaking)
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
    monkeypatch.setattr(layers, "embedding_backward_input", lambda dz, W_ax: np.full((4, 3, 5), np.nan))
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
    assert names[:7] == list(GIVEN_BY)
    assert names[7:12] == [f"{name}⟨t⟩" for name in list(GIVEN_BY)[:5]]
    assert names[12:] == ["mean", "causality", "rows apart"]
