"""To which peers a worker wants paths, whatever becomes of these and of the rendezvous: real sockets, no rendezvous."""

import selectors
import socket
import time
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from punching_workers import JOB, contexts

from mu_twisted.tls import TaskIdentity
from mu_twisted.wire.punching import DirectGreeting, PunchNo, PunchRefusal, PunchWant
from worker_lambda.connection import Stream
from worker_lambda.links import _direct_paths
from worker_lambda.links._direct_paths import PAUSE, DirectPaths
from worker_lambda.punching import Link

PEER = 7


class Paths:
    """The paths of task 3, whose rendezvous says what the test has it say."""

    def __init__(self) -> None:
        self.selector = selectors.DefaultSelector()
        self.said: list[bytes] = []
        self.paths = DirectPaths(
            self.selector,
            JOB,
            3,
            0,
            contexts(TaskIdentity(JOB, 3, 0)),
            silence=10.0,
            up=lambda path: None,
            lost=lambda path: None,
            received=lambda path, frame: None,
            held=lambda: False,
            piped=lambda path, frame: None,
        )
        self._sockets: list[socket.socket] = []

    def dial(self) -> None:
        """A connection to the rendezvous is there, a new one."""
        self.paths.end()
        self.paths.new_port()
        with socket.create_server(("127.0.0.1", 0)) as listener:
            control = socket.socket()
            self.paths.prepare(control)
            control.connect(listener.getsockname())
            self._sockets += [control, listener.accept()[0]]
        self.paths.begin(control, self.said.append)

    def wants(self) -> list[bytes]:
        """What the rendezvous was asked for since the last time."""
        self.step()
        said, self.said[:] = [each for each in self.said if each.startswith(b"PUNCH_WANT:")], []
        return said

    def step(self) -> None:
        for key, events in self.selector.select(0.0):
            key.data(events)
        self.paths.step(lambda path: False, ())

    def lose(self) -> None:
        """A path to the peer comes up, and is lost."""
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        stream: Any = Stream(ours)
        self.paths._connected(Link(DirectGreeting(JOB, PEER, 0, "0" * 32), stream, 0.0))
        assert self.paths.outcomes == {PEER: "direct"}
        theirs.close()
        while self.paths.there:
            self.step()

    def close(self) -> None:
        self.paths.close()
        self.selector.close()
        for each in self._sockets:
            each.close()


@pytest.fixture
def paths() -> Iterator[Paths]:
    made = Paths()
    yield made
    made.close()


REQUESTED = [PunchWant(PEER).encode()]


@pytest.mark.parametrize("before", [None, PunchRefusal.ABSENT, PunchRefusal.LIMIT, "lost"])
def test_what_is_not_settled_when_the_rendezvous_is_lost_is_asked_for_again(
    paths: Paths, monkeypatch: pytest.MonkeyPatch, before: PunchRefusal | str | None
) -> None:
    now = time.monotonic()
    monkeypatch.setattr(_direct_paths, "time", SimpleNamespace(monotonic=lambda: now))
    paths.dial()
    paths.paths.want([PEER])
    assert paths.wants() == REQUESTED
    if before is not None:
        if isinstance(before, PunchRefusal):
            paths.paths.take(PunchNo(PEER, before).encode())
        else:
            paths.lose()
        assert paths.paths.outcomes == {PEER: before}
        paths.paths.want([PEER])
        paths.dial()
        assert paths.wants() == []  # it is too soon
        now += PAUSE
        paths.paths.want([PEER])
        assert paths.wants() == REQUESTED
    for _ in range(2):
        paths.dial()
        assert paths.wants() == REQUESTED


@pytest.mark.parametrize("reason", [PunchRefusal.EDM, PunchRefusal.OFF])
def test_a_peer_that_cannot_be_reached_is_not_asked_for_again(paths: Paths, reason: PunchRefusal) -> None:
    paths.dial()
    paths.paths.want([PEER])
    assert paths.wants() == REQUESTED
    paths.paths.take(PunchNo(PEER, reason).encode())
    paths.dial()
    paths.paths.want([PEER])
    assert paths.wants() == []


def test_of_peers_that_wait_for_the_rendezvous_it_is_said_that_it_is_unreachable(paths: Paths) -> None:
    assert not paths.paths.waiting
    paths.paths.want([PEER, 9])
    paths.paths.unreachable()
    assert paths.paths.waiting
    assert paths.paths.take_news() == {PEER: "unreachable", 9: "unreachable"}
    paths.paths.unreachable()
    assert paths.paths.take_news() == {}  # it is known
    paths.dial()
    assert paths.wants() == [PunchWant(PEER).encode(), PunchWant(9).encode()]
    paths.paths.take(PunchNo(9, PunchRefusal.EDM).encode())
    paths.paths.unreachable()
    assert paths.paths.take_news() == {9: "edm"}


def test_a_rendezvous_that_knows_no_punching_is_said_to_allow_none(paths: Paths) -> None:
    paths.paths.want([PEER])
    paths.paths.refuse(PunchRefusal.OFF)
    paths.paths.want([9])
    assert paths.paths.take_news() == {PEER: "off", 9: "off"}


def test_without_a_port_to_listen_on_it_is_said_and_tried_at_the_next_rendezvous(paths: Paths) -> None:
    paths.paths.want([PEER])
    ours, theirs = socket.socketpair()
    with ours, theirs, socket.create_server(("127.0.0.1", 0)) as taken:
        paths.paths._port.number = taken.getsockname()[1]  # it shares it with no one
        with socket.create_connection(taken.getsockname()) as control:
            paths.paths.begin(control, paths.said.append)
    assert paths.paths.take_news() == {PEER: "limit"}
    assert paths.paths.report is None
