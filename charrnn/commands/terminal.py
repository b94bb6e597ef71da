"""What a terminal must not be sent: control characters that move its cursor, colour it or type for you."""

import codecs
import re
from typing import TextIO

# C0 but tab and newline, DEL, C1, and what turns the direction of writing
CONTROLS = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


def visible(text: str) -> str:
    """``text`` with its control characters written out as Python escapes: ESC is ``\\x1b``."""
    return CONTROLS.sub(lambda found: ascii(found[0])[1:-1], text)


def shown(text: str, stream: TextIO) -> str:
    """``text`` as it is, but where ``stream`` is a terminal: there it is made visible."""
    return visible(text) if stream.isatty() else text


class Writer:
    """Writes drawn bytes to a stream piece by piece: made visible on a terminal, elsewhere as they are."""

    def __init__(self, stream: TextIO, *, raw: bool = False):
        self.stream, self.raw = stream, raw or not stream.isatty()
        self._decoder = codecs.getincrementaldecoder("utf-8")("backslashreplace")

    def write(self, blob: bytes, *, final: bool = False) -> None:
        """Write and flush; a character whose bytes are not all there yet waits for the rest.

        Arguments:
            final: nothing comes after this.
        """
        if self.raw:
            self.stream.buffer.write(blob)
        else:
            self.stream.write(visible(self._decoder.decode(blob, final)))
        self.stream.flush()
