"""Calls that take long, made once for all who want the same at the same time."""

from collections.abc import Callable, Hashable
from typing import Any

from twisted.internet.defer import Deferred


class CoalescedCalls:
    """The calls that are under way."""

    def __init__(self) -> None:
        self._waiting: dict[Hashable, list[Deferred[Any]]] = {}

    def __contains__(self, what: object) -> bool:
        return what in self._waiting

    def call(self, what: Hashable, begin: Callable[[], Deferred[Any]]) -> Deferred[Any]:
        """Wait for this call; it is begun if it is not under way.

        :param what: calls with equal ones are the same.
        :param begin: makes the call.
        :returns: ends as the call does. Cancelling gives up waiting only.
        """
        waiting = self._waiting.get(what)
        begun = waiting is not None
        waiting = self._waiting.setdefault(what, [])
        mine: Deferred[Any] = Deferred(waiting.remove)
        waiting.append(mine)
        if not begun:
            begin().addBoth(self._ended, what)
        return mine

    def _ended(self, result: Any, what: Hashable) -> None:
        for waiting in self._waiting.pop(what):
            waiting.callback(result)  # a Failure fails it
