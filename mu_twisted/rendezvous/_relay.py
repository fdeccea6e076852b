"""The relay accepts connections and holds what they share. It knows sockets only through the transport."""

import secrets
from collections.abc import Callable, Iterable
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IStreamServerEndpoint
from twisted.logger import Logger

from mu_twisted.rendezvous._admission import MessageAdmission
from mu_twisted.rendezvous._backpressure import Backpressure
from mu_twisted.rendezvous._connection import PeerConnection
from mu_twisted.rendezvous._counters import RelayCounters, RelayCounts
from mu_twisted.rendezvous._due_deliveries import DueDeliveries
from mu_twisted.rendezvous._limits import RelayLimits
from mu_twisted.rendezvous._link_connection import LinkConnection
from mu_twisted.rendezvous._mailboxes import Mailboxes
from mu_twisted.rendezvous._message_store import MessageStore
from mu_twisted.rendezvous._punch_service import PunchService
from mu_twisted.rendezvous._relay_connection import RelayConnection
from mu_twisted.rendezvous._run import Run
from mu_twisted.rendezvous._spill import Spill
from mu_twisted.tls import ServerContexts
from mu_twisted.transport import Deadlines, FrameFactory, FrameProtocol, ListeningPort, ReactorTime, every, listen
from mu_twisted.wire import EndNotice, EndTaken, JobNotice, JobTaken, LostNotice, PeerError, ResentNotice, parse_notice

GREETING_TIMEOUT = 30.0
"""Seconds that a connection has to greet, once its handshake is done."""
CLOSING_TIMEOUT = 15.0
"""Seconds that a connection has to take the rest of a message before it is closed."""
TLS_SLICE = 16 << 10
"""Bytes that TLS processes at once, as for :class:`~mu_twisted.transport.FrameFactory`."""
UNTRUSTED_HINT = (
    "coordinator and rendezvous must have the same CA: start both with the same --state-dir, or both with files of one "
    "`mu genkeys` (-c, -s, -k)"
)


class _Factory(FrameFactory):
    """Adds to the log what to do where certificates are not trusted: a wrong start is more frequent than an attack."""

    def peer_dropped(self, peer: str, reason: str) -> None:
        hint = "TLS failed" in reason and any(word in reason for word in ("certificate", "unknown ca"))
        super().peer_dropped(peer, f"{reason}; {UNTRUSTED_HINT}" if hint else reason)


def _token() -> str:
    return secrets.token_hex(8)


class Relay:
    """Accepts connections, and carries messages between them.

    :param clock: for all time limits.
    :param limits: of everything.
    :param spill: the disk.
    :param connections: how many at once.
    :param descriptors: how many file descriptors connections may have, handshakes included; None: any number.
    :param shared_key: whether a certificate without identity may speak for any task.
    :param debug: whether each greeting, notice and disconnection is logged; there may be many.
    :param token: makes the tokens of jobs.
    :param punching: lets workers make direct connections, and is opened and closed with the relay; None: it does not.
    """

    log = Logger()

    def __init__(
        self,
        clock: ReactorTime,
        limits: RelayLimits,
        spill: Spill,
        *,
        connections: int = 10_000,
        descriptors: int | None = None,
        shared_key: bool = False,
        debug: bool = False,
        token: Callable[[], str] = _token,
        punching: PunchService | None = None,
    ) -> None:
        self.counters = RelayCounters()
        self.deliveries = DueDeliveries()
        self.punching = punching
        self.now = clock.seconds
        self.shared_key = shared_key
        self._clock = clock
        self._limits = limits
        self._spill = spill
        self._max_connections = connections
        self._debug = debug
        store = MessageStore(limits, spill, lambda line: self.log.error("{line}", line=line))
        self.mailboxes = Mailboxes(store, token)
        self.admission = MessageAdmission(store)
        self.backpressure = Backpressure(clock, limits.reader_timeout)
        self._connections: set[RelayConnection] = set()
        self._ungreeted: Deadlines[RelayConnection] = Deadlines(
            clock, GREETING_TIMEOUT, lambda late: late.drop(f"it has not greeted within {GREETING_TIMEOUT:g} s")
        )
        self._closing: Deadlines[RelayConnection] = Deadlines(clock, CLOSING_TIMEOUT, RelayConnection.closing_timed_out)
        self._sweep = every(clock, 1.0, self._sweep_safely)
        self.factory = _Factory(
            lambda: PeerConnection(self),
            clock=clock,
            max_frame=limits.message,
            tls_slice=TLS_SLICE,
            max_connections=descriptors,
        )

    def __len__(self) -> int:
        return len(self._connections)

    def counts(self) -> RelayCounts:
        """What it has counted, and what it holds."""
        boxes, store = self.mailboxes, self.mailboxes.store
        return RelayCounts(
            connections=len(self),
            jobs=len(boxes.jobs) + len(boxes.runs),
            mailboxes=len(boxes),
            waiting_memory=len(self.admission),
            mailbox_bytes=self.counters.mailbox_bytes,
            link_bytes=self.counters.link_bytes,
            memory=(store.memory.used, store.memory.limit),
            stored=(store.stored.used, store.stored.limit),
            pipes=(store.pipes.used, store.pipes.limit),
            named=(store.named.used, store.named.limit),
            punches={} if self.punching is None else dict(self.punching.broker.counts),
            mailbox_bytes_sent=self.counters.mailbox_bytes_sent,
            link_bytes_sent=self.counters.link_bytes_sent,
            handshakes=self.counters.handshakes,
            failed_handshakes=self.factory.failed_handshakes,
        )

    def listen(
        self, endpoint: IStreamServerEndpoint, contexts: ServerContexts | None, *, io_threads: int | None = None
    ) -> Deferred[ListeningPort]:
        """Accept connections.

        :param contexts: as :func:`mu_twisted.tls.server_contexts` makes; None for plain connections, in tests.
        :param io_threads: as :func:`mu_twisted.transport.listen`.
        """
        return listen(endpoint, contexts, self.factory, self._clock, io_threads=io_threads)

    def open(self) -> None:
        """Begin to enforce time limits."""
        self._sweep.start()
        if self.punching is not None:
            self.punching.open()

    def close(self) -> None:
        """Close every connection, and remove all messages."""
        self._sweep.stop()
        for connection in list(self._connections):
            connection.stop("the rendezvous stops")
        if self.punching is not None:
            self.punching.close()
        self.backpressure.stop()
        self._ungreeted.stop()
        self._closing.stop()
        self.mailboxes.clear()
        self._spill.close()

    # -- what connections report -----------------------------------------------------------------------------------

    def connected(self, connection: RelayConnection) -> None:
        """Limit the time that a new connection has to greet."""
        self.counters.handshakes += 1
        self._connections.add(connection)
        if len(self._connections) > self._max_connections:
            connection.drop(f"there are {self._max_connections} connections already")
            return
        self._ungreeted.start(connection)

    def greeted(self, connection: RelayConnection) -> None:
        """End the time limit of a connection that has greeted."""
        self._ungreeted.end(connection)

    def link_greeted(self, connection: RelayConnection, protocol: FrameProtocol, payloads: list[bytes]) -> None:
        """Hand a connection over that is one for links."""
        self._ungreeted.end(connection)
        self._connections.discard(connection)
        link = LinkConnection(self, protocol)
        self._connections.add(link)
        self._ungreeted.start(link)
        protocol.hand_over(link)
        link.greet(payloads)

    def disconnected(self, connection: RelayConnection) -> None:
        """Forget a connection that is gone."""
        self._ungreeted.end(connection)
        self._closing.end(connection)
        self._connections.discard(connection)
        self.memory_released()

    def refused(self, connection: FrameProtocol, reason: str) -> None:
        """Log why a connection is ended."""
        self.factory.connection_dropped(connection, reason)

    def closing(self, connection: RelayConnection) -> None:
        """Limit the time that a connection has to take the rest of its message."""
        self._closing.start(connection)

    def log_event(self, connection: FrameProtocol, event: str) -> None:
        """Log what a connection does, where everything is logged."""
        if self._debug:
            self.log.debug("{peer} {event}", peer=str(connection.peer), event=event)

    def memory_released(self) -> None:
        """Admit messages that wait for memory."""
        if self.admission.contended:
            self.admission.settle(self.now())

    def messages_lost(self, run: Run, tasks: Iterable[int]) -> None:
        """Notify the coordinator, now or when it comes back, that what these tasks have sent is wanted and gone."""
        for task in tasks:
            if isinstance(run.watcher, RelayConnection) and run.watcher in self._connections:
                run.watcher.send_notice(LostNotice(run.label, task).encode())
            else:
                run.lost.add(task)

    def messages_resent(self, run: Run, tasks: Iterable[int]) -> None:
        """Notify the coordinator, if it is there, that all that these tasks had sent is there again."""
        for task in tasks:
            if isinstance(run.watcher, RelayConnection) and run.watcher in self._connections:
                run.watcher.send_notice(ResentNotice(run.label, task).encode())

    def notice_received(self, connection: RelayConnection, payload: bytes) -> None:
        """Do what a coordinator's notice asks for.

        :raises PeerError: it is no notice that a coordinator sends.
        :raises PeerRefused: there are too many jobs.
        """
        notice = parse_notice(payload)
        if isinstance(notice, JobNotice):
            name = notice.job.encode("ascii")
            run, lost = self.mailboxes.mention(name, notice.limits, connection, self.now())
            connection.send_notice(JobTaken(notice.job, run.store_token).encode())
            self.messages_lost(run, lost)
        elif isinstance(notice, EndNotice):
            ended = self.mailboxes.end(notice.job.encode("ascii"))
            if ended is not None:
                self._close_readers(ended, f"job {ended.label} is over")
                if self.punching is not None:
                    self.punching.report()
            connection.send_notice(EndTaken(notice.job).encode())
        else:
            raise PeerError(f"expected JOB:J:LIMITS or END:J of a coordinator, got {payload[:80]!r}")

    # -- inside ----------------------------------------------------------------------------------------------------

    def _close_readers(self, run: Run, reason: str) -> None:
        for mailbox in run.mailboxes.values():
            reader: Any = mailbox.reader
            if reader is not None:
                reader.refuse(reason)
        for session in list(run.links.receivers.values()):
            link: Any = session.outlet
            link.refuse(reason)
        self.memory_released()

    def _sweep_safely(self) -> None:
        try:
            self._sweep_all()
        except Exception:  # noqa: BLE001 - else nothing would be swept any more, and memory fill up
            self.log.failure("sweeping failed")

    def _sweep_all(self) -> None:
        now = self.now()
        for run in self.mailboxes.sweep(now):
            self._close_readers(run, f"no coordinator has mentioned job {run.label} for {self._limits.retention:g} s")
        self.backpressure.sweep()
        self.admission.sweep(now)
        if self.admission.contended:
            self.mailboxes.mark_slow(now - self._limits.reader_timeout)
        self.memory_released()
