"""A journal of version 0.1.0 under this version's jobs, in memory."""

import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import state_of_0_1_0 as old
from memory_jobs import MemoryCoordinator

from mu_twisted.coordinator import Request
from mu_twisted.jobs import record_from_dict, record_to_dict
from mu_twisted.pipelines import Pipeline, load_pipeline

KINDS = {
    *("submitted", "started", "launched", "assigned", "attempt-ended", "remarked", "forgiven", "result"),
    *("result-stands", "task-failed", "reopened", "retried", "store", "cancelled", "finished"),
}
"""Of records, in version 0.1.0."""
OUTCOMES = {"done", "failed", "beaten", "withdrawn"}
"""Of attempts, in version 0.1.0."""
STATES = {
    old.DONE: ("done", 3, 0),
    old.FAILED: ("failed", 1, 1),
    old.CANCELLED: ("cancelled", 0, 2),
    old.REPORTED: ("done", 2, 0),
    old.WITH_MESSAGES: ("done", 3, 0),
    old.RUNNING: ("running", 2, 0),
    old.RUNNING_WITH_MESSAGES: ("running", 3, 0),
}
"""Of the jobs that ran on a stack: state, tasks done, tasks failed."""


class Restored(MemoryCoordinator):
    """Knows mu's own pipelines."""

    def parse(self, request: Request) -> tuple[Pipeline, Any]:
        pipeline = load_pipeline(request.pipeline)
        return pipeline, pipeline.parse(request.words)


@pytest.fixture
def world(tmp_path: Path) -> Iterator[MemoryCoordinator]:
    old.write_state(tmp_path)
    world = Restored(tmp_path)
    yield world
    world.journal.close()


def rows(directory: Path) -> list[dict[str, Any]]:
    with closing(sqlite3.connect(directory / "journal.db")) as database:
        return [json.loads(row) for (row,) in database.execute("SELECT record FROM events ORDER BY number")]


def test_every_kind_of_record_and_outcome_of_then_is_in_it_and_is_read_whole(tmp_path: Path) -> None:
    old.write_state(tmp_path)
    records = [row["record"] for row in rows(tmp_path) if "record" in row]
    assert {record["type"] for record in records} == KINDS
    assert {record["outcome"] for record in records if record["type"] == "attempt-ended"} == OUTCOMES
    for record in records:
        read = record_to_dict(record_from_dict(record))
        assert _within(record, read), (record, read)


def test_its_jobs_are_listed_as_they_stood(world: MemoryCoordinator) -> None:
    assert world.faults == []
    facts = {fact.job: fact for fact in world.jobs.jobs()}
    assert {job: (facts[job].state, facts[job].done, facts[job].failed) for job in STATES} == STATES
    others = [fact for job, fact in facts.items() if job not in STATES]
    assert {fact.state for fact in others} == {"done", "failed", "cancelled"}
    assert not [fact.error for fact in others if "damaged" in (fact.error or "")]
    assert facts[old.DONE].ended == pytest.approx(facts[old.DONE].submitted, abs=5)
    assert facts[old.DONE].cost is not None
    assert facts[old.FAILED].error == "1 of 2 tasks failed"


def test_the_tasks_logs_and_report_of_ended_jobs_are_told(world: MemoryCoordinator) -> None:
    for job in (fact.job for fact in world.jobs.jobs()):
        assert len(world.tasks(job)) == world.jobs.job(job).tasks
    good, bad = world.tasks(old.FAILED)
    assert (good.state, good.attempts, good.error) == ("done", 1, None)
    assert (bad.state, bad.attempts) == ("failed", 2)
    assert "the command ended with status 3: 'no such file'" in (bad.error or "")
    assert "no such file" in world.log(old.FAILED)
    assert (world.jobs.job(old.REPORTED).report or "").startswith("4 runs: 4938.0 MFLOPS in all")


def test_running_jobs_go_on_with_the_tasks_that_are_not_done(world: MemoryCoordinator) -> None:
    world.clock.pump([5.0] * 12)  # the workers of then could have come back
    assert world.launches.submission.count("1-0") == 2  # of both running jobs
    assert [task.state for task in world.tasks(old.RUNNING)] == ["done", "done", "waiting", "waiting"]
    first, second = world.worker(old.RUNNING, "1-0"), world.worker(old.RUNNING, "1-1")
    assert b"echo 2" in b"".join(first.takes())
    assert b"echo 3" in b"".join(second.takes())


def test_failed_jobs_can_be_tried_again_and_ended_ones_deleted(world: MemoryCoordinator) -> None:
    assert world.retry(old.FAILED).state == "running"
    assert b"test 1 = 0" in b"".join(world.worker(old.FAILED, "1-0").takes())
    for job in (old.DONE, old.CANCELLED, old.WITH_MESSAGES):
        world.remove(job)
    assert {old.DONE, old.CANCELLED, old.WITH_MESSAGES}.isdisjoint(fact.job for fact in world.jobs.jobs())


def test_it_is_read_again_after_this_version_has_written_to_it(world: MemoryCoordinator) -> None:
    world.worker(old.RUNNING, "1-0")
    before = {fact.job: (fact.state, fact.done, fact.failed, fact.ended) for fact in world.jobs.jobs()}
    world.killed_and_started_again()
    assert {fact.job: (fact.state, fact.done, fact.failed, fact.ended) for fact in world.jobs.jobs()} == before


def _within(old: Any, new: Any) -> bool:
    """Whether all that stood in the old is in the new, which may have more fields."""
    if isinstance(old, dict) and isinstance(new, dict):
        return all(key in new and _within(value, new[key]) for key, value in old.items())
    if isinstance(old, list) and isinstance(new, list | tuple):
        return len(old) == len(new) and all(map(_within, old, new))
    return bool(old == new)
