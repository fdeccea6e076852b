"""Tasks that are done or have failed are listed in that order, to callers that wait for them."""

from typing import Any

import pytest
from memory_jobs import MemoryCoordinator
from twisted.internet.defer import CancelledError

from mu_twisted.coordinator import MAX_PAGE, SettledPage, UnknownJob


def settled(world: MemoryCoordinator, job: str, after: int = 0) -> SettledPage:
    page: SettledPage = world.at_once(world.jobs.settled(job, after))
    return page


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
