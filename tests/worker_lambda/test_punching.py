"""Links come to be between the right parties only, on the loopback. Through real NATs: tests/netns."""

import os
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from free_ports import refusing_port
from punching_workers import FOREIGN, JOB, LIMIT, Loop, World, contexts, receive_all

from mu_twisted.rendezvous._punching import PunchLimits
from mu_twisted.tls import Identity, LaunchIdentity, TaskIdentity
from mu_twisted.wire import encode
from mu_twisted.wire.punch_report import parse_punch_report
from mu_twisted.wire.punching import MAX_TIMEOUT, Candidate, CandidateKind, DirectGreeting, PunchGo, PunchOutcome
from worker_lambda.connection import TlsStream
from worker_lambda.punching import LocalPort
from worker_lambda.punching._candidate_dial import IP_MINTTL, IP_RECVERR, PACE, CandidateDial
from worker_lambda.punching._handshake import LinkHandshake, LinkTerms
from worker_lambda.punching._local_port import MAX_TTL, host_candidates, round_trip
from worker_lambda.punching._punch import Punch
from worker_lambda.punching._puncher import PAUSE

ROOT = Path(__file__).parents[2]
NONCE = "0123456789abcdef" * 2


@pytest.fixture
def world() -> Iterator[World]:
    made = World()
    yield made
    made.close()


@pytest.fixture
def slow(monkeypatch: pytest.MonkeyPatch) -> None:
    """Those who are there are linked at the first try, however slow the machine is."""
    for name in ("TIMEOUT", "TIMEOUT_NEAR"):
        monkeypatch.setattr(f"mu_twisted.rendezvous._punching.{name}", MAX_TIMEOUT)
    monkeypatch.setattr("mu_twisted.rendezvous._punching.RESULT_TIMEOUT", LIMIT)
    for name in ("TLS_TIMEOUT", "GREETING_TIMEOUT"):
        monkeypatch.setattr(f"worker_lambda.punching._handshake.{name}", LIMIT)
    monkeypatch.setattr("worker_lambda.punching._puncher.EARLY_TIMEOUT", LIMIT)


@pytest.fixture
def loop() -> Iterator[Loop]:
    made = Loop()
    yield made
    made.selector.close()


# -- workers ---------------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("slow")
@pytest.mark.parametrize("wanting", [0, 1])
def test_whichever_wants_it_both_get_one_link_and_know_whose_it_is(world: World, wanting: int) -> None:
    one, two = world.worker(3), world.worker(7, attempt=2)
    (one, two)[wanting].puncher.want((7, 3)[wanting])
    world.loop.run_until(lambda: one.links and two.links)
    [link], [back] = one.links, two.links
    assert (link.peer.task, link.peer.attempt, back.peer.task, back.peer.attempt) == (7, 2, 3, 0)
    link.stream.send(memoryview(b"there"))
    assert receive_all(world.loop, back.stream, 5) == b"there"
    back.stream.send(memoryview(b"and back"))
    assert receive_all(world.loop, link.stream, 8) == b"and back"
    assert link.stream.tls.version() == back.stream.tls.version() == "TLSv1.3"
    world.loop.run_until(lambda: world.broker.counts["direct"] == 2)
    assert not one.failures + two.failures
    for worker, peer in ((one, 7), (two, 3)):
        report = parse_punch_report(worker.puncher.report.encode())
        assert report.port == worker.address[1]
        [punch] = report.punches
        assert (punch.task, punch.outcome) == (peer, "direct")
        assert punch.tcp_ms is not None
        assert punch.tcp_ms <= punch.link_ms
        assert any(each.connected for each in punch.candidates)


@pytest.mark.usefixtures("slow")
def test_both_may_want_it_at_once(world: World) -> None:
    one, two = world.worker(0), world.worker(1)
    one.puncher.want(1)
    two.puncher.want(0)
    world.loop.run_until(lambda: one.links and two.links)
    world.loop.run_for(0.2)
    assert (len(one.links), len(two.links), world.broker.counts["begun"]) == (1, 1, 1)


@pytest.mark.usefixtures("slow")
def test_many_peers_are_linked_at_once(world: World) -> None:
    hub, others = world.worker(0), [world.worker(task) for task in range(1, 25)]
    for task in range(1, 25):
        hub.puncher.want(task)
    world.loop.run_until(lambda: len(hub.links) == 24 and all(other.links for other in others))
    assert sorted(link.peer.task for link in hub.links) == list(range(1, 25))


def test_the_rendezvous_refusal_is_the_reason(world: World) -> None:
    one = world.worker(0)
    one.puncher.want(1)
    one.puncher.want(0)
    world.loop.run_until(lambda: len(one.failures) == 2)
    assert sorted(one.failures) == [(0, "absent"), (1, "absent")]


@pytest.mark.parametrize(
    "shown",
    [TaskIdentity(JOB, 8, 0), TaskIdentity(JOB, 7, 1), TaskIdentity("other", 7, 0), LaunchIdentity(JOB)],
    ids=["task", "attempt", "job", "launch"],
)
@pytest.mark.parametrize("task", [3, 9], ids=["server", "client"])
def test_a_peer_with_another_certificate_is_refused(world: World, shown: Identity, task: int) -> None:
    one = world.worker(task)
    two = world.worker(7, identity=shown)
    one.puncher.want(7)
    world.loop.run_until(lambda: [said for said in one.said if said.startswith(b"PUNCH_RESULT:")])
    assert one.said[-1].endswith(b":certificate")
    assert not one.links
    assert not two.links


def test_a_nonce_of_another_punch_is_refused_on_both_sides(world: World) -> None:
    one, two = world.worker(0), world.worker(1)

    def stale(party: Any, message: bytes) -> bytes:
        fresh = message.split(b":")
        if message.startswith(b"PUNCH_GO:") and party == two.party:
            fresh[2] = b"f" * 32
        return b":".join(fresh)

    world.changed = stale
    one.puncher.want(1)

    def results() -> list[bytes]:
        return [said for worker in (one, two) for said in worker.said if said.startswith(b"PUNCH_RESULT:")]

    world.loop.run_until(lambda: len(results()) == 2)
    assert {said.rpartition(b":")[2] for said in results()} == {b"greeting"}
    assert not one.links + two.links


def test_a_used_nonce_opens_nothing(world: World) -> None:
    one, two = world.worker(0), world.worker(1)
    one.puncher.want(1)
    world.loop.run_until(lambda: one.links and two.links)
    client, _ = contexts(TaskIdentity(JOB, 0, 0))
    with socket.create_connection(two.address) as again:
        again.setblocking(False)
        theirs = DirectGreeting(JOB, 1, 0, two.links[0].peer.nonce)
        handshake = LinkHandshake(
            world.loop.selector, again, LinkTerms(client, DirectGreeting(JOB, 0, 0, theirs.nonce), theirs)
        )
        world.loop.steps.append(handshake.step)
        world.loop.run_until(lambda: handshake.failed)
    assert len(two.links) == 1


@pytest.mark.usefixtures("slow")
def test_connections_of_strangers_leave_nothing_behind(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("worker_lambda.punching._puncher.EARLY_TIMEOUT", 0.5)
    one, two, three = world.worker(0), world.worker(1), world.worker(2)
    strangers = [socket.create_connection(two.address) for _ in range(12)]
    before = len(os.listdir("/proc/self/fd"))  # noqa: PTH208
    one.puncher.want(1)
    world.loop.run_until(lambda: one.links and two.links)
    three.puncher.want(1)
    world.loop.run_until(lambda: three.links and len(two.links) == 2)
    world.loop.run_until(lambda: len(os.listdir("/proc/self/fd")) <= before + 4)  # noqa: PTH208 - the links' ends
    for stranger in strangers:
        stranger.settimeout(LIMIT)
        assert stranger.recv(1) == b""
        stranger.close()


def test_a_peer_that_is_not_there_costs_two_tries_with_a_pause() -> None:
    world = World(PunchLimits(pause=0.5))
    one, two = world.worker(0), world.worker(1)
    two.leave()
    one.puncher.want(1)
    world.loop.run_until(lambda: one.failures)
    assert one.failures == [(1, "refused")]
    assert world.broker.counts["begun"] == 2
    assert [said for said in one.said if said.startswith(b"PUNCH_WANT:")] == [b"PUNCH_WANT:1", b"PUNCH_WANT:1"]
    world.close()


def test_the_pause_of_workers_is_no_shorter_than_the_one_that_is_demanded() -> None:
    assert PunchLimits().pause <= PAUSE


def test_an_answer_that_never_comes_is_a_timeout(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("worker_lambda.punching._puncher.ANSWER_TIMEOUT", 0.1)
    one = world.worker(0)
    world.loop.steps.pop(0)  # the broker
    one.puncher.want(1)
    world.loop.run_until(lambda: one.failures)
    assert one.failures == [(1, "timeout")]


def test_two_tries_are_all_that_the_broker_gives() -> None:
    world = World(PunchLimits(tries=1, pause=0.1))
    one, two = world.worker(0), world.worker(1)
    two.leave()
    one.puncher.want(1)
    world.loop.run_until(lambda: one.failures)
    assert one.failures == [(1, "limit")]
    world.close()


# -- one connection --------------------------------------------------------------------------------------------------


class Ends:
    """A TCP connection, with a handshake at one end and a peer under the test's control at the other."""

    def __init__(self, loop: Loop, *, client: bool, peer: tuple[ssl.SSLContext, ssl.SSLContext] | None) -> None:
        self.loop = loop
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        theirs.setblocking(False)
        self.theirs = theirs
        mine, other = (1, 2) if client else (2, 1)
        context = contexts(TaskIdentity(JOB, mine, 0))[0 if client else 1]
        terms = LinkTerms(context, DirectGreeting(JOB, mine, 0, NONCE), DirectGreeting(JOB, other, 0, NONCE))
        self.handshake = LinkHandshake(loop.selector, ours, terms)
        loop.steps.append(self.handshake.step)
        self.stream: TlsStream | None = None
        if peer is not None:
            self.stream = TlsStream(theirs, peer[1 if client else 0], server_side=client)

    def shake(self) -> TlsStream:
        stream = self.stream
        assert stream is not None
        self.loop.run_until(stream.shake)
        return stream

    def ended(self) -> PunchOutcome | None:
        self.loop.run_until(lambda: self.handshake.failed or self.handshake.greeted)
        return self.handshake.failed

    def close(self) -> None:
        self.handshake.close()
        self.theirs.close()


@pytest.fixture
def ends(loop: Loop) -> Iterator[Callable[..., Ends]]:
    made: list[Ends] = []

    def make(**options: Any) -> Ends:
        options.setdefault("peer", contexts(TaskIdentity(JOB, 2 if options["client"] else 1, 0)))
        made.append(Ends(loop, **options))
        return made[-1]

    yield make
    for each in made:
        each.close()


def greeting(task: int, *, job: str = JOB, attempt: int = 0, nonce: str = NONCE) -> bytes:
    return encode(DirectGreeting(job, task, attempt, nonce).encode())


@pytest.mark.parametrize("client", [True, False])
def test_what_comes_behind_the_greeting_is_the_links(ends: Callable[..., Ends], client: bool) -> None:
    between = ends(client=client)
    stream = between.shake()
    stream.send(memoryview(greeting(2 if client else 1) + b"payload"))
    assert between.ended() is None
    link = between.handshake.finish()
    assert receive_all(between.loop, link, 7) == b"payload"
    mine = greeting(1 if client else 2)
    assert receive_all(between.loop, stream, len(mine)) == mine
    link.close()


@pytest.mark.parametrize("client", [True, False])
@pytest.mark.parametrize(
    "said",
    [
        greeting(3),
        greeting(2, attempt=1),
        greeting(1, attempt=1),
        greeting(2, job="other"),
        greeting(2, nonce="0" * 32),
        encode(b"HELLO_DIRECT"),
        encode(b"x" * 257),
        b"not a frame at all",
        b"000000000300 ",
        b"",
    ],
    ids=["task", "attempt", "attempt of server", "job", "nonce", "cut", "long", "no frame", "announced", "nothing"],
)
def test_another_greeting_is_refused_and_nothing_delivered(
    ends: Callable[..., Ends], client: bool, said: bytes
) -> None:
    between = ends(client=client)
    stream = between.shake()
    if said:
        stream.send(memoryview(said + b"payload"))
    else:
        stream.close_writing()
    assert between.ended() is PunchOutcome.GREETING
    assert not between.handshake.greeted


@pytest.mark.parametrize("client", [True, False])
def test_a_certificate_of_a_foreign_ca_is_refused(ends: Callable[..., Ends], client: bool) -> None:
    foreign = contexts(TaskIdentity(JOB, 2 if client else 1, 0), FOREIGN)
    for context in foreign:
        context.verify_mode = ssl.CERT_NONE  # it takes us, we do not take it
    between = ends(client=client, peer=foreign)
    stream = between.stream
    assert stream is not None

    def shaken() -> bool:
        try:
            return stream.shake()
        except ssl.SSLError:
            return True

    between.loop.run_until(lambda: shaken() and between.handshake.failed)
    assert between.handshake.failed is PunchOutcome.TLS


def test_a_client_without_certificate_is_refused(ends: Callable[..., Ends]) -> None:
    bare = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    bare.check_hostname = False
    bare.verify_mode = ssl.CERT_NONE
    between = ends(client=False, peer=(bare, bare))
    stream = between.shake()
    stream.send(memoryview(greeting(1) + b"payload"))
    assert between.ended() is PunchOutcome.TLS


@pytest.mark.parametrize("client", [True, False])
def test_nothing_older_than_tls_1_3_is_spoken(ends: Callable[..., Ends], client: bool) -> None:
    older = contexts(TaskIdentity(JOB, 2 if client else 1, 0))
    for context in older:
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.maximum_version = ssl.TLSVersion.TLSv1_2
    between = ends(client=client, peer=older)

    def broken() -> bool:
        assert between.stream is not None
        try:
            between.stream.shake()
        except ssl.SSLError:
            return True
        return False

    between.loop.run_until(lambda: broken() or between.handshake.failed)
    assert between.ended() is PunchOutcome.TLS


@pytest.mark.parametrize("client", [True, False])
def test_a_peer_that_says_nothing_is_given_up(
    ends: Callable[..., Ends], client: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("worker_lambda.punching._handshake.TLS_TIMEOUT", 0.1)
    monkeypatch.setattr("worker_lambda.punching._handshake.GREETING_TIMEOUT", 0.1)
    assert ends(client=client, peer=None).ended() is PunchOutcome.TLS
    monkeypatch.setattr("worker_lambda.punching._handshake.TLS_TIMEOUT", 10.0)
    between = ends(client=client)
    between.shake()
    assert between.ended() is PunchOutcome.GREETING


def test_a_connection_that_is_given_up_is_reset(loop: Loop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("worker_lambda.punching._handshake.TLS_TIMEOUT", 0.1)
    with socket.create_server(("127.0.0.1", 0)) as server, socket.create_connection(server.getsockname()) as ours:
        ours.setblocking(False)
        theirs, _ = server.accept()
        terms = LinkTerms(
            contexts(TaskIdentity(JOB, 1, 0))[0], DirectGreeting(JOB, 1, 0, NONCE), DirectGreeting(JOB, 2, 0, NONCE)
        )
        handshake = LinkHandshake(loop.selector, ours, terms)
        loop.steps.append(handshake.step)
        loop.run_until(lambda: handshake.failed)
        with theirs:
            theirs.settimeout(LIMIT)
            theirs.recv(4096)  # how the handshake begins
            with pytest.raises(ConnectionResetError):
                theirs.recv(4096)


# -- dials and the port ----------------------------------------------------------------------------------------------


def test_a_dial_is_repeated_on_errors_at_the_pace_that_was_drawn(loop: Loop) -> None:
    port = LocalPort()
    with port.new_socket(socket.AF_INET), socket.socket() as server:
        server.bind(("127.0.0.1", 0))  # and does not listen yet
        drawn: list[tuple[float, float]] = []

        def uniform(low: float, high: float) -> float:
            drawn.append((low, high))
            return high

        dial = CandidateDial(loop.selector, port, server.getsockname(), time.monotonic(), uniform)
        loop.steps.append(dial.step)
        loop.run_until(lambda: len(drawn) >= 5)
        assert set(drawn) == {PACE}
        assert dial.was_refused()
        server.listen()
        loop.run_until(lambda: dial.connected)
        assert dial.connected is not None
        assert dial.connected.getsockname()[1] == port.number
        dial.connected.close()


@pytest.mark.parametrize("enduring", [True, False])
def test_what_has_connected_takes_packets_and_errors_as_any_socket_does(loop: Loop, enduring: bool) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server, socket.socket() as other:
        dial = CandidateDial(
            loop.selector,
            LocalPort(),
            server.getsockname(),
            time.monotonic(),
            lambda low, high: low,
            enduring=enduring,
        )
        loop.steps.append(dial.step)
        loop.run_until(lambda: dial.connected)
        assert dial.connected is not None
        with dial.connected as sock:
            for option in (IP_RECVERR, IP_MINTTL):
                assert sock.getsockopt(socket.IPPROTO_IP, option) == other.getsockopt(socket.IPPROTO_IP, option)
            assert sock.getsockopt(socket.IPPROTO_IP, socket.IP_TTL) == MAX_TTL


def test_a_dial_is_refused_though_the_loop_has_not_looked_since_its_answer_came(loop: Loop) -> None:
    with refusing_port() as port:
        dial = CandidateDial(loop.selector, LocalPort(), ("127.0.0.1", port), time.monotonic(), lambda low, high: low)
        dial.step()
        deadline = time.monotonic() + LIMIT
        while not dial.was_refused():  # and the loop has no turn
            assert time.monotonic() < deadline
        dial.close()


def test_a_dial_that_nothing_answers_is_left_alone(loop: Loop) -> None:
    with socket.socket() as full, socket.socket() as first:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        first.connect(full.getsockname())  # the queue has no room for another, so its SYN is dropped
        drawn: list[float] = []
        dial = CandidateDial(
            loop.selector, LocalPort(), full.getsockname(), time.monotonic(), lambda low, high: drawn.append(low) or low
        )
        loop.steps.append(dial.step)
        loop.run_for(0.5)
        assert not drawn
        assert dial.connected is None
        assert not dial.was_refused()
        dial.close()


@pytest.mark.usefixtures("slow")
def test_a_program_of_the_user_does_not_have_the_ports_descriptors(world: World) -> None:
    one, two = world.worker(0), world.worker(1)
    one.puncher.want(1)
    world.loop.run_until(lambda: one.links and two.links)
    shown = subprocess.run(
        ["/bin/sh", "-c", "ls -l /proc/self/fd"], capture_output=True, text=True, check=True, close_fds=False
    ).stdout
    inodes = {os.fstat(link.stream.socket.fileno()).st_ino for link in one.links + two.links}
    inodes.add(os.fstat(one.control.fileno()).st_ino)
    assert not [inode for inode in inodes if f"socket:[{inode}]" in shown]
    assert f"socket:[{one.control.fileno()}]" not in shown
    listeners = _listening_inodes({one.address[1], two.address[1]})
    assert listeners
    assert not [inode for inode in listeners if f"socket:[{inode}]" in shown]


def _listening_inodes(ports: set[int]) -> set[int]:
    found = set()
    for line in Path("/proc/net/tcp").read_text(encoding="ascii").splitlines()[1:]:
        fields = line.split()
        if int(fields[1].rpartition(":")[2], 16) in ports and fields[3] == "0A":
            found.add(int(fields[9]))
    return found


def test_what_the_connection_tells_of_the_host_is_offered() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server, socket.create_connection(server.getsockname()) as control:
        assert all(each.kind is CandidateKind.HOST for each in host_candidates(control))
        assert not [each for each in host_candidates(control) if each.ip.startswith("127.")]
        assert {each.port for each in host_candidates(control)} <= {control.getsockname()[1]}
        assert 0 < round_trip(control) < 1_000_000
    with socket.socket() as unconnected:
        assert round_trip(unconnected) == 0


def test_our_own_address_is_never_dialled(loop: Loop) -> None:
    port = LocalPort()
    listener = port.listen(socket.AF_INET)
    own = Candidate(CandidateKind.REFLEXIVE, "127.0.0.1", port.number)
    terms = LinkTerms(
        contexts(TaskIdentity(JOB, 1, 0))[0], DirectGreeting(JOB, 1, 0, NONCE), DirectGreeting(JOB, 2, 0, NONCE)
    )
    order = PunchGo(2, 0, NONCE, 0, 100, (own,))
    punch = Punch(loop.selector, port, {(own.ip, own.port)}, order, terms, lambda low, high: low)
    loop.steps.append(punch.step)
    loop.run_until(lambda: punch.outcome)
    assert punch.outcome is PunchOutcome.TIMEOUT
    with pytest.raises(BlockingIOError):
        listener.accept()
    listener.close()


def test_a_worker_that_uses_no_links_loads_nothing_of_it() -> None:
    loaded = loaded_by("worker_lambda.lambda_function")
    assert "punching" not in loaded
    assert "links" not in loaded


def test_a_worker_that_is_not_asked_how_it_has_punched_does_not_load_what_tells_it() -> None:
    loaded = loaded_by("worker_lambda.links._direct_paths")
    assert "punching" in loaded
    assert "punch_report" not in loaded


def loaded_by(module: str) -> str:
    """The names of all modules that this one loads."""
    script = f"import json, sys, {module}; print(json.dumps(sorted(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, check=True, capture_output=True, text=True)
    return done.stdout
