import math

import pytest

from charrnn.commands.train import TrainSettings
from charrnn.config import (
    FIXED_ON_RESUME,
    MEANT_FOR,
    BenchConfig,
    DeriveConfig,
    GradcheckConfig,
    OptimizerConfig,
    SampleConfig,
    TextConfig,
    TrainConfig,
)
from charrnn.errors import ConfigError


@pytest.mark.parametrize("settings", [TextConfig, TrainConfig, SampleConfig, GradcheckConfig])
def test_every_field_says_what_it_is_for(settings):
    for name, field in settings.model_fields.items():
        assert field.description, name


def test_settings_survive_being_written_and_read():
    config = TrainConfig(hidden_size=7, optimizer="sgd", momentum=0.5, eval_every=0)
    assert TrainConfig(**config.model_dump()) == config


def test_settings_never_change():
    with pytest.raises(ValueError, match="frozen"):
        TrainConfig().hidden_size = 3


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"hidden_size": -3}, r"`hidden_size` -3: should be greater than or equal to 1"),
        ({"hidden_size": "many"}, r"`hidden_size` many: should be a valid integer"),
        ({"learning_rate": 0}, r"`learning_rate` 0: should be greater than 0"),
        ({"init_scale": 1e308}, r"`init_scale` 1e\+308: should be less than or equal to 1000000"),
        ({"input_scale": 1e39}, r"`input_scale` 1e\+39: should be less"),
        ({"learning_rate": float("nan")}, r"`learning_rate` nan"),
        ({"momentum": 1, "optimizer": "sgd"}, r"`momentum` 1: should be less than 1"),
        ({"optimizer": "adagrad"}, r"`optimizer` adagrad: should be 'adam' or 'sgd'"),
        ({"val_fraction": 0.6, "test_fraction": 0.4}, r"together they must stay below 1"),
        ({"val_fraction": -0.1}, r"`val_fraction` -0.1"),
        ({"threads": 0}, r"`threads` 0: should be auto, or a whole number from 1"),
        ({"threads": "some"}, r"`threads` some"),
        ({"hiden_size": 3}, r"'hiden_size' is not a setting; did you mean 'hidden_size'"),
        ({"hidden-size": 3}, r"did you mean 'hidden_size'"),
        ({"zzz": 3}, r"'zzz' is not a setting$"),
        ({"patience": 3, "val_fraction": 0}, r"`patience` has no effect with `val_fraction` 0"),
        ({"schedule": "plateau", "eval_every": 0}, r"`schedule` plateau has no effect with `eval_every` 0"),
        ({"plateau_factor": 0.1}, r"`plateau_factor` has no effect with `schedule` cosine"),
        ({"patience": 3, "eval_every": 0}, r"`patience` has no effect with `eval_every` 0"),
        ({"average": "ema", "val_fraction": 0}, r"`average` ema has no effect with `val_fraction` 0"),
        ({"keep": 0}, r"`keep` 0: should be greater"),
        ({"momentum": 0.5}, r"`momentum` has no effect with `optimizer` adam: it is for `optimizer` sgd"),
        ({"learning_rate_decay": 0.5}, r"it is for `schedule` step"),
    ],
)
def test_nonsense_is_named(values, message):
    with pytest.raises(ConfigError, match=message):
        TrainConfig(**values)


VALUES = [None, True, "", "\0", "\ud800", "x y" * 10**5, "9" * 5000, "٣", b"\xff", 1e308, math.nan, 1j]
VALUES += [math.inf, 10**18, -(10**18), 10**400, 10**5000, [], {}, [[[]]] * 999, object()]
CONFIGS = [TrainSettings, SampleConfig, GradcheckConfig, BenchConfig, DeriveConfig]


@pytest.mark.parametrize("settings", CONFIGS)
def test_any_value_is_taken_or_named_in_brief(settings):
    said = ""
    for name in settings.model_fields:
        for value in VALUES:
            try:
                settings(**{name: value})
            except ConfigError as error:
                said = max(said, str(error), key=len)
    assert 200 < len(said) < 500


def test_two_mistakes_are_both_named():
    with pytest.raises(ConfigError, match=r"`epochs` 0.*`seed` -1"):
        TrainConfig(epochs=0, seed=-1)


def test_of_very_many_mistakes_a_few_are_named():
    with pytest.raises(ConfigError, match=r"^'key 0' is not a setting; .*; and 59,992 more$") as refused:
        TrainConfig(**{f"key {i}": 0 for i in range(60_000)})
    assert len(str(refused.value)) < 500


def test_a_key_with_half_a_character_is_named():
    with pytest.raises(ConfigError, match=r"^'\\ud800x' is not a setting$"):
        TrainConfig(**{"\ud800x": 1, "epochs": 0})


def test_an_optimizer_has_defaults_of_its_own():
    assert OptimizerConfig(optimizer="sgd").learning_rate == 0.5
    assert OptimizerConfig(optimizer="sgd").weight_decay == 0
    assert OptimizerConfig(optimizer="sgd", learning_rate=0.1).learning_rate == 0.1
    assert OptimizerConfig().learning_rate == TrainConfig(optimizer="adam").learning_rate == 3e-3


def test_the_tables_name_fields_that_exist():
    fields = TrainSettings.model_fields
    assert set(FIXED_ON_RESUME) <= set(fields)
    assert set(MEANT_FOR) | {other for other, _ in MEANT_FOR.values()} <= set(fields)
