"""What a job of very many tasks costs: calls and objects are counted, not seconds."""

import gc
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from counted_calls import calls_of

from mu_twisted.jobs import (
    Action,
    Job,
    JobPolicy,
    Record,
    Retried,
    Started,
    StartLaunches,
    Submitted,
    TaskState,
    record_from_dict,
    record_to_dict,
)
from mu_twisted.jobs._scaling import PORTION

TASKS = 5000
LINKED = {task: (task - 1,) for task in range(1, TASKS)}


def job(consumes: dict[int, tuple[int, ...]] | None = None) -> Job:
    return Job("job-0", range(TASKS), JobPolicy(max_workers=1), consumes=consumes)


@contextmanager
def tracked(limit: int) -> Iterator[None]:
    """What is made meanwhile and kept has no more objects that the garbage collector follows."""
    gc.collect()
    before = len(gc.get_objects())
    yield
    gc.collect()
    assert len(gc.get_objects()) - before <= limit


def records_of(actions: list[Action]) -> list[Any]:
    return [action.record for action in actions if isinstance(action, Record)]


@pytest.mark.parametrize("consumes", [None, LINKED])
def test_what_happens_to_all_tasks_at_once_costs_two_calls_each_at_most(
    consumes: dict[int, tuple[int, ...]] | None,
) -> None:
    large = job(consumes)
    for doing in (
        lambda: large.start(0.0),
        lambda: large.cancel("not wanted", 1.0),
        lambda: large.retry(2.0),
        lambda: large.abort("it cannot go on", 3.0),
        lambda: large.retry(4.0),
    ):
        _, calls = calls_of(doing)
        # Where tasks take messages, each that is settled or opened again tells it to its producers.
        assert calls <= (2 if consumes is None else 4) * TASKS + 200


def test_no_task_that_waits_is_followed_by_the_garbage_collector() -> None:
    with tracked(200):
        large = job()
        large.start(0.0)
    with tracked(200):
        large.cancel("not wanted", 1.0)
        large.retry(2.0)
    assert large.counts().waiting == TASKS


@pytest.mark.parametrize(
    "record",
    [
        Submitted("job-0", tuple(range(TASKS)), JobPolicy(), (), False),
        Submitted("job-0", tuple(reversed(range(TASKS))), JobPolicy(), (), True),
        Retried(tuple(range(TASKS))),
    ],
)
def test_numbers_of_a_record_are_written_and_read_as_a_whole(record: Any) -> None:
    plain, calls = calls_of(lambda: record_to_dict(record))
    assert calls < 1000
    found, calls = calls_of(lambda: record_from_dict(plain))
    assert calls < 1000
    assert found == record


def test_tasks_fail_with_the_errors_that_they_had() -> None:
    large = job()
    large.start(0.0)
    large.worker_greeted(1, "0-0", 0.0)
    large.task_failed(1, "its own", 0.0)
    large.abort("it cannot go on", 1.0)
    assert large.failures[0] == "its own"
    assert {large.failures[task] for task in range(1, TASKS)} == {"no worker came for it"}
    again = large.retry(2.0)
    assert [type(record) for record in records_of(again)[:2]] == [Retried, Started]
    assert records_of(again)[0].tasks == tuple(range(TASKS))
    large.cancel("not wanted", 3.0)
    assert large.failures[0] == "its own"
    assert [view.state for view in large.tasks()] == [TaskState.FAILED] * TASKS


def test_texts_of_failed_tasks_stay_bounded_over_any_number_of_retries() -> None:
    large = job()
    large.start(0.0)
    for turn in range(5):
        large.abort("x" * 50_000, 2.0 * turn)
        large.cancel("y" * 50_000, 2.0 * turn)
        large.retry(2.0 * turn + 1.0)
    large.cancel("z" * 50_000, 20.0)
    assert len(large.failures) == TASKS
    assert sum(map(len, large.failures.values())) <= (32 << 20) + 80 * TASKS


@pytest.mark.parametrize("again", [False, True])
def test_a_few_thousand_launches_are_asked_for_and_the_rest_as_they_are_taken(again: bool) -> None:
    large = Job("job-0", range(3 * PORTION), JobPolicy(overprovision=1))
    actions = large.start(0.0)
    if again:
        large.cancel("not wanted", 1.0)
        actions = large.retry(3.0)
    wanted = launch_ids(actions)
    assert len(wanted) == PORTION
    for launch_id in wanted:  # which grows meanwhile
        assert large.snapshot().unsent <= PORTION
        wanted += launch_ids(large.launch_accepted(launch_id, 4.0))
    assert len(set(wanted)) == len(wanted) == 3 * PORTION + (not again)


def test_what_refuses_some_launches_does_not_keep_the_rest_from_being_asked_for() -> None:
    large = Job("job-0", range(2 * PORTION), JobPolicy(start_retries=0))
    waiting = deque(launch_ids(large.start(0.0)))
    count = len(waiting)
    while waiting:
        launch_id = waiting.popleft()
        refused = int(launch_id.partition("-")[2]) % 3 == 1
        found = launch_ids(
            large.launch_refused(launch_id, "no", 0.0) if refused else large.launch_accepted(launch_id, 0.0)
        )
        waiting += found
        count += len(found)
    assert count >= 2 * PORTION
    assert not large.over


def test_a_job_that_needs_few_workers_more_asks_for_no_rest() -> None:
    large = Job("job-0", range(2 * PORTION), JobPolicy())
    wanted = launch_ids(large.start(0.0))
    large.allow_workers(PORTION // 4, 0.0)
    assert [found for launch_id in wanted for found in launch_ids(large.launch_accepted(launch_id, 0.0))] == []


def launch_ids(actions: list[Action]) -> list[Any]:
    return [launch_id for action in actions if isinstance(action, StartLaunches) for launch_id in action.launch_ids]


@pytest.mark.parametrize("done", [0, TASKS - 1])
def test_what_many_tasks_wait_for_that_come_after_many_is_told_in_linear_time(done: int) -> None:
    width = TASKS
    job = Job(
        "job-0",
        range(2 * width),
        JobPolicy(max_workers=1),
        after=[(range(width), range(width, 2 * width))],
        stages=[("split", range(width)), ("join", range(width, 2 * width))],
    )
    job.start(0.0)
    job.worker_greeted(1, "0-0", 0.0, reusable=True)
    for _ in range(done):
        job.task_done(1, 1.0)
        job.worker_greeted(1, "0-0", 1.0)
    (views, stages), calls = calls_of(lambda: (job.tasks(), job.stages()))
    assert calls < 40 * width
    assert views[-1].waits.startswith(f"comes after task {done}, which is active")
    assert stages[1].waits.startswith(f"task {width} comes after task {done}")
    _, calls = calls_of(job.stages)
    assert calls < 100
