"""The decisions of a job about workers and launches, one rule at a time."""

import pytest
from job_driver import Play, assigns, kinds

from mu_twisted.jobs import (
    Abort,
    Assign,
    Diagnose,
    Dismiss,
    Failure,
    Finish,
    Interrupt,
    Job,
    JobPolicy,
    Launched,
    LaunchId,
    ResultReached,
    StopLaunches,
    Warm,
)
from mu_twisted.jobs._launches import MAX_REASON, MAX_REASONS


def test_one_launch_is_started_for_each_task_and_each_overprovisioned_worker() -> None:
    assert len(Play(tasks=3, overprovision=2).launched) == 5
    assert len(Play(tasks=10, max_workers=3, overprovision=2).launched) == 5


def test_a_launch_is_good_for_one_connection() -> None:
    play = Play(tasks=2)
    play.come(1, "0-0")
    assert kinds(play.come(2, "0-0")) == ["Dismiss"]
    assert play.job.counts().workers == 1


def test_few_workers_do_many_tasks_with_as_many_launches_as_there_are_workers() -> None:
    play = Play(tasks=1000, max_workers=10)
    for worker in range(10):
        play.come(worker)
    while not play.job.over:
        for worker in range(10):
            if play.job.task_of(worker) is not None and Warm(worker) in play.done(worker):
                play.warm(worker)
    assert len(play.launched) == 10
    assert play.job.error is None


def test_a_worker_of_the_originals_kind_is_used_once_and_never_pinged() -> None:
    play = Play(tasks=2)
    play.come(1, None, reusable=False)
    assert play.ticks(100) == []
    assert play.done(1) == [Dismiss(1, "no task is left for it")]
    assert play.pings == []


def test_a_lost_worker_is_replaced_and_costs_its_task_a_retry() -> None:
    play = Play(tasks=2)
    play.come(1)
    play.come(2)
    play.now = 10.0
    play.lose(1)
    assert play.launched == ["0-0", "0-1", "0-2"]
    play.tick()
    assert assigns(play.come(3, "0-2")) == [(3, 0, 1)]
    assert play.job.tasks()[0].retries == 1


def test_a_spare_is_used_before_another_is_launched() -> None:
    play = Play(tasks=2, overprovision=1)
    for worker in (1, 2, 3):
        play.come(worker)
    play.lose(2)
    assert assigns(play.tick()) == [(3, 1, 1)]
    assert len(play.launched) == 3


def test_rounds_of_launches_without_workers_come_less_and_less_often_and_end() -> None:
    play = Play(tasks=1, start_timeout=0.5, start_retries=3, retries=9)
    play.come(1)
    play.now = 10.0
    play.lose(1)
    times = []
    while not play.job.over:
        before = len(play.launched)
        play.tick(0.5)
        if len(play.launched) > before:
            times.append(play.now - 10.0)
    assert times == [1.0, 3.0, 7.0]
    assert play.job.error == "1 of 1 tasks failed, 1 of them because no worker came: their workers never dialled in"
    assert "reset" in play.job.failures[0]


def test_a_worker_that_comes_late_becomes_a_spare() -> None:
    play = Play(tasks=2, start_timeout=5.0)
    play.come(1, "0-0")
    play.ticks(6, alive=[1])
    assert play.launched == ["0-0", "0-1", "0-2"]
    assert assigns(play.come(3, "0-2")) == [(3, 1, 0)]
    assert play.come(2, "0-1") == []
    assert play.job.snapshot().idle == 1


def test_no_more_workers_stay_than_the_job_may_have() -> None:
    play = Play(tasks=5, max_workers=1, start_timeout=5.0, start_retries=9)
    play.come(9, "0-0")
    play.lose(9)
    play.ticks(7)
    assert play.launched == ["0-0", "0-1", "0-2"]
    play.come(2, "0-2")
    assert kinds(play.come(1, "0-1")) == ["Dismiss"]


def test_no_worker_in_time_asks_for_a_diagnosis_once() -> None:
    play = Play(tasks=2, start_timeout=5.0)
    assert play.tick(4.9) == []
    assert play.tick(0.1) == [StopLaunches(), Diagnose()]
    assert play.tick(100.0) == []
    assert play.take(play.job.abort("no worker reached us", play.now)) == [Finish()]
    assert play.job.error == "no worker reached us"


def test_launches_refused_throughout_end_the_job_with_the_commonest_reason() -> None:
    job = Job("j", range(3))
    job.start(0.0)
    job.launch_refused("0-0", "AccessDenied", 1.0)
    job.launch_refused("0-1", "InternalError", 1.0)
    assert job.launch_refused("0-2", "AccessDenied", 1.0)[-1] == Finish()
    assert job.error == "no launch was accepted: AccessDenied"


def test_only_so_many_reasons_of_refusals_are_told_apart_and_each_is_short() -> None:
    job = Job("j", range(3 * MAX_REASONS))
    job.start(0.0)
    reasons = ["x" * 10_000] * 2 + [f"reason {number}" for number in range(2 * MAX_REASONS)]
    for number, reason in enumerate([*reasons, *["late"] * (MAX_REASONS - 2)]):
        job.launch_refused(LaunchId(f"0-{number}"), reason, 1.0)
    assert job.error == f"no launch was accepted: {'x' * MAX_REASON}"


def test_launches_refused_later_are_tried_again() -> None:
    job = Job("j", range(2))
    job.start(0.0)
    job.launch_accepted("0-0", 0.0)
    job.launch_refused("0-1", "429", 1.0)
    job.time_passed(2.0)
    assert (job.snapshot().launched, job.snapshot().unsent) == (3, 1)


def test_workers_of_launches_that_are_not_ours_are_let_in_up_to_a_bound() -> None:
    play = Play(tasks=200)
    for worker in range(100):
        play.come(worker, f"strange {worker}")
    assert play.job.counts().workers == 64


# -- life and death ----------------------------------------------------------------------------------------------------


def test_a_worker_that_says_nothing_is_dead_after_three_pings_and_any_word_is_life() -> None:
    play = Play(tasks=2)
    play.come(1)
    play.come(2)
    actions = play.ticks(60, alive=[2])
    assert [action for action in actions if isinstance(action, Abort)] == [
        Abort(1, "its worker has not answered 3 pings")
    ]
    assert play.pings.count(1) == 3
    assert play.job.tasks()[0].error == "its worker has not answered 3 pings"
    assert play.job.task_of(2) == 1
    assert play.lose(1) == []


def test_pings_are_spread_over_the_period_and_at_most_one_a_worker() -> None:
    job = Job("j", range(1000))
    job.start(0.0)
    for worker in range(1000):
        job.worker_greeted(worker, f"0-{worker}", 0.0)
    counts = []
    for second in range(1, 41):
        pings = [action for action in job.time_passed(float(second)) if kinds([action]) == ["Ping"]]
        for worker in range(1000):
            job.heard(worker)
        counts.append(len(pings))
    assert max(counts) < 200
    assert sum(counts[:10]) == 1000
    assert sum(counts) == 4000


def test_a_clock_that_stood_still_kills_no_worker() -> None:
    play = Play(tasks=1)
    play.come(1)
    assert play.tick(3600.0) == []
    play.job.heard(1)
    assert play.ticks(20, alive=[1]) == []


def test_a_worker_that_does_not_greet_again_is_given_up() -> None:
    play = Play(tasks=2, max_workers=1, warm_timeout=7.0)
    play.come(1)
    play.done(1)
    actions = play.ticks(7, alive=[1])
    assert actions == [Abort(1, "it did not greet again after its last task")]
    assert len(play.launched) == 2


# -- the end of functions ----------------------------------------------------------------------------------------------


def test_no_task_for_a_worker_whose_function_ends_too_soon() -> None:
    play = Play(tasks=3, max_workers=1, task_timeout=100.0)
    play.come(1, seconds_left=300.0)
    play.now = 220.0
    play.done(1)
    [dismissed] = play.warm(1)
    assert dismissed == Dismiss(1, "its function ends in 80 s, too soon for a task")
    assert play.launched == ["0-0", "0-1"]
    assert assigns(play.come(2, seconds_left=300.0)) == [(2, 1, 0)]


def test_what_finished_tasks_took_says_how_much_time_a_worker_needs() -> None:
    play = Play(tasks=9, max_workers=1)
    play.come(1, seconds_left=900.0)
    play.now = 100.0
    play.done(1)
    assert assigns(play.warm(1)) == [(1, 1, 0)]
    play.now = 760.0
    play.done(1)
    play.now = 780.0
    assert kinds(play.warm(1)) == ["Dismiss"]


def test_a_fresh_worker_gets_a_task_however_long_tasks_may_take() -> None:
    play = Play(tasks=1, task_timeout=1000.0)
    assert assigns(play.come(1, seconds_left=60.0)) == [(1, 0, 0)]


def test_a_spare_near_its_end_is_sent_home_and_not_replaced() -> None:
    play = Play(tasks=1, overprovision=1, task_timeout=100.0)
    play.come(1, seconds_left=900.0)
    play.come(2, seconds_left=200.0)
    assert play.ticks(90, alive=[1, 2]) == []
    actions = play.ticks(9, alive=[1, 2])
    assert [action.worker for action in actions if isinstance(action, Dismiss)] == [2]
    assert len(play.launched) == 2


@pytest.mark.parametrize("finished", [0, 9])
def test_where_functions_live_shorter_than_they_did_the_next_ones_will_do(finished: int) -> None:
    play = Play(tasks=10, max_workers=1, task_timeout=600.0 if not finished else None)
    play.come(1, seconds_left=9000.0)
    for _ in range(finished):
        play.now += 600.0
        play.done(1)
        play.warm(1)
    play.lose(1)
    given, life = [], 300.0
    for _ in range(3600):
        while not given and play.came < len(play.launched):
            given += assigns(play.come(1000 + play.came, seconds_left=life))
        given += assigns(play.tick())
        if given:
            break
    assert given
    assert len(play.launched) <= 5


def test_where_functions_live_shorter_in_one_region_tasks_go_to_the_others() -> None:
    play = Play(tasks=40, task_timeout=600.0, start_timeout=600.0)
    lives: dict[int, float] = {}
    for _ in range(300):
        while play.came < len(play.launched):
            worker = play.came
            lives[worker] = 300.0 if worker % 2 else 900.0
            play.come(worker, seconds_left=lives[worker])
        play.tick()
        for worker in lives:
            play.job.heard(worker)
    assert play.job.counts().active == 40
    assert len(play.launched) < 100
    assert sum(lives[view.workers[0]] > 600.0 for view in play.job.tasks()) > 30


def test_newcomers_that_get_no_task_are_replaced_less_and_less_often_and_end_no_job() -> None:
    play = Play(tasks=2, max_workers=1, task_timeout=600.0, start_retries=2)
    play.come(1, seconds_left=900.0)
    play.done(1)
    play.now = 500.0
    times: list[float] = []
    assert kinds(play.warm(1)) == ["Dismiss"]
    while play.now < 600.0 and play.job.counts().active == 0:
        while play.came < len(play.launched):
            times.append(play.now)
            play.come(1000 + play.came, seconds_left=900.0 if play.came == 3 else 100.0)
        play.tick()
    assert times == [500.0, 501.0, 503.0]
    assert not play.job.over


def test_those_who_come_back_do_not_say_how_long_newcomers_live() -> None:
    play = Play(tasks=4, task_timeout=600.0)
    for worker in range(4):
        play.come(worker, seconds_left=900.0)
    again = play.restarted()
    for worker in range(3):
        assert kinds(again.come(worker, f"0-{worker}", redial=True, seconds_left=100.0)) == ["Interrupt"]
    assert again.come(3, "0-3", redial=True, seconds_left=700.0) != []
    assert assigns(again.warm(3)) == [(3, 0, 1)]
    assert kinds(again.warm(0)) == ["Dismiss"]
    again.ticks(2, alive=[1, 2, 3])
    assert assigns(again.come(50, seconds_left=300.0)) == [(50, 1, 1)]


# -- who comes back ----------------------------------------------------------------------------------------------------


def test_a_worker_that_dials_in_again_is_cleared_becomes_a_spare_and_costs_no_retry() -> None:
    play = Play(tasks=1, retries=1)
    play.come(1)
    play.lose(1)
    assert play.job.tasks()[0].retries == 1
    [interrupt] = play.come(2, "0-0")
    assert isinstance(interrupt, Interrupt)
    assert play.job.tasks()[0].retries == 0
    assert assigns(play.warm(2)) == [(2, 0, 1)]


def test_one_that_comes_back_after_its_task_went_to_another_is_a_spare() -> None:
    play = Play(tasks=1)
    play.come(1)
    play.lose(1)
    assert play.on() == (1001, 0, 1)
    assert kinds(play.come(3, "0-0")) == ["Interrupt"]
    assert play.warm(3) == []
    assert play.job.tasks()[0].retries == 1


def test_one_that_says_it_is_back_replaces_a_connection_that_seems_alive() -> None:
    play = Play(tasks=1)
    play.come(1)
    actions = play.come(2, "0-0", redial=True)
    assert kinds(actions) == ["Abort", "Interrupt"]
    assert assigns(play.warm(2)) == [(2, 0, 1)]
    assert play.job.tasks()[0].retries == 0


def test_one_that_says_it_is_new_is_doubled_even_where_the_first_is_gone() -> None:
    play = Play(tasks=2)
    play.come(1)
    play.lose(1)
    assert kinds(play.come(2, "0-0", redial=False)) == ["Dismiss"]


def test_a_connection_that_comes_and_goes_costs_retries_in_the_end() -> None:
    play = Play(tasks=1, retries=1, reruns=3)
    play.come(0, "0-0")
    for worker in range(1, 100):
        play.lose(worker - 1)
        if play.job.over:
            break
        play.come(worker, "0-0")
        play.warm(worker)
        play.ticks(2, alive=[worker])
    assert play.job.over
    assert worker <= 6


# -- slow tasks --------------------------------------------------------------------------------------------------------


def slow_job(tasks: int = 10, **more: object) -> Play:
    """All but task 0 are done, after 10 s."""
    job = Job("j", range(tasks), JobPolicy(speculate=3.0), random=lambda: 0.5, **more)  # type: ignore[arg-type]
    play = Play(job)
    for worker in range(tasks):
        play.come(worker)
    play.ticks(10, alive=range(tasks))
    for worker in range(1, tasks):
        play.done(worker)
    return play


def test_a_slow_task_gets_a_second_attempt_and_the_loser_is_gone_before_the_result() -> None:
    play = slow_job()
    assert len(play.launched) == 10
    play.ticks(21, alive=[0])
    assert len(play.launched) == 11
    assert play.come(50) == [Assign(50, 0, 1)]
    actions = play.done(50)
    assert actions == [
        Interrupt(0, "another worker has done its task"),
        Dismiss(50, "no task is left for it"),
    ]
    assert not play.job.over
    assert play.records[-1].task == 0
    assert not isinstance(play.records[-1], ResultReached)
    assert Finish() in play.warm(0)
    assert [record.attempt for record in play.records if isinstance(record, ResultReached)][-1] == 1


def test_the_first_attempt_may_win_and_the_second_is_the_loser() -> None:
    play = slow_job()
    play.ticks(21, alive=[0])
    play.come(50)
    assert kinds(play.done(0)) == ["Interrupt", "Dismiss"]
    assert Finish() in play.lose(50)
    assert [record.attempt for record in play.records if isinstance(record, ResultReached)][-1] == 0


def test_a_loser_that_does_not_react_is_waited_for_no_longer_than_the_time_out() -> None:
    play = slow_job()
    play.ticks(21, alive=[0])
    play.come(50)
    play.done(50)
    actions = play.ticks(15, alive=[0])
    assert kinds(actions) == ["Abort", "Finish"]


def test_a_task_that_was_done_is_done_even_if_the_job_ends_before_its_loser() -> None:
    play = slow_job()
    play.ticks(21, alive=[0])
    play.come(50)
    play.done(50)
    play.take(play.job.abort("enough", play.now))
    assert play.job.counts().done == 10
    assert play.restarted().job.counts().done == 10


def test_a_loser_that_cannot_be_cleared_is_seen_off() -> None:
    play = Play(Job("j", range(2), JobPolicy(speculate=2.0), random=lambda: 0.5))
    play.come(1, None, reusable=False)
    play.come(2, None, reusable=False)
    play.tick(10.0)
    play.done(2)
    play.ticks(11)
    assert assigns(play.come(3, None, reusable=False)) == [(3, 0, 1)]
    assert kinds(play.done(3)) == ["Dismiss", "Dismiss"]
    assert not play.job.over
    assert Finish() in play.lose(1)


def test_if_one_of_two_attempts_fails_the_other_goes_on_at_no_cost() -> None:
    play = slow_job()
    play.ticks(21, alive=[0])
    play.come(50)
    play.fail(0, "exit", Failure.EXIT, status=1)
    assert play.job.tasks()[0].retries == 0
    assert Finish() in play.done(50)
    assert play.job.error is None


@pytest.mark.parametrize("more", [{"side_effects": True}, {"consumes": {1: [0]}}])
def test_tasks_with_side_effects_or_messages_never_get_a_second_attempt(more: dict[str, object]) -> None:
    play = slow_job(**more)
    play.ticks(1000, alive=[0])
    assert len(play.launched) == 10


@pytest.mark.parametrize(("tasks", "most"), [(10, 1), (100, 5)])
def test_at_most_a_twentieth_of_the_tasks_get_a_second_attempt(tasks: int, most: int) -> None:
    play = Play(Job("j", range(tasks), JobPolicy(speculate=3.0, start_timeout=1000.0), random=lambda: 0.5))
    for worker in range(tasks):
        play.come(worker)
    play.ticks(10, alive=range(tasks))
    for worker in range(tasks // 2):
        play.done(worker)
    play.ticks(100, alive=range(tasks))
    assert sum(record.count for record in play.records if isinstance(record, Launched)) == tasks + most


def test_spares_are_used_for_slow_tasks_before_others_are_launched() -> None:
    play = Play(Job("j", range(4), JobPolicy(speculate=3.0, overprovision=1), random=lambda: 0.5))
    for worker in range(5):
        play.come(worker)
    play.ticks(10, alive=range(5))
    for worker in range(1, 4):
        play.done(worker)
    assert assigns(play.ticks(21, alive=range(5))) == [(4, 0, 1)]
    assert len(play.launched) == 5
