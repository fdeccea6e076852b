"""A bucket of tokens limits how fast launches go out, or bytes; its rate gives way where the endpoint throttles."""

SLOWEST = 1 / 64
"""The share of its rate that a bucket keeps however often it is slowed."""
PAUSE = 1.0
"""Seconds within which further refusals say nothing new: they were sent at the old rate."""
RECOVERY = 60.0
"""Seconds in which a bucket comes from nothing to its full rate."""


class TokenBucket:
    """A bucket that is full at first.

    :param rate: tokens a second.
    :param burst: tokens that it holds.
    :param now: the time, seconds.
    """

    def __init__(self, rate: float, burst: int, now: float) -> None:
        self.limit = rate
        self.rate = rate
        self._burst = float(burst)
        self._tokens = float(burst)
        self._filled_at = now
        self._slowed_at = float("-inf")

    @property
    def min_batch(self) -> float:
        """Tokens to wait for, so that a steady stream goes out in batches and not one by one."""
        return max(1.0, min(self._capacity, self.rate / 20))

    def fill(self, now: float) -> None:
        """Time has passed."""
        passed = max(0.0, now - self._filled_at)
        self._filled_at = max(now, self._filled_at)
        self._tokens = min(self._capacity, self._tokens + passed * self.rate)
        self.rate = min(self.limit, self.rate + passed * self.limit / RECOVERY)

    def available(self, wanted: int) -> int:
        """How many of so many tokens may be spent now; none if it pays to wait for more."""
        if self._tokens + 1e-6 < min(self.min_batch, wanted):
            return 0
        return min(wanted, int(self._tokens + 1e-6))

    def spend(self, count: int) -> None:
        """So many tokens are used."""
        self._tokens -= count

    def when(self, wanted: int) -> float:
        """When the next of so many tokens may be spent."""
        return self._filled_at + max(0.0, min(self.min_batch, wanted) - self._tokens) / self.rate

    def slow_down(self, now: float) -> None:
        """The endpoint throttles: half as fast from now on, and no burst."""
        self.fill(now)
        self._tokens = min(self._tokens, 0.0)
        if now - self._slowed_at >= PAUSE:
            self._slowed_at = now
            self.rate = max(self.limit * SLOWEST, self.rate / 2)

    @property
    def _capacity(self) -> float:
        return max(1.0, self._burst * self.rate / self.limit)
