"""A bar: the progress of a run, shown by tqdm in a terminal or a notebook."""

import math
import sys
import time
from collections.abc import Callable
from contextlib import suppress

from charrnn.display import framed, shown
from charrnn.training.progress import OFTEN, Progress


class Bar(Progress):
    """A bar on standard error, or in a notebook where it is one; lines on standard output.

    A line for each validation, but no more often than twice a second: of those held back that long, the best
    one so far and the last are printed.
    """

    def __init__(self, *, disable: bool | None = False, raw: bool = False, words: Callable[[str], str] = str):
        """A bar that has not begun.

        Arguments:
            disable: show lines only; with None where standard error is no terminal.
            raw: print samples as they are, though they could steer a terminal.
            words: puts a message into the words of the user.
        """
        from tqdm.auto import tqdm  # slow to import

        self._tqdm = tqdm
        self.disable, self.raw, self.words = disable, raw, words
        self._held: list[tuple[bool, str]] = []  # whether it is the best so far, and the line
        self._printed = -math.inf

    def start(self, characters: int, total: int) -> None:
        self._loss = math.nan
        self._bar = self._tqdm(
            total=total,
            initial=characters,
            unit="char",
            unit_scale=True,
            dynamic_ncols=True,
            smoothing=0.1,
            disable=self.disable,
        )

    def moved(self, total: int) -> None:
        self._bar.total = total

    def compiling(self, begun: bool) -> None:
        self._bar.set_description_str("compiling" if begun else "")

    def step(self, characters: int, loss: float) -> None:
        self._loss = loss if math.isnan(self._loss) else 0.95 * self._loss + 0.05 * loss
        bits = self._loss / math.log(2)
        self._bar.set_postfix_str(f"loss {self._loss:.3f}, {bits:.3f} bits/char", refresh=False)
        self._bar.update(characters)

    def evaluated(self, step: int, epoch: float, loss: float, val_loss: float, best: bool) -> None:
        line = (
            f"epoch {epoch:6.2f}  step {step:7,}  train {loss:.4f}  val {val_loss:.4f} nats "
            f"({val_loss / math.log(2):.3f} bits){'  best' if best else ''}"
        )
        kept = [] if best else [held for held in self._held if held[0]]
        self._held = [*kept, (best, line)]
        if time.monotonic() - self._printed >= OFTEN:
            self._print_held()

    def went_back(self, characters: int) -> None:
        self._loss = math.nan
        self._bar.n = characters
        self._bar.refresh()

    def sampled(self, text: str) -> None:
        self._print(f"\n{framed(text if self.raw else shown(text, sys.stdout))}\n")

    def say(self, text: str) -> None:
        self._print(shown(self.words(text), sys.stdout))

    def stop(self) -> None:
        with suppress(OSError):  # there may be no terminal any more
            self._print_held()
            self._bar.close()

    def _print(self, text: str) -> None:
        self._print_held()
        self._tqdm.write(text, file=sys.stdout)
        sys.stdout.flush()

    def _print_held(self) -> None:
        lines, self._held = [line for _, line in self._held], []
        if lines:
            self._printed = time.monotonic()
            self._print("\n".join(lines))
