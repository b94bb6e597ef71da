"""Resets: a row whose state is forgotten reads as separate texts do."""

from itertools import pairwise

import numpy as np
import pytest
from reference import random_network

from charrnn.layers import CELLS, reset_forward
from charrnn.training.shards import Shards

T, B = 7, 3


def document_by_document(model, inputs, targets, state, rho):
    """The loss, the gradients and the state after, each document of each row read by itself."""
    loss, g, after = 0.0, model.parameters.like(), np.empty_like(state)
    for b in range(B):
        cuts = sorted({0, T, *np.flatnonzero(~rho[:, b])})
        for start, end in pairwise(cuts):
            before = state[b : b + 1] if rho[start, b] else model.initial_state(1)
            window = inputs[start:end, b : b + 1], targets[start:end, b : b + 1]
            of_document, gradients, after[b] = model.loss_and_gradients(*window, before)
            share = (end - start) / (T * B)
            loss += share * of_document
            g.flat += share * gradients.flat
    return loss, g, after


@pytest.mark.parametrize("cell", list(CELLS))
@pytest.mark.parametrize("recompute_every", [0, 1, 3])
@pytest.mark.parametrize("seed", range(3))
def test_a_window_with_resets_is_its_documents_one_by_one(cell, recompute_every, seed):
    model, inputs, targets, state = random_network(seed, (T, B, 5, 4), cell=cell, num_layers=2)
    rho = np.random.default_rng(seed).random((T, B)) < 0.6
    loss, g, after = model.loss_and_gradients(
        inputs, targets, state, recompute_every=recompute_every, rho=rho
    )
    expected, by_document, last = document_by_document(model, inputs, targets, state, rho)
    assert loss == pytest.approx(expected, rel=1e-13)
    np.testing.assert_allclose(after, last, rtol=0, atol=1e-14)
    for name, gradient in by_document.items():
        np.testing.assert_allclose(g[name], gradient, rtol=0, atol=1e-14 * T, err_msg=name)


@pytest.mark.parametrize("cell", list(CELLS))
def test_where_nothing_is_reset_the_bits_are_those_without(cell):
    model, *window = random_network(0, (T, B, 5, 4), cell=cell)
    loss, g, after = model.loss_and_gradients(*window)
    same, with_resets, last = model.loss_and_gradients(*window, rho=np.ones((T, B), bool))
    assert loss == same
    np.testing.assert_array_equal(g.flat, with_resets.flat)
    np.testing.assert_array_equal(after, last)


def test_a_step_without_a_reset_copies_nothing():
    a, rho = np.ones((B, 2)), np.array([[True] * B, [True, False, True]])
    assert reset_forward(a, None, 1) is a
    assert reset_forward(a, rho, 0) is a
    np.testing.assert_array_equal(reset_forward(a, rho, 1), [[1, 1], [0, 0], [1, 1]])


def test_shards_reset_their_own_rows():
    model, inputs, targets, state = random_network(0, (T, B, 5, 4))
    rho = np.random.default_rng(0).random((T, B)) < 0.6
    expected, g, after = model.loss_and_gradients(inputs, targets, state, rho=rho)
    without, _, _ = model.loss_and_gradients(inputs, targets, state)
    with Shards(model, T, B, 2) as shards:
        loss, flat, last = shards.loss_and_gradients(inputs, targets, state, rho=rho)
        np.testing.assert_allclose(flat, g.flat, rtol=0, atol=1e-14)
        np.testing.assert_allclose(last, after, rtol=0, atol=1e-14)
        assert loss == pytest.approx(expected, rel=1e-13)
        assert shards.loss_and_gradients(inputs, targets, state)[0] == pytest.approx(without, rel=1e-13)


@pytest.mark.parametrize("rho", [np.ones((T, B)), np.ones((T, B + 1), bool), np.ones(T, bool)])
def test_what_is_no_mask_of_the_window_is_named(rho):
    model, inputs, targets, state = random_network(0, (T, B, 5, 4))
    with pytest.raises(ValueError, match=r"^rho: .*expected booleans \(7, 3\)"):
        model.loss_and_gradients(inputs, targets, state, rho=rho)
