"""The contract, with the core listening: real sockets and threads, and a clock that stands still."""

import weakref
from typing import Any

import pytest
from core_transport import CoreTransportHarness, ListeningFirstHarness
from transport_contract import (  # noqa: F401
    AuthenticatedContract,
    TransportContract,
    TransportHarness,
    _log,
)

from mu_twisted.wire import encode


class TestCore(AuthenticatedContract, TransportContract):
    def make_world(self) -> TransportHarness:
        return CoreTransportHarness()

    def test_bundles_are_sent_at_once_to_a_connection_that_is_open(self, world: Any) -> None:
        (one, to_one), (two, to_two) = self.pair(world), self.pair(world)
        to_one.end.bundle()
        to_one.end.pass_on(to_two.end)
        one.end.send(b"before it was open")
        world.settle()
        to_two.end.open = True
        one.end.send(b"", b"a" * 3000)
        one.end.send(b"b")
        world.settle()
        assert [bytes(bundle) for bundle in to_one.bundles] == [encode(b"before it was open")]
        assert b"".join(bytes(bundle) for bundle, _ in to_one.passed) == b"".join(map(encode, two.payloads))
        assert two.payloads == [b"", b"a" * 3000, b"b"]
        assert {to for _, to in to_one.passed} == {to_two.end}
        to_one.end.pass_on(None)
        one.end.send(b"after")
        world.settle()
        assert bytes(to_one.bundles[1]) == encode(b"after")

    def test_bundles_can_be_sent_back_at_once(self, world: Any) -> None:
        one, to_one = self.pair(world)
        to_one.end.bundle()
        to_one.end.pass_on(to_one.end)
        to_one.end.open = True
        one.end.send(b"a", b"b")
        world.settle()
        assert one.payloads == [b"a", b"b"]

    def test_a_long_bundle_and_what_the_other_does_not_take_are_received(self, world: Any) -> None:
        (one, to_one), (two, to_two) = self.pair(world), self.pair(world)
        to_one.end.bundle()
        to_one.end.pass_on(to_two.end)
        to_two.end.open = True
        one.end.send(b"x" * 200_000)
        world.settle()
        assert [len(bundle) for bundle in to_one.bundles] == [len(encode(b"x" * 200_000))]
        two.end.pause_reading()
        for number in range(100):
            one.end.send(b"%d" % number * 10_000)
            world.settle()
        assert to_two.end.blocked
        assert 0 < to_two.end.unsent < 100_000 < sum(map(len, to_one.bundles[1:]))
        two.end.resume_reading()
        world.settle()
        assert b"".join(map(encode, two.payloads)) == b"".join(bytes(bundle) for bundle, _ in to_one.passed)
        assert to_two.reasons == []

    def test_bundles_for_a_connection_that_is_closing_or_gone_are_received(self, world: Any) -> None:
        (one, to_one), (two, to_two) = self.pair(world), self.pair(world)
        for (near, far), (_, other) in (((one, to_one), (two, to_two)), ((two, to_two), (one, to_one))):
            far.end.bundle()
            far.end.pass_on(other.end)
            near.end.send(b"a")
            other.end.open = True
        two.end.send(b"late")
        to_one.end.close()
        world.settle()
        assert to_two.passed == []
        two.end.send(b"too late")
        world.settle()
        assert b"".join(map(bytes, to_two.bundles)) == encode(b"a") + encode(b"late") + encode(b"too late")
        gone = weakref.ref(to_two.end)
        two.end.abort()
        world.settle()
        to_two.connection = None
        assert gone() is None

    @pytest.mark.parametrize("to_itself", [False, True])
    def test_bundles_can_be_sent_to_one_that_is_lost_in_the_same_turn(self, world: Any, to_itself: bool) -> None:
        (one, to_one), (two, to_two) = self.pair(world), self.pair(world)
        to_lost = to_one if to_itself else to_two
        to_one.end.bundle()
        to_one.end.pass_on(to_lost.end)
        to_lost.end.open = True
        for far in to_one, to_two:
            far.end.pause_reading()
        world.settle()
        one.end.send(b"a")
        for end in world.network.ends:
            end.deliver(1 << 16)
        for far in to_one, to_two:
            far.end.resume_reading()
        if to_itself:
            one.end.close()
        else:
            two.end.abort()
        world.settle()
        assert [(bytes(bundle), to) for bundle, to in to_one.passed] == [(encode(b"a"), to_lost.end)]
        assert len(to_lost.reasons) == 1
        assert one.payloads == []

    def test_beyond_the_bound_connections_are_refused_where_the_port_cannot_wait(self, world: Any, log: Any) -> None:
        with pytest.raises(NotImplementedError):
            world.listen(pausable=False)


class TestCoreIsNear(TransportContract):
    def make_world(self) -> TransportHarness:
        return ListeningFirstHarness()
