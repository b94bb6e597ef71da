"""A run that an earlier version has written goes on to the numbers that version had."""

import shutil
from pathlib import Path

import numpy as np
import pytest

from charrnn.npz import read_arrays

BEFORE = Path(__file__).parent / "before"


def test_a_run_of_an_earlier_version_is_resumed(cli, tmp_path):
    run = tmp_path / "run"
    shutil.copytree(BEFORE / "run", run)
    assert cli("sample", run, "--length", 5).code == 0
    assert cli("train", "--resume", "--out", run).code == 0
    arrays, finished = read_arrays(run / "last.npz"), read_arrays(BEFORE / "finished.npz")
    assert finished.keys() <= arrays.keys()
    for name in finished.keys() - {"position"}:
        if finished[name].dtype.kind == "f":  # to the bit where it was written; processors round differently
            assert arrays[name] == pytest.approx(finished[name], rel=1e-9, abs=1e-12), name
        else:
            np.testing.assert_array_equal(arrays[name], finished[name])
