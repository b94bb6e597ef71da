"""How text is shown: made visible where it could steer a terminal, and framed among other lines."""

import re
import shutil
import textwrap
from typing import TextIO

# What a terminal must not be sent as it is: C0 but tab and newline, DEL, C1 and surrogates move its cursor,
# colour it or type for you; what turns the direction of writing, and marks that nobody sees (Cf, Zl and Zp),
# hide what is there. Left alone are U+200C and U+200D, without which Persian, Hindi and emoji are written
# wrongly, and the Cf that are visible: the signs that stand over Arabic, Syriac and Kaithi numbers.
HIDDEN = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\xad\u061c\u180e\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ud800-\udfff\ufeff"
    "\ufff0-\ufffb\U00013430-\U0001343f\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U000e00ff]"
)


def visible(text: str) -> str:
    """``text`` with what is hidden in it written out as Python escapes: ESC is ``\\x1b``."""
    return HIDDEN.sub(lambda found: ascii(found[0])[1:-1], text)


def shown(text: str, stream: TextIO) -> str:
    """``text`` as it is, but where ``stream`` is a terminal: there it is made visible."""
    return visible(text) if stream.isatty() else text


def width() -> int:
    """Columns of the terminal, 80 where there is none."""
    return shutil.get_terminal_size().columns


def framed(text: str) -> str:
    """A sample to be shown among other lines: wrapped, at 80 columns at the most, and marked at the left."""
    columns = max(20, min(80, width()) - len("    | "))
    lines = (line for part in text.strip().splitlines() for line in textwrap.wrap(part, columns) or [""])
    return "\n".join(f"    | {line}" for line in lines)
