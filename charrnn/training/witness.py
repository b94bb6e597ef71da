"""A witness of a job's ranks: a small process that names the rank that dies.

A launcher of MPI ends a job of which a process has died by killing all others at once, rank 0 among them, and
may name the wrong one. So rank 0 starts this process beside itself, in a session of its own. Every rank keeps
a connection to it, which the system closes when the rank's process ends, however it ends; the one that is
closed first, before rank 0 has said that the job is done, is that of the rank that died.

This file is run by its path, and imports nothing but the standard library, so that it starts at once.
"""

import json
import os
import secrets
import selectors
import socket
import subprocess
import sys
from contextlib import suppress
from typing import Any

PATIENCE = 5.0  # seconds: for a connection, and for what is said on it first
LONGEST = 2000  # bytes of that


class Witness:
    """Rank 0's hold on the witness, which ends with rank 0.

    Attributes:
        address: what the other ranks need to ``join``.
    """

    def __init__(self, host: str | None):
        """Start it, to be reached under a host's name, or on this machine alone if that is None."""
        with socket.create_server(("" if host else "127.0.0.1", 0)) as listener:
            secret = secrets.token_hex(16)
            self.address = (host or "127.0.0.1", listener.getsockname()[1], secret)
            self._process = subprocess.Popen(
                [sys.executable, "-I", "-S", __file__, str(listener.fileno())],
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                pass_fds=[listener.fileno()],
                start_new_session=True,  # or the launcher would kill it with rank 0
            )
        assert self._process.stdin is not None
        self._words = self._process.stdin
        self._say(secret=secret, name=process_name(0))

    def remedy(self, text: str) -> None:
        """What to do if a rank dies from here on."""
        self._say(remedy=text)

    def end(self) -> None:
        """The job is done: no rank dies any more."""
        self._say(end=True)
        with suppress(OSError):
            self._words.close()
        self._process.wait()

    def _say(self, **words: object) -> None:
        with suppress(OSError):  # it has ended
            self._words.write(json.dumps(words).encode() + b"\n")
            self._words.flush()


def join(address: tuple[str, int, str], rank: int) -> socket.socket | None:
    """Connect a rank with the witness, for as long as the socket is kept; None where that cannot be done."""
    host, port, secret = address
    try:
        connection = socket.create_connection((host, port), PATIENCE)
        connection.sendall(json.dumps({"secret": secret, "name": process_name(rank)}).encode() + b"\n")
        return connection
    except OSError:
        return None


def process_name(rank: int) -> str:
    return f"rank {rank} (process {os.getpid()} on {socket.gethostname()})"


def watch(listener: socket.socket, words: Any) -> None:
    """Wait until rank 0 says on ``words`` that the job is done, or a rank has died, which is then named."""
    selector = selectors.DefaultSelector()  # which has first what came first
    first = json.loads(words.readline())
    secret, remedy = first["secret"], ""
    selector.register(listener, selectors.EVENT_READ)
    selector.register(words, selectors.EVENT_READ, first["name"])
    while True:
        for key, _ in selector.select():
            if key.fileobj is listener:
                connection, _ = listener.accept()
                with suppress(OSError, ValueError, TypeError, KeyError):
                    connection.settimeout(PATIENCE)
                    said = json.loads(connection.makefile("rb").readline(LONGEST))
                    if secrets.compare_digest(said["secret"], secret):
                        selector.register(connection, selectors.EVENT_READ, said["name"])
                        continue
                connection.close()  # no rank of this job
                continue
            line = words.readline() if key.fd == words.fileno() else b""
            if not line:
                print(f"charrnn: {key.data} has died, and the job ends with it{remedy}", file=sys.stderr)
                return
            told = json.loads(line)
            if "end" in told:
                return
            remedy = f". {told['remedy']}"


if __name__ == "__main__":
    with socket.socket(fileno=int(sys.argv[1])) as inherited:
        watch(inherited, open(0, "rb", buffering=0))  # noqa: SIM115
