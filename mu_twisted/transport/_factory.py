"""The factory makes connections, and holds what all share: time limits, number of handshakes, the log of drops."""

from collections import Counter
from collections.abc import Callable
from typing import Any

from twisted.internet.interfaces import IAddress
from twisted.internet.protocol import Factory

from mu_twisted.transport._deadlines import Deadlines
from mu_twisted.transport._droplog import DropLog
from mu_twisted.transport._handshakes import HandshakeLimiter
from mu_twisted.transport._interfaces import ListeningPort, PausablePort, ReactorTime
from mu_twisted.transport._protocol import FrameProtocol, Receiver
from mu_twisted.transport._reasons import handshake_fault, no_handshake, too_many_connections, too_many_handshakes
from mu_twisted.transport._stream import StreamProtocol


class FrameFactory(Factory[Any]):
    """Makes a :class:`FrameProtocol` for each connection, and a receiver for each that has passed the TLS handshake.

    Where the core carries the connections it makes the protocols, and holds the limits of handshakes and of the number
    of connections; the factory is asked for receivers, and holds all other limits, as it does for Twisted's.

    A peer is dropped, and logged, that

    - does not finish the handshake within ``handshake_timeout``, or fails it;
    - has a handshake that makes no progress for ``stall_timeout``, when there are ``max_handshakes``;
    - sends a malformed header, or announces more than the connection's ``max_frame``;
    - stops in the middle of a frame for ``frame_timeout``. The time begins anew with each frame and with each 64 KiB of
      a longer one, and stops while reading is paused. Between frames a peer may be silent for ever;
    - does not take what it is sent, when more than ``max_unsent`` waits and there is more to send.

    A peer that does not take the closing of a connection within ``close_timeout`` is cut off.

    :param build_receiver: called once for each connection that is established.
    :param clock: for the time limits.
    :param max_frame: bytes of payload, for connections whose receiver does not say otherwise.
    :param handshake_timeout: seconds.
    :param max_handshakes: how many may be in progress before the port is paused, until a quarter of them is done: a
        burst waits in the kernel's backlog. The port accepts some hundreds in one turn, so up to twice that number is
        accepted, and more are refused. Where the port cannot be paused, refusal begins at the number itself. Silent
        peers cannot block others: they are dropped, so many in each ``stall_timeout``.
    :param stall_timeout: seconds that a handshake may make no progress while there are so many.
    :param frame_timeout: seconds.
    :param close_timeout: seconds.
    :param max_unsent: bytes that may wait to be sent on one connection before another write; that one may be of any
        size.
    :param tls_slice: bytes that TLS processes at once. OpenSSL's buffers grow with it and never shrink: 16 KiB, a whole
        record, halves the work of bulk and costs each connection some 40 kB more than 4 KiB.
    :param max_connections: at once, in any state; None: any number. When there are nearly so many, those that have not
        greeted (:meth:`FrameProtocol.greeted`) are dropped, the oldest first; they and handshakes may be a quarter of
        them each. So descriptors are left for the rest of the process.
    :param failed_handshakes: counts those, by :data:`~mu_twisted.transport._reasons.HANDSHAKE_FAULTS`.
    """

    noisy = False

    def __init__(
        self,
        build_receiver: Callable[[], Receiver],
        *,
        clock: ReactorTime,
        max_frame: int,
        handshake_timeout: float = 10.0,
        max_handshakes: int = 1024,
        frame_timeout: float = 60.0,
        close_timeout: float = 15.0,
        stall_timeout: float = 1.0,
        max_unsent: int = 16 << 20,
        tls_slice: int = 4 << 10,
        max_connections: int | None = None,
        failed_handshakes: Counter[str] | None = None,
    ) -> None:
        self.failed_handshakes: Counter[str] = Counter() if failed_handshakes is None else failed_handshakes
        self._build_receiver = build_receiver
        self._ungreeted: dict[FrameProtocol, None] = {}
        self._port: PausablePort | None = None
        self.max_frame = max_frame
        self.max_connections = max_connections
        self.max_handshakes = max(
            1, max_handshakes if max_connections is None else min(max_handshakes, max_connections // 4)
        )
        self.room = 0 if max_connections is None else min(64, max_connections // 8)
        self.handshake_timeout = handshake_timeout
        self.stall_timeout = stall_timeout
        self.connections = 0
        self.max_unsent = max_unsent
        self.tls_slice = tls_slice
        self.drops = DropLog(clock)
        self.handshakes: Deadlines[FrameProtocol] = Deadlines(clock, handshake_timeout, self._drop_late)
        self._limiter = HandshakeLimiter(clock, self.handshakes, stall_timeout)
        self.frames: Deadlines[FrameProtocol] = Deadlines(
            clock, frame_timeout, lambda late: late.drop(f"silent in the middle of a frame for {frame_timeout:g} s")
        )
        self.closing: Deadlines[FrameProtocol] = Deadlines(clock, close_timeout, FrameProtocol.give_up_closing)

    def buildProtocol(self, addr: IAddress | None) -> Any:
        if self.max_connections is not None and self.connections >= self.max_connections - self.room:
            self.make_room()
            if self.connections >= self.max_connections:
                peer = f"{getattr(addr, 'host', '')}:{getattr(addr, 'port', 0)}"
                self.handshake_failed(peer, too_many_connections(self.max_connections))
                return None
        if len(self.handshakes) >= self.max_handshakes * (1 if self._port is None else 2):
            peer = f"{getattr(addr, 'host', '')}:{getattr(addr, 'port', 0)}"
            self.handshake_failed(peer, too_many_handshakes(len(self.handshakes)))
            return None
        return StreamProtocol(self, self.max_frame)

    def throttle(self, port: ListeningPort) -> None:
        """Pause this port while there are many handshakes, if it can be paused."""
        if isinstance(port, PausablePort):
            self._port = port

    def stopFactory(self) -> None:
        self._port = None
        self.drops.flush()

    # Reports of the protocols

    def connection_adopted(self, protocol: FrameProtocol) -> None:
        self.connections += 1

    def connection_opened(self, protocol: FrameProtocol) -> None:
        self.connections += 1
        self.handshakes.start(protocol)
        if not self._limiter.active and len(self.handshakes) >= self.max_handshakes:
            if self._port is not None:
                self._port.stopReading()
            self._limiter.start()

    def connection_established(self, protocol: FrameProtocol) -> Receiver:
        self._handshake_ended(protocol)
        self._ungreeted[protocol] = None
        if self.max_connections is not None and len(self._ungreeted) > max(1, self.max_connections // 4):
            self.make_room()
        return self._build_receiver()

    def connection_greeted(self, protocol: FrameProtocol) -> None:
        """Never drop this connection for others: the receiver has identified its peer."""
        self._ungreeted.pop(protocol, None)

    def connection_announced(self, protocol: FrameProtocol) -> None:
        """For subclasses: the receiver's ``connected`` was called."""

    def connection_dropped(self, protocol: FrameProtocol, reason: str) -> None:
        if protocol in self.handshakes:
            self.failed_handshakes[handshake_fault(reason)] += 1
        self.peer_dropped(str(protocol.peer), reason)

    def peer_dropped(self, peer: str, reason: str) -> None:
        """Log why a peer was dropped, which may never have become a connection."""
        self.drops.dropped(peer, reason)

    def handshake_failed(self, peer: str, reason: str) -> None:
        """Count and log a peer that never became a connection."""
        self.failed_handshakes[handshake_fault(reason)] += 1
        self.peer_dropped(peer, reason)

    def connection_lost(self, protocol: FrameProtocol, reason: str) -> None:
        self._handshake_ended(protocol)
        self._ungreeted.pop(protocol, None)
        self.frames.end(protocol)
        self.closing.end(protocol)
        self.connections -= 1
        if not self.connections:
            for deadlines in (self.handshakes, self.frames, self.closing):
                deadlines.stop()
            self._limiter.stop()

    def make_room(self) -> None:
        """Drop the connection that has not greeted for the longest time, else handshakes that make no progress."""
        oldest = next(iter(self._ungreeted), None)
        if oldest is not None:
            del self._ungreeted[oldest]
            oldest.drop(f"it has not greeted, and others want its place: there are {self.connections} connections")
        elif not self._limiter.active:
            self._limiter.start()

    def _drop_late(self, late: FrameProtocol) -> None:
        reason = no_handshake(self.handshake_timeout)
        self.failed_handshakes[handshake_fault(reason)] += 1  # it is none of those in progress any more
        late.drop(reason)

    def _handshake_ended(self, protocol: FrameProtocol) -> None:
        self.handshakes.end(protocol)
        if self._limiter.active and len(self.handshakes) <= self.max_handshakes * 3 // 4:
            self._limiter.active = False
            if self._port is not None:
                self._port.startReading()
