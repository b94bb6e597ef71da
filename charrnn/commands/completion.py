"""``charrnn completion``: completion of commands and flags in a shell."""

import argparse

from charrnn.commands.flags import Commands, add_command
from charrnn.errors import CharRNNError

SHELLS = ("bash", "zsh", "fish")


def add_parser(commands: Commands) -> None:
    """Add the argument of ``charrnn completion``."""
    parser = add_command(
        commands,
        run,
        "completion",
        usage="{bash,zsh,fish}",
        description="Print the script by which a shell completes the commands and flags of charrnn.",
    )
    parser.add_argument("shell", choices=SHELLS, help="the shell that is to read it")


def run(args: argparse.Namespace) -> int:
    """Print the script. Returns: the exit code."""
    try:
        import shtab
    except ModuleNotFoundError:
        raise CharRNNError("completion needs shtab: pip install 'charrnn-numpy[completion]'") from None
    print(shtab.complete(args.parser, args.shell))
    return 0
