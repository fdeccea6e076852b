"""Long work in slices of the reactor's turns: job facts, restarts, removals, submissions."""

import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import FrameType
from typing import Any

import pytest
from memory_jobs import PIPELINE, MemoryCoordinator, WorkClock

from mu_twisted.coordinator import Request
from mu_twisted.coordinator._slices import SLICE, Slices, Steps
from mu_twisted.coordinator._submission import MAX_WORDS
from mu_twisted.jobs import Gangs
from mu_twisted.pipelines import PeerOptions, PipelineError
from mu_twisted.statuses import ServiceError, UnknownJob

TASKS = 2100


def turns_until(world: MemoryCoordinator, done: Callable[[], object]) -> int:  # noqa: F811
    """How many turns of the reactor pass until something is done, each bounded by the time that work may take."""
    count = 0
    while not done():
        (call,) = [call for call in world.clock.getDelayedCalls() if call.getTime() <= world.clock.rightNow][:1]
        world.clock.calls.remove(call)
        begun = world.clock.rightNow
        call.called = 1
        call.func(*call.args, **call.kw)
        assert world.clock.rightNow - begun < 0.05
        count += 1
        assert count < 10_000
    return count


def large_job(world: MemoryCoordinator) -> str:  # noqa: F811
    """One that is over, with an attempt at each of its tasks."""
    job = world.submit("-n", str(TASKS), "--max-workers", "1", "--retries", "0")
    worker = world.worker(job, "0-0")
    for number in range(TASKS):
        worker.says(b"OK:ECHO(hi)" if number % 3 else b"FAIL(no)")
        if world.jobs.job(job).state == "running":
            if worker.closed:
                world.clock.advance(40.0)
                worker = world.worker(job, world.launches.submission[-1])
            else:
                worker.says(b"OK:HELLO:" + b'{"version":1,"launch_id":"%s"}' % b"0-0")
    assert world.jobs.job(job).state == "failed"
    return job


def count(number: int) -> Steps[int]:
    for _ in range(number):
        yield
    return number


def test_work_is_done_a_slice_in_each_turn_and_all_together() -> None:
    clock = WorkClock()
    slices = Slices(clock)
    clock.takes = 0.001
    done: list[int] = []
    for number in (50, 100):
        slices.run(count(number)).addCallback(done.append)
    turns = 0
    while len(done) < 2:
        begun = clock.rightNow
        (call,) = clock.getDelayedCalls()
        clock.calls.remove(call)
        call.func()
        assert clock.rightNow - begun <= SLICE + 0.003
        turns += 1
    assert done == [50, 100]
    assert turns >= 15


def test_what_is_cancelled_or_fails_ends_alone() -> None:
    clock = WorkClock()
    slices, failed, done = Slices(clock), list[Any](), list[int]()

    def breaks() -> Steps[None]:
        yield
        raise ServiceError("no")

    slices.run(count(10**9)).addErrback(failed.append).cancel()
    slices.run(breaks()).addErrback(failed.append)
    slices.run(count(3)).addCallback(done.append)
    clock.advance(0)
    assert done == [3]
    assert [type(failure.value).__name__ for failure in failed] == ["CancelledError", "ServiceError"]


def test_all_tasks_are_obtained_by_pages_and_in_slices(world: MemoryCoordinator) -> None:  # noqa: F811
    job = large_job(world)
    (world.directory / "jobs" / job / "tasks.jsonl").unlink(missing_ok=True)
    world.killed_and_started_again()
    world.clock.takes = 0.0005
    told: list[Any] = []
    world.jobs.tasks(job).addCallback(told.append)
    assert turns_until(world, lambda: told) > 5
    world.clock.takes = 0.0
    pages = list(told)
    while pages[-1].next is not None:
        pages.append(world.at_once(world.jobs.tasks(job, pages[-1].next)))
    assert [len(page.tasks) for page in pages] == [1000, 1000, TASKS - 2000]
    assert [task.task for page in pages for task in page.tasks] == list(range(TASKS))
    failed = world.at_once(world.jobs.tasks(job, 4, limit=2, state="failed"))
    assert {task.state for task in failed.tasks} == {"failed"}
    assert len(failed.tasks) == 2
    assert failed.next > failed.tasks[-1].task >= 4
    with pytest.raises(UnknownJob):
        world.tasks("nosuch")


def test_the_tasks_of_a_running_job_come_by_pages_too(world: MemoryCoordinator) -> None:  # noqa: F811
    job = world.submit("-n", "1500", "--max-workers", "1")
    world.worker(job, "0-0")
    first = world.at_once(world.jobs.tasks(job))
    second = world.at_once(world.jobs.tasks(job, first.next))
    assert (len(first.tasks), first.next, len(second.tasks), second.next) == (1000, 1000, 500, None)
    assert first.tasks[0].state == "active"
    assert world.at_once(world.jobs.tasks(job, state="active")).tasks == first.tasks[:1]


def test_a_running_job_is_taken_up_in_slices_and_its_workers_wait(world: MemoryCoordinator) -> None:  # noqa: F811
    job = world.submit("-n", str(TASKS), "--max-workers", "2")
    world.finish(job, "0-0")
    other = world.submit()
    for call in list(world.clock.getDelayedCalls()):
        call.cancel()
    world.journal._database.close()
    world.clock = WorkClock()
    world.clock.takes = 0.0005
    world.turn = lambda: None  # type: ignore[method-assign]
    world.start()
    assert {fact.job: (fact.state, fact.tasks) for fact in world.jobs.jobs()} == {
        job: ("running", TASKS),
        other: ("running", 1),
    }
    assert "being read" in (world.jobs.job(job).note or "")
    worker = world.worker(job, "0-1")
    assert not worker.closed
    told: list[Any] = []
    world.jobs.cancel(other).addCallback(told.append)
    with pytest.raises(ServiceError, match="still running"):
        world.jobs.remove(job)
    assert turns_until(world, lambda: world.jobs.job(job).note is None) > 5
    world.clock.takes = 0.0
    world.clock.advance(0)
    assert not worker.closed
    assert worker.sent
    assert world.jobs.job(job).done == 1
    world.clock.advance(5)
    assert told[0].state == "cancelled"


def test_a_job_is_removed_in_slices_and_its_journal_shrinks(tmp_path: Path, world: MemoryCoordinator) -> None:  # noqa: F811
    job = large_job(world)
    kept = world.submit()
    world.journal.close()
    full = (tmp_path / "journal.db").stat().st_size
    world.start()
    world.clock.takes = 0.001
    gone: list[None] = []
    world.jobs.remove(job).addCallback(gone.append)
    assert turns_until(world, lambda: gone) > 3
    world.clock.takes = 0.0
    assert (tmp_path / "journal.db").stat().st_size < full / 5
    assert (tmp_path / "journal.db-wal").stat().st_size == 0
    assert world.jobs.job(kept).state == "running"


def test_a_removal_that_is_cut_off_can_be_done_again(world: MemoryCoordinator) -> None:  # noqa: F811
    job = large_job(world)
    steps = world.journal.removing(job)
    next(steps)
    next(steps)
    world.killed_and_started_again()
    assert world.jobs.job(job).state == "failed"
    world.remove(job)
    assert world.journal.jobs() == []


def test_a_journal_of_an_earlier_version_shrinks_too(tmp_path: Path, world: MemoryCoordinator) -> None:  # noqa: F811
    job = large_job(world)
    world.journal._database.execute("PRAGMA journal_mode = DELETE")
    world.journal._database.execute("PRAGMA auto_vacuum = NONE")
    world.journal._database.execute("VACUUM")
    world.killed_and_started_again()
    full = (tmp_path / "journal.db").stat().st_size
    world.remove(job)
    assert (tmp_path / "journal.db").stat().st_size < full / 5


@pytest.mark.parametrize(
    "words", [("-n", "1") * 50_000, ("--retries", "1") * (MAX_WORDS // 2) + ("-X",), ("",) * (MAX_WORDS + 1)]
)
def test_more_words_than_can_be_parsed_in_a_moment_are_refused(
    world: MemoryCoordinator, words: tuple[str, ...]
) -> None:  # noqa: F811
    failed: list[Any] = []
    world.parse = None  # type: ignore[assignment, method-assign]
    world.jobs.submit(Request("p", words)).addErrback(failed.append)
    world.turn()
    assert failed[0].check(PipelineError)
    assert f"words of options: at most {MAX_WORDS} are taken" in failed[0].getErrorMessage()


def test_a_job_that_something_else_was_done_to_meanwhile_is_not_retried(world: MemoryCoordinator) -> None:  # noqa: F811
    job = world.submit("--retries", "0")
    world.worker(job, "0-0").says(b"FAIL(no)")
    told: list[Any] = []
    world.jobs.retry(job).addBoth(told.append)
    world.jobs.remove(job).addBoth(told.append)
    world.turn()
    assert [getattr(found, "value", None).__class__ for found in told if found] == [UnknownJob]
    assert world.jobs.jobs() == []


def test_gangs_are_found_once_as_they_are_declared_and_once_for_the_job(world: MemoryCoordinator) -> None:
    world.pipeline = replace(PIPELINE, options=PeerOptions, pipes=lambda _: [(0, 1, "x")])
    found: list[object] = []

    def note(frame: FrameType, event: str, _: object) -> None:
        if event == "call" and frame.f_code is Gangs.__init__.__code__:
            found.append(frame)

    sys.setprofile(note)
    try:
        world.submit("-n", "3", "-T", "1", "--max-workers", "2")
    finally:
        sys.setprofile(None)
    assert len(found) == 2
