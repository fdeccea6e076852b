"""The protocol is one connection that carries frames, whatever carries its bytes: what its receiver may do with it.

Knows nothing of what the frames mean, and of the factory only what :class:`ConnectionOwner` says.
"""

from abc import abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

from mu_twisted.tls import Identity
from mu_twisted.transport._deadlines import Deadlines
from mu_twisted.transport._interfaces import Producer
from mu_twisted.wire import HEADER_SIZE

PROGRESS = 64 * 1024
"""Bytes by which an incomplete frame must grow for its time to begin anew."""

NOT_WATCHED = -1
"""The mark of a connection that has no incomplete frame."""


@dataclass(frozen=True, slots=True)
class Peer:
    """The other end of a connection.

    :param host: its address, empty if the transport has none.
    :param port: its port, 0 if the transport has none.
    :param identity: what its certificate speaks for; None without TLS, or if the certificate names no party.
    """

    host: str
    port: int
    identity: Identity | None

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


class Receiver(Protocol):
    """What stands above one connection. Its calls come in this order: connected, any number of frames, disconnected.

    It may have ``frame_begun(size: int)`` too: called after each read that leaves a frame's body incomplete, with the
    size that its header announces, so that reading can be paused until there is memory for it.

    And it may have ``bundle_received(bundle: Bundle)``, which is called in place of ``frames_received`` once
    :meth:`FrameProtocol.bundle` was; and ``bundle_passed(bundle: Bundle, to: FrameProtocol)``, which is called in its
    place for a bundle that was sent to another connection already, see :meth:`FrameProtocol.pass_on`.
    """

    def connected(self, connection: "FrameProtocol") -> None:
        """The peer is verified and known; sending may begin."""

    def frames_received(self, payloads: list[bytes]) -> None:
        """All that one read completed, in order; never empty, and none after ``close`` or ``abort``."""

    def disconnected(self, reason: str) -> None:
        """The connection is gone. Called once; the reason is one line."""


class Bundle(Protocol):
    """Whole frames in a row, as they came: headers and payloads. A view of it, or of a part of it, can be written to a
    connection; the core does not copy it then, nor what is kept of it.

    :ivar frames: how many there are.
    :ivar longest: bytes of the longest payload.
    """

    @property
    def frames(self) -> int: ...

    @property
    def longest(self) -> int: ...

    def __len__(self) -> int: ...

    def __buffer__(self, flags: int, /) -> memoryview: ...


class LinkStreams(Protocol):
    """Streams of one job's named messages that the core carries: it delivers and acknowledges them, and keeps them."""

    def open(self, sender: Any, receiver: Any, name: bytes, first: int, /) -> "LinkStream | None":
        """Carry a stream between two :class:`LinkEnd` from the message of this number on; None: it cannot be."""


class LinkEnd(Protocol):
    """One task's connection, as the end of streams that the core carries."""

    @property
    def streams(self) -> LinkStreams:
        """All of them."""

    @property
    def waited(self) -> int:
        """Messages of them that its task waits for, or has not acknowledged."""

    def read(
        self, bundle: Any, at: int, size: int, messages: int, order: int, /
    ) -> tuple[bytes | None, int, int, int, int, int, int]:
        """Carry out a bundle's frames as far as each belongs to a stream that is carried, and follows its rules.

        :param at: of the first, bytes.
        :param size: bytes of messages that may be kept.
        :param messages: how many of them.
        :param order: of the next message that comes.
        :returns: the payload of the first that is not carried out, or None; where it begins, and where it ends; how
            many messages have come; their bytes; bytes of those that were acknowledged; bytes of frames that were sent.
        """

    def resume(self) -> int:
        """Send what its peer did not take before.

        :returns: bytes of frames that were sent.
        """


class LinkStream(Protocol):
    """One of them, carried or not any more, with its messages."""

    @property
    def messages(self) -> int:
        """How many it has."""

    @property
    def unfinished(self) -> bool:
        """Whether its receiver waits for a message that has come, or has not acknowledged one."""

    def want(self, number: int, /) -> bool:
        """Have its receiver wait for a message.

        :returns: whether it can.
        """

    def close(self) -> None:
        """Carry it no more."""

    def take(self, all: bool, /) -> list[tuple[int, int, bytes, bytes, bool, bool, bool]]:  # noqa: A002
        """Take messages out of the core.

        :param all: those too that were not acknowledged.
        :returns: of each its number, its order, its digest in hexadecimal, its bytes, and whether it was waited for,
            was sent, was acknowledged.
        """

    def missing(self) -> list[int]:
        """The numbers of messages that are waited for and have not come."""


class ConnectionOwner(Protocol):
    """What a connection asks of the factory that made it, and reports to it.

    :ivar max_unsent: bytes that may wait to be sent before another write.
    :ivar frames: the time limit of frames that have begun.
    :ivar closing: the time limit of connections that are being closed.
    """

    max_unsent: int
    frames: "Deadlines[FrameProtocol]"
    closing: "Deadlines[FrameProtocol]"

    def connection_opened(self, protocol: "FrameProtocol") -> None:
        """The transport is connected; the TLS handshake begins."""

    def connection_adopted(self, protocol: "FrameProtocol") -> None:
        """The transport is connected, and its TLS handshake was done before, elsewhere."""

    def connection_established(self, protocol: "FrameProtocol") -> Receiver:
        """The TLS handshake is done.

        :returns: what gets the connection's frames.
        """

    def connection_announced(self, protocol: "FrameProtocol") -> None:
        """The receiver has been called with ``connected``."""

    def connection_greeted(self, protocol: "FrameProtocol") -> None:
        """The receiver has identified the peer."""

    def connection_dropped(self, protocol: "FrameProtocol", reason: str) -> None:
        """The connection is ended for a mistake of the peer's, which is to be logged."""

    def connection_lost(self, protocol: "FrameProtocol", reason: str) -> None:
        """The connection is gone."""


class FrameProtocol:
    """A connection that carries frames. What carries its bytes is a subclass's: :class:`StreamProtocol` over Twisted's
    transports, :class:`CoreProtocol` in the core.

    A connection in use holds its receiver and is held by its transport only. It has no timers of its own.

    :ivar peer: the other end.
    """

    peer: Peer
    max_frame: int
    """Largest payload accepted, bytes; a change holds from the next header on."""
    open: bool
    """Whether bundles of other connections may be sent to this one at once, see :meth:`pass_on`; not at first."""

    # Its state. The attributes are slots of the subclasses, one of which has a base in C beside this one.
    _owner: ConnectionOwner
    _receiver: Receiver | None
    _begun: Callable[[int], None] | None
    _reason: str | None
    _mark: int
    _paused: bool

    def _begin(self, owner: ConnectionOwner, peer: Peer) -> None:
        self._owner = owner
        self._receiver = None
        self._begun = None
        self._reason = None
        self._mark = NOT_WATCHED
        self._paused = False
        self.peer = peer

    # What carries the bytes

    @property
    def handshake(self) -> object:
        """The state of the TLS handshake; equal to an earlier value if the peer has made no progress since."""
        return None

    @property
    @abstractmethod
    def pending(self) -> int:
        """Bytes of an incomplete frame that are held, its header included; 0 between frames."""

    @property
    @abstractmethod
    def announced(self) -> int:
        """Size of the payload in the making, bytes; 0 if its header has not come yet."""

    @property
    @abstractmethod
    def _connected(self) -> bool:
        """Whether the transport is there."""

    @abstractmethod
    def _read(self, wanted: bool) -> None:
        """Read from the peer, or do not for now."""

    @abstractmethod
    def _finish(self) -> None:
        """Send what is to be sent, then close; read no frame any more."""

    @abstractmethod
    def _cut(self) -> None:
        """End the connection at once."""

    # Calls of the receiver

    @abstractmethod
    def send(self, *payloads: bytes) -> None:
        """Send each as a frame, all in one write. Does nothing once the connection is closed or closing.

        A peer that has not taken what was sent to it, more than the factory's ``max_unsent``, is dropped.

        :raises CallerError: a payload is too long for any header.
        """

    @abstractmethod
    def write(self, data: bytes | memoryview) -> None:
        """Send bytes of frames that are encoded already; otherwise as :meth:`send`."""

    @abstractmethod
    def bundle(self) -> None:
        """Have the receiver's ``bundle_received`` called from now on, with all frames of one read at once."""

    def pass_on(self, to: "FrameProtocol | None") -> None:
        """Have each bundle sent to another connection as it comes, before the receiver hears of it; None: no more.

        The core does so with a bundle that is not long, as long as the other one is open and takes it. What it does not
        send so is received as any other. Where there is no core nothing is.
        """

    def link_end(self, streams: LinkStreams | None, task: int) -> LinkEnd | None:
        """Have it be the end of streams of named messages that the core carries.

        :param streams: those of the job; None: there are none yet.
        :param task: whose connection it is.
        :returns: None where there is no core.
        """
        return None

    @property
    def missing(self) -> int:
        """Bytes that are yet to come of the incomplete frame; 0 if there is none."""
        return max(0, self.announced + HEADER_SIZE - self.pending) if self.announced else 0

    def read_at_once(self, size: int) -> None:
        """Set how many bytes one read may bring, where the transport has such a setting."""

    def close(self, farewell: bytes | None = None) -> None:
        """Send what is yet to be sent, then close. What is received meanwhile is ignored.

        :param farewell: one more payload to send before.
        """
        if not self._connected or self._reason is not None:
            return
        if farewell is not None:
            self.send(farewell)
        self._reason = "closed here"
        self._watch_end()
        self._owner.closing.start(self)
        if self._paused:
            self._read(True)  # else the peer's answer to the closing would never be read
        self._finish()

    def abort(self) -> None:
        """Drop the connection at once, with what is yet to be sent."""
        self._abort("aborted here")

    def greeted(self) -> None:
        """Keep this connection when others need descriptors, as the receiver has identified the peer."""
        self._owner.connection_greeted(self)

    def hand_over(self, receiver: Receiver) -> None:
        """Have another receiver get the next frames, and the end; its ``connected`` is not called."""
        if self._receiver is not None:
            self._receiver = receiver
            self._begun = getattr(receiver, "frame_begun", None)

    def pause_reading(self) -> None:
        """Read nothing more from the peer; what was read already may still be delivered. Its frame's time stops."""
        if self._connected and self._reason is None and not self._paused:
            self._paused = True
            self._watch_end()
            self._read(False)

    def resume_reading(self) -> None:
        """Read again."""
        if self._connected and self._reason is None and self._paused:
            self._paused = False
            self._watch(anew=True)
            self._read(True)

    @abstractmethod
    def register_producer(self, producer: Producer, streaming: bool) -> None:
        """Have a producer paused while the peer does not take what was sent; as ``IConsumer.registerProducer``."""

    @abstractmethod
    def unregister_producer(self) -> None:
        """As ``IConsumer.unregisterProducer``."""

    # Calls of the factory, at its limits

    def drop(self, reason: str) -> None:
        """Log the reason, and abort. Does nothing if the connection is closed or closing."""
        if self._connected and self._reason is None:
            self._owner.connection_dropped(self, reason)
            self._abort(reason)

    def give_up_closing(self) -> None:
        """Abort the connection, as the peer does not close it."""
        if self._connected:
            self._cut()

    # What the subclasses share

    def _abort(self, reason: str) -> None:
        if not self._connected:
            return
        if self._reason is None:
            self._reason = reason
        self._watch_end()
        self._cut()

    def _established(self) -> None:
        self._receiver = self._owner.connection_established(self)
        self._begun = getattr(self._receiver, "frame_begun", None)
        self._receiver.connected(self)
        self._owner.connection_announced(self)

    def _disconnected(self, reason: str) -> None:
        self._reason = reason
        receiver, self._receiver, self._begun = self._receiver, None, None
        self._owner.connection_lost(self, reason)
        if receiver is not None:
            receiver.disconnected(reason)

    def _watch(self, *, anew: bool) -> None:
        """Start or end the time of the incomplete frame. It begins anew for another frame, and by progress: 64 MiB over
        a slow line need that, and 64 KiB in a timeout are little to ask of a peer.
        """
        pending = self.pending
        if not pending or self._paused:
            if self._mark != NOT_WATCHED:
                self._watch_end()
        elif anew or self._mark == NOT_WATCHED or pending - self._mark >= PROGRESS:
            self._mark = pending
            self._owner.frames.start(self)

    def _watch_end(self) -> None:
        if self._mark != NOT_WATCHED:
            self._mark = NOT_WATCHED
            self._owner.frames.end(self)
