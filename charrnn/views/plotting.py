"""Pictures of runs, drawn with matplotlib if it is installed (the extra ``plot``).

Each function makes a figure; ``save`` writes it. What runs share is drawn into one plot, a colour a run; what
each has for itself stands side by side.
"""

import io
import os
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from charrnn.errors import CharRNNError, RunError, brief
from charrnn.files import write_output
from charrnn.layers import Array
from charrnn.model import CharRNN
from charrnn.runs.curves import Curve
from charrnn.text.vocabulary import Tokens
from charrnn.views.page import eigenvalues, median_reach
from charrnn.views.shades import Shades, columns, lines

STYLES = ("-", "--", ":", "-.")  # one after each ten colours
ENTRIES = 512  # rows and columns of a matrix that are drawn
COLUMNS, MARGIN = 64, 2  # of a text, in letters
LETTER, LINE = 6.02, 15.0  # points: how wide and high a letter of 10 points stands
LETTERS = 480  # of a text
PAPER, INK, LOW, HIGH = "#fcfbf8", "#21201c", "#7db9e8", "#f2a45c"  # those of the page
GREY = "#77736a"
# of matplotlib: the letters of an SVG are text, and their names in it the same each time
SETTINGS: Any = {"svg.hashsalt": "charrnn", "svg.fonttype": "none", "font.monospace": ["DejaVu Sans Mono"]}
FAINTEST = 1e-16  # of a reach that is drawn, over the longest

Curves = Mapping[str, Curve]


@dataclass(frozen=True)
class Trained:
    """A run with what is more than its metrics.

    Attributes:
        name: of the run, for the legend.
        curves: of ``read_curves``.
        model: its network, of the best validation.
        start: that which training began with; None where it began with another run's weights.
        T: the steps at which training truncated.
        tokens: of its text (n,).
    """

    name: str
    curves: Curves
    model: CharRNN
    start: CharRNN | None
    T: int
    tokens: Tokens


@dataclass(frozen=True)
class Beside:
    """What a run's losses are to be laid beside: n-gram losses by name, and its loss on the test part."""

    to_beat: Mapping[str, float]
    test_loss: float | None


def names(runs: Sequence[Path]) -> list[str]:
    """A name for each run: that of its folder, with as many folders above it as tell equal names apart."""
    paths = [run.resolve() for run in runs]
    found = []
    for path in paths:
        others = {other.parts for other in paths if other != path}
        parts = next(
            (
                path.parts[-k:]
                for k in range(1, len(path.parts) + 1)
                if all(other[-k:] != path.parts[-k:] for other in others)
            ),
            path.parts,
        )
        found.append(str(Path(*parts)))
    return found


def label(name: str) -> str:
    """A name as matplotlib shows it: no mathematics, and none that it would hide."""
    name = os.fsencode(brief(name, 60)).decode(errors="replace").replace("$", r"\$")
    return " " * name.startswith("_") + name  # a label that begins with it would not be shown


def new_figure(width: float, height: float, **options: Any) -> Any:
    """A figure of matplotlib, in inches.

    Raises:
        CharRNNError: it is not installed.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError:
        raise CharRNNError(
            "pictures need matplotlib: pip install matplotlib, or install charrnn with the extra 'plot'"
        ) from None
    return Figure(figsize=(width, height), **options)


def save(figure: Any, out: Path) -> None:
    """Write a figure; the ending of ``out`` says the format (png, svg, pdf). The same figure gives the same
    bytes. What is there and no file, such as a pipe or a device, is written to and not replaced.

    Raises:
        RunError: it cannot be written, or matplotlib has no such format.
    """
    from matplotlib import rc_context

    kind, drawn = out.suffix[1:].lower() or "png", io.BytesIO()
    dated = {"svg": {"Date": None}, "pdf": {"CreationDate": None}}
    try:
        with (
            warnings.catch_warnings(action="ignore"),  # the font may lack a character of a name
            rc_context(SETTINGS),
        ):
            figure.savefig(drawn, format=kind, metadata=dated.get(kind))
    except (OSError, ValueError, RuntimeError) as error:  # the last one: pgf where there is no LaTeX
        raise RunError(f"{out}: cannot be written: {getattr(error, 'strerror', None) or error}") from None
    write_output(out, drawn.getvalue())


# -- curves -----------------------------------------------------------------------------------------


def draw_sheet(runs: Sequence[tuple[str, Curves]]) -> Any:
    """Losses, gradient norm and learning rate over the epochs."""
    figure = new_figure(8, 9, layout="constrained")
    losses, norms, rates = figure.subplots(3, 1, sharex=True, height_ratios=[5, 2, 2])
    _losses(losses, runs, [Beside({}, None)] * len(runs))
    _over_epochs(norms, runs, "grad_norm", "gradient norm")
    _over_epochs(rates, runs, "learning_rate", "learning rate")
    rates.set_xlabel("epoch")
    return figure


def draw_loss(runs: Sequence[tuple[str, Curves]], beside: Sequence[Beside]) -> Any:
    """Losses over the epochs.

    Arguments:
        runs: names and curves.
        beside: for each run what it is laid beside; the n-grams of the first are drawn.
    """
    figure = new_figure(8, 5, layout="constrained")
    axes = figure.subplots()
    _losses(axes, runs, beside)
    axes.set_xlabel("epoch")
    return figure


def _losses(axes: Any, runs: Sequence[tuple[str, Curves]], beside: Sequence[Beside]) -> None:
    """Training loss, validation loss with its best point, test loss there; and the n-grams of all texts."""
    for i, ((name, curves), known) in enumerate(zip(runs, beside, strict=True)):
        style: dict[str, Any] = {"color": f"C{i}", "linestyle": STYLES[i // 10 % len(STYLES)]}
        train, val = curves["loss"].points, curves["val_loss"].points
        axes.plot(
            *zip(*train, strict=True), **style, alpha=0.4, linewidth=1, label=None if val else label(name)
        )
        if val:
            axes.plot(*zip(*val, strict=True), **style, marker=".", label=label(name))
            best = min(val, key=lambda point: point[1])
            axes.plot(*best, color=f"C{i}", marker="o", markersize=9, fillstyle="none")
            if known.test_loss is not None:
                axes.plot(best[0], known.test_loss, color=f"C{i}", marker="*", markersize=9)
    near: list[tuple[float, str]] = []  # lines with room for a name each
    for name, loss in sorted(beside[0].to_beat.items(), key=lambda item: item[1]):
        axes.axhline(loss, color=GREY, linewidth=0.7, linestyle=":")
        said = "uniform, ln V" if name == "uniform" else name
        if near and loss - near[-1][0] < 0.1:
            near[-1] = near[-1][0], f"{near[-1][1]}, {said}"
        else:
            near.append((loss, said))
    for loss, said in near:
        place = {"xycoords": ("axes fraction", "data"), "va": "center"}
        axes.annotate(said, (1.01, loss), **place, size=8, color=GREY, annotation_clip=False)
    axes.set_ylabel("loss (nats per character)")
    star = "; star: test" if any(known.test_loss is not None for known in beside) else ""
    axes.set_title(f"validation (dots; ring: best{star}) and training (pale)", size=10)
    axes.grid(alpha=0.3)
    axes.legend()


def _over_epochs(axes: Any, runs: Sequence[tuple[str, Curves]], curve: str, title: str) -> None:
    """One of the curves of each run."""
    for i, (_, curves) in enumerate(runs):
        if points := curves[curve].points:
            style = STYLES[i // 10 % len(STYLES)]
            axes.plot(*zip(*points, strict=True), color=f"C{i}", linestyle=style, linewidth=1)
    axes.set_ylabel(title)
    axes.grid(alpha=0.3)


def draw_gradients(runs: Sequence[Trained]) -> Any:
    """The gradient's norm over the epochs; and how far a loss reaches back, by distance, before and after."""
    figure = new_figure(8, 8, layout="constrained")
    norms, reaches = figure.subplots(2, 1, height_ratios=[2, 3])
    _over_epochs(norms, [(run.name, run.curves) for run in runs], "grad_norm", "gradient norm")
    norms.set_xlabel("epoch")
    for i, run in enumerate(runs):
        style: dict[str, Any] = {"color": f"C{i}"}
        if run.start is not None:
            _reach(reaches, run.start, run.tokens, **style, linestyle=":", linewidth=1)
        _reach(reaches, run.model, run.tokens, **style, label=label(run.name))
        reaches.axvline(run.T, **style, linewidth=0.7, alpha=0.5)
    reaches.set_yscale("log")
    reaches.set_ylim(bottom=max(reaches.get_ylim()[0], reaches.get_ylim()[1] * FAINTEST))
    reaches.set_xlabel("characters back from the loss; the upright line is T, where training truncates")
    lstm = [run.model.config.cell == "lstm" for run in runs]
    state = "c" if all(lstm) else "a"
    of_lstm = ", of an LSTM ‖∂L⟨t⟩/∂c⟨s⟩‖" if any(lstm) and not all(lstm) else ""
    reaches.set_ylabel(f"‖∂L⟨t⟩/∂{state}⟨s⟩‖{of_lstm}")
    reaches.set_title("median reach of a loss, at the start (dotted) and of the best network", size=10)
    reaches.grid(alpha=0.3)
    if reaches.get_legend_handles_labels()[0]:
        reaches.legend()
    return figure


def _reach(axes: Any, model: CharRNN, tokens: Tokens, **style: Any) -> None:
    """The median reach of a network on a text, by distance; nothing of a text that is too short."""
    found = median_reach(model, tokens)
    lengths = np.array(found.get("c") or found.get("a", []))
    lengths[lengths == 0] = np.nan  # not on a logarithmic scale
    if len(lengths):
        axes.plot(lengths, **style)


# -- weights ----------------------------------------------------------------------------------------


def draw_weights(runs: Sequence[Trained]) -> Any:
    """The matrices of each run, a column a run, and the eigenvalues of W_aa on the unit circle."""
    matrices = [[(n, W) for n, W in run.model.parameters.items() if W.ndim == 2] for run in runs]
    circles = max(run.model.config.num_layers for run in runs)
    rows = max(map(len, matrices))
    figure = new_figure(4.5 * len(runs), 2.6 * rows + 4 * circles, layout="constrained")
    heights = [2.6] * rows + [4.0] * circles
    axes = figure.subplots(rows + circles, len(runs), squeeze=False, height_ratios=heights)
    for plot in axes.flat:
        plot.set_axis_off()
    for column, (run, found) in enumerate(zip(runs, matrices, strict=True)):
        for plot, (name, W) in zip(axes[:, column], found, strict=False):
            _matrix(plot, name, W)
        axes[0, column].set_title(f"{label(run.name)}\n{axes[0, column].get_title()}", size=10)
        start = eigenvalues(run.start) if run.start is not None else None
        for layer, now in enumerate(eigenvalues(run.model)):
            _circle(axes[rows + layer, column], now, start[layer] if start else [])
            axes[rows + layer, column].set_title(
                f"eigenvalues of W_aa{f'[{layer + 1}]' if layer else ''}, now (dots) and at the start",
                size=10,
            )
    return figure


def _matrix(axes: Any, name: str, W: Array) -> None:
    """A matrix in colours of its own scale, of a large one every few rows and columns."""
    steps = [-(-size // ENTRIES) for size in W.shape]
    most = float(np.abs(W).max()) or 1.0
    axes.set_axis_on()
    extent = (0, W.shape[1], W.shape[0], 0)
    image = axes.imshow(
        W[:: steps[0], :: steps[1]], cmap="RdBu_r", vmin=-most, vmax=most, aspect="auto", extent=extent
    )
    thinned = "" if steps == [1, 1] else ", thinned"
    axes.set_title(f"{name} {W.shape[0]} × {W.shape[1]}{thinned}", size=10)
    axes.figure.colorbar(image, ax=axes)


def _circle(axes: Any, now: list[tuple[float, float]], start: list[tuple[float, float]]) -> None:
    """Eigenvalues, each with its conjugate, and the unit circle."""
    around = np.linspace(0, 2 * np.pi, 200)
    axes.set_axis_on()
    axes.plot(np.cos(around), np.sin(around), color=GREY, linewidth=0.7)
    for values, style in ((start, {"color": HIGH, "fillstyle": "none"}), (now, {"color": "C0"})):
        points = np.array([(x, sign * y) for x, y in values for sign in (1, -1)]).reshape(-1, 2)
        axes.plot(*points.T, linestyle="", marker="o", markersize=3, **style)
    axes.set_aspect("equal", adjustable="datalim")


# -- text -------------------------------------------------------------------------------------------


def draw_texts(texts: Sequence[Shades]) -> Any:
    """Texts in the colours of a unit, side by side, each below its caption and its scale."""
    cells = [[drawn(character) for character in text.characters] for text in texts]
    broken = [
        lines(t.characters, [columns(c) for c in of], COLUMNS) for t, of in zip(texts, cells, strict=True)
    ]
    height, across = 4 + max(map(len, broken)), len(texts) * (COLUMNS + 2 * MARGIN)
    figure = new_figure(across * LETTER / 72, height * LINE / 72, facecolor=PAPER)
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set_axis_off()
    colours = np.tile(blend(0.0), (height, across, 1))
    for k, text in enumerate(texts):
        left = k * (COLUMNS + 2 * MARGIN) + MARGIN
        low, high = text.ends
        _write(axes, left, 1, text.caption)
        _write(axes, left, 2, f"{low}{' ' * 12}{high}", GREY)
        for i in range(10):
            colours[2, left + len(low) + 1 + i] = blend((i - 4.5) / 4.5)
        for row, line in enumerate(broken[k], 4 - 1):
            column = left
            for i in line:
                wide = columns(cells[k][i])
                colours[row, column : column + wide] = blend(float(text.shades[i]))
                column += wide
            _write(axes, left, row, "".join(cells[k][i] for i in line))
    axes.imshow(colours, extent=(0, across, height, 0), aspect="auto", interpolation="nearest")
    axes.set(xlim=(0, across), ylim=(height, 0))
    return figure


def _write(axes: Any, column: int, row: int, text: str, colour: str = INK) -> None:
    """Write words into a grid of letters, each in its place, whatever the font's width."""
    for word in text.split(" "):
        if word:
            font = {"family": "monospace", "size": 10, "color": colour}
            axes.text(column, row + 0.5, word, va="center_baseline", parse_math=False, **font)
        column += columns(word) + 1


def drawn(character: str) -> str:
    """What stands for a character in a picture: an arrow for a line end, an escape for what is not seen."""
    if character == "\n":
        return "↵"
    return "".join(one if one.isprintable() else ascii(one)[1:-1] for one in character)


def blend(shade: float) -> Array:
    """The colour (3,) of a shade from −1 to 1, in steps of a tenth."""
    paper, colour = (
        np.array([int(c[i : i + 2], 16) for i in (1, 3, 5)]) / 255
        for c in (PAPER, HIGH if shade > 0 else LOW)
    )
    part = round(min(abs(shade), 1) * 10) / 10
    return np.asarray(paper * (1 - part) + colour * part)
