"""Liveness is whether the other side of a connection still answers, while something is expected of it.

Knows no connection: its owner reports what is heard, and asks for pings.
"""

import time
from collections.abc import Callable


class Liveness:
    """Of one connection: a NAT may have forgotten it, or its other side may have stopped, and then nothing says so.

    :param silence: seconds for which nothing may be heard of the other side.
    :param ping: has it answer; None: it knows no pings, and will say something by itself.
    :ivar over: whether nothing was heard for so long.
    """

    def __init__(self, silence: float, ping: Callable[[], None] | None = None) -> None:
        self.over = False
        self._silence = silence
        self._ping = ping
        self._heard = self._pinged = self._checked = time.monotonic()
        self._expected = False

    def heard(self) -> None:
        """Something was heard."""
        self._heard = time.monotonic()

    def check(self, *, expected: bool, held: bool = False) -> float | None:
        """Look, and ping where it is time to; to be called in each pass of the loop.

        :param expected: whether the other side is to say something.
        :param held: whether what it says is not read now.
        :returns: in how many seconds to call again at the latest; None: when something happens.
        """
        now, pause = time.monotonic(), self._silence / 4
        stood_still = now >= self._checked + 2 * pause  # we did, and what was said meanwhile has not been read
        if held or stood_still or (expected and not self._expected):
            self._heard = now
        self._checked, self._expected = now, expected
        if not expected:
            return None
        if now >= self._heard + self._silence:
            self.over = True
            return 0.0
        if self._ping is not None and now >= max(self._pinged, self._heard) + pause:
            self._pinged = now
            self._ping()
        return pause
