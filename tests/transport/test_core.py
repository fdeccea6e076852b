"""The contract, with the core listening: real sockets and threads, and a clock that stands still."""

from typing import Any

import pytest
from core_transport import CoreTransportHarness, ListeningFirstHarness
from transport_contract import (  # noqa: F401
    AuthenticatedContract,
    TransportContract,
    TransportHarness,
    _log,
)


class TestCore(AuthenticatedContract, TransportContract):
    def make_world(self) -> TransportHarness:
        return CoreTransportHarness()

    def test_beyond_the_bound_connections_are_refused_where_the_port_cannot_wait(self, world: Any, log: Any) -> None:
        with pytest.raises(NotImplementedError):
            world.listen(pausable=False)


class TestCoreIsNear(TransportContract):
    def make_world(self) -> TransportHarness:
        return ListeningFirstHarness()
