"""The file of the tasks of a job that is over: it is used while it says what the records say, and in no other case."""

from pathlib import Path

import pytest
from memory_jobs import MemoryCoordinator

from mu_twisted.coordinator._slices import PAUSE
from mu_twisted.statuses import TaskStatus


def failed_job(world: MemoryCoordinator) -> tuple[str, Path]:
    """A job of three tasks, of which the last has failed, and the file of its tasks."""
    job = world.submit("-n", "3", "--retries", "0")
    world.finish(job, "0-0")
    world.finish(job, "0-1")
    world.worker(job, "0-2").says(b"FAIL(no)")
    assert world.jobs.job(job).state == "failed"
    world.clock.pump([PAUSE] * 5)
    return job, world.directory / "jobs" / job / "tasks.jsonl"


def found(world: MemoryCoordinator, job: str) -> tuple[list[TaskStatus], list[TaskStatus]]:
    """The tasks by number, and as they were settled."""
    settled = world.at_once(world.jobs.settled(job))
    assert settled.over
    return list(world.tasks(job)), list(settled.tasks)


def test_the_tasks_are_told_of_the_file_as_of_the_records(world: MemoryCoordinator) -> None:
    job, file = failed_job(world)
    of_memory = found(world, job)
    world.killed_and_started_again()
    of_file = found(world, job)
    file.unlink()
    world.killed_and_started_again()
    assert found(world, job) == of_file == of_memory
    assert file.exists()
    assert [task.state for task in of_file[0]] == ["done", "done", "failed"]


def test_the_file_is_read_in_place_of_the_records_until_the_job_is_run_again(world: MemoryCoordinator) -> None:
    job, file = failed_job(world)
    text = file.read_text()
    assert text.count("FAIL(no)") == 1
    file.write_text(text.replace("FAIL(no)", "edited.."))
    world.killed_and_started_again()
    assert world.tasks(job)[2].error is not None
    assert "edited" in str(world.tasks(job)[2].error)
    world.retry(job)
    world.worker(job, world.launches.submission[-1]).says(b"FAIL(again)")
    file.write_text(text.replace("FAIL(no)", "edited.."))
    world.killed_and_started_again()
    assert "again" in str(world.tasks(job)[2].error)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('"done"', "done"),
        ("mu.tasks.2", "mu.tasks.1"),
        ('"tasks":3', '"tasks":4'),
        ('"end":', '"end":1'),
        ("{", "["),
        ('"settled"', '"unsettled"'),
        ('"attempts":1', '"attempts":"x"'),
        ('"settled":[0', '"settled":[7'),
        ('{"task":', '{"more":' + "[" * 100_000 + '"task":'),
        ('"lines":[[0,0', '"lines":[[0,99999'),
        ("\n000", "\n009"),
        ("\n000", "\nxxx"),
    ],
)
def test_a_file_that_is_damaged_is_made_anew(world: MemoryCoordinator, old: str, new: str) -> None:
    job, file = failed_job(world)
    before, text = found(world, job), file.read_text()
    assert old in text
    file.write_text(text.replace(old, new))
    world.killed_and_started_again()
    assert found(world, job) == before
    assert file.read_text() == text
    file.write_bytes(text.encode()[:-20] + b"\xff")
    world.killed_and_started_again()
    assert found(world, job) == before


@pytest.mark.parametrize("begun", [False, True])
def test_a_coordinator_that_is_stopped_leaves_the_file(world: MemoryCoordinator, begun: bool) -> None:
    job = world.submit("-n", "2500", "--max-workers", "1")
    file = world.directory / "jobs" / job / "tasks.jsonl"
    file.parent.mkdir(parents=True, exist_ok=True)
    world.clock.takes = 0.001
    world.jobs.cancel(job)
    while world.jobs.job(job).state == "running" or world.jobs.running:
        call = next(call for call in world.clock.calls if call.getTime() <= world.clock.rightNow)
        world.clock.calls.remove(call)
        call.called = 1
        call.func(*call.args, **call.kw)
    if begun:
        world.clock.advance(PAUSE)
    assert not file.exists()
    world.jobs.stop()
    world.clock.takes = 0.0
    before = file.read_text()
    world.killed_and_started_again()
    assert len(world.tasks(job)) == 1000
    assert file.read_text() == before


def test_a_job_whose_file_cannot_be_written_is_told_of_its_records(world: MemoryCoordinator) -> None:
    job, file = failed_job(world)
    before = found(world, job)
    file.unlink()
    file.with_name("tasks.jsonl.new").mkdir()
    world.killed_and_started_again()
    assert found(world, job) == before
    assert not file.exists()


def test_a_job_that_has_just_ended_is_told_of_before_its_tasks_are_kept(world: MemoryCoordinator) -> None:
    job = world.submit("-n", "2500", "--max-workers", "1", "--retries", "0")
    world.finish(job, "0-0")
    world.worker(job, "0-0").says(b"FAIL(no)")
    world.at_once(world.jobs.cancel(job))
    file = world.directory / "jobs" / job / "tasks.jsonl"
    assert not file.exists()

    def pages() -> list[object]:
        found = [world.tasks(job, **which) for which in ({}, {"cursor": 1000}, {"state": "done"}, {"state": "failed"})]
        return [*found, *(world.at_once(world.jobs.settled(job, after)) for after in (0, 1, 2000))]

    before = pages()
    assert not file.exists()
    world.clock.pump([PAUSE] * 40)
    assert file.exists()
    assert pages() == before
    world.killed_and_started_again()
    assert pages() == before


@pytest.mark.parametrize("ends", [1, 2, 5])
def test_one_that_has_ended_again_before_its_tasks_are_kept_is_told_of_at_once(
    world: MemoryCoordinator, ends: int
) -> None:
    job = world.submit("-n", "3", "--retries", "0")
    file = world.directory / "jobs" / job / "tasks.jsonl"
    file.parent.mkdir(parents=True, exist_ok=True)
    world.finish(job, "0-0")
    for _ in range(ends):
        world.at_once(world.jobs.cancel(job))
        assert world.jobs.job(job).state == "cancelled"
        world.retry(job)
    assert len(world.tasks(job)) == 3
    world.at_once(world.jobs.cancel(job))
    before = found(world, job)
    assert not file.exists()
    world.clock.pump([PAUSE] * 5)
    assert file.exists()
    assert found(world, job) == before
    world.killed_and_started_again()
    assert found(world, job) == before


def test_one_that_goes_on_before_its_tasks_are_kept_has_a_file_that_says_so(world: MemoryCoordinator) -> None:
    job = world.submit("-n", "3", "--retries", "0")
    file = world.directory / "jobs" / job / "tasks.jsonl"
    file.parent.mkdir(parents=True, exist_ok=True)
    world.finish(job, "0-0")
    world.at_once(world.jobs.cancel(job))
    world.retry(job)
    world.clock.pump([PAUSE] * 5)
    assert world.jobs.job(job).state == "running"
    text = file.read_text()
    assert '"state":"held"' in text
    assert "cancelled" not in text.splitlines()[-2]


def test_two_that_would_write_the_file_at_once_leave_a_whole_one(world: MemoryCoordinator) -> None:
    job = world.submit("-n", "2500", "--max-workers", "1")
    archive = world.jobs._archive
    file = archive.files.path(job)
    file.parent.mkdir(parents=True, exist_ok=True)
    world.at_once(world.jobs.cancel(job))
    world.clock.pump([PAUSE] * 40)
    text = file.read_text()
    tasks, end = archive._kept[job][0], archive.files.end(job)
    file.unlink()
    writing = [archive.files.writing(job, end, tasks) for _ in range(3)]
    while writing:
        for one in list(writing):
            if next(one, "over") == "over":
                writing.remove(one)
    assert file.read_text() == text
