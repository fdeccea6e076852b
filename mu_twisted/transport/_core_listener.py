"""The core listener gives the core a listening socket, and what the core's turns bring to the protocols.

The core's threads carry out handshakes; all that is here happens in the reactor's thread. Imported only where the core
is there. docs/transport.md says who owns what.
"""

from typing import Any

from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.interfaces import IListeningPort, IReadDescriptor
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from mu_twisted.tls import ServerContexts
from mu_twisted.transport import _core
from mu_twisted.transport._core import BUNDLE, COUNTED, DROPPED, ESTABLISHED, FRAMES, NOTES, PASSED
from mu_twisted.transport._core_failures import describe_drop
from mu_twisted.transport._core_protocol import CoreProtocol
from mu_twisted.transport._factory import FrameFactory
from mu_twisted.transport._interfaces import TcpPort

ROUNDS = 8
"""Turns of the core for one of the reactor, as long as each brings something: an answer to what was sent may be here
already, and a turn of the reactor costs more than a look that finds nothing.
"""


@implementer(IReadDescriptor, IListeningPort)
class CoreListener:
    """A port whose connections are the core's; in place of the port that Twisted's endpoint has made.

    :param port: Twisted's, which reads no more: its socket and its address are used.
    :param contexts: what the port presents, and whom it accepts.
    :param factory: has the limits, and makes the receivers.
    :param reactor: watches the core's descriptor.
    :param threads: for handshakes.
    :param manual_clock: for tests; as the core's.
    :param begin: whether to accept at once; else with :meth:`begin`.
    :raises ValueError: the core does not take keys or limits.
    :raises OSError: threads or descriptors cannot be had.
    """

    _log = Logger()

    def __init__(
        self,
        port: TcpPort,
        contexts: ServerContexts,
        factory: FrameFactory,
        reactor: Any,
        *,
        threads: int,
        manual_clock: bool = False,
        begin: bool = True,
    ) -> None:
        self._port = port
        self._factory = factory
        self._reactor = reactor
        self._listening = True
        self.core = _core.Core(
            contexts.pair.certificate,
            contexts.pair.key,
            contexts.ca,
            CoreProtocol,
            threads=threads,
            max_handshakes=factory.max_handshakes,
            max_connections=factory.max_connections or 0,
            room=factory.room,
            handshake_timeout=factory.handshake_timeout,
            stall_timeout=factory.stall_timeout,
            max_frame=factory.max_frame,
            max_unsent=factory.max_unsent,
            manual_clock=manual_clock,
        )
        port.stopReading()
        self._fileno = self.core.fileno()
        reactor.addReader(self)
        if begin:
            self.begin()

    def begin(self) -> None:
        """Start the threads, which accept connections.

        :raises OSError: threads or descriptors cannot be had.
        """
        try:
            self.core.listen(self._port.fileno())
        except OSError:
            self._listening = False
            self._end()
            raise

    # The port

    def getHost(self) -> IPv4Address | IPv6Address:
        """Where it listens."""
        return self._port.getHost()

    def startListening(self) -> None:
        """Do nothing: it listens from the beginning."""

    def stopListening(self) -> Any:
        """Accept no more. Connections go on; the core ends with the last of them."""
        if self._listening:
            self._listening = False
            self.core.stop_listening()
            self.doRead()
        return self._port.stopListening()

    # What the reactor reads

    def fileno(self) -> int:
        return self._fileno

    def logPrefix(self) -> str:
        return "mu's transport"

    def doRead(self) -> None:
        """Take turns of the core, and give what they bring to the protocols."""
        for _ in range(ROUNDS):
            if self._fileno < 0:
                return
            events = self.core.turn()
            try:
                self._dispatch(events)
            finally:
                self.core.flush()
            if not events:
                break
        if not self._listening and not self.core.connections:
            self._end()

    def connectionLost(self, reason: Failure) -> None:
        """The reactor ends, and all connections with it."""
        self._listening = False
        self._end()

    def _end(self) -> None:
        if self._fileno >= 0:
            self._reactor.removeReader(self)
            self._fileno = -1
            self._dispatch(self.core.close())

    # What a turn brings

    def _dispatch(self, events: list[Any]) -> None:
        """Give each its own. A receiver that fails ends its own connection only."""
        for kind, protocol, what in events:
            if kind == DROPPED:
                self._dropped(*what)
            elif kind == COUNTED:
                self._counted(*what)
            else:
                try:
                    if kind == FRAMES:
                        protocol.delivered(what)
                    elif kind == BUNDLE:
                        protocol.bundled(what)
                    elif kind == PASSED:
                        protocol.passed(*what)
                    elif kind == NOTES:
                        protocol.noted(what)
                    elif kind == ESTABLISHED:
                        protocol.established(self._factory, *what)
                    else:
                        protocol.lost(*what)
                except Exception as error:  # noqa: BLE001 - as Twisted, which calls the protocols of its own so
                    protocol.failed(error)

    def _dropped(self, address: tuple[str, int], why: tuple[int, int, bytes]) -> None:
        if why[0] == _core.ENDED:
            return
        host, port = address
        factory = self._factory
        reason = describe_drop(why, handshake_timeout=factory.handshake_timeout, stall_timeout=factory.stall_timeout)
        factory.handshake_failed(f"[{host}]:{port}" if ":" in host else f"{host}:{port}", reason)

    def _counted(self, unreported: int, room_wanted: int) -> None:
        if unreported:
            self._factory.failed_handshakes["other"] += unreported
            self._factory.drops.dropped_more(unreported)
        for _ in range(room_wanted):
            self._factory.make_room()
