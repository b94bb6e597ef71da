"""DERIVATION.md, the code and the proofs speak of the same equations."""

import re
from pathlib import Path

import numpy as np
import pytest
from planted import ERRORS

import charrnn
from charrnn.layers import CELLS
from charrnn.proofs.cells import derive
from charrnn.proofs.equations import EQUATIONS
from charrnn.proofs.exercises import exercises

PACKAGE = Path(charrnn.__file__).parent
DOCUMENT = (PACKAGE / "layers" / "DERIVATION.md").read_text("utf-8")
README = Path(PACKAGE.parent / "README.md")
CODE = {path.name: path.read_text("utf-8").splitlines() for path in (PACKAGE / "layers").glob("*.py")}
TAG = r"\b[DGL]?[FB]\d\b"


def tags_of_lines():
    """The tags that stand in a comment behind a line of code."""
    lines = (line for text in CODE.values() for line in text)
    return {tag for line in lines for tag in re.findall(r"\(([DGL]?[FB]\d)\)", line.partition("#")[2])}


def test_the_document_and_the_code_have_the_same_tags_and_all_are_proved():
    proved = {proof.rule for cell in CELLS for proof in derive(np.random.default_rng(0), 2, 2, 2, 3, cell)}
    in_document = set(re.findall(TAG, DOCUMENT))
    assert in_document == tags_of_lines() == set(EQUATIONS)
    assert in_document <= proved


def test_each_link_leads_to_the_line_with_its_tag():
    links = re.findall(r"\[([DGL]?[FB]\d)[^\]]*\]\((\w+\.py)#L(\d+)\)", DOCUMENT)
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


@pytest.mark.skipif(not README.exists(), reason="installed without the README")
def test_the_readme_has_the_same_equations():
    rows = re.findall(r"^\| ([DGL]?[FB]\d) \| (.*?) \|", README.read_text("utf-8"), re.M)
    assert {tag: equation.removesuffix(", with dz⟨T+1⟩ = 0") for tag, equation in rows} == EQUATIONS


# LaTeX, and the sign that stands for it in EQUATIONS
SIGNS = [
    (r"\\mathit\{(\w+)\}", r"\1"),
    (r"\^\{\\langle ([^\\]*)\\rangle ?2\}", r"⟨\1⟩²"),
    (r"\^\{\\langle ([^\\]*)\\rangle ?\\mathsf T\}", r"⟨\1⟩ᵀ"),
    (r"\^\{\\langle ([^\\]*)\\rangle\}", r"⟨\1⟩"),
    (r"\^\{\\mathsf T\}", "ᵀ"),
    (r"_\{(\w+)\}", r"_\1"),
    (r"\\hat y", "ŷ"),
    (r"\\operatorname\{onehot\}", "onehot"),
    (r"\\sum_", "Σ_"),
    (r"\\circ", "∘"),
    (r"\\sigma", "σ"),
    (r"\\tanh\^2", "tanh²"),
    (r"\\tanh", "tanh"),
    ("-", "−"),
]


def test_the_equations_of_the_document_are_those_that_are_proved():
    sections = re.findall(r"^### ([DGL]?[FB]\d): .*\n([^#]*)", DOCUMENT, re.M)
    assert {tag for tag, _ in sections} == set(EQUATIONS) - {"F1", "F2", "F3", "F4"}
    for tag, text in sections:
        *columns, rows = re.findall(r"^```math\n(.*?)\n```", text, re.M | re.S)
        assert len(columns) == len(re.findall(r"^Columns, ", text, re.M)) == (tag[0] == "B")
        for latex, sign in SIGNS:
            rows = re.sub(latex, sign, rows)
        assert rows == EQUATIONS[tag]


@pytest.mark.skipif(not README.exists(), reason="installed without the README")
@pytest.mark.parametrize("words", [["derive"], ["gradcheck"]])
def test_the_readme_shows_what_the_command_prints(cli, words):
    """Word for word; only the sizes of rounding errors, and where the largest is, depend on the machine."""

    def masked(text):
        text = re.sub(r"\d\.\de[+-]\d\d(  \([\d, ]*\) *)?", "#", text)
        return [" ".join(line.split()) for line in text.strip().splitlines()]

    blocks = re.findall(r"^```\n(.*?)^```", README.read_text("utf-8"), re.M | re.S)
    printed = masked(cli(*words).out)
    assert printed in [masked(block) for block in blocks]


@pytest.mark.skipif(not README.exists(), reason="installed without the README")
def test_the_readme_counts_the_planted_errors():
    text = " ".join(README.read_text("utf-8").split())
    assert f"The tests plant {len(ERRORS)} errors" in text
    assert f"the default check catches {len(ERRORS)}" in text
