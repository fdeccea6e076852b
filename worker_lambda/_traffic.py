"""Traffic is counted here, byte by kind, and reported before the replies of what has moved it. Knows no connection.

A reply whose bytes are not known yet at the coordinator would end its task without them, so a report goes before it;
while messages to other tasks and from them follow one another, there are ten reports a second at most.
"""

import time

PAUSE = 0.1
"""Seconds between two reports while more is under way."""


class Traffic:
    """Of one worker's task.

    :param wanted: whether the coordinator reads reports; else nothing is counted.
    """

    __slots__ = ("_changed", "_more", "_next", "_received", "_retrieved", "_sent", "_uploaded", "wanted")

    def __init__(self, wanted: bool = False) -> None:
        self.wanted = wanted
        self.begin()

    def begin(self) -> None:
        """Another task begins."""
        self._retrieved = self._uploaded = self._sent = self._received = 0
        self._changed = self._more = False
        self._next = 0.0

    def add(
        self, *, retrieved: int = 0, uploaded: int = 0, sent: int = 0, received: int = 0, more: bool = False
    ) -> None:
        """So many bytes have been moved.

        :param more: whether replies follow that report them as well.
        """
        self._retrieved += retrieved
        self._uploaded += uploaded
        self._sent += sent
        self._received += received
        self._more = more
        self._changed = self.wanted

    def report(self) -> bytes | None:
        """What is to be said before the next reply; None: nothing."""
        if not self._changed:
            return None
        if self._more:
            now = time.monotonic()
            if now < self._next:
                return None
            self._next = now + PAUSE
        self._changed = False
        # As mu_twisted.wire.byte_counts.ByteCounts encodes it; json, which that imports, is not needed here.
        return b'INFO:bytes:{"retrieved":%d,"uploaded":%d,"sent":%d,"received":%d}' % (
            self._retrieved,
            self._uploaded,
            self._sent,
            self._received,
        )
