"""The worker's loop holds connection, commands and programs together until the coordinator sends ``quit:``.

With ``job`` in the event a lost coordinator is dialled again, with jitter, for ``orphan_timeout`` seconds, while the
programs go on. Then the worker greets as at first, and sends the replies of what has ended meanwhile, the last ones if
they are many. Replies that were on their way when the connection broke are gone. A coordinator that has other plans
for such a worker says ``reset:`` before anything else.
"""

import os
import selectors
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress

from mu_twisted.wire import MAX_COMMAND, PRESIGN, PROCESSES, TEE, TOKEN, VERSION, Greeting
from worker_lambda._commands import Commands
from worker_lambda._errors import DialError, EventError
from worker_lambda._event import LaunchEvent
from worker_lambda._expansion import WorkerPaths
from worker_lambda._lambda_context import LambdaContext, Timing
from worker_lambda._traffic import Traffic
from worker_lambda._workdir import WorkDirectory, sweep
from worker_lambda.connection import (
    COORDINATOR,
    DIAL_TIMEOUT,
    FrameConnection,
    Partner,
    client_context,
    is_loopback,
    resolve,
)
from worker_lambda.peers import Finishing, PeerChannel
from worker_lambda.programs import CommandRuns

TYPE_CHECKING = False  # typing's own would have to be imported
if TYPE_CHECKING:
    from worker_lambda.links import LinkChannel
    from worker_lambda.programs.coprocesses import Coprocesses

MAX_KEPT = 64
"""Replies kept for a coordinator that is away."""
_KEPT_BYTES = 2 << 20
LINKS = "links"
PUNCH = "punch"
PUNCHES = "punches"
PIPES = "pipes"
"""As in :mod:`mu_twisted.wire`'s ``links``, ``punching``, ``punch_report`` and ``pipes``, which only those import
that use them."""


class WorkerLoop:
    """Serves one coordinator.

    :param event: with mode 1.
    :param paths: see :class:`WorkerPaths`.
    :param context: see :class:`LambdaContext`.
    :param log: takes one line for the operator.
    :raises WorkerError: it cannot begin.
    """

    def __init__(
        self,
        event: LaunchEvent,
        paths: WorkerPaths,
        context: LambdaContext,
        log: Callable[[str], None],
        timing: Timing | None = None,
    ) -> None:
        self._event = event
        self._context = context
        self._log = log
        self._timing = timing or Timing()
        self._selector = selectors.DefaultSelector()
        background = None if event.job is None else self._timing.background
        self._root = paths.root
        self._runs = CommandRuns(self._selector, paths.root, background)
        self._traffic = Traffic(event.byte_counts)
        self._channel = PeerChannel(
            self._selector, event, self._runs, self._send, self._is_clear, log, self._timing, self._traffic
        )
        finishing = Finishing(self._runs, self._channel, strict=event.job is not None, log=log)
        self._connection: FrameConnection | None = None
        self._up_since: float | None = None
        self._reached = False
        self._connections = 0
        self._orphan_since = time.monotonic()
        self._redial_at: float | None = None
        self._fault: DialError | None = None
        self._pause = self._timing.redial
        self._last_event = time.monotonic()
        self._kept: deque[bytes] = deque(maxlen=MAX_KEPT)
        self._end: dict[str, str] | None = None
        remaining = context.remaining_ms()
        self._deadline = None if remaining is None else time.monotonic() + remaining / 1000 - self._timing.margin
        try:
            if event.variables.get(b"rm_tmpdir", b"1") != b"0":
                sweep(paths.temporary)
            self._commands = Commands(
                event,
                paths,
                self._runs,
                self._channel,
                finishing,
                send=self._send,
                greet=self._greet,
                clear=self._is_clear,
                make_links=self._make_links,
                make_coprocesses=self._make_coprocesses,
                traffic=self._traffic,
            )
        except BaseException:
            self._selector.close()
            raise

    def serve(self) -> dict[str, str]:
        """Work until the end.

        :returns: ``{"ended": why}``, or ``{"error": why}``; a line of text in either.
        """
        try:
            if self._event.tls:
                self._channel.context = client_context(self._event.tls, self._commands.directory.path)
            self._dial()
            while self._end is None:
                self._pass()
            return self._end
        finally:
            self._close()

    # -- the loop --------------------------------------------------------------------------------------------------

    def _pass(self) -> None:
        wait = self._step()
        if self._end is not None:
            return
        for key, events in self._selector.select(wait):
            self._last_event = time.monotonic()
            # A call before may have closed this descriptor, and its number may be another's already.
            if self._selector.get_map().get(key.fd) is key:
                key.data(events)

    def _step(self) -> float | None:
        """Everything but waiting; returns how long to wait."""
        waits = [self._runs.tick()]
        self._commands.pump()
        waits.append(self._channel.step())
        waits.append(self._commands.step_links())
        waits.append(self._commands.step_processes())
        connection = self._connection
        if connection is not None:
            waits.append(self._commands.step_tee(idle=connection.idle))
            waits.append(connection.step())
            if connection.lost is not None:
                self._lost(connection, connection.lost)
        if self._commands.can_go_on:  # a reply that was due has been given, or there is room again
            waits.append(0.0)
        if self._commands.leaving:
            self._leave()
        waits += [self._check_redial(), self._check_orphaned(), self._check_silence(), self._check_deadline()]
        due = [wait for wait in waits if wait is not None]
        return max(0.0, min(due)) if due else None

    def _leave(self) -> None:
        self._runs.drop()
        if self._connection is not None:
            self._connection.close(flush=self._time_left_for(self._timing.flush))
        self._end = {"ended": "the coordinator said quit"}

    def _check_silence(self) -> float | None:
        if self._event.job is not None or self._runs.active:
            return None
        left = self._last_event + self._timing.silence - time.monotonic()
        if left <= 0:
            self._end = {"ended": f"nothing happened for {self._timing.silence:g} s"}
        return left

    def _check_deadline(self) -> float | None:
        if self._deadline is None:
            return None
        left = self._deadline - time.monotonic()
        if left <= 0 and self._end is None:
            self._end = {"error": "the function's time is up"}
        return left

    # -- the coordinator -------------------------------------------------------------------------------------------

    def _dial(self) -> None:
        event = self._event
        try:
            targets = resolve(event.host, event.port)
        except DialError as error:
            self._try_again(error)
            return
        context = self._channel.context
        if context is None:
            if not all(is_loopback(target) for target in targets):
                raise EventError(
                    f"the event has no cacert: without TLS only loopback can be dialled, not {event.address}"
                )
            self._log(f"warning: no cacert in the event, {event.address} is dialled without TLS")
        self._connection = FrameConnection(
            self._selector,
            targets,
            context,
            Partner("coordinator", COORDINATOR if event.job is not None and context is not None else None, MAX_COMMAND),
            came_up=self._came_up,
            received=self._received,
        )

    def _came_up(self) -> None:
        self._up_since = time.monotonic()
        self._connections += 1
        self._greet()
        while self._kept:
            self._send(self._kept.popleft())

    def _received(self, payload: bytes) -> None:
        self._reached = True
        if not self._commands.leaving:
            self._commands.receive(payload)

    def _greet(self) -> None:
        event = self._event
        if self._connection is None or not self._connection.up:
            self._kept.clear()  # a reset that was waiting when the connection broke; the greeting comes with the next
            return
        greeting = Greeting()
        if event.job is not None:
            greeting = Greeting(
                version=VERSION,
                launch_id=event.launch_id,
                deadline_ms=self._context.remaining_ms() or 0,
                memory_mb=self._context.memory_mb,
                redial=self._connections > 1,
                supports=(TOKEN, LINKS, PUNCH, PUNCHES, PIPES, TEE, PROCESSES, PRESIGN),
                token=self._commands.token,
                init_ms=self._context.init_ms,
            )
        self._connection.send(greeting.encode())

    def _send(self, payload: bytes) -> None:
        report = self._traffic.report()
        if report is not None:
            self._put(report)
        self._put(payload)

    def _put(self, payload: bytes) -> None:
        if self._connection is not None and self._connection.up:
            self._connection.send(payload)
            return
        self._kept.append(payload)
        while sum(map(len, self._kept)) > _KEPT_BYTES:
            self._kept.popleft()

    def _make_links(self, directory: WorkDirectory) -> "LinkChannel":
        from worker_lambda.links import LinkChannel  # costs, and few tasks use them

        return LinkChannel(
            self._selector,
            self._runs,
            bytes(self._root),
            bytes(directory.path),
            context=lambda: self._channel.shown,
            link_contexts=self._channel.link_contexts,
            send=self._send,
            timing=self._timing,
            traffic=self._traffic,
        )

    def _make_coprocesses(self) -> "Coprocesses":
        from worker_lambda.programs.coprocesses import Coprocesses  # costs, and few tasks have some

        return Coprocesses(self._selector, self._root)

    def _is_clear(self) -> bool:
        return self._connection is None or not self._connection.clogged

    def _lost(self, connection: FrameConnection, error: DialError) -> None:
        self._connection = None
        self._commands.stop_tee()
        now = time.monotonic()
        lasted = None if self._up_since is None else now - self._up_since
        self._up_since = None
        if lasted is not None and (connection.heard or lasted >= self._timing.settled):
            self._reached = True
            self._orphan_since = now
            self._pause = self._timing.redial
        if self._commands.leaving:
            self._end = {"ended": "the coordinator said quit"}
        elif self._event.job is not None:
            self._try_again(error)
        elif lasted is not None:
            kind = "error" if str(error).startswith(("protocol error", "TLS")) else "ended"
            self._end = {kind: str(error)}
        else:
            self._give_up(error)

    def _try_again(self, error: DialError) -> None:
        now = time.monotonic()
        pause = self._pause * int.from_bytes(os.urandom(4), "big") / 2**32
        self._pause = min(self._pause * 2, self._timing.redial_max)
        self._fault = error
        if self._event.job is None or (error.final and not self._reached):
            self._give_up(error)
        elif now < self._orphan_since + self._event.orphan_timeout:
            self._log(f"{self._event.address}: {error}; dialling again")
            self._redial_at = now + pause

    def _check_orphaned(self) -> float | None:
        if self._event.job is None or (self._connection is not None and self._connection.up) or self._end is not None:
            return None
        limit = self._event.orphan_timeout
        if self._fault is None:  # the first try has not ended
            limit = max(limit, DIAL_TIMEOUT)
        left = self._orphan_since + limit - time.monotonic()
        if left <= 0:
            self._give_up(self._fault or DialError("no answer"))
        return left

    def _check_redial(self) -> float | None:
        if self._redial_at is None or self._end is not None:
            return None
        left = self._redial_at - time.monotonic()
        if left <= 0:
            self._redial_at = None
            self._dial()
            return 0.0
        return left

    def _give_up(self, error: DialError) -> None:
        verb = "lost the coordinator at" if self._reached else "could not reach"
        self._end = {"error": f"{verb} {self._event.address}: {error}"}

    def _close(self) -> None:
        if self._connection is not None:
            self._connection.close(flush=0.0 if self._end is None else self._time_left_for(self._timing.flush))
            self._connection = None
        self._channel.close(flush=0.0 if self._end is None else self._time_left_for(self._timing.flush))
        with suppress(OSError):
            self._runs.close(self._time_left_for(self._timing.transfers))
        self._commands.close()
        self._selector.close()

    def _time_left_for(self, limit: float) -> float:
        """Seconds that one step of closing may take: of what is left of the function's time a quarter."""
        if self._deadline is None:
            return limit
        return max(0.0, min(limit, (self._deadline + self._timing.margin - time.monotonic()) / 4))
