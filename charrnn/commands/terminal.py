"""How things are printed: made visible on a terminal, as wide as it is, in the words that were typed."""

import codecs
import re
import shlex
import shutil
import sys
import textwrap
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

import charrnn
from charrnn.display import shown, visible, width
from charrnn.errors import QUOTED, brief, flag

if TYPE_CHECKING:
    from charrnn.config import ModelConfig

LONGEST = 2000  # characters of a message
HINT = re.compile(r"(?<![\w./\\-])charrnn (train|sample|eval)\b")  # in messages of other rooms


class Writer:
    """Writes drawn bytes to a stream piece by piece: made visible on a terminal, elsewhere as they are."""

    def __init__(self, stream: TextIO, *, raw: bool = False):
        self.stream, self.raw = stream, raw or not stream.isatty()
        self._buffer = getattr(stream, "buffer", None)  # a notebook's has none
        self._decoder = codecs.getincrementaldecoder("utf-8")("backslashreplace")

    def write(self, blob: bytes, *, final: bool = False) -> None:
        """Write and flush; a character whose bytes are not all there yet waits for the rest.

        Arguments:
            final: nothing comes after this.
        """
        if self.raw and self._buffer:
            self._buffer.write(blob)
        else:
            text = self._decoder.decode(blob, final)
            self.stream.write(text if self.raw else visible(text))
        self.stream.flush()


def say(text: str) -> None:
    """Print what may hold characters of a text or a name."""
    print(shown(text, sys.stdout), flush=True)


def warn(text: str) -> None:
    """Print a note on standard error."""
    print(shown(as_typed(text), sys.stderr), file=sys.stderr)


# -- width ------------------------------------------------------------------------------------------


def wrapped(text: str) -> str:
    """A sentence wrapped to the width of the terminal, at spaces that are not no-break."""
    lines = textwrap.fill(
        text, max(20, width()), subsequent_indent="  ", break_long_words=False, break_on_hyphens=False
    )
    return lines.replace("\xa0", " ")


# -- messages ---------------------------------------------------------------------------------------


def as_typed(message: str) -> str:
    """A message in the words of the command line.

    A setting `hidden_size` is shown as --hidden-size, a command charrnn train as the program was started, and
    of a long value no more than its beginning and end.
    """
    message = re.sub(r"`([a-z][a-z0-9_]*)`", lambda found: flag(found[1]), message)
    message = HINT.sub(lambda found: program(found[1]), message)
    message = re.sub(rf"\S{{{QUOTED + 1},}}", lambda found: brief(found[0]), message)
    return brief(message, LONGEST)


def program(command: str) -> str:
    """A command in the words that started this program, such as ``.venv/bin/charrnn train``."""
    script = Path(sys.argv[0])
    if script.resolve() == Path(charrnn.__file__).parents[1] / "train.py" and command == "train":
        return f"{shlex.quote(sys.orig_argv[0])} {shlex.quote(sys.argv[0])}"
    if script.name == "train.py" or script.parts[-2:] == ("charrnn", "__main__.py"):
        return f"{shlex.quote(sys.orig_argv[0])} -m charrnn {command}"
    found = shutil.which(script.name)
    if script.stem != "charrnn" or (found and Path(found).resolve() == script.resolve()):
        return f"charrnn {command}"
    return f"{shlex.quote(sys.argv[0])} {command}"


# -- networks ---------------------------------------------------------------------------------------


def described(config: "ModelConfig", sizes: dict[str, int]) -> str:
    """A network in a line: what of it is not as it is unless asked for, and its sizes."""
    form = [config.cell] if config.cell != "rnn" else []
    form += [f"L = {config.num_layers}"] if config.num_layers > 1 else []
    form += [f"E = {config.embedding_size}"] if config.embedding_size else []
    form += [f"dropout {config.dropout:g}"] if config.dropout else []
    return ", ".join(form + [f"{name} = {size}" for name, size in sizes.items()])


def layers_checked() -> str:
    """The folder of the layer functions that this process runs, which may be an installed copy."""
    folder = Path(charrnn.__file__).parent / "layers"
    return str(folder.relative_to(Path.cwd()) if folder.is_relative_to(Path.cwd()) else folder)
