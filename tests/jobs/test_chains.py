"""Tasks that need one another's messages."""

from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from job_driver import Play, assigns, kinds
from simulated_fleet import Faults, SimulatedFleet

from mu_twisted.jobs import (
    Assign,
    Dismiss,
    Finish,
    Interrupt,
    Job,
    JobError,
    JobPolicy,
    Reopened,
    ResultReached,
    TaskFailed,
    TasksFailed,
    TaskState,
    Warm,
)
from mu_twisted.jobs._lineage import Lineage
from mu_twisted.jobs._tasks import SETTLED


def chain(length: int = 4, workers: int | None = None, **policy: Any) -> Play:
    """Each task needs the messages of the one before it; all that may be are active."""
    consumes = {task: [task - 1] for task in range(1, length)}
    policy = {"max_workers": workers, "retry_delay": 1.0} | policy
    play = Play(Job("j", range(length), JobPolicy(**policy), consumes=consumes, random=lambda: 0.5))
    for worker in range(workers or length):
        play.come(worker)
    play.now = 50.0
    return play


def states(play: Play) -> str:
    """One letter a task."""
    return "".join(view.state.name[0] for view in play.job.tasks())


@pytest.mark.parametrize(
    "consumes", [{0: [1], 1: [0]}, {0: [0]}, {0: [7]}, {7: [0]}, {0: [2], 1: [0], 2: [1]}], ids=str
)
def test_tasks_that_wait_for_each_other_or_for_no_task_are_refused(consumes: dict[int, list[int]]) -> None:
    with pytest.raises(JobError):
        Job("j", range(3), consumes=consumes)


@given(st.data())
def test_producers_are_assigned_first_and_otherwise_the_pipelines_order_holds(data: st.DataObject) -> None:
    count = data.draw(st.integers(1, 12))
    consumes = {
        task: data.draw(st.lists(st.integers(0, task - 1), max_size=3, unique=True)) for task in range(1, count)
    }
    order = data.draw(st.permutations(range(count)))
    arranged = Lineage(order, consumes).order
    assert sorted(arranged) == list(range(count))
    at = {task: place for place, task in enumerate(arranged)}
    assert all(at[producer] < at[task] for task, producers in consumes.items() for producer in producers)
    assert Lineage(order, {}).order == tuple(order)
    assert Lineage(arranged, consumes).order == arranged


def test_a_consumer_that_begins_again_asks_for_its_messages_again_and_others_do_not() -> None:
    play = chain(2)
    play.fail(0)
    play.fail(1)
    play.warm(0)
    play.warm(1)
    assert play.tick(2.0) == [Assign(0, 0, 1, replay=False), Assign(1, 1, 1, replay=True)]


def test_a_producer_that_fails_for_good_fails_all_that_need_it_with_its_name() -> None:
    play = chain(4, retries=0)
    actions = play.fail(1, "no memory")
    assert states(play) == "AFFF"
    assert kinds(actions) == ["Interrupt", "Interrupt", "Dismiss"]
    assert play.job.failures[3] == play.job.failures[2] == "task 1, whose messages it needs, failed: no memory"
    assert Finish() in play.done(0)
    assert play.job.error == "3 of 4 tasks failed"


def test_all_that_wait_for_one_that_fails_are_failed_by_one_record_however_many() -> None:
    play = chain(5000, workers=2, retries=0)
    play.fail(0)
    failed = [record for record in play.records if isinstance(record, TaskFailed | TasksFailed)]
    assert [type(record) for record in failed] == [TaskFailed, TaskFailed, TasksFailed]
    assert states(play) == "F" * 5000
    why = "task 0, whose messages it needs, failed: "
    assert all((view.error or "").startswith(why) for view in list(play.job.tasks())[1:])
    assert states(Play(Job.restore(play.records), start=False)) == "F" * 5000


def test_done_consumers_stay_done_when_a_producer_fails() -> None:
    play = chain(3, retries=0)
    play.done(2)
    play.fail(1)
    assert states(play) == "AFD"


def test_a_done_producer_with_lost_messages_runs_again_for_no_second_result() -> None:
    play = chain(2)
    play.done(0)
    assert states(play) == "DA"
    play.take(play.job.messages_lost(0, play.now))
    assert states(play) == "WA"
    assert play.job.snapshot().results == 1
    play.tick()
    assert assigns(play.come(9)) == [(9, 0, 1)]
    assert play.job.tasks()[0].retries == 0
    play.done(9)
    assert Finish() in play.done(1)
    assert [record.task for record in play.records if isinstance(record, ResultReached)] == [0, 1]


def test_a_producer_that_runs_again_stops_when_all_that_was_lost_is_sent() -> None:
    play = chain(3)
    play.done(0)
    play.take(play.job.messages_lost(0, play.now))
    play.tick()
    assert assigns(play.come(9)) == [(9, 0, 1)]
    assert play.take(play.job.messages_resent(0, play.now)) == [Interrupt(9, "its messages are sent again")]
    assert states(play) == "DAA"
    assert play.job.snapshot().results == 1
    play.take(play.job.messages_lost(0, play.now))  # others may be wanted later
    assert states(play)[0] in "WA"


@pytest.mark.parametrize("task", [0, 1, 7])
def test_what_is_sent_again_ends_no_task_without_a_result(task: int) -> None:
    play = chain(2)
    assert play.take(play.job.messages_resent(task, play.now)) == []
    assert states(play) == "AA"


def test_an_active_producer_begins_again_when_its_messages_are_lost() -> None:
    play = chain(2)
    assert play.take(play.job.messages_lost(0, play.now)) == [Interrupt(0, "its messages were lost")]
    assert assigns(play.warm(0)) == [(0, 0, 1)]
    assert play.job.tasks()[0].retries == 0


@pytest.mark.parametrize("task", [1, 7])
def test_lost_messages_that_no_task_needs_change_nothing(task: int) -> None:
    play = chain(2)
    play.done(1)
    assert play.take(play.job.messages_lost(task, play.now)) == []
    assert play.take(play.job.messages_lost(0, play.now)) == []


def test_messages_that_are_lost_again_and_again_cost_retries_in_the_end() -> None:
    play = chain(2, reruns=5, retries=1)
    for _ in range(100):
        actions = play.take(play.job.messages_lost(0, play.now))
        if play.job.over:
            break
        assert kinds(actions) == ["Interrupt"]
        play.warm(0)
    assert "lost again and again" in play.job.failures[0]
    assert "task 0" in play.job.failures[1]


def test_a_producer_that_runs_again_stops_when_its_last_consumer_is_done() -> None:
    play = chain(2)
    play.done(0)
    play.take(play.job.messages_lost(0, play.now))
    play.tick()
    play.come(9)
    actions = play.done(1)
    assert Finish() in actions
    assert play.job.error is None


def test_a_rerun_producer_that_fails_keeps_its_result_and_fails_its_consumers() -> None:
    play = chain(2, retries=0)
    play.done(0)
    play.take(play.job.messages_lost(0, play.now))
    play.tick()
    play.come(9)
    play.fail(9, "no disk")
    assert states(play) == "DF"
    assert play.job.failures[1] == ("task 0, whose messages it needs, failed: had to send its messages again, no disk")


def test_rerun_tasks_keep_their_results_when_their_producer_fails() -> None:
    play = chain(3, retries=0)
    play.done(0)
    play.done(1)
    play.take(play.job.messages_lost(1, play.now))
    play.take(play.job.messages_lost(0, play.now))
    assert states(play) == "WWA"
    play.tick()
    assert assigns(play.come(9)) == [(9, 0, 1)]
    play.fail(9, "no disk")
    assert states(play) == "DDF"
    assert "task 0" in play.job.failures[2]


def test_when_all_messages_are_gone_everything_that_a_task_needs_is_sent_again() -> None:
    play = chain(5, retry_delay=0.0)
    play.done(0)
    play.done(1)
    play.take(play.job.store_named("a", play.now))
    actions = play.take(play.job.store_named("b", play.now))
    # 2 and 3 have sent something perhaps; 4 sends to no task, and waits.
    assert sorted(action.worker for action in actions if isinstance(action, Interrupt)) == [2, 3]
    assert states(play) == "WWWWA"
    [reopened] = [record for record in play.records if isinstance(record, Reopened)]
    assert reopened.tasks == (0, 1)
    play.tick()
    assert len(play.launched) == 7
    assert [view.retries for view in play.job.tasks()] == [0] * 5


def test_a_new_name_of_the_store_means_that_all_is_lost_and_the_first_means_nothing() -> None:
    play = chain(2)
    play.done(0)
    assert play.take(play.job.store_named("a", play.now)) == []
    assert play.take(play.job.store_named("a", play.now)) == []
    play = play.restarted()
    assert states(play) == "DW"
    play.take(play.job.store_named("a", play.now))
    assert states(play) == "DW"
    play.take(play.job.store_named("b", play.now))
    assert states(play) == "WW"


def test_a_shard_that_has_lost_its_messages_concerns_the_tasks_on_it_alone() -> None:
    consumes = {task: [task - 1] for task in (1, 2, 4, 5)}
    play = Play(Job("j", range(6), JobPolicy(), consumes=consumes, random=lambda: 0.5))
    for worker in range(6):
        play.come(worker)
    play.done(0)
    play.done(3)
    groups = (frozenset({0, 1, 2}), frozenset({3, 4, 5}))
    for shard, tasks in enumerate(groups):
        assert play.take(play.job.store_named("a", play.now, shard, tasks)) == []
    play = play.restarted()
    play.take(play.job.store_named("a", play.now, 0, groups[0]))
    play.take(play.job.store_named("b", play.now, 1, groups[1]))
    assert states(play) == "DWWWWW"
    [reopened] = [record for record in play.records if isinstance(record, Reopened)]
    assert (reopened.tasks, reopened.reason) == ((3,), "all messages on shard 1 were lost")
    assert [view.retries for view in play.job.tasks()] == [0] * 6


def test_tasks_at_work_on_a_shard_begin_again_when_it_has_lost_its_messages() -> None:
    consumes = {1: [0], 3: [2]}
    play = Play(Job("j", range(4), JobPolicy(), consumes=consumes, random=lambda: 0.5))
    for worker in range(4):
        play.come(worker)
    play.take(play.job.store_named("a", play.now, 1, {2, 3}))
    actions = play.take(play.job.store_named("b", play.now, 1, {2, 3}))
    # 3 sends to no task: it waits for what is sent again.
    assert actions == [Interrupt(2, "all messages on shard 1 were lost")]


def test_the_latest_task_gives_its_worker_to_a_producer_at_no_cost() -> None:
    play = chain(4, workers=2, retries=5)
    play.done(0)
    play.warm(0)
    assert states(play) == "DAAW"
    play.fail(1)
    play.warm(1)  # takes task 3, while task 1 backs off
    assert states(play) == "DBAA"
    actions = play.tick()
    assert actions == [Interrupt(1, "task 1, whose messages it needs, has no worker")]
    assert assigns(play.warm(1)) == [(1, 1, 1)]
    assert [view.retries for view in play.job.tasks()] == [0, 1, 0, 0]
    assert len(play.launched) == 2


def test_no_task_gives_way_while_one_can_go_on_or_a_worker_may_come() -> None:
    consumes = {1: [0], 2: [1]}
    play = Play(Job("j", range(4), JobPolicy(max_workers=3, retry_delay=1.0), consumes=consumes, random=lambda: 0.5))
    for worker in range(3):
        play.come(worker)
    play.now = 10.0
    play.lose(0)
    assert play.ticks(20, alive=[1, 2]) == []  # a worker is expected
    assert assigns(play.come(3)) == [(3, 0, 1)]
    play.fail(3)
    play.warm(3)  # takes task 3, which needs no other
    assert play.ticks(20, alive=[1, 2, 3]) == []


def test_one_worker_does_a_whole_chain_whatever_fails_on_the_way() -> None:
    play = chain(6, workers=1, retries=9)
    fails = [2, 4, 3]
    worker = 0
    for _ in range(100):
        task = play.job.task_of(worker)
        if task is None:
            worker, task, _ = play.on()
        if fails and task == fails[0]:
            fails.pop(0)
            play.fail(worker)
        else:
            actions = play.done(worker)
            if Finish() in actions:
                break
    assert play.job.error is None
    assert len(play.launched) == 1


def test_failed_tasks_of_a_chain_are_tried_again_with_their_producers() -> None:
    play = chain(3, retries=0)
    play.done(0)
    play.done(1)
    play.fail(2)
    assert play.job.over
    play.take(play.job.retry(play.now))
    assert states(play) == "WWW"
    assert play.job.snapshot().results == 2


def test_an_original_worker_that_has_to_give_way_is_sent_home() -> None:
    play = chain(2)
    play.lose(0)
    play.lose(1)
    play.tick(5.0)
    play.come(5, None, reusable=False)
    play.come(6, None, reusable=False)
    [dismissed] = play.take(play.job.messages_lost(0, play.now))
    assert isinstance(dismissed, Dismiss)
    assert play.job.tasks()[0].state is TaskState.WAITING
    assert Warm(5) not in play.tick()


@pytest.mark.parametrize("seed", range(8))
def test_whether_messages_may_be_wanted_again_is_known_as_by_whom(seed: int) -> None:
    chance = Random(seed)
    consumes = {task: chance.sample(range(task), chance.randrange(1, min(task, 3) + 1)) for task in range(1, 12)}
    job = Job("j", range(12), JobPolicy(retries=8), consumes=consumes, random=chance.random)
    world = SimulatedFleet(job, seed, Faults(death=0.2, failure=0.1, lost=0.3, redial=0.5))
    world.crashes = seed % 2
    seen: set[bool] = set()

    def compare() -> None:
        tasks = {view.task: view.state for view in world.job.tasks()}
        for task, state in tasks.items():
            unsettled = [one for one, of in consumes.items() if task in of and tasks[one] not in SETTLED]
            wanted = unsettled if state is TaskState.DONE else []
            assert sorted(world.job.unsettled_consumers(task)) == wanted
            assert world.job.has_unsettled_consumers(task) is bool(wanted)
            seen.add(bool(wanted))

    for at in range(0, 300, 2):
        world.always(at, compare)
    world.always(30.0, lambda: None if world.finished else world.lose_store())
    world.start()
    world.play()
    if world.job.failures:
        compare()
        world.finished = False
        world.carry_out(world.job.retry(world.now))
    compare()
    assert seen == {False, True}
