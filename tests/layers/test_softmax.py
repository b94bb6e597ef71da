import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from reference import numeric_gradient

from charrnn.layers import (
    cross_entropy_backward,
    cross_entropy_forward,
    dense_backward,
    dense_forward,
    softmax_forward,
)

sizes = st.tuples(st.integers(1, 5), st.integers(1, 4), st.integers(1, 5), st.integers(2, 9))


@given(st.integers(0, 999), sizes)
def test_dense_pair(seed, shape):
    T, B, H, V = shape
    rng = np.random.default_rng(seed)
    a, upstream = rng.standard_normal((T, B, H)), rng.standard_normal((T, B, V))
    W_ya, b_y = rng.standard_normal((H, V)), rng.standard_normal(V)
    slow = np.array([[row @ W_ya + b_y for row in step] for step in a])
    np.testing.assert_allclose(dense_forward(a, W_ya, b_y), slow, rtol=1e-12, atol=1e-12)
    dW_ya, db_y = np.empty_like(W_ya), np.empty_like(b_y)
    for _ in range(2):
        da = dense_backward(upstream, a, W_ya, dW_ya, db_y)
        for analytic, x in ((da, a), (dW_ya, W_ya), (db_y, b_y)):
            numeric = numeric_gradient(lambda: np.sum(upstream * dense_forward(a, W_ya, b_y)), x)
            np.testing.assert_allclose(analytic, numeric, rtol=1e-6, atol=1e-8)


@given(st.integers(0, 999), sizes)
def test_cross_entropy_pair(seed, shape):
    T, B, _, V = shape
    rng = np.random.default_rng(seed)
    logits, y = 3 * rng.standard_normal((T, B, V)), rng.integers(0, V, (T, B))
    slow = 0.0
    for t in range(T):
        for b in range(B):
            slow -= np.log(np.exp(logits[t, b, y[t, b]]) / np.exp(logits[t, b]).sum()) / (T * B)
    for _ in range(2):
        loss, y_hat = cross_entropy_forward(logits, y)
        np.testing.assert_allclose(loss, slow, rtol=1e-12)
        dlogits = cross_entropy_backward(y_hat, y)
        numeric = numeric_gradient(lambda: cross_entropy_forward(logits, y)[0], logits)
        np.testing.assert_allclose(dlogits, numeric, rtol=1e-5, atol=1e-9)
    in_place, _ = cross_entropy_forward(logits, y, out=logits)
    assert in_place == loss


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("size", [1e4, 1e30])
def test_the_loss_is_exact_for_huge_logits(dtype, size):
    logits = np.array([[[size, -size, 0.0]], [[-size, -size, -size]]], dtype)
    loss, y_hat = cross_entropy_forward(logits, np.array([[0], [1]]))
    np.testing.assert_allclose(loss, np.log(3) / 2, rtol=1e-6)
    np.testing.assert_allclose(y_hat, [[[1, 0, 0]], [[1 / 3, 1 / 3, 1 / 3]]], rtol=1e-6)
    loss, y_hat = cross_entropy_forward(logits, np.array([[1], [2]]))
    np.testing.assert_allclose(loss, (2 * size + np.log(3)) / 2, rtol=1e-6)
    assert np.isfinite(cross_entropy_backward(y_hat, np.array([[1], [2]]))).all()


def test_the_mean_of_single_precision_losses_is_taken_in_double_precision():
    logits = np.array([[[0, -(2.0**24)]], [[0, -101]]], np.float32)
    loss, _ = cross_entropy_forward(logits, np.array([[1], [1]]))
    assert float(loss) == (2**24 + 101) / 2  # in float32 the sum would be even


def test_a_small_loss_beside_a_huge_logit_is_not_rounded_away():
    """log Σ exp is taken after the shift: 1e4 + 1e-4 would lose its small part in float32."""
    logits = np.array([[[1e4, 1e4 - 8]]], np.float32)
    loss, _ = cross_entropy_forward(logits, np.array([[0]]))
    np.testing.assert_allclose(loss, np.log1p(np.exp(-8)), rtol=1e-3)


def test_softmax_keeps_the_imaginary_part_that_is_a_derivative():
    logits = np.array([[2.0, -1.0, 0.5]])
    moved = logits + np.array([[0, 1e-30j, 0]])
    y_hat, _, _ = softmax_forward(logits)
    jacobian = np.diag(y_hat[0]) - np.outer(y_hat[0], y_hat[0])
    np.testing.assert_allclose(softmax_forward(moved)[0].imag[0] / 1e-30, jacobian[1], rtol=1e-14)
