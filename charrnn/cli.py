"""The command line: its commands, and how they end.

0  done          1  a check failed       2  something the user can put right, said in a line or two
129, 130, 143    stopped by SIGHUP, SIGINT (Ctrl-C) or SIGTERM, with what was learned saved
141              the reader of the output has gone
"""

import argparse
import io
import os
import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

from charrnn.commands import COMMANDS
from charrnn.commands.parser import Parser, kebab
from charrnn.commands.terminal import as_typed, program, warn
from charrnn.display import shown
from charrnn.errors import CharRNNError, Interrupted
from charrnn.launcher import launched
from charrnn.signals import interrupts_end_at_once, stops_raised
from charrnn.version import __version__

if TYPE_CHECKING:
    from charrnn.training.world import World


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; among several ranks of MPI, on the first. Returns: the exit code."""
    make_streams_ready()
    argv = sys.argv[1:] if argv is None else argv
    place = launched()
    if place is None:
        return run(argv)
    with interrupts_end_at_once():
        from charrnn.training.ranks import follow
        from charrnn.training.world import World

        try:
            world = World(*place)
        except CharRNNError as error:
            print(f"charrnn: {error}", file=sys.stderr, flush=True)
            os.kill(os.getpid(), signal.SIGTERM)  # for an exit code launchers leave the others waiting
            return 2
    with world, stops_raised("stopped"):
        versions, words = zip(*world.comm.allgather((__version__, list(argv))), strict=True)
        if world.rank:
            return follow(world)
        if other := [rank for rank, own in enumerate(versions) if own != __version__]:
            found = f"rank {other[0]} runs charrnn {versions[other[0]]}, rank 0 {__version__}"
            print(f"charrnn: {found}: install the same on all machines", file=sys.stderr)
            return 2
        if other := [rank for rank, own in enumerate(words) if own != words[0]]:
            warn(f"rank {other[0]} was started with other words than rank 0, whose words alone count")
        world.exit_code = run(argv, world)
        return world.exit_code


def run(argv: Sequence[str], world: "World | None" = None) -> int:
    """Run a command, which may share its work out over the other ranks. Returns: the exit code."""
    args = argparse.Namespace(command=None)
    try:
        args = parse(argv)
        args.world = world
        if world and args.command not in ("train", "bench", None):
            warn(f"{world.size} ranks were started, of which charrnn {args.command} uses one")
        with too_big_is_no_memory():
            code: int = print_version() if args.version else args.function(args)
        sys.stdout.flush()
        return code
    except SystemExit as end:
        return int(end.code or 0)
    except CharRNNError as error:
        return fail(args, str(error), 2)
    except MemoryError as error:
        return fail(
            args, f"not enough memory: {str(error).rstrip('.')}. Ask for a smaller network or windows", 2
        )
    except Interrupted as stopped:
        return fail(args, str(stopped), 128 + stopped.signal)
    except KeyboardInterrupt:
        return fail(args, "interrupted", 130)
    except OSError as error:
        if error.filename is None:  # it was our output that could not be written: do not try again
            with suppress(OSError, ValueError, AttributeError):  # not every output is a file
                os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        if isinstance(error, BrokenPipeError):  # the reader has gone: charrnn sample … | head
            return 141
        where = "" if error.filename is None else f"{error.filename}: "
        return fail(args, f"{where}{error.strerror or error}", 2)


def make_streams_ready() -> None:
    """Give closed streams a place to write to, and let no character that cannot be shown stop the program."""
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:  # closed by whoever started us
            setattr(sys, name, Path(os.devnull).open("w"))  # noqa: SIM115  # until the program ends
        stream = getattr(sys, name)
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def build_parser(only: str | None = None) -> tuple[Parser, dict[str, Parser]]:
    """The parser of the whole command line, and those of the commands by their names.

    Arguments:
        only: a command; the others are not imported and their parsers have no flags.
    """
    parser = Parser(
        prog="charrnn",
        description="Train a character-level RNN on a text, sample from it, check its gradients.",
        epilog=f"{program('COMMAND')} --help tells more. {program('train')}, with nothing else, trains on a "
        "bundled text.",
    )
    parser.add_argument("--version", action="store_true", help="print the version and exit")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND")
    for name, (file, help) in COMMANDS.items():
        if only in (name, None):
            import_module(f"charrnn.commands.{file}").add_parser(commands)
        else:
            commands.add_parser(name, help=help)
    parser.set_defaults(parser=parser)  # for charrnn completion, which describes it
    return parser, commands.choices


def parse(argv: Sequence[str]) -> argparse.Namespace:
    """Parse the command line; an error in it ends the program."""
    first = next((word for word in argv if not word.startswith("-")), "")
    parser, commands = build_parser(None if first == "completion" else first)
    if first and first not in commands:
        parser.unknown(first, list(commands))
    args, unknown = parser.parse_known_args(kebab(argv))
    if unknown:
        commands.get(args.command, parser).unknown(unknown[0])
    if not (args.version or args.command):
        parser.print_help()
        parser.exit(2)
    return args


def print_version() -> int:
    """Print the version. Returns: the exit code."""
    print(f"charrnn {__version__}")
    return 0


@contextmanager
def too_big_is_no_memory() -> Iterator[None]:
    """NumPy has two errors for arrays that do not fit: a MemoryError, and for absurd ones a ValueError."""
    try:
        yield
    except ValueError as error:
        if "array is too big" in str(error) or "Maximum allowed" in str(error):
            raise MemoryError(str(error)) from None
        raise


def fail(args: argparse.Namespace, message: str, code: int) -> int:
    """Say what is wrong, in a line. Returns: ``code``."""
    with suppress(OSError):  # there may be no terminal any more
        line = f"{' '.join(filter(None, ('charrnn', args.command)))}: {as_typed(message)}"
        print(shown(line, sys.stderr).replace("\n", r"\n"), file=sys.stderr)  # names may have newlines
    return code
