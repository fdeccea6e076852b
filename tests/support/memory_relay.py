"""A relay on wires in memory, with time that stands still, and peers that dial it."""

import shutil
import tempfile
from datetime import timedelta
from itertools import count
from pathlib import Path
from typing import Any

from memory_wire import Network
from twisted.internet.task import Clock

from mu_twisted.rendezvous import Relay, RelayLimits, Spill
from mu_twisted.tls import Authority, Identity, RoleIdentity, client_contexts, server_contexts
from mu_twisted.transport import FrameProtocol, connect
from mu_twisted.wire import PeerGreeting

AUTHORITY = Authority.generate()
HOUR = timedelta(hours=1)
RENDEZVOUS = RoleIdentity("rendezvous")
COORDINATOR = RoleIdentity("coordinator")
SERVER = AUTHORITY.issue(RENDEZVOUS, lifetime=HOUR)


class Peer:
    """One end of a connection to the relay."""

    def __init__(self, world: "MemoryRelay") -> None:
        self.world = world
        self.connection: FrameProtocol | None = None
        self.got: list[bytes] = []
        self.reasons: list[str] = []

    def connected(self, connection: FrameProtocol) -> None:
        self.connection = connection

    def frames_received(self, payloads: list[bytes]) -> None:
        self.got += payloads

    def disconnected(self, reason: str) -> None:
        self.reasons.append(reason)

    @property
    def wire(self) -> FrameProtocol:
        assert self.connection is not None
        return self.connection

    def says(self, *payloads: bytes) -> None:
        """Send, and let all arrive that can."""
        self.wire.send(*payloads)
        self.world.settle()

    def heard(self) -> list[bytes]:
        """What has come since this was asked last."""
        got, self.got = self.got, []
        return got


class MemoryRelay:
    """A relay and its peers; without TLS unless peers have identities."""

    def __init__(self, limits: RelayLimits | None = None, *, tls: bool = False, **options: Any) -> None:
        self.clock = Clock()
        self.network = Network()
        self.directory = Path(tempfile.mkdtemp(prefix="mu-relay-"))
        tokens = count(1)
        self.relay = Relay(
            self.clock,
            limits or RelayLimits(),
            Spill(self.directory / "spill"),
            token=lambda: f"store{next(tokens)}",
            **{"shared_key": not tls, **options},
        )
        self.tls = tls
        self.relay.listen(self.network.server, server_contexts(SERVER, AUTHORITY.certificate) if tls else None)
        self.relay.open()

    def dial(self, identity: Identity | None = None) -> Peer:
        """A peer that has said nothing yet."""
        peer = Peer(self)
        contexts = None
        if self.tls:
            pair = AUTHORITY.issue(identity, lifetime=HOUR)
            contexts = client_contexts(pair, AUTHORITY.certificate, expected=RENDEZVOUS)
        connect(self.network.client, contexts, peer, self.clock, 64 << 20)
        self.settle()
        return peer

    def peer(self, me: int, to: int, run: bytes = b"r") -> Peer:
        """A peer that has greeted as the original does."""
        peer = self.dial()
        peer.says(PeerGreeting(run, me, to).encode())
        return peer

    def worker(self, me: int, to: int, attempt: int = 0, *, replay: bool = False, job: bytes = b"j") -> Peer:
        """A worker of a job."""
        peer = self.dial()
        peer.says(PeerGreeting(job, me, to, attempt, replay).encode())
        return peer

    def coordinator(self) -> Peer:
        return self.dial(COORDINATOR if self.tls else None)

    def settle(self, limit: int = 1 << 16) -> None:
        self.network.settle(limit)

    def advance(self, seconds: float) -> None:
        """Time passes, in steps that no time limit falls between."""
        whole, rest = divmod(seconds, 0.25)
        for _ in range(int(whole)):
            self.clock.advance(0.25)
            self.settle()
        self.clock.advance(rest)
        self.settle()

    def on_disk(self) -> int:
        return sum(path.stat().st_size for path in self.directory.glob("spill/*/*"))

    def in_memory(self) -> int:
        return self.relay.mailboxes.store.memory.used

    def close(self) -> None:
        self.relay.close()
        self.settle()
        self.network.break_all()
        self.settle()
        self.network.factory.doStop()
        assert self.clock.getDelayedCalls() == []
        assert self.in_memory() == 0
        shutil.rmtree(self.directory)
