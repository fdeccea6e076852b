"""The decisions of a job, in virtual time."""

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mu_twisted.jobs import Assign, Diagnose, Dismiss, Finish, Job, JobError, StartLaunches, Warm


def started(tasks: int = 3, **more: object) -> Job:
    job = Job("j", range(tasks), **more)  # type: ignore[arg-type]
    [launch] = job.start(0.0)
    assert isinstance(launch, StartLaunches)
    for launch_id in launch.launch_ids:
        job.launch_accepted(launch_id, 0.0)
    return job


def test_a_job_without_tasks_is_refused() -> None:
    with pytest.raises(JobError):
        Job("j", [])


def test_one_launch_is_started_for_each_task_and_each_overprovisioned_worker() -> None:
    [launch] = Job("j", range(3), overprovision=2).start(0.0)
    assert isinstance(launch, StartLaunches)
    assert len(set(launch.launch_ids)) == 5


def test_tasks_go_out_in_connection_order_and_in_the_order_of_the_pipeline() -> None:
    job = Job("j", [2, 0, 1])
    job.start(0.0)
    assert job.worker_came(10, "0-1", 1.0) == [Assign(10, 2, 0)]
    assert job.worker_came(11, "0-0", 1.0) == [Assign(11, 0, 0)]
    assert job.worker_came(12, "0-2", 1.0) == [Assign(12, 1, 0)]


def test_a_launch_is_good_for_one_connection() -> None:
    job = started(2)
    job.worker_came(1, "0-0", 1.0)
    [dismissed] = job.worker_came(2, "0-0", 1.0)
    assert isinstance(dismissed, Dismiss)
    assert job.counts().workers == 1


def test_the_job_is_over_when_every_task_is_done_and_its_workers_are_told_to_quit() -> None:
    job = started(1, overprovision=1)
    job.worker_came(1, "0-0", 1.0)
    assert job.worker_came(2, "0-1", 1.0) == []
    actions = job.task_done(1, 2.0)
    assert actions[0] == Dismiss(1, "no task is left for it")
    assert isinstance(actions[1], Dismiss)
    assert actions[1].worker == 2
    assert actions[2] == Finish()
    assert job.over
    assert job.error is None


def test_a_failed_task_fails_the_job_at_its_end_and_no_other_task() -> None:
    job = started(2)
    job.worker_came(1, "0-0", 1.0)
    job.worker_came(2, "0-1", 1.0)
    assert Finish() not in job.task_failed(1, "state A: bad", 2.0)
    assert Finish() in job.task_done(2, 3.0)
    assert job.error == "1 of 2 tasks failed"
    assert job.failures == {0: "state A: bad"}


def test_a_lost_worker_fails_its_task_only() -> None:
    job = started(2)
    job.worker_came(1, "0-0", 1.0)
    job.worker_came(2, "0-1", 1.0)
    job.worker_lost(1, "reset", 2.0)
    assert Finish() in job.task_done(2, 3.0)
    assert "reset" in job.failures[0]


def test_a_worker_that_is_done_takes_a_task_that_still_waits() -> None:
    job = started(2)
    job.launch_refused("0-1", "429", 0.5)
    job.worker_came(1, "0-0", 1.0)
    assert job.task_done(1, 2.0) == [Warm(1)]
    assert job.worker_came(1, None, 2.5) == [Assign(1, 1, 0)]
    assert Finish() in job.task_done(1, 3.0)
    assert job.error is None


def test_a_worker_of_the_originals_kind_is_used_once() -> None:
    job = started(2)
    job.worker_came(1, None, 1.0, reusable=False)
    assert job.task_done(1, 2.0) == [Dismiss(1, "no task is left for it")]


def test_nobody_in_time_asks_for_a_diagnosis_once() -> None:
    job = started(2, start_timeout=5.0)
    assert job.time_passed(4.9) == []
    assert job.time_passed(5.0) == [Diagnose()]
    assert job.time_passed(6.0) == []
    assert job.abort("nobody reached us", 7.0) == [Finish()]
    assert job.error == "nobody reached us"


def test_a_worker_that_never_comes_fails_its_task_when_no_other_is_left_to_do_it() -> None:
    job = started(2, start_timeout=5.0)
    job.worker_came(1, "0-0", 1.0)
    job.worker_lost(1, "gone", 2.0)
    assert not job.over
    assert job.time_passed(5.0) == [Finish()]
    assert job.counts().failed == 2
    assert job.error is not None
    assert "never dialled in" in job.error


def test_launches_refused_throughout_end_the_job_with_the_commonest_reason() -> None:
    job = Job("j", range(2))
    job.start(0.0)
    job.launch_refused("0-0", "AccessDenied", 1.0)
    assert job.launch_refused("0-1", "AccessDenied", 1.0) == [Finish()]
    assert job.error == "no launch was accepted: AccessDenied"


@settings(max_examples=200, deadline=None)
@given(
    tasks=st.integers(1, 12),
    overprovision=st.integers(0, 3),
    chance=st.randoms(use_true_random=False),
    faults=st.floats(0, 0.5),
)
def test_every_job_ends_with_each_task_done_or_failed_once(
    tasks: int, overprovision: int, chance: random.Random, faults: float
) -> None:
    """Workers come, come twice, never come, die, fail and finish in any order: the job ends, and its books balance."""
    job = Job("j", range(tasks), overprovision=overprovision, start_timeout=10.0)
    now, next_worker = 0.0, 0
    [first] = job.start(now)
    assert isinstance(first, StartLaunches)
    coming: list[str] = []
    for launch_id in first.launch_ids:
        if chance.random() < faults:
            assert isinstance(job.launch_refused(launch_id, "429", now), list)
        else:
            job.launch_accepted(launch_id, now)
            if chance.random() >= faults:
                coming += [launch_id] * (2 if chance.random() < faults else 1)
    working: dict[int, int] = {}
    warming: set[int] = set()
    assigned: list[int] = []
    ended = False

    def carry_out(actions: list[object]) -> None:
        nonlocal ended
        for action in actions:
            assert not ended, "nothing may follow Finish"
            if isinstance(action, Assign):
                working[action.worker] = action.task
                assigned.append(action.task)
            elif isinstance(action, Warm):
                warming.add(action.worker)
            elif isinstance(action, Dismiss):
                working.pop(action.worker, None)
                warming.discard(action.worker)
            elif isinstance(action, Diagnose):
                carry_out(list(job.abort("nobody", now)))
            elif isinstance(action, Finish):
                ended = True

    ended = job.over
    for _ in range(1000):
        if ended:
            break
        now += 0.5
        choices = ["tick"] + ["come"] * bool(coming) + ["end"] * bool(working) + ["warm"] * bool(warming)
        match chance.choice(choices):
            case "come":
                launch_id = coming.pop(chance.randrange(len(coming)))
                next_worker += 1
                carry_out(list(job.worker_came(next_worker, launch_id, now)))
            case "end":
                worker = chance.choice(sorted(working))
                del working[worker]
                how = chance.random()
                if how < faults / 2:
                    carry_out(list(job.worker_lost(worker, "died", now)))
                elif how < faults:
                    carry_out(list(job.task_failed(worker, "bad", now)))
                else:
                    carry_out(list(job.task_done(worker, now)))
            case "warm":
                worker = warming.pop()
                carry_out(list(job.worker_came(worker, None, now)))
            case _:
                carry_out(list(job.time_passed(now)))
    assert ended
    counts = job.counts()
    assert counts.waiting == counts.active == 0
    assert counts.done + counts.failed == tasks
    assert len(assigned) == len(set(assigned))
    assert counts.failed == len(job.failures)
    assert (job.error is None) == (counts.failed == 0)
