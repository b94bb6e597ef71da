"""The threads of the BLAS library: one is best for small products, where more wait for one another."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from threading import Lock

from threadpoolctl import threadpool_limits

_lock, _limit = Lock(), ExitStack()
_users: list[object] = []  # blocks that are being run, by any thread


@contextmanager
def one_blas_thread() -> Iterator[None]:
    """Limit BLAS to one thread in this block.

    The limit is the process's: the first of several blocks at once sets it, the last to end lifts it.
    """
    with _lock:
        if not _users:
            _limit.enter_context(threadpool_limits(1, "blas"))
        _users.append(user := object())
    try:
        yield
    finally:
        with _lock:
            _users.remove(user)
            if not _users:
                _limit.close()
