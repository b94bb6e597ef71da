"""The gradient check must catch a planted error in every equation of the backward pass."""

import inspect

import numpy as np
import pytest

import charrnn
from charrnn import layers
from charrnn.config import GradcheckConfig
from charrnn.gradcheck import EQUATIONS, generic_model, gradcheck
from charrnn.layers import embedding, recurrence, softmax

# tag: (module, function, line as it is, line as it is planted)
# ruff: noqa: E501
PLANTED = {
    "B1 sign": (softmax, "cross_entropy_backward", "] -= 1", "] += 1"),
    "B1 no target": (softmax, "cross_entropy_backward", "] -= 1", "] -= 0"),
    "B1 mean over T only": (softmax, "cross_entropy_backward", "/= T * B", "/= T"),
    "B2 weight": (softmax, "dense_backward", "np.matmul(a.reshape(-1, H).T, rows, out=dW_ya)", "dW_ya[:] = 0"),
    "B2 bias": (softmax, "dense_backward", "out=db_y)", "out=db_y); db_y *= 1.01"),
    "B3 no direct term": (softmax, "dense_backward", "out=da.reshape(-1, H))", "out=da.reshape(-1, H)); da *= 0"),
    "B3 no future": (recurrence, "recurrence_backward", "da[t] += future", "pass"),
    "B3 sign": (recurrence, "recurrence_backward", "da[t] += future", "da[t] -= future"),
    "B3 transposed": (recurrence, "recurrence_backward", "np.ascontiguousarray(W_aa.T)", "W_aa.copy()"),
    "B3 truncated": (recurrence, "recurrence_backward", "if t < T - 1:", "if t < T - 1 and t != 1:"),
    "B4 no derivative": (recurrence, "recurrence_backward", "dz[t] *= da[t]", "dz[t] = da[t]"),
    "B4 1 − a": (recurrence, "recurrence_backward", "np.multiply(a[1:], a[1:], out=dz)", "dz[:] = a[1:]"),
    "B5 transposed": (recurrence, "recurrence_backward_weights", "np.matmul(past.T, rows, out=dW_aa)", "dW_aa[:] = rows.T @ past"),
    "B5 a⟨t⟩ for a⟨t−1⟩": (recurrence, "recurrence_backward_weights", "a[:-1].reshape", "a[1:].reshape"),
    "B6 last one wins": (embedding, "embedding_backward", "rows[i:j]", "rows[j - 1 : j]"),
    "B6 no clearing": (embedding, "embedding_backward", "dW_ax[...] = 0", "dW_ax[...] = 1"),
    "B7 one step short": (recurrence, "recurrence_backward_weights", "np.add.reduce(rows, axis=0", "np.add.reduce(rows[1:], axis=0"),
    "B7 mean": (recurrence, "recurrence_backward_weights", "out=db_a)", "out=db_a); db_a /= 2"),
    "B8 wrong step": (embedding, "embedding_backward_input", "np.matmul(dz, W_ax.T)", "np.matmul(dz[::-1], W_ax.T)"),
    "B8 scale": (embedding, "embedding_backward_input", "np.matmul(dz, W_ax.T)", "np.matmul(dz, W_ax.T) * (1 + 1e-5)"),
    "B9 wrong step": (recurrence, "recurrence_backward", "da0 = np.matmul(dz[0]", "da0 = np.matmul(dz[-1]"),
    "B9 transposed": (recurrence, "recurrence_backward", "np.matmul(dz[0], W_aaT)", "np.matmul(dz[0], W_aa)"),
}  # fmt: skip


def plant(monkeypatch, error):
    module, function, line, planted = PLANTED[error]
    source = inspect.getsource(module)
    assert source.count(line) == 1, f"{error}: {line!r} is not one place in the source"
    namespace = {}
    exec(source.replace(line, planted), namespace)
    monkeypatch.setattr(layers, function, namespace[function])


def verdicts(entries=0):
    corpus = charrnn.Corpus.from_text("the quick brown fox jumps over the lazy dog. " * 3)
    model = generic_model(corpus.vocabulary, GradcheckConfig(hidden_size=5), seed=0)
    x, y = charrnn.text.Streams(corpus.tokens, 3, 5)[0]
    return list(gradcheck(model, x, y, np.random.default_rng(0), entries))


def test_every_tensor_passes_by_a_wide_margin():
    checks = verdicts()
    assert [check.name for check in checks] == list(EQUATIONS)
    assert all(check.passed for check in checks)
    assert max(check.error for check in checks) < 2e-7
    assert all(check.checked == np.prod(check.shape) for check in checks)


def test_some_entries_can_stand_for_all():
    assert [check.checked for check in verdicts(entries=7)] == [7, 7, 5, 7, 7, 7, 7]


@pytest.mark.parametrize("error", PLANTED)
def test_a_planted_error_is_caught(monkeypatch, error):
    plant(monkeypatch, error)
    wrong = {check.equation for check in verdicts() if not check.passed}
    assert wrong
    if error[:2] in EQUATIONS.values():
        assert error[:2] in wrong  # and the equation at fault is among those named


def test_every_equation_has_a_planted_error():
    assert {error[:2] for error in PLANTED} == {f"B{i}" for i in range(1, 10)}


@pytest.mark.parametrize("error", ["B3 no future", "B5 a⟨t⟩ for a⟨t−1⟩", "B8 scale"])
def test_the_command_line_says_so(monkeypatch, cli, error):
    assert cli("gradcheck").code == 0
    plant(monkeypatch, error)
    outcome = cli("gradcheck")
    assert outcome.code == 1
    assert "WRONG" in outcome.out
    assert '"passed": false' in cli("gradcheck", "--json").out


def test_a_gradient_that_is_not_a_number_is_wrong(monkeypatch):
    original = layers.embedding_backward

    def poisoned(*args, **kwargs):
        original(*args, **kwargs)[0, 0] = np.nan

    monkeypatch.setattr(layers, "embedding_backward", poisoned)
    assert not verdicts()[0].passed


def test_the_parameters_are_put_back():
    corpus = charrnn.Corpus.from_text("abcabd" * 5)
    model = generic_model(corpus.vocabulary, GradcheckConfig(), seed=0)
    before = model.parameters.flat.copy()
    x, y = charrnn.text.Streams(corpus.tokens, 2, 3)[0]
    list(gradcheck(model, x, y, np.random.default_rng(0)))
    np.testing.assert_array_equal(model.parameters.flat, before)
