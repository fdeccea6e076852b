"""A world for the transport's contract whose listening side is the core: real sockets on loopback, real threads for the
handshakes, and a clock that stands still.

The dialling side is Twisted's TLS over a socket that the test carries, piece by piece.
"""

import importlib
import select
import socket
import struct
import time
from contextlib import suppress
from typing import Any, cast

import pytest
from memory_transport import TLSTransportHarness
from memory_wire import HIGH_WATER, End
from transport_contract import LIMIT, Recorder
from twisted.internet.address import IPv4Address
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.error import ConnectionDone, ConnectionLost, ConnectionRefusedError
from twisted.internet.interfaces import IStreamClientEndpoint
from twisted.internet.task import Clock

from mu_twisted.transport import FrameFactory


def core_module(name: str) -> Any:
    """A module of the transport's that needs the core; where there is none, the test is skipped."""
    pytest.importorskip("mu_twisted.transport._core")
    return importlib.import_module(f"mu_twisted.transport.{name}")


ADDRESS = "127.0.0.9"
"""Where no program on this machine dials by mistake: one that asks again at a port that it has lost."""
BUFFER = 32 << 10
"""Of each socket: back-pressure begins early."""
DELAYED = 120
"""Looks at what does not move, half a millisecond apart: so long the kernel may take to say that bytes have come."""
RESET = struct.pack("ii", 1, 0)


class SocketEnd(End):
    """The dialling end: what its protocol writes lies in ``out`` until the socket is carried."""

    def __init__(self, handle: socket.socket) -> None:
        super().__init__(handle.getsockname()[1])
        self.handle = handle

    def getPeer(self) -> IPv4Address:
        return IPv4Address("TCP", *self.handle.getpeername())

    def getHost(self) -> IPv4Address:
        return IPv4Address("TCP", "127.0.0.1", self.port)

    def abortConnection(self) -> None:
        self.out.clear()
        self.reset(ConnectionDone)

    def reset(self, why: type[Exception]) -> None:
        if not self.lost:
            self.handle.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
            self.lose(why)

    def lose(self, error: type[Exception]) -> None:
        self.handle.close()
        super().lose(error)

    def deliver(self, limit: int) -> bool:
        if self.lost:
            return False
        moved = False
        with suppress(BlockingIOError):
            try:
                moved = self._send(limit)
                if not self.lost and self.reading:
                    moved = self._receive(limit) or moved
            except BlockingIOError:
                raise
            except OSError:
                self.lose(ConnectionLost)
                return True
        return moved

    def _send(self, limit: int) -> bool:
        sent = 0
        if self.out:
            with suppress(BlockingIOError):
                sent = self.handle.send(self.out[:limit])
            del self.out[:sent]
        if not self.out and self.producer is not None and self.producer_paused:
            self.producer_paused = False
            self.producer.resumeProducing()
        if self.closing and not self.out and not self.lost:
            self.lose(ConnectionDone)
            return True
        return bool(sent)

    def _receive(self, limit: int) -> bool:
        data = self.handle.recv(limit)
        self.handle.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)  # else the other end waits for that
        if data:
            self.protocol.dataReceived(data)
        else:
            self.lose(ConnectionDone)
        return True


class Port:
    """What Twisted's endpoint would have made."""

    def __init__(self) -> None:
        self.handle = socket.socket()
        for option in socket.SO_SNDBUF, socket.SO_RCVBUF:
            self.handle.setsockopt(socket.SOL_SOCKET, option, BUFFER)
        self.handle.bind((ADDRESS, 0))
        self.handle.listen(1024)
        self.handle.setblocking(False)

    def getHost(self) -> IPv4Address:
        return IPv4Address("TCP", *self.handle.getsockname())

    def fileno(self) -> int:
        return self.handle.fileno()

    def stopReading(self) -> None:
        """It never read."""

    def stopListening(self) -> None:
        self.handle.close()


class ManualClock(Clock):
    """The clock of both sides: the core is given it."""

    listener: Any = None

    def addReader(self, reader: Any) -> None:
        self.listener = reader

    def removeReader(self, reader: Any) -> None:
        self.listener = None

    def advance(self, amount: float) -> None:
        super().advance(amount)
        if self.listener is not None:
            self.listener.core.set_time(self.seconds())


class Loopback:
    """The network between the dialling ends and the core."""

    def __init__(self, clock: ManualClock) -> None:
        self.clock = clock
        self.ends: list[SocketEnd] = []
        self.port: Port | None = None

    @property
    def client(self) -> IStreamClientEndpoint:
        """Itself, to be dialled."""
        return cast("IStreamClientEndpoint", self)

    def connect(self, factory: Any) -> Deferred[Any]:
        if self.port is None:
            return fail(ConnectionRefusedError())  # type: ignore[no-untyped-call]
        handle = socket.socket()
        for option in socket.SO_SNDBUF, socket.SO_RCVBUF:
            handle.setsockopt(socket.SOL_SOCKET, option, BUFFER)
        handle.connect(self.port.handle.getsockname())
        handle.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        handle.setblocking(False)
        end = SocketEnd(handle)
        end.protocol = factory.buildProtocol(end.getPeer())
        self.ends.append(end)
        end.protocol.makeConnection(end)
        return succeed(end.protocol)

    def settle(self, limit: int) -> None:
        """Carry everything until nothing moves, and has not moved for a while."""
        quiet = 0
        while quiet < (DELAYED if any(end.out for end in self.ends if not end.lost) else 3):
            if self.carry(limit):
                quiet = 0
            else:
                quiet += 1
                time.sleep(0.0005)

    def break_all(self) -> None:
        for end in list(self.ends):
            end.out.clear()
            end.reset(ConnectionLost)

    def carry(self, limit: int) -> bool:
        """Carry what there is now; whether there was anything."""
        moved = [end.deliver(limit) for end in list(self.ends)]
        listener = self.clock.listener
        if listener is not None:
            poll = select.poll()
            poll.register(listener.fileno(), select.POLLIN)
            moved.append(not listener.core.idle())
            if poll.poll(0):
                listener.doRead()
                moved.append(True)
        return any(moved)


class CoreTransportHarness(TLSTransportHarness):
    """The core listens; Twisted dials."""

    cuts_off_floods_of_keys = True

    host = "127.0.0.1"
    listens_at = ADDRESS

    def __init__(self) -> None:
        super().__init__()
        self.clock = ManualClock()
        self.network: Any = Loopback(self.clock)
        self.listener: Any = None

    def listen(self, pausable: bool = True, **limits: Any) -> None:
        if not pausable:
            raise NotImplementedError("the core's port can always be paused")
        self.factory = FrameFactory(self._accept, clock=self.clock, **{"max_frame": LIMIT, **limits})
        listener = core_module("_core_listener").CoreListener
        self.network.port = Port()
        self.port = self.network.port.getHost().port
        self.listener = listener(self.network.port, self.server, self.factory, self.clock, threads=2, manual_clock=True)

    def break_all(self) -> None:
        super().break_all()
        self.settle()

    def handshakes(self) -> int:
        number: int = self.listener.core.handshakes
        return number

    def connections(self) -> int:
        number: int = self.listener.core.connections
        return number

    def waiting(self) -> int:
        """Bytes that lie where they were written, for the peer that takes the least."""
        ends: list[Any] = [end.connection for end in self.accepted if end.connection is not None]
        return int(max([len(end.out) for end in self.network.ends] + [end.unsent for end in ends]))

    def end(self) -> None:
        if self.listener is None:
            return
        self.listener.stopListening()
        self.settle()
        assert self.clock.listener is None, "the core did not end with its last connection"
        self.factory.stopFactory()


class ListeningFirstHarness(CoreTransportHarness):
    """The same, where the near end of a pair is the core's."""

    near_listens = True


__all__ = ["HIGH_WATER", "CoreTransportHarness", "ListeningFirstHarness", "Recorder"]
