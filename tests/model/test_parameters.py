import copy
import pickle

import numpy as np
import pytest

from charrnn.model.parameters import Parameters

SHAPES = {"W": (2, 3), "b": (3,)}


def test_names_are_views_of_the_flat_vector():
    p = Parameters(SHAPES, np.float64)
    p["W"][1, 2] = 7
    p.flat[-1] = 8
    assert p.flat[5] == 7
    assert p["b"][2] == 8
    assert dict(p).keys() == SHAPES.keys()
    assert len(p) == 2


def test_gradients_have_the_same_form():
    p = Parameters(SHAPES, np.float32)
    g = p.like()
    assert g.flat.dtype == np.float32
    assert g["W"].shape == (2, 3)
    assert not np.shares_memory(p.flat, g.flat)
    flat = np.arange(9, dtype=np.float32)
    assert np.shares_memory(p.like(flat)["b"], flat)


def test_a_flat_vector_must_fit():
    with pytest.raises(ValueError, match=r"\(9,\)"):
        Parameters(SHAPES, flat=np.zeros(8))


@pytest.mark.parametrize("copied", [copy.copy, copy.deepcopy, lambda p: pickle.loads(pickle.dumps(p))])
def test_a_copy_is_as_whole_as_the_original(copied):
    p = Parameters(SHAPES, np.float64)
    p.flat[...] = np.arange(9)
    q = copied(p)
    np.testing.assert_array_equal(q.flat, p.flat)
    q.flat[0] = 99
    assert q["W"][0, 0] == 99
    assert np.shares_memory(q.flat, q["b"])
