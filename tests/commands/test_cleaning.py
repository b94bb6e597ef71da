"""What the commands say of a text and do to it; runs that were made in Python, or moved."""

import codecs
import json
import os
import shutil
import unicodedata
from dataclasses import replace

import numpy as np
import pytest
from conftest import PROVERB, TINY

import charrnn

TEXT = PROVERB * 40
SHORT = {"hidden_size": 8, "seq_length": 16, "batch_size": 4, "warmup_steps": 5, "max_steps": 2}


def settings_noted(run):
    return json.loads((run / "config.json").read_text())["corpus"]


@pytest.fixture
def text(tmp_path):
    path = tmp_path / "text.txt"
    path.write_bytes(codecs.BOM_UTF8 + TEXT.replace("\n", "\r\n").encode())
    return path


def test_one_note_says_what_was_found_and_done(cli, text, tmp_path):
    outcome = cli("train", text, "--out", tmp_path / "run", "--max-steps", 1, *TINY)
    said = " ".join(outcome.out.split())
    for part in (
        "text: 2,920 characters, 20 distinct, 40 lines, utf-8",
        "text.txt: begins with the mark of UTF-8, is read as that, and the mark is dropped",
        "line ends: 40 CR LF, made LF (--newlines)",
    ):
        assert part in said
    assert outcome.err == ""
    note = settings_noted(tmp_path / "run")
    names = "newlines", "normalize", "min_count", "encoding", "sources"
    assert [note[name] for name in names] == ["lf", "none", 1, "utf-8", ["../text.txt"]]


@pytest.mark.parametrize("flags", [[], ["--newlines", "keep"], ["--normalize", "nfc"], ["--min-count", 50]])
def test_a_text_read_in_any_way_is_resumed_and_scored(cli, text, tmp_path, flags):
    out = tmp_path / "run"
    assert cli("train", text, "--out", out, "--max-steps", 2, *TINY, *flags).code == 0
    score = cli("eval", out, "--split", "all").out
    assert cli("train", "--resume", "--out", out, "--max-steps", 3).code == 0
    assert cli("train", text, "--resume", "--out", out, "--max-steps", 4).code == 0
    other = cli("train", text, "--resume", "--out", out, "--newlines", "lf" if "keep" in flags else "keep")
    assert other.code == 2
    assert "this run has" in other.err
    (out / "tokens.bin").unlink()
    assert cli("train", text, "--resume", "--out", out, "--max-steps", 4).code == 0
    assert cli("eval", out, "--split", "all").code == 0
    assert score.startswith("text, all, ")


@pytest.mark.parametrize("name", ["encoding", "newlines", "normalize", "min_count"])
def test_bytes_are_kept_so_these_have_no_effect(cli, text, tmp_path, name):
    value = {"encoding": "utf-8", "newlines": "lf", "normalize": "none", "min_count": 1}[name]
    flag = "--" + name.replace("_", "-")
    outcome = cli("train", text, "--out", tmp_path / "run", "--bytes", flag, value)
    assert outcome.code == 2
    assert f"{flag} has no effect with --bytes" in outcome.err
    out = tmp_path / "run"
    assert cli("train", text, "--out", out, "--bytes", "--max-steps", 2, *TINY).code == 0
    assert cli("train", "--resume", "--out", out, "--max-steps", 3).code == 0
    assert cli("eval", out).code == 0
    assert settings_noted(out)["characters"] == text.stat().st_size


def test_a_model_takes_a_prompt_and_a_text_as_other_programs_write_them(cli, tmp_path):
    plain = tmp_path / "text.txt"
    plain.write_text("café naïve\nfox\n" * 200)
    out = tmp_path / "run"
    assert cli("train", plain, "--out", out, "--max-steps", 2, *TINY).code == 0
    score = json.loads(cli("eval", out, plain, "--json").out)
    drawn = cli("sample", out, "--prime", "café\nfox\n", "--length", 5, "--seed", 1).out
    nfd = unicodedata.normalize("NFD", plain.read_text())
    for blob in (
        codecs.BOM_UTF8 + plain.read_bytes(),
        plain.read_text().replace("\n", "\r\n").encode(),
        nfd.encode(),
        codecs.BOM_UTF16_LE + nfd.replace("\n", "\r").encode("utf-16-le"),
    ):
        (tmp_path / "other.txt").write_bytes(blob)
        outcome = cli("eval", out, tmp_path / "other.txt", "--json")
        assert json.loads(outcome.out)["loss"] == score["loss"]
        assert outcome.err  # it says what it did
    for prime in (
        "café\r\nfox\r\n",
        "cafe\u0301\rfox\n",
        codecs.BOM_UTF16_BE + "café\nfox\n".encode("utf-16-be"),
    ):
        (tmp_path / "prime.txt").write_bytes(prime if isinstance(prime, bytes) else prime.encode())
        outcome = cli("sample", out, "--prime", f"@{tmp_path / 'prime.txt'}", "--length", 5, "--seed", 1)
        assert outcome.out == drawn
        assert outcome.err
        if isinstance(prime, str):
            outcome = cli("sample", out, "--prime", prime, "--length", 5, "--seed", 1)
            assert outcome.out == drawn
            assert "--prime: line ends or letters with accents are written as in" in outcome.err


def test_a_prompt_from_a_file_is_in_the_encoding_of_the_run(cli, tmp_path):
    (tmp_path / "text.txt").write_bytes("naïve fox\n".encode("latin-1") * 200)
    (tmp_path / "prime.txt").write_bytes("naïve ".encode("latin-1"))
    out = tmp_path / "run"
    words = ["--encoding", "latin-1", "--out", out, "--max-steps", 2, *TINY]
    assert cli("train", tmp_path / "text.txt", *words).code == 0
    prime = f"@{tmp_path / 'prime.txt'}"
    assert cli("sample", out, "--prime", prime, "--length", 0).out == "naïve "
    (tmp_path / "prime.txt").write_bytes(b"%PDF-1.4")
    assert "is a PDF document, not a text" in cli("sample", out, "--prime", prime).err


# -- runs made in Python ----------------------------------------------------------------------------


def python_runs(tmp_path):
    (tmp_path / "text.txt").write_text(TEXT)
    files = charrnn.Corpus.from_files(tmp_path / "text.txt")
    return {
        "files": files,
        "text": charrnn.Corpus.from_text(TEXT),
        "bytes": charrnn.Corpus.from_text(TEXT.encode()),
    }


@pytest.mark.parametrize("kind", ["files", "text", "bytes"])
def test_a_run_made_in_python_is_a_whole_run(cli, tmp_path, kind):
    corpus, out = python_runs(tmp_path)[kind], tmp_path / "runs" / "one"
    result = charrnn.train(corpus, charrnn.TrainConfig(**SHORT), out)
    (tmp_path / "text.txt").unlink()
    out = out.rename(tmp_path / "moved")
    score = json.loads(cli("eval", out, "--json", "--split", "test").out)
    assert score["loss"] == result.test_loss
    assert cli("train", "--resume", "--out", out, "--max-steps", 4).code == 0
    outcome = cli("sample", out, "--novelty", "--length", 0)
    assert outcome.code == 0
    assert "tokens.bin: the text as it was encoded, not compared with its source" in outcome.err
    assert "name the CORPUS" in cli("train", "--resume", "--allow-changed-corpus", "--out", out).err
    charrnn.train(corpus, charrnn.TrainConfig(**SHORT | {"max_steps": 6}), out, resume=True)
    (out / "tokens.bin").unlink()
    outcome = cli("eval", out)
    assert outcome.code == 2  # and never the bundled text
    assert "is not found" in outcome.err


def test_a_run_notes_how_its_text_was_read_by_itself(tmp_path):
    (tmp_path / "text.md").write_bytes(("naïve " + TEXT).encode("latin-1"))
    corpus = charrnn.Corpus.from_files(tmp_path, glob="*.md", encoding="latin-1", newlines="keep")
    charrnn.train(corpus, charrnn.TrainConfig(**SHORT), tmp_path / "runs" / "one")
    note = settings_noted(tmp_path / "runs" / "one")
    names = "sources", "encoding", "glob", "newlines", "bytes"
    assert [note[name] for name in names] == [["../.."], "iso8859-1", ["*.md"], "keep", False]


def test_a_run_goes_on_only_with_its_text_read_as_before(text, tmp_path):
    charrnn.train(charrnn.Corpus.from_files(text), charrnn.TrainConfig(**SHORT), tmp_path / "run")
    before = (tmp_path / "run" / "last.npz").read_bytes()
    for how in ({"newlines": "keep"}, {"min_count": 50}):
        corpus = charrnn.Corpus.from_files(text, **how)
        with pytest.raises(charrnn.CharRNNError, match=r"as 2,920 characters, not as .*with utf-8\.lf"):
            charrnn.train(corpus, charrnn.TrainConfig(**SHORT), tmp_path / "run", resume=True)
    assert (tmp_path / "run" / "last.npz").read_bytes() == before


def test_a_run_that_replaces_another_replaces_its_text(cli, tmp_path):
    out = tmp_path / "run"
    charrnn.train(charrnn.Corpus.from_text(TEXT), charrnn.TrainConfig(**SHORT), out)
    other = charrnn.Corpus.from_text(TEXT.upper(), "upper")
    with pytest.raises(charrnn.CharRNNError, match="`cell`"):
        charrnn.train(other, charrnn.TrainConfig(**SHORT, cell="gru"), out, overwrite=True, init_from=out)
    assert cli("eval", out).out.startswith("text, ")
    charrnn.train(other, charrnn.TrainConfig(**SHORT), out, overwrite=True)
    outcome = cli("eval", out)
    assert outcome.out.startswith("upper, ")
    assert sorted(path.name for path in out.iterdir() if "tokens" in path.name) == ["tokens.bin"]


def test_no_path_of_the_machine_is_in_a_note(cli, text, tmp_path, monkeypatch):
    cache = tmp_path / "cache"
    monkeypatch.chdir(tmp_path)
    assert cli("train", text, "--out", tmp_path / "runs" / "a", "--max-steps", 1, *TINY).code == 0
    words = ["--cache-dir", cache, "--init-from", tmp_path / "runs" / "a", "--max-steps", 1]
    words += ["--seq-length", 16, "--batch-size", 4]
    assert cli("train", "text.txt", "--out", "runs/b", *words).code == 0
    for run in ("a", "b"):
        assert str(tmp_path) not in (tmp_path / "runs" / run / "config.json").read_text()
    moved = tmp_path / "elsewhere"
    moved.mkdir()
    for name in ("runs", "text.txt", "cache"):
        shutil.move(tmp_path / name, moved / name)
    for run in ("a", "b"):
        assert cli("eval", moved / "runs" / run).code == 0
        assert cli("train", "--resume", "--out", moved / "runs" / run, "--max-steps", 2).code == 0


@pytest.mark.skipif(os.name != "posix", reason="a root of its own")
def test_a_source_that_shares_only_the_root_is_noted_by_its_whole_path(tmp_path):
    corpus = charrnn.Corpus.from_text(TEXT)
    charrnn.train(
        replace(corpus, sources=("/nowhere/a.txt", "-")), charrnn.TrainConfig(**SHORT), tmp_path / "r"
    )
    assert settings_noted(tmp_path / "r")["sources"] == ["/nowhere/a.txt", "-"]


# -- vocabularies -----------------------------------------------------------------------------------


@pytest.fixture
def first(cli, tmp_path):
    """A run on an alphabet, with a Q that no other text has."""
    path = tmp_path / "first.txt"
    path.write_text("the Quick fox\n" * 100)
    assert cli("train", path, "--out", tmp_path / "first", "--max-steps", 2, *TINY).code == 0
    return tmp_path / "first"


def test_init_from_keeps_both_alphabets_or_lists_what_it_drops(cli, first, tmp_path):
    path, words = tmp_path / "other.txt", ["--init-from", first, "--max-steps", 1, "--batch-size", 4]
    path.write_text("the hen ΩΩΩ\n" * 100)
    old = charrnn.load(first)
    outcome = cli("train", path, "--out", tmp_path / "a", *words)
    assert "8 characters of" in outcome.out
    assert "'Q' (U+0051), 'c' (U+0063)" in outcome.out
    assert "--keep-vocabulary keeps them" in outcome.out
    assert charrnn.load(tmp_path / "a").vocabulary == charrnn.Vocabulary.of_text(path.read_text())
    outcome = cli(
        "train", path, "--out", tmp_path / "b", *words, "--keep-vocabulary", "--learning-rate", 1e-30
    )
    assert "dropped" not in outcome.out
    new = charrnn.load(tmp_path / "b")
    assert new.vocabulary == charrnn.Vocabulary.of_text("the Quick fox\nhen Ω")
    i, j = new.vocabulary.encode("Q")[0], old.vocabulary.encode("Q")[0]
    np.testing.assert_array_equal(new.parameters["W_ya"][:, i], old.parameters["W_ya"][:, j])
    path.unlink()
    assert cli("train", "--resume", "--out", tmp_path / "b", "--max-steps", 2).code == 0
    assert cli("eval", tmp_path / "b").code == 0
    assert cli("sample", tmp_path / "b", "--prime", "Quick Ω", "--length", 1, "--novelty").code == 0


@pytest.mark.parametrize("of", ["file", "run"])
def test_a_vocabulary_is_fixed_beforehand(cli, first, tmp_path, of):
    path, known = tmp_path / "other.txt", tmp_path / "known.txt"
    path.write_text("the hen\r\n" * 100)
    known.write_text("the Quick fox\r\n")
    words = ["train", path, "--out", tmp_path / "run", "--max-steps", 2, *TINY]
    words += ["--vocabulary", first if of == "run" else known]
    outcome = cli(*words)
    assert outcome.code == 2
    assert "does not know 'n' (U+006E)" in outcome.err
    outcome = cli(*words, "--ignore-unknown")
    assert "100 characters dropped, 1 distinct, which the vocabulary lacks: 'n'" in " ".join(
        outcome.out.split()
    )
    assert charrnn.load(tmp_path / "run").vocabulary == charrnn.load(first).vocabulary
    assert cli("train", path, "--resume", "--out", tmp_path / "run", "--max-steps", 3).code == 0
    path.unlink()
    assert cli("train", "--resume", "--out", tmp_path / "run", "--max-steps", 4).code == 0
    assert cli("eval", tmp_path / "run").code == 0


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--keep-vocabulary"], "--keep-vocabulary: is for --init-from"),
        (["--ignore-unknown"], "--ignore-unknown: is for --vocabulary"),
        (["--vocabulary", "first", "--resume"], "--vocabulary starts a new run"),
        (["--vocabulary", "first", "--min-count", 2], "--min-count has no effect with --vocabulary"),
        (["--vocabulary", "first", "--bytes"], "has no effect on bytes"),
        (["--vocabulary", "nowhere"], "no such file"),
        (["--vocabulary", "empty"], "not the folder of a run"),
    ],
)
def test_flags_of_a_vocabulary_that_mean_nothing(cli, first, tmp_path, monkeypatch, flags, message):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    outcome = cli("train", "first.txt", "--out", "first" if "--resume" in flags else "run", *flags, *TINY)
    assert outcome.code == 2
    assert message in outcome.err
    assert not (tmp_path / "run").exists()
