"""Time that does not jump."""

import time
from typing import Any


def use_monotonic_clock(reactor: Any) -> None:
    """Give the reactor a clock that nobody sets: every timer of the process counts by it from now on.

    Twisted counts by the time of day, so that setting the clock would fire all timers, or none for hours.
    """
    reactor.seconds = time.monotonic
