"""Blocking transfers run in a few threads beside the loop."""

import os
import threading
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress

from mu_twisted.base import MuError
from worker_lambda._errors import CommandFailure

MAX_THREADS = 8


class ThreadedTransfer:
    """One blocking transfer.

    :param work: blocks until done; is given a function that says whether the transfer is cancelled.
    :param finished: called in the loop's thread with the reason of a failure, None for success; not after
        :attr:`cancelled` was set.
    """

    def __init__(self, work: Callable[[Callable[[], bool]], None], finished: Callable[[str | None], None]) -> None:
        self.work = work
        self.finished = finished
        self.cancelled = False
        self.error: str | None = None
        self.code = ""
        """Of the error, see :func:`mu_twisted.wire.fail`."""

    def run(self) -> None:
        """Call the work, in a thread."""
        try:
            self.work(lambda: self.cancelled)
        except MuError as error:
            self.error, self.code = str(error), getattr(error, "code", "")
        except BaseException as error:  # noqa: BLE001 (its failure, whatever it is: the command is to have a reply)
            self.error = f"{type(error).__name__}: {error}"


class TransferThreads:
    """All transfers of a worker; a limited number runs at once, the others wait.

    :param limit: transfers that run at once.
    :ivar wake: descriptor that can be read when :meth:`collect` has something to do.
    """

    def __init__(self, limit: int = MAX_THREADS) -> None:
        self._limit = limit
        self.wake, self._waker = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        self._lock = threading.Lock()
        self._waiting: deque[ThreadedTransfer] = deque()
        self._done: deque[ThreadedTransfer] = deque()
        self._threads: list[threading.Thread] = []
        self._current: list[ThreadedTransfer] = []
        self._closed = False

    @property
    def active(self) -> int:
        """How many have not been collected."""
        return len(self._current)

    def start(self, transfer: ThreadedTransfer) -> None:
        """Run a transfer as soon as a thread is free.

        :raises CommandFailure: there is no thread, and none can be started.
        """
        with self._lock:
            self._waiting.append(transfer)
            self._current.append(transfer)
            self._threads = [thread for thread in self._threads if thread.is_alive()]
            if len(self._threads) >= self._limit:
                return
            thread = threading.Thread(target=self._serve, name="mu-transfer", daemon=True)
            self._threads.append(thread)
        try:
            thread.start()
        except RuntimeError:
            with self._lock:
                self._threads.remove(thread)
                if not self._threads and transfer in self._waiting:
                    self._waiting.remove(transfer)
                    self._current.remove(transfer)
                    raise CommandFailure("could not start the transfer: no more threads can be had") from None

    def collect(self) -> None:
        """Report what is finished."""
        with suppress(BlockingIOError):
            os.read(self.wake, 4096)
        while self._done:
            transfer = self._done.popleft()
            if transfer in self._current:
                self._current.remove(transfer)
                transfer.finished(transfer.error)

    def cancel(self) -> list[ThreadedTransfer]:
        """Cancel all; none of them will be reported. Those in a thread end when they next ask.

        :returns: what was cancelled.
        """
        cancelled, self._current = self._current, []
        for transfer in cancelled:
            transfer.cancelled = True
        with self._lock:
            self._waiting.clear()
        return cancelled

    def close(self, timeout: float) -> None:
        """Cancel all, and wait for the threads.

        :param timeout: seconds, at most.
        """
        self.cancel()
        deadline = time.monotonic() + timeout
        for thread in list(self._threads):
            thread.join(max(0.0, deadline - time.monotonic()))
        with self._lock:
            self._closed = True
            os.close(self.wake)
            os.close(self._waker)

    def _serve(self) -> None:
        while True:
            with self._lock:
                if not self._waiting:
                    self._threads.remove(threading.current_thread())
                    return
                transfer = self._waiting.popleft()
            transfer.run()
            with self._lock:
                if self._closed:
                    return
                self._done.append(transfer)
                with suppress(BlockingIOError):  # full: it is awake already
                    os.write(self._waker, b"!")
