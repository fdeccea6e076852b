"""How much of Lambda a job has used, as far as the coordinator sees it. Pure: the time comes in as an argument."""

from dataclasses import dataclass

import msgspec

from mu_twisted.wire import Greeting


class Usage(msgspec.Struct, frozen=True):
    """What a job has used; goes into the journal.

    :param requests: launches that Lambda has taken.
    :param seconds: for which workers were connected, added up.
    :param greeted: workers that said how much of their function's time was left as they greeted.
    :param left: these times added up, seconds. What such a worker had lived before it greeted is its function's
        time-out less that.
    :param memory_mb: the most that a worker said it has; 0 if none did.
    """

    requests: int = 0
    seconds: float = 0.0
    greeted: int = 0
    left: float = 0.0
    memory_mb: int = 0

    def billed(self, timeout: float | None) -> float:
        """Seconds for which functions ran.

        :param timeout: the function's, seconds; None: not known, and the time before greetings is left out.
        """
        before = 0.0 if timeout is None else max(0.0, self.greeted * timeout - self.left)
        return self.seconds + before


@dataclass
class _Total:
    requests: int
    seconds: float
    greeted: int
    left: float
    memory_mb: int


class Meter:
    """Adds up the workers of one job.

    The time for which a worker has lost the coordinator is not counted, nor what a function spends before its handler.

    :param before: what was used before the coordinator was restarted, or the job's failed tasks tried again.
    """

    def __init__(self, before: Usage | None = None) -> None:
        before = before or Usage()
        self._total = _Total(before.requests, before.seconds, before.greeted, before.left, before.memory_mb)
        # In microseconds, as integers: their sum is kept up over millions of workers, and must not drift.
        self._connected: dict[int, int] = {}
        self._since = 0

    def launched(self) -> None:
        """Lambda has taken a launch."""
        self._total.requests += 1

    def came(self, worker: int, greeting: Greeting, now: float) -> None:
        """A worker has greeted; one that is connected already has been warmed, which changes nothing.

        :param worker: a number that stands for its connection.
        """
        if worker in self._connected:
            return
        since = self._connected[worker] = _microseconds(now)
        self._since += since
        total = self._total
        total.memory_mb = max(total.memory_mb, greeting.memory_mb)
        if greeting.deadline_ms and not greeting.redial:
            total.greeted += 1
            total.left += greeting.deadline_ms / 1000

    def gone(self, worker: int, now: float) -> None:
        """A connection has ended."""
        since = self._connected.pop(worker, None)
        if since is not None:
            self._since -= since
            self._total.seconds += (_microseconds(now) - since) / 1e6

    def usage(self, now: float) -> Usage:
        """What was used until now. Asked at the end of each attempt, so its cost does not grow with the workers."""
        total = self._total
        seconds = total.seconds + (len(self._connected) * _microseconds(now) - self._since) / 1e6
        return Usage(total.requests, round(seconds, 3), total.greeted, round(total.left, 3), total.memory_mb)


def _microseconds(seconds: float) -> int:
    return round(seconds * 1e6)
