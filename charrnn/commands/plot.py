"""``charrnn plot``: draw the losses of runs."""

import argparse
from pathlib import Path

from charrnn.commands.flags import Commands, add_command, path
from charrnn.commands.terminal import say, warn


def add_parser(commands: Commands) -> None:
    """Add the flags of ``charrnn plot``."""
    parser = add_command(
        commands,
        run,
        "plot",
        usage="[OPTION ...] RUN ...",
        help="draw the losses of runs (needs matplotlib)",
        description="Draw training and validation loss of one or more runs into one picture.",
    )
    parser.add_argument("runs", metavar="RUN", nargs="+", type=path, help="folders of runs")
    parser.add_argument(
        "--out", metavar="FILE", type=path, default="losses.png", help="the picture (default: losses.png)"
    )


def run(args: argparse.Namespace) -> int:
    """Draw a picture. Returns: the exit code."""
    from charrnn.views.plotting import plot_losses

    for note in plot_losses([Path(run) for run in args.runs], Path(args.out)):
        warn(note)
    say(args.out)
    return 0
