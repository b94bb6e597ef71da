"""The proofs of ``calculus`` in writing: as lines, as Markdown, and as a teacher puts them on a board."""

from collections.abc import Iterable, Iterator
from itertools import groupby
from typing import Any

from numpy.typing import NDArray

from charrnn.calculus import TOLERANCE, Proof

Array = NDArray[Any]


def lines(proofs: Iterable[Proof]) -> Iterator[str]:
    """Each rule with its equation, and under it each derivative: the tensor, the trick, the difference."""
    proofs = list(proofs)
    for rule, group in groupby(proofs, lambda proof: proof.rule):
        some = list(group)
        yield f"{rule:12} {some[0].equation}"
        for p in some:
            t = f"t = {p.step}" if p.step else ""
            yield (
                f"  {t:7} {p.title:32} {_shape(p.J):24} {_size(p.J):>8}   {_shape(p.trick):10} "
                f"{_size(p.trick):>6}   {p.difference:.1e} {'ok' if p.agrees else 'WRONG'}"
            )
    yield ""
    yield from summary(proofs)


def markdown(proofs: Iterable[Proof]) -> Iterator[str]:
    """The same as a document."""
    proofs = list(proofs)
    yield "# The tensors, and the trick around them"
    for rule, group in groupby(proofs, lambda proof: proof.rule):
        some = list(group)
        yield f"\n## {rule}\n\n`{some[0].equation}`\n"
        yield "| t | derivative | tensor | | trick | | largest difference |"
        yield "|---|---|---|---|---|---|---|"
        for p in some:
            shapes = f"{_shape(p.J)} | {_size(p.J)} | {_shape(p.trick)} | {_size(p.trick)}"
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
        agree = f"All {len(proofs)} agree to {TOLERANCE:.0e}"
        yield f"{agree}; the largest difference is {worst:.1e}."
    B, H = 64, 512
    yield (
        f"At H = {H} and B = {B}, ∂z⟨t⟩/∂W_aa would hold {B}·{H}·{H}·{H} = {B * H**3:,} numbers, "
        f"{4 * B * H**3 / 1e9:.0f} GB in float32, for each step; the trick's result {H}·{H} = {H * H:,}, "
        f"{4 * H * H / 1e6:.0f} MB."
    )


def board(proof: Proof) -> Iterator[str]:
    """One derivative with its numbers written out, the 4-D tensor as a matrix of matrices."""
    at = f", t = {proof.step}" if proof.step else ""
    yield f"{proof.rule}: {proof.title}{at}"
    yield f"    {proof.equation}\n"
    for name, operand in proof.operands:
        yield f"{name}:"
        yield from _matrices(operand, 0)
    J = proof.J
    if J is None:
        yield "Written out:"
        yield from _matrices(proof.long, 0)
    elif J.ndim == 2:
        yield f"\nThe derivative, {_shape(J)}: a row for each output, a column for what one derives by."
        yield from _matrices(J, 0)
    else:
        outer, inner = proof.G.shape, J.shape[proof.G.ndim :]
        where = f"outside, {' × '.join(map(str, outer))}, the output; inside, {' × '.join(map(str, inner))}"
        yield f"\nThe tensor, {_shape(J)}: {where}, what one derives by."
        yield from _matrices(J, proof.G.ndim)
        yield "G, the gradient from above:"
        yield from _matrices(proof.G, 0)
        yield "\nContracted, Σ over the outside of G times the inside:"
        yield from _matrices(proof.long, 0)
    yield "\nThe trick, as the layers compute it:" if J is not None else "\nAs the layers compute it:"
    yield from _matrices(proof.trick, 0)
    yield f"\nLargest difference {proof.difference:.1e}: {'they agree' if proof.agrees else 'WRONG'}."


def _matrices(array: Array, outer: int) -> Iterator[str]:
    """An array as text: the first ``outer`` axes a matrix of what the other axes hold. Zeros are dots."""
    shape = array.shape
    if array.ndim - outer > 2 or outer > 2:  # more than a page can show: the first of it
        yield "  (the first of them)"
        array, outer = array[0], max(0, outer - 1)
        yield from _matrices(array, outer)
        return
    grid = array.reshape((1,) * (2 - outer) + shape[:outer] + (1,) * (2 - len(shape[outer:])) + shape[outer:])
    for row in grid:  # (columns, inner rows, inner columns)
        for k in range(row.shape[1]):
            cells = ("  ".join(_number(value) for value in block[k]) for block in row)
            yield "  " + "   ".join(f"[{cell}]" for cell in cells)
        if outer:
            yield ""


def _number(value: float) -> str:
    return f"{'·':>6}" if value == 0 else f"{value:6.3f}"


def _shape(array: Array | None) -> str:
    if array is None:
        return ""
    return " × ".join(map(str, array.shape)) or "1"


def _size(array: Array | None) -> str:
    return "" if array is None else f"{array.nbytes:,} B"
