"""Listening and dialling, with TLS around the frames. The only module that knows how Twisted wraps TLS around."""

from typing import Any

from OpenSSL import SSL
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import (
    IAddress,
    IListeningPort,
    IOpenSSLClientConnectionCreator,
    IOpenSSLServerConnectionCreator,
    IStreamClientEndpoint,
    IStreamServerEndpoint,
)
from twisted.protocols.tls import TLSMemoryBIOFactory, TLSMemoryBIOProtocol
from twisted.python.failure import Failure

from mu_twisted.base import MuError
from mu_twisted.transport._deadlines import ReactorTime
from mu_twisted.transport._factory import FrameFactory
from mu_twisted.transport._protocol import FrameProtocol, Receiver

_RECORD = 16 * 1024
_FLUSH = 32 * 1024


class TransportError(MuError):
    """A connection could not be made; one line that says to what address and why."""


class _LeanTLSProtocol(TLSMemoryBIOProtocol):
    """Writes at once, since frames are joined before they get here; hands OpenSSL small slices only; and passes on what
    one read brought in one call.

    OpenSSL's memory buffers never shrink: one read of 64 KiB in a single piece would cost the connection 85 kB for the
    rest of its life, one write of a 16 KiB record 22 kB.
    """

    def __init__(self, factory: "_TLSFactory", wrapped: FrameProtocol, size: int) -> None:
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
        for at in range(0, len(bytes), size):
            connection.bio_write(view[at : at + size])
            try:
                chunks.append(connection.recv(_RECORD))
                # Behind a large record there is no whole one; to learn that from OpenSSL takes long.
                while at >= last or len(chunks[-1]) < size // 2:
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
            self._pass_on(chunks)
        else:
            # A message of TLS itself, which may want an answer; one that comes among data can wait for what we send.
            self._flushSendBIO()  # type: ignore[no-untyped-call]

    def _pass_on(self, chunks: list[bytes]) -> None:
        if chunks and not self._aborted:
            self._frames.dataReceived(chunks[0] if len(chunks) == 1 else b"".join(chunks))

    def _ended(self, chunks: list[bytes], error: Failure | None) -> None:
        """The peer sends no more, or what cannot be understood; as the base does."""
        self._pass_on(chunks)
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
        connection, view, at = self._tlsConnection, memoryview(bytes), 0
        transport: Any = self.transport
        out: list[Any] = []
        try:
            while at < len(bytes):
                at += connection.send(view[at : at + size])
                out.append(connection.bio_read(_FLUSH))
        except SSL.Error:
            transport.writeSequence(out)
            self._write_slices(bytes[at:])
            return
        transport.writeSequence(out)

    def _write_slices(self, data: bytes) -> None:
        """As the base, which knows what to do when TLS cannot go on at once."""
        for at in range(0, len(data), self._slice):
            super().write(data[at : at + self._slice])  # type: ignore[no-untyped-call]


class _TLSFactory(TLSMemoryBIOFactory):
    """As its base, but a connection that the frames' factory refuses is refused."""

    wrappedFactory: FrameFactory

    def buildProtocol(self, addr: IAddress | None) -> Any:
        inner = self.wrappedFactory.buildProtocol(addr)
        return None if inner is None else _LeanTLSProtocol(self, inner, self.wrappedFactory.tls_slice)


class _DiallingFactory(FrameFactory):
    """For one connection; tells how it went."""

    def __init__(self, receiver: Receiver, clock: ReactorTime, max_frame: int, **limits: float) -> None:
        super().__init__(lambda: receiver, clock=clock, max_frame=max_frame, **limits)  # type: ignore[arg-type]
        self.protocol_made: FrameProtocol | None = None
        self.dialling: Deferred[Any] | None = None
        self.result: Deferred[FrameProtocol] | None = Deferred(self._cancelled)

    def buildProtocol(self, addr: IAddress | None) -> Any:
        self.protocol_made = super().buildProtocol(addr)
        return self.protocol_made

    def connection_announced(self, protocol: FrameProtocol) -> None:
        result, self.result = self.result, None
        if result is not None:
            result.callback(protocol)

    def connection_dropped(self, protocol: FrameProtocol, reason: str) -> None:
        if self.result is None:  # else who dialled is told
            super().connection_dropped(protocol, reason)

    def connection_lost(self, protocol: FrameProtocol, reason: str) -> None:
        super().connection_lost(protocol, reason)
        self.fail(TransportError(f"cannot connect to {protocol.peer}: {reason}"))

    def not_reached(self, failure: Failure) -> None:
        self.fail(TransportError(f"cannot connect: {' '.join(failure.getErrorMessage().split())}"))

    def fail(self, error: BaseException) -> None:
        result, self.result = self.result, None
        if result is not None:
            result.errback(error)

    def _cancelled(self, _: object) -> None:
        self.result = None
        if self.protocol_made is not None:
            self.protocol_made.abort()
        elif self.dialling is not None:
            self.dialling.cancel()


def listen(
    endpoint: IStreamServerEndpoint,
    contexts: IOpenSSLServerConnectionCreator | None,
    factory: FrameFactory,
    clock: ReactorTime,
) -> Deferred[IListeningPort]:
    """Accept connections.

    :param endpoint: where.
    :param contexts: as :func:`mu_twisted.tls.server_contexts` makes; None for plain connections, in tests.
    :param factory: makes the connections.
    :param clock: for TLS.
    """
    # mypy takes the methods of zope's interfaces for ordinary ones that lack ``self``.
    at: Any = endpoint
    inner: Any = factory
    time: Any = clock

    def listening(port: IListeningPort) -> IListeningPort:
        factory.throttle(port)
        return port

    wrapped = inner if contexts is None else _TLSFactory(contexts, False, inner, time)
    port: Deferred[IListeningPort] = at.listen(wrapped)
    return port.addCallback(listening)


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
    """Dial.

    With TLS 1.3 the dialling side is through with the handshake before the other has seen its certificate: if that is
    refused, the connection is made and at once lost, with the refusal as the reason.

    :param endpoint: where; how long to wait for the connection itself is the endpoint's to know.
    :param contexts: as :func:`mu_twisted.tls.client_contexts` makes; None for plain connections, in tests.
    :param receiver: gets the frames.
    :param clock: for the time limits.
    :param max_frame: bytes of payload.
    :param handshake_timeout: seconds.
    :param frame_timeout: seconds, as for :class:`FrameFactory`.
    :returns: fires when the receiver was told ``connected``; fails with :class:`TransportError` if it never is, and the
        receiver hears nothing then. Cancelling gives up.
    """
    factory = _DiallingFactory(
        receiver, clock, max_frame, handshake_timeout=handshake_timeout, frame_timeout=frame_timeout
    )
    result = factory.result
    assert result is not None
    at: Any = endpoint
    inner: Any = factory
    time: Any = clock
    dialling: Deferred[Any] = at.connect(inner if contexts is None else _TLSFactory(contexts, True, inner, time))
    factory.dialling = dialling
    dialling.addCallbacks(lambda _: None, factory.not_reached)
    return result
