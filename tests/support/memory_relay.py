"""A relay on wires in memory, with time that stands still, and peers that dial it."""

import shutil
import tempfile
from datetime import timedelta
from itertools import count
from pathlib import Path
from typing import Any

from memory_links import frames_of
from memory_wire import Network
from twisted.internet.task import Clock

from mu_twisted.rendezvous import PunchService, Relay, RelayLimits, Spill
from mu_twisted.tls import Authority, Identity, RoleIdentity, client_contexts, server_contexts
from mu_twisted.transport import FrameProtocol, connect
from mu_twisted.wire import PeerGreeting
from mu_twisted.wire.links import Ack, Begin, End, LinkGreeting, Part, Want, Whole, parse_link_frame

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


class Link(Peer):
    """A worker's connection for links, which acknowledges what comes whole."""

    def frames_received(self, payloads: list[bytes]) -> None:
        super().frames_received(payloads)
        for payload in payloads:
            if payload.startswith((b"END:", b"WHOLE:")):
                frame = parse_link_frame(payload)
                assert isinstance(frame, End | Whole)
                self.wire.send(Ack(frame.peer, frame.number, frame.name).encode())

    def sends(self, to: int, body: bytes, name: bytes = b"x", number: int = 1) -> None:
        """Send a whole message."""
        self.says(*(frame.encode() for frame in frames_of(to, name, number, body)))

    def wants(self, sender: int, name: bytes = b"x", number: int = 1) -> None:
        self.says(Want(sender, number, name).encode())

    def body(self) -> bytes:
        """The bytes of all messages that have come since this was asked last."""
        frames = [parse_link_frame(payload) for payload in self.heard() if payload.startswith((b"SEND:", b"DATA:"))]
        return b"".join(frame.part for frame in frames if isinstance(frame, Begin | Part))


class MemoryRelay:
    """A relay and its peers; without TLS unless peers have identities.

    :param punching: whether workers may make direct connections.
    """

    def __init__(
        self, limits: RelayLimits | None = None, *, tls: bool = False, punching: bool = False, **options: Any
    ) -> None:
        self.clock, self.network = self._network()
        self.directory = Path(tempfile.mkdtemp(prefix="mu-relay-"))
        tokens = count(1)
        self.relay = Relay(
            self.clock,
            limits or RelayLimits(),
            Spill(self.directory / "spill"),
            token=lambda: f"store{next(tokens)}",
            punching=PunchService(self.clock) if punching else None,
            **{"shared_key": not tls, **options},
        )
        self.tls = tls
        self._listen()
        self.relay.open()

    def _network(self) -> tuple[Any, Any]:
        """The clock, and the network between the relay and its peers."""
        return Clock(), Network()

    def _listen(self) -> None:
        contexts = server_contexts(SERVER, AUTHORITY.certificate) if self.tls else None
        self.relay.listen(self.network.server, contexts)

    def _listen_no_more(self) -> None:
        self.network.factory.doStop()

    @property
    def _encrypted(self) -> bool:
        return self.tls

    def dial(self, identity: Identity | None = None, peer: Peer | None = None) -> Peer:
        """A peer that has said nothing yet."""
        peer = peer or Peer(self)
        contexts = None
        if self._encrypted:
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

    def link(
        self,
        task: int,
        attempt: int = 0,
        *,
        job: bytes = b"j",
        identity: Identity | None = None,
        announced: dict[str, Any] | None = None,
    ) -> "Link":
        """A worker's connection for links."""
        link = Link(self)
        self.dial(identity, link)
        link.wire.send(LinkGreeting(job, task, attempt, announced or {}).encode())
        self.settle()
        return link

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
        self._listen_no_more()
        assert self.clock.getDelayedCalls() == []
        assert self.in_memory() == 0
        shutil.rmtree(self.directory)
