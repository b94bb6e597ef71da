"""``charrnn plot``: draw runs into one picture."""

import argparse
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
from pydantic import Field

from charrnn.blas import one_blas_thread
from charrnn.commands.flags import Commands, add_command, add_settings, given, path
from charrnn.commands.terminal import say, warn
from charrnn.commands.texts import parts_of_run
from charrnn.config import Settings
from charrnn.errors import CharRNNError, RunError
from charrnn.measures.evaluation import evaluate
from charrnn.runs import find_run, load, read_note
from charrnn.runs.metrics import METRICS

if TYPE_CHECKING:
    from charrnn.views.plotting import Beside, Curves, Trained
    from charrnn.views.shades import Shades

REMEDY = "Name it: "


class PlotSettings(Settings):
    """What to draw."""

    what: Literal["loss", "gradients", "units", "weights"] | None = Field(
        default=None,
        description="the losses; the gradient's norm and how far a loss reaches back; text in the colours of "
        "the unit that says most; the matrices and eigenvalues (default: losses, gradient norm and learning "
        "rate on one sheet)",
    )


def add_parser(commands: Commands) -> None:
    """Add the flags of ``charrnn plot``."""
    parser = add_command(
        commands,
        run,
        "plot",
        usage="[OPTION ...] RUN ...",
        description="Draw one or more runs into one picture.",
    )
    parser.add_argument("runs", metavar="RUN", nargs="+", type=path, help="folders of runs")
    parser.add_argument(
        "--out",
        metavar="FILE",
        type=path,
        help="the picture, .png, .svg or .pdf (default: losses.png, gradients.png, units.png or weights.png)",
    )
    add_settings(parser, PlotSettings)


def run(args: argparse.Namespace) -> int:
    """Draw a picture. Returns: the exit code."""
    from charrnn.views import plotting

    what, runs = PlotSettings(**given(args, PlotSettings)).what, [find_run(run) for run in args.runs]
    named = plotting.names(runs)
    with one_blas_thread():  # more would wait for one another between small products
        if what in (None, "loss"):
            curves = [(name, curves_of(folder)) for name, folder in zip(named, runs, strict=True)]
            figure = plotting.draw_loss(curves, beside_of_all(runs)) if what else plotting.draw_sheet(curves)
        elif what == "units":
            shown = named if len(runs) > 1 else [""]
            figure = plotting.draw_texts([shades_of_run(*each) for each in zip(runs, shown, strict=True)])
        else:
            each = zip(runs, named, strict=True)
            trained = [trained_of(*one, with_text=what == "gradients") for one in each]
            figure = plotting.draw_weights(trained) if what == "weights" else plotting.draw_gradients(trained)
    out = Path(args.out or f"{what if what in ('gradients', 'units', 'weights') else 'losses'}.png")
    plotting.save(figure, out)
    say(str(out))
    return 0


def curves_of(run: Path) -> "Curves":
    """The curves of a run, whose notes are printed.

    Raises:
        RunError: it has none yet.
    """
    from charrnn.runs.curves import read_curves

    curves, notes = read_curves(run)
    for note in notes:
        warn(note)
    if not curves["loss"].points:
        raise RunError(f"{run / METRICS}: missing or damaged: it has no line that can be drawn")
    return curves


def beside_of_all(runs: list[Path]) -> list["Beside"]:
    """What each run is laid beside; n-gram lines if they are the same for all."""
    beside = [beside_of(folder) for folder in runs]
    if any(known.to_beat != beside[0].to_beat for known in beside):
        warn("the n-gram lines are left out: they are not the same for all of these runs")
        return [replace(known, to_beat={}) for known in beside]
    return beside


def beside_of(run: Path) -> "Beside":
    """What there is to beat on the validation part of a run's text, and its loss on the test part.

    Where the text or the network is not found, that is said.
    """
    from charrnn.views.page import COUNTED, losses_to_beat
    from charrnn.views.plotting import Beside

    try:
        model = load(run)
        parts = parts_of_run(run, model, REMEDY)
    except CharRNNError as error:
        warn(f"the n-gram lines and the test loss are left out: {error}")
        return Beside({}, None)
    to_beat = losses_to_beat(parts, model.V)
    if not to_beat:
        warn(f"{run}: without n-gram lines: its text is too short, or longer than {COUNTED:,} characters")
    return Beside(to_beat, evaluate(model, parts.test).loss if 2 <= len(parts.test) <= COUNTED else None)


def trained_of(run: Path, name: str, *, with_text: bool) -> "Trained":
    """A run with its network, and for what needs them with its text and its curves."""
    from charrnn.views.page import start_of, studied
    from charrnn.views.plotting import Trained

    note, model = read_note(run), load(run)
    start = None if note.init_from else start_of(model, note.settings)
    tokens = studied(parts_of_run(run, model, REMEDY)) if with_text else np.zeros(0, int)
    curves = curves_of(run) if with_text else {}
    return Trained(name, curves, model, start, note.settings.seq_length, tokens)


def shades_of_run(run: Path, name: str) -> "Shades":
    """A piece of what a run was validated on, where the unit that says most varies most, in its colours."""
    from charrnn.views.page import piece, studied
    from charrnn.views.plotting import LETTERS
    from charrnn.views.shades import liveliest, shades_of_unit
    from charrnn.views.units import strongest

    model = load(run)
    tokens = studied(parts_of_run(run, model, REMEDY))
    shades = shades_of_unit(model, piece(model.vocabulary, tokens), strongest(model, tokens))
    shades = liveliest(shades, LETTERS)
    return replace(shades, caption=f"{name}: {shades.caption}") if name else shades
