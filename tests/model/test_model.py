import math
import tracemalloc

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from reference import loss_and_gradients, network_loss, numeric_gradient, random_network, random_window

import charrnn
from charrnn.config import SampleSettings
from charrnn.layers import CELLS
from charrnn.model import plain, segments
from charrnn.model.initial import INITS
from charrnn.model.sampling import stepper
from charrnn.text.vocabulary import Vocabulary

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
    space, gradients = model.space(shape[0] + 2, shape[1]), model.parameters.like()
    for _ in range(2):  # the same memory again, larger than the window
        loss, window = model.forward(x, y, a0, space)
        da0 = model.backward(window, gradients)
        np.testing.assert_allclose(loss, expected_loss, rtol=1e-12)
        for name, analytic in {**gradients, "x": model.input_gradient(window), "a0": da0}.items():
            np.testing.assert_allclose(analytic, expected[name], rtol=1e-9, atol=1e-13, err_msg=name)


FORMS = [
    {"cell": cell, "num_layers": layers, "embedding_size": embedding}
    for cell in CELLS
    for layers, embedding in ((1, 0), (1, 3), (2, 0), (3, 2))
]


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("dropped", [False, True])
def test_a_network_of_any_form_equals_the_plain_one(form, dropped):
    model, x, y, state = random_network(1, (5, 3, 4, 6), **form)
    masks = model.dropout_masks(np.random.default_rng(0).spawn(3), 0.4, 5) if dropped else None
    expected, after = network_loss(model, x, y, state, masks)
    space, gradients = model.space(7, 3, dropout=dropped), model.parameters.like()
    for _ in range(2):  # the same memory again, larger than the window
        loss, window = model.forward(x, y, state, space, masks)
        np.testing.assert_allclose(loss, expected, rtol=1e-12)
        np.testing.assert_allclose(window.state, after, rtol=1e-12)
        dstate = model.backward(window, gradients)

    def loss_of():
        return model.forward(x, y, state, masks=masks)[0]

    numeric = numeric_gradient(loss_of, model.parameters.flat)
    np.testing.assert_allclose(gradients.flat, numeric, rtol=1e-5, atol=1e-9)
    np.testing.assert_allclose(dstate, numeric_gradient(loss_of, state), rtol=1e-5, atol=1e-9)


def test_two_windows_with_the_state_carried_are_one_long_window():
    parameters, x, y, a0 = random_window(3, (8, 2, 5, 6))
    model = model_with(parameters)
    whole, _, end = model.loss_and_gradients(x, y, a0)
    first, _, middle = model.loss_and_gradients(x[:5], y[:5], a0)
    second, _, last = model.loss_and_gradients(x[5:], y[5:], middle)
    np.testing.assert_allclose(5 * first + 3 * second, 8 * whole, rtol=1e-13)
    np.testing.assert_allclose(last, end, rtol=1e-13)


@pytest.mark.parametrize("form", FORMS)
def test_reading_character_by_character_is_reading_a_window(form):
    model, x, _, a0 = random_network(4, (6, 3, 5, 6), **form)
    logits, _ = model.logits(x, a0)
    together, alone = stepper(model, 3), stepper(model)
    states, state = a0, a0[1]
    for t in range(6):
        step, states = together(x[t], states)
        np.testing.assert_allclose(step, logits[t], rtol=1e-12)
        step, state = alone(x[t, 1], state)
        np.testing.assert_allclose(step, logits[t, 1], rtol=1e-12)


@pytest.mark.parametrize("every", [1, 2, 3, 5, 11, 12, 13])
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("dropped", [False, True])
def test_keeping_every_kth_activation_gives_the_same_gradients(every, form, dropped):
    model, x, y, a0 = random_network(6, (12, 3, 5, 6), **form)
    masks = model.dropout_masks(np.random.default_rng(0).spawn(3), 0.4, 12) if dropped else None
    draw_masks = (lambda steps: masks[:, steps]) if dropped else None
    loss, expected, after = model.loss_and_gradients(x, y, a0, draw_masks=draw_masks)
    space, gradients = model.space(every, 3, dropout=dropped), model.parameters.like()
    for _ in range(2):  # the second time in memory that was used before
        part_loss, part_after = segments.loss_and_gradients(
            model, x, y, a0, gradients, draw_masks=draw_masks, recompute_every=every, space=space
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
        model.loss_and_gradients(text[:-1], text[1:], recompute_every=every)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < peaks[0] / 15  # 50 + 2500/50 steps in place of 2500


@pytest.mark.parametrize("V", [2, 3, 26, 65, 256, 2000])
@pytest.mark.parametrize("H", [1, 16, 256])
@pytest.mark.parametrize(
    "form",
    [
        *({"init": init} for init in INITS),
        {"cell": "lstm"},
        {"cell": "gru", "num_layers": 2, "embedding_size": 8},
    ],
)
def test_the_first_loss_is_that_of_knowing_nothing(V, H, form):
    rng = np.random.default_rng(0)
    text = rng.choice(V, 201, p=rng.dirichlet(np.ones(V)))  # some characters common, some rare
    model = charrnn.CharRNN(vocabulary(V), H, seed=1, **form)
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


def test_w_ax_starts_as_asked():
    for form, scale in (({}, 2), ({"input_scale": 0.5}, 0.5), ({"input_scale": 3, "cell": "gru"}, 3)):
        one_hot = charrnn.CharRNN(vocabulary(50), 200, **form).parameters["W_ax"]
        assert one_hot.std() == pytest.approx(scale, rel=0.03)
        model = charrnn.CharRNN(vocabulary(50), 200, embedding_size=100, num_layers=2, **form)
        into_z = model.parameters["W_ex"] @ model.parameters["W_ax"]
        assert into_z.std() == pytest.approx(scale, rel=0.05)
        assert model.parameters["W_ax[2]"].std() == pytest.approx(scale / 200**0.5, rel=0.03)


def test_each_gate_starts_as_asked_and_the_forget_gate_open():
    model = charrnn.CharRNN(vocabulary(5), 40, cell="lstm", num_layers=2, embedding_size=7)
    for name in ("W_aa", "W_aa[2]"):
        for gate in np.split(model.parameters[name], 4, axis=1):
            np.testing.assert_allclose(gate @ gate.T, np.eye(40), atol=1e-5)
    for name in ("b_a", "b_a[2]"):
        np.testing.assert_array_equal(model.parameters[name], np.repeat([0, 1, 0, 0], 40))
    shapes = {name: array.shape for name, array in model.parameters.items()}
    assert shapes["W_ex"] == (5, 7)
    assert shapes["W_ax"] == (7, 160)
    assert shapes["W_ax[2]"] == (40, 160)


@pytest.mark.parametrize(
    ("form", "match"),
    [
        ({"cell": "elman"}, "'rnn', 'gru' or 'lstm'"),
        ({"num_layers": 0}, "`num_layers` 0"),
        ({"embedding_size": -1}, "-1"),
    ],
)
def test_forms_that_are_none_are_refused(form, match):
    with pytest.raises(charrnn.CharRNNError, match=match):
        charrnn.CharRNN(vocabulary(5), 4, **form)


@pytest.mark.parametrize("form", FORMS)
def test_what_a_step_takes_is_counted(form):
    model = charrnn.CharRNN(vocabulary(5), 4, **form)
    for dropout in (False, True):
        few, many = (model.space(T, 3, dropout=dropout).nbytes for T in (10, 20))
        assert model.bytes_per_step(3, dropout=dropout) == (many - few) / 10
    masks = model.dropout_masks(np.random.default_rng(0).spawn(3), 0.5, 10)
    assert masks.nbytes == sum(array.nbytes for array in model.space(10, 3, dropout=True).dropped)


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
    with pytest.raises(charrnn.CharRNNError, match="float32"):
        charrnn.CharRNN(vocabulary(5), 4, dtype="int32")


def test_the_plain_network_trains_and_has_the_gradients_of_the_fast_one(capsys):
    plain.main()
    lines = capsys.readouterr().out.splitlines()
    losses = [float(line.split()[3]) for line in lines[:-1]]
    assert losses[0] > 2.5
    assert losses == sorted(losses, reverse=True)
    assert losses[-1] < 0.2
    assert float(lines[-1].split()[-1]) < 1e-14


def test_the_keywords_of_sampling_are_the_settings():
    assert set(SampleSettings.__annotations__) == set(charrnn.SampleConfig.model_fields)
