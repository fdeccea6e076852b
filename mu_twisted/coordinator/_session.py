"""A session is one connection of a worker, from its greeting to its end.

Knows the order of things on the connection: greeting, task, reset, quit. Which task it gets is decided elsewhere.
"""

from collections.abc import Callable, Mapping, Sequence
from enum import Enum
from typing import Protocol

from twisted.logger import Logger

from mu_twisted.coordinator._counters import ConnectionCounters
from mu_twisted.coordinator.output import AttemptTee
from mu_twisted.fsm import Machine, Outcome
from mu_twisted.jobs import LaunchId, Waits
from mu_twisted.tls import Identity
from mu_twisted.transport import FrameProtocol
from mu_twisted.wire import (
    MAX_LEGACY_REPLY,
    MAX_REPLY,
    TOKEN,
    VERSION,
    Greeting,
    PeerError,
    byte_counts,
    parse_greeting,
)
from mu_twisted.wire.byte_counts import ByteCounts, parse_byte_counts
from mu_twisted.wire.links import LINKS, parse_paths, parse_waits
from mu_twisted.wire.pipes import PIPES

MAX_GREETING = 64 << 10
"""Largest first message, bytes: a worker that has not greeted may send no more."""

MAX_UNASKED = 10_000
"""Messages that were not asked for, instead of a task or on the way to the next, before a worker counts as hostile; one
of more than 16 KiB counts as several. What a task leaves behind that was given up is far less."""

MAX_TOGETHER = 64
"""Messages of one read that a machine is given at once. Each may bring a command of any size, and how much waits to be
sent is only known between one time and the next."""

_TOKEN_TAKEN = b"OK:TOKEN"
_RUN_ENDED = b"OK:RETVAL("
_WAITS = b"INFO:waits:["
_PATHS = b"INFO:paths:{"
_BYTES = byte_counts.PREFIX
_KILLED = b"OK:KILL"
_HANDED_OVER = b"OK:HAND_OVER"
_OWN_REPLIES = (
    b"OK:PONG",
    _KILLED,
    b"OK:IDENTITY",
    b"OK:LINK",
    b"OK:PIPE(",
    _TOKEN_TAKEN,
    _HANDED_OVER,
    _WAITS,
    _PATHS,
    _BYTES,
)


class SessionRegistry(Protocol):
    """Keeps all sessions, and finds the job of each when it greets. Each method may call back into the session.

    :ivar counters: of all sessions together.
    """

    counters: ConnectionCounters

    def session_opened(self, session: "Session") -> None:
        """The handshake is done; nothing has been said yet."""

    def worker_greeted(self, session: "Session") -> None:
        """The worker has greeted, and its session has no listener yet: give it one, or dismiss it."""

    def forget(self, session: "Session") -> None:
        """The connection is gone."""


class SessionListener(Protocol):
    """The job of a session's worker, notified directly once it is known. Methods may call back into the session."""

    def heard(self, session: "Session") -> None:
        """The worker has sent something, whatever it was."""

    def worker_greeted(self, session: "Session") -> None:
        """The worker has greeted again: it is warm."""

    def token_taken(self, session: "Session") -> None:
        """The worker has the token that it was given."""

    def worker_waits(self, session: "Session", waits: Waits) -> None:
        """The worker's task waits for these messages, if for any, and does nothing else."""

    def paths_known(self, session: "Session", outcomes: Mapping[int, str]) -> None:
        """The worker's task has direct paths to these peers, or why it has none."""

    def bytes_known(self, session: "Session", counts: ByteCounts) -> None:
        """The worker's task has moved so many bytes since it began."""

    def task_ended(self, session: "Session", machine: Machine) -> None:
        """The machine has reached its end, or has failed."""

    def session_closed(self, session: "Session", reason: str) -> None:
        """The connection is gone."""


class _SessionPhase(Enum):
    NEW = 0
    FREE = 1
    WORKING = 2
    WARMING = 3
    LEAVING = 4


_NEW, _FREE, _WORKING, _WARMING, _LEAVING = _SessionPhase
_RUNNING = Outcome.RUNNING
"""As these: Python 3.11 looks up an enumeration's member by a call, which each message would pay for several times."""


class Session:
    """Receiver of one worker's frames.

    :param number: stands for this connection in the job's decisions.
    :param registry: finds the worker's job.
    :ivar listener: that job, from the moment it is found.
    :ivar tee: takes what the programs of its task print while they run, where that is asked for.
    :ivar launch_id: of the worker within it; empty where the worker says none.
    :ivar holds: whether the worker may hold messages that it has sent directly.
    """

    log = Logger()

    __slots__ = (
        "_connection",
        "_counters",
        "_hands_over",
        "_parting",
        "_phase",
        "_registry",
        "_token_sent",
        "_unasked",
        "greeting",
        "holds",
        "launch_id",
        "listener",
        "machine",
        "number",
        "run_ended",
        "tee",
        "watch",
    )

    def __init__(self, number: int, registry: SessionRegistry) -> None:
        self.number = number
        self.greeting = Greeting()
        self.machine: Machine | None = None
        self.watch: Callable[[Machine], None] | None = None
        self.run_ended: Callable[[bytes], None] | None = None
        self.listener: SessionListener | None = None
        self.launch_id = LaunchId("")
        self.tee: AttemptTee | None = None
        self._registry = registry
        self._counters = registry.counters
        self._connection: FrameProtocol | None = None
        self._phase = _NEW
        self._unasked = 0
        self._token_sent = self._hands_over = self._parting = self.holds = False

    @property
    def is_parting(self) -> bool:
        """Whether the worker quits as soon as its programs are killed, and what they have printed is here."""
        return self._parting and self._phase is _WARMING

    @property
    def identity(self) -> Identity | None:
        """The identity in the worker's certificate; None where it has none."""
        return self._connection.peer.identity if self._connection is not None else None

    @property
    def max_message(self) -> int:
        """Bytes of the longest message that the worker may send."""
        return MAX_REPLY if self.greeting.version else MAX_LEGACY_REPLY

    @property
    def address(self) -> str:
        """Host and port of the worker, for logs."""
        if self._connection is None:
            return "(closed)"
        return f"{self._connection.peer.host}:{self._connection.peer.port}"

    # -- what the job asks -----------------------------------------------------------------------------------------

    def assign(
        self,
        machine: Machine,
        watch: Callable[[Machine], None] | None = None,
        *,
        opening: Sequence[bytes] = (),
        run_ended: Callable[[bytes], None] | None = None,
    ) -> None:
        """Drive the worker by this machine from now on.

        :param watch: is called whenever the machine may have changed state.
        :param opening: commands to send before anything of the machine's.
        :param run_ended: is called with each reply that says how a run ended, before the machine is; also of one that
            is killed as the task is given up.
        """
        self.machine = machine
        self.watch = watch
        self.run_ended = run_ended
        self._phase = _WORKING
        self._unasked = 0
        self.holds = False
        self._send(*opening)
        self._drive(machine, [b"OK:HELLO"])

    def warm(self, owed: bytes = b"") -> None:
        """Clear the worker of its task; it greets again when it is ready.

        :param owed: tasks whose messages it is to hand over to the rendezvous first, as a command names them.
        """
        self._give_up("the task was given up")
        self._phase = _WARMING
        self._send(*((b"hand_over:" + owed,) if owed else ()), b"reset:")

    def interrupt(self, reason: str, owed: bytes = b"") -> None:
        """End what the worker does, whatever it is, and clear it of its task; it greets again when it is ready.

        :param owed: as for :meth:`warm`.
        """
        self._give_up(reason)
        self._phase = _WARMING
        self._send(b"kill:", *((b"hand_over:" + owed,) if owed else ()), b"reset:")

    def give_token(self, token: str) -> None:
        """Have the worker show this when it greets again on another connection."""
        self._token_sent = True
        self._send(b"token:" + token.encode("ascii"))

    def grant(self, count: int) -> None:
        """Have the worker stream so many bytes more of what its programs print."""
        if self._phase is _WORKING:
            self._send(b"tee:%d" % count)

    def ping(self) -> None:
        """Have the worker say something."""
        self._send(b"ping:")

    def hand_over(self, owed: bytes) -> None:
        """Have the worker hand messages over to the rendezvous, and dismiss it when it has.

        :param owed: tasks whose messages they are, as a command names them.
        """
        self._hands_over = True
        self._send(b"hand_over:" + owed)

    def part(self, reason: str) -> None:
        """End what the worker does, and dismiss it once it has said what its programs have printed; at once where that
        is not kept.

        :param reason: why its task has failed.
        """
        if self._phase is not _WORKING or not self.greeting.version or self.run_ended is None:
            self.dismiss()
            return
        self._give_up(reason)
        self._phase = _WARMING
        self._parting = True
        self._send(b"kill:")

    def dismiss(self) -> None:
        """Send ``quit:``, and close when that is written. What it runs is ended, if it knows how."""
        if self._connection is not None and self._phase is not _LEAVING:
            if self._phase is _WORKING and self.greeting.version:
                self._send(b"kill:")
            self._phase = _LEAVING
            self._give_up("the worker was dismissed")
            self._connection.close(b"quit:")

    def abort(self) -> None:
        """Drop the connection without a word."""
        self._phase = _LEAVING
        self._give_up("the worker was given up")
        if self._connection is not None:
            self._connection.abort()

    # -- what the transport reports --------------------------------------------------------------------------------

    def connected(self, connection: FrameProtocol) -> None:
        """The handshake is done; the worker speaks first."""
        self._connection = connection
        connection.max_frame = MAX_GREETING
        self._registry.session_opened(self)

    def frames_received(self, payloads: list[bytes]) -> None:
        """All that one read brought."""
        self._counters.messages += len(payloads)
        if self.listener is not None:
            self.listener.heard(self)
        if self.tee is not None:
            try:
                payloads = self.tee.received(payloads)
            except PeerError as error:
                self._close_tee()
                if self._connection is not None:
                    self._connection.drop(str(error))
                return
        if self._phase is _NEW or self._phase is _WARMING:
            payloads = self._greet(payloads)
        if self._token_sent and _TOKEN_TAKEN in payloads:
            self._token_sent = False
            if self.listener is not None:
                self.listener.token_taken(self)
        if self._hands_over and _HANDED_OVER in payloads:
            self.dismiss()
            return
        if self._phase is _WORKING and payloads:
            self._work(payloads)
        elif payloads:
            # Nothing is expected: it was left over of a task that was given up.
            self._ignore(payloads)

    def disconnected(self, reason: str) -> None:
        """The connection is gone. A task that was under way has failed where it stood."""
        self._connection = None
        self._close_tee()
        machine = self.machine
        if machine is not None:
            self._give_up(f"its worker was lost: {reason}")
            reason = machine.error or reason
        self._phase = _LEAVING
        try:
            if self.listener is not None:
                self.listener.session_closed(self, reason)
        finally:
            self._registry.forget(self)

    # -- inside ----------------------------------------------------------------------------------------------------

    def _give_up(self, reason: str) -> None:
        """End the machine, if one is under way; its watch sees why."""
        machine, watch = self.machine, self.watch
        self.machine = self.watch = None
        if machine is not None:
            machine.fail(reason)
            if watch is not None:
                watch(machine)

    def _close_tee(self) -> None:
        tee, self.tee = self.tee, None
        if tee is not None:
            tee.close()

    def _greet(self, payloads: list[bytes]) -> list[bytes]:
        connection = self._connection
        assert connection is not None
        for index, payload in enumerate(payloads):
            if self._phase is _WARMING and not payload.startswith(b"OK:HELLO"):
                self._note_runs([payload])
                self._ignore([payload])
                if self._parting and payload.startswith(_KILLED):
                    self.dismiss()
                    return []
                continue
            try:
                self.greeting = parse_greeting(payload)
            except PeerError as error:
                self.log.warn("{address} was dropped: {error}", address=self.address, error=str(error))
                connection.abort()
                return []
            connection.max_frame = self.max_message
            connection.greeted()
            self.run_ended = None
            self._close_tee()
            self._phase = _FREE
            (self.listener or self._registry).worker_greeted(self)
            return payloads[index + 1 :]
        return []

    def _take_own(self, payloads: list[bytes]) -> None:
        """Take what is no reply to the machine's commands."""
        waits = [payload for payload in payloads if payload.startswith(_WAITS)]
        paths = [payload for payload in payloads if payload.startswith(_PATHS)]
        counts = [payload for payload in payloads if payload.startswith(_BYTES)]
        if counts and self.listener is not None:
            try:
                self.listener.bytes_known(self, parse_byte_counts(counts[-1]))
            except PeerError as error:
                self.log.debug("{address}: {error}", address=self.address, error=str(error))
        if LINKS in self.greeting.supports and self.listener is not None:
            try:
                if waits:
                    self.listener.worker_waits(self, parse_waits(waits[-1]))
                for payload in paths:
                    outcomes = parse_paths(payload)
                    self.holds = self.holds or "direct" in outcomes.values()
                    self.listener.paths_known(self, outcomes)
            except PeerError as error:
                self.log.debug("{address}: {error}", address=self.address, error=str(error))
        self._ignore([payload for payload in payloads if not payload.startswith((_WAITS, _BYTES))])

    def _note_runs(self, payloads: list[bytes]) -> None:
        if self.run_ended is not None:
            for payload in payloads:
                if payload.startswith(_RUN_ENDED):
                    self.run_ended(payload)

    def _work(self, payloads: list[bytes]) -> None:
        machine = self.machine
        assert machine is not None
        messages, own = payloads, [payload for payload in payloads if payload.startswith(_OWN_REPLIES)]
        if own:
            messages = [payload for payload in payloads if not payload.startswith(_OWN_REPLIES)]
            self._take_own(own)
        while messages and self.machine is machine:
            together, messages = messages, []
            if len(together) > MAX_TOGETHER:
                together, messages = together[:MAX_TOGETHER], together[MAX_TOGETHER:]
            if self.run_ended is not None:
                self._note_runs(together)
            self._drive(machine, together)
        if messages:
            self._ignore(messages)

    def _ignore(self, payloads: list[bytes]) -> None:
        """Drop what was not asked for, and a worker that does not stop."""
        self._unasked += sum(1 + (len(payload) >> 14) for payload in payloads)
        if self._unasked > MAX_UNASKED and self._connection is not None:
            self._connection.drop("it floods us with replies that were not asked for")

    def _drive(self, machine: Machine, messages: list[bytes]) -> None:
        commands = machine.receive(messages)
        if commands and self._connection is not None:
            self._connection.send(*commands)
        if self.watch is not None:
            self.watch(machine)
        if machine.outcome is not _RUNNING:
            self._phase = _FREE
            self.machine = self.watch = None
            if self.listener is not None:
                self.listener.task_ended(self, machine)

    def _send(self, *commands: bytes) -> None:
        if commands and self._connection is not None:
            self._connection.send(*commands)


def unserved(greeting: Greeting, *, keys: bool, links: bool, ported: bool = False, pipes: bool = False) -> str | None:
    """Why this coordinator cannot drive a worker that greets so; None: it can.

    :param keys: whether tasks need keys of their own, for their peers. The original's workers know no ``identity:``.
    :param links: whether tasks send named messages.
    :param ported: whether tasks are state machines that exchange states: which run makes one, the worker reads from its
        command. Those of version 0.1.0, which greet without :data:`TOKEN`, do not.
    :param pipes: whether pipes join tasks.
    """
    if not 0 <= greeting.version <= VERSION:
        return f"of protocol version {greeting.version}, which this coordinator cannot serve"
    if keys and not greeting.version:
        return "of the original's, which cannot take a task's own keys for its peers (with --share-key there are none)"
    if links and LINKS not in greeting.supports:
        return "of an earlier version, which cannot send named messages"
    if pipes and PIPES not in greeting.supports:
        return "of an earlier version, which has no pipes"
    if keys and ported and TOKEN not in greeting.supports:
        return "of version 0.1.0, which does not find the states that a ported pipeline's commands make, and would wait"
    return None
