"""The compiled loop of sampling against its definition."""

from itertools import chain

import numpy as np
import pytest

from charrnn import CharRNN, SampleConfig, Vocabulary
from charrnn.config import LONG_TEXT
from charrnn.model import sampling
from charrnn.model.kernels import choose_for_text

compiled = pytest.importorskip(
    "charrnn.model.compiled",
    reason="the compiled loop needs numba: pip install '.[fast]'",
    exc_type=ImportError,
)
FORMS = [
    {"cell": cell, "num_layers": L, "embedding_size": E, "dtype": dtype}
    for cell, L, E, dtype in [
        ("rnn", 1, 0, "float32"),
        ("rnn", 2, 3, "float64"),
        ("gru", 1, 0, "float64"),
        ("gru", 3, 5, "float32"),
        ("lstm", 1, 4, "float32"),
        ("lstm", 2, 0, "float64"),
    ]
]
SHAPES = [
    {"temperature": 1},
    {"temperature": 0},
    {"temperature": 1e-300},
    {"temperature": 3, "top_k": 5},
    {"temperature": 1, "top_k": 1000},
    {"temperature": 1, "top_p": 0.7},
    {"temperature": 2, "top_k": 9, "top_p": 0.8},
    {"temperature": 1, "forbid": "bdf", "top_p": 0.9},
    {"temperature": 1, "forbid": "bcdefghijkl"},
]


def network(hidden_size=13, **form):
    """A network whose biases are not zero, and whose H is no multiple of eight."""
    model = CharRNN(Vocabulary.of_text("abcdefghijkl"), hidden_size, **form)
    rng = np.random.default_rng(1)
    for name, array in model.parameters.items():
        if name.startswith("b_"):
            array[...] += rng.normal(size=array.shape)
    return model


def texts(model, prime="", **settings):
    config = SampleConfig(**{"length": 500, "seed": 3} | settings)
    tokens = model.vocabulary.encode(prime)
    return [
        list(chain.from_iterable(model.draw(tokens, config.model_copy(update={"kernels": kernels}))))
        for kernels in ("numpy", "numba")
    ]


@pytest.mark.parametrize("form", FORMS, ids=lambda form: "-".join(map(str, form.values())))
def test_same_seed_same_text(form):
    model = network(**form)
    for settings in SHAPES:
        for prime in ("", "abcabc"):
            numpy, numba = texts(model, prime, **settings)
            assert numpy == numba


@pytest.mark.parametrize("hidden_size", [1, 7, 8, 16, 65])
def test_same_text_at_any_size(hidden_size):
    for cell in ("rnn", "gru", "lstm"):
        numpy, numba = texts(network(hidden_size, cell=cell), temperature=1)
        assert numpy == numba


@pytest.mark.parametrize("length", [0, 1, 63, 64, 65, 129])
def test_a_text_has_its_length(length):
    numpy, numba = texts(network(), length=length)
    assert numpy == numba
    assert len(numba) == length


@pytest.mark.parametrize("temperature", [0, 0.3, 1])
def test_weights_and_draws_are_those_of_the_definition(temperature):
    rng, w = np.random.default_rng(0), np.empty(30)
    for case in range(300):
        logits = rng.normal(0, 10 ** rng.uniform(-3, 3), 30).astype(np.float32).round(case % 4)  # with ties
        forbidden = rng.choice(30, rng.integers(0, 29), replace=False)
        shape = temperature, int(rng.integers(0, 32)), float(rng.uniform(0.01, 1)) if case % 3 else 1.0
        compiled.weights(logits, *shape, forbidden, w)
        expected = sampling.weights(logits, *shape, forbidden)
        np.testing.assert_allclose(w, expected, rtol=1e-15, atol=0)
        u = rng.random(1)
        assert compiled.draw(w, u[0]) == sampling.draw(expected, u)


def test_a_stop_ends_the_text_where_it_comes():
    model = network(cell="gru")
    (all_of_it, _), (numpy, numba) = texts(model, temperature=1), texts(model, temperature=1, stop="ab")
    assert numpy == numba
    assert 0 < len(numba) < 500
    assert all_of_it[len(numba) : len(numba) + 2] == [0, 1]


def test_pieces_come_as_they_are_drawn_and_end_with_the_stop():
    model = network()
    drawn = model.draw(model.vocabulary.encode("a"), SampleConfig(length=150, kernels="numba", seed=0))
    pieces = list(drawn)
    assert [len(piece) for piece in pieces] == [64, 64, 22]
    stream = model.stream("a", length=150, kernels="numba", seed=0)
    assert list(stream) == ["a", *map(model.vocabulary.decode, pieces)]


def test_long_texts_take_numba_by_themselves(monkeypatch):
    assert choose_for_text(SampleConfig(length=LONG_TEXT)) == "numba"
    assert choose_for_text(SampleConfig(length=LONG_TEXT - 1)) == "numpy"
    assert choose_for_text(SampleConfig(length=10**9, kernels="numpy")) == "numpy"
    assert choose_for_text(SampleConfig(length=1, kernels="numba")) == "numba"
    monkeypatch.setattr(compiled, "generate", lambda *_: iter([0] * LONG_TEXT))
    assert network().sample(length=LONG_TEXT, seed=0) == "a" * LONG_TEXT


def test_several_texts_are_numpys_and_the_command_says_so(cli, run_folder):
    words = ["sample", run_folder, "--seed", 1, "--length", 30]
    one = cli(*words, "--kernels", "numba")
    assert (one.err, one.out) == ("", cli(*words).out)
    for more in (["--num-samples", 2], ["--format", "jsonl"]):
        outcome = cli(*words, *more, "--kernels", "numba")
        assert outcome.out == cli(*words, *more).out
        assert "--kernels numba" in outcome.err
        assert len(outcome.err.splitlines()) == 1
