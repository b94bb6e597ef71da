"""``charrnn export``: write a network for other programs."""

import argparse

from charrnn.commands.flags import Commands, SavedConfig, add_command, add_run, add_settings, given, path
from charrnn.commands.terminal import say


def add_parser(commands: Commands) -> None:
    """Add the flags of ``charrnn export``."""
    parser = add_command(
        commands,
        run,
        "export",
        usage="[OPTION ...] RUN FILE",
        description="Write the network of a run to a safetensors file, under PyTorch's names.",
    )
    add_run(parser)
    parser.add_argument("file", metavar="FILE", type=path, help="the file; one that is there is replaced")
    add_settings(parser, SavedConfig)


def run(args: argparse.Namespace) -> int:
    """Write a file. Returns: the exit code."""
    from charrnn.exchange import export_run

    export_run(args.run, args.file, SavedConfig(**given(args, SavedConfig)).which)
    say(args.file)
    return 0
