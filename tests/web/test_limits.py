"""What a peer can fill or hold has its limit: in memory, on a clock that stands still."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any

import pytest
from memory_service import MemoryService
from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionAborted, ConnectionDone
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure

from mu_twisted.coordinator import Request
from mu_twisted.statuses import JobStatus
from mu_twisted.web._api import Api
from mu_twisted.web._calls import Call, CallRefusal, Reply
from mu_twisted.web._factory import ControlFactory
from mu_twisted.web._http import LINGER_BYTES, LINGER_TIME, READ_TIME, WRITE_TIME

REQUEST = b"GET /v1/daemon HTTP/1.1\r\nHost: mu\r\n\r\n"


class Wire(StringTransport):
    """A connection to the factory; ends at once when it is aborted, and when it is closed once all is read."""

    def __init__(self, factory: ControlFactory, *, known: bool = True) -> None:
        super().__init__()
        self.known = known
        self.lost = False
        self.protocol = factory.buildProtocol(None)
        self.protocol.makeConnection(self)

    def send(self, data: bytes) -> Wire:
        self.protocol.dataReceived(data)
        return self

    def abortConnection(self) -> None:
        self._lose(ConnectionAborted())

    def end(self) -> None:
        """The peer has closed it."""
        self._lose(ConnectionDone())

    def _lose(self, error: Exception) -> None:
        if not self.lost:
            self.lost = True
            self.protocol.connectionLost(Failure(error))

    @property
    def said(self) -> bytes:
        return self.value()


def admit(wire: Wire) -> str:
    if not wire.known:
        raise CallRefusal(HTTPStatus.FORBIDDEN, "who are you?")
    return "somebody"


class FactoryHarness:
    """A factory over a clock, whose answers are given when a test says so."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.calls: list[Call] = []
        self.answers: list[Deferred[Reply]] = []
        self.cancelled: list[Deferred[Reply]] = []
        self.factory = ControlFactory(
            self.answer, admit, clock=self.clock, max_body=1000, max_connections=3, max_unadmitted=2
        )

    def answer(self, call: Call) -> Deferred[Reply]:
        self.calls.append(call)
        self.answers.append(Deferred(self.cancelled.append))
        return self.answers[-1]

    def wire(self, *, known: bool = True) -> Wire:
        return Wire(self.factory, known=known)

    def settled(self) -> None:
        """Nothing is left behind."""
        assert not self.factory.channels
        assert not self.clock.getDelayedCalls()


@pytest.fixture
def harness() -> FactoryHarness:
    return FactoryHarness()


@pytest.mark.parametrize("sent", [b"", REQUEST[:-2], b"POST /v1/jobs HTTP/1.1\r\nContent-Length: 9\r\n\r\n1"])
def test_a_request_must_be_there_in_time_however_it_trickles(harness: FactoryHarness, sent: bytes) -> None:
    wire = harness.wire()
    harness.clock.advance(READ_TIME - 1)
    wire.send(sent)
    assert not wire.lost
    harness.clock.advance(1)
    assert wire.lost
    harness.settled()


def test_an_answer_takes_its_time_and_must_then_be_taken(harness: FactoryHarness) -> None:
    wire = harness.wire().send(REQUEST)
    harness.clock.advance(10 * READ_TIME)
    assert not wire.lost
    harness.answers[0].callback(Reply(HTTPStatus.OK, b"{}\n"))
    assert wire.said.endswith(b"{}\n")
    assert wire.disconnecting
    harness.clock.advance(WRITE_TIME)
    assert wire.lost
    harness.settled()


def test_a_client_that_goes_takes_its_request_along(harness: FactoryHarness) -> None:
    wire = harness.wire().send(REQUEST)
    wire.end()
    assert harness.cancelled == harness.answers
    harness.settled()


def test_a_refused_request_is_read_for_a_while_and_thrown_away(harness: FactoryHarness) -> None:
    wire = harness.wire().send(b"POST /v1/jobs HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 1001\r\n\r\n")
    assert wire.said.startswith(b"HTTP/1.1 413 ")
    assert wire.said.count(b"HTTP/1.1") == 1
    wire.send(bytes(1001) + REQUEST)
    assert wire.said.count(b"HTTP/1.1") == 1
    assert not wire.lost
    harness.clock.advance(LINGER_TIME)
    assert wire.lost
    assert not harness.calls
    harness.settled()


def test_not_too_much_of_a_refused_request_is_read(harness: FactoryHarness) -> None:
    wire = harness.wire(known=False).send(b"x")
    assert wire.said.startswith(b"HTTP/1.1 403 ")
    wire.send(bytes(LINGER_BYTES))
    assert wire.lost
    harness.settled()


def test_a_body_at_the_limit_is_taken(harness: FactoryHarness) -> None:
    harness.wire().send(b"POST /v1/jobs HTTP/1.1\r\nContent-Length: 1000\r\n\r\n" + b"x" * 1000).end()
    assert harness.calls[0].body == b"x" * 1000


def test_too_many_are_told_so_and_more_are_turned_away(harness: FactoryHarness) -> None:
    wires = [harness.wire().send(REQUEST) for _ in range(8)]
    assert len(harness.calls) == 3
    assert [wire.said[:13] for wire in wires] == [b""] * 3 + [b"HTTP/1.1 503 "] * 5
    assert harness.wire().lost
    for wire in wires:
        wire.end()
    harness.settled()
    harness.wire().send(REQUEST).end()
    assert len(harness.calls) == 4


def test_unknown_peers_displace_one_another_and_keep_no_other_out(harness: FactoryHarness) -> None:
    strangers = [harness.wire(known=False) for _ in range(2)]
    strangers[0].send(b"x")
    own = harness.wire()  # a stranger so far
    assert [wire.lost for wire in strangers] == [True, False]
    own.send(REQUEST)
    more = [harness.wire(known=False).send(b"x") for _ in range(100)]
    assert [wire.lost for wire in more] == [True] * 98 + [False] * 2
    assert not own.lost
    assert len(harness.calls) == 1
    for wire in [*strangers, *more, own]:
        wire.end()


def test_closing_waits_a_moment_for_those_who_read(harness: FactoryHarness) -> None:
    reading = harness.wire().send(REQUEST)
    harness.answers[0].callback(Reply(HTTPStatus.OK, b"{}\n"))
    closed: list[Any] = []
    harness.factory.close(1.0).addCallback(closed.append)
    assert harness.wire().lost
    assert not closed
    harness.clock.advance(1.0)
    assert reading.lost
    assert closed
    harness.settled()


def test_a_submission_is_carried_out_even_if_its_client_is_gone() -> None:
    journal: Deferred[JobStatus] = Deferred()

    class Slow(MemoryService):
        def submit(self, request: Request) -> Deferred[JobStatus]:
            super().submit(request)
            return journal

    service = Slow()
    body = b'{"pipeline":"exec"}'
    answering = Deferred.fromCoroutine(Api(service, Clock()).answer(Call("POST", ("v1", "jobs"), body=body)))
    answering.addErrback(lambda _: None)
    answering.cancel()
    journal.callback(service.jobs()[0])
    assert len(service.jobs()) == 1
