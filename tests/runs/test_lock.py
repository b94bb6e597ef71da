import errno
import os
import sys

import pytest
from small import train

from charrnn.errors import RunError
from charrnn.runs import RunFolder, lock
from charrnn.runs.lock import Lock

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="flock")


@pytest.fixture(autouse=True)
def _no_waiting(monkeypatch):
    monkeypatch.setattr(lock, "LOOKS", 2)


def test_who_holds_the_lock_is_said(tmp_path):
    with Lock(tmp_path):
        message = rf"another process is training there \(process {os.getpid()}\)\. Wait for it, or .* `out`"
        with pytest.raises(RunError, match=message), Lock(tmp_path):
            pass
    assert (tmp_path / ".lock").read_text() == ""


@pytest.mark.parametrize("content", ["\x1b]0;x\a1\n", "secret", "12", "1" * 99 + "\n", "", "٣\n"])
def test_only_a_number_of_a_lock_is_shown(tmp_path, content):
    with Lock(tmp_path):
        (tmp_path / ".lock").write_text(content)
        with pytest.raises(RunError, match=r"is training there\. Wait for it"), Lock(tmp_path):
            pass


def test_a_lock_that_has_a_second_name_is_not_written_to(tmp_path):
    (tmp_path / "mine").write_text("mine\n")
    os.link(tmp_path / "mine", tmp_path / ".lock")
    with Lock(tmp_path), pytest.raises(RunError, match=r"is training there\. Wait"), Lock(tmp_path):
        pass
    assert (tmp_path / "mine").read_text() == "mine\n"


def test_a_lock_of_another_program_is_left_as_it_is(corpus, tmp_path):
    (tmp_path / ".lock").write_text("another program's\n")
    with pytest.raises(RunError), RunFolder(tmp_path):
        raise RunError("nothing was begun")
    assert (tmp_path / ".lock").read_text() == "another program's\n"
    train(corpus, tmp_path, max_steps=1)
    assert (tmp_path / ".lock").read_text() == "another program's\n"


@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir, lambda path: path.symlink_to("outside")])
def test_what_is_no_plain_file_is_not_locked(tmp_path, make):
    make(tmp_path / ".lock")
    with pytest.raises(RunError, match=r"cannot be written|not a plain file"), Lock(tmp_path):
        pass
    assert [path.name for path in tmp_path.iterdir()] == [".lock"]


@pytest.mark.parametrize("code", [errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL])
def test_a_disk_without_locks_is_told_with_the_way_out(tmp_path, monkeypatch, code):
    def refuse(descriptor, operation):
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr("fcntl.flock", refuse)
    with (
        pytest.raises(RunError, match=r"cannot lock files \(.*\).* on a local disk with `out`"),
        Lock(tmp_path),
    ):
        pass
    assert list(tmp_path.iterdir()) == []


def test_a_lock_that_is_removed_while_it_is_taken_is_taken_again(tmp_path, monkeypatch):
    """As by a process that found nothing to train on, and leaves the folder as it was."""
    import fcntl

    original, calls = fcntl.flock, []

    def late(descriptor, operation):
        if not calls:
            (tmp_path / ".lock").unlink()
        calls.append(descriptor)
        original(descriptor, operation)

    monkeypatch.setattr("fcntl.flock", late)
    with Lock(tmp_path) as taken:
        assert len(calls) == 2
        taken.check()


def test_a_number_that_is_yet_to_be_written_is_waited_for(tmp_path, monkeypatch):
    with Lock(tmp_path):
        (tmp_path / ".lock").write_text("")
        monkeypatch.setattr(lock.time, "sleep", lambda seconds: (tmp_path / ".lock").write_text("1234\n"))
        with pytest.raises(RunError, match=r"\(process 1234\)"), Lock(tmp_path):
            pass
