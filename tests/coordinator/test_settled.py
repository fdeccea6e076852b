"""Tasks that are done or have failed are listed in that order, to callers that wait for them."""

from dataclasses import replace
from typing import Any

import pytest
from memory_jobs import PIPELINE, MemoryCoordinator
from twisted.internet.defer import CancelledError

from mu_twisted.coordinator.output._store import MAX_OUTPUT
from mu_twisted.pipelines import PeerOptions
from mu_twisted.statuses import MAX_PAGE, SettledPage, UnknownJob
from mu_twisted.storage._output_page import MAX_PAGE_BYTES


def settled(world: MemoryCoordinator, job: str, after: int = 0) -> SettledPage:
    page: SettledPage = world.at_once(world.jobs.settled(job, after))
    return page


def retried(world: MemoryCoordinator) -> str:
    """A job of three tasks, of which the first and the last have failed once and are to run again."""
    job = world.submit("-n", "3", "--retries", "0")
    world.worker(job, "0-0").says(b"FAIL(no)")
    world.finish(job, "0-1")
    world.worker(job, "0-2").says(b"FAIL(no)")
    world.clock.pump([1.0] * 5)
    world.retry(job)
    return job


def test_tasks_come_in_the_order_in_which_they_were_settled_each_once(world: MemoryCoordinator) -> None:
    job = world.submit("-n", "3", "--retries", "0")
    waiting: list[Any] = []
    world.jobs.settled(job).addBoth(waiting.append)
    world.turn()
    assert not waiting
    workers = [world.worker(job, f"0-{number}") for number in range(3)]
    workers[2].says(b"OK:ECHO(hi)")
    world.turn()
    assert [(task.task, task.state) for task in waiting[0].tasks] == [(2, "done")]
    workers[0].says(b"FAIL(no)")
    world.turn()
    page = settled(world, job, waiting[0].next)
    assert [(task.task, task.state, task.attempts) for task in page.tasks] == [(0, "failed", 1)]
    assert not page.over
    workers[1].says(b"OK:ECHO(hi)")
    world.clock.pump([1.0] * 5)
    last = settled(world, job, page.next)
    assert ([task.task for task in last.tasks], last.over) == ([1], True)
    whole = settled(world, job)
    world.killed_and_started_again()
    assert settled(world, job) == whole
    assert [task.task for task in whole.tasks] == [2, 0, 1]
    assert settled(world, job, 3) == SettledPage([], 3, over=True)
    with pytest.raises(UnknownJob):
        settled(world, "nosuch")


def test_what_is_retried_comes_again(world: MemoryCoordinator) -> None:
    job = world.submit("-n", "2", "--retries", "0")
    world.worker(job, "0-0").says(b"FAIL(no)")
    world.finish(job, "0-1")
    world.clock.pump([1.0] * 5)
    assert [task.task for task in settled(world, job).tasks] == [0, 1]
    world.retry(job)
    waiting: list[Any] = []
    world.jobs.settled(job, 2).addBoth(waiting.append)
    world.finish(job, "1-0")
    world.turn()
    assert [(task.task, task.state) for task in waiting[0].tasks] == [(0, "done")]


@pytest.mark.parametrize("ended", [False, True])
def test_what_was_retried_is_listed_once_to_a_caller_that_begins(world: MemoryCoordinator, ended: bool) -> None:
    job = retried(world)
    world.worker(job, "1-0").says(b"FAIL(again)")
    if ended:
        world.finish(job, "1-1")
        world.killed_and_started_again()
    page = settled(world, job)
    assert [(task.task, task.state, task.attempts) for task in page.tasks] == [
        (1, "done", 1),
        (0, "failed", 2),
        *([(2, "done", 2)] if ended else []),
    ]
    assert (page.next, page.over) == (5 if ended else 4, ended)
    assert [task.task for task in settled(world, job, 3).tasks] == ([0, 2] if ended else [0])


@pytest.mark.parametrize("results", [False, True])
def test_one_that_runs_again_for_its_messages_is_done_also_where_the_job_is_held(
    world: MemoryCoordinator, results: bool
) -> None:
    world.pipeline = replace(PIPELINE, options=PeerOptions, consumes=lambda _, task: [0] if task == 1 else [])
    job = world.submit("-n", "3", "--retries", "0")
    world.finish(job, "0-0")
    world.jobs._active_jobs.run(job).messages_lost(0)
    world.turn()

    def states() -> list[tuple[int, str, str | None]]:
        page = world.at_once(world.jobs.settled(job, results=results))
        return [(task.task, task.state, task.waits) for task in page.tasks]

    assert world.tasks(job)[0].state == "waiting"
    assert states() == [(0, "done", None)]
    world.worker(job, "0-1")
    assert world.tasks(job)[0].state == "active"
    assert states() == [(0, "done", None)]
    world.hold_all = True
    world.killed_and_started_again()
    assert (world.jobs.job(job).state, world.tasks(job)[0].state) == ("held", "waiting")
    assert states() == [(0, "done", None)]


@pytest.mark.parametrize("results", [False, True])
def test_one_that_is_tried_again_is_left_out_until_it_is_settled(world: MemoryCoordinator, results: bool) -> None:
    job = retried(world)
    page = world.at_once(world.jobs.settled(job, results=results))
    assert ([(task.task, task.state) for task in page.tasks], page.next, page.over) == ([(1, "done")], 3, False)
    page = world.at_once(world.jobs.settled(job, 2, results=results))
    assert (list(page.tasks), page.next) == ([], 3)
    world.finish(job, "1-0")
    page = world.at_once(world.jobs.settled(job, 3, results=results))
    assert ([(task.task, task.state) for task in page.tasks], page.next) == ([(0, "done")], 4)


def test_a_page_that_is_full_of_results_ends_at_the_place_of_the_next_task(world: MemoryCoordinator) -> None:
    last = MAX_PAGE_BYTES // MAX_OUTPUT + 3
    job = world.submit("-n", str(last + 1), "--retries", "0")
    world.worker(job, "0-0").says(b"FAIL(no)")
    for task in range(1, last + 1):
        outputs = world.jobs._active_jobs.run(job).outputs
        assert outputs is not None
        outputs.attempt(task, 0).add(0, b"x" * MAX_OUTPUT)
        world.finish(job, f"0-{task}")
    world.clock.pump([1.0] * 5)
    world.retry(job)
    first = world.at_once(world.jobs.settled(job, results=True))
    assert first.tasks[0].result == b"x" * MAX_OUTPUT
    assert (first.next, first.over) == (first.tasks[-1].task + 1, False)
    second = world.at_once(world.jobs.settled(job, first.next, results=True))
    assert [task.task for page in (first, second) for task in page.tasks] == list(range(1, last + 1))
    assert second.next == last + 1


def test_tasks_that_end_with_their_job_are_settled_by_it(world: MemoryCoordinator) -> None:
    job = world.submit("-n", str(2 * MAX_PAGE + 1), "--max-workers", "1")
    waiting: list[Any] = []
    world.jobs.settled(job).addBoth(waiting.append)
    world.jobs.cancel(job)
    world.clock.pump([1.0] * 5)
    pages = [waiting[0]]
    while not pages[-1].over:
        pages.append(settled(world, job, pages[-1].next))
    assert [len(page.tasks) for page in pages] == [MAX_PAGE, MAX_PAGE, 1]
    assert {task.task for page in pages for task in page.tasks} == set(range(2 * MAX_PAGE + 1))


def test_a_caller_may_give_up_waiting(world: MemoryCoordinator) -> None:
    job = world.submit("-n", "1")
    waiting: list[Any] = []
    asking = world.jobs.settled(job)
    asking.addBoth(waiting.append)
    world.turn()
    asking.cancel()
    waiting[0].trap(CancelledError)
    world.finish(job, "0-0")
    world.turn()
    assert [task.task for task in settled(world, job).tasks] == [0]
