"""The protocol turns the bytes of one connection into frames and back, over TLS or any other stream.

Knows nothing of what the frames mean, and of the factory only what :class:`ConnectionOwner` says.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

from OpenSSL import SSL
from twisted.internet.error import ConnectionDone, ConnectionLost
from twisted.internet.interfaces import IHandshakeListener, IProtocol, ISSLTransport
from twisted.python.failure import Failure
from zope.interface import implementer

from mu_twisted.base import one_line
from mu_twisted.tls import Identity, TLSError, describe_failure, identity_of
from mu_twisted.transport._deadlines import Deadlines
from mu_twisted.transport._keepalive import watch_peer
from mu_twisted.transport._outflow import Outflow
from mu_twisted.wire import HEADER_SIZE, Decoder, FrameError, encode

PROGRESS = 64 * 1024
"""Bytes by which an incomplete frame must grow for its time to begin anew."""

_NOT_WATCHED = -1
_DETAIL = 200
"""Characters that are kept of an error's own text."""


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
    """

    def connected(self, connection: "FrameProtocol") -> None:
        """The peer is verified and known; sending may begin."""

    def frames_received(self, payloads: list[bytes]) -> None:
        """All that one read completed, in order; never empty, and none after ``close`` or ``abort``."""

    def disconnected(self, reason: str) -> None:
        """The connection is gone. Called once; the reason is one line."""


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


@implementer(IProtocol, IHandshakeListener)
class FrameProtocol:
    """A connection that carries frames. Created by :class:`FrameFactory`.

    A connection in use holds its receiver and is held by its transport only. It has no timers of its own.
    """

    __slots__ = (
        "__weakref__",
        "_begun",
        "_decoder",
        "_mark",
        "_outflow",
        "_owner",
        "_paused",
        "_reason",
        "_receiver",
        "_takes_views",
        "peer",
        "transport",
    )

    def __init__(self, owner: ConnectionOwner, max_frame: int) -> None:
        self._owner = owner
        self._decoder = Decoder(max_frame)
        self._receiver: Receiver | None = None
        self._begun: Callable[[int], None] | None = None
        self._reason: str | None = None
        self._mark = _NOT_WATCHED
        self._paused = False
        self._takes_views = False
        self._outflow = Outflow(None)
        self.peer = Peer("", 0, None)
        # What Twisted's transports offer beyond ITransport is not in one interface.
        self.transport: Any = None

    @property
    def max_frame(self) -> int:
        """Largest payload accepted, bytes; a change holds from the next header on."""
        return self._decoder.max_frame

    @max_frame.setter
    def max_frame(self, limit: int) -> None:
        self._decoder.max_frame = limit

    @property
    def missing(self) -> int:
        """Bytes that are yet to come of the incomplete frame; 0 if there is none."""
        return max(0, self._decoder.announced + HEADER_SIZE - self._decoder.pending) if self._decoder.announced else 0

    def read_at_once(self, size: int) -> None:
        """Set how many bytes one read may bring, where the transport has such a setting."""
        socket = getattr(self.transport, "transport", self.transport)
        if getattr(socket, "bufferSize", size) != size:
            socket.bufferSize = size

    @property
    def handshake(self) -> object:
        """The state of the TLS handshake; equal to an earlier value if the peer has made no progress since."""
        handle = getattr(self.transport, "getHandle", lambda: None)()
        return getattr(handle, "get_state_string", lambda: None)()

    # Calls of the receiver

    def send(self, *payloads: bytes) -> None:
        """Send each as a frame, all in one write. Does nothing once the connection is closed or closing.

        A peer that has not taken what was sent to it, more than the factory's ``max_unsent``, is dropped.

        :raises CallerError: a payload is too long for any header.
        """
        if self._receiver is None or self._reason is not None or not payloads:
            return
        self.write(encode(payloads[0]) if len(payloads) == 1 else b"".join(map(encode, payloads)))

    def write(self, data: bytes | memoryview) -> None:
        """Send bytes of frames that are encoded already; otherwise as :meth:`send`."""
        if self._receiver is None or self._reason is not None:
            return
        if isinstance(data, memoryview) and not self._takes_views:
            data = bytes(data)
        if not self._outflow.write(data, self._owner.max_unsent):
            self.drop(f"it does not take what it is sent: {self._outflow.held} bytes wait, and more is to come")

    def close(self, farewell: bytes | None = None) -> None:
        """Send what is yet to be sent, then close. What is received meanwhile is ignored.

        :param farewell: one more payload to send before.
        """
        if self.transport is None or self._reason is not None:
            return
        if farewell is not None:
            self.send(farewell)
        self._reason = "closed here"
        self._watch_end()
        self._owner.closing.start(self)
        if self._paused:
            self.transport.resumeProducing()  # else the peer's answer to the closing would never be read
        self._outflow.release()
        self.transport.loseConnection()

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
        if self.transport is not None and self._reason is None and not self._paused:
            self._paused = True
            self._watch_end()
            self.transport.pauseProducing()

    def resume_reading(self) -> None:
        """Read again."""
        if self.transport is not None and self._reason is None and self._paused:
            self._paused = False
            self._watch(anew=True)
            self.transport.resumeProducing()

    def register_producer(self, producer: Any, streaming: bool) -> None:
        """Have a producer paused while the peer does not take what was sent; as ``IConsumer.registerProducer``."""
        if self.transport is None or self._reason is not None:
            producer.stopProducing()
        else:
            self._outflow.register(producer, streaming)

    def unregister_producer(self) -> None:
        """As ``IConsumer.unregisterProducer``."""
        if self.transport is not None:
            self._outflow.unregister()

    # Calls of Twisted

    def makeConnection(self, transport: Any) -> None:
        self.transport = transport
        self._outflow = Outflow(transport)
        address = transport.getPeer()
        self.peer = Peer(getattr(address, "host", ""), getattr(address, "port", 0), None)
        self._takes_views = ISSLTransport.providedBy(transport)
        set_no_delay = getattr(transport, "setTcpNoDelay", None)
        if set_no_delay is not None:
            set_no_delay(True)
        watch_peer(transport)
        self._owner.connection_opened(self)
        if not self._takes_views:
            self._established()

    def handshakeCompleted(self) -> None:
        if self.transport is None or self._reason is not None:
            return
        try:
            identity = identity_of(self.transport.getPeerCertificate())
        except TLSError as error:
            self.drop(str(error))
            return
        self.peer = Peer(self.peer.host, self.peer.port, identity)
        self._established()

    def dataReceived(self, data: bytes) -> None:
        if self._reason is not None or self._receiver is None:
            return
        try:
            payloads = self._decoder.feed(data)
        except FrameError as error:
            if error.completed:
                self._receiver.frames_received(error.completed)
            self.drop(f"protocol error: {error}")
            return
        self._watch(anew=bool(payloads))
        if payloads:
            self._receiver.frames_received(payloads)
        if self._begun is not None and self._decoder.announced and self._reason is None:
            self._begun(self._decoder.announced)

    def connectionLost(self, reason: Failure) -> None:
        if self.transport is None:
            return
        why = self._reason
        if why is None:
            why = self._describe(reason.value)
            if self._receiver is None or isinstance(reason.value, SSL.Error):
                self._owner.connection_dropped(self, why)
            self._reason = why
        self.transport = None
        self._outflow = Outflow(None)
        receiver, self._receiver, self._begun = self._receiver, None, None
        self._owner.connection_lost(self, why)
        if receiver is not None:
            receiver.disconnected(why)

    # Calls of the factory, at its limits

    def drop(self, reason: str) -> None:
        """Log the reason, and abort. Does nothing if the connection is closed or closing."""
        if self.transport is not None and self._reason is None:
            self._owner.connection_dropped(self, reason)
            self._abort(reason)

    def give_up_closing(self) -> None:
        """Abort the connection, as the peer does not close it."""
        if self.transport is not None:
            self.transport.abortConnection()

    def _abort(self, reason: str) -> None:
        if self.transport is None:
            return
        if self._reason is None:
            self._reason = reason
        self._watch_end()
        self.transport.abortConnection()

    def _established(self) -> None:
        self._receiver = self._owner.connection_established(self)
        self._begun = getattr(self._receiver, "frame_begun", None)
        self._receiver.connected(self)
        self._owner.connection_announced(self)

    def _watch(self, *, anew: bool) -> None:
        """Start or end the time of the incomplete frame. It begins anew for another frame, and by progress: 64 MiB over
        a slow line need that, and 64 KiB in a timeout are little to ask of a peer.
        """
        pending = self._decoder.pending
        if not pending or self._paused:
            if self._mark != _NOT_WATCHED:
                self._watch_end()
        elif anew or self._mark == _NOT_WATCHED or pending - self._mark >= PROGRESS:
            self._mark = pending
            self._owner.frames.start(self)

    def _watch_end(self) -> None:
        if self._mark != _NOT_WATCHED:
            self._mark = _NOT_WATCHED
            self._owner.frames.end(self)

    def _describe(self, error: BaseException | None) -> str:
        if isinstance(error, SSL.Error):
            handle = getattr(self.transport, "getHandle", None)
            return describe_failure(error, handle() if handle is not None else None)
        if isinstance(error, ConnectionDone):
            why = "closed by the peer"
        elif isinstance(error, ConnectionLost):
            # Twisted's text begins with its docstring.
            detail = (
                one_line(str(error), _DETAIL).removeprefix(one_line(str(type(error).__doc__), _DETAIL)).strip(": .")
            )
            why = f"the connection broke: {detail}" if detail else "the connection broke"
        else:
            return f"failed here: {type(error).__name__}: {one_line(str(error), _DETAIL)}"
        if self._receiver is None:
            return f"{why} during the TLS handshake"
        return f"{why} in the middle of a frame" if self._decoder.pending else why
