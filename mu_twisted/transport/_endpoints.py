"""Endpoints listen and connect, with TLS around the frames. The only module that knows how Twisted adds TLS."""

from typing import Any

from OpenSSL import SSL
from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectError
from twisted.internet.interfaces import (
    IAddress,
    IOpenSSLClientConnectionCreator,
    IStreamClientEndpoint,
    IStreamServerEndpoint,
)
from twisted.protocols.tls import TLSMemoryBIOFactory, TLSMemoryBIOProtocol
from twisted.python.failure import Failure

from mu_twisted.base import MuError
from mu_twisted.tls import ServerContexts
from mu_twisted.transport._factory import FrameFactory
from mu_twisted.transport._interfaces import ListeningPort, ReactorTime, TcpPort
from mu_twisted.transport._protocol import FrameProtocol, Receiver
from mu_twisted.transport._stream import StreamProtocol

_RECORD = 16 * 1024
_FLUSH = 32 * 1024


class TransportError(MuError):
    """A connection could not be made; one line that says to what address and why."""


class _LeanTLSProtocol(TLSMemoryBIOProtocol):
    """Writes at once, since frames are joined before they get here; gives OpenSSL small slices only; and delivers what
    one read brought in one call.

    OpenSSL's memory buffers never shrink: one read of 64 KiB in a single piece would cost the connection 85 kB for the
    rest of its life, one write of a 16 KiB record 22 kB.
    """

    def __init__(self, factory: "_TLSFactory", wrapped: StreamProtocol, size: int) -> None:
        super().__init__(factory, wrapped)  # type: ignore[no-untyped-call]
        self._frames = wrapped
        self._slice = size

    def dataReceived(self, bytes: bytes) -> None:
        if not self._handshakeDone or self._appSendBuffer:
            super().dataReceived(bytes)  # type: ignore[no-untyped-call]
            return
        connection, size, view = self._tlsConnection, self._slice, memoryview(bytes)
        chunks: list[Any] = []
        last = len(bytes) - size
        for start in range(0, len(bytes), size):
            connection.bio_write(view[start : start + size])
            try:
                chunks.append(connection.recv(_RECORD))
                # A large record is not followed by a whole one in a slice; to learn that from OpenSSL takes long.
                while start >= last or len(chunks[-1]) < size // 2:
                    chunks.append(connection.recv(_RECORD))
            except SSL.WantReadError:
                continue
            except SSL.ZeroReturnError:
                self._ended(chunks, None)
                return
            except SSL.Error:
                self._ended(chunks, Failure())  # type: ignore[no-untyped-call]
                return
        if chunks:
            self._deliver(chunks)
        else:
            # A message of TLS itself, which may need an answer; one among data waits for the next write.
            self._flushSendBIO()  # type: ignore[no-untyped-call]

    def _deliver(self, chunks: list[bytes]) -> None:
        if chunks and not self._aborted:
            self._frames.dataReceived(chunks[0] if len(chunks) == 1 else b"".join(chunks))

    def _ended(self, chunks: list[bytes], error: Failure | None) -> None:
        """End the connection as the base does: the peer sends no more, or what TLS cannot read."""
        self._deliver(chunks)
        if self._tlsConnection is None or self._lostTLSConnection:
            return
        if error is None:
            self._shutdownTLS()  # type: ignore[no-untyped-call]
        self._tlsShutdownFinished(error)  # type: ignore[no-untyped-call]

    def write(self, bytes: bytes) -> None:
        size = self._slice
        if len(bytes) <= size or self.disconnecting or self._appSendBuffer or self._lostTLSConnection:
            self._write_slices(bytes)
            return
        connection, view, sent = self._tlsConnection, memoryview(bytes), 0
        transport: Any = self.transport
        out: list[Any] = []
        try:
            while sent < len(bytes):
                sent += connection.send(view[sent : sent + size])
                out.append(connection.bio_read(_FLUSH))
        except SSL.Error:
            transport.writeSequence(out)
            self._write_slices(bytes[sent:])
            return
        transport.writeSequence(out)

    def _write_slices(self, data: bytes) -> None:
        """Write through the base, which handles TLS that cannot go on at once."""
        for start in range(0, len(data), self._slice):
            super().write(data[start : start + self._slice])  # type: ignore[no-untyped-call]


class _TLSFactory(TLSMemoryBIOFactory):
    """As its base, but refuses a connection that the frames' factory refuses."""

    wrappedFactory: FrameFactory

    def buildProtocol(self, addr: IAddress | None) -> Any:
        inner = self.wrappedFactory.buildProtocol(addr)
        return None if inner is None else _LeanTLSProtocol(self, inner, self.wrappedFactory.tls_slice)


class _ClientFactory(FrameFactory):
    """Makes one connection, and reports whether it was made."""

    def __init__(self, receiver: Receiver, clock: ReactorTime, max_frame: int, **limits: float) -> None:
        super().__init__(lambda: receiver, clock=clock, max_frame=max_frame, **limits)  # type: ignore[arg-type]
        self.frames_protocol: FrameProtocol | None = None
        self.connecting: Deferred[Any] | None = None
        self.result: Deferred[FrameProtocol] | None = Deferred(self._cancelled)

    def buildProtocol(self, addr: IAddress | None) -> Any:
        self.frames_protocol = super().buildProtocol(addr)
        return self.frames_protocol

    def connection_announced(self, protocol: FrameProtocol) -> None:
        result, self.result = self.result, None
        if result is not None:
            result.callback(protocol)

    def connection_dropped(self, protocol: FrameProtocol, reason: str) -> None:
        if self.result is None:  # else the caller of connect gets the reason
            super().connection_dropped(protocol, reason)

    def connection_lost(self, protocol: FrameProtocol, reason: str) -> None:
        super().connection_lost(protocol, reason)
        self.fail(TransportError(f"cannot connect to {protocol.peer}: {reason}"))

    def connect_failed(self, failure: Failure) -> None:
        error = failure.value
        reason = failure.getErrorMessage()
        if isinstance(error, ConnectError) and error.osError is not None and error.args:
            reason = str(error.args[0])  # the system's own words, which Twisted puts its own and a number before
        self.fail(TransportError(f"cannot connect: {' '.join(reason.split()).rstrip('.')}"))

    def fail(self, error: BaseException) -> None:
        result, self.result = self.result, None
        if result is not None:
            result.errback(error)

    def _cancelled(self, _: object) -> None:
        self.result = None
        if self.frames_protocol is not None:
            self.frames_protocol.abort()
        elif self.connecting is not None:
            self.connecting.cancel()


def listen(
    endpoint: IStreamServerEndpoint,
    contexts: ServerContexts | None,
    factory: FrameFactory,
    clock: ReactorTime,
    *,
    io_threads: int | None = None,
) -> Deferred[ListeningPort]:
    """Accept connections.

    :param endpoint: the port.
    :param contexts: as :func:`mu_twisted.tls.server_contexts` makes; None for plain connections, in tests.
    :param factory: makes the connections.
    :param clock: for TLS, and the reactor that the core is served by.
    :param io_threads: threads for handshakes, where the core is to carry the connections; None: Twisted carries them.
    :returns: fires with the port; fails as the endpoint does, and with :class:`TransportError` where the core cannot
        begin.
    """
    # mypy takes the methods of zope's interfaces for ordinary ones that lack ``self``.
    target: Any = endpoint
    inner: Any = factory
    time: Any = clock

    def listening(port: TcpPort) -> ListeningPort:
        if contexts is None or io_threads is None:
            factory.throttle(port)
            return port
        return _serve_by_core(port, contexts, factory, time, io_threads)

    if contexts is None or io_threads is not None:
        wrapped = inner
    else:
        creator: Any = contexts
        wrapped = _TLSFactory(creator, False, inner, time)
    port: Deferred[TcpPort] = target.listen(wrapped)
    return port.addCallback(listening)


def _serve_by_core(
    port: TcpPort, contexts: ServerContexts, factory: FrameFactory, reactor: Any, threads: int
) -> ListeningPort:
    from mu_twisted.transport._core_listener import CoreListener  # which is not there without the core

    try:
        return CoreListener(port, contexts, factory, reactor, threads=threads)
    except (ValueError, OSError) as error:
        port.stopListening()
        raise TransportError(f"the transport's core cannot begin: {error}") from None


def connect(
    endpoint: IStreamClientEndpoint,
    contexts: IOpenSSLClientConnectionCreator | None,
    receiver: Receiver,
    clock: ReactorTime,
    max_frame: int,
    *,
    handshake_timeout: float = 10.0,
    frame_timeout: float = 60.0,
) -> Deferred[FrameProtocol]:
    """Connect to a peer.

    With TLS 1.3 the connecting side has finished the handshake before the other has seen its certificate: if that is
    refused, the connection is made and at once lost, with the refusal as the reason.

    :param endpoint: the address; the endpoint limits the time that connecting takes.
    :param contexts: as :func:`mu_twisted.tls.client_contexts` makes; None for plain connections, in tests.
    :param receiver: gets the frames.
    :param clock: for the time limits.
    :param max_frame: bytes of payload.
    :param handshake_timeout: seconds.
    :param frame_timeout: seconds, as for :class:`FrameFactory`.
    :returns: fires after the receiver's ``connected`` was called; fails with :class:`TransportError` if the connection
        cannot be made, and the receiver is not called then. Cancelling ends the attempt.
    """
    factory = _ClientFactory(
        receiver, clock, max_frame, handshake_timeout=handshake_timeout, frame_timeout=frame_timeout
    )
    result = factory.result
    assert result is not None
    target: Any = endpoint
    inner: Any = factory
    time: Any = clock
    connecting: Deferred[Any] = target.connect(inner if contexts is None else _TLSFactory(contexts, True, inner, time))
    factory.connecting = connecting
    connecting.addCallbacks(lambda _: None, factory.connect_failed)
    return result
