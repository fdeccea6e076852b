"""A meter adds up how much of Lambda a job has used, as far as the coordinator sees it. Pure: time is an argument."""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

import msgspec

from mu_twisted.jobs import HALTED
from mu_twisted.statuses import Cost
from mu_twisted.wire import Greeting

MAX_INIT = 15 * 60.0
"""Seconds that the beginning of one process can take: the longest time-out of a function, which bounds it too."""
MAX_OUTCOMES = 32
"""Of direct paths, that are counted."""


class Usage(msgspec.Struct, frozen=True):
    """What a job has used; goes into the journal.

    :param requests: launches that Lambda has taken.
    :param seconds: for which workers were connected, added up.
    :param greeted: workers that said how much of their function's time was left as they greeted.
    :param left: these times added up, seconds. What such a worker had lived before it greeted is its function's
        time-out less that.
    :param memory_mb: the most that a worker said it has; 0 if none did.
    :param init: what workers' processes had run before their first invocation, added up, seconds. Lambda bills it for
        packages on managed runtimes since 2025-08; workers of version 0.1.0 do not report it.
    :param ramp: seconds from the job's submission until as many workers were there as ever at once, less what the last
        one's process had run before its first invocation: that is Lambda's own.
    :param paths: how often workers said of one of their peers that there is a direct path (``direct``), that it was
        lost (``lost``), or why there is none. A path has two ends, and counts at both.
    :param bytes: that its tasks have moved, by kind, as far as workers have said it: ``retrieved`` from S3,
        ``uploaded`` to it, ``sent`` to other tasks and ``received`` from them. Those of all attempts count.
    """

    requests: int = 0
    seconds: float = 0.0
    greeted: int = 0
    left: float = 0.0
    memory_mb: int = 0
    init: float = 0.0
    ramp: float = 0.0
    paths: dict[str, int] = {}
    bytes: dict[str, int] = {}

    def billed(self, timeout: float | None) -> float:
        """Seconds for which functions ran or were begun.

        :param timeout: the function's, seconds; None: not known, and the time before greetings is left out.
        """
        before = 0.0 if timeout is None else max(0.0, self.greeted * timeout - self.left)
        return self.seconds + before + self.init


@dataclass
class _Total:
    requests: int
    seconds: float
    greeted: int
    left: float
    memory_mb: int
    init: float


class Meter:
    """Adds up the workers of one job.

    The time for which a worker has lost the coordinator is not counted.

    :param before: what was used before the coordinator was restarted, or the job's failed tasks tried again.
    :param submitted: when the job was, by the clock of the other methods; None: long ago, and its ramp is known.
    :param all_bytes: counts the bytes of all jobs together, beside this one's.
    """

    def __init__(
        self, before: Usage | None = None, submitted: float | None = None, all_bytes: Counter[str] | None = None
    ) -> None:
        before = before or Usage()
        self._submitted = submitted
        self._most = 0
        self._ramp = before.ramp
        self._paths = Counter(before.paths)
        self._bytes = Counter(before.bytes)
        self._all_bytes = Counter() if all_bytes is None else all_bytes
        self._total = _Total(
            before.requests, before.seconds, before.greeted, before.left, before.memory_mb, before.init
        )
        # In microseconds, as integers: their sum is kept up over millions of workers, and must not drift.
        self._connected: dict[int, int] = {}
        self._since = 0

    def launched(self) -> None:
        """Lambda has taken a launch."""
        self._total.requests += 1

    def worker_greeted(self, worker: int, greeting: Greeting, now: float) -> None:
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
        # More than Lambda allows for the beginning of a function is not true.
        init = 0.0 if greeting.redial else min(max(0, greeting.init_ms) / 1000, MAX_INIT)
        total.init += init
        if len(self._connected) > self._most:
            self._most = len(self._connected)
            if self._submitted is not None:
                self._ramp = max(0.0, now - self._submitted - init)

    def paths_known(self, outcomes: Iterable[str]) -> None:
        """A worker has said of peers what has become of direct paths to them."""
        for outcome in outcomes:
            if outcome in self._paths or len(self._paths) < MAX_OUTCOMES:
                self._paths[outcome] += 1

    def moved(self, more: Mapping[str, int]) -> None:
        """A worker's task has moved so many bytes more, by kind."""
        self._bytes.update(more)
        self._all_bytes.update(more)

    def worker_left(self, worker: int, now: float) -> None:
        """A connection has ended."""
        since = self._connected.pop(worker, None)
        if since is not None:
            self._since -= since
            self._total.seconds += (_microseconds(now) - since) / 1e6

    def usage(self, now: float) -> Usage:
        """What was used until now. Asked at the end of each attempt, so its cost does not grow with the workers."""
        total = self._total
        seconds = total.seconds + (len(self._connected) * _microseconds(now) - self._since) / 1e6
        return Usage(
            total.requests,
            round(seconds, 3),
            total.greeted,
            round(total.left, 3),
            total.memory_mb,
            round(total.init, 3),
            round(self._ramp, 3),
            dict(self._paths),
            dict(self._bytes),
        )


def _microseconds(seconds: float) -> int:
    return round(seconds * 1e6)


def overspent(limit: float | None, cost: Callable[[Usage], Cost] | None, used: Callable[[], Usage]) -> str | None:
    """Why a job is to end that may cost so much; None: it may go on.

    :param limit: in the currency of the price list; None: any amount.
    :param cost: what costs what it has used.
    """
    if limit is None or cost is None:
        return None
    now = cost(used())
    if now.price is None or now.price < limit:
        return None
    spent = f"{HALTED}it has cost {now.price:.6g} {now.currency}"
    return f"{spent}, and --max-cost allows {limit:g}: a job with --skip-existing leaves out what is done"
