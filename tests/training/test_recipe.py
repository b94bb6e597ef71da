"""What is chosen for a time, and a run that keeps it."""

import pytest
from conftest import PROVERB, assert_same_run, metrics
from small import SETTINGS, Signal, note_of

import charrnn
from charrnn.errors import ConfigError, Interrupted
from charrnn.runs import RunFolder
from charrnn.training import recipe, shards, train_in, trainer
from charrnn.training.bench import Point, operations
from charrnn.training.recipe import choose


@pytest.fixture
def steady(monkeypatch):
    """A machine that does 10 GFLOP/s, whatever the network."""

    def measured(config, corpus, seconds, world):
        network = charrnn.CharRNN.from_config(corpus.vocabulary, config, None)
        return Point(1, 1, 1, 1e10 / operations(network, 1, 1), 10.0, 1.0, 1.0)

    monkeypatch.setattr(recipe, "measured", measured)


def chosen(corpus, seconds, **given):
    return choose(corpus, charrnn.TrainConfig(**given), set(given), seconds)


def text(n):
    return charrnn.Corpus.from_text((PROVERB * (n // len(PROVERB) + 1))[:n])


def test_more_time_is_for_a_larger_network_and_then_for_more_dropout(steady):
    configs = [chosen(text(200_000), seconds) for seconds in (1, 10, 100, 1000, 100_000)]
    sizes, rates = [config.hidden_size for config in configs], [config.dropout for config in configs]
    assert sizes == sorted(sizes)
    assert len(set(sizes)) >= 3
    assert rates == sorted(rates)
    assert rates[0] < rates[-1] == 0.5


@pytest.mark.parametrize("n", [3, 100, 1000, 30_000])
@pytest.mark.parametrize("seconds", [0.01, 6, 36_000])
def test_a_text_of_any_length_gets_a_network_that_can_be_trained_on_it(steady, tmp_path, n, seconds):
    corpus = text(n)
    config = chosen(corpus, seconds)
    result = charrnn.train(corpus, config.model_copy(update={"max_steps": 1}), tmp_path)
    assert result.steps == 1
    assert config.max_steps <= config.epochs * -(-n // (config.seq_length * config.batch_size))


def test_what_is_given_stays(steady):
    given = {"cell": "lstm", "hidden_size": 77, "seq_length": 9, "dropout": 0.0, "val_fraction": 0.2}
    config = chosen(text(5000), 10, **given, eval_every=3, optimizer="sgd", learning_rate=0.25)
    assert config.model_dump(include=given.keys()) == given
    assert (config.eval_every, config.optimizer, config.learning_rate) == (3, "sgd", 0.25)
    assert chosen(text(5000), 10, optimizer="sgd").learning_rate == 0.5  # as it is by default
    assert chosen(text(5000), 10, val_fraction=0.0).average == "none"  # nothing would say where it is better
    with pytest.raises(ConfigError, match="`min_learning_rate_ratio` has no effect with `schedule` constant"):
        chosen(text(5000), 10, min_learning_rate_ratio=0.5)


def test_threads_are_chosen_as_a_run_does_and_noted(steady, monkeypatch):
    for cores in (1, 3):
        monkeypatch.setattr(shards, "available_cores", lambda cores=cores: cores)
        assert chosen(text(200_000), 1000).threads == cores
        assert chosen(text(1000), 1000).threads == 1
        assert chosen(text(200_000), 1000, threads="auto").threads == "auto"


def test_the_parts_of_a_text_that_is_long_for_the_time_are_small(steady):
    long, short = (chosen(text(3_000_000), seconds) for seconds in (2, 2000))
    assert short.val_fraction == short.test_fraction == 0.05
    assert 0 < long.val_fraction == long.test_fraction < 0.01


def test_parts_of_ones_own_have_no_fraction(steady, tmp_path):
    for name in ("text", "val", "test"):
        (tmp_path / name).write_text(PROVERB * 100)
    files = {"val_file": str(tmp_path / "val"), "test_file": str(tmp_path / "test")}
    config = chosen(charrnn.Corpus.from_files(tmp_path / "text", **files), 0.01)
    assert config.val_fraction == config.test_fraction == 0.05  # as it is by default


def test_a_short_run_gets_small_windows_and_short_documents_too(steady):
    sizes = [chosen(text(200_000), seconds) for seconds in (1, 30, 1_000_000)]
    assert [config.seq_length * config.batch_size for config in sizes] == [32 * 32, 32 * 32, 64 * 64]
    names = charrnn.Corpus.from_documents(["anna", "bert", "carla"] * 5000, separator="line")
    assert chosen(names, 1_000_000).seq_length == 32


class Timed(charrnn.Progress):
    """A clock that only steps move, each by so many seconds as ``cost`` says."""

    def __init__(self, monkeypatch, cost):
        self.now, self.steps, self.cost = 0.0, 0, cost
        self.characters, self.total = 0, None
        monkeypatch.setattr(trainer.time, "monotonic", lambda: self.now)
        original = trainer.Trainer.train_step

        def train_step(run, shards):
            self.now += self.cost(self.steps)
            self.steps += 1
            return original(run, shards)

        monkeypatch.setattr(trainer.Trainer, "train_step", train_step)

    def step(self, characters, loss):
        self.characters += characters

    def moved(self, total):
        self.total = total


def timed_run(corpus, out, seconds, progress=None, **changes):
    config = charrnn.TrainConfig(**SETTINGS | {"schedule": "constant"} | changes)
    with RunFolder(out) as folder:
        return train_in(folder, corpus, config, seconds=seconds, progress=progress)


COSTS = {
    "as planned": lambda step: 0.1,
    "a little faster": lambda step: 0.098,
    "twice as fast": lambda step: 0.05,
    "half as fast": lambda step: 0.2,
    "half as fast from the middle on": lambda step: 0.1 if step < 50 else 0.2,
    "twice as fast near the end": lambda step: 0.1 if step < 90 else 0.05,
    "stuck for a while": lambda step: 3.0 if step == 60 else 0.1,
}


@pytest.mark.parametrize("how", COSTS)
def test_a_run_ends_on_time_and_its_settings_repeat_it(corpus, tmp_path, monkeypatch, how):
    clock = Timed(monkeypatch, COSTS[how])
    result = timed_run(corpus, tmp_path / "timed", 10.0, max_steps=100, progress=clock)
    assert result.elapsed == pytest.approx(10, rel=0.05)
    planned = how in ("as planned", "a little faster")
    assert (result.steps == 100) == planned
    assert clock.total == (None if planned else clock.characters)
    settings = charrnn.TrainConfig(**note_of(tmp_path / "timed" / "config.json")["settings"])
    assert settings.max_steps == result.steps == clock.steps
    charrnn.train(corpus, settings, tmp_path / "again")
    assert_same_run(tmp_path / "timed", tmp_path / "again")
    assert metrics(tmp_path / "timed")[-1]["val_loss"] is not None


def test_the_only_validation_is_part_of_the_time(corpus, tmp_path, monkeypatch):
    clock = Timed(monkeypatch, lambda step: 0.1)
    original = trainer.evaluate

    def evaluate(model, part, *given):
        clock.now += 0.1 * len(part) / (16 * 4) / trainer.SCORED
        return original(model, part, *given)

    monkeypatch.setattr(trainer, "evaluate", evaluate)
    result = timed_run(corpus, tmp_path, 10.0, max_steps=100, eval_every=0, val_fraction=0.3)
    assert clock.now == result.elapsed == pytest.approx(10, rel=0.05)
    assert result.steps < 95


def test_no_validation_stands_right_before_that_of_the_end(corpus, tmp_path, monkeypatch):
    clock = Timed(monkeypatch, lambda step: 0.1)
    original = trainer.evaluate

    def evaluate(*given):
        clock.now += 1.0
        return original(*given)

    monkeypatch.setattr(trainer, "evaluate", evaluate)
    result = timed_run(corpus, tmp_path, 10.0, max_steps=100, eval_every=39)
    assert result.steps == 78
    assert clock.now == result.elapsed == pytest.approx(10, rel=0.05)


def test_a_run_that_is_stopped_goes_on_to_the_step_that_was_planned(corpus, tmp_path, monkeypatch):
    Timed(monkeypatch, COSTS["twice as fast"])
    with pytest.raises(Interrupted):
        timed_run(corpus, tmp_path, 10.0, max_steps=100, progress=Signal(60))
    settings = charrnn.TrainConfig(**note_of(tmp_path / "config.json")["settings"])
    assert settings.max_steps == 200
    assert charrnn.train(corpus, settings, tmp_path, resume=True).steps == 200
