"""All jobs of a coordinator, with workers in memory, a real journal and a clock that stands still."""

from pathlib import Path
from typing import Any

import pytest
from memory_jobs import MemoryCoordinator
from worker_double import ours

from mu_twisted.coordinator import Jobs, Request, WorkerRegistry
from mu_twisted.pipelines import PipelineError
from mu_twisted.statuses import JobStatus, ServiceError, UnknownJob


def test_a_submitted_job_is_launched_done_and_told_of(world: MemoryCoordinator) -> None:
    job = world.submit("-n", "2")
    assert world.launches.submission == ["0-0", "0-1"]
    over: list[JobStatus] = []
    world.jobs.wait(job).addCallback(over.append)
    world.finish(job, "0-0")
    assert over == []
    fact = world.jobs.job(job)
    assert (fact.state, fact.done, fact.tasks, fact.ended) == ("running", 1, 2, None)
    world.wall = 1060.0
    world.finish(job, "0-1")
    assert [(fact.state, fact.error, fact.submitted, fact.ended) for fact in over] == [("done", None, 1000.0, 1060.0)]
    assert world.jobs.jobs() == over
    world.jobs.wait(job).addCallback(over.append)
    assert len(over) == 2
    assert [task.state for task in world.tasks(job)] == ["done", "done"]


def test_what_cannot_be_done_is_said_and_leaves_nothing(world: MemoryCoordinator) -> None:
    failed: list[Any] = []
    world.jobs.submit(Request("x")).addErrback(failed.append)
    world.turn()
    assert failed[0].check(PipelineError)
    assert "no pipeline is called 'x'" in failed[0].getErrorMessage()
    world.jobs.submit(Request("p", ("-O", "times"))).addErrback(failed.append)
    world.turn()
    assert "give an absolute path" in failed[1].getErrorMessage()
    world.missing = "there is no function p"
    with pytest.raises(ServiceError, match="there is no function p"):
        world.submit()
    assert world.journal.jobs() == []
    assert world.jobs.jobs() == []
    for ask in (
        world.jobs.job,
        world.jobs.tasks,
        world.jobs.wait,
        world.jobs.cancel,
        world.jobs.retry,
        world.jobs.remove,
    ):
        with pytest.raises(UnknownJob, match="`mu jobs` lists them"):
            ask("nosuch")


def test_after_a_kill_finished_tasks_stay_finished_and_the_others_run(world: MemoryCoordinator) -> None:
    job = world.submit("-n", "3")
    world.finish(job, "0-0")
    worker = world.worker(job, "0-1")
    assert worker.takes() == [b"echo:hi"]
    world.killed_and_started_again()
    fact = world.jobs.job(job)
    assert (fact.state, fact.done, fact.active, fact.submitted) == ("running", 1, 0, 1000.0)
    back = world.worker(job, "0-1")
    assert back.takes() == [b"kill:", b"reset:"]
    back.says(b"OK:KILL(0)", ours(f"{job}/0-1"))
    assert back.takes() == [b"echo:hi"]
    back.says(b"OK:ECHO(hi)")
    world.clock.pump([1.0] * 5)
    assert back.takes()[0] == b"reset:"
    back.says(ours(f"{job}/0-1"))
    back.says(b"OK:ECHO(hi)")
    assert world.jobs.job(job).state == "done"
    attempts = [task.attempts for task in world.tasks(job)]
    assert attempts == [1, 2, 1]


def test_a_job_that_is_over_is_told_of_after_a_restart_and_can_be_retried(world: MemoryCoordinator) -> None:
    job = world.submit("-n", "2", "--retries", "0")
    world.worker(job, "0-0").says(b"FAIL(no space left)")
    world.finish(job, "0-1")
    world.killed_and_started_again()
    fact = world.jobs.job(job)
    assert (fact.state, fact.done, fact.failed, fact.error) == ("failed", 1, 1, "1 of 2 tasks failed")
    assert "no space left" in (world.tasks(job)[0].error or "")
    assert world.launches.submission == []
    assert world.retry(job).state == "running"
    world.turn()
    with pytest.raises(ServiceError, match="still running"):
        world.retry(job)
    (launch,) = world.launches.submission
    world.finish(job, launch)
    assert world.jobs.job(job).state == "done"
    with pytest.raises(ServiceError, match="no failed tasks"):
        world.retry(job)


def test_of_two_that_retry_a_job_at_once_one_does_it_and_the_other_is_told(world: MemoryCoordinator) -> None:
    job = world.submit("--retries", "0")
    world.worker(job, "0-0").says(b"FAIL(no)")
    told: list[Any] = []
    for _ in range(2):
        world.jobs.retry(job).addBoth(told.append)
    world.turn()
    refused = [found.getErrorMessage() for found in told if not isinstance(found, JobStatus)]
    assert refused == [f"job {job} was set going again by another `mu retry` meanwhile: `mu wait {job}`"]
    assert [found.state for found in told if isinstance(found, JobStatus)] == ["running"]


@pytest.mark.parametrize("end", ["cancel", "interrupt"])
def test_what_had_failed_is_told_from_what_was_only_not_done(world: MemoryCoordinator, end: str) -> None:
    job = world.submit("-n", "5", "--retries", "0")
    world.finish(job, "0-0")
    for number in (1, 2):
        world.worker(job, f"0-{number}").says(b"FAIL(no space left)")
    getattr(world.jobs, end)(job)
    world.clock.pump([1.0] * 5)
    for _ in range(2):
        status = world.jobs.job(job)
        assert (status.done, status.failed, status.unfinished) == (1, 4, 2)
        world.killed_and_started_again()
    assert world.retry(job).unfinished is None
    world.jobs.cancel(job)
    world.clock.pump([1.0] * 5)
    assert (world.jobs.job(job).failed, world.jobs.job(job).unfinished) == (4, 4)


def test_how_jobs_ended_is_read_bit_by_bit_and_of_one_that_is_asked_for_first(world: MemoryCoordinator) -> None:
    jobs = [world.submit() for _ in range(4)]
    for job in jobs[:3]:
        world.finish(job, "0-0")
    world.killed_and_started_again()
    for takes in (0.0, 0.02):  # of each look at the clock: the second leaves room for one job a turn
        world.clock.takes = takes
        restored: list[Any] = []
        again = Jobs(
            world.clock,
            wall=lambda: world.wall,
            journal=world.journal,
            registry=WorkerRegistry(world.clock),
            opener=world,
            directory=world.directory / "jobs",
        )
        again.restore().addCallback(restored.append)
        assert again.running == 0
        assert again.job(jobs[1]).state == "done"
        assert again.job(jobs[3]).state == "running"
        assert again.running == 1
        assert [status.state for status in again.jobs()] == ["done"] * 3 + ["running"]
        for _ in range(100):
            world.turn()
        assert restored == [None]
        again.stop()


def test_a_cancelled_job_ends_every_worker_and_stays_cancelled(world: MemoryCoordinator) -> None:
    job = world.submit("-n", "3")
    busy = world.worker(job, "0-0")
    told: list[JobStatus] = []
    world.jobs.cancel(job).addCallback(told.append)
    world.turn()
    assert busy.takes() == [b"echo:hi", b"kill:", b"quit:"]
    assert told[0].state == "cancelled"
    assert world.launches.stopped
    late = world.worker(job, "0-1")
    assert late.takes() == [b"quit:"]
    world.killed_and_started_again()
    assert world.jobs.job(job).state == "cancelled"
    assert world.launches.submission == []


def test_a_cancellation_does_not_wait_for_ever(world: MemoryCoordinator) -> None:
    job = world.submit()
    stuck = world.worker(job, "0-0")
    stuck.abort = lambda: None  # type: ignore[method-assign]
    told: list[JobStatus] = []
    world.jobs.cancel(job).addCallback(told.append)
    world.turn()
    assert told == []
    world.clock.advance(2.0)
    assert told[0].state == "cancelled"


def test_a_stop_tells_the_workers_and_the_job_goes_on_at_the_next_start(world: MemoryCoordinator) -> None:
    job = world.submit()
    worker = world.worker(job, "0-0")
    world.jobs.stop()
    assert worker.takes()[-1] == b"quit:"
    with pytest.raises(ServiceError, match="stopping"):
        world.submit()
    world.killed_and_started_again()
    assert world.jobs.job(job).state == "running"
    world.clock.pump([1.0] * 20)
    (launch,) = world.launches.submission
    assert launch != "0-0"
    world.finish(job, launch)
    assert world.jobs.job(job).state == "done"
    assert world.tasks(job)[0].attempts == 2


def test_tasks_whose_output_is_there_are_left_out(world: MemoryCoordinator) -> None:
    world.skipped = frozenset({0, 2})
    job = world.submit("-n", "3")
    assert world.launches.submission == ["0-0"]
    world.finish(job, "0-0")
    fact = world.jobs.job(job)
    assert (fact.state, fact.done, fact.tasks, fact.skipped) == ("done", 1, 1, 2)
    world.skipped = frozenset({0, 1, 2})
    job = world.submit("-n", "3")
    for _ in range(2):
        fact = world.jobs.job(job)
        assert (fact.state, fact.tasks, fact.skipped) == ("done", 0, 3)
        assert not world.tasks(job)
        assert "submitted: p -n 3" in world.log(job)
        world.killed_and_started_again()


def test_logs_tell_what_happened_and_the_states_of_a_task(world: MemoryCoordinator) -> None:
    job = world.submit("-n", "2", "--retries", "1")
    worker = world.worker(job, "0-0")
    worker.says(b"FAIL(disk on fire)")
    world.clock.pump([1.0] * 3)
    worker.says(ours(f"{job}/0-0"))
    worker.says(b"OK:ECHO(hi)")
    text = world.log(job)
    assert text.startswith("1970-01-01 00:16:40.000Z submitted: p -n 2 --retries 1\n")
    assert "disk on fire" in text
    told = world.log(job, 0)
    assert "attempt 0: failed" in told
    assert "0:(Echo)" in told or "Echo" in told
    assert "task 1" not in told
    with pytest.raises(UnknownJob, match="no task 7"):
        world.log(job, 7)


def test_a_removed_job_is_gone_for_good(world: MemoryCoordinator) -> None:
    job = world.submit()
    with pytest.raises(ServiceError, match="cancel it first"):
        world.remove(job)
    world.finish(job, "0-0")
    assert list((world.directory / "jobs").iterdir())
    world.remove(job)
    assert world.jobs.jobs() == []
    assert not list((world.directory / "jobs").iterdir())
    world.killed_and_started_again()
    assert world.jobs.jobs() == []


def test_old_records_are_forgotten_and_running_jobs_never(world: MemoryCoordinator) -> None:
    old, young, running = world.submit(), world.submit(), world.submit()
    world.finish(old, "0-0")
    world.wall = 5000.0
    world.finish(young, "0-0")
    world.forget_old(4000.0)
    assert sorted(fact.job for fact in world.jobs.jobs()) == sorted([young, running])


def test_a_job_whose_records_are_damaged_is_told_of_and_the_others_go_on(world: MemoryCoordinator) -> None:
    broken, sound = world.submit(), world.submit()
    world.journal.append(broken, {"at": 1.0, "record": {"type": "nonsense"}})
    world.journal.flush()
    world.killed_and_started_again()
    fact = world.jobs.job(broken)
    assert fact.state == "failed"
    assert "damaged" in (fact.error or "")
    assert world.jobs.job(sound).state == "running"
    world.remove(broken)


def test_the_launches_of_a_large_job_do_not_stand_before_those_of_a_small_one(world: MemoryCoordinator) -> None:
    world.launches.slow = True
    world.submit("-n", "3000")
    assert len(world.launches.submission) == 1000
    small = world.submit("-n", "3")
    for take in world.launches.takes[:10]:
        take()
    world.turn()
    assert len(world.launches.submission) == 1010
    assert world.jobs.job(small).launches == 3
    assert small not in world.jobs.launch_queue.state.waiting


def test_jobs_share_the_workers_that_the_coordinator_may_have(tmp_path: Path) -> None:
    world = MemoryCoordinator(tmp_path, workers=4)
    first = world.submit("-n", "10")
    assert len(world.launches.submission) == 4
    workers = [world.worker(first, launch_id) for launch_id in world.launches.submission]
    world.submit("-n", "10")
    world.clock.pump([1.0] * 3)
    assert len(world.launches.submission) == 4
    for worker, launch_id in zip(workers[:2], world.launches.submission[:2], strict=True):
        worker.says(b"OK:ECHO(hi)")
        if not worker.closed:
            worker.says(ours(f"{first}/{launch_id}"))
    world.clock.pump([1.0] * 5)
    assert len(world.launches.submission) == 6
    assert world.jobs.job(first).workers == 2
    assert world.jobs.launch_queue.state.in_flight == 4
    world.journal.close()
