"""The policies against hostile peers, in memory and with a clock that stands still."""

from typing import Any

import pytest
from core_transport import CoreTransportHarness
from job_bench import Bench
from memory_transport import PlainTransportHarness, TLSTransportHarness
from transport_contract import Producer, Recorder, _log, outcome  # noqa: F401
from twisted.python.failure import Failure
from worker_double import WorkerDouble, launch_identity, ours

from mu_twisted.coordinator._session import MAX_UNASKED
from mu_twisted.fsm import InfoWatcherState, Machine, OnePassState, Outcome, Worker
from mu_twisted.transport import TransportError
from mu_twisted.wire import encode

MIB = 1 << 20


@pytest.fixture(params=[PlainTransportHarness, TLSTransportHarness, CoreTransportHarness], ids=["plain", "tls", "core"])
def world(request: Any, log: list[str]) -> Any:
    world = request.param()
    yield world
    world.settle()
    world.break_all()
    world.settle()
    assert world.clock.getDelayedCalls() == []
    world.end()


@pytest.fixture(params=[TLSTransportHarness, CoreTransportHarness], ids=["tls", "core"])
def tls(request: Any, log: list[str]) -> Any:
    world = request.param()
    yield world
    world.break_all()
    world.factory.stopFactory()
    assert world.clock.getDelayedCalls() == []
    world.end()


def pair(world: Any, **limits: Any) -> tuple[Recorder, Recorder]:
    world.listen(**limits)
    far = Recorder()
    world.dial(far)
    world.settle()
    return world.accepted[-1], far


def pass_handshake_timeout(world: Any) -> None:
    """The handshake timeout passes, and the look at the sockets after it."""
    world.clock.advance(1.0)
    world.settle()


@pytest.mark.parametrize("said", [b"", b"\x16\x03\x01\x02\x00\x01"], ids=["silent", "trickling"])
def test_handshakes_that_stand_still_give_way_when_there_are_many(tls: Any, log: list[str], said: bytes) -> None:
    tls.listen(max_handshakes=16)
    strangers = [tls.dial_bare() for _ in range(40)]
    worker = Recorder()
    result = outcome(tls.dial(worker))
    tls.settle()
    # In each timeout sixteen give way at most, and a quarter of them at least: the worker's turn is after the second.
    timeouts = 0
    while result == []:
        for stranger in strangers:
            stranger.write(said)
        tls.settle()
        assert result == []
        pass_handshake_timeout(tls)
        timeouts += 1
        assert timeouts <= 10
    assert timeouts >= 2
    assert result == [worker.connection]
    assert "its TLS handshake stood still for 1 s while 16 were in progress" in log[0]
    worker.end.close()
    tls.settle()


def test_connections_that_never_greet_give_way_and_leave_room_for_all_else(world: Any, log: list[str]) -> None:
    world.listen(max_connections=40)
    worker = Recorder()
    world.dial(worker)
    world.settle()
    world.accepted[-1].end.greeted()
    for _ in range(100):
        world.dial(Recorder())
        world.settle()
        assert world.connections() <= 40
    open_ = [end for end in world.accepted if not end.reasons]
    assert open_[0] is world.accepted[0]
    assert len(open_) <= 12
    newcomer = Recorder()
    world.dial(newcomer)
    world.settle()
    assert newcomer.connection is not None
    assert not newcomer.reasons
    assert any("it has not greeted, and others want its place" in line for line in log)
    world.factory.stopFactory()


def test_no_more_connections_are_taken_than_descriptors_are_left_for(world: Any, log: list[str]) -> None:
    world.listen(max_connections=16)
    refused: list[Failure] = []
    for _ in range(30):
        world.dial(Recorder()).addErrback(refused.append)
        world.settle()
        if world.accepted and not world.accepted[-1].reasons:
            world.accepted[-1].end.greeted()
        assert world.connections() <= 16
    assert world.connections() == 16
    assert not any(end.reasons for end in world.accepted)
    assert any("there are 16 connections already" in line for line in log)
    assert all(failure.check(TransportError) for failure in refused)
    world.factory.stopFactory()


def test_few_handshakes_may_stand_still_for_their_whole_time(tls: Any) -> None:
    tls.listen(max_handshakes=16)
    strangers = [tls.dial_bare() for _ in range(15)]
    tls.settle()
    for _ in range(9):
        pass_handshake_timeout(tls)
    assert not any(stranger.lost for stranger in strangers)


def test_what_a_peer_has_sent_while_we_were_busy_counts_as_going_on(tls: Any) -> None:
    tls.listen(max_handshakes=16)
    strangers = [tls.dial_bare() for _ in range(15)]
    tls.settle()
    worker = Recorder()
    result = outcome(tls.dial(worker))
    # It is on its way when the timeout is over, and there by the look at the sockets after it.
    tls.clock.callLater(1.0, tls.settle)
    tls.clock.advance(1.0)
    tls.settle()
    # Of each thread's those that stand still give way, until a quarter of all are gone.
    assert tls.handshakes() <= 12
    assert sum(bool(stranger.lost) for stranger in strangers) == 15 - tls.handshakes()
    assert result == [worker.connection]
    worker.end.close()
    tls.settle()


def test_who_takes_nothing_is_dropped_before_more_is_kept_for_it_than_the_limit(world: Any, log: list[str]) -> None:
    near, far = pair(world, max_unsent=2 * MIB)
    far.end.pause_reading()
    for _ in range(100):
        near.end.send(b"x" * (100 << 10))
        assert world.waiting() < 3 * MIB
    world.settle()
    assert len(near.reasons) == 1
    assert near.reasons[0].startswith("it does not take what it is sent: ")
    assert log == [f"dropped {world.host}:{near_port(log)}: {near.reasons[0]}"]


def near_port(log: list[str]) -> str:
    return log[0].split(":")[1]


def test_who_takes_what_it_is_sent_may_be_sent_any_amount(world: Any) -> None:
    near, far = pair(world, max_unsent=MIB // 2)
    for size in (100 << 10, 900 << 10) * 10:  # a single one may be more than the limit
        near.end.send(b"y" * size)
        world.settle()
    assert len(far.payloads) == 20
    assert not near.reasons


def test_a_producer_that_heeds_the_pauses_is_never_dropped(world: Any) -> None:
    near, far = pair(world, max_unsent=MIB)
    producer = Producer()
    near.end.send(b"a" * (500 << 10))
    near.end.register_producer(producer, True)
    assert producer.calls == ["pause"]
    with pytest.raises(RuntimeError):
        near.end.register_producer(Producer(), True)
    world.settle()
    assert producer.calls == ["pause", "resume"]
    near.end.send(b"a" * (500 << 10))
    world.settle()
    assert producer.calls == ["pause", "resume"] * 2
    near.end.unregister_producer()
    for _ in range(4):
        near.end.send(b"a" * (500 << 10))
        world.settle()
    assert len(far.payloads) == 6
    assert not near.reasons


def test_closing_cuts_off_who_takes_nothing(world: Any) -> None:
    near, far = pair(world, max_unsent=MIB)
    far.end.pause_reading()
    near.end.send(b"x" * MIB)
    near.end.close(b"quit:")
    world.settle()
    world.clock.advance(15)
    world.settle()
    assert near.reasons == ["closed here"]


class Dropping(WorkerDouble):
    """A worker whose connection knows why it was dropped."""

    reason = ""

    def drop(self, reason: str) -> None:
        self.reason = reason
        self.closed = True
        self.session.disconnected(reason)


@pytest.mark.parametrize("size", [1, 1 << 20])
def test_unsolicited_replies_are_dropped_until_they_are_a_flood(size: int) -> None:
    bench = Bench(tasks=1)
    bench.worker().says(ours("0-0"))
    spare = Dropping(bench.registry.new_session(), launch_identity(), bench.turn)
    spare.says(ours("0-1"))
    count, reply = 0, b"OK:ECHO(" + b"x" * size
    while not spare.closed:
        spare.says(reply, reply)
        count += 2
        assert count <= MAX_UNASKED + 2
    assert spare.reason == "it floods us with replies that were not asked for"
    assert count * size < 200 * MIB
    assert len(bench.registry) == 1


def test_a_task_counts_unsolicited_replies_anew() -> None:
    bench = Bench(tasks=1)
    worker = Dropping(bench.registry.new_session(), launch_identity(), bench.turn)
    for said in ([ours("0-0")], []):
        worker.says(*said, *[b"OK:PONG"] * MAX_UNASKED)
        assert not worker.closed
    worker.says(b"OK:PONG")
    assert worker.closed
    assert "it floods us" in bench.run.job.failures[0]


def test_frames_that_come_without_end_leave_nothing_behind(world: Any) -> None:
    world.listen()
    stranger = world.dial_with_bytes()
    world.settle()
    for _ in range(50):
        stranger.write(encode(b"v") * 5000)
        world.settle()
        end = world.accepted[-1]
        assert len(end.payloads) == 5000
        end.payloads.clear()
        end.reads.clear()
        assert end.end.pending == 0


async def talk(w: Worker) -> None:
    """Sends much for each reply."""
    while True:
        await w.set("much", "x" * 100_000)


def test_many_replies_at_once_bring_out_little_more_than_may_wait() -> None:
    bench = Bench(tasks=1, first=talk)
    worker = Dropping(bench.registry.new_session(), launch_identity(), bench.turn)
    worker.says(ours("0-0"))

    def send(*payloads: bytes) -> None:
        worker.sent += payloads
        if sum(map(len, worker.sent)) > MIB:
            worker.drop("it takes nothing")

    worker.send = send  # type: ignore[method-assign]
    worker.says(*[b"OK:SET(much)"] * 5000)
    assert worker.closed
    assert sum(map(len, worker.sent)) < MIB + 65 * 100_000


async def listen(w: Worker) -> None:
    """Has no end of its own."""
    while True:
        await w.informed()


class Listening(InfoWatcherState):
    """The same, as a state."""


class Greeted(OnePassState):
    """Goes there."""

    expect = "OK:HELLO"
    nextState = Listening


Listening.nextState = Listening


@pytest.mark.parametrize("listener", [listen, Greeted])
def test_infos_without_end_fail_no_machine_that_listens_to_them(listener: Any) -> None:
    machine = Machine(listener)
    machine.start()
    machine.receive([b"OK:HELLO"])
    for number in range(15_000):
        machine.receive([b"INFO:k:%d" % number])
    assert machine.outcome is Outcome.RUNNING
    assert machine.info == {"k": "14999"}
