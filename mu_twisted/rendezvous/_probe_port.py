"""The probe port takes plain TCP connections whose address is compared with that of their worker's other connection.

Knows the token that a caller shows, and nothing of what its address means.
"""

from collections.abc import Callable
from typing import Any

from twisted.internet.interfaces import IAddress
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.python.failure import Failure

from mu_twisted.transport import Deadlines, ReactorTime
from mu_twisted.wire import Decoder, FrameError, PeerError, encode
from mu_twisted.wire.punching import Candidate, CandidateKind, parse_probe_message, probe_answer, usual_address

PROBE_TIMEOUT = 5.0
"""Seconds that a connection may last."""
MAX_PROBE = 64
"""Largest message, bytes."""
MAX_PROBES = 1000
"""Connections at once."""


class ProbeConnection(Protocol):
    """One connection: a token comes, is answered, and the connection is closed. Anything else ends it at once."""

    transport: Any

    def __init__(self, factory: "ProbeFactory", host: str, port: int) -> None:
        self._probes = factory
        self._seen = host, port
        self._decoder = Decoder(MAX_PROBE)

    def connectionMade(self) -> None:
        self._probes.connected(self)

    def dataReceived(self, data: bytes) -> None:
        try:
            payloads = self._decoder.feed(data)
            token = parse_probe_message(payloads[0]) if payloads else None
            seen = Candidate(CandidateKind.REFLEXIVE, usual_address(self._seen[0]), self._seen[1])
        except (FrameError, PeerError):
            self.abort()
            return
        if token is None:
            return
        if len(payloads) > 1 or self._decoder.pending or not self._probes.shown(token, self._seen):
            self.abort()
            return
        self.transport.write(encode(probe_answer(seen)))
        self.transport.loseConnection()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self._probes.disconnected(self)

    def abort(self) -> None:
        """End the connection, whatever was not sent."""
        self.transport.abortConnection()


class ProbeFactory(Factory):
    """Accepts probes.

    :param clock: for their time limit.
    :param shown: called with the token and the address that it comes from; returns whether the token was good.
    """

    noisy = False

    def __init__(self, clock: ReactorTime, shown: Callable[[str, tuple[str, int]], bool]) -> None:
        self.shown = shown
        self._connections: Deadlines[ProbeConnection] = Deadlines(clock, PROBE_TIMEOUT, ProbeConnection.abort)

    def __len__(self) -> int:
        return len(self._connections)

    def buildProtocol(self, addr: IAddress | None) -> ProbeConnection | None:
        """Make one connection's protocol; None, which closes it, where there are too many."""
        if len(self._connections) >= MAX_PROBES:
            return None
        return ProbeConnection(self, str(getattr(addr, "host", "")), int(getattr(addr, "port", 0)))

    def connected(self, connection: ProbeConnection) -> None:
        """Limit the time of a connection."""
        self._connections.start(connection)

    def disconnected(self, connection: ProbeConnection) -> None:
        """Forget a connection that is gone."""
        self._connections.end(connection)

    def stop(self) -> None:
        """End all connections, and leave no timer behind."""
        for connection in list(self._connections):
            connection.abort()
        self._connections.stop()
