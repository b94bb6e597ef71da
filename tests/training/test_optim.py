import math

import numpy as np
import pytest

from charrnn.config import OptimizerConfig, TrainConfig
from charrnn.training.optim import SGD, Adam, clip_by_norm, clip_by_value, global_norm, learning_rate


def steps(optimizer, config, gradients, rate=0.1):
    """Where a parameter at 1 is after each step."""
    p = np.array([1.0])
    made = optimizer(p, OptimizerConfig(**config))
    path = []
    for g in gradients:
        made.step(np.array([float(g)]), rate)
        path.append(float(p[0]))
    return path


def test_plain_sgd():
    assert steps(SGD, {"optimizer": "sgd", "momentum": 0}, [2, -1]) == pytest.approx([0.8, 0.9])


def test_sgd_with_momentum():
    # v = 2, then 0.5·2 − 1 = 0, then 0.5·0 + 3 = 3
    config = {"optimizer": "sgd", "momentum": 0.5}
    assert steps(SGD, config, [2, -1, 3]) == pytest.approx([0.8, 0.8, 0.5])


def test_sgd_with_nesterovs_momentum():
    # v = 2, step 2 + 0.5·2 = 3; v = 0, step −1 + 0 = −1
    config = {"optimizer": "sgd", "momentum": 0.5, "nesterov": True}
    assert steps(SGD, config, [2, -1]) == pytest.approx([0.7, 0.8])


def test_sgd_weight_decay_is_part_of_the_gradient():
    # g = 2 + 0.1·1 = 2.1
    config = {"optimizer": "sgd", "momentum": 0, "weight_decay": 0.1}
    assert steps(SGD, config, [2]) == pytest.approx([1 - 0.21])


def test_adam():
    config = {"beta1": 0.8, "beta2": 0.9, "weight_decay": 0}
    # t = 1: m̂ = g, √v̂ = |g|: a whole step.
    # t = 2: m = 0.8·0.4 + 0.2·(−1) = 0.12, m̂ = 0.12/0.36; v = 0.9·0.4 + 0.1·1 = 0.46, v̂ = 0.46/0.19
    second = 0.9 - 0.1 * (0.12 / 0.36) / math.sqrt(0.46 / 0.19)
    assert steps(Adam, config, [2, -1]) == pytest.approx([0.9, second], rel=1e-7)


def test_adam_weight_decay_is_decoupled():
    # the weight shrinks by 0.1·0.5 of itself, whatever the gradient's size
    for g in (1e-3, 1e3):
        assert steps(Adam, {"weight_decay": 0.5}, [g]) == pytest.approx([0.95 - 0.1], rel=1e-4)


def test_adam_with_a_zero_gradient_stands_still():
    assert steps(Adam, {"weight_decay": 0}, [0, 0]) == [1, 1]


def test_clip_by_norm_shortens_and_keeps_the_direction():
    g = np.array([3.0, -4.0])
    assert global_norm(g) == 5
    clip_by_norm(g, 1)
    np.testing.assert_allclose(g, [0.6, -0.8])
    clip_by_norm(g, 2)
    np.testing.assert_allclose(g, [0.6, -0.8])  # short enough already


def test_clip_by_value():
    g = np.array([3.0, -4.0, 0.5])
    clip_by_value(g, 1)
    np.testing.assert_array_equal(g, [1, -1, 0.5])


def rates(n, steps_per_epoch=1, **settings):
    config = TrainConfig(learning_rate=2.0, **settings)
    return [learning_rate(config, step, n, steps_per_epoch) for step in range(n)]


def test_warm_up_rises_in_a_line():
    assert rates(6, schedule="constant", warmup_steps=4) == pytest.approx([0.5, 1, 1.5, 2, 2, 2])


def test_cosine_ends_at_its_ratio():
    path = rates(5, schedule="cosine", warmup_steps=0, min_learning_rate_ratio=0.1)
    low, high = 0.2, 2.0
    middle = (low + high) / 2
    quarter = low + (high - low) * (1 + math.cos(math.pi / 4)) / 2
    assert path == pytest.approx([high, quarter, middle, low + high - quarter, low])


def test_cosine_follows_warm_up_without_a_jump():
    path = rates(40, schedule="cosine", warmup_steps=10)
    assert path[9] == path[10] == 2.0
    assert path[-1] == pytest.approx(0.02)


def test_step_decay_is_char_rnns():
    """Rates of two steps an epoch; times a half after epoch 2 and after each later one."""
    decay = {"learning_rate_decay": 0.5, "learning_rate_decay_after": 2}
    path = rates(10, 2, schedule="step", warmup_steps=0, **decay)
    assert path == [2, 2, 2, 2, 1, 1, 0.5, 0.5, 0.25, 0.25]
