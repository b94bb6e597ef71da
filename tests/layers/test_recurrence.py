import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from reference import numeric_gradient

from charrnn.layers import recurrence_backward, recurrence_backward_weights, recurrence_forward

sizes = st.tuples(st.integers(1, 6), st.integers(1, 3), st.integers(1, 5))


def window(seed, shape):
    T, B, H = shape
    rng = np.random.default_rng(seed)
    xW, upstream = rng.standard_normal((2, T, B, H))
    return xW, rng.standard_normal((B, H)), rng.standard_normal((H, H)), rng.standard_normal(H), upstream


def slow_forward(xW, a0, W_aa, b_a):
    a = [a0]
    for step in xW:
        a.append(np.tanh(step + a[-1] @ W_aa + b_a))
    return np.array(a)


@given(st.integers(0, 999), sizes)
def test_forward_is_the_recurrence_step_by_step(seed, shape):
    xW, a0, W_aa, b_a, _ = window(seed, shape)
    expected = slow_forward(xW, a0, W_aa, b_a)
    np.testing.assert_allclose(recurrence_forward(xW, a0, W_aa, b_a), expected, rtol=1e-13, atol=1e-15)
    T, B, H = shape
    buffer = np.full((T + 1, B, H), np.nan)
    for _ in range(2):
        buffer[1:] = xW
        recurrence_forward(buffer[1:], a0, W_aa, b_a, a=buffer)  # in place
        np.testing.assert_allclose(buffer, expected, rtol=1e-13, atol=1e-15)


@given(st.integers(0, 999), sizes)
def test_backward_is_the_derivative_of_forward(seed, shape):
    xW, a0, W_aa, b_a, upstream = window(seed, shape)

    def loss():
        return np.sum(upstream * recurrence_forward(xW, a0, W_aa, b_a)[1:])

    a = recurrence_forward(xW, a0, W_aa, b_a)
    dW_aa, db_a, dz = np.empty_like(W_aa), np.empty_like(b_a), np.empty_like(xW)
    for _ in range(2):
        _, da0 = recurrence_backward(upstream.copy(), a, W_aa, dz=dz)
        recurrence_backward_weights(dz, a, dW_aa, db_a)
        for analytic, x in ((dW_aa, W_aa), (db_a, b_a), (dz, xW), (da0, a0)):
            np.testing.assert_allclose(analytic, numeric_gradient(loss, x), rtol=1e-6, atol=1e-8)


def test_every_step_of_the_window_is_reached():
    """A loss at the last step alone moves the state that enters the window, fifty steps before."""
    xW, a0, W_aa, b_a, upstream = window(0, (50, 2, 4))
    W_aa = np.linalg.qr(W_aa)[0]
    upstream[:-1] = 0
    a = recurrence_forward(0.1 * xW, 0.1 * a0, W_aa, 0 * b_a)
    dz, da0 = recurrence_backward(upstream, a, W_aa)
    assert np.all(np.abs(da0) > 1e-4)
    assert np.all(np.abs(dz).max(axis=(1, 2)) > 1e-3)


def test_complex_arrays_carry_a_derivative():
    """The imaginary part of f(x + ih)/h is f'(x): the layer breaks on no complex number."""
    xW, a0, W_aa, b_a, upstream = window(1, (4, 2, 3))
    a = recurrence_forward(xW, a0, W_aa, b_a)
    _, da0 = recurrence_backward(upstream.copy(), a, W_aa)
    moved = a0.astype(complex)
    moved[1, 2] += 1e-30j
    out = recurrence_forward(xW.astype(complex), moved, W_aa.astype(complex), b_a.astype(complex))
    derivative = np.sum(upstream * out[1:].imag) / 1e-30
    np.testing.assert_allclose(da0[1, 2], derivative, rtol=1e-13)
