"""What the coordinator does for messages that workers send directly: who may, and what becomes of those that leave."""

import json
from typing import Any

import pytest
from job_bench import Bench
from twisted.internet.task import Clock
from worker_double import WorkerDouble

from mu_twisted.coordinator import Attempts, Peers
from mu_twisted.coordinator.observation._log import state_lines
from mu_twisted.fsm import Worker
from mu_twisted.tls import KeyPair
from mu_twisted.wire import Greeting
from mu_twisted.wire.links import LINKS
from mu_twisted.wire.pipes import PIPES
from mu_twisted.wire.punching import PUNCH

PEM = b"-----BEGIN CERTIFICATE-----\nQUJD\n-----END CERTIFICATE-----\n"
IDENTITY = b"identity:QUJD QUJD"


async def exchange(w: Worker) -> None:
    await w.run("work")


def linked(*, direct: bool = True, **more: Any) -> Bench:
    peers = Peers("j", ["h:1"], lambda identity: KeyPair(PEM, PEM), direct=direct)
    tasks = range(more["tasks"])
    edges = {task: [other for other in tasks if other != task] for task in tasks}
    return Bench(**{"first": exchange, "peers": peers, "messages": lambda *_: tasks, "edges": edges, **more})


def greets(bench: Bench, launch_id: str, supports: tuple[str, ...] = (LINKS, PUNCH)) -> WorkerDouble:
    worker = bench.worker()
    worker.says(Greeting(1, launch_id, 100_000, 128, supports=supports).encode())
    return worker


def both_at_work(**more: Any) -> tuple[Bench, WorkerDouble, WorkerDouble]:
    bench = linked(**{"tasks": 2, **more})
    first, second = greets(bench, "0-0"), greets(bench, "0-1")
    for worker in (first, second):
        worker.takes()
        worker.says(b"OK:IDENTITY", b"OK:LINK")
    first.says(b'INFO:paths:{"1":"direct"}')
    second.says(b'INFO:paths:{"0":"direct"}')
    return bench, first, second


DONE = b"OK:RETVAL(0):OUTPUT():COMMAND(work)"


def test_a_worker_is_named_those_that_it_will_hear_of_where_it_can_punch() -> None:
    bench = linked(tasks=100)
    assert greets(bench, "0-0").takes()[:2] == [IDENTITY, b"link:h:1:j:0:0:1-64"]
    assert greets(bench, "0-1").takes()[:2] == [IDENTITY, b"link:h:1:j:1:0:2-65"]
    assert greets(bench, "0-2", (LINKS,)).takes()[:2] == [IDENTITY, b"link:h:1:j:2:0"]
    bench = linked(tasks=3, direct=False)
    assert greets(bench, "0-0").takes()[:2] == [IDENTITY, b"link:h:1:j:0:0"]


def test_a_gang_whose_pipes_have_broken_three_times_has_no_direct_paths_any_more() -> None:
    bench = linked(tasks=2, pipes=[(0, 1, "x")], reruns=20, retry_delay=0.1)
    workers = {launch_id: bench.worker() for launch_id in bench.launched}
    named: list[list[bytes]] = []
    for _ in range(5):
        for launch_id, worker in workers.items():
            worker.says(Greeting(1, launch_id, 100_000, 128, supports=(LINKS, PUNCH, PIPES)).encode())
        bench.clock.pump([1.0] * 3)
        by_link = {one: worker for worker in workers.values() for one in worker.takes() if one.startswith(b"link:")}
        named.append(sorted(by_link))
        by_link[named[-1][0]].says(b"FAIL(pipe 'x' to task 1 broke: the direct connection was lost)")
        for worker in workers.values():
            worker.takes()
    direct = [[b"link:h:1:j:0:%d:1" % attempt, b"link:h:1:j:1:%d:0" % attempt] for attempt in range(3)]
    relayed = [[b"link:h:1:j:0:%d" % attempt, b"link:h:1:j:1:%d" % attempt] for attempt in range(3, 5)]
    assert named == [*direct, *relayed]


def test_a_worker_whose_messages_may_be_wanted_again_leaves_when_they_may_not() -> None:
    bench, first, second = both_at_work()
    first.says(DONE)
    assert first.takes() == []
    bench.clock.advance(1.0)
    assert first.takes() == []
    second.says(DONE)
    assert second.takes() == [b"quit:"]
    assert first.takes() == [b"quit:"]
    assert bench.finished == [None]


def test_it_hands_them_over_where_that_takes_long() -> None:
    bench, first, second = both_at_work()
    first.says(DONE)
    bench.clock.pump([0.25] * 21)
    assert first.takes() == [b"hand_over:1"]
    first.says(b"OK:PONG", b"OK:HAND_OVER")
    assert first.takes() == [b"quit:"]
    second.says(DONE)
    assert bench.run.job.error is None


def test_a_worker_that_does_not_hand_them_over_is_dismissed_all_the_same() -> None:
    bench, first, _ = both_at_work()
    first.says(DONE)
    bench.clock.pump([0.25] * 21)
    assert first.takes() == [b"hand_over:1"]
    bench.clock.advance(301.0)
    assert first.takes()[-1] == b"quit:"


def test_a_worker_that_gets_another_task_hands_them_over_first() -> None:
    bench, first, _ = both_at_work(tasks=3)
    first.says(DONE)
    assert first.takes() == [b"hand_over:1-2", b"reset:"]
    first.says(b"OK:HAND_OVER", Greeting(1, "0-0", 100_000, 128, supports=(LINKS, PUNCH)).encode())
    assert first.takes()[:2] == [IDENTITY, b"link:h:1:j:2:0:0-1"]
    assert bench.run.job.error is None


def test_one_that_runs_again_for_its_messages_stops_when_they_are_sent() -> None:
    bench, first, _ = both_at_work()
    first.says(DONE)
    bench.run.messages_lost(0)
    bench.clock.pump([1.0] * 3)
    again = greets(bench, bench.launched[-1])
    again.takes()
    again.says(b"OK:IDENTITY", b"OK:LINK", b'INFO:paths:{"1":"direct"}')
    assert bench.run.counts.active == 2
    bench.run.messages_resent(0)
    bench.turn()
    assert again.takes() == [b"kill:", b"hand_over:1", b"reset:"]
    assert bench.run.counts.done == 1


def test_a_worker_that_has_sent_nothing_directly_leaves_at_once() -> None:
    bench = linked(tasks=2)
    first, _ = greets(bench, "0-0"), greets(bench, "0-1")
    first.takes()
    first.says(b"OK:IDENTITY", b"OK:LINK", b'INFO:paths:{"1":"edm"}', DONE)
    assert first.takes() == [b"quit:"]


def test_a_coordinator_that_stops_keeps_none_of_them() -> None:
    bench, first, _ = both_at_work()
    first.says(DONE)
    bench.run.stop()
    bench.turn()
    assert first.takes() == [b"quit:"]


def test_what_became_of_paths_is_counted() -> None:
    bench, first, second = both_at_work()
    first.says(b'INFO:paths:{"1":"lost","7":"edm"}')
    second.says(b'INFO:paths:{"0":"no way"}')  # which says nothing
    assert bench.meter.usage(0.0).paths == {"direct": 2, "lost": 1, "edm": 1}


def test_an_attempts_record_says_which_way_its_messages_went() -> None:
    lines: list[Any] = []
    clock = Clock()
    bench, first, _ = both_at_work(attempts=Attempts(clock, lambda data: lines.append(json.loads(data))))
    first.says(b'INFO:paths:{"1":"direct","5":"edm","7":"edm"}', DONE)
    assert lines[0]["paths"] == {"direct": 1, "edm": 2}
    assert list(state_lines(lines[0]))[:2] == [
        "attempt 0: done",
        "  messages: directly with 1 peer, by the rendezvous with 2 (edm)",
    ]
    assert bench.run.job.error is None


@pytest.mark.parametrize("outcomes", [b"{", b'{"1":2}', b'{"x":"direct"}'])
def test_what_a_worker_says_of_paths_is_checked(outcomes: bytes) -> None:
    bench, first, _ = both_at_work()
    first.says(b"INFO:paths:{" + outcomes)
    assert bench.meter.usage(0.0).paths == {"direct": 2}
    assert not first.closed
