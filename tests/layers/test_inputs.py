import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from charrnn.layers import inputs_backward, inputs_backward_x, inputs_forward

sizes = st.tuples(st.integers(1, 6), st.integers(1, 4), st.integers(1, 5), st.integers(2, 9))


def window(seed, shape):
    T, B, H, V = shape
    rng = np.random.default_rng(seed)
    x = rng.integers(0, V, (T, B))
    return x, np.eye(V)[x], rng.standard_normal((V, H)), rng.standard_normal((T, B, H))


@given(st.integers(0, 999), sizes)
def test_a_gather_of_rows_is_the_product_with_one_hot_rows(seed, shape):
    x, rows, W_ax, _ = window(seed, shape)
    np.testing.assert_array_equal(inputs_forward(x, W_ax), rows @ W_ax)
    np.testing.assert_array_equal(inputs_forward(rows, W_ax), rows @ W_ax)


@given(st.integers(0, 999), sizes)
def test_the_gradient_is_the_product_of_one_hot_rows_with_dz(seed, shape):
    x, rows, W_ax, dz = window(seed, shape)
    expected = np.einsum("tbv,tbh->vh", rows, dz)
    dW_ax = np.full_like(W_ax, np.nan)
    for _ in range(2):  # what was there before does not matter
        inputs_backward(dz, x, dW_ax)
        np.testing.assert_allclose(dW_ax, expected, rtol=1e-12, atol=1e-12)
    np.testing.assert_array_equal(inputs_backward(dz, x, np.empty_like(W_ax)), dW_ax)


@given(st.integers(0, 999), sizes)
def test_the_gradient_of_the_inputs_is_that_of_a_linear_map(seed, shape):
    _, rows, W_ax, dz = window(seed, shape)
    dx = inputs_backward_x(dz, W_ax)
    direction = np.random.default_rng(seed).standard_normal(rows.shape)
    along = np.sum(dz * inputs_forward(direction, W_ax))
    np.testing.assert_allclose(np.sum(dx * direction), along, rtol=1e-10, atol=1e-10)
