import json
from types import SimpleNamespace

import pytest

from charrnn import CharRNN, Vocabulary
from charrnn.cli import main
from charrnn.config import BenchConfig
from charrnn.training.bench import LINKS, MACHINES, Point, bench, operations, plan, predictions
from charrnn.training.shards import available_cores


def test_operations_are_those_of_every_product_of_a_step():
    T, B, H, V = 2, 3, 5, 7
    forward = T * (B * H * H + B * H * V)  # a W_aa, a W_ya: so many multiplications
    sent_back = T * (B * V * H + B * H * H)  # dlogits W_yaᵀ, dz W_aaᵀ
    weights = H * (T * B) * V + H * (T * B) * H  # aᵀ dlogits, aᵀ dz
    model = CharRNN(Vocabulary.of_text("abcdefg"), H)
    assert operations(model, T, B) == 2 * (forward + sent_back + weights)


def test_the_plan():
    assert plan(BenchConfig(threads=2, batch_size=8)) == [(2, 4), (2, 8), (2, 16)]
    assert plan(BenchConfig(threads=3, batch_size=2)) == [(1, 1), (2, 2), (3, 4)]  # no shard without a row
    assert {threads for threads, _ in plan(BenchConfig())} >= {1, available_cores()}
    three_ranks = SimpleNamespace(size=3, cores=2)
    assert plan(BenchConfig(batch_size=4), three_ranks) == [(1, 3), (1, 4), (1, 8), (2, 8)]


def test_predictions_are_those_of_the_formula():
    point = Point(
        threads=1,
        batch_size=64,
        characters=4000,
        chars_per_second=4000 / 0.010,
        gflops=1,
        peak_gflops=1,
        megabytes=1,
        ranks=2,
        sum_seconds=0.0005,
        words_seconds=0.0001,
        sum_bytes=10**6,
        words_bytes=10**5,
    )
    found = {(p.machines, p.gigabits): p for p in predictions(point)}
    assert set(found) == {(machines, gigabits) for machines in MACHINES for gigabits in LINKS}
    # 10 ms as measured; rank 0 sends half a gradient twice, and the rows of one: 8.8 Mbit
    assert found[2, 1].chars_per_second == pytest.approx(4000 / (0.010 + 0.0088))
    assert found[2, 1].arithmetic == pytest.approx(0.0094 / (0.010 + 0.0088))
    # seven times the words, three quarters more of the gradient
    assert found[8, 10].chars_per_second == pytest.approx(16000 / (0.0106 + (1.75e6 + 7e5) * 8 / 1e10))


@pytest.mark.parametrize("threads", [1, 2])
def test_a_point_is_of_the_network_asked_for(threads):
    config = BenchConfig(hidden_size=16, seq_length=8, batch_size=8, threads=threads, seconds=0.01)
    small, medium, large = bench(config, Vocabulary.of_text("abcdef"))
    assert (small.batch_size, medium.batch_size, large.batch_size) == (4, 8, 16)
    assert small.threads == threads
    rate = operations(CharRNN(Vocabulary.of_text("abcdef"), 16), 8, 8) / (8 * 8)  # of one character
    assert medium.gflops * 1e9 == pytest.approx(rate * medium.chars_per_second)
    assert 0 < medium.of_peak < 1
    assert small.megabytes < medium.megabytes < large.megabytes


def test_the_command(capsys):
    words = ["bench", "--hidden-size", "8", "--seq-length", "4", "--batch-size", "4", "--seconds", "0.01"]
    assert main([*words, "--threads", "1", "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["sizes"] == {"T": 4, "H": 8, "V": 61}
    assert [point["batch_size"] for point in report["points"]] == [2, 4, 8]
    assert report["recommended"] == {"threads": 1, "batch_size": 4}
    assert main([*words, "--threads", "1"]) == 0
    out = capsys.readouterr().out
    assert "Best for --batch-size 4: --threads 1." in out
    assert main([*words, "--threads", "0"]) == 2
