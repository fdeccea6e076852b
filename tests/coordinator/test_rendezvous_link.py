"""The coordinator's connection to a rendezvous, with the rendezvous in memory and a clock that stands still."""

from typing import Any

import pytest
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.task import Clock

from mu_twisted.coordinator import RendezvousLink
from mu_twisted.transport import Receiver, TransportError


class Relay:
    """What the link dials, and the one connection that it has."""

    def __init__(self) -> None:
        self.there = True
        self.dialled = 0
        self.link: Any = None
        self.heard: list[bytes] = []
        self.max_frame = 0
        self.up = False

    def dial(self, receiver: Receiver) -> Deferred[Any]:
        self.dialled += 1
        if not self.there:
            return fail(TransportError("cannot connect: refused"))
        self.link, self.up = receiver, True
        receiver.connected(self)  # type: ignore[arg-type]
        return succeed(self)

    def send(self, *payloads: bytes) -> None:
        self.heard += payloads

    def close(self) -> None:
        self.breaks()

    def says(self, *payloads: bytes) -> None:
        self.link.frames_received(list(payloads))

    def breaks(self) -> None:
        if self.up:
            self.up = False
            self.link.disconnected("closed by the peer")

    def takes(self) -> list[bytes]:
        heard, self.heard = self.heard, []
        return heard


class Told:
    def __init__(self) -> None:
        self.events: list[Any] = []

    def messages_lost(self, task: int) -> None:
        self.events.append(task)

    def store_named(self, store: str) -> None:
        self.events.append(store)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def relay() -> Relay:
    return Relay()


@pytest.fixture
def link(clock: Clock, relay: Relay) -> RendezvousLink:
    link = RendezvousLink(clock, relay.dial, "127.0.0.1:13337")
    Deferred.fromCoroutine(link.open())
    return link


def test_a_job_is_told_at_once_and_again_every_minute(clock: Clock, relay: Relay, link: RendezvousLink) -> None:
    link.add("j", Told(), {"spill": 5})
    assert relay.takes() == [b'JOB:j:{"spill":5}']
    clock.pump([30.0] * 4)
    assert relay.takes() == [b'JOB:j:{"spill":5}'] * 2
    link.remove("j")
    link.remove("j")
    assert relay.takes() == [b"END:j"]
    clock.pump([30.0] * 4)
    assert relay.takes() == []


def test_what_the_rendezvous_lost_reaches_the_job_that_it_was_of(relay: Relay, link: RendezvousLink) -> None:
    told, other = Told(), Told()
    link.add("j", told)
    link.add("k", other)
    relay.says(b"OK:JOB:j:aa", b"OK:JOB:k:bb", b"LOST:j:3", b"LOST:gone:3", b"OK:JOB:j:aa", b"nonsense", b"END:j")
    assert (told.events, other.events) == (["aa", 3, "aa"], ["bb"])


def test_a_rendezvous_that_went_is_dialled_until_it_is_back(clock: Clock, relay: Relay, link: RendezvousLink) -> None:
    told = Told()
    link.add("j", told)
    relay.takes()
    relay.there = False
    relay.breaks()
    clock.pump([0.25] * 400)
    assert 15 < relay.dialled < 30
    relay.there = True
    clock.advance(5.0)
    assert relay.takes() == [b"JOB:j:{}"]
    relay.says(b"OK:JOB:j:bb")
    assert told.events == ["bb"]


def test_a_link_that_is_started_dials_until_the_rendezvous_is_there(clock: Clock, relay: Relay) -> None:
    relay.there = False
    link = RendezvousLink(clock, relay.dial, "x")
    link.start()
    link.start()
    link.add("j", Told())
    relay.there = True
    clock.advance(5.0)
    assert relay.takes() == [b"JOB:j:{}"]


def test_after_its_close_nothing_is_dialled(clock: Clock, relay: Relay, link: RendezvousLink) -> None:
    relay.there = False
    relay.breaks()
    link.close()
    clock.pump([10.0] * 10)
    assert relay.dialled == 1
    assert not clock.getDelayedCalls()


def test_a_rendezvous_that_is_not_there_is_an_error_of_the_first_dialling(clock: Clock, relay: Relay) -> None:
    relay.there = False
    failed = Deferred.fromCoroutine(RendezvousLink(clock, relay.dial, "x").open())
    errors: list[Any] = []
    failed.addErrback(errors.append)
    assert errors[0].check(TransportError)
    assert not clock.getDelayedCalls()
