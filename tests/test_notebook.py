"""What shows itself in a notebook."""

import ast
import re
from xml.etree import ElementTree

import numpy as np
import pytest
from conftest import ROOT

from charrnn import CharRNN, Corpus, load
from charrnn.notebook import curves, matrix, panel, table
from charrnn.proofs.calculus import rules
from charrnn.training.start import Result


def tree(html):
    return ElementTree.fromstring(html.replace("<br>", "<br/>"))


def words(html):
    return [text.strip() for text in tree(html).itertext() if text.strip()]


@pytest.fixture(scope="module")
def shown(tmp_path_factory):
    """What the last line of each cell in the manual is shown as."""
    manual = (ROOT / "charrnn" / "commands" / "README.md").read_text("utf-8")
    section = manual.partition("## In a notebook\n")[2].partition("\n## ")[0]
    cells = re.findall(r"```python\n(.*?)```", section, re.S)
    names, found = {}, []
    with pytest.MonkeyPatch.context() as patch:
        folder = tmp_path_factory.mktemp("notebook")
        (folder / "data").symlink_to(ROOT / "data")
        patch.chdir(folder)
        for cell in cells:
            *lines, last = ast.parse(cell).body
            exec(compile(ast.Module(lines, []), "cell", "exec"), names)
            found.append(eval(ast.unparse(last), names)._repr_html_())
    return found, names


def test_the_cells_of_the_manual_show_a_network_a_run_and_a_derivation(shown):
    network, run, derivation = shown[0]
    assert "CharRNN(7 characters, hidden_size=8, cell='gru')" in words(network)
    assert {"W_aa", "8 × 24", "192"} <= set(words(network))
    assert {"runs/notebook", "best validation", "steps"} <= set(words(run))
    assert len(list(tree(run).iter("polyline"))) == 2
    names = shown[1]
    assert words(derivation)[0] == f"{len(names['proofs'])} proofs, none of them wrong"
    assert len(list(tree(derivation).iter("tr"))) == len(names["proofs"]) + 1


def test_a_proof_shows_its_tensor_as_a_matrix_of_matrices():
    proof = next(proof for proof in rules(np.random.default_rng(0)) if proof.rule == "3W")
    html = tree(proof._repr_html_())
    titled = {next(div.itertext()): div for div in html.iter("div")}
    blocks = next(div for title, div in titled.items() if title.startswith("The tensor 2 × 2 × 2 × 3"))
    assert len(blocks.findall("./table/tr/td/table")) == 4
    numbers = [float(cell.text) for cell in blocks.findall("./table/tr/td/table/tr/td")]
    expected = proof.J.ravel()
    np.testing.assert_allclose(numbers, expected, atol=6e-3)


def test_every_rule_shows_itself():
    for proof in rules(np.random.default_rng(0)):
        assert "they agree" in proof._repr_html_()


def test_numbers_are_shaded_by_sign_and_size():
    cells = [cell.get("style") for cell in tree(matrix(np.array([[1.0, -0.5, 0]]))).iter("td")]
    assert ["rgba(242, 164, 92, 1.00)" in cells[0], "rgba(125, 185, 232, 0.50)" in cells[1]] == [True] * 2
    assert ", 0.00)" in cells[2]
    assert len(list(tree(matrix(np.zeros((2, 2)))).iter("td"))) == 4


def test_names_are_text_and_no_html():
    assert words(panel("<b>", table([("<script>", 1)], ("&", "x")))) == ["<b>", "&", "x", "<script>", "1"]


def test_a_curve_of_one_value_is_drawn_and_none_is_not():
    assert curves([("a", []), ("b", [])]) == ""
    points = next(tree(curves([("a", [(0, 1.0), (1, 1.0)]), ("b", [])])).iter("polyline")).get("points")
    assert points == "0.0,150.0 500.0,150.0"


def test_a_run_that_was_not_validated_is_shown_without(run_folder):
    result = Result(run_folder, load(run_folder), 5, None, None, 1.0)
    assert "best validation" not in words(result._repr_html_())


def test_a_network_of_zeros_is_shown():
    model = CharRNN(Corpus.from_text("ab").vocabulary, 4, seed=None)
    assert "0.000" in words(model._repr_html_())
