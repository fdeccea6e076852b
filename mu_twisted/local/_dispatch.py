"""The dispatcher runs queued events while there is room, and tries failed ones again."""

from __future__ import annotations

from typing import Any

from twisted.internet.base import DelayedCall
from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from mu_twisted.local._errors import ApiError
from mu_twisted.local._events import EventPolicy, EventQueue, QueuedEvent
from mu_twisted.local._functions import Function, FunctionStore
from mu_twisted.local.environments.invocation import Invocation, InvocationResult
from mu_twisted.local.environments.pool import EnvironmentPool


class Dispatcher:
    """Takes events in turn and gives them to environments.

    :param clock: for arrivals, ages and retries.
    :param queue: the events.
    :param functions: those that exist.
    :param pool: runs them.
    :param region: for the ARN that a handler sees.
    """

    _log = Logger()

    def __init__(
        self, clock: Any, queue: EventQueue, functions: FunctionStore, pool: EnvironmentPool, region: str
    ) -> None:
        self._clock = clock
        self._queue = queue
        self._functions = functions
        self._pool = pool
        self._region = region
        self._wake: DelayedCall | None = None
        self._stopped = False

    def enqueue(self, function: Function, request_id: str, payload: bytes) -> bool:
        """Queue an event; False where too many wait."""
        if self._stopped or not self._queue.put(QueuedEvent(request_id, function.name, payload, self._clock.seconds())):
            return False
        self.run()
        return True

    def run(self) -> None:
        """Start every event that is due and has room."""
        while not self._stopped:
            event, dropped = self._queue.take(
                self._clock.seconds(), self._policy, lambda name: self._pool.refusal(name) is None
            )
            for lost in dropped:
                self._log.warn("event {id} of {name} was dropped: too old", id=lost.request_id, name=lost.function)
            if event is None:
                break
            self._start(event)
        self._sleep()

    def stop(self) -> None:
        """Start no more."""
        self._stopped = True
        if self._wake is not None and self._wake.active():
            self._wake.cancel()

    def _policy(self, name: str) -> EventPolicy | None:
        function = self._functions.find(name)
        return None if function is None else function.policy()

    def _start(self, event: QueuedEvent) -> None:
        function = self._functions.find(event.function)
        assert function is not None
        invocation = Invocation(event.request_id, event.payload, function.arn(self._region))
        try:
            done: Deferred[InvocationResult] = self._pool.invoke(function, invocation)
        except ApiError:
            self._queue.throttled(event)
            return
        done.addCallbacks(lambda result: self._finished(event, result), lambda failure: self._broke(event, failure))
        done.addErrback(lambda failure: self._log.failure("an event's end could not be handled", failure))

    def _finished(self, event: QueuedEvent, result: InvocationResult) -> None:
        if result.error is None:
            self._queue.succeeded(event)
            return
        retried = self._queue.failed(event, self._clock.seconds(), self._policy(event.function))
        self._log.warn(
            "event {id} of {name} failed at try {tries}: {error}{more}",
            id=event.request_id,
            name=event.function,
            tries=event.tries,
            error=result.payload[:500].decode(errors="replace"),
            more="; it will be tried again" if retried else "; it was the last try",
        )
        self._sleep()

    def _broke(self, event: QueuedEvent, failure: Failure) -> None:
        self._log.failure("event {id} could not be run", failure, id=event.request_id)
        self._queue.failed(event, self._clock.seconds(), self._policy(event.function))
        self._sleep()

    def _sleep(self) -> None:
        due = self._queue.next_due()
        if self._wake is not None and self._wake.active():
            self._wake.cancel()
        self._wake = None
        if due is not None and not self._stopped:
            self._wake = self._clock.callLater(max(0.0, due - self._clock.seconds()), self.run)
