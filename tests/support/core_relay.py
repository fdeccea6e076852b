"""A relay whose connections are the core's: sockets on loopback, threads for handshakes, time that stands still."""

from typing import Any

from core_transport import Loopback, ManualClock, Port, core_module
from memory_relay import AUTHORITY, SERVER, MemoryRelay

from mu_twisted.tls import server_contexts


class CoreRelay(MemoryRelay):
    """As its base, with TLS always: peers without identities share one key."""

    def _network(self) -> tuple[Any, Any]:
        clock = ManualClock()
        return clock, Loopback(clock)

    def _listen(self) -> None:
        kind = core_module("_core_listener").CoreListener
        self.network.port = Port()
        contexts = server_contexts(SERVER, AUTHORITY.certificate)
        self._listener = kind(self.network.port, contexts, self.relay.factory, self.clock, threads=1, manual_clock=True)

    def advance(self, seconds: float) -> None:
        for at in range(1, int(seconds * 4) + 2):
            self.clock.advance(0.25 if at <= seconds * 4 else seconds % 0.25)
            if self.network.carry(1 << 16):
                self.settle()

    @property
    def _encrypted(self) -> bool:
        return True

    def _listen_no_more(self) -> None:
        self._listener.stopListening()
        self.settle()
        assert self.clock.listener is None, "the core did not end with its last connection"
        self.relay.factory.stopFactory()
