"""What networks, runs and proofs show themselves with in a notebook: small tables in the look of the page.

All style stands in the elements themselves, which every notebook keeps, and on its background, light or dark.
"""

from collections.abc import Iterable, Sequence
from html import escape

import numpy as np

from charrnn.layers import Array

FONT = "font: 14px/1.5 system-ui, sans-serif; text-align: left"
NUMBERS = "font: 12px/1.5 ui-monospace, Menlo, Consolas, monospace"
LINE = "border-bottom: 1px solid rgba(128, 128, 128, 0.3); padding: 2px 14px 2px 0; text-align: left"
LOW, HIGH = "125, 185, 232", "242, 164, 92"  # the blue and the orange of the page


def panel(title: str, *parts: str) -> str:
    """A title with parts, which are HTML, below one another."""
    return f'<div style="{FONT}"><b>{escape(title)}</b>{"".join(parts)}</div>'


def table(rows: Iterable[Sequence[object]], head: Sequence[str] = ()) -> str:
    """A table of texts and numbers."""
    cells = [
        "".join(f'<{tag} style="{LINE}">{escape(str(cell))}</{tag}>' for cell in row)
        for tag, some in (("th", [head] if head else []), ("td", rows))
        for row in some
    ]
    body = "".join(f"<tr>{row}</tr>" for row in cells)
    return f'<table style="border-collapse: collapse; font: inherit">{body}</table>'


def matrix(array: Array, axes: int = 0) -> str:
    """An array of one or two axes in numbers, shaded by sign and size; or blocks of those.

    Arguments:
        axes: 1 or 2 for a row or a matrix of such blocks; as many axes more has the array.
    """
    most = float(np.abs(array).max()) or 1.0
    return _grid(array, axes, most)


def _grid(array: Array, axes: int, most: float) -> str:
    if axes == 0:
        style, cells = NUMBERS, np.atleast_2d(array).tolist()
        rows = [[_number(value, most) for value in row] for row in cells]
    else:
        style, blocks = "", array if axes == 2 else array[np.newaxis]
        rows = [[f'<td style="padding: 6px">{_grid(block, 0, most)}</td>' for block in row] for row in blocks]
    body = "".join(f"<tr>{''.join(row)}</tr>" for row in rows)
    return f'<table style="border-collapse: collapse; {style}">{body}</table>'


def _number(value: float, most: float) -> str:
    colour, part = HIGH if value > 0 else LOW, abs(value) / most
    return f'<td style="background: rgba({colour}, {part:.2f}); padding: 1px 6px">{value:.3g}</td>'


def curves(named: Sequence[tuple[str, Sequence[tuple[float, float]]]]) -> str:
    """Curves over one another, the first blue, the second orange, with the ends of both axes."""
    points = np.array([point for _, curve in named for point in curve])
    if len(points) < 2:
        return ""
    low, span = points.min(axis=0), np.ptp(points, axis=0)
    span[span == 0] = 1
    lines = "".join(
        f'<polyline fill="none" stroke="rgb({colour})" stroke-width="1.5" points="'
        + " ".join(
            f"{x:.1f},{150 - y:.1f}" for x, y in ((np.array(curve) - low) / span * (500, 140)).tolist()
        )
        + '"/>'
        for (_, curve), colour in zip(named, (LOW, HIGH), strict=False)
        if curve
    )
    (x0, y0), (x1, y1) = low, points.max(axis=0)
    names = ", ".join(f"{name} {'blue' if i == 0 else 'orange'}" for i, (name, _) in enumerate(named))
    drawn = f'<svg viewBox="-5 0 510 155" width="510" height="155">{lines}</svg>'
    return (
        f"<div>{drawn}<br>{escape(f'{names}; {y1:.2f} to {y0:.2f} nats, epochs {x0:.2g} to {x1:.2g}')}</div>"
    )
