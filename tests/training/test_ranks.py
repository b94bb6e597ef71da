"""Training over the ranks of an MPI job, started as a user starts it."""

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
import uuid
from pathlib import Path

import pytest
from conftest import ROOT, assert_same_run, metrics, position

from charrnn.cli import main
from charrnn.launcher import launched
from charrnn.npz import read_arrays

MPIEXEC = shutil.which("mpiexec", path=Path(sys.executable).parent) or shutil.which("mpiexec")
SMALL = ["--hidden-size", 16, "--seq-length", 16, "--batch-size", 6, "--epochs", 3, "--warmup-steps", 5]
SMALL += ["--learning-rate", 0.01, "--log-every", 1, "--sample-every", 20, "--kernels", "numpy"]


def once(words):
    """The words of a command; of a flag with a value that is given twice the last one counts."""
    words = [str(word) for word in words]
    for flag in [word for word in words if word.startswith("--")]:
        while words.count(flag) > 1:
            first = words.index(flag)
            del words[first : first + 2]
    return words


class Job:
    """A command under mpiexec: some ranks of it."""

    def __init__(self, ranks, *words, first_rank=("-m", "charrnn"), last_rank=("-m", "charrnn")):
        pytest.importorskip("mpi4py", reason="mpi4py is not installed: pip install mpi4py mpich")
        if MPIEXEC is None:
            pytest.skip("there is no mpiexec: pip install mpich")
        self.mark = uuid.uuid4().hex
        words = once(words)
        command = [MPIEXEC, "-n", "1", sys.executable, *first_rank, *words]
        if ranks > 2:
            command += [":", "-n", str(ranks - 2), sys.executable, "-m", "charrnn", *words]
        command += [":", "-n", "1", sys.executable, *last_rank, *words]
        env = os.environ | {"PYTHONPATH": str(ROOT), "MARK": self.mark}
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        self.process = subprocess.Popen(command, env=env, text=True, **pipes)

    def end(self):
        """Wait for it. Returns: its exit code, and what it printed."""
        try:
            out, err = self.process.communicate(timeout=120)
        finally:
            self.process.kill()
        return self.process.returncode, out, err

    def pid(self, rank):
        """The process of a rank."""
        for folder in Path("/proc").glob("[0-9]*"):
            try:
                variables = (folder / "environ").read_bytes().split(b"\0")
                words = (folder / "cmdline").read_bytes()
            except OSError:
                continue
            ours = f"MARK={self.mark}".encode() in variables and f"PMI_RANK={rank}".encode() in variables
            if ours and b"train" in words.split(b"\0"):
                return int(folder.name)
        return None


def trained(ranks, *words):
    code, out, err = Job(ranks, "train", *words).end()
    assert code == 0, (out, err)
    assert "Traceback" not in err
    return out


def trained_alone(*words):
    assert main(["train", *once(words)]) == 0


FORMS = {
    "plain": (2, []),
    "three ranks": (3, ["--batch-size", 7]),
    "lstm, dropout": (2, ["--cell", "lstm", "--num-layers", 2, "--dropout", 0.3, "--embedding-size", 5]),
    "segments": (3, ["--recompute-every", 5, "--dropout", 0.3]),
    "sgd, plateau": (2, ["--optimizer", "sgd", "--clip-value", 0.01, "--schedule", "plateau"]),
    "average": (3, ["--average", "ema", "--schedule", "constant"]),
    "double": (2, ["--dtype", "float64", "--batch-size", 3]),
    "stateless": (2, ["--stateless"]),
    "documents": (3, ["--documents", "line", "--val-fraction", 0.2]),
    "numba": (2, ["--kernels", "numba", "--cell", "gru"]),
}


@pytest.mark.parametrize("form", FORMS)
def test_ranks_of_one_process_give_the_bits_of_as_many_shards(text_file, tmp_path, form):
    ranks, flags = FORMS[form]
    if "numba" in flags:
        pytest.importorskip("numba", reason="numba is not installed")
    words = [text_file, *SMALL, *flags]
    if form == "sgd, plateau":
        words[words.index("--learning-rate") + 1] = 0.5
    out = trained(ranks, *words, "--threads", 1, "--out", tmp_path / "ranks")
    assert f"{ranks} ranks" in out.replace("\n ", "")
    trained_alone(*words, "--threads", ranks, "--out", tmp_path / "shards")
    assert_same_run(tmp_path / "ranks", tmp_path / "shards")
    assert len([line for line in metrics(tmp_path / "ranks") if line["val_loss"]]) == 3


def test_ranks_of_two_processes_train_too(text_file, tmp_path):
    words = [text_file, *SMALL]
    for name in ("one", "other"):
        trained(2, *words, "--threads", 2, "--out", tmp_path / name)
    assert_same_run(tmp_path / "one", tmp_path / "other")
    trained_alone(*words, "--threads", 1, "--out", tmp_path / "alone")
    loss, alone = (position(tmp_path / name)["best_val_loss"] for name in ("one", "alone"))
    assert loss == pytest.approx(alone, rel=1e-3)


def test_a_run_that_diverges_goes_back_on_all_ranks(text_file, tmp_path):
    wild = ["--optimizer", "sgd", "--momentum", 0, "--clip-norm", 0, "--schedule", "constant"]
    wild += ["--warmup-steps", 0, "--learning-rate", 8, "--eval-every", 15]
    words = [text_file, *(word for word in SMALL if word != "--clip-norm"), *wild]
    out = trained(2, *words, "--threads", 1, "--out", tmp_path / "ranks")
    assert "rollback 1 of 3" in out
    trained_alone(*words, "--threads", 2, "--out", tmp_path / "shards")
    assert_same_run(tmp_path / "ranks", tmp_path / "shards")


@pytest.mark.parametrize("ranks", [2, 3])
def test_a_rank_that_is_killed_is_named_and_loses_nothing_saved(text_file, tmp_path, ranks):
    """Five kills at any moment, of one rank after the other: the run comes to the bits of one without."""
    words = [text_file, *SMALL, "--epochs", 80, "--threads", 1, "--save-every", 0.2]
    trained(ranks, *words, "--out", tmp_path / "whole")
    run, draw = tmp_path / "killed", random.Random(ranks)
    for kill in range(5):
        resume = ["--resume"] if run.exists() else []
        job, victim = Job(ranks, "train", *words, *resume, "--out", run), kill % ranks
        lines = len(metrics(run)) if resume else 0
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:  # until it trains
            if (run / "metrics.jsonl").exists() and (run / "metrics.jsonl").read_text().count(
                "\n"
            ) > lines + 5:
                break
            time.sleep(0.01)
        time.sleep(draw.uniform(0, 0.15))
        pid = job.pid(victim)
        if pid is None:
            pytest.fail(str(job.end()))
        os.kill(pid, signal.SIGKILL)
        code, _, err = job.end()
        assert code != 0
        (said,) = [line for line in err.splitlines() if line.startswith("charrnn")]
        assert said.startswith(f"charrnn: rank {victim} (process {pid} on ")
        assert said.endswith(f"--resume --out {run}")
        assert f"mpiexec -n {ranks} " in said
    trained(ranks, *words, "--resume", "--out", run)
    assert_same_run(tmp_path / "whole", run)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_to_mpiexec_saves_the_run(text_file, tmp_path, number):
    words = [text_file, *SMALL, "--threads", 1, "--epochs", 20]
    trained(2, *words, "--out", tmp_path / "whole")
    run = tmp_path / "run"
    job = Job(2, "train", *words, "--out", run)
    while not (run / "metrics.jsonl").exists() or (run / "metrics.jsonl").read_text().count("\n") < 20:
        assert job.process.poll() is None
        time.sleep(0.01)
    job.process.send_signal(number)
    code, out, err = job.end()
    assert code == 128 + number, (out, err)
    assert "; saved. To resume: mpiexec -n 2 " in out
    assert "has died" not in err
    assert position(run)["step"] == metrics(run)[-1]["step"]
    trained(2, *words, "--resume", "--out", run)
    assert_same_run(tmp_path / "whole", run)


def test_another_number_of_ranks_goes_on_and_says_so(text_file, tmp_path):
    words = [text_file, *SMALL, "--threads", 1, "--out", tmp_path / "run"]
    trained(2, *words)
    for ranks in (3, 2):
        out = trained(ranks, *words, "--resume", "--epochs", 6 - ranks + 2)
        assert "ranks so far" in out
        assert position(tmp_path / "run")["step"] == metrics(tmp_path / "run")[-1]["step"]
        assert json.loads(str(read_arrays(tmp_path / "run" / "last.npz")["position"]))["ranks"] == ranks
    assert "ranks so far" not in trained(2, *words, "--resume", "--epochs", 7)


WRONG = {
    "more ranks than rows": (["--batch-size", 2], "--batch-size 2: 3 ranks share its rows"),
    "no text": ([], "cannot be read"),
    "a flag": (["--hiden-size", 3], "--hiden-size"),
    "a value": (["--dropout", 3], "--dropout 3"),
    "a short text": (["--seq-length", 5000], "the training part has"),
}


@pytest.mark.parametrize("wrong", WRONG)
def test_what_is_wrong_is_said_once(text_file, tmp_path, wrong):
    flags, said = WRONG[wrong]
    text = tmp_path / "none.txt" if wrong == "no text" else text_file
    code, out, err = Job(3, "train", text, *SMALL, *flags, "--out", tmp_path / "run").end()
    assert code == 2, (out, err)
    if wrong != "no text":
        assert said in err
    assert 1 <= err.count("\n") <= 2, err
    assert err.count("charrnn train: ") == 1
    assert not (tmp_path / "run" / "config.json").exists()


BROKEN = """
import sys
from charrnn import cli
from charrnn.training import optim, ranks, shards
original = shards.Shards.loss_and_gradients, optim.Adam.step
steps = []
def no_room(self, *batch):
    steps.append(0)
    if len(steps) == 7:
        raise {error}
    return original[0](self, *batch)
def other_bits(self, gradients, rate):
    original[1](self, gradients, rate)
    self.parameters[0] += 1e-6
{patch}
sys.exit(cli.main())
"""


@pytest.mark.parametrize(
    ("error", "said"),
    [
        ("MemoryError('no room')", "not enough memory: no room"),
        ("ValueError('a bug')", "ValueError('a bug')"),
    ],
)
def test_an_error_on_another_rank_is_said_on_the_first(text_file, tmp_path, error, said):
    script = BROKEN.format(patch="shards.Shards.loss_and_gradients = no_room", error=error)
    words = [text_file, *SMALL, "--threads", 1, "--out", tmp_path / "run"]
    code, out, err = Job(3, "train", *words, last_rank=("-c", script)).end()
    assert code == 2, (out, err)
    (line,) = [line for line in err.splitlines() if line.startswith("charrnn")]
    assert line.startswith("charrnn train: rank 2 on ")
    assert line.endswith(said)
    assert position(tmp_path / "run")["step"] == 6
    trained(3, *words, "--resume")
    trained(3, *words[:-1], tmp_path / "whole")
    assert_same_run(tmp_path / "whole", tmp_path / "run")


def test_ranks_whose_weights_part_are_found_out(text_file, tmp_path):
    script = BROKEN.format(patch="optim.Adam.step = other_bits", error="None")
    words = [text_file, *SMALL, "--threads", 1, "--out", tmp_path / "run"]
    code, _, err = Job(2, "train", *words, last_rank=("-c", script)).end()
    assert code == 2
    assert "charrnn train: rank 1 no longer has the weights of rank 0" in err


BENCH = ["bench", "--hidden-size", 8, "--seq-length", 4, "--seconds", 0.01, "--kernels", "numpy"]


def test_bench_measures_ranks():
    code, out, err = Job(3, *BENCH, "--batch-size", 6, "--json").end()
    assert code == 0, (out, err)
    report = json.loads(out)
    assert report["ranks"] == 3
    assert [point["batch_size"] for point in report["points"]] == [3, 6, 12]
    for point in report["points"]:
        assert point["sum_seconds"] > 0 < point["words_seconds"]
        assert point["sum_bytes"] == 4 * (61 * 8 + 8 * 8 + 8 + 8 * 61 + 61)
        assert point["words_bytes"] == 2 * 4 * point["batch_size"] // 3
    assert len(report["predicted"]) == 18


def test_bench_says_what_the_sum_costs():
    code, out, err = Job(
        2, *BENCH, "--batch-size", 8, "--threads", 2, "--cell", "lstm", "--dropout", 0.2
    ).end()
    assert code == 0, (out, err)
    assert "over 2 ranks takes" in out.replace("\n ", "")
    assert out.count("Predicted, not measured") == 1


def test_bench_of_more_ranks_than_rows_is_refused():
    code, out, err = Job(3, "bench", "--batch-size", 2).end()
    assert (code, out) == (2, "")
    assert err.startswith("charrnn bench: --batch-size 2: 3 ranks share its rows")
    assert err.count("\n") == 1


def test_words_of_another_rank_do_not_count_and_that_is_said(text_file, tmp_path):
    words = [text_file, *SMALL, "--threads", 1, "--out", tmp_path / "run"]
    script = "import sys; from charrnn.cli import main; sys.argv[2] = 'other.txt'; sys.exit(main())"
    code, _, err = Job(2, "train", *words, last_rank=("-c", script)).end()
    assert code == 0, err
    assert err == "rank 1 was started with other words than rank 0, whose words alone count\n"
    trained_alone(*words[:-1], tmp_path / "alone", "--threads", 2)
    assert_same_run(tmp_path / "run", tmp_path / "alone")


def test_another_version_on_a_rank_is_refused(text_file, tmp_path):
    script = "import sys; from charrnn import cli; cli.__version__ = '0.1'; sys.exit(cli.main())"
    job = Job(2, "train", text_file, *SMALL, "--out", tmp_path / "run", last_rank=("-c", script))
    code, out, err = job.end()
    assert (code, out) == (2, "")
    assert err.startswith("charrnn: rank 1 runs charrnn 0.1, rank 0 ")
    assert err.count("\n") == 1


def test_other_commands_run_on_the_first_rank_alone(text_file):
    code, out, err = Job(2, "gradcheck", "--hidden-size", 3).end()
    assert code == 0
    assert out.count("All agree") == 1
    assert err == "2 ranks were started, of which charrnn gradcheck uses one\n"


EARLY = """
import os, signal, sys
from charrnn import cli
from charrnn.training import world
original = {place}
def stopped(*words):
    os.kill(os.getpid(), signal.{number})
    return original(*words)
{place} = stopped
sys.exit(cli.main())
"""


@pytest.mark.parametrize("number", ["SIGTERM", "SIGINT"])
def test_a_signal_while_ranks_begin_ends_them(text_file, tmp_path, number):
    for place, words in (("world.Witness", []), ("cli.parse", ["charrnn: stopped"])):
        script = EARLY.format(place=place, number=number)
        job = Job(2, "train", text_file, *SMALL, "--out", tmp_path / "run", first_rank=("-c", script))
        code, out, err = job.end()
        assert code != 0
        assert "Traceback" not in err
        if words:
            assert (code, out, err.splitlines()) == (128 + getattr(signal, number), "", words)
        assert not (tmp_path / "run").exists()


def test_a_rank_without_mpi4py_ends_the_job_with_a_line(text_file, tmp_path):
    script = "import sys; sys.modules['mpi4py'] = None; from charrnn.cli import main; sys.exit(main())"
    job = Job(2, "train", text_file, *SMALL, "--out", tmp_path / "run", last_rank=("-c", script))
    code, _, err = job.end()
    assert code != 0
    (line,) = [line for line in err.splitlines() if line.startswith("charrnn")]
    assert line.startswith("charrnn: rank 1 on ")
    assert "pip install 'charrnn-numpy[mpi]' mpich" in line
    assert not (tmp_path / "run" / "config.json").exists()


# -- without MPI ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("variables", "place"),
    [
        ({}, None),
        ({"PMI_RANK": "1", "PMI_SIZE": "4"}, (1, 4)),
        ({"PMI_RANK": "0", "PMI_SIZE": "1"}, None),
        ({"OMPI_COMM_WORLD_RANK": "0", "OMPI_COMM_WORLD_SIZE": "2"}, (0, 2)),
        ({"SLURM_PROCID": "3", "SLURM_STEP_NUM_TASKS": "8", "SLURM_NTASKS": "8"}, (3, 8)),
        ({"SLURM_PROCID": "0", "SLURM_NTASKS": "8"}, None),
        ({"PMI_RANK": "x", "PMI_SIZE": "4"}, None),
    ],
)
def test_a_launcher_is_known_by_what_it_says(variables, place):
    assert launched(variables) == place


def test_a_plain_run_never_imports_mpi(text_file, tmp_path):
    words = [
        "train",
        str(text_file),
        "--max-steps",
        "2",
        "--hidden-size",
        "4",
        "--out",
        str(tmp_path / "run"),
    ]
    code = f"import sys; from charrnn.cli import main; main({words}); assert 'mpi4py' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True, env=os.environ | {"PYTHONPATH": str(ROOT)})


def test_without_mpi4py_it_says_what_to_install(cli, monkeypatch, text_file, tmp_path):
    monkeypatch.setenv("PMI_RANK", "0")
    monkeypatch.setenv("PMI_SIZE", "2")
    monkeypatch.setitem(sys.modules, "mpi4py", None)
    killed = []
    monkeypatch.setattr(os, "kill", lambda *what: killed.append(what))
    outcome = cli("train", text_file, "--out", tmp_path / "run")
    assert outcome.code == 2
    assert outcome.err.count("\n") == 1
    assert "pip install 'charrnn-numpy[mpi]' mpich" in outcome.err
    assert killed == [(os.getpid(), signal.SIGTERM)]  # so that the launcher ends the other ranks
    assert not (tmp_path / "run").exists()
