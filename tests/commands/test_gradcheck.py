import re

import pytest

ROW = r"^d(\w+) +(B\d) +(\(.*?\)) +(\S+) +(\S+) +(\(.*?\)) +(\w+)$"


@pytest.mark.parametrize(("method", "limit"), [("complex", 1e-13), ("central", 1e-6)])
def test_gradcheck_prints_a_table(cli, method, limit):
    outcome = cli("gradcheck", "--method", method)
    assert outcome.code == 0
    rows = re.findall(ROW, outcome.out, re.M)
    assert [row[0] for row in rows] == ["W_ax", "W_aa", "b_a", "W_ya", "b_y", "x", "a0"]
    assert {row[-1] for row in rows} == {"ok"}
    assert outcome.out.splitlines()[0].endswith("charrnn/layers")
    assert max(map(len, outcome.out.splitlines()[1:])) <= 80
    assert max(float(row[4]) for row in rows) < limit


def test_there_is_no_choice_of_precision(cli):
    assert "unknown argument --dtype" in cli("gradcheck", "--dtype", "float64").err
