"""Every connection of the relay is driven as here: its messages are read when there is memory for them.

Knows of the relay only what :class:`RelayServices` says, and nothing of what messages mean.
"""

from collections.abc import Callable, Iterable
from typing import Protocol

from mu_twisted.rendezvous._admission import MessageAdmission
from mu_twisted.rendezvous._backpressure import Backpressure
from mu_twisted.rendezvous._counters import RelayCounters
from mu_twisted.rendezvous._due_deliveries import DueDeliveries
from mu_twisted.rendezvous._mailboxes import Mailboxes
from mu_twisted.rendezvous._punch_service import PunchService
from mu_twisted.rendezvous._run import Run
from mu_twisted.transport import FrameProtocol

READ_SIZE = 64 << 10
"""Bytes that one read brings at most."""
READ_SIZE_UNADMITTED = 16 << 10
"""The same while a large message is expected, for which there may be no memory."""
READ_SIZE_ADMITTED = 256 << 10
"""The same while there is memory for it."""


class RelayServices(Protocol):
    """What a connection asks of its relay, and reports to it.

    :ivar shared_key: whether a certificate without identity may speak for any task.
    :ivar now: the time, seconds.
    :ivar punching: lets workers make direct connections; None: it does not.
    :ivar counters: of all connections together.
    :ivar deliveries: of connections for links, which are put off while one of them goes through what has come.
    """

    shared_key: bool
    now: Callable[[], float]
    mailboxes: Mailboxes
    admission: MessageAdmission
    backpressure: Backpressure
    punching: PunchService | None
    counters: RelayCounters
    deliveries: DueDeliveries

    def connected(self, connection: "RelayConnection") -> None:
        """The TLS handshake is done."""

    def greeted(self, connection: "RelayConnection") -> None:
        """The peer has identified itself."""

    def disconnected(self, connection: "RelayConnection") -> None:
        """The connection is gone."""

    def refused(self, connection: FrameProtocol, reason: str) -> None:
        """The connection is ended for a mistake of the peer's, which is to be logged."""

    def link_greeted(self, connection: "RelayConnection", protocol: FrameProtocol, payloads: list[bytes]) -> None:
        """The peer has begun with a greeting for links.

        :param connection: which is not to be used any more.
        :param payloads: the greeting, and what came with it.
        """

    def closing(self, connection: "RelayConnection") -> None:
        """The connection is to be closed once it has taken the rest of its message."""

    def log_event(self, connection: FrameProtocol, event: str) -> None:
        """Log what is only of interest when debugging."""

    def memory_released(self) -> None:
        """Memory for messages may have become free."""

    def messages_lost(self, run: Run, tasks: Iterable[int]) -> None:
        """Messages that these tasks have sent are wanted again, and gone."""

    def messages_resent(self, run: Run, tasks: Iterable[int]) -> None:
        """Of the messages of these tasks none is gone any more."""

    def notice_received(self, connection: "RelayConnection", payload: bytes) -> None:
        """A coordinator has sent a notice.

        :raises PeerError: it is none.
        :raises PeerRefused: there are too many jobs.
        """


class RelayConnection:
    """One connection.

    :param relay: what it shares with all others.
    """

    __slots__ = ("__weakref__", "_connection", "_pauses", "_read_size", "_relay", "_write_paused")

    def __init__(self, relay: RelayServices) -> None:
        self._relay = relay
        self._connection: FrameProtocol | None = None
        self._pauses: set[str] = set()
        self._write_paused = False
        self._read_size = 0

    def disconnected(self, reason: str) -> None:
        """The connection is gone."""
        if self._connection is not None:
            self._relay.log_event(self._connection, f"is gone: {reason}")
        self._connection = None
        self._relay.admission.release(self)
        self._leave()
        self._relay.disconnected(self)

    def pause(self, reason: str) -> None:
        """Read no more."""
        if not self._pauses and self._connection is not None:
            self._connection.pause_reading()
        self._pauses.add(reason)

    def resume(self, reason: str) -> None:
        """Read again if there is no other reason not to."""
        if reason in self._pauses:
            self._pauses.discard(reason)
            if not self._pauses and self._connection is not None:
                self._connection.resume_reading()

    def admitted(self) -> None:
        """Read its message, for which there is memory."""
        self._read_message()
        self.resume("memory")

    def admission_timed_out(self) -> None:
        """There has been no memory for its message for long."""

    def receive_timed_out(self, size: int, seconds: float) -> None:
        """Drop it, as its message takes too long to arrive."""
        self.drop(f"a message of {size} bytes has not come within {seconds:.0f} s, and others wait for the memory")

    def drop(self, reason: str) -> None:
        """Log the reason, and abort the connection."""
        if self._connection is not None:
            self._connection.drop(reason)

    def refuse(self, reason: str) -> None:
        """Log the reason, send it to a peer that understands it, and close."""

    def stop(self, reason: str) -> None:
        """Close it, as the rendezvous stops."""
        self.refuse(reason)

    def closing_timed_out(self) -> None:
        """Drop it, as it has not taken the rest of its message."""
        self.drop("it does not take what it is sent, and is to go")

    def send_notice(self, payload: bytes) -> None:
        """Send a notice to a coordinator."""
        if self._connection is not None:
            self._connection.send(payload)

    # -- as a producer of what there is for its peer ---------------------------------------------------------------

    def pauseProducing(self) -> None:
        self._write_paused = True

    def resumeProducing(self) -> None:
        self._write_paused = False
        self.deliver()

    def stopProducing(self) -> None:
        self._write_paused = True

    def deliver(self) -> None:
        """Send what there is, as far as the peer takes it."""

    # -- for those above -------------------------------------------------------------------------------------------

    def _leave(self) -> None:
        """It is no reader and no sender any more."""

    def _announced(self, size: int) -> None:
        """A message has begun to arrive: read on when there is memory for it."""
        if self._relay.admission.reserve(self, size, self._relay.now()):
            self._read_message()
        else:
            self.pause("memory")

    def _arrived(self, size: int) -> None:
        """Messages have arrived, one of so many bytes: the memory that was reserved for one is theirs now."""
        self._relay.admission.release(self)
        self._read_at_once(READ_SIZE_UNADMITTED if size > READ_SIZE else READ_SIZE)

    def _read_message(self) -> None:
        if self._connection is not None:
            # TLS adds 22 bytes to each 16 KiB at most.
            size = min(READ_SIZE_ADMITTED, self._connection.missing * 65 // 64)
            self._read_at_once(max(READ_SIZE_UNADMITTED, size))

    def _read_at_once(self, size: int) -> None:
        if size != self._read_size and self._connection is not None:
            self._read_size = size
            self._connection.read_at_once(size)
