"""The drop log has one line for each dropped peer, and few lines however many they are. Knows no connections."""

from twisted.internet.base import DelayedCall
from twisted.logger import Logger

from mu_twisted.transport._interfaces import ReactorTime

_log = Logger()


class DropLog:
    """Logs each drop, up to a number in a period; of the others only how many they were.

    :param clock: for the period.
    :param lines: how many drops of a period have a line each.
    :param period: seconds.
    """

    def __init__(self, clock: ReactorTime, *, lines: int = 20, period: float = 10.0) -> None:
        self._clock = clock
        self._lines = lines
        self._period = period
        self._begun = float("-inf")
        self._written = 0
        self._suppressed = 0
        self._summary: DelayedCall | None = None

    def dropped(self, peer: str, reason: str) -> None:
        """Log a drop.

        :param peer: its address.
        :param reason: one line.
        """
        now = self._clock.seconds()
        if now - self._begun >= self._period:
            self.flush()
            self._begun, self._written = now, 0
        if self._written < self._lines:
            self._written += 1
            _log.warn("dropped {peer}: {reason}", peer=peer, reason=reason)
            return
        self.dropped_more(1)

    def dropped_more(self, count: int) -> None:
        """Count drops that have no line.

        :param count: how many.
        """
        self._suppressed += count
        if self._summary is None:
            left = min(self._period, max(0.0, self._begun + self._period - self._clock.seconds()))
            self._summary = self._clock.callLater(left, self._summarize)

    def flush(self) -> None:
        """Log how many drops had no line, and leave no timer behind."""
        if self._summary is not None:
            self._summary.cancel()
            self._summarize()

    def _summarize(self) -> None:
        self._summary = None
        _log.warn("dropped {count} more within {period:g} s", count=self._suppressed, period=self._period)
        self._suppressed = 0
