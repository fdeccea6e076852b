"""Stages of a job: what is counted of each, and what they wait for."""

from collections import Counter
from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from property_examples import examples
from simulated_fleet import Faults, SimulatedFleet

from mu_twisted.base.steps import exhaust
from mu_twisted.jobs import Job, JobError, JobPolicy, StageIndex, TaskState, grouped, stage_runs
from mu_twisted.wording import stages_under_way as under_way


def told(job: Job) -> list[tuple[str, str, int]]:
    return [(one.name, one.state, one.tasks) for one in job.stages()]


@given(st.lists(st.sampled_from("abc"), min_size=1, max_size=30))
def test_each_task_is_found_in_its_stage(names: list[str]) -> None:
    stages: dict[str, list[int]] = {}
    for task, name in enumerate(names):
        stages.setdefault(name, []).append(task)
    runs = stage_runs(stages.items())
    assert [(name, [task for first, last in some for task in range(first, last + 1)]) for name, some in runs] == [
        *stages.items()
    ]
    index = StageIndex(runs)
    assert [index.name(task) for task in range(-1, len(names) + 1)] == [None, *names, None]


def test_many_tasks_in_a_row_are_one_run() -> None:
    assert stage_runs([("split", range(100_000)), ("join", [100_000])]) == (
        ("split", ((0, 99_999),)),
        ("join", ((100_000, 100_000),)),
    )


@pytest.mark.parametrize(
    ("stages", "said"),
    [
        ([("a", [0, 1])], "each task of the job must be in one"),
        ([("a", [0, 1, 2]), ("b", [2])], "must be in one"),
        ([("a", [0, 1]), ("b", [1])], "is in two stages"),
        ([("a", [0, 1]), ("b", [7])], "none of the job"),
        ([("a", [0, 1, 2]), ("b", [])], "stage b has no task"),
        ([("a", [0, 1]), ("a", [2])], "a name of its own"),
        ([("", [0, 1, 2])], "1 to 40 letters"),
        ([("-x", [0, 1, 2])], "1 to 40 letters"),
        ([("two words", [0, 1, 2])], "1 to 40 letters"),
        ([("x" * 41, [0, 1, 2])], "1 to 40 letters"),
        ([(f"s{one}", [one]) for one in range(1001)], "at most 1000 stages"),
    ],
)
def test_stages_that_make_no_job_are_refused(stages: Any, said: str) -> None:
    with pytest.raises(JobError, match=said):
        Job("j", range(3), stages=stages)


def test_a_stage_says_what_it_waits_for() -> None:
    after = exhaust(grouped({2: [0, 1], 3: [0, 1]}))
    job = Job("j", range(4), JobPolicy(), after=after, stages=[("split", [0, 1]), ("join", [2, 3])])
    job.start(0.0)
    job.worker_greeted(1, "0-0", 0.0)
    split, join = job.stages()
    assert (split.state, split.active, split.waiting, split.waits) == ("active", 1, 1, "")
    assert (join.state, join.blocked) == ("blocked", 2)
    assert join.waits == "task 2 comes after task 0, which is active, and 1 more"
    job.task_done(1, 1.0)
    assert job.stages()[1].waits == "task 2 comes after task 1, which is waiting"
    assert [view.stage for view in job.tasks()] == ["split", "split", "join", "join"]


def test_one_line_names_the_stages_that_are_under_way() -> None:
    def stage(name: str, done: int = 0, failed: int = 0, active: int = 0) -> dict[str, Any]:
        return {"name": name, "tasks": 4, "active": active, "done": done, "failed": failed}

    assert under_way([]) == ""
    assert under_way([stage("a", 4), stage("b"), stage("c", failed=4)]) == ""
    assert under_way([stage("a", 3, 1), stage("b", 1), stage("c", active=1)]) == "b 1/4, c 0/4"
    assert under_way([stage(name, 1) for name in "abcde"]) == "a 1/4, b 1/4, c 1/4 and 2 more"


@settings(max_examples=examples(40), deadline=None)
@given(st.integers(1, 4), st.integers(1, 4), st.integers(0, 1 << 30), st.sampled_from([0, 3]))
def test_whatever_happens_the_stages_are_what_their_tasks_are(parts: int, width: int, seed: int, retries: int) -> None:
    tasks = parts * width
    after = {task: range(width * (task // width - 1), width * (task // width)) for task in range(width, tasks)}
    stages = [(f"s{part}", range(part * width, part * width + width)) for part in range(parts)]
    policy = JobPolicy(retries=retries, max_workers=2)
    job = Job("j", range(tasks), policy, after=exhaust(grouped(after)), stages=stages, random=Random(seed).random)
    fleet = SimulatedFleet(job, seed, Faults(death=0.2, failure=0.2))
    fleet.crashes = seed % 3

    def compare() -> None:
        for view in fleet.job.stages():
            states = Counter(task.state for task in fleet.job.tasks() if task.stage == view.name)
            assert (view.active, view.done, view.failed, view.blocked) == (
                states[TaskState.ACTIVE],
                states[TaskState.DONE],
                states[TaskState.FAILED],
                states[TaskState.BLOCKED],
            )
            assert view.waiting == states[TaskState.WAITING] + states[TaskState.BACKING_OFF]
            assert bool(view.waits) == (view.state in ("blocked", "waiting"))
        if not fleet.finished:
            fleet.always(1.7, compare)

    fleet.always(0.5, compare)
    fleet.start()
    for _ in range(20):
        fleet.play()
        compare()
        if not fleet.job.failures:
            break
        fleet.finished = False
        fleet.carry_out(fleet.job.retry(fleet.now))
        fleet.later(1.0, fleet.tick)
    assert {view.done + view.failed for view in fleet.job.stages()} == {width}
