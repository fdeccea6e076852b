"""The inbox takes what peers send, in the order of its arrival, and writes it beside the loop."""

from collections import deque
from collections.abc import Callable
from pathlib import Path

from mu_twisted.wire import PeerError, fail, info, is_fail
from worker_lambda._errors import CommandFailure
from worker_lambda.peers._states import Arrivals
from worker_lambda.programs import CommandRuns

MAX_PENDING = 16 << 20
"""Bytes of messages not yet written beyond which no more are read."""
MAX_REPORTED = 16
"""Faults of either kind that are reported in one task: a peer must not flood the coordinator."""


class Inbox:
    """The messages of one task.

    :param runs: starts what takes time, beside the loop.
    :param directory: where states go.
    :param keep_first: see :class:`Arrivals`.
    :param report: takes one message to the coordinator.
    """

    def __init__(
        self, runs: CommandRuns, directory: Path, *, keep_first: bool, report: Callable[[bytes], None]
    ) -> None:
        self._runs = runs
        self._arrivals = Arrivals(directory, keep_first=keep_first)
        self._report = report
        self._reported = {"INFO": 0, "FAIL": 0}
        self._waiting: deque[bytes] = deque()
        self._pending = 0
        self._busy = False

    @property
    def full(self) -> bool:
        """Whether nothing more should be read for now."""
        return self._pending > MAX_PENDING

    @property
    def idle(self) -> bool:
        """Whether all that came has been handled."""
        return not self._busy

    def add(self, message: bytes) -> None:
        """Take one message."""
        self._waiting.append(message)
        self._pending += len(message)
        self._pump()

    def _pump(self) -> None:
        if self._busy or not self._waiting:
            return
        batch, self._waiting = self._waiting, deque()
        size, faults = sum(map(len, batch)), list[bytes]()
        self._busy = True

        def written(error: str | None) -> None:
            self._busy = False
            self._pending -= size
            for fault in faults if error is None else [*faults, fail(f"a message of a peer was lost: {error}")]:
                kind = "FAIL" if is_fail(fault) else "INFO"
                if self._reported[kind] < MAX_REPORTED:
                    self._reported[kind] += 1
                    self._report(fault)
            self._pump()

        self._runs.chore(lambda cancelled: self._write(batch, faults, cancelled), written)

    def _write(self, batch: deque[bytes], faults: list[bytes], cancelled: Callable[[], bool]) -> None:
        """In a thread."""
        while batch and not cancelled():
            try:
                self._arrivals.take(batch.popleft(), cancelled)
            except PeerError as error:
                faults.append(info(b"peer_error", f"a message of a peer was dropped: {error}".encode()))
            except CommandFailure as error:
                faults.append(fail(str(error)))
