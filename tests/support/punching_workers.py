"""Workers of one process that punch to each other on the loopback, with the pure broker between them."""

import selectors
import socket
import ssl
import tempfile
import time
from collections.abc import Callable, Mapping
from datetime import timedelta
from itertools import count
from pathlib import Path

from mu_twisted.rendezvous._punching import Messages, Party, PunchBroker, PunchLimits
from mu_twisted.tls import Authority, Identity, KeyPair, TaskIdentity
from worker_lambda.connection import TlsStream, link_contexts
from worker_lambda.punching import Link, LinkIdentity, LocalPort, Puncher

AUTHORITY, FOREIGN = Authority.generate(), Authority.generate()
JOB = "j"
LIMIT = 180.0
"""Seconds after which a test that still waits has failed."""


def bodies(pair: KeyPair, authority: Authority = AUTHORITY) -> Mapping[str, str]:
    """A certificate, its key and a CA as a worker is given them."""
    pems = {"cacert": authority.certificate, "srvcrt": pair.certificate, "srvkey": pair.key}
    return {
        name: "".join(line for line in pem.decode("ascii").splitlines() if not line.startswith("-----"))
        for name, pem in pems.items()
    }


def contexts(identity: Identity | None, issuer: Authority = AUTHORITY) -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """A link's client's and server's, with a certificate of this identity."""
    pair = issuer.issue(identity, lifetime=timedelta(hours=1))
    with tempfile.TemporaryDirectory() as directory:
        return link_contexts(bodies(pair), Path(directory))


class Loop:
    """The loop that all of a test's sockets are in."""

    def __init__(self) -> None:
        self.selector = selectors.DefaultSelector()
        self.steps: list[Callable[[], float | None]] = []

    def run_until(self, holds: Callable[[], object]) -> None:
        deadline = time.monotonic() + LIMIT
        while not holds():
            assert time.monotonic() < deadline, "it has not come to that"
            self.turn()

    def run_for(self, seconds: float) -> None:
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            self.turn()

    def turn(self) -> None:
        waits = [wait for wait in (step() for step in self.steps) if wait is not None]
        for key, events in self.selector.select(max(0.0, min([0.01, *waits]))):
            if self.selector.get_map().get(key.fd) is key:
                key.data(events)


class Worker:
    """An attempt of a task whose rendezvous is a broker in this process."""

    def __init__(self, world: "World", task: int, attempt: int, identity: Identity | None = None) -> None:
        self.party = Party(JOB, task, attempt)
        self.links: list[Link] = []
        self.failures: list[tuple[int, str]] = []
        self.said: list[bytes] = []
        self._world = world
        port = LocalPort()
        with socket.create_server(("127.0.0.1", 0)) as listener:
            self.control = port.new_socket(socket.AF_INET)
            self.control.setblocking(True)
            self.control.connect(listener.getsockname())
            self._other_end, (ip, number) = listener.accept()
        self.address = ip, number
        client, server = contexts(identity or TaskIdentity(JOB, task, attempt))
        self.puncher = Puncher(
            world.loop.selector,
            LinkIdentity(JOB, task, attempt, client, server),
            port,
            self.control,
            self._send,
            connected=self.links.append,
            failed=lambda peer, reason: self.failures.append((peer, reason)),
            pause=world.pause,
        )
        world.workers[self.party] = self
        world.loop.steps.append(self.puncher.step)

    def leave(self) -> None:
        """Be there no longer, unnoticed by the broker; connections to its port, which it keeps, are refused."""
        self._world.loop.steps.remove(self.puncher.step)
        self._world.gone.add(self.party)
        self.puncher.close()

    def close(self) -> None:
        self.puncher.close()
        self.control.close()
        self._other_end.close()
        for link in self.links:
            link.stream.close()

    def _send(self, message: bytes) -> None:
        self.said.append(message)
        self._world.outbox.append((self.party, message))


class World:
    """Workers and their broker.

    :param limits: the broker's.
    """

    def __init__(self, limits: PunchLimits | None = None) -> None:
        self.loop = Loop()
        self.pause = (limits or PunchLimits()).pause
        numbers = count(1)
        self.broker = PunchBroker(lambda: f"{next(numbers):032x}", limits)
        self.workers: dict[Party, Worker] = {}
        self.outbox: list[tuple[Party, bytes]] = []
        self.gone: set[Party] = set()
        self.changed: Callable[[Party, bytes], bytes] = lambda party, message: message
        self.loop.steps.append(self._carry)

    def worker(self, task: int, attempt: int = 0, identity: Identity | None = None) -> Worker:
        """One that has offered to punch."""
        worker = Worker(self, task, attempt, identity)
        self._carry()
        return worker

    def close(self) -> None:
        for worker in self.workers.values():
            worker.close()
        self.loop.selector.close()

    def _carry(self) -> float | None:
        while self.outbox:
            party, message = self.outbox.pop(0)
            address = self.workers[party].address
            self._deliver(self.broker.received(party, address, message, time.monotonic()))
        self._deliver(self.broker.sweep(time.monotonic()))
        return None

    def _deliver(self, messages: Messages) -> None:
        for party, message in messages:
            if party not in self.gone:
                self.workers[party].puncher.receive(self.changed(party, message))


def receive_all(loop: Loop, stream: TlsStream, size: int) -> bytes:
    """So many bytes of a link."""
    received = bytearray()

    def has_come() -> bool:
        received.extend(stream.receive() or b"")
        return len(received) >= size

    loop.run_until(has_come)
    return bytes(received)
