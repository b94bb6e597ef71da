"""The command line, with texts of many documents."""

import json

import pytest
from conftest import TINY

import charrnn

WORDS = ["the", "fox", "who", "asked", "twice", "was", "answered", "once", "hen", "never", "knew", "all"]
NAMES = [a + b for a in WORDS for b in WORDS]


@pytest.fixture(scope="module")
def names(tmp_path_factory):
    path = tmp_path_factory.mktemp("names") / "names.txt"
    path.write_text("\n".join(NAMES))  # no newline at the end
    return path


@pytest.fixture
def run_of_names(cli, names, tmp_path):
    out = tmp_path / "run"
    outcome = cli("train", names, "--documents", "line", "--out", out, "--epochs", 2, *TINY)
    assert outcome.code == 0
    assert "144 documents" in outcome.out
    assert "the last document did not end with the separator, which was added (--documents)" in " ".join(
        outcome.out.split()
    )
    return out


def records(outcome):
    assert outcome.code == 0, outcome.err
    return [json.loads(line) for line in outcome.out.splitlines()]


def test_documents_are_scored_a_line_each(cli, run_of_names, names, tmp_path):
    (whole,) = records(cli("eval", run_of_names, "--json"))
    lines = records(cli("eval", run_of_names, "--by", "document", "--json"))
    assert [line["index"] for line in lines] == list(range(whole["documents"]))
    assert all(line["text"].endswith("\n") and line["text"][:-1] in NAMES for line in lines)
    assert all(line["characters"] == len(line["text"]) for line in lines)  # the first one and the end too
    nats = sum(line["nats"] for line in lines)
    assert whole["characters"] == sum(line["characters"] for line in lines)
    assert whole["loss"] == pytest.approx(nats / whole["characters"], rel=1e-5)
    assert whole["nats_per_document"] == pytest.approx(nats / len(lines), rel=1e-5)
    shown = cli("eval", run_of_names, "--by", "document").out.splitlines()
    assert len(shown) == 1 + len(lines)
    characters = records(cli("eval", run_of_names, "--by", "character", "--json"))
    assert sum(record["nats"] for record in characters) == pytest.approx(nats, rel=1e-5)
    given = tmp_path / "given.txt"
    given.write_bytes(b"hen\r\nfox")
    both = records(cli("eval", run_of_names, given, "--by", "document", "--json"))
    assert [record["text"] for record in both] == ["hen\n", "fox\n"]
    one = records(cli("eval", run_of_names, given, "--json"))[0]
    assert one["nats_per_document"] == pytest.approx(sum(record["nats"] for record in both) / 2, rel=1e-5)


def test_all_parts_together_are_the_text(cli, run_of_names):
    found = []
    for split in ("train", "val", "test"):
        found += records(cli("eval", run_of_names, "--by", "document", "--split", split, "--json"))
    assert sorted(record["text"] for record in found) == sorted(name + "\n" for name in NAMES)
    assert len(found) == len(NAMES)


def test_n_grams_are_counted_by_document(cli, run_of_names):
    (report,) = records(cli("eval", run_of_names, "--baselines", "--json"))
    assert report["baselines"]["3-gram"] < report["baselines"]["unigram"]


def test_a_run_says_its_documents_again(cli, run_of_names, names, tmp_path):
    note = json.loads((run_of_names / "config.json").read_text())
    assert note["corpus"]["documents"] == "line"
    assert cli("train", "--resume", "--out", run_of_names, "--epochs", 3).code == 0
    assert cli("train", names, "--resume", "--out", run_of_names, "--epochs", 4).code == 0
    moved = run_of_names.rename(tmp_path / "moved")
    assert records(cli("eval", moved, "--json"))[0]["documents"] > 1
    other = cli("train", names, "--resume", "--out", moved, "--documents", "blank-line")
    assert other.code == 2
    assert "--documents blank-line: this run has line" in other.err


def test_by_document_is_for_runs_of_documents(cli, run_folder):
    outcome = cli("eval", run_folder, "--by", "document")
    assert outcome.code == 2
    assert "--by document: this run was trained without --documents" in outcome.err


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--documents", "line", "--stateless"], "--stateless starts each window"),
        (["--no-shuffle-documents"], "--shuffle-documents has no effect without --documents"),
        (["--documents", "blank-line"], "the text is one document"),
        (["--documents", "%%"], "the text is one document"),
        (["--documents", "x" * 101], "--documents"),
        (["--documents", "file", "--val-file", "missing.txt"], "missing.txt: no such file"),
        (["--val-file", ".", "--documents", "line"], ".: a folder; a part of its own is one file"),
        (["--val-file", "v", "--val-fraction", "0.1"], "--val-fraction has no effect with --val-file"),
    ],
)
def test_what_cannot_be(cli, names, tmp_path, flags, said):
    outcome = cli("train", names, "--out", tmp_path / "run", *TINY, *flags)
    assert outcome.code == 2, outcome.out
    assert said in outcome.err
    assert outcome.err.count("\n") <= 2
    assert not (tmp_path / "run" / "config.json").exists()


@pytest.mark.parametrize("documents", [[], ["--documents", "line"]])
def test_parts_of_ones_own(cli, names, tmp_path, documents):
    val, test = tmp_path / "val.txt", tmp_path / "test.txt"
    val.write_text("foxfox\nhenhen\n")
    test.write_text("theall\nallthe\nwhoknew\n")
    out, files = tmp_path / "run", ["--val-file", val, "--test-file", test]
    trained = cli("train", names, *files, *documents, "--out", out, "--epochs", 1, *TINY)
    assert trained.code == 0, trained.err
    scored = {
        split: "".join(
            record["text"] for record in records(cli("eval", out, "--by", "line", "--split", split, "--json"))
        )
        for split in ("train", "val", "test")
    }
    assert scored["val"] == "foxfox\nhenhen\n"
    assert scored["test"] == "theall\nallthe\nwhoknew\n"
    assert sorted(scored["train"].split()) == sorted(NAMES)
    assert cli("train", "--resume", "--out", out, "--epochs", 2).code == 0
    assert cli("train", names, *files, "--resume", "--out", out, "--epochs", 3).code == 0
    missing = cli("train", names, "--resume", "--out", out, "--epochs", 4)
    assert missing.code == 2
    assert "--val-file" in missing.err
    val.write_text("another\n")
    changed = cli("train", names, *files, "--resume", "--out", out, "--epochs", 4)
    assert changed.code == 2
    assert "another text" in changed.err
    (out / "tokens.bin").unlink()
    gone = cli("eval", out)
    assert gone.code == 2
    assert "is outside of the run, so it is not opened" in gone.err


def test_a_run_finds_its_own_files_in_its_folder(cli, tmp_path):
    out = tmp_path / "run"
    out.mkdir()
    for name, text in (("a", "\n".join(NAMES)), ("v", "foxfox\nhenhen\n")):
        (out / f"{name}.txt").write_text(text)
    words = ["train", out / "a.txt", "--val-file", out / "v.txt", "--documents", "line", "--out", out]
    assert cli(*words, "--epochs", 1, *TINY).code == 0
    before = records(cli("eval", out, "--json"))
    (out / "tokens.bin").unlink()
    assert records(cli("eval", out, "--json")) == before


@pytest.fixture(scope="module")
def learned(names, tmp_path_factory):
    """A run that has learned how names begin and end."""
    out = tmp_path_factory.mktemp("learned") / "run"
    corpus = charrnn.Corpus.from_files(names, documents="line")
    config = charrnn.TrainConfig(hidden_size=48, seq_length=16, batch_size=4, epochs=40, learning_rate=0.01)
    charrnn.train(corpus, config, out)
    return out


def test_documents_are_drawn_from_their_beginning_to_their_end(cli, learned):
    drawn = cli("sample", learned, "--num-samples", 40, "--seed", 1)
    assert (drawn.code, drawn.err) == (0, "")
    names = drawn.out.split("\n")
    assert names.pop() == ""
    assert len(names) == 40
    assert sum(name in NAMES for name in names) > 30
    one = cli("sample", learned, "--seed", 1)
    assert one.out == names[0]
    found = records(cli("sample", learned, "--num-samples", 40, "--seed", 1, "--format", "jsonl"))
    assert [record["text"] for record in found] == names
    assert all(record["ended"] for record in found)
    primed = cli("sample", learned, "--num-samples", 9, "--seed", 2, "--prime", "hen").out.splitlines()
    assert all(name.startswith("hen") for name in primed)
    assert sum(name in NAMES for name in primed) > 5
    after_others = cli("sample", learned, "--num-samples", 9, "--seed", 2, "--prime", "all\nfox\nhen").out
    assert after_others.replace("all\nfox\n", "") == "".join(name + "\n" for name in primed)
    cut = cli("sample", learned, "--length", 2)
    assert cut.err == "cut at --length 2, before the document ended\n"
    assert "lines are copies" in cli("sample", learned, "--num-samples", 9, "--novelty").err


def test_drawn_files_are_parted_by_newlines(cli, tmp_path):
    for i, name in enumerate(NAMES):
        (tmp_path / f"{i}.txt").write_text(name)
    out = tmp_path / "run"
    assert cli("train", tmp_path, "--documents", "file", "--out", out, "--epochs", 9, *TINY).code == 0
    drawn = cli("sample", out, "--num-samples", 5, "--length", 40)
    assert drawn.out.count("\n") == 5
    assert "\x03" not in drawn.out
