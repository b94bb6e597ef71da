"""The proofs of ``calculus`` in writing: as lines, as Markdown, and as a teacher puts them on a board."""

import math
from collections.abc import Iterable, Iterator
from itertools import groupby

import numpy as np

from charrnn.layers import Array
from charrnn.proofs.calculus import TOLERANCE, Proof


def lines(proofs: Iterable[Proof], width: int = 80) -> Iterator[str]:
    """Each rule with its equation, and under it each derivative: the tensor, the trick, the difference."""
    proofs = list(proofs)
    for rule, group in groupby(proofs, lambda proof: proof.rule):
        some = list(group)
        yield f"{rule:12} {some[0].equation}"
        for p in some:
            t = f"t = {p.step}" if p.step else ""
            tensor = f"{p.title:30} {_shape(p.J):17} {_size(p.J):>7}"
            trick = f"{p.formula:32} {_shape(p.trick):7} {_size(p.trick):>5}"
            yield f"  {t:7} {tensor}   {trick}   {p.difference:.1e} {'ok' if p.agrees else 'WRONG'}"
    yield ""
    yield from summary(proofs)


def markdown(proofs: Iterable[Proof]) -> Iterator[str]:
    """The same as a document."""
    proofs = list(proofs)
    yield "# The tensors, and the trick around them"
    for rule, group in groupby(proofs, lambda proof: proof.rule):
        some = list(group)
        yield f"\n## {rule}\n\n`{some[0].equation}`\n"
        yield "| t | derivative | tensor | | trick | | | largest difference |"
        yield "|---|---|---|---|---|---|---|---|"
        for p in some:
            shapes = f"{_shape(p.J)} | {_size(p.J)} | {p.formula} | {_shape(p.trick)} | {_size(p.trick)}"
            verdict = f"{p.difference:.1e}" + ("" if p.agrees else " **WRONG**")
            yield f"| {p.step or ''} | {p.title} | {shapes} | {verdict} |"
    yield ""
    yield from summary(proofs)


def summary(proofs: list[Proof]) -> Iterator[str]:
    """How many agree, and what the tensors would cost at a size that people use."""
    wrong = sum(not proof.agrees for proof in proofs)
    worst = max(proof.difference for proof in proofs)
    if wrong:
        yield f"{wrong} of {len(proofs)} do NOT agree to {TOLERANCE:.0e}."
    else:
        yield f"All {len(proofs)} agree to {TOLERANCE:.0e}; the largest difference is {worst:.1e}."
    B, H = 64, 512
    yield (
        f"At H = {H} and B = {B}, ∂z⟨t⟩/∂W_aa would hold {B}·{H}·{H}·{H} = {B * H**3:,} numbers, "
        f"{4 * B * H**3 / 1e9:.0f} GB in float32,"
    )
    yield f"for each step; the trick's result holds {H}·{H} = {H * H:,}, {4 * H * H / 1e6:.0f} MB."


def board(proof: Proof) -> Iterator[str]:
    """One derivative with its numbers written out, the 4-D tensor as a matrix of matrices."""
    at = f", t = {proof.step}" if proof.step else ""
    yield f"{proof.rule}: {proof.title}{at}"
    yield f"    {proof.equation}"
    for name, operand in proof.operands.items():
        yield from _titled(name, operand)
    J, G = proof.J, proof.G
    if J is None:
        yield from _titled("Written out", proof.long)
        yield from _titled("As the layers compute it", proof.trick)
    else:
        if G is None:
            yield from _titled("The derivative, each entry by itself", proof.long)
        else:
            inner, outer = " × ".join(map(str, J.shape[G.ndim :])), _shape(G)
            title = f"The tensor {_shape(J)}: {outer} outputs, for each a block of {inner} derivatives"
            yield from _titled(title, J, G.ndim if J.ndim > 2 else 0)
            yield from _titled("G, the gradient from above", G)
            yield from _titled("Contracted: each entry of G times its block, summed", proof.long)
        yield from _titled(f"The trick, {proof.formula}, as the layers compute it", proof.trick)
    yield f"\nLargest difference {proof.difference:.1e}: {'they agree' if proof.agrees else 'WRONG'}."


def _titled(title: str, array: Array, outer: int = 0) -> Iterator[str]:
    yield f"\n{title}:"
    yield from _blocks(array, outer)


def _blocks(array: Array, outer: int) -> Iterator[str]:
    """An array as text: its first ``outer`` axes (0 to 2) a matrix of what the rest hold. Zeros are dots."""
    shape = array.shape
    inner = (1,) * (2 - len(shape[outer:])) + shape[outer:]
    grid = array.reshape((1,) * (2 - outer) + shape[:outer] + inner)
    largest = float(np.abs(array).max())
    decimals = min(12, max(0, 3 - math.floor(math.log10(largest)) - 1)) if largest else 0
    texts = {value: f"{value:.{decimals}f}" if value else "·" for value in grid.ravel().tolist()}
    width = max(map(len, texts.values()))
    for i, row in enumerate(grid):  # (columns, inner rows, inner columns)
        if i:
            yield ""
        for k in range(row.shape[1]):
            cells = ("  ".join(texts[value].rjust(width) for value in block[k].tolist()) for block in row)
            yield "  " + "   ".join(f"[{cell}]" for cell in cells)


def _shape(array: Array | None) -> str:
    return "" if array is None else " × ".join(map(str, array.shape)) or "1"


def _size(array: Array | None) -> str:
    return "" if array is None else f"{array.nbytes:,} B"
