"""``charrnn import``: make a run of a network that another program trained."""

import argparse

from charrnn.commands.flags import Commands, add_command, path
from charrnn.commands.terminal import say


def add_parser(commands: Commands) -> None:
    """Add the flags of ``charrnn import``."""
    parser = add_command(
        commands,
        run,
        "import",
        usage="[OPTION ...] FILE --out RUN",
        description="Make a run of the network in a safetensors file with PyTorch's names, whoever made it.",
    )
    parser.add_argument("file", metavar="FILE", type=path, help="the safetensors file")
    parser.add_argument("--out", metavar="RUN", type=path, required=True, help="folder of the run")
    parser.add_argument(
        "--vocabulary",
        metavar="FILE",
        type=path,
        help="text file of the characters in the order of their indices, in place of the metadata's list",
    )


def run(args: argparse.Namespace) -> int:
    """Make a run. Returns: the exit code."""
    from charrnn.exchange import import_run

    import_run(args.file, args.out, args.vocabulary)
    say(f"{args.out}: charrnn train CORPUS --init-from {args.out} trains it further")
    return 0
