"""A program for the lab: a rendezvous that lets workers punch, with the real broker, probe port and transport.

Its first argument is a directory with ``ca_cert.pem`` and ``ca_key.pem``. It says ``ready`` and, when its input ends,
what the broker has counted.
"""

import json
import sys
from pathlib import Path
from typing import Any

from twisted.internet import reactor, stdio
from twisted.internet.endpoints import TCP4ServerEndpoint
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure

from mu_twisted.rendezvous._authorization import Speaker, authorize
from mu_twisted.rendezvous._punch_service import PunchService
from mu_twisted.rendezvous._punching import Party
from mu_twisted.tls import Authority, RoleIdentity, server_contexts
from mu_twisted.transport import FrameFactory, FrameProtocol, listen
from mu_twisted.wire import PeerError, parse_peer_greeting
from mu_twisted.wire.punching import PREFIX

PORT, PROBE_PORT = 13337, 13338


class Connection:
    """The receiver of one worker's connection."""

    def __init__(self, service: PunchService) -> None:
        self._service = service
        self._wire: FrameProtocol | None = None
        self._party: Party | None = None

    def connected(self, connection: FrameProtocol) -> None:
        self._wire = connection

    def frames_received(self, payloads: list[bytes]) -> None:
        assert self._wire is not None
        for payload in payloads:
            try:
                if self._party is None:
                    self._greet(payload)
                elif payload.startswith(PREFIX):
                    self._service.received(self._party, payload)
            except PeerError as error:
                self._wire.drop(str(error))

    def disconnected(self, reason: str) -> None:
        if self._party is not None and self._wire is not None:
            self._service.left(self._party, self._wire.send)

    def _greet(self, payload: bytes) -> None:
        assert self._wire is not None
        greeting = parse_peer_greeting(payload)
        peer = self._wire.peer
        authorize(peer.identity, Speaker(greeting.run, greeting.me, greeting.attempt), shared_key=False)
        self._party = Party(greeting.run.decode("ascii"), greeting.me, greeting.attempt or 0)
        self._wire.greeted()
        self._service.joined(self._party, (peer.host, peer.port), self._wire.send)


class Orders(Protocol):
    """The standard input, whose end ends the program."""

    def __init__(self, service: PunchService) -> None:
        self._service = service

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        say(dict(self._service.broker.counts))
        loop.stop()


def say(what: Any) -> None:
    """Write one line of JSON."""
    sys.stdout.write(json.dumps(what) + "\n")
    sys.stdout.flush()


loop: Any = reactor


def main(directory: str) -> None:
    """Serve until the input ends."""
    authority = Authority.load(Path(directory) / "ca_cert.pem", Path(directory) / "ca_key.pem")
    own = authority.issue(RoleIdentity("rendezvous"), lifetime=None)
    service = PunchService(loop)
    factory = FrameFactory(lambda: Connection(service), clock=loop, max_frame=1 << 20)
    endpoint: Any = TCP4ServerEndpoint
    standard_io: Any = stdio.StandardIO
    service.listen(endpoint(loop, PROBE_PORT))
    listen(endpoint(loop, PORT), server_contexts(own, authority.certificate), factory, loop)
    service.open()
    standard_io(Orders(service))
    loop.callWhenRunning(say, "ready")
    loop.run()


if __name__ == "__main__":
    main(*sys.argv[1:])
