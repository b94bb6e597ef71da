import inspect
import json
import re
from dataclasses import replace

import numpy as np
import pytest
from planted import ERRORS, network, plant

from charrnn import layers
from charrnn.layers import elementwise
from charrnn.proofs.board import board, lines
from charrnn.proofs.calculus import contract, jacobian, rules
from charrnn.proofs.cells import EXAMPLES, derive
from charrnn.proofs.equations import EQUATIONS

SIZES = (3, 2, 2, 3)


CELLS = list(layers.CELLS)


def proofs(*sizes, seed=0, cell="rnn"):
    return derive(np.random.default_rng(seed), *(sizes or SIZES), cell)


def test_a_jacobian_is_exact():
    x = np.random.default_rng(0).standard_normal((2, 3))
    J = jacobian(lambda x: np.sin(x[:, :1]) * x**3, x)
    assert J.shape == (2, 3, 2, 3)
    expected = np.zeros(J.shape)
    for i, j, k in np.ndindex(2, 3, 3):
        expected[i, j, i, k] = (j == k) * 3 * np.sin(x[i, 0]) * x[i, j] ** 2
        expected[i, j, i, k] += (k == 0) * np.cos(x[i, 0]) * x[i, j] ** 3
    np.testing.assert_allclose(J, expected, rtol=1e-14, atol=1e-15)


def test_a_contraction_sums_over_the_output():
    rng = np.random.default_rng(0)
    G, J = rng.standard_normal((2, 3)), rng.standard_normal((2, 3, 4, 5))
    np.testing.assert_allclose(contract(G, J), np.einsum("ij,ijkl->kl", G, J))


def test_the_tensor_of_rule_3_is_deltas_times_the_other_factor():
    proof = {proof.rule: proof for proof in rules(np.random.default_rng(0))}["3W"]
    W, A = proof.operands["W"], proof.operands["A"]
    expected = np.einsum("ik,lj->ijkl", np.eye(len(W)), A)
    np.testing.assert_allclose(proof.J, expected, rtol=1e-15)
    np.testing.assert_allclose(proof.trick, proof.G @ A.T, rtol=1e-14)


FORMULAS = {
    "G Aᵀ": lambda p: p.G @ p.operands["A"].T,
    "Wᵀ G": lambda p: p.operands["W"].T @ p.G,
    "Aᵀ G": lambda p: p.operands["A"].T @ p.G,
    "G Wᵀ": lambda p: p.G @ p.operands["W"].T,
    "": lambda p: p.operands["Aᵀ ⊗ I"] @ p.operands["vec W"],
    "vec(G Aᵀ)": lambda p: (p.operands["G"] @ p.operands["A"].T).T.ravel(),
    "W": lambda p: p.operands["W"],
    "Wᵀ": lambda p: p.operands["W"].T,
    "G ∘ f′(Z)": lambda p: p.G * (1 - np.tanh(p.operands["Z"]) ** 2),
    "ŷ − y": lambda p: (p.operands["ŷ"] - p.operands["y"])[0],
    "Σ_i G_i": lambda p: p.G.sum(axis=0),
}
DELTAS = {
    "δ_ik A_lj": lambda p: np.einsum("ik,lj->ijkl", np.eye(len(p.G)), p.operands["A"]),
    "W_ik δ_jl": lambda p: np.einsum("ik,jl->ijkl", p.operands["W"], np.eye(p.G.shape[1])),
    "A_ik δ_jl": lambda p: np.einsum("ik,jl->ijkl", p.operands["A"], np.eye(p.G.shape[1])),
    "(Aᵀ ⊗ I) vec W": lambda p: np.kron(p.operands["A"].T, np.eye(2)),
    "δ_ik W_lj": lambda p: np.einsum("ik,lj->ijkl", np.eye(len(p.G)), p.operands["W"]),
}


@pytest.mark.parametrize("proof", list(rules(np.random.default_rng(2))), ids=lambda proof: proof.rule)
def test_the_formulas_that_are_printed_are_the_ones_that_are_true(proof):
    np.testing.assert_allclose(proof.trick, FORMULAS[proof.formula](proof), rtol=1e-13)
    for text, tensor in DELTAS.items():
        if proof.equation.endswith(text) and proof.J is not None:
            np.testing.assert_allclose(proof.J, tensor(proof), rtol=1e-15)
            break
    else:
        assert proof.J is None or not proof.rule.startswith("3")


def test_each_step_of_the_sum_through_time_is_proved():
    """What one step has too much and another too little cannot hide in the sum."""
    steps = [proof for proof in proofs() if proof.rule == "time"]
    assert [proof.step for proof in steps] == [1, 2, 3, None]
    assert not replace(steps[0], long=steps[0].long + 1e-9).agrees


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("sizes", [SIZES, (1, 1, 1, 2), (1, 3, 2, 5), (5, 1, 4, 3), (4, 3, 5, 4)])
def test_everything_agrees_at_any_size(sizes, cell):
    for seed in range(3):
        assert [proof.title for proof in proofs(*sizes, seed=seed, cell=cell) if not proof.agrees] == []


@pytest.mark.parametrize("cell", CELLS)
def test_every_equation_is_proved_at_every_time_step(cell):
    found = {(proof.rule, proof.step) for proof in proofs(cell=cell)}
    own = {"rnn": "", "gru": "G", "lstm": "L"}[cell]
    tags = {tag for tag in EQUATIONS if own and tag.startswith(own)} | {
        "F3",
        "B1",
        "B2",
        "B6",
        "B7",
        "B8",
        "DF1",
        "DB1",
    }
    tags |= {"rnn": {"F1", "F2", "B3", "B4", "B5", "B9"}, "gru": set(), "lstm": {"B5"}}[cell]
    once = {"B9", "GB8", "LB5", "F4"}
    assert {(tag, t) for tag in tags - once for t in (1, 2, 3)} <= found
    assert {rule for rule, _ in found} >= tags | {"F4", "time", "3W"}


@pytest.mark.parametrize(("tag", "line", "wrong"), ERRORS)
def test_a_planted_error_is_seen(monkeypatch, tag, line, wrong):
    """The trick's side is the layers' own code: break that, and the tensors disagree with it."""
    plant(monkeypatch, tag, line, wrong)
    assert not all(proof.agrees for proof in proofs(4, 3, 4, 5, cell=network(tag).get("cell", "rnn")))


def test_a_wrong_forward_line_is_seen(monkeypatch):
    source = inspect.getsource(elementwise)
    for line, wrong in (
        ("np.tanh(z, out=a)", "np.sin(z, out=a)"),
        ("np.add(a, b_a", "np.add(a, 0 * b_a"),
    ):
        namespace = {}
        exec(source.replace(line, wrong), namespace)
        with monkeypatch.context() as patch:
            patch.setattr(elementwise, "tanh_forward", namespace["tanh_forward"])
            assert "F1" in {proof.rule for proof in proofs() if not proof.agrees}


@pytest.mark.parametrize(
    ("cell", "tag", "line", "wrong"),
    [
        ("gru", "GF1", "k += b_a  # (GF1)", "k += 0.9 * b_a"),
        ("gru", "GF2", "b_n, out=q_n)", "0 * b_n, out=q_n)"),
        ("gru", "GF3", "np.tanh(ru, out=ru)\n    ru *= 0.5\n    ru += 0.5", "np.tanh(ru, out=ru)"),
        ("gru", "GF4", "np.multiply(ru[:, :H], q_n, out=a)", "a[...] = q_n"),
        ("gru", "GF5", "a *= ru[:, H:]", "a *= ru[:, :H]"),
        ("lstm", "LF1", "k += b_a\n    k *= s", "k += 0.9 * b_a\n    k *= s"),
        ("lstm", "LF2", "k += 1 - s", "pass"),
        ("lstm", "LF3", "np.multiply(f, before, out=c)", "np.multiply(i, before, out=c)"),
        ("lstm", "LF4", "np.multiply(o, tanh_c, out=a)", "np.multiply(o, c, out=a)"),
    ],
)
def test_a_wrong_forward_line_of_a_gated_cell_is_seen(monkeypatch, cell, tag, line, wrong):
    source, namespace = inspect.getsource(elementwise), {}
    assert source.count(line) == 1
    exec(source.replace(line, wrong), namespace)
    monkeypatch.setattr(elementwise, f"{cell}_gates", namespace[f"{cell}_gates"])
    assert tag in {proof.rule for proof in proofs(cell=cell) if not proof.agrees}


def test_a_trick_of_another_shape_does_not_agree():
    proof = proofs()[0]
    assert not replace(proof, trick=proof.trick.T).agrees
    assert not replace(proof, trick=np.full(proof.trick.shape, np.nan)).agrees


def test_the_gradients_in_the_example_are_those_of_the_reference():
    from reference import loss_and_gradients

    example = EXAMPLES["rnn"](np.random.default_rng(1), 4, 3, 5, 6)
    loss, expected = loss_and_gradients(example.p, example.x, example.y, example.a0)
    np.testing.assert_allclose(example.loss, loss, rtol=1e-13)
    for name, gradient in example.g.items():
        np.testing.assert_allclose(gradient, expected[name], rtol=1e-10, atol=1e-14)


# -- charrnn derive ---------------------------------------------------------------------------------


def test_derive_shows_shapes_bytes_differences_and_the_cost(cli):
    outcome = cli("derive")
    assert outcome.code == 0
    equation, folding = r"B5 +dW_aa = Σ_t a⟨t−1⟩ᵀ dz⟨t⟩", r" +∂z⟨t⟩/∂W_aa → a⟨t−1⟩ᵀ dz⟨t⟩"
    step = r"  t = {} +2 × 2 × 2 × 2 +128 B → 2 × 2 +32 B +\d\.\de[+-]\d\d ok"
    block = [equation, folding, *(step.format(t) for t in (1, 2, 3))]
    assert re.search("^" + "\n".join(block) + "$", outcome.out, re.M)
    assert "64·512·512·512 = 8,589,934,592 numbers, 34 GB" in " ".join(outcome.out.split())
    assert "WRONG" not in outcome.out


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("width", [50, 80, 200])
def test_no_line_is_wider_than_asked_and_nothing_is_lost_by_that(cell, width):
    some = proofs(10, 12, 5, 4, cell=cell)
    written = list(lines(some, width))
    assert max(map(len, written)) <= width
    words = " ".join(written).split()
    assert words == " ".join(lines(some, 1000)).split()
    assert words.count("ok") == len(some)


def test_a_row_of_matrices_that_is_too_wide_goes_on_below():
    tensor = next(p for p in proofs(cell="lstm") if (p.rule, p.step) == ("LB1", 1))
    for width in (60, 80):
        written = list(board(tensor, width))
        blocks = [line for line in written if "]   [" in line or line.startswith("      [")]
        assert max(map(len, blocks)) <= width
        assert sum(line.count("[") for line in blocks) == 2 * 2 * 11  # 2 lines of each of 2 × 11 matrices


def test_derive_in_other_sizes_and_forms(cli):
    words = ["--time-steps", 2, "--batch-size", 3, "--hidden-size", 4, "--vocabulary-size", 5]
    report = json.loads(cli("derive", *words, "--json").out)
    assert report["passed"]
    (b5,) = [p for p in report["proofs"] if p["rule"] == "B5" and p["step"] == 2]
    assert b5["tensor"] == {"shape": [3, 4, 4, 4], "bytes": 8 * 192}
    assert b5["trick"] == {"shape": [4, 4], "bytes": 8 * 16}
    document = cli("derive", "--markdown").out
    assert document.startswith("# ")
    assert "\n## B5\n" in document
    assert "| 2 | ∂z⟨t⟩/∂W_aa | 2 × 2 × 2 × 2 | 128 B | a⟨t−1⟩ᵀ dz⟨t⟩ | 2 × 2 | 32 B |" in document


@pytest.mark.parametrize(
    ("rule", "cell"), {proof.rule: cell for cell in reversed(CELLS) for proof in proofs(cell=cell)}.items()
)
def test_every_rule_can_be_put_on_the_board(cli, rule, cell):
    outcome = cli("derive", "--rule", rule.lower(), "--cell", cell)
    assert outcome.code == 0
    assert "they agree" in outcome.out
    assert cli("derive", "--rule", rule, "--cell", cell, "--markdown").out.startswith("```\n")


def test_the_board_shows_a_matrix_of_matrices(cli):
    """∂Z/∂W of Z = W A: block (i, j) has column j of A in its row i, and zeros elsewhere."""
    text = cli("derive", "--rule", "3W").out
    A = np.array(
        [line.strip(" []").split() for line in text.split("\nA:\n")[1].split("\n\n")[0].splitlines()]
    )
    blocks = text.split("The tensor")[1].splitlines()[1:3]
    shown = [block.strip(" []").split() for block in blocks[0].split("]   [")]
    np.testing.assert_allclose(np.array(shown, float), A.T.astype(float), atol=0.006)
    assert set(blocks[1]) == set(" []·")


def test_derive_says_what_it_cannot_do(cli):
    outcome = cli("derive", "--rule", "B10")
    assert outcome.code == 2
    assert "--rule B10: is none of 1, 2, 3W" in outcome.err
    outcome = cli("derive", "--hidden-size", 512, "--batch-size", 64)
    assert outcome.code == 2
    assert "numbers" in outcome.err
    assert "smaller sizes" in outcome.err


def test_a_gated_cell_has_larger_tensors(cli):
    sizes = ["--hidden-size", 40, "--batch-size", 20, "--vocabulary-size", 5, "--time-steps", 1]
    outcome = cli("derive", "--cell", "lstm", *sizes)
    assert outcome.code == 2
    assert "16,000,000" not in outcome.err
    assert "numbers" in outcome.err


def test_a_cell_without_a_derivation_says_so(cli, monkeypatch):
    monkeypatch.delitem(EXAMPLES, "gru")
    outcome = cli("derive", "--cell", "gru")
    assert outcome.code == 2
    assert "--cell gru: no derivation is written out for it; choose rnn or lstm" in outcome.err


def test_dropouts_proof_drops_some_and_keeps_some():
    masks = [next(iter(p.operands.values())) for p in proofs(4, 3, 5, 3) if p.rule == "DF1"]
    assert {0.0, 2.0} == set(np.unique(masks))
    others = [next(iter(p.operands.values())) for p in proofs(4, 3, 5, 3, seed=1) if p.rule == "DF1"]
    assert not np.array_equal(masks, others)


def test_derive_exits_with_1_when_something_disagrees(cli, monkeypatch):
    plant(monkeypatch, "B4", "dz *= da  # (B4)", "dz[...] = da")
    for words in ([], ["--json"], ["--markdown"], ["--rule", "B4"]):
        assert cli("derive", *words).code == 1
    assert "WRONG" in cli("derive").out
