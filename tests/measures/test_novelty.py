import shutil
from pathlib import Path

import numpy as np
import pytest
from conftest import PROVERB, TINY, mapped_memory, watch_mapped_memory
from hypothesis import given
from hypothesis import strategies as st

import charrnn
from charrnn.measures.novelty import LENGTHS, Novelty, found_in, novelty
from charrnn.npz import write_arrays

NAMES = "anna\nbob\ncarla\ndora\nemil\nfrank\n"


def slow(train, prime, texts, ended):
    """The same, asked of strings."""
    substrings, found, lines = dict.fromkeys(LENGTHS, 0), dict.fromkeys(LENGTHS, 0), []
    for text, end in zip(texts, ended, strict=True):
        for length in LENGTHS:
            for i in range(len(text) - length + 1):
                substrings[length] += 1
                found[length] += text[i : i + length] in train
        whole, start = prime + text, 0
        for i, character in enumerate(whole):
            if character == "\n":
                if i >= len(prime):
                    lines.append(whole[start:i])
                start = i + 1
        if end:
            lines.append(whole[start:])
    lines = [line for line in lines if line]
    return Novelty(substrings, found, len(lines), sum(line in train.split("\n") for line in lines))


def fast(train, prime, texts, ended, dtype=np.uint8):
    train, prime = (np.array([ord(c) for c in text], dtype) for text in (train, prime))
    return novelty(train, prime, [[ord(c) for c in text] for text in texts], ord("\n"), ended)


@st.composite
def cases(draw):
    """A training text; and drawn ones, put together from parts of it and a few characters of their own."""
    train = draw(st.text("ab\n", max_size=150))
    slices = st.tuples(st.integers(0, 150), st.integers(0, 60)).map(lambda at: train[at[0] : sum(at)])
    own = st.sampled_from(["", "", "\n", "a", "c"])
    texts = draw(st.lists(st.lists(st.builds(str.__add__, slices, own), max_size=3).map("".join), min_size=1))
    ended = draw(st.lists(st.booleans(), min_size=len(texts), max_size=len(texts)))
    return train, draw(st.text("ab\n", max_size=4)), texts, ended


@given(cases(), st.sampled_from([1, 7, 40, 2**20]), st.sampled_from([np.uint8, np.uint16, np.uint32]))
def test_it_is_what_python_finds(case, piece, dtype):
    """With the training text in pieces, whose borders substrings and lines run across."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("charrnn.measures.novelty.PIECE", piece)
        assert fast(*case, dtype) == slow(*case)


def test_every_place_of_a_copy_is_found(monkeypatch):
    monkeypatch.setattr("charrnn.measures.novelty.PIECE", 64)
    rng = np.random.default_rng(0)
    train = "".join(rng.choice(list("ab"), 500))
    for start in range(0, 460, 3):
        report = fast(train, "", [train[start : start + 40]], [False])
        assert report.found == {10: 31, 20: 21, 40: 1} == report.substrings
        changed = train[start : start + 20] + "c" + train[start + 21 : start + 41]
        assert fast(train, "", [changed], [False]).found == {10: 11 + 11, 20: 2, 40: 0}


@pytest.mark.parametrize("seed", range(3))
def test_substrings_of_one_hash_are_told_apart(seed):
    """With base 1 a hash is the sum of the characters, the same for every order of them."""
    train, drawn = (np.random.default_rng(seed).integers(0, 2, n, np.uint8) for n in (12, 60))
    for text in (drawn, drawn[-4:]):
        expected = [bytes(text[i : i + 4]) in bytes(train) for i in range(len(text) - 3)]
        assert found_in(train, text, 4, base=1).tolist() == expected


def test_substrings_lie_within_one_drawn_text():
    texts = [PROVERB[:15], PROVERB[15:33], PROVERB[33:42]]
    report = fast(PROVERB, "", texts, [False] * 3)
    assert report.substrings == {10: 6 + 9, 20: 0, 40: 0}
    assert (report.share(10), report.share(20)) == (1, None)


def test_the_first_line_goes_on_from_the_prime_text():
    for prime, text, end, lines, copies in [
        ("x\nan", "na\nbob\ncarl", False, 2, 2),
        ("x\nan", "na\nbob\ncarl", True, 3, 2),
        ("", "na\nbob\ncarl", False, 2, 1),
        ("anna\n", "bob\ncarla\n", False, 2, 2),
        ("x\nan", "\nbob\n\n\n", False, 2, 1),  # "an" is a line; empty ones are not counted
        ("x\nan", "na", False, 0, 0),
        ("x\nan", "na", True, 1, 1),
        ("x\nan", "", True, 1, 0),
    ]:
        report = fast(NAMES, prime, [text], [end])
        assert (report.lines, report.copies) == (lines, copies), (prime, text)


def test_lines_are_compared_whole_wherever_a_piece_ends(monkeypatch):
    train = "anna\nannabel\nannabella\nbob\ncarla"  # whose last line ends with it
    for piece in range(1, 40):
        monkeypatch.setattr("charrnn.measures.novelty.PIECE", piece)
        for line in ("anna", "annabel", "annabella", "bob", "carla"):
            assert fast(train, "", [line], [True]).copies == 1
        for line in ("a", "ann", "annab", "annabell", "annabellas", "nna", "bo", "ob", "car", "carlas"):
            assert fast(train, "", [line + "\n"], [False]).copies == 0


def test_a_text_that_knows_no_newline_has_no_lines():
    tokens = np.array([0, 1] * 20, np.uint8)
    report = novelty(tokens, tokens[:3], [[0, 1] * 10], None, [False])
    assert (report.found[10], report.found[20], report.lines) == (11, 1, 0)


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="memory is counted by Linux")
def test_a_mapped_text_does_not_stay_in_memory(tmp_path, monkeypatch):
    tokens = np.random.default_rng(2).integers(0, 99, 2**23, np.uint8)
    tokens.tofile(tmp_path / "tokens")
    mapped = np.memmap(tmp_path / "tokens", np.uint8, "r")
    monkeypatch.setattr("charrnn.measures.novelty.PIECE", 2**18)
    readings = watch_mapped_memory(monkeypatch, "charrnn.measures.novelty")
    texts = [tokens[2**18 - 20 : 2**18 + 20].tolist(), tokens[-99:].tolist()]
    expected = novelty(tokens, tokens[:0], texts, 10, [True, True])  # loads what code there is to load, too
    assert expected.found == {10: 31 + 90, 20: 21 + 80, 40: 1 + 60}
    before = mapped_memory()
    readings.clear()
    assert novelty(mapped, mapped[:0], texts, 10, [True, True]) == expected
    assert readings
    assert max(*readings, mapped_memory()) < before + 5  # of 8 MB; pages may be of 2 MB


# -- the command line -------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def by_heart(tmp_path_factory):
    """A run that has learned names by heart."""
    folder = tmp_path_factory.mktemp("names")
    (folder / "names.txt").write_text(NAMES * 60)
    words = ["--hidden-size", 32, "--seq-length", 16, "--batch-size", 8, "--epochs", 12, "--warmup-steps", 5]
    command = ["train", folder / "names.txt", "--out", folder / "run", "--learning-rate", 0.02, *words]
    assert charrnn.cli.main([str(word) for word in command]) == 0
    return folder / "run"


NOT_COMPARED = "{}/tokens.bin: the text as it was encoded, not compared with its source\n"


def writer_of(run, token_text, tmp_path):
    """A run like another, whose network writes one character over and over."""
    shutil.copytree(run, tmp_path / "copy")
    model = charrnn.CharRNN(charrnn.load(run).vocabulary, 8)
    model.parameters.flat[...] = 0
    model.parameters["b_y"][model.vocabulary.encode(token_text)] = 50
    write_arrays(tmp_path / "copy" / "best.npz", model.arrays())
    return tmp_path / "copy"


def test_what_was_learned_by_heart_is_no_novelty(cli, by_heart):
    words = ["sample", by_heart, "--length", 300, "--temperature", 0, "--seed", 1]
    outcome = cli(*words, "--novelty")
    assert outcome.code == 0
    assert outcome.out == cli(*words).out
    lines = outcome.out.count("\n")
    assert lines > 40
    assert outcome.err == NOT_COMPARED.format(by_heart) + (
        "of its substrings of 10, 20 and 40 characters 100.0%, 100.0% and 100.0% stand in the training text\n"
        f"{lines} of {lines} lines are copies\n"
    )
    assert cli(*words).err == ""


def test_names_drawn_one_a_line_are_copies(cli, by_heart):
    words = ["--num-samples", 70, "--stop", "\n", "--length", 20, "--seed", 2, "--temperature", 0.1]
    outcome = cli("sample", by_heart, *words, "--novelty")
    assert outcome.out == cli("sample", by_heart, *words).out
    assert set(outcome.out.split()) <= set(NAMES.split())
    assert outcome.err == NOT_COMPARED.format(by_heart) + (
        "of its substrings of 10, 20 and 40 characters –, – and – stand in the training text\n"
        "70 of 70 lines are copies\n"
    )
    one = cli("sample", by_heart, "--stop", "\n", "--prime", "an", "--novelty", "--temperature", 0)
    assert (one.out, one.err.splitlines()[-1]) == ("anna", "1 of 1 lines is a copy")
    other = cli(
        "sample",
        by_heart,
        "--stop",
        "\n",
        "--prime",
        "bob\nxan",
        "--novelty",
        "--ignore-unknown",
        "--temperature",
        0,
    )
    assert other.err.splitlines()[-1] == "1 of 1 lines is a copy"  # of the line "an…", not of "bob"


def test_a_text_that_ran_out_of_length_completes_no_line(cli, by_heart):
    words = ["sample", by_heart, "--stop", "\n", "--prime", "an", "--novelty", "--temperature", 0, "--length"]
    assert cli(*words, 2).err.splitlines()[-1] == "no line is complete"  # anna, but the newline was not drawn
    assert cli(*words, 3).err.splitlines()[-1] == "1 of 1 lines is a copy"
    assert cli(*words, 0).err.splitlines()[-1] == "no line is complete"
    stopped = ["sample", by_heart, "--stop", "n", "--prime", "a", "--novelty", "--temperature", 0]
    assert cli(*stopped).err.splitlines()[-1] == "no line is complete"  # stopped, but not at a newline


def test_only_the_training_part_counts(cli, tmp_path):
    text = tmp_path / "text.txt"
    text.write_text("ab\n" * 200 + "c" * 60)
    for name, val_fraction, share in (("a", 0, "100.0%"), ("b", 0.1, "0.0%")):
        out = tmp_path / name
        words = ["--val-fraction", val_fraction, "--test-fraction", 0, "--max-steps", 1]
        assert cli("train", text, "--out", out, *TINY, *words).code == 0
        run = writer_of(out, "c", out)
        err = cli("sample", run, "--length", 30, "--novelty").err.splitlines()
        assert err[1].startswith(
            f"of its substrings of 10, 20 and 40 characters {share}, {share} and – stand"
        )


def test_bytes_are_called_bytes(cli, tmp_path):
    text, out = tmp_path / "text.dat", tmp_path / "run"
    text.write_bytes("é\n".encode() * 300)
    assert cli("train", text, "--bytes", "--out", out, "--max-steps", 1, *TINY).code == 0
    run = writer_of(out, "\n", tmp_path)
    outcome = cli("sample", run, "--prime", "é", "--length", 12, "--novelty")
    assert outcome.out == "é" + "\n" * 12
    assert outcome.err == NOT_COMPARED.format(run) + (
        "of its substrings of 10, 20 and 40 bytes 0.0%, – and – stand in the training text\n"
        "1 of 1 lines is a copy\n"
    )


def test_a_run_whose_text_is_not_found_says_so_before_it_draws(cli, by_heart, tmp_path):
    out = tmp_path / "run"
    shutil.copytree(by_heart, out)
    (out / "tokens.bin").unlink()
    outcome = cli("sample", out, "--novelty")
    assert (outcome.code, outcome.out, len(outcome.err.splitlines())) == (2, "", 1)
    assert "the text it was trained on is not found" in outcome.err
    assert "Leave out --novelty" in outcome.err
    assert cli("sample", out, "--length", 5).code == 0
