"""How long attempts take: the median of those that finished, kept at hand, and the longest."""

import heapq


class Durations:
    """Seconds of finished attempts."""

    def __init__(self) -> None:
        # The shorter half as a heap of negatives: its top is the median, the lower one where there are two.
        self._shorter: list[float] = []
        self._longer: list[float] = []
        self.longest = 0.0

    def __len__(self) -> int:
        return len(self._shorter) + len(self._longer)

    def add(self, seconds: float) -> None:
        """One more, in O(log n)."""
        self.longest = max(self.longest, seconds)
        longest_short = -heapq.heappushpop(self._shorter, -seconds)
        heapq.heappush(self._longer, longest_short)
        if len(self._longer) > len(self._shorter):
            heapq.heappush(self._shorter, -heapq.heappop(self._longer))

    @property
    def median(self) -> float | None:
        """None as long as nothing has finished."""
        return -self._shorter[0] if self._shorter else None
