"""``charrnn runs``: list the runs in a folder."""

import argparse
import json
from dataclasses import asdict
from pathlib import Path

from charrnn.commands.flags import Commands, add_command, path
from charrnn.commands.terminal import say
from charrnn.errors import RunError, brief
from charrnn.runs.listing import RunSummary, runs_below, summary_of
from charrnn.text.reading import natural

LONGEST_NAME = 60  # characters in the table
SORT = {  # what to sort by, and whether the largest comes first
    "name": False,
    "cell": False,
    "hidden_size": True,
    "steps": True,
    "best_val_loss": False,
    "minutes": True,
    "state": False,
}


def add_parser(commands: Commands) -> None:
    """Add the flags of ``charrnn runs``."""
    parser = add_command(
        commands,
        run,
        "runs",
        usage="[OPTION ...] [FOLDER]",
        description="List the runs in a folder and those below it: networks, losses and states.",
    )
    parser.add_argument(
        "folder", metavar="FOLDER", nargs="?", type=path, default="runs", help="(default: runs)"
    )
    parser.add_argument(
        "--sort",
        metavar="NAME",
        choices=SORT,
        default="name",
        help=f"what to sort by: {', '.join(SORT)} (default: name)",
    )
    parser.add_argument("--json", action="store_true", help="print a JSON object for each, a line each")


def run(args: argparse.Namespace) -> int:
    """List runs. Returns: the exit code."""
    folder = Path(args.folder)
    if not folder.is_dir():
        raise RunError(f"{folder}: no such folder")
    paths = sorted(runs_below(folder), key=natural)
    rows = [
        summary_of(path, str(path.relative_to(folder)) if path != folder else path.name) for path in paths
    ]
    if args.sort != "name":
        known = [row for row in rows if getattr(row, args.sort) is not None]
        known.sort(key=lambda row: getattr(row, args.sort), reverse=SORT[args.sort])
        rows = known + [row for row in rows if getattr(row, args.sort) is None]
    if args.json:
        for row in rows:
            print(json.dumps(asdict(row)))
    elif not rows:
        say(f"{folder}: no run in this folder")
    else:
        print_table(rows)
    return 0


def print_table(rows: list[RunSummary]) -> None:
    """Print a line for each run, and what is wrong with those that are damaged."""
    names = [brief(row.name, LONGEST_NAME) for row in rows]
    width = max(map(len, [*names, "run"]))
    say(f"{'run':{width}}  cell  {'L × H':>8}  {'V':>5}  {'steps':>9}  best val    bits  minutes  state")
    for name, row in zip(names, rows, strict=True):
        size = "–" if row.hidden_size is None else f"{row.num_layers} × {row.hidden_size}"
        loss, bits = (
            "–" if value is None else f"{value:.4f}" for value in (row.best_val_loss, row.bits_per_char)
        )
        steps = "–" if row.steps is None else f"{row.steps:,}"
        minutes = "–" if row.minutes is None else f"{row.minutes:.1f}"
        say(
            f"{name:{width}}  {row.cell or '–':4}  {size:>8}  {row.vocabulary_size or '–':>5}  {steps:>9}  "
            f"{loss:>8}  {bits:>6}  {minutes:>7}  {row.state}" + (f": {row.error}" if row.error else "")
        )
