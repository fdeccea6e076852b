"""Abandonable threads are not waited for when the daemon ends.

AWS's client may wait minutes for an answer, a name's resolution half a minute; the end of Twisted's pools waits for
both, and so would a service manager that sends SIGTERM.
"""

import threading
from typing import Any

from twisted.python.threadpool import ThreadPool

PARTING = 0.1
"""Seconds that the end of a pool waits for each of its threads: enough for one that has nothing to do."""


class _Thread(threading.Thread):
    """Ends with the process at the latest."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, daemon=True, **kwargs)

    def join(self, timeout: float | None = None) -> None:
        super().join(PARTING if timeout is None else timeout)


def thread_pool(name: str, limit: int) -> ThreadPool:
    """A pool that ends without waiting for what its threads do.

    :param limit: threads at once.
    """
    return abandonable(ThreadPool(0, limit, name))


def abandonable(pool: ThreadPool) -> ThreadPool:
    """Have a pool, the reactor's for example, end so, too. Before it has any thread."""
    pool.threadFactory = _Thread
    return pool
