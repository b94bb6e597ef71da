"""Training by documents: each from a state of zeros, wherever its row stands."""

import signal
from importlib.util import find_spec

import numpy as np
import pytest
from conftest import assert_same_run
from small import Signal, Spy, train

import charrnn
from charrnn.errors import ConfigError, Interrupted, RunError
from charrnn.measures.baselines import baselines
from charrnn.measures.evaluation import losses
from charrnn.text.documents import Documents
from charrnn.training import trainer as module
from charrnn.training.shards import Shards

WORDS = ["the", "fox", "who", "asked", "twice", "was", "answered", "once", "hen", "never", "knew", "all"]
NAMES = [a + b for a in WORDS for b in WORDS]


@pytest.fixture(scope="module")
def names():
    return charrnn.Corpus.from_documents(NAMES, "names", separator="line")


def one_by_one(model, documents):
    """The nats of all documents, each read by itself, and their gradient."""
    total, gradient = 0.0, np.zeros_like(model.parameters.flat)
    for number in range(documents.count):
        y = documents.document(number)
        x = np.append(documents.before, y[:-1])
        loss, g, _ = model.loss_and_gradients(x[:, np.newaxis], y[:, np.newaxis])
        total += loss * len(y)
        gradient += g.flat * len(y)
    return total, gradient


@pytest.mark.parametrize("cell", ["rnn", "gru", "lstm"])
@pytest.mark.parametrize("how", [{}, {"recompute_every": 3}, {"threads": 2}])
def test_the_windows_of_a_trainer_are_its_documents_one_by_one(names, cell, how):
    settings = {"batch_size": 2, "seq_length": 10_000, "dtype": "float64", "cell": cell}
    form = {"hidden_size": 6, "num_layers": 2, "embedding_size": 3}
    config = charrnn.TrainConfig(**settings, **form)
    model = charrnn.CharRNN.from_config(names.vocabulary, config, 0)
    n = next(n for n in range(100) if n > 30 and len(names.documents.within(0, n)) == n)
    first = names.documents.within(0, n)  # twice: a row each, read as a whole
    twice = first.take(np.tile(np.arange(first.count), 2))
    streams = module.windows(twice, config.model_copy(update={"seq_length": n}))
    assert (len(streams), streams.batch_size) == (1, 2)
    x, y, rho = streams.window(0)
    plan = {"threads": 1, "recompute_every": 0} | how
    with Shards(model, n, 2, **plan) as shards:
        loss, gradient, _ = shards.loss_and_gradients(x, y, model.initial_state(2), (), rho)
    expected, by_document = one_by_one(model, first)
    assert loss * n == pytest.approx(expected, rel=1e-13)
    np.testing.assert_allclose(gradient * n, by_document, rtol=0, atol=1e-12)


@pytest.mark.parametrize(
    "settings",
    [
        {"threads": 2},
        {"cell": "lstm", "num_layers": 2, "dropout": 0.3, "embedding_size": 5, "threads": 2},
        {"cell": "gru", "recompute_every": 5},
    ],
)
@pytest.mark.parametrize("step", [1, 30])
def test_a_run_by_documents_resumes_to_the_same_bits(names, tmp_path, settings, step):
    train(names, tmp_path / "whole", **settings)
    with pytest.raises(Interrupted) as stopped:
        train(names, tmp_path / "cut", progress=Signal(step), **settings)
    assert stopped.value.signal == signal.SIGINT
    train(names, tmp_path / "cut", resume=True, **settings)
    assert_same_run(tmp_path / "whole", tmp_path / "cut")


def test_a_mapped_text_gives_the_same_bits(names, tmp_path):
    (tmp_path / "names.txt").write_text("\n".join(NAMES))
    for name, cache in (("plain", None), ("mapped", tmp_path / "tokens.bin")):
        corpus = charrnn.Corpus.from_files(tmp_path / "names.txt", documents="line", cache=cache)
        assert isinstance(corpus.tokens, np.memmap) == (cache is not None)
        train(corpus, tmp_path / name)
    assert_same_run(tmp_path / "plain", tmp_path / "mapped")


@pytest.mark.skipif(find_spec("numba") is None, reason="numba is not installed")
def test_compiled_kernels_reset_too(names, tmp_path):
    runs = [train(names, tmp_path / kernels, kernels=kernels, max_steps=9) for kernels in ("numpy", "numba")]
    one, other = (charrnn.load(run.path, "last").parameters.flat for run in runs)
    np.testing.assert_allclose(one, other, rtol=0, atol=1e-5)


def test_it_learns_to_begin_and_to_end(names, tmp_path):
    spy = Spy()
    run = train(names, tmp_path, hidden_size=48, epochs=40, sample_every=5, progress=spy)
    drawn = spy.samples[-1].splitlines()[:-1]
    assert len(drawn) > 10
    assert sum(any(name.startswith(word) for word in WORDS) for name in drawn) > 0.8 * len(drawn)
    parts = names.parts(charrnn.TrainConfig())
    assert run.test_loss == charrnn.evaluate(run.model, parts.test).loss
    to_beat = baselines(parts.train, parts.test, len(names.vocabulary))
    assert run.test_loss < min(to_beat.values())


def test_a_score_of_documents_is_that_of_each_by_itself(names, tmp_path):
    model = train(names, tmp_path, max_steps=20).model
    for documents in (names.documents, names.documents.take(slice(3)), names.documents.take(slice(1))):
        texts = [documents.document(i) for i in range(documents.count)]
        nats = np.concatenate(losses(model, texts, documents.before))
        score = charrnn.evaluate(model, documents)
        assert score.characters == len(nats) == len(documents)
        assert score.documents == documents.count
        assert score.loss == pytest.approx(nats.mean(), rel=1e-5)
        assert score.nats_per_document == pytest.approx(nats.sum() / documents.count, rel=1e-5)
        x, y, _ = documents.read(np.arange(len(documents)))
        assert len(x) == len(y)


def test_n_grams_of_documents_begin_where_documents_do():
    train_on, scored = ["ab", "ab", "ac"], ["ab", "c"]

    def documents(words):
        tokens = np.frombuffer("".join(word + "." for word in words).encode(), np.uint8) - ord(".")
        ends = np.cumsum([len(word) + 1 for word in words])
        return Documents(tokens, np.append(0, ends[:-1]), ends, 0)

    V = ord("c") - ord(".") + 1
    found = baselines(documents(train_on), documents(scored), V)
    counts, losses_of = {}, []  # bigrams by hand; Witten–Bell
    for word in train_on:
        for pair in zip("." + word, word + ".", strict=True):
            counts[pair] = counts.get(pair, 0) + 1
    of = {w: sum(n for (_, x), n in counts.items() if x == w) for w in "abc."}
    total, distinct = sum(of.values()), len([w for w in of if of[w]])

    def p(h, w):
        lower = (of[w] + distinct / V) / (total + distinct)
        followed = {x: n for (g, x), n in counts.items() if g == h}
        return (followed.get(w, 0) + len(followed) * lower) / (sum(followed.values()) + len(followed))

    for word in scored:
        losses_of += [-np.log(p(*pair)) for pair in zip("." + word, word + ".", strict=True)]
    assert found["bigram"] == pytest.approx(np.mean(losses_of), rel=1e-12)
    unigram = [-np.log((of[w] + distinct / V) / (total + distinct)) for word in scored for w in word + "."]
    assert found["unigram"] == pytest.approx(np.mean(unigram), rel=1e-12)


def test_what_cannot_be_with_documents(names, corpus, tmp_path):
    with pytest.raises(ConfigError, match="`stateless` starts each window from a state of zeros"):
        train(names, tmp_path / "a", stateless=True)
    with pytest.raises(ConfigError, match="`shuffle_documents` has no effect without `documents`"):
        train(corpus, tmp_path / "b", shuffle_documents=False)
    train(names, tmp_path / "c", max_steps=5)
    with pytest.raises(RunError, match="`shuffle_documents` False: this run has True"):
        train(names, tmp_path / "c", resume=True, max_steps=9, shuffle_documents=False)
    one_text = charrnn.Corpus.from_text("".join(name + "\n" for name in NAMES), "names")
    with pytest.raises(RunError, match="reads its text with `documents` 'line', not none"):
        train(one_text, tmp_path / "c", resume=True, max_steps=9)


def test_an_order_of_ones_own_is_kept(names, tmp_path):
    one, other = (
        train(names, tmp_path / str(shuffle), shuffle_documents=shuffle) for shuffle in (True, False)
    )
    assert one.best_val_loss != other.best_val_loss
