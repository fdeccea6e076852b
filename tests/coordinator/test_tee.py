"""What programs print is passed on while they run to callers that ask, within limits that no worker can exceed."""

from dataclasses import replace
from typing import Any

import pytest
from memory_jobs import MemoryCoordinator
from twisted.internet.defer import Deferred
from worker_double import WorkerDouble, launch_identity

from mu_twisted.coordinator import Request, TeeCursor, TeePage, parse_tee_cursor
from mu_twisted.coordinator.output._tee import BUFFER, FIRST, LINGER, MAX_RUNS, RATE
from mu_twisted.fsm import Worker
from mu_twisted.pipelines import Pipeline
from mu_twisted.wire import TEE, Greeting
from mu_twisted.wire.tee import COST, MAX_PIECE, OutputPiece


async def run_twice(w: Worker) -> None:
    await w.run("true")
    await w.run("true")


PIPELINE = Pipeline(name="p", summary="", first=run_twice)


def reply(text: bytes, status: int = 0) -> bytes:
    return b"OK:RETVAL(%d):OUTPUT(%b):COMMAND(true)" % (status, text)


def out(run: int, offset: int, data: bytes = b"") -> bytes:
    return OutputPiece(run, offset, data).encode()


def able(launch_id: str) -> bytes:
    return Greeting(1, launch_id, 1000, 128, supports=(TEE,)).encode()


class Watched:
    """A job, and a caller that asks for what its programs print."""

    def __init__(self, world: MemoryCoordinator, *words: str, tee: bool = True) -> None:
        world.pipeline = PIPELINE if world.pipeline.first is not run_twice else world.pipeline
        self.world = world
        self.job = world.at_once(world.jobs.submit(Request("p", words, tee=tee))).job
        self.after: TeeCursor | None = TeeCursor()

    def worker(self, number: int = 0, *, supports: bool = True) -> WorkerDouble:
        name = f"{self.job}/0-{number}"
        worker = WorkerDouble(self.world.registry.new_session(), launch_identity(self.job), self.world.turn)
        worker.says(able(name) if supports else Greeting(1, name, 1000, 128).encode())
        return worker

    def ask(self) -> "Deferred[TeePage]":
        return self.world.jobs.tee(self.job, self.after)

    def page(self) -> TeePage:
        request = self.ask()
        found: list[Any] = []
        request.addCallback(found.append)
        self.world.clock.advance(0.2)
        if not found:
            request.addErrback(lambda _: None)
            request.cancel()
            return TeePage((), str(self.after))
        self.after = parse_tee_cursor(found[0].next)
        return found[0]  # type: ignore[no-any-return]

    def shown(self) -> list[tuple[int, int, bytes, int, bool]]:
        return [(each.task, each.run, each.data, each.skipped, each.ended) for each in self.page().pieces]


def grants(worker: WorkerDouble) -> int:
    return sum(int(command[4:]) for command in worker.sent if command.startswith(b"tee:"))


@pytest.fixture
def job(world: MemoryCoordinator) -> Watched:
    return Watched(world)


def test_pieces_come_in_order_and_the_end_of_a_run_from_its_reply(job: Watched) -> None:
    worker = job.worker()
    assert worker.sent == [b"run:true", b"tee:%d" % FIRST]
    worker.says(out(0, 0, b"one\n"), out(0, 4, b"two: \xff\n"))
    assert job.shown() == [(0, 0, b"one\n", 0, False), (0, 0, b"two: \xff\n", 0, False)]
    worker.says(out(0, 21), reply(b"one\ntwo: \xff\nthree\nlast"))
    assert job.shown() == [(0, 0, b"three\nlast", 0, True)]
    worker.says(out(1, 5), reply(b"short"))
    assert job.shown() == [(0, 1, b"short", 0, True)]
    assert job.page().over


def test_what_was_not_streamed_is_counted(job: Watched) -> None:
    worker = job.worker()
    worker.says(out(0, 1000, b"late"), out(0, 70_000, b"later"))
    assert job.shown() == [(0, 0, b"late", 1000, False), (0, 0, b"later", 68_996, False)]
    worker.says(out(0, 270_000), reply(b"x" * 65_536))
    ((_, _, data, skipped, ended),) = job.shown()
    assert (70_005 + skipped + len(data), ended) == (270_000, True)
    assert len(data) == 65_536


def test_replies_of_runs_that_end_in_one_read_go_with_their_own_ends(job: Watched) -> None:
    worker = job.worker()
    worker.says(out(1, 3), reply(b"two"), out(0, 3), reply(b"one"))
    assert job.shown() == [(0, 1, b"two", 0, True), (0, 0, b"one", 0, True)]


@pytest.mark.parametrize(
    "hostile",
    [
        [out(0, 0, b"x" * MAX_PIECE)],  # more than it begins with
        [out(0, number, b"x") for number in range(FIRST // COST)],  # pieces cost something by themselves
        [out(0, 5, b"x"), out(0, 5, b"y")],
        [b"OUT:0:0"],
        [b"OUT:-1:0:x"],
        [b"OUT:0:" + b"9" * 16 + b":x"],
    ],
)
def test_a_worker_that_streams_what_it_may_not_is_dropped(job: Watched, hostile: list[bytes]) -> None:
    worker = job.worker()
    worker.says(*hostile)
    assert worker.closed
    assert "failed" not in job.world.jobs.job(job.job).state  # the attempt is tried again


def test_the_runs_of_one_attempt_are_bounded(job: Watched) -> None:
    worker = job.worker()
    for run in range(MAX_RUNS + 1):
        assert not worker.closed
        job.page()
        job.world.clock.advance(1)
        worker.says(out(run, 0, b"x"))
    assert worker.closed


def test_a_worker_that_was_granted_nothing_is_no_exception(world: MemoryCoordinator) -> None:
    job = Watched(world, "--retries", "0", tee=False)
    worker = job.worker()
    assert worker.sent == [b"run:true"]
    worker.says(out(0, 0, b"x"))
    assert world.jobs.job(job.job).state == "failed"


def test_credit_comes_back_as_it_is_used_and_no_faster_than_the_rate(world: MemoryCoordinator) -> None:
    count, seconds = 20, 5
    job = Watched(world, "-n", str(count))
    workers = [job.worker(number) for number in range(count)]
    used, printed = [0] * count, [0] * count
    for _ in range(5 * seconds):
        for number, worker in enumerate(workers):
            size = min(MAX_PIECE, grants(worker) - used[number] - COST)
            if size > 0:
                worker.says(out(0, printed[number], b"x" * size))
                printed[number] += size
                used[number] += size + COST
        job.page()
    assert not any(worker.closed for worker in workers)
    assert RATE * seconds / 2 < sum(used) <= RATE * (seconds + 1) + count * FIRST
    assert max(printed) < 2 * min(printed)


def test_no_credit_is_granted_while_no_page_is_asked_for(job: Watched) -> None:
    worker = job.worker()
    job.world.clock.advance(LINGER)
    worker.says(out(0, 0, b"x" * (FIRST - COST)))
    assert grants(worker) == FIRST
    job.page()
    assert grants(worker) >= 2 * FIRST


def test_a_caller_that_comes_later_sees_what_is_printed_from_then_on(world: MemoryCoordinator) -> None:
    job = Watched(world, tee=False)
    worker = job.worker()
    job.after = None
    assert job.shown() == []
    assert worker.sent == [b"run:true", b"tee:%d" % FIRST]
    worker.says(out(0, 500, b"x"))
    assert job.shown() == [(0, 0, b"x", 500, False)]


def test_what_is_not_fetched_makes_room_and_is_counted(world: MemoryCoordinator) -> None:
    job = Watched(world, "-n", "40")
    for number in range(40):
        job.worker(number).says(out(0, 60_000), reply(b"%02d" % number * 30_000))
    page = job.page()
    kept = sum(len(piece.data) for piece in page.pieces)
    skipped = sum(piece.skipped for piece in page.pieces)
    assert kept <= BUFFER
    assert skipped + page.skipped + kept == 40 * 60_000
    assert job.page().skipped == 0


def test_the_last_pieces_are_there_when_the_job_is_over(job: Watched) -> None:
    worker = job.worker()
    worker.says(out(0, 1), reply(b"a"), out(1, 1), reply(b"b"))
    assert job.world.jobs.job(job.job).state == "done"
    page = job.page()
    assert ([piece.data for piece in page.pieces], page.over) == ([b"a", b"b"], True)
    job.world.clock.advance(LINGER)
    assert job.page() == TeePage((), str(job.after), over=True)


@pytest.mark.parametrize(("before", "behind"), [(5, 1), (5, 9), (1, 1), (1, 4)])
def test_a_caller_that_goes_on_over_a_restart_misses_nothing_that_comes_after(
    world: MemoryCoordinator, before: int, behind: int
) -> None:
    job = Watched(world, "-n", "2", "--max-workers", "2")
    job.worker().says(*(out(0, 100 * at, b"x" * 100) for at in range(before)))
    assert len(job.shown()) == before
    world.killed_and_started_again()
    request = job.ask()
    found: list[TeePage] = []
    request.addCallback(found.append)
    job.worker(1).says(*(out(0, 7 * at, b"%06d\n" % at) for at in range(behind)))
    world.clock.advance(0.2)
    assert [piece.data for piece in found[0].pieces] == [b"%06d\n" % at for at in range(behind)]
    job.after = parse_tee_cursor(found[0].next)
    assert job.shown() == []


def test_a_caller_that_goes_on_over_a_retry_misses_nothing_that_comes_after(world: MemoryCoordinator) -> None:
    job = Watched(world, "--retries", "0")
    job.worker().says(out(0, 0, b"first\n"), out(0, 6, b"second\n"), reply(b"first\nsecond\n", 1), b"FAIL(no)")
    world.clock.pump([1.0] * 3)
    job.page()
    world.retry(job.job)
    assert job.shown() == []
    worker = WorkerDouble(world.registry.new_session(), launch_identity(job.job), world.turn)
    worker.says(able(f"{job.job}/1-0"))
    worker.says(out(0, 0, b"third\n"))
    assert job.shown() == [(0, 0, b"third\n", 0, False)]


def test_output_cut_off_by_a_lost_worker_ends_there(job: Watched) -> None:
    worker = job.worker()
    worker.says(out(0, 0, b"half a l"))
    worker.abort()
    assert job.shown() == [(0, 0, b"half a l", 0, False), (0, 0, b"", 0, True)]


def test_late_pieces_of_a_task_that_was_given_up_are_no_fault(world: MemoryCoordinator) -> None:
    job = Watched(world, "-n", "2", "--max-workers", "1", "--task-timeout", "5", "--retries", "0")
    worker = job.worker()
    world.clock.advance(6)
    assert [command for command in worker.sent if command != b"ping:"][-2:] == [b"kill:", b"reset:"]
    worker.says(out(0, 3, b"late"), out(0, 7), reply(b"was: late"[-7:], -9), b"OK:KILL(1)", able(f"{job.job}/0-0"))
    assert not worker.closed
    worker.says(out(0, 4), reply(b"next"))
    assert job.shown() == [(0, 0, b"late", 3, False), (0, 0, b"", 0, True), (1, 0, b"next", 0, True)]


def test_a_worker_of_an_earlier_version_streams_nothing_and_is_counted(world: MemoryCoordinator) -> None:
    job = Watched(world, "-n", "2")
    old, new = job.worker(0, supports=False), job.worker(1)
    assert grants(old) == 0
    old.says(reply(b"x"))
    new.says(out(0, 1), reply(b"y"))
    page = job.page()
    assert (page.unable, [piece.data for piece in page.pieces]) == (1, [b"y"])


def test_pieces_carry_what_the_user_knows_their_tasks_by(world: MemoryCoordinator) -> None:
    world.pipeline = replace(PIPELINE, label=lambda _, task: f"input {task}")
    job = Watched(world, "-n", "2")
    job.worker(1).says(out(0, 0, b"x"))
    assert [piece.label for piece in job.page().pieces] == ["input 0"]
