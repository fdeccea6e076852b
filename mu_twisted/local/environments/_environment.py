"""An environment runs invocations, one at a time, and limits their time.

An environment is one process tree that the zygote forked. It asks for work at a Runtime API of its own (a loopback port
each, as AWS's client knows its environment only by the address), serves one invocation at a time, and stays warm.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from twisted.internet.base import DelayedCall
from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from mu_twisted.local._functions import Function
from mu_twisted.local.environments.invocation import (
    LARGEST_RESPONSE,
    LOG_TAIL,
    Invocation,
    InvocationResult,
    exited,
    moment,
    report,
    timed_out,
    too_large,
)

INIT_TIME = 10.0
"""Seconds that an environment may take to its first poll before the function's own time starts to run, as at AWS."""

_SETTLE = 0.1


class Poll(Protocol):
    """A request for the next invocation, held until there is one."""

    def deliver(self, invocation: Invocation, deadline_ms: int) -> None: ...


class Output(Protocol):
    """What an environment prints."""

    def drain(self) -> None: ...
    def tail(self) -> bytes: ...
    def clear(self) -> None: ...
    def close(self) -> None: ...


class Host(Protocol):
    """Where environments are made: the zygote, the directories, the ports."""

    def prepared(self, function: Function) -> bool: ...
    def prepare(self, function: Function) -> Deferred[None]: ...
    def make(self, environment: Environment) -> Output: ...

    def peak(self, environment: Environment) -> int | None:
        """The most bytes of memory that it has held; None where that is not known."""

    def kill(self, environment: Environment) -> None: ...
    def clear(self, environment: Environment) -> None: ...


class EnvironmentListener(Protocol):
    """What an environment notifies of its own changes: the pool."""

    def freed(self, environment: Environment) -> None:
        """Its invocation is over, and the slot of concurrency with it."""

    def ended(self, environment: Environment) -> None:
        """Its runtime process has ended; it takes no more invocations."""

    def gone(self, environment: Environment) -> None:
        """No process of it is left."""


class Environment:
    """One process tree and the invocation that it runs.

    :param function: the function, as configured when the environment was made.
    :param name: unique among all environments of this process.
    :param listener: is notified when the environment is free, ended, gone.
    :param host: where its processes are made.
    :param clock: for its time limits.
    :param now: seconds since the epoch, for deadlines and logs.
    :param idle: seconds after which it ends without work.
    """

    _log = Logger()

    def __init__(
        self,
        function: Function,
        name: str,
        *,
        listener: EnvironmentListener,
        host: Host,
        clock: Any,
        now: Callable[[], float],
        idle: float,
    ) -> None:
        self.function = function
        self.name = name
        self._listener = listener
        self._host = host
        self._clock = clock
        self._now = now
        self._idle_limit = idle
        self._output: Output | None = None
        self._poll: Poll | None = None
        self._invocation: Invocation | None = None
        self._finished: InvocationResult | None = None
        self._timer: DelayedCall | None = None
        self._started = 0.0
        self._ended = False
        self._last = b""
        self.retired = False

    def start(self, invocation: Invocation) -> None:
        """Make the processes, and give them this invocation at their first poll."""
        self._invocation = invocation
        self._started = self._clock.seconds()
        self._timer = self._clock.callLater(INIT_TIME + self.function.timeout, self._time_over)
        if self._host.prepared(self.function):
            self._make()
        else:
            ready = self._host.prepare(self.function)
            ready.addCallbacks(lambda _: self._make(), self._unmade)
            ready.addErrback(lambda failure: self._log.failure("an environment could not be made", failure))

    def _make(self) -> None:
        if self._ended:
            return
        try:
            self._output = self._host.make(self)
        except OSError as error:
            # No descriptor is free, no process, no memory group: this invocation fails, and others go on.
            self._log.error("an environment could not be made: {error}", error=str(error))
            self._unmade(Failure())  # type: ignore[no-untyped-call]

    def _unmade(self, failure: Failure) -> None:
        self.ended(None, failure.getErrorMessage())
        self.gone()

    def give(self, invocation: Invocation) -> None:
        """Give an invocation to this idle environment."""
        self._stop_timer()
        self._invocation = invocation
        if self._output is not None:
            self._output.drain()
            self._output.clear()
        self._deliver()

    @property
    def idle(self) -> bool:
        return self._poll is not None and self._invocation is None and not self._ended

    def polled(self, poll: Poll) -> None:
        """The runtime polls: its last invocation is over."""
        self._poll = poll
        if self._finished is not None:
            self._complete()
        if self._poll is None or self._ended:
            return
        if self._invocation is not None:
            self._deliver()
        else:
            self._rest()

    def poll_lost(self, poll: Poll) -> None:
        if self._poll is poll:
            self._poll = None

    def responded(self, request_id: str, payload: bytes, error: str | None) -> bool:
        """The runtime has answered. False if that is not its invocation."""
        if self._invocation is None or self._invocation.request_id != request_id or self._finished is not None:
            return False
        if len(payload) > LARGEST_RESPONSE:
            payload, error = too_large(len(payload)), "Unhandled"
        self._finish(InvocationResult(payload, error))
        return True

    def init_failed(self, payload: bytes) -> None:
        """The runtime could not load the handler."""
        if self._invocation is not None and self._finished is None:
            self._finish(InvocationResult(payload, "Unhandled"))
        self.end()

    def ended(self, status: int | None, reason: str) -> None:
        """The runtime process has ended."""
        self._ended = True
        if self._invocation is not None and self._finished is None:
            self._finished = InvocationResult(exited(self._invocation.request_id, status, reason), "Unhandled")
        if self._finished is not None:
            self._complete()
        self._listener.ended(self)

    def gone(self) -> None:
        """No process of it is left."""
        if not self._ended:
            self.ended(-9, "")
        self._stop_timer()
        if self._output is not None:
            self._output.close()
        self._listener.gone(self)

    def end(self) -> None:
        """End it now."""
        if not self.retired or not self._ended:
            self.retired = True
            self._host.kill(self)

    def _deliver(self) -> None:
        assert self._invocation is not None
        assert self._poll is not None
        poll, self._poll = self._poll, None
        self._stop_timer()
        self._started = self._clock.seconds()
        self._timer = self._clock.callLater(self.function.timeout, self._time_over)
        poll.deliver(self._invocation, int((self._now() + self.function.timeout) * 1000))

    def _finish(self, result: InvocationResult) -> None:
        """Keep the answer; the caller gets it when the runtime polls again, so that its log is whole."""
        self._finished = result
        self._stop_timer()
        self._timer = self._clock.callLater(_SETTLE, self._complete)

    def _complete(self) -> None:
        self._stop_timer()
        invocation, result = self._invocation, self._finished
        self._invocation = self._finished = None
        if invocation is None or result is None:
            return
        finished = InvocationResult(result.payload, result.error, self._log_of(invocation.request_id))
        self._listener.freed(self)
        invocation.result.callback(finished)

    def _log_of(self, request_id: str) -> bytes:
        printed = b""
        if self._output is not None:
            self._output.drain()
            printed = self._output.tail()
            self._output.clear()
        if printed and not printed.endswith(b"\n"):
            printed += b"\n"
        used = self._host.peak(self)
        milliseconds = (self._clock.seconds() - self._started) * 1000
        last = self._last + report(request_id, milliseconds, self.function.memory, used)
        return (f"START RequestId: {request_id} Version: $LATEST\n".encode() + printed + last)[-LOG_TAIL:]

    def _rest(self) -> None:
        if self.retired:
            self.end()
            return
        self._stop_timer()
        self._timer = self._clock.callLater(self._idle_limit, self.end)

    def _time_over(self) -> None:
        self._timer = None
        if self._invocation is None:
            return
        seconds = float(self.function.timeout)
        request_id = self._invocation.request_id
        self._finished = InvocationResult(timed_out(request_id, seconds), "Unhandled")
        self._last = f"{moment(self._now())} {request_id} Task timed out after {seconds:.2f} seconds\n".encode()
        self.end()
        # The answer waits for the processes to be gone, but not for ever.
        self._timer = self._clock.callLater(1.0, self._complete)

    def _stop_timer(self) -> None:
        if self._timer is not None and self._timer.active():
            self._timer.cancel()
        self._timer = None
