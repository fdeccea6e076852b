"""A job that is kept open takes tasks while it runs, and is over when it is closed and they are."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Any

import pytest
from memory_jobs import PIPELINE, MemoryCoordinator
from twisted.internet.defer import Deferred
from worker_double import WorkerDouble, launch_identity

from mu_twisted.jobs._job_data import LEASE, LINGER
from mu_twisted.pipelines import InputList, PipelineError, pack_inputs
from mu_twisted.statuses import NotYet, ServiceError, UnknownJob
from mu_twisted.wire import Greeting


def takes(settings: Any, inputs: InputList) -> int:
    settings["tasks"] += len(inputs)
    settings.setdefault("taken", []).extend(inputs.columns[0])
    return len(inputs)


@pytest.fixture
def world(world: MemoryCoordinator) -> MemoryCoordinator:
    world.pipeline = replace(PIPELINE, extends=takes)
    return world


def packed(*texts: str) -> str:
    return pack_inputs(InputList((texts,)))


def test_tasks_are_added_until_it_is_closed(world: MemoryCoordinator) -> None:
    job = world.submit("-n", "1", "--max-workers", "2")
    worker = world.worker(job, "0-0")
    worker.says(b"OK:ECHO(hi)")
    world.clock.pump([0.5] * 4)
    assert world.jobs.job(job).state == "running"
    assert world.jobs.extend(job, packed("a", "b", "c")) == 1
    world.turn()
    assert world.jobs.job(job).tasks == 4
    assert next(task.state for task in world.tasks(job)) == "done"
    with pytest.raises(PipelineError):
        world.jobs.extend(job, "no list")
    assert world.jobs.close(job).state == "running"
    with pytest.raises(ServiceError, match="no tasks can be added"):
        world.jobs.extend(job, packed("d"))
    world.jobs.cancel(job)
    world.clock.pump([1.0] * 5)
    assert world.jobs.job(job).state == "cancelled"


def test_what_was_added_is_shown_as_all_tasks_are(world: MemoryCoordinator) -> None:
    job = world.submit("-n", "1", "--max-workers", "2", "--retries", "0")
    world.finish(job, "0-0")
    world.clock.pump([1.0] * 2)
    of = world.jobs.observation
    assert world.at_once(Deferred.fromCoroutine(of.timeline(job))).tasks == 1
    world.jobs.extend(job, packed("a", "b"))
    world.turn()
    worker = world.worker(job, "0-1")
    timeline = world.at_once(Deferred.fromCoroutine(of.timeline(job)))
    assert (timeline.tasks, timeline.attempts.task, timeline.stages[0].tasks) == (3, [0, 1], ["0-2"])
    worker.says(b"FAIL(no)")
    world.jobs.cancel(job)
    world.clock.pump([1.0] * 5)
    assert world.at_once(Deferred.fromCoroutine(of.timeline(job))).series.failed[-1] == 2
    moves = {task: world.at_once(Deferred.fromCoroutine(of.story(job, task))).moves for task in range(3)}
    assert [move[1:] for move in moves[1]] == [("waiting", "active"), ("active", "waiting"), ("waiting", "failed")]
    assert [move[1:] for move in moves[2]] == [("waiting", "failed")]
    with pytest.raises(UnknownJob, match="no task 3"):
        world.at_once(Deferred.fromCoroutine(of.story(job, 3)))


def test_what_was_added_outlives_the_coordinator(world: MemoryCoordinator) -> None:
    job = world.submit("-n", "1")
    world.finish(job, "0-0")
    world.turn()
    world.jobs.extend(job, packed("a", "b"))
    world.killed_and_started_again()
    status = world.jobs.job(job)
    assert (status.state, status.tasks, status.done) == ("running", 3, 1)
    assert world.jobs._active_jobs.run(job)._settings["taken"] == ["a", "b"]
    assert world.jobs.extend(job, packed("c")) == 3
    world.jobs.close(job)
    for number in range(3):
        world.finish(job, f"1-{number}")
    world.clock.pump([1.0] * 5)
    assert world.jobs.job(job).state == "done"


def fails(_settings: Any, _inputs: InputList) -> int:
    raise LookupError("no room")


@pytest.mark.parametrize("wrong", [fails, lambda *_: None, lambda *_: "1", lambda *_: -1])
def test_code_that_cannot_take_tasks_is_told_of_and_costs_its_own_job_only(
    world: MemoryCoordinator, wrong: Any
) -> None:
    job = world.submit("-n", "1")
    world.jobs.extend(job, packed("a"))
    world.pipeline = replace(PIPELINE, extends=wrong)
    broken, other = world.submit("-n", "1"), world.submit("-n", "1")
    with pytest.raises(PipelineError, match="further inputs cannot be taken"):
        world.jobs.extend(broken, packed("a"))
    assert world.jobs.job(broken).tasks == 1
    world.killed_and_started_again()
    held = world.jobs.job(job)
    assert held.state == "held"
    assert (held.error or "").startswith("it cannot go on: pipeline p: further inputs cannot be taken: ")
    assert "\n" not in (held.error or "")
    assert [world.jobs.job(each).state for each in (broken, other)] == ["running", "running"]


def test_idle_workers_are_kept_for_a_while_and_then_leave(world: MemoryCoordinator) -> None:
    job = world.submit("-n", "1")
    greeting = Greeting(1, f"{job}/0-0", 900_000, 128).encode()
    worker = WorkerDouble(world.registry.new_session(), launch_identity(job), world.turn)
    worker.says(greeting)
    worker.says(b"OK:ECHO(hi)")
    world.turn()
    worker.says(greeting)
    world.clock.pump([1.0] * int(LINGER / 2))
    assert world.jobs.job(job).workers == 1
    world.jobs.extend(job, packed("a"))
    world.turn()
    assert (world.jobs.job(job).active, world.jobs.job(job).launches) == (1, 0)
    worker.says(b"OK:ECHO(hi)")
    worker.says(greeting)
    world.clock.pump([1.0] * int(LINGER + 2))
    assert (world.jobs.job(job).workers, world.jobs.job(job).state) == (0, "running")


def test_one_whose_program_is_gone_is_closed(world: MemoryCoordinator) -> None:
    job = world.submit("-n", "1")
    world.finish(job, "0-0")
    for _ in range(3):
        world.clock.pump([1.0] * int(LEASE - 5))
        assert world.jobs.job(job).state == "running"
        world.jobs.settled(job, 1).addErrback(lambda _: None).cancel()
    world.clock.pump([1.0] * int(LEASE + 5))
    assert world.jobs.job(job).state == "done"
    assert "closed" in world.log(job)


def test_a_job_of_another_pipeline_takes_none(world: MemoryCoordinator) -> None:
    world.pipeline = PIPELINE
    job = world.submit("-n", "1")
    with pytest.raises(ServiceError, match="no tasks can be added"):
        world.jobs.extend(job, packed("a"))
    world.finish(job, "0-0")
    world.clock.pump([1.0] * 5)
    assert world.jobs.close(job).state == "done"


def test_one_whose_records_are_being_read_can_be_neither_extended_nor_closed_yet(
    world: MemoryCoordinator, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = world.submit("-n", "1")
    with monkeypatch.context() as early:
        early.setattr(world, "turn", lambda: None)
        world.killed_and_started_again()
    with pytest.raises(NotYet, match="are being read"):
        world.jobs.extend(job, packed("a"))
    with pytest.raises(NotYet, match="are being read"):
        world.jobs.close(job)
    world.turn()
    assert world.jobs.extend(job, packed("a")) == 1
    assert world.jobs.close(job).state == "running"
    world.killed_and_started_again()
    with pytest.raises(ServiceError, match="no tasks can be added"):
        world.jobs.extend(job, packed("b"))


def test_one_of_a_coordinator_that_stops_is_extended_and_closed_by_the_next(world: MemoryCoordinator) -> None:
    job = world.submit("-n", "1")
    world.jobs.stop()
    for request in (partial(world.jobs.extend, job, packed("a")), partial(world.jobs.close, job)):
        with pytest.raises(NotYet, match="try again when it is back"):
            request()
