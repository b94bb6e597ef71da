import base64
import json
import re
from importlib import resources

import numpy as np
import pytest

from charrnn import CharRNN, Corpus
from charrnn.runs.curves import Curve
from charrnn.views.page import eigenvalues, network_data, packed, piece, render, source_hash

CORPUS = Corpus.from_text("the cat sat on the mat. " * 40)


def data_of(html):
    return json.loads(re.search(r'<script type="application/json" id="data">(.*?)</script>', html, re.S)[1])


def test_a_page_holds_all_there_is_to_show(cli, run_folder, tmp_path):
    outcome = cli("page", run_folder, run_folder, "--out", tmp_path / "p.html", "--precision", "float16")
    assert outcome.code == 0
    assert "KB, to be opened in a browser" in outcome.out
    first, second = data_of((tmp_path / "p.html").read_text("utf-8"))["runs"]
    assert first == second
    assert (first["cell"], first["H"], first["T"], first["corpus"]) == ("rnn", 24, 16, "proverb")
    assert first["weights"]["W_aa"]["type"] == "float16"
    assert len(first["shown"]) == 2400
    assert len(first["reach"]["a"]) == 200
    assert len(first["curves"]["val_loss"]) == 4
    assert set(first["to_beat"]) >= {"uniform", "5-gram"}
    assert abs(first["rounding"]) < 1e-2
    start, now = first["eigenvalues"]["start"][0], first["eigenvalues"]["now"][0]
    np.testing.assert_allclose(np.hypot(*np.array(start).T), 1, atol=2e-3, err_msg="an orthogonal W_aa")
    assert start != now


def test_two_saves_of_a_run_have_names_of_their_own(cli, run_folder, tmp_path):
    cli("page", run_folder, run_folder / "last.npz", "--out", tmp_path / "p.html")
    runs = data_of((tmp_path / "p.html").read_text("utf-8"))["runs"]
    assert [run["name"] for run in runs] == ["proverb/best.npz", "proverb/last.npz"]
    cli("page", run_folder, "--which", "last", "--out", tmp_path / "p.html")
    (run,) = data_of((tmp_path / "p.html").read_text("utf-8"))["runs"]
    assert (run["name"], run["which"]) == ("proverb", "last")


def test_nothing_in_the_data_can_end_their_element():
    html = render({"text": "</script><script>alert(1)</script>\u2028\ud800"})
    assert data_of(html)["text"].startswith("</script><script>")
    assert html.count("</script>") == 2


def test_the_policy_allows_the_page_its_own_script_and_style_and_nothing_else():
    html = render({"runs": []})
    policy = re.search(r'Content-Security-Policy"\s+content="([^"]*)"', html)[1]
    rules = dict(rule.split(maxsplit=1) for rule in policy.split("; "))
    assert rules.pop("default-src") == "'none'"
    for kind in ("script", "style"):
        source = re.search(rf"<{kind}>(.*?)</{kind}>", html, re.S)[1]
        assert rules.pop(f"{kind}-src") == source_hash(source)
    assert rules == {"img-src": "data:", "base-uri": "'none'", "form-action": "'none'"}
    assert not re.search(r"https?://(?!www\.w3\.org/)", html)
    assert not re.search(r'\s(style|on\w+)="', html), "the policy forbids them"


def test_a_text_may_be_given_and_must_be_where_the_run_keeps_none(cli, run_folder, tmp_path):
    run, text = tmp_path / "run", tmp_path / "text.txt"
    run.mkdir()
    for name in ("config.json", "best.npz", "metrics.jsonl"):
        (run / name).write_bytes((run_folder / name).read_bytes())
    outcome = cli("page", run, "--out", tmp_path / "p.html")
    assert outcome.code == 2
    assert "--text FILE" in outcome.err
    text.write_text("the hen who asked\n")
    assert cli("page", run, "--out", tmp_path / "p.html", "--text", text).code == 0
    (found,) = data_of((tmp_path / "p.html").read_text("utf-8"))["runs"]
    assert len(found["shown"]) == 18
    assert (found["to_beat"], found["reach"]) == ({}, {})
    text.write_text("THE HEN")
    assert "does not know" in cli("page", run, "--text", text).err


def test_a_torn_line_of_metrics_ends_the_curves(cli, run_folder, tmp_path):
    run = tmp_path / "run"
    run.mkdir()
    for path in run_folder.iterdir():
        (run / path.name).write_bytes(path.read_bytes())
    lines = (run / "metrics.jsonl").read_bytes().splitlines(keepends=True)
    (run / "metrics.jsonl").write_bytes(b"".join(lines[:2]) + lines[2][:20])
    assert cli("page", run, "--out", tmp_path / "p.html").code == 0
    (found,) = data_of((tmp_path / "p.html").read_text("utf-8"))["runs"]
    assert len(found["curves"]["loss"]) == 2


@pytest.mark.parametrize(("precision", "error"), [("float32", 0), ("float16", 2**-11), ("int8", 0.5 / 127)])
def test_weights_are_rounded_no_more_than_their_type_must(precision, error):
    W = np.random.default_rng(0).standard_normal((6, 9)).astype(np.float32)
    W[2] = 0
    stored, rounded = packed(W, precision)
    assert (np.abs(rounded - W) <= error * np.abs(W).max(axis=1, keepdims=True) * 1.001).all()
    held = np.frombuffer(base64.b64decode(stored["data"]), stored["type"]).reshape(W.shape)
    if precision == "int8":
        held = held * np.frombuffer(base64.b64decode(stored["steps"]), "<f4")[:, np.newaxis]
    np.testing.assert_array_equal(held, rounded)
    assert packed(W[0], "int8")[0]["type"] == "float32", "biases are few"


def test_the_network_of_the_data_is_the_rounded_one():
    model = CharRNN(CORPUS.vocabulary, 5, cell="gru", num_layers=2, embedding_size=3)
    data, rounded = network_data(model, "int8")
    assert data["weights"].keys() == model.parameters.keys()
    assert 0 < np.abs(rounded.parameters.flat - model.parameters.flat).max() < 0.05


def test_the_piece_that_is_shown_begins_with_a_document_if_one_does_in_good_time():
    text = "x" * 5000 + "\n\n\nA story.\n\n" + "It goes on. " * 150
    corpus = Corpus.from_text(text)
    assert corpus.vocabulary.decode(piece(corpus.vocabulary, corpus.tokens)).startswith("xx")
    text += "And on. " * 100
    corpus = Corpus.from_text(text)
    shown = corpus.vocabulary.decode(piece(corpus.vocabulary, corpus.tokens))
    assert shown.startswith("A story.")
    assert len(shown) == 2400


def test_a_gru_of_192_units_makes_a_page_of_less_than_400_kb():
    data, _ = network_data(CharRNN(CORPUS.vocabulary, 192, cell="gru"), "int8")
    assert len(render({"runs": [data]}).encode()) < 300_000, (
        "100 KB are for text, curves, eigenvalues and a larger V"
    )


def test_a_long_curve_is_thinned_evenly():
    curve = Curve(400)
    for x in range(10_000):
        curve.add(x, 1.0)
    at = np.array(curve.points)[:, 0]
    assert 200 <= len(at) <= 400
    assert len(set(np.diff(at))) == 1


def test_eigenvalues_come_one_of_each_pair_for_each_layer():
    model = CharRNN(CORPUS.vocabulary, 6, cell="lstm", num_layers=2)
    W = model.parameters["W_aa[2]"][:, 12:18]
    expected = np.linalg.eigvals(W.astype(float))
    found = np.array(eigenvalues(model)[1])
    assert len(eigenvalues(model)) == 2
    both = np.concatenate([found @ [1, 1j], found[found[:, 1] > 0] @ [1, -1j]])
    np.testing.assert_allclose(np.sort_complex(both), np.sort_complex(expected), atol=2e-3)


def test_letters_have_a_contrast_of_aa_on_every_colour():
    css = resources.files("charrnn.views").joinpath("page.css").read_text("utf-8")
    light, dark = (
        dict(re.findall(r"--([a-z]+): (#[0-9a-f]{6})", part)) for part in css.split("@media", 2)[:2]
    )
    for colours in (light, dark):
        grounds = [colours[name] for name in ("paper", "raised", "high", "low", "surprise", "reach")]
        for ground in grounds:
            assert contrast(colours["ink"], ground) >= 4.5, ground
        for ground in grounds[:2]:
            assert contrast(colours["soft"], ground) >= 4.5
            assert contrast(colours["accent"], ground) >= 4.5


def contrast(one, other):
    """The contrast ratio of WCAG 2."""
    light = [
        np.where(
            (c := np.frombuffer(bytes.fromhex(x[1:]), np.uint8) / 255) <= 0.04045,
            c / 12.92,
            ((c + 0.055) / 1.055) ** 2.4,
        )
        @ [0.2126, 0.7152, 0.0722]
        for x in (one, other)
    ]
    return (max(light) + 0.05) / (min(light) + 0.05)
