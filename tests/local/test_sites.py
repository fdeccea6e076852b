"""Connections of a site are bounded: the longest silent one gives way, one that is owed an answer does not."""

from __future__ import annotations

from typing import Any

import pytest
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET

from mu_twisted.local._sites import BoundedSite, LimitedRequest

MOST = 4
REQUEST = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"


class Held(Resource):
    """Answers when the test says so."""

    isLeaf = True

    def __init__(self) -> None:
        super().__init__()
        self.requests: list[Any] = []

    def render(self, request: Any) -> Any:
        self.requests.append(request)
        return NOT_DONE_YET


class Small(LimitedRequest):
    max_body = 1000


class Transport(StringTransport):
    """Aborting it ends the connection, as a socket's does."""

    protocol: Any = None
    over = False

    def abortConnection(self) -> None:
        self.over = True
        self.protocol.connectionLost(None)


class SiteHarness:
    def __init__(self) -> None:
        self.held = Held()
        self.clock = Clock()
        self.site = BoundedSite(self.held, Small, self.clock, None, MOST)

    def connect(self, data: bytes = b"") -> Any:
        channel = self.site.buildProtocol(None)
        transport = Transport()
        transport.protocol = channel
        channel.makeConnection(transport)
        channel.socket = transport
        if data:
            channel.dataReceived(data)
        return channel


def closed(channel: Any) -> bool:
    return bool(channel.socket.over)


@pytest.fixture
def world() -> SiteHarness:
    return SiteHarness()


@pytest.mark.parametrize("said", [b"", b"GET / HT", b"POST / HTTP/1.1\r\nContent-Length: 500\r\n\r\nx"])
def test_of_silent_connections_the_oldest_is_evicted_whatever_it_has_sent(said: bytes, world: SiteHarness) -> None:
    silent = [world.connect(said) for _ in range(30)]
    caller = world.connect(REQUEST)
    assert [closed(one) for one in silent] == [True] * (30 - MOST + 1) + [False] * (MOST - 1)
    world.held.requests.pop().finish()
    assert b"200 OK" in caller.socket.value()


def test_one_that_says_something_is_the_youngest_again(world: SiteHarness) -> None:
    first, second, *_ = [world.connect() for _ in range(MOST)]
    first.dataReceived(b"GET")
    world.connect()
    assert (closed(first), closed(second)) == (False, True)


def test_one_that_is_owed_an_answer_stays_and_may_ask_again(world: SiteHarness) -> None:
    caller = world.connect(REQUEST)
    for _ in range(3 * MOST):
        world.connect()
    assert not closed(caller)
    world.held.requests.pop().finish()
    assert b"200 OK" in caller.socket.value()
    caller.dataReceived(REQUEST)
    assert len(world.held.requests) == 1


def test_one_that_has_its_answer_gives_way_as_others_do(world: SiteHarness) -> None:
    caller = world.connect(REQUEST)
    world.held.requests.pop().finish()
    for _ in range(MOST):
        world.connect()
    assert closed(caller)


def test_where_all_are_owed_an_answer_there_are_twice_as_many_and_no_more(world: SiteHarness) -> None:
    callers = [world.connect(REQUEST) for _ in range(2 * MOST)]
    late = world.connect()
    assert closed(late)
    assert not any(closed(one) for one in callers)


def test_what_has_gone_takes_no_room(world: SiteHarness) -> None:
    kept = world.connect()
    for _ in range(3 * MOST):
        world.connect().connectionLost(None)
    world.connect()
    assert not closed(kept)
