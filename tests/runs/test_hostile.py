import os
from pathlib import Path

import pytest
from hostile import Place, attempt

pytestmark = pytest.mark.skipif(
    not Path("/proc/self/clear_refs").exists(), reason="memory, as Linux tells it"
)


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    return Place.make(tmp_path_factory.mktemp("hostile"))


@pytest.mark.parametrize("first", range(0, 1000, 50))
def test_a_strangers_run_costs_a_line_or_two_and_touches_nothing_outside(place, monkeypatch, first):
    """A thousand of them; tests/benchmarks/hostile.py tries more, and repeats one by its seed."""
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)  # takes its time; of no use where nothing dies
    wrong = {seed: tried for seed in range(first, first + 50) if (tried := attempt(place, seed)).faults}
    assert not wrong
