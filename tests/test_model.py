import math
import tracemalloc

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from reference import loss_and_gradients, random_window

import charrnn
from charrnn.config import SampleSettings
from charrnn.model import INITS
from charrnn.text import Vocabulary

sizes = st.tuples(st.integers(1, 7), st.integers(1, 4), st.integers(1, 6), st.integers(2, 8))


def vocabulary(V):
    return Vocabulary(np.arange(97, 97 + V, dtype=np.uint32))


def model_with(parameters):
    V, H = parameters["W_ax"].shape
    model = charrnn.CharRNN(vocabulary(V), H, dtype=np.float64)
    for name, value in parameters.items():
        model.parameters[name][...] = value
    return model


@given(st.integers(0, 999), sizes)
def test_a_window_equals_the_loop_by_loop_bptt(seed, shape):
    parameters, x, y, a0 = random_window(seed, shape)
    expected_loss, expected = loss_and_gradients(parameters, x, y, a0)
    model = model_with(parameters)
    buffers, gradients = model.buffers(shape[0] + 2, shape[1]), model.parameters.like()
    for _ in range(2):  # the same buffers again, larger than the window
        loss, window = model.forward(x, y, a0, buffers)
        _, dx, da0 = model.backward(window, gradients, input_gradient=True)
        np.testing.assert_allclose(loss, expected_loss, rtol=1e-12)
        for name, analytic in {**gradients, "x": dx, "a0": da0}.items():
            np.testing.assert_allclose(analytic, expected[name], rtol=1e-9, atol=1e-13, err_msg=name)


def test_two_windows_with_the_state_carried_are_one_long_window():
    parameters, x, y, a0 = random_window(3, (8, 2, 5, 6))
    model = model_with(parameters)
    whole, _, end = model.loss_and_gradients(x, y, a0)
    first, _, middle = model.loss_and_gradients(x[:5], y[:5], a0)
    second, _, last = model.loss_and_gradients(x[5:], y[5:], middle)
    np.testing.assert_allclose(5 * first + 3 * second, 8 * whole, rtol=1e-13)
    np.testing.assert_allclose(last, end, rtol=1e-13)


def test_reading_character_by_character_is_reading_a_window():
    parameters, x, _, a0 = random_window(4, (6, 3, 5, 6))
    model = model_with(parameters)
    logits = model.logits(x, a0).logits
    together, alone = model.stepper(3), model.stepper()
    states, state = a0, a0[1]
    for t in range(6):
        step, states = together(x[t], states)
        np.testing.assert_allclose(step, logits[t], rtol=1e-12)
        step, state = alone(x[t, 1], state)
        np.testing.assert_allclose(step, logits[t, 1], rtol=1e-12)


@pytest.mark.parametrize("every", [1, 2, 3, 5, 11, 12, 13])
def test_keeping_every_kth_activation_gives_the_same_gradients(every):
    parameters, x, y, a0 = random_window(6, (12, 3, 5, 6))
    model = model_with(parameters)
    loss, expected, after = model.loss_and_gradients(x, y, a0)
    memory = {"buffers": model.buffers(every, 3), "gradients": model.parameters.like()}
    for _ in range(2):  # the second time in memory that was used before
        part_loss, gradients, part_after = model.loss_and_gradients(
            x, y, a0, checkpoint_every=every, **memory
        )
        assert part_loss == pytest.approx(loss, rel=1e-13)
        np.testing.assert_array_equal(part_after, after)
        for name, gradient in expected.items():
            np.testing.assert_allclose(gradients[name], gradient, atol=1e-12 * np.abs(gradient).max(), rtol=0)


def test_keeping_every_kth_activation_takes_less_memory():
    model = charrnn.CharRNN(vocabulary(10), 16)
    text = np.random.default_rng(0).integers(0, 10, (2501, 4))
    peaks = []
    for every in (0, 50):
        tracemalloc.start()
        model.loss_and_gradients(text[:-1], text[1:], checkpoint_every=every)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < peaks[0] / 15  # 50 + 2500/50 steps in place of 2500


@pytest.mark.parametrize("V", [2, 3, 26, 65, 256, 2000])
@pytest.mark.parametrize("H", [1, 16, 256])
@pytest.mark.parametrize("init", INITS)
def test_the_first_loss_is_that_of_knowing_nothing(V, H, init):
    rng = np.random.default_rng(0)
    text = rng.choice(V, 201, p=rng.dirichlet(np.ones(V)))  # some characters common, some rare
    model = charrnn.CharRNN(vocabulary(V), H, init=init, seed=1)
    loss, _, _ = model.loss_and_gradients(text[:-1, None], text[1:, None])
    assert loss == pytest.approx(math.log(V), rel=0.02)


def test_w_aa_starts_as_asked():
    orthogonal = charrnn.CharRNN(vocabulary(5), 40, init_scale=0.5).parameters["W_aa"]
    np.testing.assert_allclose(orthogonal @ orthogonal.T, 0.25 * np.eye(40), atol=1e-6)
    identity = charrnn.CharRNN(vocabulary(5), 40, init="identity", init_scale=0.5).parameters["W_aa"]
    np.testing.assert_array_equal(identity, 0.5 * np.eye(40))
    normal = charrnn.CharRNN(vocabulary(5), 200, init="normal").parameters["W_aa"]
    assert normal.std() == pytest.approx(200**-0.5, rel=0.05)
    with pytest.raises(charrnn.CharRNNError, match="orthogonal"):
        charrnn.CharRNN(vocabulary(5), init="magic")


def test_the_seed_is_all_that_chance_depends_on():
    weights = [charrnn.CharRNN(vocabulary(5), 9, seed=seed).parameters.flat for seed in (1, 1, 2)]
    np.testing.assert_array_equal(weights[0], weights[1])
    assert not np.array_equal(weights[0], weights[2])


def test_float32_and_float64_agree():
    parameters, x, y, a0 = random_window(5, (20, 4, 16, 10))
    double = model_with(parameters)
    single = charrnn.CharRNN(double.vocabulary, 16)
    single.parameters.flat[...] = double.parameters.flat
    _, expected, _ = double.loss_and_gradients(x, y, a0)
    _, gradients, state = single.loss_and_gradients(x, y, a0.astype(np.float32))
    assert gradients.flat.dtype == state.dtype == np.float32
    np.testing.assert_allclose(gradients.flat, expected.flat, atol=1e-6)


@pytest.mark.parametrize(
    ("inputs", "targets"),
    [
        ([[0], [5]], [[0], [1]]),  # 5 is no character
        ([[0], [-1]], [[0], [1]]),
        ([[0.0], [1.0]], [[0], [1]]),
        ([0, 1], [1, 0]),
        ([[0], [1]], [[0, 1], [1, 0]]),
        (np.zeros((0, 1), int), np.zeros((0, 1), int)),
    ],
)
def test_windows_that_are_none_are_refused(inputs, targets):
    with pytest.raises(ValueError, match="inputs"):
        charrnn.CharRNN(vocabulary(5), 4).loss_and_gradients(inputs, targets)


def test_a_state_of_another_shape_is_refused():
    model = charrnn.CharRNN(vocabulary(5), 4)
    with pytest.raises(ValueError, match=r"expected \(2, 4\)"):
        model.loss_and_gradients(np.zeros((3, 2), int), np.zeros((3, 2), int), np.zeros((1, 4)))
    with pytest.raises(charrnn.CharRNNError, match="int32"):
        charrnn.CharRNN(vocabulary(5), 4, dtype="int32")


def test_the_keywords_of_sampling_are_the_settings():
    assert set(SampleSettings.__annotations__) == set(charrnn.SampleConfig.model_fields)
