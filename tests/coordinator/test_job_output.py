"""What programs have printed is kept with their attempts, and query for by a task's number or name."""

from dataclasses import replace
from typing import Any

import pytest
from memory_jobs import MemoryCoordinator
from worker_double import WorkerDouble, ours

from mu_twisted.fsm import Worker
from mu_twisted.pipelines import Pipeline
from mu_twisted.statuses import OutputPage, OutputQuery, ServiceError, UnknownJob

NAMES = ["photos/a.png", "photos/b.png", "3", "x\ny", "other/a.png", "photos/a.png.old"]


async def run_once(w: Worker) -> None:
    await w.run("true")


PIPELINE = Pipeline(name="p", summary="", first=run_once)
NAMED = replace(PIPELINE, label=lambda _, task: NAMES[task])


@pytest.fixture
def running(world: MemoryCoordinator) -> MemoryCoordinator:
    world.pipeline = PIPELINE
    return world


def output(world: MemoryCoordinator, job: str, **query: Any) -> OutputPage:
    page: OutputPage = world.at_once(world.jobs.output(job, OutputQuery(**query)))
    return page


def printed(world: MemoryCoordinator, job: str, **query: Any) -> list[tuple[int, int, int, bytes | None]]:
    return [(run.task, run.attempt, run.status, run.output) for run in output(world, job, **query).runs]


def reply(text: bytes, status: int = 0) -> bytes:
    return b"OK:RETVAL(%d):OUTPUT(%b):COMMAND(true)" % (status, text)


def test_what_a_task_prints_can_be_read_at_once_later_and_after_a_restart(running: MemoryCoordinator) -> None:
    job = running.submit("-n", "2")
    first, second = (running.worker(job, f"0-{number}") for number in range(2))
    first.says(reply(b"hello \xff"))
    wanted = [(0, 0, 0, b"hello \xff")]
    assert printed(running, job) == printed(running, job, task=0) == printed(running, job, called="0") == wanted
    assert printed(running, job, task=1) == []
    running.killed_and_started_again()
    assert printed(running, job) == wanted
    second = running.worker(job, "0-1")
    second.says(b"OK:KILL(0)", ours(f"{job}/0-1"))
    second.says(reply(b"bye"))
    assert running.jobs.job(job).state == "done"
    wanted.append((1, 1, 0, b"bye"))
    assert printed(running, job) == wanted
    running.killed_and_started_again()
    assert printed(running, job) == wanted


def test_it_goes_when_the_job_is_removed(running: MemoryCoordinator) -> None:
    job = running.submit()
    running.worker(job, "0-0").says(reply(b"x"))
    assert list(running.directory.glob("jobs/*/output.db"))
    running.remove(job)
    assert not list(running.directory.glob("jobs/*"))
    with pytest.raises(UnknownJob):
        running.jobs.output(job, OutputQuery())


def test_a_program_that_is_killed_at_its_task_s_time_has_its_output_kept(running: MemoryCoordinator) -> None:
    job = running.submit("--task-timeout", "5", "--retries", "1")
    worker = running.worker(job, "0-0")
    running.clock.advance(6)
    assert [command for command in worker.takes() if command != b"ping:"][-2:] == [b"kill:", b"reset:"]
    worker.says(reply(b"so far", -9), b"OK:KILL(1)", ours(f"{job}/0-0"))
    assert printed(running, job, failed=True) == [(0, 0, -9, b"so far")]
    running.clock.pump([1.0] * 5)
    running.worker(job, running.launches.submission[-1]).says(reply(b"done"))
    assert printed(running, job) == [(0, 1, 0, b"done")]
    assert printed(running, job, failed=True) == []
    assert printed(running, job, which="all") == [(0, 0, -9, b"so far"), (0, 1, 0, b"done")]


def test_a_job_that_ends_with_a_task_s_time_has_what_its_program_has_printed(running: MemoryCoordinator) -> None:
    job = running.submit("-n", "2", "--task-timeout", "5", "--retries", "0")
    workers = [running.worker(job, f"0-{number}") for number in range(2)]
    running.clock.advance(6)
    assert running.jobs.job(job).state == "failed"
    for number, worker in enumerate(workers):
        assert b"quit:" not in worker.takes()
        worker.says(reply(b"so far %d" % number, -9), b"OK:KILL(1)")
        assert worker.takes()[-1] == b"quit:"
    running.clock.advance(0.1)
    assert printed(running, job, failed=True) == [(0, 0, -9, b"so far 0"), (1, 0, -9, b"so far 1")]
    assert not running.jobs.running


@pytest.mark.parametrize("stopped", [False, True])
def test_a_job_ends_though_a_worker_that_is_to_kill_its_program_says_nothing(
    running: MemoryCoordinator, stopped: bool
) -> None:
    job = running.submit("--task-timeout", "5", "--retries", "0")
    worker = running.worker(job, "0-0")
    running.clock.advance(6)
    assert running.jobs.running
    if stopped:
        running.jobs.stop()
    else:
        running.clock.pump([0.5] * 8)
    assert worker.takes()[-1] == b"quit:"
    assert running.jobs.job(job).state == "failed"
    assert not running.jobs.running


def test_what_a_worker_sends_late_is_not_of_its_next_task(running: MemoryCoordinator) -> None:
    job = running.submit("-n", "2", "--max-workers", "1")
    worker: WorkerDouble = running.worker(job, "0-0")
    worker.says(reply(b"mine"), reply(b"twice"))
    assert worker.takes()[-1] == b"reset:"
    worker.says(reply(b"late"), ours(f"{job}/0-0"))
    worker.says(reply(b"next"))
    assert printed(running, job, task=1) == [(1, 0, 0, b"next")]
    assert printed(running, job, task=0)[0] == (0, 0, 0, b"mine")


def test_an_attempt_that_fails_though_its_program_ended_well_has_failed(running: MemoryCoordinator) -> None:
    async def run_and_echo(w: Worker) -> None:
        await w.run("true")
        await w.echo("x")

    running.pipeline = replace(PIPELINE, first=run_and_echo)
    job = running.submit("--retries", "0")
    worker = running.worker(job, "0-0")
    worker.says(reply(b"fine"))
    assert printed(running, job, failed=True) == []
    worker.says(b"FAIL(no)")
    assert printed(running, job, failed=True) == [(0, 0, 0, b"fine")]


@pytest.mark.parametrize(
    ("called", "task"),
    [
        ("photos/a.png", 0),  # although others end or begin so
        ("b.png", 1),
        ("3", 2),  # although there is a task 3
        ("x\ny", 3),
        ("x\\ny", 3),  # as it is shown
        ("4", 4),
        ("a.png.old", 5),
    ],
)
@pytest.mark.parametrize("over", [False, True])
def test_a_task_is_found_by_its_name(running: MemoryCoordinator, called: str, task: int, over: bool) -> None:
    running.pipeline = NAMED
    job = running.submit("-n", "6")
    for number in range(6):
        running.worker(job, f"0-{number}").says(reply(b"%d" % number, 0 if over or number else 3))
    if over:
        running.killed_and_started_again()
    page = output(running, job, called=called)
    assert (page.task, [(run.task, run.output) for run in page.runs]) == (task, [(task, b"%d" % task)])
    assert page.runs[0].label == NAMES[task].replace("\n", "\\n")


@pytest.mark.parametrize(
    ("query", "error"),
    [
        ({"called": "a.png"}, r"2 tasks of job p-\w+ are called 'a.png': say which, task 0, task 4$"),
        ({"called": "nosuch"}, r"no input of job p-\w+ is called 'nosuch'"),
        ({"called": "6"}, "has no task 6"),
        ({"task": 6}, "has no task 6"),
    ],
)
@pytest.mark.parametrize("over", [False, True])
def test_a_name_of_no_task_or_of_several_is_refused(
    running: MemoryCoordinator, query: dict[str, Any], error: str, over: bool
) -> None:
    running.pipeline = NAMED
    job = running.submit("-n", "6")
    if over:
        running.jobs.cancel(job)
        running.clock.pump([1.0] * 5)
        running.killed_and_started_again()
    with pytest.raises(ServiceError, match=error):
        output(running, job, **query)


def test_of_a_job_that_is_held_no_code_is_called(running: MemoryCoordinator) -> None:
    def fails(*_: object) -> str:
        raise AssertionError

    running.pipeline = NAMED
    job = running.submit("-n", "6", "--retries", "0")
    running.worker(job, "0-0").says(reply(b"x", 3))
    running.clock.advance(1)
    running.pipeline = replace(PIPELINE, label=fails)
    running.hold_all = True
    running.killed_and_started_again()
    assert running.jobs.job(job).state == "held"
    assert printed(running, job) == printed(running, job, called="0") == [(0, 0, 3, b"x")]
    with pytest.raises(ServiceError, match="by their numbers only"):
        output(running, job, called="photos/a.png")
