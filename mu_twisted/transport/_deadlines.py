"""Deadlines of many things are enforced with one timer. Knows a clock, and nothing of what it limits."""

from collections.abc import Callable, Iterator
from typing import Generic, TypeVar

from twisted.internet.base import DelayedCall

from mu_twisted.transport._interfaces import ReactorTime

T = TypeVar("T")
_GRAIN = 16


class Deadlines(Generic[T]):
    """Things that must be done within the same time, each counted from its own start.

    Starting and ending one is a dictionary's work, no timer is made or cancelled for it: since all have the same
    time limit, the order of starting is the order of ending, and one call for the earliest is enough.

    :param clock: gives the time and makes the calls.
    :param timeout: seconds. A late thing is noticed at most a sixteenth of it too late.
    :param expired: called with each thing that is late, after it was removed.
    """

    def __init__(self, clock: ReactorTime, timeout: float, expired: Callable[[T], object]) -> None:
        self._clock = clock
        self._timeout = timeout
        self._expired = expired
        self._due: dict[T, float] = {}
        self._call: DelayedCall | None = None

    def __len__(self) -> int:
        return len(self._due)

    def __contains__(self, thing: object) -> bool:
        return thing in self._due

    def __iter__(self) -> Iterator[T]:
        return iter(self._due)

    def start(self, thing: T) -> None:
        """Begin the time of a thing, anew if it had begun before."""
        self._due.pop(thing, None)
        self._due[thing] = self._clock.seconds() + self._timeout
        if self._call is None:
            self._call = self._clock.callLater(self._timeout, self._sweep)

    def end(self, thing: T) -> None:
        """End the time of a thing; does nothing if it was not started."""
        self._due.pop(thing, None)

    def stop(self) -> None:
        """Leave no timer behind. A later start makes a new one."""
        self._due.clear()
        if self._call is not None:
            self._call.cancel()
            self._call = None

    def _sweep(self) -> None:
        self._call = None
        now = self._clock.seconds()
        late: list[T] = []
        following: float | None = None
        for thing, due in self._due.items():
            if due > now:
                following = due
                break
            late.append(thing)
        if following is not None:
            self._call = self._clock.callLater(max(following - now, self._timeout / _GRAIN), self._sweep)
        for thing in late:
            # A late thing may have been ended by the call for an earlier one.
            if self._due.pop(thing, None) is not None:
                self._expired(thing)
