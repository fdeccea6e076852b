"""The decisions of a job about its tasks, one rule at a time."""

from typing import Any

import pytest
from job_driver import Play, assigns, kinds

from mu_twisted.jobs import (
    Assign,
    Dismiss,
    Failure,
    Finish,
    Interrupt,
    Job,
    JobError,
    JobPolicy,
    ResultReached,
    StopLaunches,
    TaskState,
    Warm,
)
from mu_twisted.wording import explain_exit, is_out_of_memory


@pytest.mark.parametrize(
    "wrong",
    [
        {"retries": -1},
        {"max_workers": 0},
        {"task_timeout": 0.0},
        {"speculate": 0.5},
        {"retry_delay": 2.0, "retry_longest": 1.0},
        {"heartbeat": float("nan")},
        {"redial_timeout": -1.0},
    ],
)
def test_a_policy_that_makes_no_sense_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(JobError):
        JobPolicy(**wrong)


@pytest.mark.parametrize("order", [[], [0, 0]])
def test_a_job_without_tasks_or_with_one_twice_is_refused(order: list[int]) -> None:
    with pytest.raises(JobError):
        Job("j", order)


def test_tasks_go_out_in_connection_order_and_in_the_order_of_the_pipeline() -> None:
    play = Play(Job("j", [2, 0, 1]))
    assert play.come(10, "0-1") == [Assign(10, 2, 0)]
    assert play.come(11, "0-0") == [Assign(11, 0, 0)]
    assert play.come(12, "0-2") == [Assign(12, 1, 0)]


def test_the_job_is_over_when_every_task_is_done_and_spares_are_told_to_quit() -> None:
    play = Play(tasks=1, overprovision=1)
    play.come(1)
    assert play.come(2) == []
    assert play.done(1) == [Dismiss(1, "no task is left for it"), Dismiss(2, "the job is over"), Finish()]
    assert play.job.over
    assert play.job.error is None
    assert play.job.counts().done == 1


def test_what_comes_when_the_job_is_over_is_told_to_quit_and_changes_nothing() -> None:
    play = Play(tasks=1)
    play.come(1)
    play.done(1)
    assert kinds(play.come(2, "0-7")) == ["Dismiss"]
    assert play.lose(1) == play.tick(100.0) == play.done(1) == play.fail(1) == []
    assert play.take(play.job.abort("late", play.now)) == []
    assert play.job.error is None


def test_a_failed_attempt_is_followed_by_another_after_a_pause_that_grows() -> None:
    play = Play(tasks=1, retries=6, retry_delay=1.0, retry_longest=4.0)
    play.come(1)
    for attempt, pause in enumerate([0.75, 1.5, 3.0, 3.0], start=1):
        play.now += 100.0  # so that the next round of launches is due
        play.lose(attempt)
        assert play.job.tasks()[0].state is TaskState.BACKING_OFF
        assert play.job.counts().backing_off == play.job.counts().waiting == 1
        assert assigns(play.come(attempt + 1)) == []
        assert assigns(play.tick(pause - 0.01)) == []
        assert assigns(play.tick(0.02)) == [(attempt + 1, 0, attempt)]


def test_a_task_that_failed_too_often_fails_with_its_last_error_and_alone() -> None:
    play = Play(tasks=2, retries=2)
    play.come(1)
    play.come(2)
    play.fail(1, "first")
    worker, _, attempt = play.on()
    assert attempt == 1
    play.fail(worker, "second")
    worker, _, attempt = play.on()
    assert attempt == 2
    play.fail(worker, "third")
    assert play.job.failures == {0: "third"}
    assert Finish() in play.done(2)
    assert play.job.error == "1 of 2 tasks failed"


def test_a_worker_on_which_attempts_fail_that_others_do_is_not_used_again() -> None:
    play = Play(tasks=20, retries=5, max_workers=2)
    play.come(1)
    play.come(2)
    for _ in range(4):
        play.done(1)
        play.warm(1)
    assert play.fail(2) == [Warm(2)]
    play.warm(2)
    assert kinds(play.fail(2)) == ["Dismiss"]


def test_where_everything_fails_no_worker_is_at_fault() -> None:
    play = Play(tasks=3, retries=5, max_workers=1)
    play.come(1)
    for _ in range(8):
        assert play.fail(1) == [Warm(1)]
        play.on()
    assert len(play.launched) == 1


@pytest.mark.parametrize("kind", [Failure.MACHINE, Failure.DIFFERS])
def test_what_would_fail_again_is_not_tried_again(kind: Failure) -> None:
    play = Play(tasks=1, retries=5)
    play.come(1)
    assert Finish() in play.fail(1, "no state for that", kind)
    assert play.job.failures == {0: "no state for that"}


@pytest.mark.parametrize(
    ("retry_exit", "status", "again"),
    [
        (frozenset(), 1, False),
        (frozenset(), -9, False),
        (frozenset({3}), 3, True),
        (frozenset({3}), 4, False),
        (frozenset({137}), -9, True),
        (frozenset({-9}), 137, True),
        (None, 77, True),
    ],
)
def test_an_exit_status_is_retried_only_if_the_user_says_so(
    retry_exit: frozenset[int] | None, status: int, again: bool
) -> None:
    play = Play(tasks=1, retry_exit=retry_exit)
    play.come(1)
    play.fail(1, "exit", Failure.EXIT, status=status)
    assert play.job.over is not again


def test_an_exit_status_is_explained() -> None:
    assert is_out_of_memory(-9)
    assert is_out_of_memory(137)
    assert not is_out_of_memory(9)
    assert "probably out of memory" in explain_exit(-9) == explain_exit(137)
    assert explain_exit(3) == "exit status 3"
    assert explain_exit(-11) == "killed by SIGSEGV"
    assert explain_exit(139) == "exit status 139 (SIGSEGV)"
    assert explain_exit(255) == "exit status 255"


def test_a_lost_peer_channel_costs_no_retry_up_to_a_bound() -> None:
    play = Play(tasks=1, retries=0, reruns=3)
    worker, _, _ = play.on()
    for _ in range(3):
        play.fail(worker, "channel", Failure.CHANNEL)
        worker, _, _ = play.on()
    assert play.job.tasks()[0].retries == 0
    assert Finish() in play.fail(worker, "channel", Failure.CHANNEL)


def test_workers_stay_however_often_the_rendezvous_fails_them() -> None:
    play = Play(tasks=1)
    worker, _, _ = play.on()
    for _ in range(5):
        play.fail(worker, "channel", Failure.CHANNEL)
        assert play.on()[0] == worker


def test_an_attempt_that_takes_too_long_is_ended_and_tried_again() -> None:
    play = Play(tasks=1, task_timeout=60.0)
    play.come(1)
    assert play.ticks(59, alive=[1]) == []
    [interrupt] = play.ticks(1, alive=[1])
    assert interrupt == Interrupt(1, "its attempt took too long")
    assert play.job.tasks()[0].error == "it took longer than 60 s"
    assert play.on() == (1, 0, 1)
    assert play.ticks(58, alive=[1]) == []


def test_errors_of_workers_are_kept_to_a_bound() -> None:
    play = Play(tasks=1, retries=0)
    play.come(1)
    play.fail(1, "x" * 1_000_000)
    assert len(play.job.failures[0]) <= 2000


def test_a_cancelled_job_ends_all_and_lists_no_task_as_tried() -> None:
    play = Play(tasks=3)
    play.come(1)
    actions = play.take(play.job.cancel("cancelled by its user", play.now))
    assert actions == [StopLaunches(), Dismiss(1, "the job is over"), Finish()]
    assert play.job.cancelled
    assert play.job.error == "cancelled by its user"
    assert set(play.job.failures) == {0, 1, 2}


def test_a_stopped_coordinator_ends_all_and_leaves_the_job_to_its_records() -> None:
    play = Play(tasks=2)
    play.come(1)
    assert play.take(play.job.stop(play.now)) == [StopLaunches(), Dismiss(1, "the coordinator is stopped")]
    assert not play.job.over
    assert kinds(play.come(2, "0-1")) == ["Dismiss"]
    assert play.lose(1) == play.tick(100.0) == []
    again = play.restarted()
    assert again.job.counts().waiting == 2
    assert again.job.tasks()[0].retries == 0


def test_failed_tasks_alone_are_tried_again_with_all_their_retries() -> None:
    play = Play(tasks=2, retries=0)
    play.come(1)
    play.come(2)
    play.done(1)
    play.fail(2)
    assert play.job.over
    play.launched.clear()
    assert play.take(play.job.retry(play.now)) == []
    assert play.launched == ["1-0"]
    assert not play.job.over
    assert play.come(5, "1-0") == [Assign(5, 1, 1)]
    assert Finish() in play.done(5)
    assert play.job.error is None
    assert [record.task for record in play.records if isinstance(record, ResultReached)] == [0, 1]
    assert play.take(play.job.retry(play.now)) == []


def test_the_job_tells_how_many_workers_it_wants_and_has() -> None:
    play = Play(tasks=1)
    assert play.job.wanted_workers == play.job.in_flight == 1
    play.come(1)
    play.done(1)
    assert play.job.wanted_workers == play.job.in_flight == 0


def test_views_tell_where_tasks_stand() -> None:
    play = Play(tasks=3)
    play.come(1)
    play.now = 4.0
    play.done(1)
    play.warm(1)
    first, second, third = play.job.tasks()
    assert (first.state, first.seconds, first.workers) == (TaskState.DONE, 4.0, ())
    assert (second.state, second.attempts, second.workers) == (TaskState.ACTIVE, 1, (1,))
    assert third.state is TaskState.WAITING
    assert [view.task for view in play.job.tasks(1, 1)] == [1]
    snapshot = play.job.snapshot()
    assert (snapshot.accepted, snapshot.unsent, snapshot.launched, snapshot.results) == (2, 0, 3, 1)
