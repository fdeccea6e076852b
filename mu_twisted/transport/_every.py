"""Every periodic call of the project is made by :func:`every`: a LoopingCall on a given clock, whose end is logged.

``LoopingCall`` counts by the global reactor unless its ``clock`` is set, which no test can drive; it raises where it is
started or stopped twice; and a call that fails ends it with a Deferred that is lost unless it has an errback. All three
are dealt with here, once. Knows nothing of what is called.
"""

from collections.abc import Callable
from typing import Any

from twisted.internet.task import LoopingCall
from twisted.logger import Logger
from twisted.python.failure import Failure

from mu_twisted.transport._interfaces import ReactorTime


class Repetition:
    """A call that :func:`every` has prepared; it is made from :meth:`start` to :meth:`stop`."""

    _log = Logger()

    def __init__(self, clock: ReactorTime, seconds: float, call: Callable[[], Any]) -> None:
        self._seconds = seconds
        self._name = getattr(call, "__qualname__", repr(call))
        self._loop = LoopingCall(call)
        self._loop.clock = clock  # type: ignore[assignment]

    @property
    def running(self) -> bool:
        """Whether the call is being made."""
        return self._loop.running

    def start(self, *, now: bool = False) -> None:
        """Make the call from now on; does nothing where it is being made already.

        :param now: whether the first call is made at once; else after the first interval.
        """
        if not self._loop.running:
            self._loop.start(self._seconds, now=now).addErrback(self._failed)

    def stop(self) -> None:
        """Make the call no more; does nothing where it is not being made."""
        if self._loop.running:
            self._loop.stop()

    def _failed(self, failure: Failure) -> None:
        self._log.failure("{name} failed, and is not called any more", failure, name=self._name)


def every(clock: ReactorTime, seconds: float, call: Callable[[], Any]) -> Repetition:
    """A call to be made every so many seconds, once it is started.

    :param clock: what counts the seconds: the reactor, or a test's ``task.Clock``.
    :param seconds: between two calls.
    :param call: what is called, without arguments. Where it returns a Deferred, the next call waits for it. One that
        raises is logged, and not made again until it is started anew.
    """
    return Repetition(clock, seconds, call)
