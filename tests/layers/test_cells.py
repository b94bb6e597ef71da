"""The cells beside their textbook equations, and their derivatives beside differences."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from reference import CELLS as SLOW
from reference import numeric_gradient

from charrnn import layers
from charrnn.layers import CELLS

sizes = st.tuples(st.integers(1, 6), st.integers(1, 3), st.integers(1, 4))


def window(name, seed, shape):
    """The cell; xW; the states before; W_aa and the biases; a gradient from above."""
    T, B, H = shape
    cell, rng = CELLS[name], np.random.default_rng(seed)
    shapes = cell.shapes(1, H)
    weights = {key: rng.standard_normal(shapes[key]) for key in ("W_aa", *cell.biases)}
    states = [rng.standard_normal((B, H)) for _ in cell.states]
    return cell, rng.standard_normal((T, B, cell.gates * H)), states, weights, rng.standard_normal((T, B, H))


def run(cell, xW, states, weights):
    T, B, _ = xW.shape
    memory = cell.memory(T, B, len(weights["W_aa"]), np.result_type(xW, *states, *weights.values()))
    for _ in range(2):  # the second time in memory that was used before
        memory.xW[...] = xW
        cell.forward(states, weights, memory)
    return memory


def slow(name, xW, states, weights):
    """The states at each step, by the equations as they are written in a book."""
    cell, _ = SLOW[name]
    T, B, width = xW.shape
    found = [[state] for state in states]
    for t in range(T):
        rows = [
            cell(xW[t, b], [steps[-1][b] for steps in found], {"W_ax": np.eye(width), **weights})
            for b in range(B)
        ]
        for steps, after in zip(found, zip(*rows, strict=True), strict=True):
            steps.append(np.array(after))
    return [np.array(steps) for steps in found]


@pytest.mark.parametrize("name", list(CELLS))
@given(seed=st.integers(0, 999), shape=sizes)
def test_forward_is_the_textbook_step_by_step(name, seed, shape):
    cell, xW, states, weights, _ = window(name, seed, shape)
    memory = run(cell, xW, states, weights)
    for key, steps in zip(cell.states, slow(name, xW, states, weights), strict=True):
        np.testing.assert_allclose(getattr(memory, key), steps, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("name", list(CELLS))
@given(seed=st.integers(0, 999), shape=sizes)
def test_backward_is_the_derivative_of_forward(name, seed, shape):
    cell, xW, states, weights, upstream = window(name, seed, shape)
    last = np.random.default_rng(seed).standard_normal((len(states), *states[0].shape))

    def loss():
        memory = run(cell, xW, states, weights)
        return np.sum(upstream * memory.a[1:]) + sum(
            np.sum(d * state) for d, state in zip(last, memory.state, strict=True)
        )

    memory = run(cell, xW, states, weights)
    before, dz = cell.backward(upstream.copy(), memory, weights, tuple(last)), memory.dz
    written = {key: np.full_like(array, np.nan) for key, array in weights.items()}
    cell.backward_weights(dz, memory, written)
    pairs = [(dz, xW), *zip(before, states, strict=True)]
    pairs += [(written[key], weights[key]) for key in weights]
    for analytic, x in pairs:
        np.testing.assert_allclose(analytic, numeric_gradient(loss, x), rtol=2e-6, atol=1e-8)


@pytest.mark.parametrize("name", list(CELLS))
def test_a_step_by_itself_is_a_step_of_the_window(name):
    cell, xW, states, weights, _ = window(name, 0, (5, 3, 4))
    memory = run(cell, xW, states, weights)
    xW += weights["b_a"]
    one, many = [state[1] for state in states], states
    for t in range(5):
        many, one = cell.step(xW[t], many, weights), cell.step(xW[t, 1], one, weights)
        for expected, state, row in zip(memory.part(slice(t, t + 1)).state, many, one, strict=True):
            np.testing.assert_allclose(state, expected, rtol=1e-12)
            np.testing.assert_allclose(row, expected[1], rtol=1e-12)


@pytest.mark.parametrize("name", list(CELLS))
def test_activations_at_their_ends_stay_finite(name):
    cell, xW, states, weights, upstream = window(name, 0, (4, 2, 3))
    memory = run(cell, 1e4 * xW, states, weights)
    assert all(np.isfinite(array).all() for array in memory)
    before = cell.backward(upstream, memory, weights)
    assert all(np.isfinite(d).all() for d in (*before, memory.dz))


def test_every_step_of_the_window_is_reached():
    """A loss at the last step alone moves the state that enters the window, fifty steps before."""
    _, xW, (a0,), weights, upstream = window("rnn", 0, (50, 2, 4))
    upstream[:-1] = 0
    W_aa = np.linalg.qr(weights["W_aa"])[0]
    a = layers.recurrence_forward(0.1 * xW, 0.1 * a0, W_aa, np.zeros(4))
    dz, da0 = layers.recurrence_backward(upstream, a, W_aa)
    assert np.all(np.abs(da0) > 1e-4)
    assert np.all(np.abs(dz).max(axis=(1, 2)) > 1e-3)


def test_a_gate_that_is_open_carries_what_there_is():
    """u near 1 keeps a GRU's activation; f near 1 and i near 0 an LSTM's cell, over two hundred steps."""
    T, B, H = 200, 2, 3
    b_a = np.repeat([0.0, 40.0, 0.0], H)
    a, _, _ = layers.gru_forward(
        np.zeros((T, B, 3 * H)), np.full((B, H), 0.7), np.ones((H, 3 * H)), b_a, np.ones(H)
    )
    np.testing.assert_allclose(a[-1], 0.7, rtol=1e-10)
    b_a = np.repeat([-40.0, 40.0, 0.0, 0.0], H)
    zeros, start = np.zeros((B, H)), np.full((B, H), 0.7)
    _, c, _, _ = layers.lstm_forward(np.zeros((T, B, 4 * H)), zeros, start, np.zeros((H, 4 * H)), b_a)
    np.testing.assert_allclose(c[-1], 0.7, rtol=1e-10)


@pytest.mark.parametrize("name", list(CELLS))
def test_a_cell_says_what_it_keeps(name):
    cell = CELLS[name]
    memory = cell.memory(6, 2, 5, np.float32)
    assert all(getattr(memory, state).shape == (7, 2, 5) for state in cell.states)
    assert len(memory.state) == len(cell.states)
    part = memory.part(slice(2, 4))
    assert part.a.shape == (3, 2, 5)
    assert all(np.shares_memory(some, whole) for some, whole in zip(part, memory, strict=True))
    for kept, T in ((memory, 6), (part, 2)):
        assert kept.xW.shape == kept.dz.shape == (T, 2, cell.gates * 5)
    for key, starts in cell.biases.items():
        assert cell.shapes(2, 5)[key] == (len(starts) * 5,)


def test_complex_arrays_carry_a_derivative():
    """The imaginary part of f(x + ih)/h is f'(x)."""
    for name in CELLS:
        cell, xW, states, weights, upstream = window(name, 1, (4, 2, 3))
        memory = run(cell, xW, states, weights)
        da0, *_ = cell.backward(upstream.copy(), memory, weights)
        moved = states[0].astype(complex)
        moved[1, 2] += 1e-30j
        slope = np.sum(upstream * run(cell, xW, [moved, *states[1:]], weights).a[1:].imag) / 1e-30
        np.testing.assert_allclose(da0[1, 2], slope, rtol=1e-13)
