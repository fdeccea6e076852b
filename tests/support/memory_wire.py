"""Streams in memory with what TCP has: any split, back-pressure both ways, half-sent data, aborts, a backlog."""

from collections.abc import Callable
from typing import Any, cast

from twisted.internet.address import IPv4Address
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.error import ConnectionDone, ConnectionLost, ConnectionRefusedError
from twisted.internet.interfaces import IConsumer, IStreamClientEndpoint, IStreamServerEndpoint, ITransport
from twisted.python.failure import Failure
from zope.interface import implementer

HIGH_WATER = 64 * 1024


@implementer(ITransport, IConsumer)
class End:
    """What one protocol has for a transport. What it writes lies in ``out`` until the network carries it."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.protocol: Any = None
        self.other: End = self
        self.out = bytearray()
        self.reading = True
        self.closing = self.lost = False
        self.producer: Any = None
        self.producer_paused = False

    def write(self, data: bytes) -> None:
        if self.closing or self.lost:
            return
        self.out += data
        if self.producer is not None and len(self.out) > HIGH_WATER and not self.producer_paused:
            self.producer_paused = True
            self.producer.pauseProducing()

    def writeSequence(self, data: list[bytes]) -> None:
        self.write(b"".join(data))

    def pauseProducing(self) -> None:
        self.reading = False

    def resumeProducing(self) -> None:
        self.reading = True

    def stopProducing(self) -> None:
        self.loseConnection()

    def registerProducer(self, producer: Any, streaming: bool) -> None:
        assert self.producer is None
        assert streaming
        self.producer, self.producer_paused = producer, False

    def unregisterProducer(self) -> None:
        self.producer = None

    def loseConnection(self) -> None:
        self.closing = True

    def abortConnection(self) -> None:
        self.closing = True
        self.out.clear()

    def getPeer(self) -> IPv4Address:
        return IPv4Address("TCP", "192.0.2.1", self.other.port)

    def getHost(self) -> IPv4Address:
        return IPv4Address("TCP", "192.0.2.1", self.port)

    def lose(self, error: type[Exception]) -> None:
        if not self.lost:
            self.lost = self.closing = True
            self.protocol.connectionLost(Failure(error()))  # type: ignore[no-untyped-call]

    def deliver(self, limit: int) -> bool:
        """Carry up to so many bytes to the other end; close when there is nothing more. Whether anything happened."""
        if self.lost:
            return False
        if self.out and self.other.reading:
            piece = bytes(self.out[:limit])
            del self.out[:limit]
            self.other.protocol.dataReceived(piece)
            if not self.out and self.producer is not None and self.producer_paused:
                self.producer_paused = False
                self.producer.resumeProducing()
            return True
        if self.closing and not self.out:
            self.lose(ConnectionDone)
            self.other.lose(ConnectionDone)
            return True
        return False


@implementer(IStreamServerEndpoint, IStreamClientEndpoint)
class Network:
    """One listener and any number of connections to it. An endpoint for both sides."""

    def __init__(self) -> None:
        self.ends: list[End] = []
        self.factory: Any = None
        self.accepting = self.pausable = True
        self.backlog: list[Callable[[], None]] = []

    @property
    def server(self) -> IStreamServerEndpoint:
        """Itself, to be listened on."""
        return cast("IStreamServerEndpoint", self)

    @property
    def client(self) -> IStreamClientEndpoint:
        """Itself, to be dialled."""
        return cast("IStreamClientEndpoint", self)

    def listen(self, factory: Any) -> Deferred[Any]:
        self.factory = factory
        factory.doStart()
        return succeed(self if self.pausable else object())

    # The listening port.

    def stopReading(self) -> None:
        self.accepting = False

    def startReading(self) -> None:
        self.accepting = True

    def connect(self, factory: Any) -> Deferred[Any]:
        if self.factory is None:
            return fail(ConnectionRefusedError())  # type: ignore[no-untyped-call]
        client, server = End(40000 + len(self.ends)), End(13579)
        client.other, server.other = server, client
        client.protocol = factory.buildProtocol(server.getHost())

        def accept() -> None:
            server.protocol = self.factory.buildProtocol(client.getHost())
            if server.protocol is None:
                server.lost = True
                client.lose(ConnectionDone)
                return
            self.ends += [client, server]
            server.protocol.makeConnection(server)

        client.protocol.makeConnection(client)
        self.backlog.append(accept)
        self.accept()
        return succeed(client.protocol)

    def accept(self) -> bool:
        accepted = False
        while self.accepting and self.backlog:
            self.backlog.pop(0)()
            accepted = True
        return accepted

    def settle(self, limit: int = 1 << 16) -> None:
        """Carry everything, in pieces of so many bytes, until nothing moves."""
        while True:
            moved = [end.deliver(limit) for end in list(self.ends)]
            if not any(moved) and not self.accept():
                return

    def break_all(self) -> None:
        for end in list(self.ends):
            end.out.clear()
            end.lose(ConnectionLost)
