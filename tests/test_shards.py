import numpy as np
import pytest
from reference import random_window

import charrnn
from charrnn.shards import Shards, available_cores, choose_threads


def gradients(dtype, threads, batch_size=7):
    _, x, y, a0 = random_window(0, (9, batch_size, 12, 10))
    vocabulary = charrnn.Corpus.from_text("abcdefghij").vocabulary
    model = charrnn.CharRNN(vocabulary, 12, dtype=dtype, seed=1)
    with Shards(model, 9, batch_size, threads) as shards:
        loss, flat, state = shards.loss_and_gradients(x, y, a0.astype(dtype))
        again = shards.loss_and_gradients(x, y, a0.astype(dtype))[1]
        np.testing.assert_array_equal(flat, again)
        return loss, flat.copy(), state


@pytest.mark.parametrize(("dtype", "tolerance"), [(np.float32, 1e-6), (np.float64, 1e-13)])
@pytest.mark.parametrize("threads", [2, 3, 7])
def test_any_number_of_shards_gives_the_gradients_of_one(dtype, tolerance, threads):
    loss, flat, state = gradients(dtype, 1)
    sharded_loss, sharded, sharded_state = gradients(dtype, threads)
    assert sharded_loss == pytest.approx(loss, rel=tolerance)
    assert np.abs(sharded - flat).max() <= tolerance * np.abs(flat).max()
    np.testing.assert_allclose(sharded_state, state, rtol=1e-5)


def test_the_same_number_of_shards_gives_the_same_bits():
    for _ in range(5):
        np.testing.assert_array_equal(gradients(np.float32, 3)[1], gradients(np.float32, 3)[1])


def test_one_shard_is_the_model_itself():
    _, x, y, a0 = random_window(0, (9, 7, 12, 10))
    model = charrnn.CharRNN(charrnn.Corpus.from_text("abcdefghij").vocabulary, 12, dtype=float, seed=1)
    loss, expected, state = model.loss_and_gradients(x, y, a0)
    sharded_loss, flat, sharded_state = gradients(float, 1)
    assert sharded_loss == loss
    np.testing.assert_array_equal(flat, expected.flat)
    np.testing.assert_array_equal(sharded_state, state)


def test_a_shorter_window_uses_the_same_buffers():
    _, x, y, a0 = random_window(0, (9, 4, 12, 10))
    model = charrnn.CharRNN(charrnn.Corpus.from_text("abcdefghij").vocabulary, 12, dtype=float)
    with Shards(model, 9, 4, 2) as shards:
        shards.loss_and_gradients(x, y, a0)
        loss, flat, _ = shards.loss_and_gradients(x[:3], y[:3], a0)
    expected_loss, expected, _ = model.loss_and_gradients(x[:3], y[:3], a0)
    assert loss == pytest.approx(expected_loss, rel=1e-13)
    np.testing.assert_allclose(flat, expected.flat, rtol=1e-10, atol=1e-15)


@pytest.mark.parametrize("shard", [0, 1])
def test_an_error_in_a_worker_comes_out(monkeypatch, shard):
    model = charrnn.CharRNN(charrnn.Corpus.from_text("abcdefghij").vocabulary, 12)
    _, x, y, a0 = random_window(0, (9, 4, 12, 10))
    original = charrnn.CharRNN.backward

    def failing(self, window, gradients=None, **how):
        if np.array_equal(window.y, y[:, 2 * shard : 2 * shard + 2]):
            raise MemoryError("no room")
        return original(self, window, gradients, **how)

    monkeypatch.setattr(charrnn.CharRNN, "backward", failing)
    with pytest.raises(MemoryError, match="no room"), Shards(model, 9, 4, 2) as shards:
        shards.loss_and_gradients(x, y, a0.astype(np.float32))


def test_the_number_of_threads():
    assert choose_threads(3, batch_size=8, hidden_size=1) == 3
    assert choose_threads(3, batch_size=2, hidden_size=1) == 2
    assert choose_threads("auto", batch_size=4, hidden_size=16) == 1
    assert choose_threads("auto", batch_size=64, hidden_size=512) == min(64, available_cores())
