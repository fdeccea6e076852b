"""The probe port: a token for an answer, and nothing for anything else."""

from collections.abc import Callable

import pytest
from twisted.internet.address import IPv4Address
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport

from mu_twisted.rendezvous._probe_port import MAX_PROBES, PROBE_TIMEOUT, ProbeFactory
from mu_twisted.rendezvous._punch_service import PunchService
from mu_twisted.rendezvous._punching import Party
from mu_twisted.wire import encode
from mu_twisted.wire.punching import (
    Offer,
    ProbeOrder,
    PunchGo,
    PunchNo,
    PunchWant,
    parse_from_rendezvous,
    probe_message,
)

TOKEN = "0123456789abcdef" * 2


class Caller:
    """A connection to the probe port."""

    def __init__(self, factory: ProbeFactory, ip: str = "203.0.113.1", port: int = 5000) -> None:
        protocol = factory.buildProtocol(IPv4Address("TCP", ip, port))
        assert protocol is not None
        self.protocol = protocol
        self.transport = StringTransport()
        self.transport.abortConnection = self.transport.loseConnection  # type: ignore[method-assign]
        protocol.makeConnection(self.transport)

    def says(self, data: bytes) -> bytes:
        """What it is answered."""
        self.protocol.dataReceived(data)
        answer: bytes = self.transport.value()
        return answer

    @property
    def closed(self) -> bool:
        return bool(self.transport.disconnecting)


@pytest.fixture
def shown() -> list[tuple[str, tuple[str, int]]]:
    return []


@pytest.fixture
def factory(shown: list[tuple[str, tuple[str, int]]]) -> ProbeFactory:
    def good(token: str, seen: tuple[str, int]) -> bool:
        shown.append((token, seen))
        return token == TOKEN

    return ProbeFactory(Clock(), good)


@pytest.mark.parametrize("split", [1, 13, 100])
def test_a_good_token_is_answered_and_the_connection_closed(
    factory: ProbeFactory, shown: list[tuple[str, tuple[str, int]]], split: int
) -> None:
    caller = Caller(factory)
    data = encode(probe_message(TOKEN))
    for start in range(0, len(data), split):
        answer = caller.says(data[start : start + split])
    assert answer == encode(b"OK:PROBE:reflexive/203.0.113.1/5000")
    assert caller.closed
    assert shown == [(TOKEN, ("203.0.113.1", 5000))]


@pytest.mark.parametrize(
    "said",
    [
        encode(probe_message("f" * 32)),
        encode(probe_message(TOKEN)) + b"0",
        encode(probe_message(TOKEN)) * 2,
        encode(b"PROBE:"),
        encode(b"HELLO"),
        encode(b"x" * 65),
        b"000000000065 ",
        b"GET / HTTP/1.1\r\n",
        b"\x16\x03\x01",
    ],
)
def test_anything_else_is_closed_without_a_word(factory: ProbeFactory, said: bytes) -> None:
    caller = Caller(factory)
    assert caller.says(said) == b""
    assert caller.closed


def test_a_connection_that_says_nothing_is_closed(shown: list[tuple[str, tuple[str, int]]]) -> None:
    clock = Clock()
    factory = ProbeFactory(clock, lambda token, seen: True)
    caller = Caller(factory)
    caller.says(b"0000")
    clock.advance(PROBE_TIMEOUT)
    assert caller.closed
    assert len(factory) == 0
    factory.stop()
    assert not clock.getDelayedCalls()


def test_there_are_so_many_at_once(factory: ProbeFactory) -> None:
    callers = [Caller(factory) for _ in range(MAX_PROBES)]
    assert factory.buildProtocol(IPv4Address("TCP", "203.0.113.9", 1)) is None
    callers[0].protocol.connectionLost()
    Caller(factory)
    factory.stop()
    assert all(caller.closed for caller in callers[1:])


class Peers:
    """A service, and what it says to its parties."""

    def __init__(self) -> None:
        self.clock = Clock()
        numbers = iter(range(1, 1000))
        self.service = PunchService(self.clock, token=lambda: f"{next(numbers):032x}")
        self.service.broker.probe_port = 7
        self.service.open()
        self.heard: dict[Party, list[object]] = {}

    def join(self, task: int) -> tuple[Party, Callable[[bytes], None]]:
        party = Party("j", task, 0)
        heard = self.heard.setdefault(party, [])

        def send(message: bytes) -> None:
            heard.append(parse_from_rendezvous(message))

        self.service.joined(party, ("203.0.113.1", 5000 + task), send)
        self.service.received(party, Offer(0, ()).encode())
        return party, send


def test_a_probe_and_the_time_for_it_decide_what_a_party_hears() -> None:
    peers = Peers()
    (one, _), (two, send) = peers.join(1), peers.join(2)
    order = peers.heard[one].pop()
    assert isinstance(order, ProbeOrder)
    peers.service.received(one, PunchWant(2).encode())
    assert Caller(peers.service.probes, port=5001).says(encode(probe_message(order.token))) == encode(
        b"OK:PROBE:reflexive/203.0.113.1/5001"
    )
    assert not peers.heard[one]
    peers.service.left(two, lambda message: None)  # of a connection that was replaced before
    assert not peers.heard[one]
    peers.clock.pump([0.25] * 10)
    assert isinstance(peers.heard[one].pop(), PunchGo)
    peers.service.left(two, send)
    peers.service.received(one, PunchWant(2).encode())
    assert peers.heard[one][-1] == PunchNo(2, "absent")  # type: ignore[arg-type]
    peers.service.close()
    assert not peers.clock.getDelayedCalls()
