"""Links carry named messages between workers: this holds the connection to the rendezvous and the commands.

Imported when a task first uses links. The connection is dialled with the first message and again when it is lost;
what is sent and received goes on from the beginnings of messages that were not acknowledged.
"""

import os
import selectors
import ssl
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path

from mu_twisted.wire import PeerError, fail
from mu_twisted.wire.links import (
    MAX_AHEAD,
    MAX_DATA,
    MAX_LINK_FRAME,
    PINGS,
    WHOLE,
    Ack,
    Begin,
    Cut,
    End,
    LinkGreeting,
    LinkPing,
    Nak,
    Part,
    Unwant,
    Want,
    Whole,
    check_name,
    parse_link_frame,
    parse_link_welcome,
    parse_tasks,
    paths_info,
    waits_info,
)
from mu_twisted.wire.punching import PREFIX, PUNCH, PunchOutcome, PunchRefusal
from worker_lambda._errors import CommandFailure, DialError, EventError
from worker_lambda._lambda_context import Timing
from worker_lambda._template import expand_file
from worker_lambda._traffic import Traffic
from worker_lambda.connection import RENDEZVOUS, FrameConnection, Partner, Target, is_loopback, resolve
from worker_lambda.links._liveness import Liveness
from worker_lambda.links._paths import UNSENT, DirectPath, PathFrame
from worker_lambda.links._receives import Receives, WaitReport
from worker_lambda.links._sends import Sends
from worker_lambda.peers import parse_address
from worker_lambda.programs import CommandRuns

_FRAMES = 16
"""Frames that are made in one pass of the loop."""
_MAX_REFUSAL = 500
PIPES = "pipes"
"""As :data:`mu_twisted.wire.pipes.PIPES`, which only those import that have some."""

TYPE_CHECKING = False
if TYPE_CHECKING:
    from worker_lambda.links._direct_paths import DirectPaths
    from worker_lambda.links._pipes import PipeRun, TaskPipes


@dataclass(frozen=True)
class _LinkOrder:
    """One ``link:``.

    :ivar direct: whether there may be direct paths.
    """

    host: str
    port: int
    job: bytes
    task: int
    attempt: int
    direct: bool = False

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
    :param link_contexts: gives what is shown to other workers, as client and as server; None: nothing.
    :param send: takes one message to the coordinator.
    :param timing: see :class:`Timing`.
    :param traffic: counts the bytes of messages and pipes.
    """

    def __init__(
        self,
        selector: selectors.BaseSelector,
        runs: CommandRuns,
        root: bytes,
        directory: bytes,
        *,
        context: Callable[[], ssl.SSLContext | None],
        link_contexts: Callable[[], tuple[ssl.SSLContext, ssl.SSLContext] | None] = lambda: None,
        send: Callable[[bytes], None],
        timing: Timing,
        traffic: Traffic | None = None,
    ) -> None:
        self._traffic = traffic or Traffic()
        self._link_contexts = link_contexts
        self._selector = selector
        self._runs = runs
        self._root = root
        self._directory = directory
        self._context = context
        self._send = send
        self._timing = timing
        self._speaker: _LinkOrder | None = None
        self._pipes: TaskPipes | None = None
        self._sends = Sends(runs, traffic=self._traffic)
        self._receives = Receives(runs, self._traffic)
        self._report = WaitReport(timing.wait_report)
        self._paths: DirectPaths | None = None
        self._ahead = False
        self._handing_over = False
        self._connection: FrameConnection | None = None
        self._greeted = False
        self._dialling: object | None = None
        self._dial_at: float | None = None
        self._pause = timing.link_redial
        self._failing_since: float | None = None
        self._liveness: Liveness | None = None
        self._refusal: str | None = None

    # -- commands --------------------------------------------------------------------------------------------------

    def link(self, argument: bytes) -> None:
        """``link:HOST:PORT:JOB:TASK:ATTEMPT``, or with ``:TASKS`` behind it, to which there may be direct paths.

        :raises MuError: the argument cannot be read.
        """
        host, port, text = parse_address(argument)
        *parts, peers = [*text.split(b":"), b""] if text.count(b":") < 3 else text.split(b":", 3)
        if len(parts) != 3 or not parts[1].isdigit() or not parts[2].isdigit() or max(map(len, parts)) > 64:
            raise CommandFailure("expected HOST:PORT:JOB:TASK:ATTEMPT", "BadCommand")
        try:
            tasks = parse_tasks(peers)
        except PeerError as error:
            raise CommandFailure(str(error), "BadCommand") from None
        speaker = _LinkOrder(host, port, parts[0], int(parts[1]), int(parts[2]), text.count(b":") > 2)
        if speaker != self._speaker:
            self._give_up("another link: has come", final=True)
            self._disconnect()
            self._close_paths()
            self._sends.close()
            self._speaker = speaker
            directory = Path(os.fsdecode(self._directory))
            self._sends = Sends(self._runs, directory, later=speaker.attempt > 0, traffic=self._traffic)
            self._receives = Receives(self._runs, self._traffic)
            if speaker.direct:
                self._make_paths(speaker)
            self._close_pipes()
        self._send(b"OK:LINK")
        if self._paths is not None and tasks:
            self._paths.want(islice(tasks, MAX_AHEAD))
            self._ahead = True
        elif speaker.direct and tasks:
            self._send(paths_info(dict.fromkeys(islice(tasks, MAX_AHEAD), PunchOutcome.TLS)))

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
        if self._paths is not None:
            self._paths.want((to,))

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
        if self._paths is not None and frm is not None:
            self._paths.want((frm,))

    def hand_over(self, argument: bytes) -> None:
        """``hand_over:TASKS``: have the rendezvous keep what these tasks may want again.

        :raises MuError: the argument cannot be read.
        """
        try:
            self._sends.hand_over(parse_tasks(argument))
        except PeerError as error:
            raise CommandFailure(str(error), "BadCommand") from None
        self._handing_over = True

    def punches(self) -> None:
        """``punches:``: say how it was punched.

        :raises MuError: no direct path may be.
        """
        report = None if self._paths is None else self._paths.report
        if report is None:
            raise CommandFailure("there are no direct paths: none is allowed, or there is no rendezvous")
        self._send(report.encode())

    @property
    def handing_over(self) -> bool:
        """Whether the rendezvous does not have all of it yet; the next command waits for that."""
        return self._handing_over

    def pipe(self, argument: bytes) -> None:
        """``pipe:to:TASK:ATTEMPT:NAME``, or ``pipe:from:...``.

        :raises MuError: it cannot be.
        """
        if self._speaker is None:
            raise CommandFailure("no link: has come yet")
        if self._pipes is None:
            from worker_lambda.links._pipes import TaskPipes  # costs, and few tasks have some

            self._pipes = TaskPipes(self._selector, self._directory, self._runs.kill, self._traffic)
            if self._connection is not None:
                self._disconnect()  # it was greeted without
            for path in self._paths.there if self._paths is not None else ():
                self._pipes.path_up(path)
        opened = self._pipes.declare(argument)
        if self._paths is not None:
            self._paths.want((opened.peer,))
        self._send(b"OK:PIPE(" + opened.name + b")")

    def begin_run(self, command: bytes) -> "tuple[bytes, PipeRun]":
        """Make the FIFOs of a run whose command has placeholders for such, see :meth:`TaskPipes.begin`.

        :raises MuError: one cannot be made.
        """
        if self._pipes is None:
            raise CommandFailure("no pipe is declared for this task", "BadCommand")
        return self._pipes.begin(command)

    def kill(self) -> None:
        """Give all up, and say so."""
        self._give_up("it was killed")
        if self._pipes is not None:
            self._pipes.kill()

    def close(self) -> None:
        """Give all up, and say nothing."""
        self._sends.close()
        self._receives.close()
        self._close_pipes()
        self._disconnect()
        self._close_paths()
        self._speaker = None
        self._handing_over = False

    # -- from the loop ---------------------------------------------------------------------------------------------

    def step(self, *, busy: bool) -> float | None:
        """To be called in each pass of the loop.

        :param busy: whether the task does anything else than what is here.
        :returns: in how many seconds to call again at the latest; None: when something happens.
        """
        # The paths come first: what they say to the rendezvous goes out in the same pass.
        waits = [self._check_dial(), self._receives.say_late(time.monotonic()), self._step_paths()]
        if self._pipes is not None:
            waits.append(self._pipes.step())
            busy = busy or self._pipes.finishing
        connection = self._connection
        if connection is not None:
            more = self._feed(connection)
            waits += (self._check_liveness(self._liveness), connection.step())
            if self._refusal is not None:
                self._fail(f"rendezvous: {self._refusal}")
            elif (lost := connection.lost or self._silence) is not None:
                self._lost(lost)
                waits.append(self._check_dial())
            elif more and connection.unsent < UNSENT:
                waits.append(0.0)
        if (self._paths is not None and self._paths.due) or (self._greeted and self._sends.answers):
            waits.append(0.0)  # each of both has something to say because of the other
        room = self._greeted and self._connection is not None and self._connection.unsent < UNSENT
        if self._pipes is not None and self._pipes.due(room=room):
            waits.append(0.0)
        if self._handing_over and not self._sends.handing_over:
            self._handing_over = False
            self._send(b"OK:HAND_OVER")
            waits.append(0.0)
        self._report_paths()
        waits.append(self._report_waits(busy=busy or self._sends.active > 0 or self._receives.coming))
        return min((wait for wait in waits if wait is not None), default=None)

    def _report_waits(self, *, busy: bool) -> float | None:
        waits = [] if busy else self._receives.waits
        told, left = self._report.look(waits)
        if told:
            self._send(waits_info(waits))
        return left

    def _step_paths(self) -> float | None:
        if self._paths is None:
            return None
        used = self._sends.used | self._receives.used
        return self._paths.step(self._feed_path, used if self._pipes is None else used | self._pipes.used)

    def _report_paths(self) -> None:
        while self._paths is not None and (news := self._paths.take_news()):
            self._send(paths_info(news))

    def _feed_path(self, path: DirectPath) -> bool:
        for _ in range(_FRAMES):
            if not path.has_room:
                return True
            frame = self._next_of_pipes(path) or self._sends.next_frame(path)
            if frame is None:
                return False
            path.say(frame)
        return True

    def _feed(self, connection: FrameConnection) -> bool:
        """Make frames while there is room; returns whether there may be more."""
        if not self._greeted:
            return False
        for _ in range(_FRAMES):
            if connection.unsent >= UNSENT:
                return True
            frame = self._receives.next_frame() or self._next_of_pipes() or self._sends.next_frame()
            if frame is None:
                return False
            connection.send(frame)
        return True

    def _close_pipes(self) -> None:
        if self._pipes is not None:
            self._pipes.close()
            self._pipes = None

    def _next_of_pipes(self, path: DirectPath | None = None) -> bytes | None:
        return None if self._pipes is None else self._pipes.next_frame(path)

    # -- the connection --------------------------------------------------------------------------------------------

    @property
    def _active(self) -> bool:
        """Whether anything waits for what the rendezvous will say."""
        pipes = self._pipes is not None and self._pipes.active
        return bool(self._sends.active or self._receives.active or pipes)

    @property
    def _wants_paths(self) -> bool:
        """Whether paths that were wanted ahead of any message are still to be."""
        return self._ahead and self._paths is not None and self._paths.waiting

    def _check_dial(self) -> float | None:
        if self._connection is not None or self._dialling is not None:
            return None
        if not (self._active or self._sends.holding or self._wants_paths):
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

    def _open(self, speaker: _LinkOrder, targets: list[Target], context: ssl.SSLContext | None) -> None:
        role = RENDEZVOUS if context is not None else None
        self._connection = FrameConnection(
            self._selector,
            targets,
            context,
            Partner("rendezvous", role, MAX_LINK_FRAME, self._timing.stall),
            came_up=self._came_up,
            received=self._received,
            held=lambda: self._receives.full,
            prepare=None if self._paths is None else self._paths.prepare,
        )
        announced = {WHOLE: True}
        announced |= {} if self._paths is None else {PUNCH: True}
        announced |= {} if self._pipes is None else {PIPES: True}
        self._connection.send(LinkGreeting(speaker.job, speaker.task, speaker.attempt, announced).encode())

    def _came_up(self) -> None:
        self._liveness = Liveness(self._timing.link_welcome)

    def _check_liveness(self, liveness: Liveness | None) -> float | None:
        if liveness is None:
            return None
        return liveness.check(expected=not self._greeted or self._active, held=self._receives.full)

    @property
    def _silence(self) -> DialError | None:
        """What is wrong where the rendezvous takes what it is sent, and says nothing."""
        if self._liveness is None or not self._liveness.over:
            return None
        if not self._greeted:
            return DialError(f"the greeting was not answered within {self._timing.link_welcome:g} s")
        return DialError(f"nothing was heard of it for {self._timing.rendezvous_silence:g} s")

    def _received(self, payload: bytes) -> None:
        if self._liveness is not None:
            self._liveness.heard()
        if self._refusal is not None:
            return
        if payload.startswith(b"FAIL("):
            text = b" ".join(payload[len(b"FAIL(") :].removesuffix(b")").split())
            self._refusal = text[:_MAX_REFUSAL].decode("utf-8", "replace")
            return
        try:
            if self._greeted and payload.startswith(PREFIX) and self._paths is not None:
                self._paths.take(payload)
            elif self._greeted:
                self._take(payload)
            else:
                welcome = parse_link_welcome(payload)
                self._begin_paths(allowed=welcome.announced.get(PUNCH) is True)
                self._greeted = True
                pings = welcome.announced.get(PINGS) is True
                self._liveness = Liveness(self._timing.rendezvous_silence, self._ping) if pings else None
                if self._pipes is not None and welcome.announced.get(PIPES) is True:
                    self._pipes.connected()
                elif self._pipes is not None:
                    self._pipes.lost("the rendezvous is of an earlier version, which carries no pipes")
                self._failing_since = None
                self._receives.restart()
                self._sends.restart(whole=welcome.announced.get(WHOLE) is True)
        except (PeerError, CommandFailure) as error:
            self._refusal = f"protocol error: {error}"

    def _ping(self) -> None:
        if self._connection is not None:
            self._connection.send(LinkPing().encode())

    def _take(self, payload: bytes) -> None:
        if self._pipes is not None and payload.startswith(b"PIPE_"):
            from mu_twisted.wire.pipes import parse_pipe_frame

            self._pipes.received(parse_pipe_frame(payload))
            return
        frame = parse_link_frame(payload)
        match frame:
            case Ack() | Nak():
                self._sends.answered(frame)
            case Begin() | Whole() | Part() | End() | Cut():
                self._receives.received(frame)
            case Want():
                self._sends.ask(frame)
            case LinkPing(answer=True):
                pass
            case _:
                raise PeerError(f"a rendezvous does not send {payload[:80]!r}")

    # -- direct paths ----------------------------------------------------------------------------------------------

    def _make_paths(self, speaker: _LinkOrder) -> None:
        try:
            from worker_lambda.links._direct_paths import DirectPaths  # costs, and not every job has any

            contexts = self._link_contexts()
        except (OSError, ImportError, EventError):
            return  # the rendezvous carries everything
        if contexts is not None:
            self._paths = DirectPaths(
                self._selector,
                speaker.job.decode("ascii", "replace"),
                speaker.task,
                speaker.attempt,
                contexts,
                silence=self._timing.link_silence,
                up=self._path_up,
                lost=self._path_lost,
                received=self._take_direct,
                held=lambda: self._receives.full,
                piped=self._take_piped,
            )

    def _begin_paths(self, *, allowed: bool) -> None:
        if self._paths is None or self._connection is None:
            return
        if allowed and self._connection.sock is not None:
            self._paths.begin(self._connection.sock, self._connection.send)
        else:
            self._paths.refuse(PunchRefusal.OFF)

    def _close_paths(self) -> None:
        paths, self._paths = self._paths, None
        if paths is not None:
            paths.close()

    def _path_up(self, path: DirectPath) -> None:
        self._sends.path_up(path)
        self._receives.path_up(path)
        if self._pipes is not None:
            self._pipes.path_up(path)

    def _path_lost(self, path: DirectPath) -> None:
        self._sends.path_lost(path)
        self._receives.path_lost(path)
        if self._pipes is not None:
            self._pipes.path_lost(path)

    def _take_piped(self, path: DirectPath, payload: bytes) -> None:
        from mu_twisted.wire.pipes import parse_pipe_frame

        frame = parse_pipe_frame(payload)
        if self._pipes is None or self._speaker is None or frame.peer != self._speaker.task:
            raise PeerError(f"a worker does not send {payload[:80]!r} to one that has no such pipe")
        self._pipes.received(replace(frame, peer=path.task), path)

    def _take_direct(self, path: DirectPath, frame: PathFrame) -> None:
        match frame:
            case Begin() | Part() | End() | Cut():
                self._receives.received(frame, path)
            case Want():
                self._sends.wanted(path, frame)
            case Unwant():
                self._sends.unwanted(path, frame)
            case Ack():
                self._sends.arrived(frame)

    def _lost(self, error: DialError) -> None:
        if self._greeted and self._pipes is not None:
            self._pipes.lost(f"the connection to the rendezvous was lost: {error}")
        self._disconnect()
        now = time.monotonic()
        if self._failing_since is None:
            self._failing_since = now
            self._pause = self._timing.link_redial
        if error.final or now - self._failing_since >= self._timing.link_timeout:
            self._fail(f"no link to the rendezvous at {self._where}: {error}", ahead=not error.final)
            return
        self._dial_at = now + self._pause * int.from_bytes(os.urandom(4), "big") / 2**32
        self._pause = min(2 * self._pause, self._timing.redial_max)

    @property
    def _where(self) -> str:
        return "" if self._speaker is None else self._speaker.where

    def _fail(self, reason: str, *, ahead: bool = False) -> None:
        """Have all that waits fail.

        :param ahead: whether paths that were wanted ahead of any message go on to be, as long as the task lasts.
        """
        if self._pipes is not None:
            self._pipes.lost(reason)
        if self._paths is not None:
            self._paths.unreachable()
        self._disconnect()
        self._failing_since = None
        self._ahead = self._ahead and ahead
        self._give_up(reason, final=True)
        if self._sends.holding or self._wants_paths:
            self._dial_at = time.monotonic() + self._timing.redial_max

    def _give_up(self, reason: str, *, final: bool = False) -> None:
        self._sends.fail(reason, final=final)
        self._receives.fail(reason)

    def _disconnect(self) -> None:
        if self._paths is not None:
            self._paths.end()
            self._paths.new_port()
        connection, self._connection = self._connection, None
        self._greeted, self._liveness = False, None
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
