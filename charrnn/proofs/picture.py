"""The tensor of rule 3 as a picture: ``python -m charrnn.proofs.picture > charrnn/layers/tensor.svg``.

Z = W A with W (2, 3) and A (3, 2), so ∂Z/∂W is a 2 × 2 matrix of 2 × 3 blocks.
"""

import sys
from collections.abc import Iterator
from itertools import product

CELL, GAP = 34, 12  # pixels
INK, COLUMNS = "#333333", ("#cfe2f8", "#fbdcc0")  # one colour for each column of A
DIGITS = "₁₂₃"


def drawing() -> str:
    """The picture as SVG: G, the tensor block by block, and what the two contract to."""
    G = [[(f"G{DIGITS[i]}{DIGITS[j]}", COLUMNS[j]) for j in range(2)] for i in range(2)]
    sums = [[" + ".join(f"G{i}{j}A{k}{j}" for j in "₁₂") for k in DIGITS] for i in "₁₂"]
    parts = [*_titled(20, "G", 2 * CELL), *_grid(20, 85, G)]
    parts += _titled(130, "∂Z/∂W: block (i, j) is ∂Z_ij/∂W", 6 * CELL + GAP)
    for i, j in product(range(2), range(2)):
        column, zeros = [(f"A{k}{DIGITS[j]}", COLUMNS[j]) for k in DIGITS], [("0", "white")] * 3
        x, y = 130 + j * (3 * CELL + GAP), 45 + i * (2 * CELL + GAP)
        parts += _grid(x, y, [column if k == i else zeros for k in range(2)])
    parts += _titled(388, "dW = G Aᵀ: each entry of G times its block, added up", 345)
    parts += _grid(388, 85, [[(text, "white") for text in row] for row in sums], 115)
    size, font = 'viewBox="0 0 755 205"', 'font-family="sans-serif" font-size="13" text-anchor="middle"'
    start = f'<svg xmlns="http://www.w3.org/2000/svg" {size} {font} fill="{INK}">'
    return "\n".join([start, '<rect width="755" height="205" fill="white"/>', *parts, "</svg>", ""])


def _titled(x: int, text: str, width: int) -> Iterator[str]:
    yield f'<text x="{x + width // 2}" y="28">{text}</text>'


def _grid(x: int, y: int, rows: list[list[tuple[str, str]]], width: int = CELL) -> Iterator[str]:
    """A matrix of texts, each on its own colour."""
    for i, row in enumerate(rows):
        for j, (text, colour) in enumerate(row):
            left, top = x + j * width, y + i * CELL
            box = f'x="{left}" y="{top}" width="{width}" height="{CELL}" fill="{colour}" stroke="{INK}"'
            yield f'<rect {box}/><text x="{left + width // 2}" y="{top + 22}">{text}</text>'


if __name__ == "__main__":
    sys.stdout.write(drawing())
