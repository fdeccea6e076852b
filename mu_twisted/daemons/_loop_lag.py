"""The loop's lag is how late the reactor calls what is due: what keeps it from its work."""

from collections import deque

from mu_twisted.transport import ReactorTime, every

PERIOD = 1.0
"""Seconds between two measurements."""
KEPT = 15
"""Measurements of which the longest counts."""


class LoopLag:
    """Measures it from :meth:`start` on.

    :param clock: the time, and the turns.
    """

    def __init__(self, clock: ReactorTime) -> None:
        self._clock = clock
        self._seen: deque[float] = deque(maxlen=KEPT)
        self._due = 0.0
        self._loop = every(clock, PERIOD, self._look)

    def start(self) -> None:
        """Begin."""
        self._due = self._clock.seconds() + PERIOD
        self._loop.start()

    def stop(self) -> None:
        """Measure no more."""
        self._loop.stop()

    def seconds(self) -> float | None:
        """The longest of late; None: nothing was measured yet."""
        return max(self._seen, default=None)

    def _look(self) -> None:
        now = self._clock.seconds()
        self._seen.append(max(0.0, now - self._due))
        self._due = now + PERIOD
