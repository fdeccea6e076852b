"""Links carry named messages between workers: this holds the connection to the rendezvous and the commands.

Imported when a task first uses links. The connection is dialled with the first message and again when it is lost;
what is sent and received goes on from the beginnings of messages that were not acknowledged.
"""

import os
import selectors
import ssl
import time
from collections.abc import Callable
from dataclasses import dataclass

from mu_twisted.wire import PeerError, fail
from mu_twisted.wire.links import (
    MAX_DATA,
    MAX_LINK_FRAME,
    Ack,
    Begin,
    Cut,
    End,
    LinkGreeting,
    Nak,
    Part,
    check_name,
    parse_link_frame,
    parse_link_welcome,
    waits_info,
)
from worker_lambda._command_runs import CommandRuns
from worker_lambda._connection import FrameConnection
from worker_lambda._dialling import Partner, Target, is_loopback, resolve
from worker_lambda._errors import CommandFailure, DialError
from worker_lambda._lambda_context import Timing
from worker_lambda._link_receives import Receives, WaitReport
from worker_lambda._link_sends import Sends
from worker_lambda._peers import parse_address
from worker_lambda._template import expand_file
from worker_lambda._tls import RENDEZVOUS

_UNSENT = 512 << 10
"""Bytes that wait to be taken beyond which no more frames are made."""
_FRAMES = 16
"""Frames that are made in one pass of the loop."""
_MAX_REFUSAL = 500


@dataclass(frozen=True)
class _Speaker:
    """One ``link:``."""

    host: str
    port: int
    job: bytes
    task: int
    attempt: int

    @property
    def where(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


class LinkChannel:
    """The links of one task.

    :param selector: the loop's.
    :param runs: does beside the loop what takes time.
    :param root: what relative file names are meant from.
    :param directory: the worker's private one.
    :param context: gives what is shown to the rendezvous, None for plain TCP.
    :param send: takes one message to the coordinator.
    :param timing: see :class:`Timing`.
    """

    def __init__(
        self,
        selector: selectors.BaseSelector,
        runs: CommandRuns,
        root: bytes,
        directory: bytes,
        *,
        context: Callable[[], ssl.SSLContext | None],
        send: Callable[[bytes], None],
        timing: Timing,
    ) -> None:
        self._selector = selector
        self._runs = runs
        self._root = root
        self._directory = directory
        self._context = context
        self._send = send
        self._timing = timing
        self._speaker: _Speaker | None = None
        self._sends = Sends(runs)
        self._receives = Receives(runs)
        self._report = WaitReport(timing.wait_report)
        self._connection: FrameConnection | None = None
        self._greeted = False
        self._dialling: object | None = None
        self._dial_at: float | None = None
        self._pause = timing.link_redial
        self._failing_since: float | None = None
        self._refusal: str | None = None

    # -- commands --------------------------------------------------------------------------------------------------

    def link(self, argument: bytes) -> None:
        """``link:HOST:PORT:JOB:TASK:ATTEMPT``.

        :raises MuError: the argument cannot be read.
        """
        host, port, text = parse_address(argument)
        parts = text.split(b":")
        if len(parts) != 3 or not parts[1].isdigit() or not parts[2].isdigit() or max(map(len, parts)) > 64:
            raise CommandFailure("expected HOST:PORT:JOB:TASK:ATTEMPT", "BadCommand")
        speaker = _Speaker(host, port, parts[0], int(parts[1]), int(parts[2]))
        if speaker != self._speaker:
            self._give_up("another link: has come")
            self._disconnect()
            self._speaker = speaker
            self._sends, self._receives = Sends(self._runs), Receives(self._runs)
        self._send(b"OK:LINK")

    def send(self, argument: bytes) -> None:
        """``send:TO:NAME``, NUL, FILE; or with an empty FILE, NUL, the bytes.

        :raises MuError: it cannot be begun.
        """
        to, name, rest = self._address(argument)
        file, nul, data = rest.partition(b"\0")
        if to is None or bool(file) == bool(nul) or len(data) > MAX_DATA:
            raise CommandFailure(
                f"expected send:TO:NAME, a NUL and a file, or two NULs and up to {MAX_DATA} bytes", "BadCommand"
            )

        def done(error: str | None) -> None:
            where = b"%d/%b" % (to, name)
            self._send(b"OK:SEND(%b)" % where if error is None else _failure(b"sending ", where, error))

        self._sends.add(to, name, self._path(file) if file else None, data, done)

    def receive(self, argument: bytes) -> None:
        """``receive:FROM:NAME``, NUL, FILE.

        :raises MuError: it cannot be begun.
        """
        frm, name, file = self._address(argument)
        if not file or b"\0" in file:
            raise CommandFailure("expected receive:FROM:NAME, a NUL and a file", "BadCommand")

        def done(sender: int, error: str | None) -> None:
            where = b"%d/%b" % (sender, name) if error is None or frm is not None else b"*/" + name
            self._send(b"OK:RECEIVE(%b)" % where if error is None else _failure(b"receiving ", where, error))

        self._receives.add(frm, name, self._path(file), done)

    def kill(self) -> None:
        """Give all up, and say so."""
        self._give_up("it was killed")

    def close(self) -> None:
        """Give all up, and say nothing."""
        self._sends.close()
        self._receives.close()
        self._disconnect()
        self._speaker = None

    # -- from the loop ---------------------------------------------------------------------------------------------

    def step(self, *, busy: bool) -> float | None:
        """To be called in each pass of the loop.

        :param busy: whether the task does anything else than what is here.
        :returns: in how many seconds to call again at the latest; None: when something happens.
        """
        waits = [self._check_dial()]
        connection = self._connection
        if connection is not None:
            more = self._feed(connection)
            waits.append(connection.step())
            if self._refusal is not None:
                self._fail(f"rendezvous: {self._refusal}")
            elif connection.lost is not None:
                self._lost(connection.lost)
                waits.append(self._check_dial())
            elif more and connection.unsent < _UNSENT:
                waits.append(0.0)
        waits.append(self._report_waits(busy=busy or self._sends.active > 0 or self._receives.coming))
        return min((wait for wait in waits if wait is not None), default=None)

    def _report_waits(self, *, busy: bool) -> float | None:
        waits = [] if busy else self._receives.waits
        told, left = self._report.look(waits)
        if told:
            self._send(waits_info(waits))
        return left

    def _feed(self, connection: FrameConnection) -> bool:
        """Make frames while there is room; returns whether there may be more."""
        if not self._greeted:
            return False
        for _ in range(_FRAMES):
            if connection.unsent >= _UNSENT:
                return True
            frame = self._receives.next_frame() or self._sends.next_frame()
            if frame is None:
                return False
            connection.send(frame)
        return True

    # -- the connection --------------------------------------------------------------------------------------------

    def _check_dial(self) -> float | None:
        if self._connection is not None or self._dialling is not None:
            return None
        if not self._sends.active and not self._receives.active:
            self._failing_since = self._dial_at = None
            return None
        now = time.monotonic()
        if self._failing_since is None:
            self._failing_since = now
            self._pause = self._timing.link_redial
        if self._dial_at is not None and now < self._dial_at:
            return self._dial_at - now
        self._dial()
        return None

    def _dial(self) -> None:
        speaker = self._speaker
        assert speaker is not None
        found: list[Target] = []
        turn = self._dialling = object()

        def resolved(error: str | None) -> None:
            if turn is not self._dialling:
                return
            self._dialling = None
            context = self._context()
            if error is not None:
                self._lost(DialError(error))
            elif context is None and not all(map(is_loopback, found)):
                self._lost(
                    DialError("the event has no cacert, and without TLS only loopback can be dialled", final=True)
                )
            else:
                self._open(speaker, found, context)

        self._runs.chore(lambda _: found.extend(resolve(speaker.host, speaker.port)), resolved)

    def _open(self, speaker: _Speaker, targets: list[Target], context: ssl.SSLContext | None) -> None:
        role = RENDEZVOUS if context is not None else None
        self._connection = FrameConnection(
            self._selector,
            targets,
            context,
            Partner("rendezvous", role, MAX_LINK_FRAME, self._timing.stall),
            came_up=lambda: None,
            received=self._received,
            held=lambda: self._receives.full,
        )
        self._connection.send(LinkGreeting(speaker.job, speaker.task, speaker.attempt, {}).encode())

    def _received(self, payload: bytes) -> None:
        if self._refusal is not None:
            return
        if payload.startswith(b"FAIL("):
            text = b" ".join(payload[len(b"FAIL(") :].removesuffix(b")").split())
            self._refusal = text[:_MAX_REFUSAL].decode("utf-8", "replace")
            return
        try:
            if self._greeted:
                self._take(payload)
            else:
                parse_link_welcome(payload)
                self._greeted = True
                self._failing_since = None
                self._receives.restart()
                self._sends.restart()
        except (PeerError, CommandFailure) as error:
            self._refusal = f"protocol error: {error}"

    def _take(self, payload: bytes) -> None:
        frame = parse_link_frame(payload)
        match frame:
            case Ack() | Nak():
                self._sends.answered(frame)
            case Begin() | Part() | End() | Cut():
                self._receives.received(frame)
            case _:
                raise PeerError(f"a rendezvous does not send {payload[:80]!r}")

    def _lost(self, error: DialError) -> None:
        self._disconnect()
        now = time.monotonic()
        if self._failing_since is None:
            self._failing_since = now
            self._pause = self._timing.link_redial
        if error.final or now - self._failing_since >= self._timing.link_timeout:
            self._fail(f"no link to the rendezvous at {self._where}: {error}")
            return
        self._dial_at = now + self._pause * int.from_bytes(os.urandom(4), "big") / 2**32
        self._pause = min(2 * self._pause, self._timing.redial_max)

    @property
    def _where(self) -> str:
        return "" if self._speaker is None else self._speaker.where

    def _fail(self, reason: str) -> None:
        self._disconnect()
        self._failing_since = None
        self._give_up(reason)

    def _give_up(self, reason: str) -> None:
        self._sends.fail(reason)
        self._receives.fail(reason)

    def _disconnect(self) -> None:
        connection, self._connection = self._connection, None
        self._greeted = False
        self._dialling = self._dial_at = self._refusal = None
        if connection is not None:
            connection.close(flush=0.0)

    # -- arguments -------------------------------------------------------------------------------------------------

    def _address(self, argument: bytes) -> tuple[int | None, bytes, bytes]:
        """Task, name and what follows the NUL; the task is None for ``*``."""
        if self._speaker is None:
            raise CommandFailure("no link: has come yet")
        head, nul, rest = argument.partition(b"\0")
        peer, colon, name = head.partition(b":")
        if not nul or not colon or not (peer == b"*" or (peer.isdigit() and len(peer) <= 18)):
            raise CommandFailure("expected a task, a colon, a name, a NUL and a file", "BadCommand")
        try:
            check_name(name.decode("utf-8"))
        except ValueError:
            raise CommandFailure(
                "a message's name has 1 to 200 bytes of UTF-8, no control characters", "BadCommand"
            ) from None
        return None if peer == b"*" else int(peer), name, rest

    def _path(self, file: bytes) -> bytes:
        name = expand_file(file, self._directory)
        return name if name.startswith(b"/") else self._root + b"/" + name


def _failure(doing: bytes, where: bytes, reason: str) -> bytes:
    return fail(doing + where + b": " + reason.encode("utf-8", "surrogateescape"))
