"""The contract, over streams in memory: with mutual TLS as in production, and plain."""

from memory_transport import PlainTransportHarness, TLSTransportHarness
from transport_contract import (  # noqa: F401
    LIMIT,
    AuthenticatedContract,
    Recorder,
    Stranger,
    TransportContract,
    TransportHarness,
    _log,
)


class TestPlain(TransportContract):
    def make_world(self) -> TransportHarness:
        return PlainTransportHarness()


class TestTLS(AuthenticatedContract, TransportContract):
    def make_world(self) -> TransportHarness:
        return TLSTransportHarness()
