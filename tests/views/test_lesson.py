"""The lesson, without a browser."""

import re

import numpy as np
import pytest

from charrnn.cli import main
from charrnn.proofs.calculus import contract
from charrnn.proofs.equations import EQUATIONS
from charrnn.proofs.exercises import exercises
from charrnn.views.lesson import lesson_data
from charrnn.views.page import asset


def test_the_tensors_contract_to_the_gradients_that_are_shown():
    for rule in lesson_data()["rules"].values():
        J, G, dW = (np.array(rule[name]) for name in ("J", "G", "dW"))
        np.testing.assert_allclose(contract(G, J), dW, rtol=1e-13, atol=1e-15)


@pytest.mark.parametrize("cell", ["rnn", "gru", "lstm"])
def test_the_code_that_is_shown_stands_in_the_layers(cell):
    code = lesson_data()["code"][cell]
    asked = [tag for tag in EQUATIONS if tag[0] in {"rnn": "FB", "gru": "G", "lstm": "L"}[cell]]
    assert [tag for tag in asked if tag not in code] == []
    for tag, lines in code.items():
        assert f"({tag})" in lines
        assert '"""' not in lines


def test_every_exercise_is_asked():
    asked = re.findall(r'data-exercise="(\w+)"', asset("lesson.html"))
    assert asked == list(exercises(np.random.default_rng(0)))


def test_the_same_seed_makes_the_same_file_and_other_flags_are_refused(tmp_path, capsys):
    for name in ("a.html", "b.html"):
        assert main(["derive", "--page", str(tmp_path / name), "--seed", "3"]) == 0
    page = (tmp_path / "a.html").read_bytes()
    assert page == (tmp_path / "b.html").read_bytes()
    assert len(page) < 400_000
    assert not re.search(rb"https?://(?!www.w3.org/2000/svg)", page)
    assert main(["derive", "--page", str(tmp_path / "c.html"), "--cell", "gru"]) == 2
    assert "--cell has no effect with --page" in capsys.readouterr().err
    assert main(["derive", "--page", str(tmp_path / "none" / "c.html")]) == 2
    assert "cannot be written" in capsys.readouterr().err
