"""Inputs that came with a job: journalled with it, and what its tasks are called by, while it runs and after it."""

from pathlib import Path
from typing import Any

import pytest
from map_jobs import MapCoordinator
from msgspec import convert, to_builtins

from mu_twisted.coordinator import Request
from mu_twisted.coordinator._slices import PAUSE
from mu_twisted.pipelines import (
    PipelineError,
    combinations,
)


@pytest.fixture
def world(tmp_path: Path) -> Any:
    world = MapCoordinator(tmp_path)
    yield world
    world.journal.close()


INPUTS = combinations([["a.png", "b c.png", "d;.png"]])


def test_tasks_are_called_by_their_inputs_while_the_job_runs_and_after_it(world: MapCoordinator) -> None:
    job = world.map(INPUTS, "--retries", "0", "--", "convert {}")
    labels = [task.label for task in world.tasks(job)]
    assert labels == ["a.png", "b c.png", "d;.png"]
    for number in range(3):
        world.do_next(job, f"0-{number}", status=number)
    assert world.jobs.job(job).state == "failed"
    assert [(task.label, task.state) for task in world.tasks(job, state="failed")] == [
        ("b c.png", "failed"),
        ("d;.png", "failed"),
    ]
    world.killed_and_started_again()
    assert [task.label for task in world.tasks(job)] == labels


def test_inputs_are_there_after_a_kill(world: MapCoordinator) -> None:
    job = world.map(INPUTS, "--", "convert {}")
    world.do_next(job, "0-0")
    world.killed_and_started_again()
    sent = world.do_next(job, "0-1")
    assert sent[-1] == b"run:_mu1='b c.png'; convert \"${_mu1}\""
    world.do_next(job, "0-2")
    assert world.jobs.job(job).state == "done"


def test_a_job_that_is_over_is_told_of_where_its_pipeline_is_gone(world: MapCoordinator) -> None:
    job = world.map(combinations([["x"]]), "--retries", "0", "--", "convert {}")
    world.do_next(job, "0-0", status=1)
    world.clock.pump([PAUSE] * 5)
    world.killed_and_started_again()
    world.missing = "no pipeline is called 'map'"
    assert [(task.state, task.label) for task in world.tasks(job)] == [("failed", "x")]
    (world.directory / "jobs" / job / "tasks.jsonl").unlink()
    for _ in range(2):  # of the records, and of the file that is made of them
        world.killed_and_started_again()
        assert [(task.state, task.label) for task in world.tasks(job)] == [("failed", None)]
    world.missing = None
    world.killed_and_started_again()
    assert [task.label for task in world.tasks(job)] == ["x"]


def test_a_request_of_a_version_before_has_no_inputs() -> None:
    old = {"pipeline": "exec", "words": ["--", "x"], "source": None}
    assert convert(old, Request) == Request("exec", ("--", "x"))
    assert convert(to_builtins(Request("map", inputs="x", name="y")), Request) == Request("map", inputs="x", name="y")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--out", "s3://b/{2}", "--", "x"), "inputs a 1 and b 1 have the same output, 1"),
        (("--", "cat {in}"), "input a 1 is no object"),
    ],
)
def test_inputs_that_make_no_sense_are_refused_before_anything_is_launched(
    world: MapCoordinator, words: tuple[str, ...], said: str
) -> None:
    with pytest.raises(PipelineError, match=said):
        world.map(combinations([["a", "b"], ["1"]]), *words)
    assert world.journal.jobs() == []
    assert world.launches.submission == []


def test_a_jobs_name_begins_as_its_user_wants(world: MapCoordinator) -> None:
    assert world.map(INPUTS, "--", "x", name="photos").startswith("photos-")
    for name in ("", "a b", "../x", "-x", "x" * 41, "ü"):
        with pytest.raises(PipelineError, match="a job's name has"):
            world.map(INPUTS, "--", "x", name=name)


def test_the_failing_one_of_several_inputs_is_named(world: MapCoordinator) -> None:
    job = world.map(INPUTS, "--batch", "3", "--retries", "0", "--", "convert {}")
    worker = world.worker(job, "0-0")
    worker.says(b"OK:RETVAL(0):OUTPUT():COMMAND(%b)" % worker.takes()[-1].removeprefix(b"run:"))
    worker.says(b"OK:RETVAL(1):OUTPUT(oh):COMMAND(%b)" % worker.takes()[-1].removeprefix(b"run:"))
    [task] = world.tasks(job)
    assert task.label == "a.png and 2 more"
    assert str(task.error).startswith("b c.png: the command ended with exit status 1")
