"""``charrnn page``: a page that shows what networks have learned."""

import argparse
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from charrnn.commands.flags import add_settings, add_which, given
from charrnn.config import Settings
from charrnn.files import write_whole
from charrnn.text.reading import decode, read_file


class PageConfig(Settings):
    """The page."""

    precision: Literal["int8", "float16", "float32"] = Field(
        default="int8",
        description="how weights are stored in it: int8 is the smallest; float32 writes the same text as "
        "charrnn sample with the same seed",
    )


def add_parser(commands: Any) -> None:
    """Add the flags of ``charrnn page``."""
    parser = commands.add_parser(
        "page",
        usage="charrnn page [OPTION ...] RUN ...",
        help="make a page that shows what networks have learned",
        description="Make one HTML file that opens in any browser, offline. It writes text, reads text, and "
        "shows what units follow, where a loss reaches back to, and how the network learned. Several runs "
        "become a switch.",
    )
    parser.add_argument("runs", metavar="RUN", nargs="+", help="folders of runs")
    parser.add_argument("--out", metavar="FILE", default="page.html", help="the page (default: page.html)")
    parser.add_argument(
        "--text",
        metavar="FILE",
        help="a text to show and to name units on, in place of the end of the run's own",
    )
    add_which(parser)
    add_settings(parser, PageConfig)


def run(args: argparse.Namespace) -> int:
    """Make a page. Returns: the exit code."""
    from charrnn.views.page import page

    config, out = PageConfig(**given(args, PageConfig)), Path(args.out)
    text = decode(read_file(Path(args.text)), "utf-8", args.text) if args.text else ""
    html = page(map(Path, args.runs), which=args.which, precision=config.precision, text=text).encode()
    write_whole(out, lambda file: file.write(html))
    print(f"{out}: {len(html) / 1000:,.0f} KB, to be opened in a browser")
    return 0
