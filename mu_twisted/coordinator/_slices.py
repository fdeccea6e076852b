"""Slices do long work a little in each turn of the reactor, so that everything else has its turn in between.

This is the one way in which the coordinator does what takes long by itself: the work is a generator that yields where
it may be interrupted, at least once in a millisecond or two. Knows nothing of what is done.
"""

from collections.abc import Callable
from typing import TypeVar, cast

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IDelayedCall
from twisted.internet.task import Cooperator
from twisted.python.failure import Failure

from mu_twisted.base.steps import Steps
from mu_twisted.transport import ReactorTime

SLICE = 0.01
"""Seconds of each turn that all work together has."""
PAUSE = 0.03
"""Seconds between slices of work that no one waits for."""

T = TypeVar("T")


class Slices:
    """All work that is done so.

    :param clock: the time, and the turns.
    :param pause: seconds from one slice to the next; 0: each turn has one.
    """

    def __init__(self, clock: ReactorTime, pause: float = 0.0) -> None:
        self._clock = clock
        self._cooperator = Cooperator(
            terminationPredicateFactory=self._begin,
            scheduler=lambda tick: cast("IDelayedCall", clock.callLater(pause, tick)),
        )

    def run(self, steps: Steps[T]) -> Deferred[T]:
        """Do this, beside all else that is being done.

        :returns: fires with what the generator returns, or fails with what it raises. Cancelling closes it.
        """
        found: list[T] = []

        def stepping() -> Steps[None]:
            while True:  # by ``yield from`` the steps would end with this, where it is left behind
                try:
                    next(steps)
                except StopIteration as end:
                    found.append(end.value)
                    return
                yield

        def ended(_: object) -> None:
            if not result.called:
                result.callback(found[0])

        def failed(failure: Failure) -> None:
            if not result.called:
                result.errback(failure)

        def cancelled(_: object) -> None:
            result.errback(CancelledError())
            task.stop()
            steps.close()

        result: Deferred[T] = Deferred(cancelled)
        task = self._cooperator.cooperate(stepping())
        task.whenDone().addCallbacks(ended, failed)
        return result

    def stop(self) -> None:
        """Leave what is under way where it is: its caller has the steps, and can do the rest."""
        self._cooperator.stop()

    def _begin(self) -> Callable[[], bool]:
        end = self._clock.seconds() + SLICE
        return lambda: self._clock.seconds() >= end
