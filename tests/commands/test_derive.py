import os
import threading

import pytest

ANSWER = "def db_a(dz): return dz.sum((0, 1))"


def test_it_says_which_files_it_checks(cli, monkeypatch, tmp_path):
    for words in ([], ["--rule", "3W"], ["--json"]):
        assert "charrnn/layers" in cli("derive", *words).out
    assert "charrnn/layers" not in cli("derive", "--markdown").out  # a document, of no one machine
    monkeypatch.chdir(tmp_path)
    assert cli("derive").out.startswith("checking the functions in /")


def test_flags_without_effect_on_the_exercises_are_refused(cli, tmp_path):
    (tmp_path / "mine.py").write_text(ANSWER)
    outcome = cli("derive", "--answer", tmp_path / "mine.py", "--cell", "lstm")
    assert outcome.code == 2
    assert "--cell has no effect with --answer" in outcome.err
    assert cli("derive", "--answer", tmp_path / "mine.py", "--seed", 3).code == 0


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no FIFOs")
def test_answers_come_through_a_pipe_and_from_no_device(cli, tmp_path):
    assert "/dev/zero: a folder or a device" in cli("derive", "--answer", "/dev/zero").err
    (tmp_path / "long.py").write_text("#" * 1_000_001)
    assert "long.py: larger than 1 MB" in cli("derive", "--answer", tmp_path / "long.py").err
    os.mkfifo(tmp_path / "mine.py")
    writer = threading.Thread(target=(tmp_path / "mine.py").write_text, args=[ANSWER])
    writer.start()
    assert cli("derive", "--answer", tmp_path / "mine.py").out == "db_a: right\n"
    writer.join()
