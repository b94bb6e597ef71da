"""What Python code meets: files of models, and what is said of arguments that cannot be."""

import re
import tomllib
from pathlib import Path

import numpy as np
import pytest
from conftest import ROOT

import charrnn
from charrnn import CharRNN, Corpus, TrainConfig, Vocabulary
from charrnn.errors import ArgumentError, RunError
from charrnn.npz import write_arrays

ABC = Vocabulary.of_text("abc")


@pytest.mark.parametrize("vocabulary", [ABC, Vocabulary.of_bytes()], ids=["text", "bytes"])
@pytest.mark.parametrize(
    "form", [{}, {"cell": "lstm", "num_layers": 2, "embedding_size": 3, "dtype": "float64"}]
)
def test_a_saved_model_is_loaded_as_it_was(tmp_path, vocabulary, form):
    model = CharRNN(vocabulary, 5, seed=1, **form)
    model.save(tmp_path / "x.npz")
    again = charrnn.load(str(tmp_path / "x.npz"))
    assert again.vocabulary == vocabulary
    assert again.config == model.config
    np.testing.assert_array_equal(again.parameters.flat, model.parameters.flat)
    assert again.sample(length=20, seed=1) == model.sample(length=20, seed=1)
    model.parameters.flat[:] = 0
    model.save(str(tmp_path / "x.npz"))
    assert not charrnn.load(tmp_path / "x.npz").parameters.flat.any()
    assert [path.name for path in tmp_path.iterdir()] == ["x.npz"]


def test_a_model_that_cannot_be_saved_leaves_what_was_there(tmp_path, monkeypatch):
    model, path = CharRNN(ABC, 5), tmp_path / "x.npz"
    model.save(path)
    before = path.read_bytes()
    for name, message in (
        ("x", "path .*x': expected a name that ends in .npz"),
        ("missing/x.npz", "missing/x.npz: cannot be written: No such file"),
        ("", "expected a name that ends in .npz"),
    ):
        with pytest.raises(charrnn.CharRNNError, match=message):
            model.save(f"{tmp_path}/{name}")
    monkeypatch.setattr("os.replace", lambda *names: (_ for _ in ()).throw(OSError(28, "No space left")))
    with pytest.raises(RunError, match=r"x.npz: cannot be written: No space left"):
        CharRNN(ABC, 6).save(path)
    assert path.read_bytes() == before


def test_a_file_that_is_no_model_or_claims_too_much_is_refused(tmp_path):
    path, arrays = tmp_path / "x.npz", CharRNN(ABC, 5).arrays()
    with pytest.raises(RunError, match=r"x.npz: no such save"):
        charrnn.load(path)
    np.savez(path, **arrays)
    with pytest.raises(RunError, match=r"x.npz: damaged, cut short, or of an older version"):
        charrnn.load(path)
    for change, message in (
        ({"W_ya": arrays["W_ya"][:, :2]}, r"not a model: W_ya is float32 \(5, 2\), expected \(5, 3\)"),
        ({"b_y": np.full(3, np.nan, np.float32)}, "not a model: b_y has entries that are not finite"),
        ({"W_aa": np.empty((10**6, 0), np.float32)}, "not a model: W_ax is"),
    ):
        write_arrays(path, {**arrays, **change})
        with pytest.raises(RunError, match=f"{path}: {message}"):
            charrnn.load(path)


def test_the_bundled_text_is_one_call_away():
    corpus = Corpus.bundled()
    assert corpus.name == "fables"
    assert corpus.sha256 == Corpus.from_files(ROOT / "data" / "fables.txt").sha256


def test_the_version_stands_in_one_place(cli):
    assert re.fullmatch(r"\d+\.\d+\.\d+", charrnn.__version__)
    assert cli("--version").out == f"charrnn {charrnn.__version__}\n"
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    assert "version" in project["project"]["dynamic"]
    assert (ROOT / project["tool"]["hatch"]["version"]["path"]).read_text().count(charrnn.__version__) == 1


CORPUS, MODEL = Corpus.from_text("abcabc" * 40), CharRNN(ABC, 4)
WRONG = {
    "a list as a text": (lambda: Corpus.from_text(["ab", "c"]), "text is a list; expected a text"),
    "a path as a text": (lambda: Corpus.from_text(Path("a.txt")), "text is a PosixPath; .*from_files reads"),
    "nothing as a text": (lambda: Corpus.from_text(None), "text is None"),
    "a list of files": (lambda: Corpus.from_files(["a.txt"]), r"paths\[0\] is a list"),
    "no files": (Corpus.from_files, "no files to read: name one"),
    "a vocabulary in letters": (lambda: Corpus.from_files("a", vocabulary="abc"), "vocabulary is a str"),
    "unknown line ends": (lambda: Corpus.from_files("a", newlines="crlf"), "`newlines` crlf: should be 'lf'"),
    "a negative count": (lambda: Corpus.from_files("a", min_count=-1), "`min_count` -1: should be greater"),
    "letters as symbols": (lambda: Vocabulary("abc"), "symbols is a str; .*of_text"),
    "bytes as characters": (lambda: Vocabulary.of_text(b"abc"), "text is a bytes"),
    "a number to encode": (lambda: ABC.encode(5), "text is an int"),
    "a string as vocabulary": (lambda: CharRNN("abc"), "vocabulary is a str; expected a charrnn.Vocabulary"),
    "a corpus as vocabulary": (lambda: CharRNN(CORPUS), "vocabulary is a Corpus; .*corpus.vocabulary"),
    "a size in words": (lambda: CharRNN(ABC, "big"), "`hidden_size` big: should be a valid integer"),
    "a dtype of integers": (lambda: CharRNN(ABC, dtype=int), "`dtype` int64: should be 'float32'"),
    "an unknown setting": (lambda: CharRNN(ABC, num_layer=2), "'num_layer' is not a setting; .*'num_layers'"),
    "a seed in words": (lambda: CharRNN(ABC, seed="x"), "seed 'x': should be a whole number"),
    "a negative seed": (lambda: CharRNN(ABC, seed=-1), "seed -1: should be a whole number from 0"),
    "a number as prime": (lambda: MODEL.sample(5), "prime is an int"),
    "a list as prime": (lambda: MODEL.stream(["a"]), "prime is a list"),
    "a negative length": (lambda: MODEL.sample(length=-1), "`length` -1: should be greater"),
    "an unknown keyword": (lambda: MODEL.sample(lenght=5), "'lenght' is not a setting; .*'length'"),
    "a path as model": (lambda: charrnn.evaluate("runs/x", "abc"), "model is a str; .*charrnn.load"),
    "a number to score": (lambda: charrnn.evaluate(MODEL, 5), "text is an int"),
    "unknown tokens": (lambda: charrnn.evaluate(MODEL, np.array([1, 7])), "tokens are 0 to 2; found 1 to 7"),
    "negative tokens": (lambda: charrnn.evaluate(MODEL, np.array([-1, 1])), "tokens are 0 to 2; found -1"),
    "a number as lines": (lambda: charrnn.score_lines(MODEL, 5), "lines is an int; expected a list"),
    "a text as corpus": (lambda: charrnn.train("abc"), "corpus is a str; .*Corpus.from_text"),
    "a dict as config": (lambda: charrnn.train(CORPUS, {"epochs": 1}), "config is a dict; .*TrainConfig"),
    "a number as folder": (lambda: charrnn.train(CORPUS, TrainConfig(), 5), "out is an int"),
    "a network to start from": (lambda: charrnn.train(CORPUS, init_from=MODEL), "init_from is a CharRNN"),
    "a number to resume": (lambda: charrnn.train(CORPUS, resume=3), "resume is an int"),
    "a number as run": (lambda: charrnn.load(5), "run is an int"),
}  # fmt: skip


@pytest.mark.parametrize("name", WRONG)
def test_what_cannot_be_is_a_sentence_that_names_the_argument(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    act, message = WRONG[name]
    with pytest.raises(charrnn.CharRNNError, match=f"^[^\n]*{message}[^\n]*$"):
        act()
    assert not list(tmp_path.iterdir())


def test_a_wrong_type_is_a_type_error_too():
    with pytest.raises(TypeError, match="prime is a float"):
        MODEL.sample(0.5)
    with pytest.raises(ArgumentError):
        Corpus.from_text(5)


def test_a_keyword_that_a_function_lacks_is_named():
    with pytest.raises(TypeError, match="'epochs'"):
        charrnn.train(CORPUS, epochs=5)
