"""Whether an endpoint is there at all: one that never was is told soon, and not after all tries. Pure."""

from collections.abc import Iterable

UNREACHED_TIME = 1.8
"""Seconds for which every first try has failed to connect. With the usual delays the fifth try is then over, after two
to four seconds, and the user waits for no sixth."""


class Reach:
    """What the tries to connect to one endpoint have come to."""

    def __init__(self) -> None:
        self._reached = False
        self._failing_since: float | None = None

    def tried(self, connected: Iterable[bool], now: float) -> None:
        """Some tries have ended.

        :param connected: of each whether it has come to a connection.
        :param now: seconds.
        """
        for one in connected:
            if one:
                self._reached = True
            elif self._failing_since is None:
                self._failing_since = now

    def hopeless(self, now: float) -> bool:
        """Whether to give up: nothing was ever there, and it has been tried for a while."""
        if self._reached or self._failing_since is None:
            return False
        return now - self._failing_since >= UNREACHED_TIME
