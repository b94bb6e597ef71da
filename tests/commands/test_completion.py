import shutil
import subprocess
import sys

import pytest

SHELLS = ["bash", "zsh", "fish"]


@pytest.mark.parametrize("shell", SHELLS)
def test_a_script_has_every_command_and_the_shell_can_read_it(cli, tmp_path, shell):
    pytest.importorskip("shtab", reason="shtab is optional")
    outcome = cli("completion", shell)
    assert outcome.code == 0
    for word in ("train", "sample", "hidden-size", "temperature"):
        assert word in outcome.out
    if shutil.which(shell):
        script = tmp_path / "script"
        script.write_text(outcome.out)
        subprocess.run([shell, "-n", str(script)], check=True)


def test_without_shtab_it_says_what_to_install(cli, monkeypatch):
    monkeypatch.setitem(sys.modules, "shtab", None)
    outcome = cli("completion", "bash")
    assert (outcome.code, outcome.err.count("\n")) == (2, 1)
    assert "charrnn-numpy[completion]" in outcome.err


def test_another_shell_is_refused(cli):
    outcome = cli("completion", "csh")
    assert outcome.code == 2
    assert "bash" in outcome.err
