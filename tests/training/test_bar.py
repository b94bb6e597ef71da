"""The bar, and its lines: no more often than twice a second, and what they say of the best stays true."""

import pytest
from small import SETTINGS, Spy

import charrnn
from charrnn.training import bar
from charrnn.training.bar import Bar


def test_true_shows_a_bar_and_a_line_for_each_validation(corpus, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(bar, "OFTEN", 0)
    spy, config = Spy(), charrnn.TrainConfig(**SETTINGS | {"eval_every": 30, "sample_every": 70})
    charrnn.train(corpus, config, tmp_path / "spy", progress=spy)
    assert capsys.readouterr() == ("", "")
    charrnn.train(corpus, config, tmp_path / "none", progress=False)
    assert capsys.readouterr() == ("", "")
    charrnn.train(corpus, config, tmp_path / "bar", progress=True)
    out, err = capsys.readouterr()
    lines = [line.split() for line in out.splitlines() if line.startswith("epoch")]
    assert [int(words[3]) for words in lines] == [step for step, *_ in spy.scores]
    assert [float(words[7]) for words in lines] == [round(score[2], 4) for score in spy.scores]
    assert [words[-1] == "best" for words in lines] == [score[3] for score in spy.scores]
    assert out.count("    | ") >= len(spy.samples) == 1
    assert "%|" in err
    assert "bits/char" in err


def test_lines_held_back_leave_the_best_and_the_last(capsys, monkeypatch):
    now = 10.0
    monkeypatch.setattr(bar.time, "monotonic", lambda: now)
    shown = Bar(disable=True)
    shown.start(0, 100)

    def told():
        return [int(line.split()[3]) for line in capsys.readouterr().out.splitlines() if "step" in line]

    def scores(*steps, seconds=0.1):
        nonlocal now
        now += seconds
        for step, best in steps:
            shown.evaluated(step, step / 10, 1.0, 1.0, best)
        return told()

    assert scores((1, True)) == [1]  # the first is printed at once
    assert scores((2, True), (3, True), (4, False)) == []
    assert scores((5, False), seconds=0.4) == [3, 5]  # half a second later: 3 is the best so far, and marked
    assert scores((6, True), (7, False), (8, False)) == []
    shown.say("something")
    assert told() == [6, 8]  # in the order in which it happened
    shown.stop()
    assert told() == []


def test_what_is_held_back_is_printed_at_the_end(capsys):
    shown = Bar(disable=True)
    shown.start(0, 100)
    for step in range(1, 6):
        shown.evaluated(step, step / 10, 1.0, 1.0, step == 3)
    shown.stop()
    lines = capsys.readouterr().out.splitlines()
    assert [(line.split()[3], line.endswith("best")) for line in lines] == [
        ("1", False),
        ("3", True),
        ("5", False),
    ]


@pytest.mark.parametrize("wrong", [3, "yes", charrnn.Corpus])
def test_what_is_no_progress_is_refused(corpus, tmp_path, wrong):
    with pytest.raises(charrnn.CharRNNError, match=r"^progress is an? .*; expected True, or"):
        charrnn.train(corpus, out=tmp_path / "run", progress=wrong)
    assert not (tmp_path / "run").exists()


def test_the_time_left_follows_the_end(capsys):
    shown = Bar()
    shown.start(0, 1000)
    shown.moved(200)
    shown.step(100, 1.0)
    shown.stop()
    assert "100/200" in capsys.readouterr().err
