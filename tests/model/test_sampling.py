from itertools import chain, islice

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import charrnn
from charrnn.config import SampleConfig
from charrnn.measures.evaluation import losses
from charrnn.model.sampling import draw, generate, generators, until, weights

CHANCES = np.array([0.15, 0.3, 0.05, 0.15, 0.15, 0.2])  # of the characters a to f
SHAPES = [
    ({}, CHANCES),
    ({"temperature": 0.5}, CHANCES**2),
    ({"temperature": 2}, np.sqrt(CHANCES)),
    ({"temperature": 0}, [0, 1, 0, 0, 0, 0]),
    ({"top_k": 1}, [0, 1, 0, 0, 0, 0]),
    ({"top_k": 4}, [0.15, 0.3, 0, 0.15, 0, 0.2]),  # of three equals the first two
    ({"top_k": 9}, CHANCES),
    ({"top_p": 1e-9}, [0, 1, 0, 0, 0, 0]),
    ({"top_p": 0.6}, [0.15, 0.3, 0, 0, 0, 0.2]),  # 0.3 and 0.2 are not enough
    ({"top_p": 0.9}, [0.15, 0.3, 0, 0.15, 0.15, 0.2]),
    ({"top_k": 3, "top_p": 0.75}, [0, 0.3, 0, 0, 0, 0.2]),  # of the 0.65 that top-k leaves
    (
        {"temperature": 0.5, "top_k": 4, "top_p": 0.8},
        [0.0225, 0.09, 0, 0, 0, 0.04],
    ),  # of 0.175 in place of 0.2
]


def without_memory(characters, chances):
    """A network whose next character has these chances, whatever came before."""
    model = charrnn.CharRNN(charrnn.Vocabulary.of_text(characters), 2, seed=None)
    model.parameters["b_y"][...] = np.log(chances)
    return model


def assert_drawn_by(chances, tokens):
    """The chi-square test: right draws fail it once in 60,000 seeds."""
    counts, expected = np.bincount(tokens, minlength=6), np.array(chances) * len(tokens) / np.sum(chances)
    assert not counts[expected == 0].any()
    chi_square = (counts - expected)[expected > 0] ** 2 / expected[expected > 0]
    assert chi_square.sum() < 30  # of up to five degrees of freedom


@pytest.mark.parametrize(("shape", "chances"), SHAPES)
def test_the_distribution_is_exactly_as_asked(shape, chances):
    logits = np.log([CHANCES, CHANCES[::-1]])
    for w in (weights(logits[0], **shape), weights(logits, **shape)[0]):
        np.testing.assert_allclose(w / w.sum(), chances / np.sum(chances), atol=1e-15)


@pytest.mark.parametrize(("shape", "chances"), SHAPES)
def test_many_texts_are_drawn_by_the_exact_chances(shape, chances):
    model = without_memory("abcdef", CHANCES)
    config = SampleConfig(**{"length": 100, "temperature": 1} | shape)
    texts = model.draw_many(np.array([0]), config, list(islice(generators(0), 1000)))
    assert_drawn_by(chances, np.concatenate([text.tokens for text in texts]))


def test_one_text_is_drawn_by_the_exact_chances():
    shape, chances = SHAPES[-1]
    model = without_memory("abcdef", CHANCES)
    text = model.sample("a", length=100_000, seed=0, **shape)
    assert_drawn_by(chances, model.vocabulary.encode(text[1:]))


def test_of_equally_likely_characters_the_first_of_the_vocabulary_are_kept():
    chances = np.random.default_rng(0).integers(1, 4, 200) / 400
    order = sorted(range(200), key=lambda i: (-chances[i], i))
    for k in (1, 30, 100, 190):
        nearly = chances[order[:k]].sum() / chances.sum() - 1e-4  # a mass that takes k characters
        for shape in ({"top_k": k}, {"top_p": nearly}):
            for w in (weights(np.log(chances), **shape), weights(np.log([chances]), **shape)[0]):
                assert np.flatnonzero(w).tolist() == sorted(order[:k])
    assert weights(np.zeros(4), top_p=0.5).tolist() == [1, 1, 0, 0]  # just so much is enough


@pytest.mark.parametrize("number", [1, 3])
def test_temperature_zero_is_the_first_of_the_likeliest(number):
    model = without_memory("abcdef", [0.1, 0.3, 0.1, 0.3, 0.1, 0.1])
    for temperature in (0, 1):
        rngs = list(islice(generators(0), number))
        drawn = generate(model, np.array([0]), SampleConfig(temperature=temperature), rngs)
        tokens = np.array([tokens for tokens, _ in islice(drawn, 50)])
        assert np.all(tokens == 1) == (temperature == 0)


@pytest.mark.parametrize("temperature", [1e-300, 1e-3, 1e300])
def test_extreme_temperatures_and_logits_stay_finite(temperature):
    w = weights(np.array([[1e4, -1e4, 0.0]], np.float32), temperature)
    assert np.isfinite(w).all()
    assert w.max() == 1


@pytest.mark.parametrize(("u", "drawn"), [(0.0, 1), (0.25 - 1e-16, 1), (0.25, 2), (0.5, 4), (1 - 1e-16, 4)])
def test_a_character_takes_its_part_of_the_unit_interval_without_the_end(u, drawn):
    """So one without a chance is never drawn, wherever it stands."""
    w = np.array([0.0, 0.25, 0.25, 0.0, 0.5, 0.0])
    assert draw(w, np.array([u])) == drawn
    assert draw(np.stack([w[::-1], w]), np.array([u, u]))[1] == drawn


def test_each_character_is_read_before_the_next_is_drawn():
    counting = charrnn.CharRNN(charrnn.Corpus.from_text("abcde").vocabulary, 5, seed=None)  # modulo five
    counting.parameters["W_ax"][...] = 10 * np.eye(5)
    counting.parameters["W_ya"][...] = 1e3 * np.roll(np.eye(5), 1, axis=1)
    for number in (1, 2):
        drawn = generate(counting, np.array([2]), SampleConfig(), list(islice(generators(0), number)))
        texts = np.array([next(drawn)[0] for _ in range(6)]).reshape(6, number)
        np.testing.assert_array_equal(texts, np.tile([[3], [4], [0], [1], [2], [3]], number))


STOPS = st.lists(st.lists(st.integers(0, 2), min_size=1, max_size=4), max_size=3)


@given(st.lists(st.integers(0, 2), max_size=30), STOPS)
def test_until_passes_on_what_comes_before_the_first_stop(tokens, stops):
    stops.sort(key=len, reverse=True)
    ends = [(i, stop) for i in range(len(tokens) + 1) for stop in stops if tokens[:i][-len(stop) :] == stop]
    end, came = ends[0] if ends else (len(tokens), [])
    passed, returned = [], []

    def watched():
        returned.append((yield from until(tokens, stops)))

    passed += watched()
    assert (passed, returned) == (tokens[: end - len(came)], [came])


def test_what_may_be_the_stop_is_held_back_and_the_rest_is_not():
    read = []

    def tokens():
        for token in (0, 1, 0, 0, 2, 7):
            read.append(token)
            yield token

    passed = until(tokens(), [[0, 2]])
    assert (next(passed), read) == (0, [0, 1])  # a 0 may begin the stop: it waits for what comes next
    assert (next(passed), read) == (1, [0, 1])  # a 1 may not: it does not wait
    assert (next(passed), read) == (0, [0, 1, 0, 0])
    assert list(passed) == []
    assert read == [0, 1, 0, 0, 2]  # and nothing is read behind the stop


@pytest.fixture(scope="module")
def model():
    vocabulary = charrnn.Corpus.from_text("abcde\n").vocabulary
    model = charrnn.CharRNN(vocabulary, 8)
    model.parameters.flat[...] = np.random.default_rng(0).standard_normal(model.parameters.flat.size)
    return model


def test_the_prime_text_comes_first_and_length_counts_what_is_drawn(model):
    text = model.sample("abc", length=20, seed=1)
    assert text.startswith("abc")
    assert len(text) == 23
    assert "".join(model.stream("abc", length=20, seed=1)) == text
    assert model.sample("abc", length=0) == "abc"


def test_the_same_seed_gives_the_same_text(model):
    texts = {model.sample(length=40, seed=seed) for seed in (1, 1, 2)}
    assert len(texts) == 2
    assert len({model.sample(length=40) for _ in range(3)}) == 3


def test_a_long_prime_text_is_read_to_its_end(model):
    """Read in pieces, it leaves the state that reading it at once leaves."""
    prime = "abcde\n" * 400 + "ab"
    tokens = model.vocabulary.encode(prime)
    state = model.initial_state(1)
    logits = model.logits(tokens[:, None].astype(int), state)[0][-1]
    likeliest = model.vocabulary.decode([int(logits.argmax())])
    assert model.sample(prime, length=1, temperature=0) == prime + likeliest


def test_stop_ends_the_text_and_is_not_part_of_it(model):
    whole = model.sample("a", length=300, seed=3)
    stop = whole[100:102]
    cut = model.sample("a", length=300, seed=3, stop=stop)
    assert cut == whole[: whole.index(stop, 1)]
    with pytest.raises(charrnn.CharRNNError, match="never stop"):
        model.sample(stop="x")


def test_many_texts_at_once_are_texts_of_the_same_kind(model):
    config = SampleConfig(length=50, seed=5, stop="\n")
    texts = model.draw_many(model.vocabulary.encode("ab"), config, list(islice(generators(5), 30)))
    assert len(texts) == 30
    assert len({tuple(text.tokens) for text in texts}) > 15
    newline = int(model.vocabulary.encode("\n")[0])
    assert all(newline not in text.tokens and len(text.tokens) <= 50 for text in texts)
    assert {(tuple(text.stop), len(text.tokens) < 50) for text in texts} == {((newline,), True), ((), False)}
    one = model.draw_many(model.vocabulary.encode("ab"), SampleConfig(length=50), [np.random.default_rng(5)])
    drawn = model.draw(model.vocabulary.encode("ab"), SampleConfig(length=50, seed=5))
    assert one[0].tokens == list(chain.from_iterable(drawn))


def test_without_a_prime_text_a_text_begins_as_a_line_does(model):
    after_newline = model.sample("\n", length=30, seed=4)[1:]
    assert model.sample(length=30, seed=4) == after_newline
    no_newline = charrnn.CharRNN(charrnn.Corpus.from_text("abcde").vocabulary, 4)
    firsts = {no_newline.sample(length=1, seed=seed) for seed in range(60)}
    assert firsts == set("abcde")


def test_bytes_come_out_as_text_even_when_they_are_none():
    model = charrnn.CharRNN(charrnn.Vocabulary.of_bytes(), 4)
    text = model.sample("é", length=200, seed=0)
    assert text.startswith("é")
    assert "\ufffd" in text  # random bytes are not UTF-8
    blob = model.sample("é".encode(), length=200, seed=0)
    assert blob[:2] == "é".encode()
    assert blob.decode(errors="replace") == text


def test_what_is_drawn_is_of_the_type_given_and_else_of_the_vocabulary():
    of_bytes = charrnn.CharRNN(charrnn.Vocabulary.of_bytes(), 4)
    of_text = charrnn.CharRNN(charrnn.Vocabulary.of_text("abé"), 4)
    for model, prime, kind in (
        (of_bytes, None, bytes),
        (of_bytes, b"", bytes),
        (of_bytes, b"\xff", bytes),
        (of_bytes, "a", str),
        (of_text, None, str),
        (of_text, "é", str),
        (of_text, "é".encode(), bytes),
    ):
        given = {} if prime is None else {"prime": prime}
        pieces = list(model.stream(**given, length=9, seed=1))
        assert {type(piece) for piece in pieces} == {kind}
        drawn = model.sample(**given, length=9, seed=1)
        assert drawn == kind().join(pieces)
        assert drawn[: len(prime or "")] == (prime or kind())
    assert len(of_bytes.sample(length=9)) == 9
    assert of_text.sample("é".encode(), length=9, seed=1) == of_text.sample("é", length=9, seed=1).encode()


@pytest.mark.parametrize(
    "settings",
    [
        {"top_p": 1.5},
        {"top_p": 0},
        {"temperature": -1},
        {"top_k": -1},
        {"topk": 3},
        {"stop": 5},
        {"stop": [5]},
    ],
)
def test_nonsense_is_refused(model, settings):
    with pytest.raises(charrnn.CharRNNError):
        model.sample(length=3, **settings)


def test_a_text_is_the_same_however_many_are_drawn_and_however_they_are_shared_out(model):
    config, prime = SampleConfig(length=30), model.vocabulary.encode("ab")
    rngs = [list(islice(generators(5), 70)) for _ in range(3)]
    all_at_once = model.draw_many(prime, config, rngs[0])
    assert model.draw_many(prime, config, rngs[1][:3]) == all_at_once[:3]
    pieces = [model.draw_many(prime, config, rngs[2][i : i + 9]) for i in range(3, 70, 9)]
    assert [text for piece in pieces for text in piece] == all_at_once[3:]
    one = list(chain.from_iterable(model.draw(prime, SampleConfig(length=30, seed=5))))
    assert one == all_at_once[0].tokens
    assert len({tuple(text.tokens) for text in all_at_once}) == 70


def test_of_several_stops_the_first_that_comes_ends_the_text(model):
    whole = model.sample("a", length=300, seed=3)
    first, longer, later = whole[101:102], whole[100:102], whole[200:203]
    cut = whole[: min(whole.index(stop, 1) for stop in (longer, later))]
    assert model.sample("a", length=300, seed=3, stop=[later, longer]) == cut
    assert model.sample("a", length=300, seed=3, stop=(first, longer, "")) == whole[: whole.index(first, 1)]


def test_a_forbidden_character_has_no_weight_before_anything_else_shapes_the_distribution():
    for shape, chances in SHAPES[:7]:
        w = weights(np.log(CHANCES), **shape, forbidden=[1])
        expected = weights(np.log(np.delete(CHANCES, 1)), **shape)
        np.testing.assert_allclose(w, np.insert(expected, 1, 0), err_msg=str((shape, chances)))
    model = without_memory("abcdef", CHANCES)
    assert set(model.sample(length=2000, seed=0, temperature=1, forbid="bdé")) == set("acef")
    assert model.sample("a", length=4, temperature=0, forbid="b") == "affff"
    texts = model.draw_many(np.array([0]), SampleConfig(forbid="acdef"), list(islice(generators(0), 3)))
    assert {tuple(text.tokens) for text in texts} == {(1,) * 1000}


def test_what_cannot_come_because_it_is_forbidden_is_refused(model):
    with pytest.raises(charrnn.CharRNNError, match="`forbid` leaves none of the 6 characters"):
        model.sample(forbid="abcde\nx")
    with pytest.raises(charrnn.CharRNNError, match="`stop` 'ab' has characters that `forbid` forbids"):
        model.sample(forbid="b", stop=["a", "ab"])


@pytest.mark.parametrize("number", [1, 3])
def test_the_nats_of_a_sample_are_those_of_its_characters_in_its_text(model, number):
    """Whatever shaped the distribution; the stop is not counted."""
    config = SampleConfig(length=40, temperature=0.7, top_k=4, forbid="c", stop=("\n", "ad"))
    prime = model.vocabulary.encode("ab")
    for sample in model.draw_many(prime, config, list(islice(generators(1), number)), score=True):
        (costs,) = losses(model, [np.concatenate([prime, np.array(sample.tokens, int)])])
        assert sample.nats == pytest.approx(costs[1:].sum(), rel=1e-5)
    no_newline = charrnn.CharRNN(charrnn.Vocabulary.of_text("abcde"), 4)
    (first,) = no_newline.draw_many(
        np.array([], int), SampleConfig(length=1), [np.random.default_rng(0)], score=True
    )
    assert first.nats == pytest.approx(np.log(5))  # drawn evenly
