"""The stream protocol carries the frames of one connection over a transport of Twisted's: TLS, or any other stream."""

from typing import Any

from OpenSSL import SSL
from twisted.internet.error import ConnectionDone, ConnectionLost
from twisted.internet.interfaces import IHandshakeListener, IProtocol, ISSLTransport
from twisted.python.failure import Failure
from zope.interface import implementer

from mu_twisted.base import one_line
from mu_twisted.tls import TLSError, describe_failure, identity_of
from mu_twisted.transport._interfaces import Producer
from mu_twisted.transport._keepalive import watch_peer
from mu_twisted.transport._outflow import Outflow
from mu_twisted.transport._protocol import ConnectionOwner, FrameProtocol, Peer
from mu_twisted.transport._reasons import DETAIL, broke, closed, failed_here, protocol_error, takes_nothing, where
from mu_twisted.wire import Decoder, FrameError, encode


class _JoinedFrames(bytes):
    """A bundle of what one read has completed."""

    frames: int
    longest: int

    @classmethod
    def of(cls, payloads: list[bytes]) -> "_JoinedFrames":
        joined = cls(b"".join(map(encode, payloads)))
        joined.frames, joined.longest = len(payloads), max(map(len, payloads))
        return joined


@implementer(IProtocol, IHandshakeListener)
class StreamProtocol(FrameProtocol):
    """One connection over Twisted's transports. Created by :class:`FrameFactory`."""

    __slots__ = (
        "_begun",
        "_bundled",
        "_decoder",
        "_mark",
        "_outflow",
        "_owner",
        "_paused",
        "_reason",
        "_receiver",
        "_takes_views",
        "open",
        "peer",
        "transport",
    )

    def __init__(self, owner: ConnectionOwner, max_frame: int) -> None:
        self._begin(owner, Peer("", 0, None))
        self._decoder = Decoder(max_frame)
        self._takes_views = False
        self._bundled = self.open = False
        self._outflow = Outflow(None)
        # What Twisted's transports offer beyond ITransport is not in one interface.
        self.transport: Any = None

    @property
    def max_frame(self) -> int:
        return self._decoder.max_frame

    @max_frame.setter
    def max_frame(self, limit: int) -> None:
        self._decoder.max_frame = limit

    @property
    def pending(self) -> int:
        return self._decoder.pending

    @property
    def announced(self) -> int:
        return self._decoder.announced

    @property
    def handshake(self) -> object:
        handle = getattr(self.transport, "getHandle", lambda: None)()
        return getattr(handle, "get_state_string", lambda: None)()

    # Calls of the receiver

    def read_at_once(self, size: int) -> None:
        socket = getattr(self.transport, "transport", self.transport)
        if getattr(socket, "bufferSize", size) != size:
            socket.bufferSize = size

    def send(self, *payloads: bytes) -> None:
        if self._receiver is None or self._reason is not None or not payloads:
            return
        self.write(encode(payloads[0]) if len(payloads) == 1 else b"".join(map(encode, payloads)))

    def write(self, data: bytes | memoryview) -> None:
        if self._receiver is None or self._reason is not None:
            return
        if isinstance(data, memoryview) and not self._takes_views:
            data = bytes(data)
        if not self._outflow.write(data, self._owner.max_unsent):
            self.drop(takes_nothing(self._outflow.held))

    def bundle(self) -> None:
        self._bundled = True

    def register_producer(self, producer: Producer, streaming: bool) -> None:
        if self.transport is None or self._reason is not None:
            producer.stopProducing()
        else:
            self._outflow.register(producer, streaming)

    def unregister_producer(self) -> None:
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
                self._deliver(error.completed)
            self.drop(protocol_error(error))
            return
        self._watch(anew=bool(payloads))
        if payloads:
            self._deliver(payloads)
        if self._begun is not None and self._decoder.announced and self._reason is None:
            self._begun(self._decoder.announced)

    def _deliver(self, payloads: list[bytes]) -> None:
        receiver: Any = self._receiver
        if self._bundled:
            receiver.bundle_received(_JoinedFrames.of(payloads))
        else:
            receiver.frames_received(payloads)

    def connectionLost(self, reason: Failure) -> None:
        if self.transport is None:
            return
        why = self._reason
        if why is None:
            why = self._describe(reason.value)
            if self._receiver is None or isinstance(reason.value, SSL.Error):
                self._owner.connection_dropped(self, why)
        self.transport = None
        self._outflow = Outflow(None)
        self._disconnected(why)

    # What the base asks

    @property
    def _connected(self) -> bool:
        return self.transport is not None

    def _read(self, wanted: bool) -> None:
        if wanted:
            self.transport.resumeProducing()
        else:
            self.transport.pauseProducing()

    def _finish(self) -> None:
        self._outflow.release()
        self.transport.loseConnection()

    def _cut(self) -> None:
        self.transport.abortConnection()

    def _describe(self, error: BaseException | None) -> str:
        if isinstance(error, SSL.Error):
            handle = getattr(self.transport, "getHandle", None)
            return describe_failure(error, handle() if handle is not None else None)
        if isinstance(error, ConnectionDone):
            why = closed()
        elif isinstance(error, ConnectionLost):
            # Twisted's text begins with its docstring.
            detail = one_line(str(error), DETAIL).removeprefix(one_line(str(type(error).__doc__), DETAIL)).strip(": .")
            why = broke(detail)
        else:
            return failed_here(error)
        return where(why, established=self._receiver is not None, in_frame=bool(self._decoder.pending))
