"""Proofs in writing: as lines of a terminal, as Markdown, and as a teacher puts them on a board."""

import math
import textwrap
from collections.abc import Iterable, Iterator
from itertools import groupby

import numpy as np

from charrnn.layers import Array
from charrnn.proofs.calculus import TOLERANCE, Proof, shape


def lines(proofs: Iterable[Proof], width: int = 80) -> Iterator[str]:
    """Each rule with its equation; below it each tensor, the trick that it folds into, and their difference.

        B5          dW_aa = Σ_t a⟨t−1⟩ᵀ dz⟨t⟩
                    ∂z⟨t⟩/∂W_aa → a⟨t−1⟩ᵀ dz⟨t⟩
          t = 1     2 × 2 × 2 × 2       128 B → 2 × 2    32 B   0.0e+00 ok

    Arguments:
        width: columns that a line may take; a longer one breaks, before its arrow if it has one.
    """
    proofs = list(proofs)
    shapes = max(len(shape(p.J)) for p in proofs), max(len(shape(p.trick)) for p in proofs)
    sizes = max(len(_size(p.J)) for p in proofs), max(len(_size(p.trick)) for p in proofs)
    for rule, of_rule in groupby(proofs, lambda p: (p.rule, p.equation)):
        yield from _wrapped(*rule, width)
        for (title, formula), group in groupby(of_rule, lambda p: (p.title, p.formula)):
            yield from _folded("", title, formula, width)
            for p in group:
                tensor = f"{shape(p.J):{shapes[0]}} {_size(p.J):>{sizes[0]}}"
                trick = f"{shape(p.trick):{shapes[1]}} {_size(p.trick):>{sizes[1]}}"
                trick += f"   {p.difference:.1e} {'ok' if p.agrees else 'WRONG'}"
                yield from _folded(f"  t = {p.step}" if p.step else "", tensor, trick, width, p.J is not None)
    yield ""
    for line in summary(proofs):
        yield from textwrap.wrap(line, width)


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
            shapes = f"{shape(p.J)} | {_size(p.J)} | {p.formula} | {shape(p.trick)} | {_size(p.trick)}"
            verdict = f"{p.difference:.1e}" + ("" if p.agrees else " **WRONG**")
            yield f"| {p.step or ''} | {p.title} | {shapes} | {verdict} |"
    yield ""
    yield from summary(proofs)


def summary(proofs: list[Proof]) -> Iterator[str]:
    """How many agree, and what the tensors would take at a size that people use."""
    wrong = sum(not proof.agrees for proof in proofs)
    worst = max(proof.difference for proof in proofs)
    if wrong:
        yield f"{wrong} of {len(proofs)} do NOT agree to {TOLERANCE:.0e}."
    else:
        yield f"All {len(proofs)} agree to {TOLERANCE:.0e}; the largest difference is {worst:.1e}."
    B, H = 64, 512
    yield (
        f"At H = {H} and B = {B}, ∂z⟨t⟩/∂W_aa would hold {B}·{H}·{H}·{H} = {B * H**3:,} numbers, "
        f"{4 * B * H**3 / 1e9:.0f} GB in float32, for each step; the trick's result holds "
        f"{H}·{H} = {H * H:,}, {4 * H * H / 1e6:.0f} MB."
    )


def board(proof: Proof, width: int = 80) -> Iterator[str]:
    """One derivative with its numbers written out, the 4-D tensor as a matrix of matrices.

    Arguments:
        width: columns that a line should take; a row of matrices that needs more goes on below, indented.
    """
    at = f", t = {proof.step}" if proof.step else ""
    yield f"{proof.rule}: {proof.title}{at}"
    yield from textwrap.wrap(proof.equation, width, initial_indent=" " * 4, subsequent_indent=" " * 4)
    for title, array, axes in proof.arrays():
        yield ""
        yield from textwrap.wrap(f"{title}:", width)
        yield from _blocks(array, axes, width)
    yield f"\nLargest difference {proof.difference:.1e}: {'they agree' if proof.agrees else 'WRONG'}."


def _blocks(array: Array, axes: int, width: int) -> Iterator[str]:
    """An array as text: its first ``axes`` (0 to 2) a matrix of what the rest hold. Zeros are dots."""
    shape = array.shape
    inner = (1,) * (2 - len(shape[axes:])) + shape[axes:]
    grid = array.reshape((1,) * (2 - axes) + shape[:axes] + inner)
    largest = float(np.abs(array).max())
    decimals = min(12, max(0, 3 - math.floor(math.log10(largest)) - 1)) if largest else 0
    texts = {value: f"{value:.{decimals}f}" if value else "·" for value in grid.ravel().tolist()}
    digits = max(map(len, texts.values()))
    beside = max(1, (width - 1) // (inner[1] * (digits + 2) + 3))  # blocks that fit on a line
    for i, row in enumerate(grid):  # (columns, inner rows, inner columns)
        if i:
            yield ""
        for first in range(0, len(row), beside):
            for k in range(inner[0]):
                blocks = row[first : first + beside, k].tolist()
                cells = ("  ".join(texts[value].rjust(digits) for value in block) for block in blocks)
                yield ("      " if first else "  ") + "   ".join(f"[{cell}]" for cell in cells)


def _wrapped(label: str, text: str, width: int) -> list[str]:
    """``text`` beside a label; where it is too long for one line, on several."""
    return textwrap.wrap(f"{label:11} {text}", width, subsequent_indent=" " * 12)


def _folded(label: str, tensor: str, trick: str, width: int, arrow: bool = True) -> list[str]:
    """A tensor and its trick, on one line if it is long enough and else on two."""
    between = "→" if arrow and trick else " "
    whole = f"{label:11} {tensor} {between} {trick}".rstrip()
    if len(whole) <= width:
        return [whole]
    return _wrapped(label, tensor, width) + _wrapped("", f"{between} {trick}", width)


def _size(array: Array | None) -> str:
    return "" if array is None else f"{array.nbytes:,} B"
