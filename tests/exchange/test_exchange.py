"""Weights under PyTorch's names and back; test_torch.py asks PyTorch whether they mean the same there."""

import numpy as np
import pytest
from reference import random_network

from charrnn.errors import RunError
from charrnn.exchange.pytorch import from_torch, to_torch

FORMS = [
    {"cell": "rnn", "num_layers": 1},
    {"cell": "gru", "num_layers": 3, "embedding_size": 4},
    {"cell": "lstm", "num_layers": 2},
]


@pytest.fixture(params=FORMS, ids=str)
def model(request):
    return random_network(0, (1, 1, 5, 7), **request.param)[0]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_there_and_back_is_the_same_network(model, dtype):
    first, second = model.like(dtype), model.like(dtype)
    first.parameters.flat[...] = model.parameters.flat
    arrays = to_torch(first)
    assert {array.dtype for array in arrays.values()} == {np.dtype(dtype)}
    from_torch(second, arrays)
    assert np.array_equal(first.parameters.flat, second.parameters.flat)


def test_what_comes_out_are_copies(model):
    before = model.parameters.flat.copy()
    for array in to_torch(model).values():
        array[...] = 9
    assert np.array_equal(model.parameters.flat, before)


def test_of_two_biases_the_sum_is_taken_but_for_the_part_that_a_gru_keeps_apart(model):
    arrays, H = to_torch(model), model.config.hidden_size
    arrays["rnn.bias_hh_l0"] = arrays["rnn.bias_hh_l0"] + 1
    b_a = model.parameters["b_a"] + 1
    if model.config.cell == "gru":
        b_a[2 * H :] -= 1
        b_n = model.parameters["b_n"] + 1
    from_torch(model, arrays)
    np.testing.assert_allclose(model.parameters["b_a"], b_a)
    if model.config.cell == "gru":
        np.testing.assert_allclose(model.parameters["b_n"], b_n)


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("rnn.weight_hh_l0", None, "array rnn.weight_hh_l0 is missing"),
        ("rnn.bias_ih_l7", np.zeros(5), "unexpected array rnn.bias_ih_l7"),
        ("dense.weight", np.zeros((5, 7)), r"dense.weight has the shape \(5, 7\), expected \(7, 5\)"),
    ],
)
def test_arrays_of_another_network_are_refused_and_change_nothing(model, name, value, says):
    arrays, before = to_torch(model), model.parameters.flat.copy()
    arrays = {key: array + 1 for key, array in arrays.items()} | {name: value}
    if value is None:
        del arrays[name]
    with pytest.raises(RunError, match=says):
        from_torch(model, arrays)
    assert np.array_equal(model.parameters.flat, before)
