"""The relay: all connections, and what they share. Knows sockets only through the transport."""

import secrets
from collections.abc import Callable, Iterable
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IListeningPort, IOpenSSLServerConnectionCreator, IStreamServerEndpoint
from twisted.logger import Logger

from mu_twisted.rendezvous._admission import MessageAdmission
from mu_twisted.rendezvous._backpressure import Backpressure
from mu_twisted.rendezvous._connection import PeerConnection
from mu_twisted.rendezvous._limits import RelayLimits
from mu_twisted.rendezvous._mailboxes import Mailboxes
from mu_twisted.rendezvous._message_store import MessageStore
from mu_twisted.rendezvous._run import Run
from mu_twisted.rendezvous._spill import Spill
from mu_twisted.transport import Deadlines, FrameFactory, FrameProtocol, ReactorTime, every, listen
from mu_twisted.wire import EndNotice, EndTaken, JobNotice, JobTaken, LostNotice, WireError, parse_notice

GREETING_TIMEOUT = 30.0
"""Seconds that a connection has to greet, once its handshake is done."""
PARTING = 15.0
"""Seconds that a connection has to take the rest of a message before it is closed."""
TLS_SLICE = 16 << 10


STRANGERS = (
    "coordinator and rendezvous must have the same CA: start both with the same --state-dir, or both with files of one "
    "`mu genkeys` (-c, -s, -k)"
)


class _Factory(FrameFactory):
    """Says what to do where certificates are not trusted, which a wrong start leads to more often than an attack."""

    def connection_dropped(self, protocol: FrameProtocol, reason: str) -> None:
        hint = "TLS failed" in reason and any(word in reason for word in ("certificate", "unknown ca"))
        super().connection_dropped(protocol, f"{reason}; {STRANGERS}" if hint else reason)


def _token() -> str:
    return secrets.token_hex(8)


class Relay:
    """Takes connections, and carries messages between them.

    :param clock: for all time limits.
    :param limits: of everything.
    :param spill: the disk.
    :param connections: how many at once.
    :param descriptors: what connections may have of them, handshakes included; None: any number.
    :param shared_key: whether a certificate without identity may speak for any job.
    :param debug: whether comings and goings are logged; there may be many.
    :param token: makes the tokens of jobs.
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
    ) -> None:
        self.now = clock.seconds
        self.shared_key = shared_key
        self._clock = clock
        self._limits = limits
        self._spill = spill
        self._most = connections
        self._debug = debug
        store = MessageStore(limits, spill, lambda line: self.log.error("{line}", line=line))
        self.mailboxes = Mailboxes(store, token)
        self.admission = MessageAdmission(store)
        self.pressure = Backpressure(clock, limits.patience)
        self._connections: set[PeerConnection] = set()
        self._strangers: Deadlines[PeerConnection] = Deadlines(
            clock, GREETING_TIMEOUT, lambda late: late.drop(f"it has not greeted within {GREETING_TIMEOUT:g} s")
        )
        self._parting: Deadlines[PeerConnection] = Deadlines(clock, PARTING, PeerConnection.part_late)
        self._sweep = every(clock, 1.0, self._look)
        self.factory = _Factory(
            lambda: PeerConnection(self),
            clock=clock,
            max_frame=limits.message,
            tls_slice=TLS_SLICE,
            max_connections=descriptors,
        )

    def __len__(self) -> int:
        return len(self._connections)

    def listen(
        self, endpoint: IStreamServerEndpoint, contexts: IOpenSSLServerConnectionCreator | None
    ) -> Deferred[IListeningPort]:
        """Accept connections.

        :param contexts: as :func:`mu_twisted.tls.server_contexts` makes; None for plain connections, in tests.
        """
        return listen(endpoint, contexts, self.factory, self._clock)

    def open(self) -> None:
        """Begin to watch the time."""
        self._sweep.start()

    def close(self) -> None:
        """Close every connection; all messages go."""
        self._sweep.stop()
        for connection in list(self._connections):
            connection.refuse("the rendezvous stops")
        self.pressure.stop()
        self._strangers.stop()
        self._parting.stop()
        self.mailboxes.clear()
        self._spill.close()

    # -- what connections report -----------------------------------------------------------------------------------

    def opened(self, connection: PeerConnection) -> None:
        """A handshake is done."""
        self._connections.add(connection)
        if len(self._connections) > self._most:
            connection.drop(f"there are {self._most} connections already")
            return
        self._strangers.start(connection)

    def greeted(self, connection: PeerConnection) -> None:
        """It is known who it is."""
        self._strangers.end(connection)

    def closed(self, connection: PeerConnection) -> None:
        """It is gone."""
        self._strangers.end(connection)
        self._parting.end(connection)
        self._connections.discard(connection)
        self.settle()

    def refused(self, connection: FrameProtocol, reason: str) -> None:
        """It is told to go."""
        self.factory.connection_dropped(connection, reason)

    def note(self, connection: FrameProtocol, what: str) -> None:
        """It does what is only logged where everything is."""
        if self._debug:
            self.log.debug("{peer} {what}", peer=str(connection.peer), what=what)

    def part_soon(self, connection: PeerConnection) -> None:
        """It is to go once it has taken the rest of its message."""
        self._parting.start(connection)

    def settle(self) -> None:
        """Memory may have become free."""
        self.admission.settle(self.now())

    def lost(self, run: Run, tasks: Iterable[int]) -> None:
        """What these tasks have sent is wanted again, and gone."""
        for task in tasks:
            if isinstance(run.watcher, PeerConnection) and run.watcher in self._connections:
                run.watcher.say(LostNotice(run.label, task).encode())
            else:
                run.lost.add(task)

    def notice(self, connection: PeerConnection, payload: bytes) -> None:
        """A coordinator says something.

        :raises WireError: nothing that it may say.
        :raises Refused: there are too many jobs.
        """
        notice = parse_notice(payload)
        if isinstance(notice, JobNotice):
            name = notice.job.encode("ascii")
            run, lost = self.mailboxes.mention(name, notice.limits, connection, self.now())
            connection.say(JobTaken(notice.job, run.store_token).encode())
            self.lost(run, lost)
        elif isinstance(notice, EndNotice):
            ended = self.mailboxes.end(notice.job.encode("ascii"))
            if ended is not None:
                self._dismiss(ended, f"job {ended.label} is over")
            connection.say(EndTaken(notice.job).encode())
        else:
            raise WireError(f"a coordinator says JOB:J:LIMITS or END:J, got {payload[:80]!r}")

    # -- inside ----------------------------------------------------------------------------------------------------

    def _dismiss(self, run: Run, reason: str) -> None:
        for mailbox in run.mailboxes.values():
            reader: Any = mailbox.reader
            if reader is not None:
                reader.refuse(reason)
        self.settle()

    def _look(self) -> None:
        try:
            self._swept()
        except Exception:  # noqa: BLE001 - else nothing would be swept any more, and memory fill up
            self.log.failure("sweeping failed")

    def _swept(self) -> None:
        now = self.now()
        for run in self.mailboxes.sweep(now):
            self._dismiss(run, f"no coordinator has mentioned job {run.label} for {self._limits.retention:g} s")
        self.pressure.sweep()
        self.admission.sweep(now)
        if self.admission.wanted:
            self.mailboxes.give_way(now - self._limits.patience)
        self.settle()
