"""DERIVATION.md, the code and the proofs speak of the same equations."""

import re
from pathlib import Path

import numpy as np
import pytest
from planted import ERRORS

import charrnn
from charrnn import layers
from charrnn.layers import CELLS
from charrnn.proofs import picture
from charrnn.proofs.cells import derive
from charrnn.proofs.equations import EQUATIONS
from charrnn.proofs.exercises import exercises
from charrnn.proofs.window import gradients

PACKAGE = Path(charrnn.__file__).parent
DOCUMENT = (PACKAGE / "layers" / "DERIVATION.md").read_text("utf-8")
README = Path(PACKAGE.parent / "README.md")
CODE = {path.name: path.read_text("utf-8").splitlines() for path in (PACKAGE / "layers").glob("*.py")}
TAG = r"\b[DGLR]?[FB]\d\b"


def tags_of_lines():
    """The tags that stand in a comment behind a line of code."""
    lines = (line for text in CODE.values() for line in text)
    return {tag for line in lines for tag in re.findall(r"\(([DGLR]?[FB]\d)\)", line.partition("#")[2])}


def test_the_document_and_the_code_have_the_same_tags_and_all_are_proved():
    proved = {proof.rule for cell in CELLS for proof in derive(np.random.default_rng(0), 2, 2, 2, 3, cell)}
    in_document = set(re.findall(TAG, DOCUMENT))
    assert in_document == tags_of_lines() == set(EQUATIONS)
    assert in_document <= proved


def test_each_link_leads_to_the_line_with_its_tag():
    links = re.findall(r"\[([DGLR]?[FB]\d)[^\]]*\]\((\w+\.py)#L(\d+)\)", DOCUMENT)
    assert {tag for tag, _, _ in links} == set(EQUATIONS)
    for tag, name, number in links:
        assert f"({tag})" in CODE[name][int(number) - 1], f"{name}#L{number} is not the line of {tag}"


def test_each_rule_named_in_the_document_is_one_that_can_be_shown():
    rules = {proof.rule for proof in derive(np.random.default_rng(0), 1, 1, 1, 2)}
    assert set(re.findall(r"--rule (\w[\w-]*)`", DOCUMENT)) == rules - set(EQUATIONS)


def test_each_exercise_is_in_the_document():
    asked = exercises(np.random.default_rng(0))
    assert re.findall(r"`def (\w+\(.*?\)):`", DOCUMENT) == [e.signature for e in asked.values()]


def test_the_equations_are_introduced_in_the_order_of_the_code():
    """cross-entropy, dense, the recurrence and its weights, the embedding: as model.backward calls them."""
    assert re.findall(r"^### (B\d)", DOCUMENT, re.M) == ["B1", "B2", "B3", "B4", "B9", "B5", "B7", "B6", "B8"]


def test_its_table_has_the_equations_and_the_files_of_their_lines():
    rows = re.findall(r"^\| ([DGLR]?[FB]\d) \| (.*) \| (\[.*\)) \|$", DOCUMENT, re.M)
    assert {tag: equation for tag, equation, _ in rows} == EQUATIONS
    for tag, _, links in rows:
        files = {
            name
            for name, lines in CODE.items()
            if any(f"({tag})" in line.partition("#")[2] for line in lines)
        }
        assert set(re.findall(r": (\w+\.py)\]", links)) == files


STEP = r"\^\{\\langle ([^\\]*)\\rangle\}"
# LaTeX, and the sign that stands for it in EQUATIONS
SIGNS = [
    (r"\\begin\{aligned\}\n|\n\\end\{aligned\}|&", ""),
    (r" \\\\\n", ", "),
    (r"\\mathit\{(\w+)\}", r"\1"),
    (rf"\\left\((\w){STEP}\\right\)\^2", r"\1⟨\2⟩²"),
    (rf"\\left\((\w){STEP}\\right\)\^\{{\\mathsf T\}}", r"\1⟨\2⟩ᵀ"),
    (STEP, r"⟨\1⟩"),
    (r"\\left\(", "("),
    (r"\\right\)", ")"),
    (r"\^\{\\mathsf T\}", "ᵀ"),
    (r"_\{(\w+)\}", r"_\1"),
    (r"\\hat y", "ŷ"),
    (r"\\operatorname\{onehot\}", "onehot"),
    (r"\\sum_", "Σ_"),
    (r"\\circ", "∘"),
    (r"\\sigma", "σ"),
    (r"\\rho", "ρ"),
    (r"\\tanh\^2", "tanh²"),
    (r"\\tanh", "tanh"),
    ("-", "−"),
]


def test_the_equations_of_the_document_are_those_that_are_proved():
    sections = re.findall(r"^### ([DGLR]?[FB]\d): .*\n([^#]*)", DOCUMENT, re.M)
    assert {tag for tag, _ in sections} == set(EQUATIONS) - {"F1", "F2", "F3", "F4"}
    for tag, text in sections:
        *columns, rows = re.findall(r"^```math\n(.*?)\n```", text, re.M | re.S)
        assert len(columns) == len(re.findall(r"^Columns, ", text, re.M)) == (tag[0] == "B")
        for latex, sign in SIGNS:
            rows = re.sub(latex, sign, rows)
        assert rows == EQUATIONS[tag]


def masked(text):
    """Lines without the sizes of rounding errors, and where the largest is: those depend on the machine."""
    text = re.sub(r"\d\.\de-(1[3-9]|[2-9]\d)|0\.0e\+00", "#", text)
    text = re.sub(r"#  \([\d, ]*\) *", "#", text)
    text = re.sub(r"^checking the functions in .*\n", "", text)
    return [" ".join(line.split()) for line in text.strip().splitlines()]


SHOWN = re.findall(r"^    charrnn (derive --\S+(?: \w+)?)\n\n```\n(.*?)^```", DOCUMENT, re.M | re.S)


def test_the_document_shows_four_commands():
    assert [words.split()[1] for words, _ in SHOWN] == ["--rule", "--walk", "--flow", "--broken"]


@pytest.mark.parametrize(("words", "block"), SHOWN, ids=[words for words, _ in SHOWN])
def test_the_document_shows_what_the_command_prints(cli, words, block):
    assert masked(cli(*words.split()).out) == masked(block)
    assert max(map(len, block.splitlines())) <= 80


def test_the_plain_network_of_the_document_computes_what_the_layers_do():
    (source,) = re.findall(r"^```python\n(.*?)^```", DOCUMENT, re.M | re.S)
    plain, rng, (T, H, V) = {}, np.random.default_rng(0), (5, 4, 3)
    exec(source, plain)
    shapes = CELLS["rnn"].shapes(V, H) | {"W_ya": (H, V), "b_y": (V,)}
    p = {name: rng.standard_normal(shape) for name, shape in shapes.items()}
    x, y, a0 = *rng.integers(0, V, (2, T)), np.tanh(rng.standard_normal(H))
    _, a, y_hat = plain["forward"](p, x, y, a0)
    g, da0 = plain["backward"](p, x, y, a, y_hat)
    window = p | {"x": np.eye(V)[x][:, np.newaxis], "a0": a0[np.newaxis]}
    found = gradients(layers, "rnn", window, y[:, np.newaxis])
    for name, gradient in (g | {"a0": da0[np.newaxis]}).items():
        np.testing.assert_allclose(gradient, found[name], rtol=1e-12, atol=1e-15)


def test_the_lines_beside_the_plain_network_are_lines_of_the_layers():
    rows = re.findall(r"^\| [FB]\d \| `([^`]*)` \| `([^`]*)`", DOCUMENT, re.M)
    (plain,) = re.findall(r"^```python\n(.*?)^```", DOCUMENT, re.M | re.S)
    code = "\n".join(line for text in CODE.values() for line in text)
    assert len(rows) == 12
    for left, right in rows:
        assert left in plain
        assert right in code


@pytest.mark.parametrize("name", picture.PICTURES)
def test_each_picture_is_the_one_that_its_program_draws(name):
    assert (PACKAGE / "layers" / name).read_text("utf-8") == picture.PICTURES[name]()
    assert f"({name})" in DOCUMENT


def test_the_gates_errors_in_float32_are_those_of_the_document():
    """σ as ½ tanh(z/2) + ½: a small absolute error, a relative one that grows to the left."""
    relative = {}
    for centre in (-5, -10, -15, -20):
        z = np.linspace(centre - 0.5, centre + 0.5, 10_001, dtype=np.float32)
        half = np.float32(0.5)
        exact = 1 / (1 + np.exp(-z.astype(float)))
        error = np.abs(half * np.tanh(half * z) + half - exact)
        assert error.max() < 2e-7
        relative[centre] = (error / exact).max()
    assert 1e-7 < relative[-5] < 5e-5
    assert 1e-4 < relative[-10] < 1e-2
    assert 1e-2 < relative[-15] < 1
    assert relative[-20] >= 1


@pytest.mark.skipif(not README.exists(), reason="installed without the README")
def test_the_readme_shows_what_gradcheck_prints(cli):
    blocks = re.findall(r"^```\w*\n(.*?)^```$", README.read_text("utf-8"), re.M | re.S)
    assert masked(cli("gradcheck").out) in [masked(block) for block in blocks]


@pytest.mark.skipif(not README.exists(), reason="installed without the README")
def test_the_readme_counts_the_planted_errors():
    text = " ".join(README.read_text("utf-8").split())
    assert f"The tests plant {len(ERRORS)} errors" in text
    assert f"the default check catches {len(ERRORS)}" in text


@pytest.mark.skipif(not README.exists(), reason="installed without the README")
def test_the_readme_is_short_and_shows_the_way_back_as_the_layer_has_it():
    text = README.read_text("utf-8")
    assert len(text.splitlines()) <= 150
    shown = re.findall(r"^```python\n(.*?)^```", text, re.M | re.S)[0].splitlines()
    assert "\n".join(f"    {line}" for line in shown) in "\n".join(CODE["recurrence.py"])
