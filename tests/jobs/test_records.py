"""What the journal keeps: there and back again, and nothing taken on trust."""

import json
from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from job_driver import Play, assigns, kinds
from simulated_fleet import Faults, SimulatedFleet

from mu_twisted.jobs import (
    Assigned,
    AttemptEnded,
    AttemptOutcome,
    Cancelled,
    Failure,
    Finished,
    Job,
    JobPolicy,
    JobRecord,
    Launched,
    RecordError,
    Refunded,
    Reopened,
    ResultReached,
    ResultStands,
    Retried,
    Started,
    StoreNamed,
    Submitted,
    TaskFailed,
    TasksFailed,
    TaskState,
    record_from_dict,
    record_to_dict,
)
from mu_twisted.jobs._ledger import Ledger

EVERY: list[JobRecord] = [
    Submitted("j", (1, 0), JobPolicy(retry_exit=frozenset({3, -9}), task_timeout=4.5), ((1, (0,)),), True),
    Submitted("j", (0,), JobPolicy(retry_exit=None, max_workers=7), (), False),
    Submitted("j", (0, 1), JobPolicy(), (), False, ((0, (1,)), (1, (0,)))),
    Submitted("j", (0, 1, 2), JobPolicy(), (), False, (), (((0, 1), (2,)),)),
    Submitted("j", (0, 1, 2), JobPolicy(), (), False, (), (), (("split", ((0, 0), (2, 2))), ("join", ((1, 1),)))),
    Submitted("j", (0, 1, 2), JobPolicy(), (), False, (), (), (), ((0, 2, "x"),)),
    Started(0),
    Launched(0, 0, 2),
    Assigned(0, 0, "0-0", False),
    Assigned(1, 0, None, True),
    AttemptEnded(0, 0, AttemptOutcome.FAILED, 1.5, True, Failure.EXIT, -9, "killed"),
    AttemptEnded(0, 1, AttemptOutcome.DONE, 2.0),
    Refunded(0),
    ResultReached(0, 1),
    ResultStands((0,)),
    TaskFailed(1, "bad"),
    TasksFailed((1, 2), "bad"),
    Reopened((0,), "lost", True),
    Retried((1,)),
    StoreNamed("abc", 1),
    Cancelled("by its user"),
    Finished(None),
    Finished("bad"),
]


@pytest.mark.parametrize("record", EVERY, ids=lambda record: type(record).__name__)
def test_each_record_comes_back_from_json_as_it_was(record: JobRecord) -> None:
    assert record_from_dict(json.loads(json.dumps(record_to_dict(record)))) == record


@pytest.mark.parametrize("record", EVERY, ids=lambda record: type(record).__name__)
def test_a_record_with_a_member_missing_or_strange_is_refused(record: JobRecord) -> None:
    plain = record_to_dict(record)
    added = {"messages", "after", "stages", "pipes"}  # after the first version, whose records lack it
    for name in plain.keys() - added:
        with pytest.raises(RecordError):
            record_from_dict({key: value for key, value in plain.items() if key != name})
    with pytest.raises(RecordError):
        record_from_dict(plain | {"more": 1})


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)


@given(st.sampled_from(EVERY), st.data())
def test_a_member_of_another_kind_is_refused_or_is_one_of_its_kind(record: JobRecord, data: st.DataObject) -> None:
    plain = record_to_dict(record)
    name = data.draw(st.sampled_from(sorted(plain)))
    plain[name] = data.draw(ANYTHING)
    try:
        read = record_from_dict(plain)
    except RecordError:
        return
    assert record_to_dict(read) == plain


@pytest.mark.parametrize("wrong", [None, [], "assigned", {}, {"type": None}, {"type": []}, {"type": "unheard of"}])
def test_what_is_no_record_at_all_is_refused(wrong: Any) -> None:
    with pytest.raises(RecordError):
        record_from_dict(wrong)


BEGIN: list[JobRecord] = [Submitted("j", (0, 1), JobPolicy(), ((1, (0,)),), False), Started(0), Launched(0, 0, 2)]


@pytest.mark.parametrize(
    "records",
    [
        [],
        [Started(0)],
        [BEGIN[0], BEGIN[0]],
        [Submitted("j", (), JobPolicy(), (), False)],
        [*BEGIN, Started(0)],
        [*BEGIN, Launched(0, 0, 2)],
        [*BEGIN, Launched(1, 2, 2)],
        [*BEGIN, Assigned(2, 0, None, False)],
        [*BEGIN, Assigned(0, 0, None, True)],
        [*BEGIN, Assigned(0, 0, None, False), Assigned(0, 1, None, False)],
        [*BEGIN, Assigned(0, 3, None, False), Assigned(0, 2, None, True)],
        [*BEGIN, AttemptEnded(0, 0, AttemptOutcome.DONE, 1.0)],
        [*BEGIN, ResultReached(0, 0)],
        [*BEGIN, Assigned(0, 0, None, False), ResultReached(0, 0)],
        [*BEGIN, Assigned(0, 0, None, False), AttemptEnded(0, 0, AttemptOutcome.SUPERSEDED, 1.0)],
        [*BEGIN, Assigned(0, 0, None, False), TaskFailed(0, "")],
        [*BEGIN, Reopened((0,), "")],
        [*BEGIN, Retried((0,))],
        [*BEGIN, ResultStands((0,))],
        [*BEGIN, Refunded(0)],
        [*BEGIN, TaskFailed(0, ""), TaskFailed(0, "")],
        [*BEGIN, Finished(None), Finished(None)],
        [*BEGIN, Finished("bad"), Assigned(0, 0, None, False)],
    ],
    ids=lambda records: str(records[-1])[:40] if records else "nothing",
)
def test_records_that_cannot_follow_one_another_are_refused(records: list[JobRecord]) -> None:
    with pytest.raises(RecordError):
        Job.restore(records)


# -- restarts ----------------------------------------------------------------------------------------------------------


def test_after_a_restart_finished_tasks_stay_and_others_begin_anew_at_no_cost() -> None:
    play = Play(tasks=4, retries=0)
    for worker in range(4):
        play.come(worker)
    play.done(0)
    play.fail(1, "bad")
    again = play.restarted()
    assert [view.state for view in again.job.tasks()] == [
        TaskState.DONE,
        TaskState.FAILED,
        TaskState.WAITING,
        TaskState.WAITING,
    ]
    assert again.job.failures == {1: "bad"}
    assert again.launched == []  # those who were there may come back
    again.tick(5.0)
    assert kinds(again.come(7, "0-2")) == ["Interrupt"]
    assert assigns(again.warm(7)) == [(7, 2, 1)]
    assert again.ticks(9, alive=[7]) == []
    assert again.launched == []
    again.ticks(1, alive=[7])
    assert again.launched == ["1-0"]
    assert kinds(again.come(9, "0-3")) == ["Interrupt"]
    assert assigns(again.come(8, "1-0")) == [(8, 3, 1)]
    assert again.job.tasks()[3].retries == 0


def test_a_job_that_is_over_stays_so() -> None:
    play = Play(tasks=1)
    play.come(1)
    play.done(1)
    again = play.restarted()
    assert again.job.over
    assert again.job.error is None
    assert again.take(again.job.resume(0.0)) == []
    cancelled = Play(tasks=1)
    cancelled.take(cancelled.job.cancel("no more", 0.0))
    assert cancelled.restarted().job.cancelled
    assert cancelled.restarted().job.error == "no more"


def test_a_result_whose_loser_was_not_gone_yet_is_announced_after_a_while() -> None:
    records: list[JobRecord] = [
        Submitted("j", (0,), JobPolicy(redial_timeout=15.0), (), False),
        Started(0),
        Launched(0, 0, 2),
        Assigned(0, 0, "0-0", False),
        Assigned(0, 1, "0-1", True),
        AttemptEnded(0, 1, AttemptOutcome.DONE, 1.0),
    ]
    play = Play(Job.restore(records), start=False)
    play.take(play.job.resume(0.0))
    play.ticks(14)
    assert not any(isinstance(record, ResultReached) for record in play.records)
    play.ticks(1)
    assert ResultReached(0, 1) in play.records
    assert play.job.over


def test_a_task_that_failed_too_often_fails_though_the_journal_ends_before_that() -> None:
    one = Submitted("j", (0,), JobPolicy(retries=0), (), False)
    ended = AttemptEnded(0, 0, AttemptOutcome.FAILED, 1.0, True, error="bad")
    play = Play(Job.restore([one, Started(0), Launched(0, 0, 1), Assigned(0, 0, "0-0", False), ended]), start=False)
    play.take(play.job.resume(0.0))
    assert play.job.failures == {0: "bad"}


def test_a_failed_producers_consumers_fail_even_if_the_journal_ends_between_them() -> None:
    records = [*BEGIN, Assigned(0, 0, "0-0", False), AttemptEnded(0, 0, AttemptOutcome.FAILED, 1.0, True, error="bad")]
    play = Play(Job.restore([*records, TaskFailed(0, "bad")]), start=False)
    play.take(play.job.resume(0.0))
    assert play.job.over
    assert play.job.failures == {0: "bad", 1: "task 0, whose messages it needs, failed: bad"}


@pytest.mark.parametrize("seed", range(4))
def test_every_beginning_of_a_journal_can_be_taken_up_and_finished(seed: int) -> None:
    """A job with every kind of fault is killed after each of its records, one after the other."""
    chance = Random(seed)
    consumes = {task: [task - 1] for task in range(1, 6) if seed % 2}
    faults = Faults(death=0.2, failure=0.2, absent=0.05, doubled=0.1, redial=0.5, lost=0.2, slow=0.1)
    policy = JobPolicy(retries=100, max_workers=4, speculate=2.0, retry_delay=0.1, retry_longest=1.0)
    first = SimulatedFleet(Job("j", range(6), policy, consumes=consumes, random=chance.random), seed, faults)
    first.start()
    first.play()
    for count in range(1, len(first.records)):
        records = [record_from_dict(plain) for plain in first.records[:count]]
        ledger = Ledger.fold(records)
        done = {task.number for task in ledger.tasks.values() if task.has_result}
        world = SimulatedFleet(Job.restore(records), seed, faults)
        world.records = first.records[:count]
        world.launched = {f"{generation}-{n}" for generation, most in ledger.launched.items() for n in range(most)}
        world.last_attempt = {task.number: task.attempts - 1 for task in ledger.tasks.values()}
        world.results.update(done)
        world.stores = [1]  # nothing of what was sent is there any more
        world.restart()
        world.play()
        world.hold_all_done()
