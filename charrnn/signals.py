"""Requests to stop: SIGINT, SIGTERM and SIGHUP, either collected or raised as ``Interrupted``.

A signal that this process ignores (as under nohup) stays ignored, and outside of the main thread, where
Python handles no signals, nothing changes.
"""

import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

from charrnn.errors import Interrupted

NAMES = "SIGINT", "SIGTERM", "SIGHUP"  # the last where the terminal was closed; not on Windows


class StopRequests:
    """The signals that have arrived.

    Attributes:
        received: their numbers, in order.
        since: when the first one arrived, in seconds of ``time.monotonic``.
    """

    def __init__(self) -> None:
        self.received: list[int] = []
        self.since = 0.0

    @property
    def signal(self) -> int | None:
        """The number of the first signal; None where none has arrived."""
        return self.received[0] if self.received else None


@contextmanager
def stops_collected() -> Iterator[StopRequests]:
    """Collect signals, for code that looks at them where it can stop; a second SIGINT or SIGTERM is raised.

    (A closed terminal may well send two SIGHUP.)
    """
    stop = StopRequests()

    def receive(number: int) -> None:
        if not stop.received:
            stop.since = time.monotonic()
        stop.received.append(number)
        if len(stop.received) == 2 and number in (signal.SIGINT, signal.SIGTERM):
            raise Interrupted("stopped at once; the last save stands", number)

    with _handled_by(receive):
        yield stop


@contextmanager
def stops_raised(message: str) -> Iterator[None]:
    """Raise ``Interrupted(message)`` at the first signal, so that nothing half written is left."""

    def receive(number: int) -> None:
        raise Interrupted(message, number)

    with _handled_by(receive):
        yield


@contextmanager
def interrupts_end_at_once() -> Iterator[None]:
    """Let SIGINT end the process, where Python waits for a call to return and then prints a traceback."""
    before = signal.getsignal(signal.SIGINT)
    if before is not signal.default_int_handler or threading.current_thread() is not threading.main_thread():
        yield
        return
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


@contextmanager
def _handled_by(receive: Callable[[int], None]) -> Iterator[None]:
    def handle(number: int, frame: FrameType | None) -> None:
        receive(number)

    numbers = [getattr(signal, name) for name in NAMES if hasattr(signal, name)]
    if threading.current_thread() is not threading.main_thread():
        numbers = []
    handled = [number for number in numbers if signal.getsignal(number) not in (signal.SIG_IGN, None)]
    before = {number: signal.signal(number, handle) for number in handled}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
