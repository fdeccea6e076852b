"""What jobs look like: over time, by what failed, task by task; and a part of what failed is run again."""

from typing import Any

import pytest
from memory_jobs import MemoryCoordinator
from twisted.internet.defer import Deferred

from mu_twisted.coordinator import EventQuery
from mu_twisted.fsm import CommandListState, TerminalState
from mu_twisted.pipelines import Pipeline
from mu_twisted.statuses import ServiceError, UnknownJob
from mu_twisted.wire.byte_counts import ByteCounts


class Runs(CommandListState):
    """Ends well if its program does."""

    commandlist = [("OK:HELLO", "run:x"), ("OK:RETVAL(0)", None)]
    nextState = TerminalState


def of(world: MemoryCoordinator, doing: Any) -> Any:
    return world.at_once(Deferred.fromCoroutine(doing))


def failed_job(world: MemoryCoordinator, *words: bytes) -> str:
    """A job each of whose tasks fails with one of these, or is done where it is empty."""
    job = world.submit("-n", str(len(words)), "--retries", "0")
    for number, word in enumerate(words):
        worker = world.worker(job, f"0-{number}")
        world.wall += 1.0
        worker.says(word or b"OK:ECHO(hi)")
    world.clock.pump([1.0] * 3)
    return job


def test_a_timeline_is_read_once_and_goes_on_from_there_also_after_a_restart(world: MemoryCoordinator) -> None:
    observation = world.jobs.observation
    job = world.submit("-n", "3", "--retries", "0")
    world.wall += 2.0
    worker = world.worker(job, "0-0")
    first = of(world, observation.timeline(job))
    assert (first.attempts.task, first.attempts.begin, first.attempts.end) == ([0], [2.0], [None])
    assert (first.now, first.over, first.series.active[-1]) == (2.0, False, 1)
    world.wall += 3.0
    worker.says(b"FAIL(no)")
    second = of(world, observation.timeline(job))
    assert second.next > first.next
    assert (second.attempts.end[0], second.outcomes[second.attempts.outcome[0]]) == (5.0, "failed")
    assert second.series.failed[-1] == 1
    world.killed_and_started_again()
    again = of(world, world.jobs.observation.timeline(job))
    assert again.attempts.end[0] == 5.0
    world.jobs.cancel(job)
    world.clock.pump([1.0] * 3)
    last = of(world, world.jobs.observation.timeline(job))
    assert last.over
    assert last.states[0].states[0][0] == 2.0


def test_a_timeline_says_what_slow_attempts_and_stages_have_moved_running_ones_too(world: MemoryCoordinator) -> None:
    names = ["split", "split", "join"]
    world.pipeline = Pipeline(
        name="p", summary="", first=world.pipeline.first, stage=lambda _, task: names[task], after=lambda *_: ()
    )
    job = world.submit("-n", "3", "--retries", "0")
    workers = [world.worker(job, f"0-{number}") for number in range(3)]
    workers[0].says(ByteCounts(retrieved=5, sent=2).encode(), b"OK:ECHO(hi)")
    workers[1].says(b"OK:ECHO(hi)")
    workers[2].says(ByteCounts(received=9).encode())
    line = of(world, world.jobs.observation.timeline(job))
    moved = {line.attempts.task[place]: counts for place, counts in line.bytes.items()}
    assert moved == {
        0: {"retrieved": 5, "uploaded": 0, "sent": 2, "received": 0},
        2: {"retrieved": 0, "uploaded": 0, "sent": 0, "received": 9},
    }
    stages = {stage.name: stage.bytes for stage in line.stages}
    assert stages == {"split": moved[0], "join": None}


def test_failures_are_grouped_by_reason_the_most_frequent_first(world: MemoryCoordinator) -> None:
    job = failed_job(world, b"FAIL(disk 7 full)", b"FAIL(no)", b"FAIL(disk 12 full)", b"")
    found = of(world, world.jobs.observation.failures(job))
    assert [(group.count, list(group.tasks)) for group in found.groups] == [(2, ["0", "2"]), (1, ["1"])]
    assert "#" in found.groups[0].reason
    assert found.groups[0].sample.task == 0
    assert "disk 7 full" in found.groups[0].sample.error
    assert found.more == 0


def test_the_first_tasks_of_a_reason_are_named_as_their_user_knows_them(world: MemoryCoordinator) -> None:
    first = world.pipeline.first
    for label, expected in ((None, {}), (lambda _, task: f"in/{task}", {task: f"in/{task}" for task in range(1, 7)})):
        world.pipeline = Pipeline(name="p", summary="", first=first, label=label)
        job = failed_job(world, b"", *[b"FAIL(a)"] * 9)
        [group] = of(world, world.jobs.observation.failures(job)).groups
        assert group.labels == expected


def test_what_only_ended_with_its_job_has_not_failed(world: MemoryCoordinator) -> None:
    job = world.submit("-n", "3")
    world.jobs.cancel(job)
    world.clock.pump([1.0] * 3)
    assert of(world, world.jobs.observation.failures(job)).groups == []


def test_the_tasks_of_one_reason_are_run_again_and_the_others_stay(world: MemoryCoordinator) -> None:
    job = failed_job(world, b"FAIL(a)", b"FAIL(b)", b"FAIL(a)")
    group = of(world, world.jobs.observation.failures(job)).groups[0]
    assert list(group.tasks) == ["0", "2"]
    world.at_once(world.jobs.retry(job, {0, 2}))
    assert [task.state for task in world.tasks(job)] == ["waiting", "failed", "waiting"]
    world.finish(job, "1-0")
    world.finish(job, "1-1")
    world.clock.pump([1.0] * 3)
    status = world.jobs.job(job)
    assert (status.state, status.done, status.failed) == ("failed", 2, 1)
    with pytest.raises(ServiceError, match="none of these tasks has failed"):
        world.at_once(world.jobs.retry(job, {0}))
    with pytest.raises(ServiceError, match="none of these tasks has failed"):
        world.at_once(world.jobs.retry(job, {77}))


def test_what_a_task_comes_after_is_run_again_with_it(world: MemoryCoordinator) -> None:
    world.pipeline = Pipeline(
        name="p", summary="", first=world.pipeline.first, after=lambda _, task: [task - 1] if task in (1, 2) else []
    )
    job = world.submit("-n", "4", "--retries", "0")
    world.worker(job, "0-0").says(b"FAIL(a)")
    world.clock.pump([1.0] * 2)
    world.worker(job, "0-1").says(b"FAIL(b)")
    world.clock.pump([1.0] * 3)
    assert world.jobs.job(job).failed == 4
    world.at_once(world.jobs.retry(job, {1}))
    assert [task.state for task in world.tasks(job)] == ["waiting", "blocked", "failed", "failed"]
    world.killed_and_started_again()
    assert [task.state for task in world.tasks(job)] == ["waiting", "blocked", "failed", "failed"]


def test_a_part_is_refused_where_the_rest_would_halt_the_job_at_once(world: MemoryCoordinator) -> None:
    job = world.submit("-n", "3", "--retries", "0", "--halt", "soon,fail=2")
    for number in range(2):
        world.worker(job, f"0-{number}").says(b"FAIL(a)")
    world.clock.pump([1.0] * 3)
    failed = {task.task for task in world.tasks(job) if task.state == "failed"}
    assert failed == {0, 1, 2}
    with pytest.raises(ServiceError, match="retry all of them"):
        world.at_once(world.jobs.retry(job, {min(failed)}))
    assert world.jobs.job(job).state == "failed"
    world.at_once(world.jobs.retry(job, failed))
    assert world.jobs.job(job).state == "running"


def test_a_story_has_moves_attempts_and_states(world: MemoryCoordinator) -> None:
    job = world.submit("-n", "2", "--retries", "1")
    world.wall += 1.0
    worker = world.worker(job, "0-0")
    world.wall += 1.0
    worker.says(b"FAIL(no)")
    world.clock.pump([1.0] * 30)
    world.worker(job, "0-1")
    story = of(world, world.jobs.observation.story(job, 0))
    assert [move[1:] for move in story.moves][:2] == [("waiting", "active"), ("active", "waiting")]
    first = story.attempts[0]
    assert (first.begin, first.end, first.outcome, first.launch) == (1.0, 2.0, "failed", "0-0")
    assert "no" in first.error
    assert first.states[0][0] == 1.0
    assert story.task.task == 0
    with pytest.raises(UnknownJob, match="no task 2"):
        of(world, world.jobs.observation.story(job, 2))


def test_a_story_names_the_exit_status_of_an_attempt_that_failed_of_one(world: MemoryCoordinator) -> None:
    world.pipeline = Pipeline(name="p", summary="", first=Runs)
    job = world.submit("-n", "2", "--retries", "0")
    world.worker(job, "0-0").says(b"OK:RETVAL(7):OUTPUT():COMMAND(x)")
    world.worker(job, "0-1").says(b"FAIL(no)")
    world.clock.pump([1.0] * 3)
    stories = [of(world, world.jobs.observation.story(job, task)) for task in (0, 1)]
    assert [story.attempts[0].status for story in stories] == [7, None]


@pytest.mark.parametrize("ended", [False, True])
def test_a_story_names_the_peers_by_what_became_of_paths_to_them(world: MemoryCoordinator, ended: bool) -> None:
    job = world.submit("-n", "1", "--retries", "0")
    worker = world.worker(job, "0-0")
    said = {3: "direct", 7: "edm", 4: "direct", 9: "timeout", 6: "direct"}
    run = world.jobs._active_jobs.run(job)
    run.attempts.paths_known(0, 0, said)
    run.attempts.paths_known(0, 0, {7: "direct"})
    if ended:
        worker.says(b"FAIL(no)")
        world.clock.pump([1.0] * 3)
    story = of(world, world.jobs.observation.story(job, 0))
    assert story.attempts[0].peers == {"direct": ["3-4", "6-7"], "timeout": ["9"]}


def test_the_attempts_that_have_run_longest_are_told_first_and_what_workers_do(world: MemoryCoordinator) -> None:
    job = world.submit("-n", "4", "--retries", "1")
    assert not of(world, world.jobs.observation.active(job, 10)).tasks
    for number in range(3):
        worker = world.worker(job, f"0-{number}")
        world.clock.advance(2.0)
    found = of(world, world.jobs.observation.active(job, 10))
    assert [(one.task, one.attempt, one.seconds, one.launch) for one in found.tasks] == [
        (0, 0, 6.0, "0-0"),
        (1, 0, 4.0, "0-1"),
        (2, 0, 2.0, "0-2"),
    ]
    assert found.workers == {"idle": 0, "working": 3, "warming": 0, "leaving": 0}
    assert [one.task for one in of(world, world.jobs.observation.active(job, 2)).tasks] == [0, 1]
    worker.says(b"OK:ECHO(hi)")
    world.clock.advance(0.0)
    found = of(world, world.jobs.observation.active(job, 10))
    assert [one.task for one in found.tasks] == [0, 1]
    assert (found.workers["working"], found.workers["warming"]) == (2, 1)
    world.jobs.cancel(job)
    world.clock.pump([1.0] * 3)
    assert not of(world, world.jobs.observation.active(job, 10)).tasks
    with pytest.raises(UnknownJob):
        of(world, world.jobs.observation.active("nosuch", 10))


def test_structured_events_have_number_time_and_what_the_record_says(world: MemoryCoordinator) -> None:
    job = world.submit("-n", "2", "--retries", "0")
    world.worker(job, "0-0").says(b"FAIL(no)")
    page = world.at_once(world.jobs.events(job, EventQuery(structured=True)))
    kinds = [event["type"] for event in page.events]
    assert kinds[:2] == ["requested", "submitted"]
    assert page.events[1]["tasks"] == 2
    ended = next(event for event in page.events if event["type"] == "attempt-ended")
    assert (ended["task"], ended["outcome"]) == (0, "failed")
    numbers = [event["number"] for event in page.events]
    assert numbers == sorted(numbers)
    rest = world.at_once(world.jobs.events(job, EventQuery(structured=True, after=numbers[3])))
    assert [event["number"] for event in rest.events] == numbers[4:]
