"""The gradient check must catch a planted error in every equation of the backward pass."""

import inspect
import json
import re
from typing import ClassVar

import numpy as np
import pytest
from conftest import TINY
from planted import ERRORS, PATH_ERRORS, PLANTED, in_the_modules, network, plant, plant_in

import charrnn
from charrnn import layers
from charrnn.config import GradcheckConfig
from charrnn.errors import CharRNNError, flag
from charrnn.layers import dense, dropout, elementwise, gru, inputs, lstm, recurrence, reset
from charrnn.model import segments
from charrnn.proofs.equations import EQUATIONS, GIVEN_BY
from charrnn.proofs.gradcheck import GradientCheck, generic_model


@pytest.fixture(scope="module")
def small_text(tmp_path_factory):
    path = tmp_path_factory.mktemp("gradcheck") / "small.txt"
    path.write_text("abacabadabacaba " * 3)
    return path


FORMS = ("dropout", "recompute_every")


def window(method="complex", text="the quick brown fox jumps over the lazy dog. " * 3, seed=0, **settings):
    corpus = charrnn.Corpus.from_text(text)
    config = GradcheckConfig(hidden_size=5, **settings)
    model = generic_model(corpus.vocabulary, config, seed=0)
    x, y = charrnn.text.Streams(corpus.tokens, 3, 5)[0]
    rng, forms = np.random.default_rng(seed), {name: getattr(config, name) for name in FORMS}
    return GradientCheck(model, x, y, rng, method, **forms)


NETWORKS = [
    {},
    {"cell": "gru"},
    {"cell": "lstm"},
    {"embedding_size": 4},
    {"num_layers": 3, "dropout": 0.3},
    {"cell": "gru", "num_layers": 2, "dropout": 0.5, "embedding_size": 3},
    {"cell": "lstm", "num_layers": 2, "dropout": 0.2, "embedding_size": 3},
    {"recompute_every": 1},
    {"cell": "lstm", "num_layers": 2, "dropout": 0.2, "recompute_every": 2},
    {"cell": "gru", "embedding_size": 3, "recompute_every": 4},
]


@pytest.mark.parametrize("settings", NETWORKS)
@pytest.mark.parametrize(("method", "margin"), [("complex", 3e-14), ("central", 2e-7)])
def test_every_tensor_passes_by_a_wide_margin(method, margin, settings):
    check = window(method, **settings)
    checks = list(check.every_entry())
    states = len(check.model.cell.states) * check.model.config.num_layers
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
    for count, some in ((None, check.quick()), (P, check.per_step()), (6, check.properties())):
        checks = list(some)
        assert len(checks) == (count or len(list(check.tensors())))
        assert all(check.passed for check in checks)


@pytest.mark.parametrize(("tag", "line", "wrong"), ERRORS)
def test_a_planted_error_is_caught(monkeypatch, cli, small_text, tag, line, wrong):
    """By the check of every entry, as the command line runs it, and by projections."""
    settings = network(tag)
    plant(monkeypatch, tag, line, wrong)
    found = failures(cli, small_text, **settings)
    named = {equation for name, equation in found.items() if name not in PROPERTIES - {"resets"}}
    assert named
    if tag in {*GIVEN_BY.values(), *layers.GRU.given_by.values(), *layers.LSTM.given_by.values()}:
        assert tag in named  # the equation at fault
    check = window(**settings)
    checks = check.properties() if tag.startswith("RB") else check.quick()
    assert not all(check.passed for check in checks)


OTHER_WAYS = {
    "segments",
    "step",
    "resets",
}  # to a window's numbers; where it leaks they may not lead to the same
PROPERTIES = {"mean", "causality", "rows apart"} | OTHER_WAYS


def failures(cli, text, **settings):
    """What ``charrnn gradcheck`` finds wrong, with the equations it names."""
    settings = {"hidden_size": 4, "seq_length": 5, "batch_size": 3} | settings
    outcome = cli("gradcheck", text, "--json", *(w for k, v in settings.items() for w in (flag(k), v)))
    failed = {c["name"]: c["equation"] for c in json.loads(outcome.out)["checks"] if not c["passed"]}
    assert outcome.code == (1 if failed else 0)
    return failed


@pytest.mark.parametrize(("check", "module", "function", "settings", "line", "wrong"), PATH_ERRORS)
def test_an_error_in_the_segments_or_in_the_stepper_is_caught_by_default(
    monkeypatch, cli, small_text, check, module, function, settings, line, wrong
):
    plant_in(monkeypatch, module, function, line, wrong)
    assert failures(cli, small_text, **settings).keys() == {check}


@pytest.mark.parametrize(
    ("line", "wrong"),
    [error[-2:] for error in PATH_ERRORS if error[0] == "segments" and "loss" not in error[-2]],
)
def test_the_gradients_of_segments_are_checked_entry_by_entry_if_asked(
    monkeypatch, cli, small_text, line, wrong
):
    settings = {"num_layers": 2, "dropout": 0.5, "recompute_every": 2}
    plant_in(monkeypatch, segments, "loss_and_gradients", line, wrong)
    failed = failures(cli, small_text, **settings).keys() - PROPERTIES
    assert bool(failed) == (line != "if future is None:")  # there it is the state after the window


def test_a_check_before_training_is_of_the_segments_that_training_will_use(monkeypatch, cli, text_file):
    words = ["train", text_file, "--gradcheck", "--recompute-every", 5, *TINY]
    outcome = cli(*words)
    assert outcome.code == 0
    assert "gradients in segments of 5 steps" in outcome.out
    assert "segments of" not in cli(*words, "--recompute-every", 16).out  # the whole window
    plant_in(monkeypatch, segments, "loss_and_gradients", "future = network", "network")
    outcome = cli(*words)
    assert outcome.code == 1
    assert re.search(r"^dW_aa .* WRONG$", outcome.out, re.M)


def test_a_parameter_without_an_equation_is_refused(monkeypatch, cli):
    class Peculiar(type(layers.CELLS["rnn"])):
        biases: ClassVar = {"b_a": (0,), "b_x": (0,)}

    monkeypatch.setitem(layers.CELLS, "rnn", Peculiar())
    with pytest.raises(CharRNNError, match=r"b_x: no equation .* Peculiar\.given_by"):
        window()
    outcome = cli("gradcheck")
    assert (outcome.code, len(outcome.err.splitlines())) == (2, 1)


def test_every_tagged_line_has_planted_errors():
    lines = [line for _, _, lines in PLANTED.values() for line in lines]
    modules = (dense, dropout, elementwise, inputs, gru, lstm, recurrence, reset)
    tagged = re.findall(r"^(.*# \([DGLR]?B\d\).*)$", "".join(map(inspect.getsource, modules)), re.M)
    backward = {tag for tag in EQUATIONS if "B" in tag}
    assert {tag for line in tagged for tag in re.findall(r"[DGLR]?B\d", line)} == backward
    for line in tagged:
        assert any(planted in line for planted in lines), line


def test_two_errors_that_cancel_in_the_sum_are_caught_step_by_step(monkeypatch):
    """What one step sends to the bias, another takes away: the sum over time is right, the steps are not."""
    original = layers.recurrence_backward

    def cancelling(*args, dz, **how):
        _, da0 = original(*args, dz=dz, **how)
        dz[1] += 1e-6
        dz[3] -= 1e-6
        return dz, da0

    in_the_modules(monkeypatch, recurrence_backward=cancelling)
    assert {check.name: check.passed for check in window().every_entry()}["b_a"]
    assert not {check.name: check.passed for check in window().per_step()}["b_a⟨t⟩"]


@pytest.mark.parametrize("seed", range(8))
def test_errors_that_cancel_in_a_sum_do_not_in_a_projection(monkeypatch, seed):
    original = layers.recurrence_backward_weights

    def swapping(dz, a, dW_aa, db_a, **kernels):
        original(dz, a, dW_aa, db_a, **kernels)
        db_a[[0, 1]] = db_a[[1, 0]]

    in_the_modules(monkeypatch, recurrence_backward_weights=swapping)
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
        checks = window(seed=seed).properties(quick=quick)
        return {check.name for check in checks if not check.passed} - OTHER_WAYS

    assert failed() == set()
    name, wrong = LEAKS[leak]
    original = layers.recurrence_forward

    def leaking(xW, a0, *rest, a, **_):
        a[...] = wrong(original, xW.copy(), a0, *rest)

    in_the_modules(monkeypatch, recurrence_forward=leaking)
    assert failed() == {name}


def test_a_loss_that_is_no_mean_is_caught(monkeypatch):
    forward = layers.cross_entropy_forward

    def sum_over_time(logits, y, *out):
        loss, y_hat = forward(logits, y, *out)
        return loss * len(y), y_hat

    in_the_modules(monkeypatch, cross_entropy_forward=sum_over_time)
    assert "mean" in {check.name for check in window().properties() if not check.passed}


def test_a_gradient_that_is_not_a_number_is_wrong(monkeypatch):
    original = layers.inputs_backward

    def poisoned(*args, **kwargs):
        original(*args, **kwargs)[0, 0] = np.nan

    monkeypatch.setattr(layers, "inputs_backward", poisoned)
    assert not next(window().every_entry()).passed
    assert not next(window().quick()).passed


def test_json_has_no_number_that_json_has_not(monkeypatch, cli, small_text):
    monkeypatch.setattr(layers, "inputs_backward_x", lambda dz, W_ax, out=None: np.full((4, 3, 5), np.nan))
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
    assert "gradients along random directions (--no-quick: each entry)" in " ".join(outcome.out.split())
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
    assert names[12:] == ["mean", "causality", "rows apart", "segments", "resets", "step"]
