import numpy as np
import pytest
from reference import numeric_gradient

from charrnn.layers import dropout_backward, dropout_forward, dropout_masks


def generators(*seeds):
    return [np.random.default_rng(seed) for seed in seeds]


@pytest.mark.parametrize("rate", [0.1, 0.5, 0.8])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_masks_drop_at_the_rate_and_keep_the_mean(rate, dtype):
    masks = dropout_masks(generators(*range(50)), rate, 2, 40, 100, dtype)
    assert masks.shape == (2, 40, 50, 100)
    assert masks.dtype == dtype
    np.testing.assert_allclose(np.unique(masks), [0, 1 / (1 - rate)], rtol=1e-6)
    n = masks.size
    assert abs((masks == 0).mean() - rate) < 5 * np.sqrt(rate * (1 - rate) / n)
    for axis in range(4):  # nowhere is a step, a layer, a row or a unit dropped more than another
        others = tuple({0, 1, 2, 3} - {axis})
        spread = np.sqrt(rate * (1 - rate) / (n / masks.shape[axis]))
        assert np.abs((masks == 0).mean(axis=others) - rate).max() < 5 * spread


def test_each_row_has_a_generator_of_its_own():
    both = dropout_masks(generators(3, 4), 0.5, 2, 5, 7, float)
    np.testing.assert_array_equal(both[:, :, 1:], dropout_masks(generators(4), 0.5, 2, 5, 7, float))
    assert not np.array_equal(both[:, :, 0], both[:, :, 1])


def test_the_pair():
    rng = np.random.default_rng(0)
    a, upstream = rng.standard_normal((2, 4, 3, 5))
    m = dropout_masks(generators(1, 2, 3), 0.4, 1, 4, 5, float)[0]
    out = np.full_like(a, np.nan)
    assert dropout_forward(a, m, out=out) is out
    np.testing.assert_array_equal(out, np.where(m > 0, a / 0.6, 0))
    expected = numeric_gradient(lambda: np.sum(upstream * dropout_forward(a, m)), a)
    np.testing.assert_allclose(dropout_backward(upstream.copy(), m), expected, rtol=1e-7, atol=1e-9)
