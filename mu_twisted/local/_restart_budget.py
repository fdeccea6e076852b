"""A restart budget limits how often a part that ended by itself is started again. No IO."""

from __future__ import annotations

from collections import deque


class RestartBudget:
    """Grants so many starts within a time.

    :param limit: starts granted within the time.
    :param within: seconds.
    """

    def __init__(self, limit: int = 5, within: float = 60.0) -> None:
        self._limit = limit
        self._within = within
        self._starts: deque[float] = deque()

    def once_more(self, now: float) -> bool:
        """Whether another start is granted at this time; if so it is counted."""
        while self._starts and now - self._starts[0] >= self._within:
            self._starts.popleft()
        if len(self._starts) >= self._limit:
            return False
        self._starts.append(now)
        return True
