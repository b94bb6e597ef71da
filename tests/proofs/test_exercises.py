import inspect

import numpy as np
import pytest

from charrnn import layers
from charrnn.proofs import broken, flow, walk
from charrnn.proofs.calculus import TOLERANCE
from charrnn.proofs.equations import EQUATIONS
from charrnn.proofs.exercises import exercises

# ruff: noqa: E501

RIGHT = """
import numpy as np
def db_a(dz):
    return dz.sum(axis=(0, 1))
def dW_aa(a, dlogits, W_aa, W_ya):
    dz2 = dlogits[1] @ W_ya.T * (1 - a[2] ** 2)
    dz1 = (dlogits[0] @ W_ya.T + dz2 @ W_aa.T) * (1 - a[1] ** 2)
    return a[0].T @ dz1 + a[1].T @ dz2
def tied(x, a, dz, dlogits):
    return sum(x[t].T @ dz[t] + dlogits[t].T @ a[t] for t in range(len(x)))
def temperature(logits, y, tau):
    y_hat = np.exp(logits / tau) / np.exp(logits / tau).sum(axis=1, keepdims=True)
    return (y_hat - y) / tau, -((y_hat - y) * logits).sum() / tau**2
def smoothed(y_hat, y, epsilon):
    return y_hat - (1 - epsilon) * y - epsilon / y.shape[1]
def leaky(da, z, W_aa, alpha):
    dz = alpha * da * (1 - np.tanh(z) ** 2)
    return dz, (1 - alpha) * da + dz @ W_aa.T
def reset(dz_n, r, past, W_n):
    into = dz_n @ W_n.T
    return into * past * r * (1 - r), into * r, (r * past).T @ dz_n
def peephole(da, o, c, p):
    dz_o = da * np.tanh(c) * o * (1 - o)
    return da * o * (1 - np.tanh(c) ** 2) + dz_o * p, (dz_o * c).sum(axis=0)
"""


def answer(cli, tmp_path, text):
    path = tmp_path / "mine.py"
    path.write_text(text)
    return cli("derive", "--answer", path)


def test_right_answers_are_right(cli, tmp_path):
    outcome = answer(cli, tmp_path, RIGHT)
    assert outcome.code == 0
    assert outcome.out == "".join(f"{name}: right\n" for name in exercises(np.random.default_rng(0)))


@pytest.mark.parametrize(
    ("text", "reply"),
    [
        (RIGHT.replace("dz2 @ W_aa.T", "dz2 @ W_aa"), "db_a: right\ndW_aa: the first wrong element is at (0, 0): "),
        (RIGHT.replace(" + dz2 @ W_aa.T", ""), "db_a: right\ndW_aa: the first wrong element"),
        ("def tied(x, a, dz, dlogits): return sum(map(np.dot, x.transpose(0, 2, 1), dz))".replace("np", "__import__('numpy')"), "tied: the first wrong element"),
        ("def temperature(logits, y, tau): return logits, [1.0]", "temperature: of array 1, the first wrong"),
        ("def smoothed(y_hat, y, epsilon): return y_hat - y", "smoothed: the first wrong element"),
        ("def reset(dz_n, r, past, W_n): return (dz_n * past * r * (1 - r)) @ W_n.T, (dz_n @ W_n.T) * r, (r * past).T @ dz_n", "reset: of array 1, the first wrong"),
        ("def peephole(da, o, c, p): return da * o * (1 - __import__('numpy').tanh(c) ** 2), p", "peephole: of array 1, the first"),
        ("def db_a(dz): return dz.sum(axis=0)", "db_a: the shape is (3, 5); expected (5,), which is (H,)"),
        ("def db_a(dz): return dz.sum(axis=(0, 1)) * [1, 1, 1, 2, 1]", "db_a: the first wrong element is at (3,)"),
        ("def db_a(dz): return 'x'", "db_a: it holds no real numbers but <U1"),
        ("def db_a(dz): return None", "db_a: returns nothing; expected (H,)"),
        ("def db_a(dz): return (dz.sum((0, 1)) * 1.5).astype('f2')", "db_a: the first wrong element"),
        ("def smoothed(y_hat, y, epsilon): return (y_hat - (1 - epsilon) * y - epsilon / 6).astype('f4') * 1.0001", "smoothed: the first wrong element"),
        ("def db_a(dz): return dz.sum((0, 1)) + 5j", "db_a: it holds no real numbers but complex128"),
        ("def db_a(dz): return [[1], [2, 3]]", "db_a: it holds no real numbers"),
        ("def db_a(dz): raise SystemExit(0)", "db_a: SystemExit: 0 (line 1)"),
        ("def db_a(dz):\n  x = 1\n  return dz.sum((0, 7))", "db_a: AxisError: axis 7 is out of bounds"),
        ("import numpy as np\ndef leaky(da, z, W_aa, alpha):\n  dz = 0.3 * da * (1 - np.tanh(z) ** 2); return dz, 0.7 * da + dz @ W_aa.T", "leaky: of array 1, the first wrong"),
        ("def db_a(): return 1", "db_a: TypeError: db_a() takes 0"),
        ("def db_a(dz): return dz.sum(axis=(0, 1)) * float('nan')", "db_a: the first wrong element is at (0,): nan"),
        ("def leaky(da, z, W_aa, alpha): return da", "leaky: should return 2 arrays: dz⟨t⟩ (B, H)"),
        ("def leaky(da, z, W_aa, alpha): return 0 * da, da", "leaky: of array 1, the first wrong element"),
    ],
)  # fmt: skip
def test_wrong_answers_are_told_where(cli, tmp_path, text, reply):
    outcome = answer(cli, tmp_path, text)
    assert outcome.code == 1
    assert outcome.out.startswith(reply)


@pytest.mark.parametrize(
    "text",
    [
        "def db_a(dz): return dz.sum((0, 1)).astype('float32')",
        "def db_a(dz): return dz.astype('float32').sum((0, 1))",
        "def db_a(dz): return dz.astype('longdouble').sum((0, 1))",
        "def db_a(dz): return [float(sum(dz[t, b, h] for t in range(4) for b in range(3))) for h in range(5)]",
        RIGHT.replace("return dz, (1 - alpha) * da + dz @ W_aa.T", "return [dz, (1 - alpha) * da + dz @ W_aa.T]"),
        RIGHT.replace("return dz, (1 - alpha) * da + dz @ W_aa.T", "return np.array([dz, (1 - alpha) * da + dz @ W_aa.T])"),
    ],
)  # fmt: skip
def test_right_answers_of_other_forms_are_right_too(cli, tmp_path, text):
    outcome = answer(cli, tmp_path, text)
    assert outcome.code == 0, outcome.out


def test_an_answer_that_spoils_its_arguments_spoils_no_other(cli, tmp_path):
    text = RIGHT.replace("    return dz.sum(axis=(0, 1))", "    s = dz.sum(axis=(0, 1)); dz[:] = 0; return s")
    assert answer(cli, tmp_path, text).code == 0


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("def db_b(dz): return 0", "defines no answer. An exercise is one of: db_a(dz), dW_aa(a, dlogits"),
        ("def db_a(dz) return 0", "mine.py: SyntaxError"),
        ("1 / 0", "mine.py: ZeroDivisionError: division by zero (line 1)"),
        ("open('/no/such/file')", "mine.py: FileNotFoundError: [Errno 2]"),
        ("import sys; sys.exit(0)", "mine.py: SystemExit: 0"),
    ],
)
def test_files_that_are_no_answers(cli, tmp_path, text, message):
    outcome = answer(cli, tmp_path, text)
    assert outcome.code == 2
    assert message in outcome.err
    assert "cannot be read" in cli("derive", "--answer", tmp_path / "nowhere.py").err


def test_replies_have_one_form(cli, tmp_path):
    assert "no --json" in cli("derive", "--answer", tmp_path / "mine.py", "--json").err


def test_the_help_says_that_the_file_is_run(cli):
    assert "is plain Python and is run as it is" in " ".join(cli("derive", "--help").out.split())


# -- planted errors, the window by hand, the reach of gradients ----------------------------------------


def test_each_planted_error_shows_and_no_two_look_alike():
    """One line is replaced; of one cell's errors each makes other gradients wrong, at T = 1 or at T = 4."""
    seen = set()
    for error in broken.PLANTED:
        assert error.tag in EQUATIONS
        assert inspect.getsource(error.module).count(error.right) == 1
        found = [value > TOLERANCE for T in broken.WINDOWS for value in broken.errors(error, T).values()]
        assert any(found)
        seen.add((error.cell, *found))
    assert len(seen) == len(broken.PLANTED) >= 12


def test_without_an_error_all_gradients_of_the_window_are_right():
    """So what a table shows comes from the planted line alone."""
    for cell in layers.CELLS:
        unchanged = broken.Planted(cell, "", layers.dense, "", "")
        assert max(max(broken.errors(unchanged, T).values()) for T in broken.WINDOWS) <= TOLERANCE


def test_planting_leaves_the_layers_as_they_are_and_does_not_name_the_equation(cli):
    before = {name: getattr(layers, name) for name in layers.__all__}
    for number, error in enumerate(broken.PLANTED, 1):
        text = cli("derive", "--broken", number).out.removesuffix("such as --is B7.\n")
        assert "WRONG" in text
        assert error.tag not in text
        assert error.wrong not in text
    assert all(getattr(layers, name) is value for name, value in before.items())
    assert "WRONG" not in cli("derive").out


@pytest.mark.parametrize(("number", "error"), list(enumerate(broken.PLANTED, 1)))
def test_the_answer_to_a_planted_error_is_marked(cli, number, error):
    outcome = cli("derive", "--broken", number, "--is", error.tag.lower())
    assert outcome.code == 0
    assert outcome.out.startswith(f"{error.tag}: right. In ")
    assert error.wrong in outcome.out
    other = "B8" if error.tag != "B8" else "B9"
    outcome = cli("derive", "--broken", number, "--is", other)
    assert outcome.code == 1
    assert outcome.out.startswith(f"{other}: no. ")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--broken", 0], "should be a whole number from 1 to"),
        (["--broken", len(broken.PLANTED) + 1], "should be a whole number from 1 to"),
        (["--is", "B5"], "say which error with --broken N"),
        (["--walk", "--is", "B5"], "say which error with --broken N"),
        (["--walk", "--json"], "--walk has no --json or --markdown form"),
        (["--walk", "--seed", 3], "--seed has no effect with --walk"),
        (["--flow", "--hidden-size", 3], "--hidden-size has no effect with --flow"),
        (["--flow", "--walk"], "not allowed with"),
    ],
)
def test_a_lesson_refuses_what_has_no_effect_on_it(cli, words, message):
    outcome = cli("derive", *words)
    assert outcome.code == 2
    assert message in outcome.err


def test_the_window_by_hand_is_checked_against_the_layers(monkeypatch):
    def difference():
        return float(list(walk.walk())[-1].split()[-1].rstrip("."))

    assert difference() < 1e-15
    monkeypatch.setattr(layers, "recurrence_backward", lambda da, a, W_aa: (da, da[0]))
    assert difference() > 0.01


def test_a_gradient_is_never_longer_than_its_bound():
    for seed in range(3):
        for factor, std in flow.TANH:
            measured, bound = flow.lengths("rnn", factor, std, 0.0, seed)
            assert (measured <= bound * (1 + 1e-12)).all()
            np.testing.assert_array_less(bound, factor ** np.array(flow.DISTANCES) * (1 + 1e-12))


def test_the_reach_of_a_gradient_is_that_of_the_jacobians_product():
    """Rows: ∂L/∂a⟨s⟩ is ∂L/∂a⟨T⟩ times the product of diag(1 − a⟨k⟩²) W_aaᵀ, k from T down to s + 1."""
    rng = np.random.default_rng(0)
    H = flow.H
    W = np.linalg.qr(rng.standard_normal((H, H)))[0]
    xW = 0.5 * rng.standard_normal((flow.T, flow.B, H))
    da = rng.standard_normal((flow.B, H))
    a = [np.zeros((flow.B, H))]
    for x in xW:
        a.append(np.tanh(x + a[-1] @ W))
    sizes = [np.linalg.norm(da, axis=1)]
    for k in range(flow.T, 1, -1):
        da = da * (1 - a[k] ** 2) @ W.T
        sizes.append(np.linalg.norm(da, axis=1))
    expected = [np.exp(np.log(sizes[k] / sizes[0]).mean()) for k in flow.DISTANCES]
    np.testing.assert_allclose(flow.lengths("rnn", 1.0, 0.5, 0.0, 0)[0], expected, rtol=1e-10)
