"""--halt: when so many tasks have failed that the others are not worth their cost, with what runs or without it."""

from typing import Any

import pytest
from job_driver import Play

from mu_twisted.jobs import Failure, Finish, Job, JobError, JobPolicy, record_from_dict, record_to_dict


def play(tasks: int = 4, **policy: Any) -> Play:
    found = Play(Job("j", range(tasks), JobPolicy(retries=0, **policy)))
    for number in range(2):
        found.come(number, f"0-{number}")
    return found


def over(found: Play) -> str | None:
    return found.job.error if found.job.over else "goes on"


def fail(found: Play, worker: int) -> list[Any]:
    return found.fail(worker, kind=Failure.EXIT, status=1)


def test_now_ends_what_runs() -> None:
    found = play(halt_failures=1, halt_running=True)
    actions = fail(found, 0)
    assert any(isinstance(action, Finish) for action in actions)
    assert over(found) == "halted: 1 of 4 tasks failed, and --halt allows less than 1"
    assert sorted(found.job.failures) == [0, 1, 2, 3]
    assert found.job.failures[3] == found.job.error


def test_soon_lets_it_end_and_begins_nothing_else() -> None:
    found = play(halt_failures=1)
    fail(found, 0)
    assert over(found) == "goes on"
    found.warm(0)
    found.come(2, "0-2")
    assert found.job.task_of(0) is None
    assert found.job.task_of(2) is None
    found.done(1)
    assert over(found) == "halted: 1 of 4 tasks failed, and --halt allows less than 1"
    assert found.job.counts().done == 1


@pytest.mark.parametrize(
    ("percent", "tasks", "failures"), [(10.0, 20, 2), (10.0, 4, 1), (50.0, 4, 2), (100.0, 2, 2), (0.1, 4, 1)]
)
def test_a_share_is_of_all_tasks(percent: float, tasks: int, failures: int) -> None:
    found = Play(Job("j", range(tasks), JobPolicy(retries=0, halt_percent=percent, halt_running=True)))
    for number in range(failures):
        assert over(found) == "goes on"
        found.come(number, f"0-{number}")
        fail(found, number)
    assert str(over(found)).startswith((f"halted: {failures} of", f"{failures} of {tasks} tasks failed"))


def test_what_is_tried_again_has_not_failed_yet() -> None:
    found = Play(Job("j", range(2), JobPolicy(retries=1, halt_failures=1, halt_running=True)))
    found.come(0, "0-0")
    found.fail(0)
    assert over(found) == "goes on"


def test_a_halted_job_that_is_tried_again_goes_on() -> None:
    found = play(halt_failures=1, halt_running=True)
    fail(found, 0)
    found.job.retry(100.0)
    assert not found.job.over
    assert not found.job.failures


def test_a_job_that_had_failures_enough_is_halted_when_it_is_taken_up_again() -> None:
    found = play(halt_failures=1)
    fail(found, 0)
    again = found.restarted()
    assert str(over(again)).startswith("halted: 1 of 4")


def test_records_of_a_version_before_know_no_limit() -> None:
    submitted = play().records[0]
    plain = record_to_dict(submitted)
    for name in ("halt_failures", "halt_percent", "halt_running"):
        del plain["policy"][name]
    assert record_from_dict(plain) == submitted


@pytest.mark.parametrize("wrong", [{"halt_failures": 0}, {"halt_percent": 0.0}, {"halt_percent": 101.0}])
def test_a_limit_that_makes_no_sense_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(JobError):
        JobPolicy(**wrong)
