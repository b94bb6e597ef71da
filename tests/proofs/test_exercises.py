import pytest

# ruff: noqa: E501

RIGHT = """
import numpy as np
def db_a(dz):
    return dz.sum(axis=(0, 1))
def dx(dz, W_ax):
    return dz @ W_ax.T
def da0(dz, W_aa):
    return dz[0] @ W_aa.T
def leaky(da, z, W_aa, alpha):
    dz = alpha * da * (1 - np.tanh(z) ** 2)
    return dz, (1 - alpha) * da + dz @ W_aa.T
"""


def answer(cli, tmp_path, text):
    path = tmp_path / "mine.py"
    path.write_text(text)
    return cli("derive", "--answer", path)


def test_right_answers_are_right(cli, tmp_path):
    outcome = answer(cli, tmp_path, RIGHT)
    assert outcome.code == 0
    assert outcome.out == "db_a: right\ndx: right\nda0: right\nleaky: right\n"


@pytest.mark.parametrize(
    ("text", "reply"),
    [
        ("def da0(dz, W_aa): return dz[0] @ W_aa", "da0: the first wrong element is at (0, 0): "),
        ("def db_a(dz): return dz.sum(axis=0)", "db_a: the shape is (3, 5); expected (5,), which is (H,)"),
        ("def db_a(dz): return dz.sum(axis=(0, 1)) * [1, 1, 1, 2, 1]", "db_a: the first wrong element is at (3,)"),
        ("def db_a(dz): return 'x'", "db_a: it holds no real numbers but <U1"),
        ("def db_a(dz): return None", "db_a: returns nothing; expected (H,)"),
        ("def db_a(dz): return (dz.sum((0, 1)) * 1.5).astype('f2')", "db_a: the first wrong element"),
        ("def da0(dz, W_aa): return (dz[0] @ W_aa.T).astype('f4') * 1.0001", "da0: the first wrong element"),
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
        ("def db_b(dz): return 0", "defines no answer. An exercise is one of: db_a(dz), dx(dz, W_ax)"),
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
