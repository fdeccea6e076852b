"""Tasks are held while the store of their messages is out of reach, and only they."""

from typing import Any

import pytest
from job_driver import Play, assigns

from mu_twisted.jobs import Assign, Dismiss, Failure, Job, JobPolicy
from mu_twisted.jobs._holds import Holds
from mu_twisted.jobs._job_data import HOLD_GRACE

AWAY = "the rendezvous at h:1 is away (refused)"
GROUPS = {1: [0], 3: [2]}
"""Two pairs; task 4 talks to no other."""


def play(tasks: int = 5, consumes: Any = GROUPS, *, start: bool = True, **policy: Any) -> Play:
    policy = {"retry_delay": 1.0, "reruns": 20} | policy
    return Play(Job("j", range(tasks), JobPolicy(**policy), consumes=consumes, random=lambda: 0.5), start=start)


def states(play: Play) -> str:
    return "".join(view.state.name[0] for view in play.job.tasks())


def away(play: Play, why: str = AWAY, shard: int = 0, tasks: Any = None) -> list[Any]:
    return play.take(play.job.store_unreachable(why, play.now, shard, tasks))


def named(play: Play, store: str = "aa", shard: int = 0, tasks: Any = None) -> list[Any]:
    return play.take(play.job.store_named(store, play.now, shard, tasks))


def test_a_store_that_stays_away_costs_each_task_one_round_and_no_retry() -> None:
    job = play(consumes={task: [task - 1] for task in range(1, 5)})
    for worker in range(5):
        job.come(worker)
    named(job)
    away(job)
    assert states(job) == "AAAAA", "what is under way may not need it yet"
    for worker in range(5):
        job.fail(worker, "rendezvous: refused", Failure.CHANNEL)
        job.warm(worker)
    assert states(job) == "HHHHH"
    actions = job.ticks(600)
    assert assigns(actions) == []
    assert [view.attempts for view in job.job.tasks()] == [1] * 5
    assert [view.retries for view in job.job.tasks()] == [0] * 5
    assert not job.job.over
    named(job)
    assert states(job) == "WWWWW"
    assert job.on()[1:] == (0, 1)


def test_only_tasks_that_exchange_messages_are_held() -> None:
    job = play(max_workers=5, start=False)
    away(job)
    job.take(job.job.start(0.0))
    assert states(job) == "HHHHW"
    assert len(job.launched) == 1, "no worker is launched for a task that is held"
    assert assigns(job.come(7)) == [(7, 4, 0)]
    assert job.job.counts().held == 4
    assert job.job.counts().waiting == 4
    assert job.job.wanted_workers == 1


def test_only_the_tasks_of_the_shard_that_is_away_are_held() -> None:
    job = play(start=False)
    away(job, shard=1, tasks=frozenset({2, 3}))
    job.take(job.job.start(0.0))
    assert states(job) == "WWHHW"
    named(job, "bb", 0, frozenset({0, 1, 4}))
    assert states(job) == "WWHHW"
    away(job, shard=0, tasks=frozenset({0, 1, 4}))
    assert states(job) == "HHHHW"
    named(job, "cc", 1, frozenset({2, 3}))
    assert states(job) == "HHWWW"
    named(job, "bb", 0, frozenset({0, 1, 4}))
    assert states(job) == "WWWWW"
    job.ticks(2)
    assert len(job.launched) == 5


@pytest.mark.parametrize(
    ("first", "then", "is_held"),
    [
        (frozenset({2, 3}), None, "HHHHW"),
        (None, frozenset({2, 3}), "WWHHW"),
        (frozenset({0, 1}), frozenset({2, 3}), "WWHHW"),
        (None, frozenset({4}), "WWWWW"),
    ],
)
def test_a_shard_that_is_away_for_other_tasks_than_before_holds_those(first: Any, then: Any, is_held: str) -> None:
    job = play(max_workers=5)
    away(job, tasks=first)
    away(job, "still away", tasks=then)
    assert states(job) == is_held
    named(job)
    assert states(job) == "WWWWW"


def test_a_task_that_backs_off_is_held_and_its_timer_does_not_let_it_go() -> None:
    job = play()
    for worker in range(5):
        job.come(worker)
    job.fail(0)
    assert states(job)[0] == "B"
    away(job)
    assert states(job)[0] == "H"
    assert assigns(job.ticks(20)) == []
    assert states(job)[0] == "H"


def test_messages_gone_when_the_store_is_back_are_made_again_once() -> None:
    job = play(tasks=2, consumes={1: [0]})
    job.come(0)
    job.come(1)
    named(job, "aa")
    job.done(0)
    away(job)
    job.fail(1, kind=Failure.CHANNEL)
    job.warm(1)
    assert states(job) == "DH"
    actions = named(job, "bb")
    assert assigns(actions) == [(1, 0, 1)]
    assert states(job) == "AW"
    assert [view.attempts for view in job.job.tasks()] == [2, 1]


def test_idle_workers_are_kept_for_a_while_and_then_sent_home() -> None:
    job = play(tasks=2, consumes={1: [0]})
    job.come(0)
    job.come(1)
    away(job)
    for worker in (0, 1):
        job.fail(worker, kind=Failure.CHANNEL)
        assert job.warm(worker) == []
    assert not any(isinstance(action, Dismiss) for action in job.ticks(int(HOLD_GRACE) - 2, alive=(0, 1)))
    assert job.job.counts().workers == 2
    job.ticks(3)
    assert job.job.counts().workers == 0
    launched = len(job.launched)
    job.ticks(300)
    assert len(job.launched) == launched
    named(job)
    job.ticks(40)
    assert len(job.launched) > launched
    assert not job.job.over


def test_a_short_absence_costs_no_worker() -> None:
    job = play(tasks=2, consumes={1: [0]})
    job.come(0)
    job.come(1)
    away(job)
    for worker in (0, 1):
        job.fail(worker, kind=Failure.CHANNEL)
        job.warm(worker)
    job.ticks(5, alive=(0, 1))
    assert named(job) == [Assign(0, 0, 1, replay=False), Assign(1, 1, 1, replay=True)]


def test_after_a_restart_tasks_are_held_until_the_store_answers_on_their_workers() -> None:
    before = play()
    for worker in range(5):
        before.come(worker)
    named(before)
    job = Play(Job.restore(before.records, random=lambda: 0.5), start=False)
    job.now = before.now + 100
    away(job, "the rendezvous at h:1 is being dialled")
    job.take(job.job.resume(job.now))
    assert states(job) == "HHHHW"
    assert job.launched == []
    for worker in range(5):
        job.come(10 + worker, f"0-{worker}", redial=True)
        job.warm(10 + worker)
    assert job.job.counts().workers == 5
    assert states(job) == "HHHHA"
    named(job)
    assert states(job) == "AAAAA"
    assert job.launched == []


@pytest.mark.parametrize("end", ["cancel", "abort"])
def test_a_job_whose_tasks_are_held_can_be_ended(end: str) -> None:
    job = play()
    away(job)
    job.take(getattr(job.job, end)("enough", job.now))
    assert job.job.over
    assert states(job) == "FFFFF"
    assert job.job.held_for is None


def test_a_held_task_fails_with_its_producer() -> None:
    job = play(tasks=2, consumes={1: [0]}, retries=0)
    job.come(0)
    job.come(1)
    away(job)
    job.fail(1, kind=Failure.CHANNEL)
    assert states(job) == "AH"
    job.fail(0, "bad")
    assert states(job) == "FF"
    assert job.job.over


def test_what_tasks_are_held_for_is_said_in_one_line() -> None:
    job = play()
    assert job.job.held_for is None
    away(job)
    assert job.job.held_for == f"{AWAY}: 4 tasks that need it are held until it is back"
    away(job, "the rendezvous at h:1 is away (no route)")
    assert (
        job.job.held_for == "the rendezvous at h:1 is away (no route): 4 tasks that need it are held until it is back"
    )
    named(job)
    assert job.job.held_for is None


def test_several_shards_are_told_together_and_many_are_counted() -> None:
    holds = Holds(lambda task: task > 0)
    assert holds.explanation(0) is None
    assert holds.add(3, "c is away", {4}, 1.0)
    assert holds.explanation(0) == "c is away"
    assert holds.explanation(1) == "c is away: 1 task that needs it is held until it is back"
    for shard, name in enumerate("ab"):
        holds.add(shard, f"{name} is away", {shard}, 2.0)
    assert holds.explanation(2) == (
        "a is away; b is away; and 1 more: 2 tasks that need them are held until they are back"
    )
    assert not holds.add(3, "c is still away", {4}, 3.0)
    assert (holds.since, holds.cover(4), holds.cover(0), holds.cover(1), holds.cover(2)) == (
        1.0,
        True,
        False,
        True,
        False,
    )
    assert holds.remove(3)
    assert not holds.remove(3)
    assert not holds.cover(4)


def test_a_shard_that_covers_more_tasks_than_it_did_holds_those_too() -> None:
    job = Job("job-0", range(2), JobPolicy(), consumes={1: (0,)})
    job.start(0.0)
    job.store_unreachable("it is away", 0.0, 1, frozenset())
    assert job.counts().held == 0
    job.store_unreachable("it is away", 0.0, 1, None)
    assert job.counts().held == 2
    job.store_named("token", 0.0, 1, None)
    assert job.counts().held == 0
