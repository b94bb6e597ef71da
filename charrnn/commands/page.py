"""``charrnn page``: make a page that shows what networks have learned."""

import argparse
import shlex
from pathlib import Path
from typing import Literal

from pydantic import Field

from charrnn.blas import one_blas_thread
from charrnn.commands.flags import Commands, SavedConfig, add_command, add_settings, given, path
from charrnn.commands.terminal import say
from charrnn.commands.texts import parts_of_run, read_given
from charrnn.files import write_output
from charrnn.model import CharRNN
from charrnn.runs import find_save, load
from charrnn.text.corpus import Parts

TEXT_BYTES = 64 * 10**6


class PageSettings(SavedConfig):
    """The settings of ``charrnn page``."""

    precision: Literal["int8", "float16", "float32"] = Field(
        default="int8",
        description="how weights are stored in it: int8 is the smallest; float32 writes the same text as "
        "charrnn sample with the same seed",
    )


def add_parser(commands: Commands) -> None:
    """Add the flags of ``charrnn page``."""
    parser = add_command(
        commands,
        run,
        "page",
        usage="[OPTION ...] RUN ...",
        description="Make one HTML file that opens in any browser, offline. It writes text, reads text, and "
        "shows what units follow, where a loss reaches back to, and how the network learned. Several runs "
        "become a switch.",
    )
    parser.add_argument("runs", metavar="RUN", nargs="+", type=path, help="folders of runs, or saves in them")
    parser.add_argument(
        "--out", metavar="FILE", type=path, default="page.html", help="the page (default: page.html)"
    )
    parser.add_argument(
        "--text",
        metavar="FILE",
        type=path,
        help="a text to show and to name units on, in place of the end of the run's own",
    )
    add_settings(parser, PageSettings)


def run(args: argparse.Namespace) -> int:
    """Make a page. Returns: the exit code."""
    from charrnn.views.page import render, run_data

    config, out, runs = PageSettings(**given(args, PageSettings)), Path(args.out), []
    files = [find_save(run, config.which) for run in args.runs]
    for file in files:
        model, folder = load(file), file.parent
        parts = parts_to_show(folder, model, args.text)
        with one_blas_thread():  # more would wait for one another between small products
            data = run_data(folder, model, parts, file.stem, config.precision)
        if any(other != file and other.parent == folder for other in files):
            data["name"] += f"/{file.name}"
        runs.append(data)
    html = render({"runs": runs}).encode()
    write_output(out, html)
    say(f"{out}: {len(html) / 1000:,.0f} KB, to be opened in a browser")
    return 0


def parts_to_show(run: Path, model: CharRNN, file: str | None) -> Parts:
    """Return the parts of the run's own text; a text from a file is all validation."""
    if file is not None:
        tokens = model.vocabulary.encode(read_given(Path(file), TEXT_BYTES, run, model))
        return Parts(tokens[:0], tokens, tokens[:0])
    remedy = f"Give a text: charrnn page {shlex.quote(str(run))} --text FILE, or "
    return parts_of_run(run, model, remedy)
