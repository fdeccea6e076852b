"""--retry-memory: what died for want of memory runs again, once, on a larger function, when all else is settled."""

from typing import Any

from job_driver import Play, kinds

from mu_twisted.jobs import Failure, Job, JobPolicy, TaskState, UseLargerFunction


def play(tasks: int = 3, **policy: Any) -> Play:
    return Play(Job("j", range(tasks), JobPolicy(retry_memory=True, **policy), random=lambda: 0.5))


def starve(found: Play, worker: int) -> list[Any]:
    return found.fail(worker, "killed", Failure.EXIT, status=-9)


def to_the_larger(found: Play) -> list[Any]:
    """Task 1 dies for want of memory, task 2 of something else, task 0 is done."""
    for number in range(3):
        found.come(number)
    starve(found, 1)
    found.fail(2, "wrong", Failure.EXIT, status=1)
    return found.done(0)


def test_only_what_needs_memory_runs_again_on_a_larger_function() -> None:
    found = play()
    actions = to_the_larger(found)
    assert kinds(actions)[-1] == "UseLargerFunction"
    assert set(kinds(actions)[:-1]) <= {"Dismiss", "StopLaunches"}
    assert not found.job.over
    assert found.launched[-1] == "1-0"
    assert [(task.task, task.state) for task in found.job.tasks_from(0)] == [
        (0, TaskState.DONE),
        (1, TaskState.WAITING),
        (2, TaskState.FAILED),
    ]
    found.come(9, "1-0")
    found.done(9)
    assert found.job.over
    assert found.job.error == "1 of 3 tasks failed"


def test_it_is_done_once() -> None:
    found = play()
    to_the_larger(found)
    found.come(9, "1-0")
    starve(found, 9)
    assert found.job.over
    assert found.job.error == "2 of 3 tasks failed"


def test_a_worker_of_the_smaller_function_that_comes_late_is_sent_home() -> None:
    found = play(overprovision=1)
    to_the_larger(found)
    assert kinds(found.come(7, "0-3")) == ["Dismiss"]
    assert found.job.task_of(7) is None


def test_without_the_option_or_where_nothing_starved_the_job_is_over() -> None:
    found = Play(Job("j", range(3), JobPolicy()))
    to_the_larger(found)
    assert found.job.over
    other = play(1)
    other.come(0)
    other.fail(0, "wrong", Failure.EXIT, status=1)
    assert other.job.over


def test_a_restart_goes_on_with_the_larger_function() -> None:
    found = play()
    to_the_larger(found)
    again = found.restarted()
    [enlarged] = [record for record in again.records if type(record).__name__ == "Enlarged"]
    assert enlarged.tasks == (1,)  # type: ignore[union-attr]
    resumed = Job.restore(again.records)
    assert any(isinstance(action, UseLargerFunction) for action in resumed.resume(2000.0))
    assert not resumed.over


def test_a_job_that_is_tried_again_afterwards_stays_on_it() -> None:
    found = play()
    to_the_larger(found)
    found.come(9, "1-0")
    starve(found, 9)
    assert any(isinstance(action, UseLargerFunction) for action in found.job.retry(100.0))


def test_what_starved_and_then_failed_of_something_else_does_not_count() -> None:
    found = play(1, retry_exit=None)
    found.come(0)
    starve(found, 0)
    for _ in range(2):
        worker, _, _ = found.on()
        found.fail(worker, "wrong", Failure.EXIT, status=1)
    assert found.job.over
