"""Timers keep what falls due when, in one heap; the taker of an entry judges whether it still matters."""

import heapq
from collections.abc import Iterator
from enum import Enum
from typing import Any


class TimerKind(Enum):
    """What an entry is about."""

    READY = "a task's back-off has passed"
    ATTEMPT = "an attempt has taken too long"
    LAUNCH = "a worker has not come"
    HEARTBEAT = "a worker is to be asked for a sign of life"
    WARM = "a worker has not greeted again"
    SETTLE = "a result has waited long enough"
    STAFF = "the next round of launches may begin"


class Timers:
    """Entries that are of no use any more stay until they fall due: their takers recognise them by ``what``."""

    def __init__(self) -> None:
        self._heap: list[tuple[float, int, TimerKind, Any]] = []
        self._count = 0

    def push(self, at: float, due: TimerKind, what: Any) -> None:
        """Add one."""
        self._count += 1
        heapq.heappush(self._heap, (at, self._count, due, what))

    def take(self, now: float) -> Iterator[tuple[TimerKind, Any]]:
        """Those that have fallen due, oldest first; more may be pushed meanwhile."""
        while self._heap and self._heap[0][0] <= now:
            _, _, due, what = heapq.heappop(self._heap)
            yield due, what

    def clear(self) -> None:
        """Forget all."""
        self._heap.clear()
