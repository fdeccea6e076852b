"""The contract, over streams in memory: with mutual TLS as in production, and plain."""

from memory_transport import PlainWorld, TLSWorld
from transport_contract import (  # noqa: F401
    LIMIT,
    AuthenticatedContract,
    Recorder,
    Stranger,
    TransportContract,
    World,
    _log,
)


class TestPlain(TransportContract):
    def make_world(self) -> World:
        return PlainWorld()


class TestTLS(AuthenticatedContract, TransportContract):
    def make_world(self) -> World:
        return TLSWorld()
