"""The pictures of DERIVATION.md: ``python -m charrnn.proofs.picture`` writes them beside it.

The tensor is that of Z = W A with W (2, 3) and A (3, 2), so ∂Z/∂W is a 2 × 2 matrix of 2 × 3 blocks. The
window has T = 3 steps.
"""

from collections.abc import Iterator
from itertools import product
from pathlib import Path

from charrnn import layers

CELL, GAP = 34, 12  # pixels
INK, COLUMNS = "#333333", ("#cfe2f8", "#fbdcc0")  # one colour for each column of A
WAYS = "#0b5a94", "#a3560f"  # direct, recursive
DIGITS = "₁₂₃"


def tensor() -> str:
    """Rule 3 as SVG: G, the tensor block by block, and what the two contract to."""
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
    return _svg(755, 205, parts)


def window() -> str:
    """The way back through a window as SVG: the two ways to each da⟨t⟩, and the sum over time."""
    direct, recursive = WAYS
    parts = [_box(30, 95, "da⟨0⟩")]
    for t in (1, 2, 3):
        x = 30 + 200 * t
        parts += [
            _box(x, 20, f"dlogits⟨{t}⟩"),
            _box(x, 95, f"da⟨{t}⟩ → dz⟨{t}⟩"),
            _box(x, 170, f"a⟨{t - 1}⟩ᵀ dz⟨{t}⟩"),
        ]
        parts += [_arrow(x + 60, 54, x + 60, 93, direct), _arrow(x + 60, 129, x + 60, 168, INK)]
        parts += [_arrow(x - 2, 112, x - 78, 112, recursive), _label(x - 40, 104, "W_aaᵀ", recursive)]
        parts += [_label(x + 90, 78, "W_yaᵀ", direct), _label(x - 40, 192, "dW_aa =" if t == 1 else "+", INK)]
    parts += [_label(115, 30, "direct: from the step’s own loss", direct)]
    parts += [_label(115, 50, "recursive: from the step after", recursive)]
    return _svg(770, 225, parts)


PICTURES = {"tensor.svg": tensor, "window.svg": window}


def _svg(width: int, height: int, parts: list[str]) -> str:
    size = f'viewBox="0 0 {width} {height}"'
    font = 'font-family="sans-serif" font-size="13" text-anchor="middle"'
    start = f'<svg xmlns="http://www.w3.org/2000/svg" {size} {font} fill="{INK}">'
    paper = f'<rect width="{width}" height="{height}" fill="white"/>'
    return "\n".join([start, paper, *parts, "</svg>", ""])


def _box(x: int, y: int, text: str) -> str:
    box = f'x="{x}" y="{y}" width="120" height="{CELL}" fill="white" stroke="{INK}"'
    return f"<rect {box}/>{_label(x + 60, y + 22, text, INK)}"


def _label(x: int, y: int, text: str, colour: str) -> str:
    return f'<text x="{x}" y="{y}" fill="{colour}">{text}</text>'


def _arrow(x1: int, y1: int, x2: int, y2: int, colour: str) -> str:
    """A line along an axis, with its head at the second end."""
    dx, dy = (x2 > x1) - (x2 < x1), (y2 > y1) - (y2 < y1)
    left, right = ((x2 - 7 * dx + 4 * s * dy, y2 - 7 * dy + 4 * s * dx) for s in (-1, 1))
    line = f'<path d="M{x1} {y1}L{x2} {y2}" stroke="{colour}" stroke-width="2"/>'
    return f'{line}<path d="M{x2} {y2}L{left[0]} {left[1]}L{right[0]} {right[1]}Z" fill="{colour}"/>'


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
    for name, drawn in PICTURES.items():
        (Path(layers.__file__).parent / name).write_text(drawn(), "utf-8")
