"""Graphs of tasks: a task begins when those that it comes after are done."""

import re
from collections import Counter
from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from job_driver import Play, assigns
from property_examples import examples
from simulated_fleet import Faults, SimulatedFleet

from mu_twisted.base.steps import exhaust
from mu_twisted.jobs import Assign, Finish, Groups, Job, JobError, JobPolicy, ResultReached, grouped
from mu_twisted.jobs._precedence import Precedence


def groups(after: dict[int, Any]) -> Groups:
    return exhaust(grouped(after))


def play(after: dict[int, Any], tasks: int, workers: int | None = None, **policy: Any) -> Play:
    policy = {"max_workers": workers, "retry_delay": 1.0} | policy
    found = Play(Job("j", range(tasks), JobPolicy(**policy), after=groups(after), random=lambda: 0.5))
    staff(found)
    return found


def staff(found: Play) -> None:
    """Let all workers come that were asked for."""
    while found.came < len(found.launched):
        found.come(found.came)


def states(play: Play) -> str:
    return "".join(view.state.name[:2].lower() for view in play.job.tasks())


def test_a_task_begins_and_wants_a_worker_when_those_before_it_are_done() -> None:
    found = Play(Job("j", range(3), JobPolicy(), after=groups({2: [0, 1]}), random=lambda: 0.5))
    assert found.job.wanted_workers == 2
    found.come(0)
    found.come(1)
    assert states(found) == "acacbl"
    assert found.job.tasks()[2].waits == "comes after task 0, which is active, and 1 more"
    assert found.job.counts().blocked == 1
    found.done(0)
    assert found.job.tasks()[2].waits == "comes after task 1, which is active"
    found.warm(0)
    assert states(found) == "doacbl"
    assigned = assigns(found.done(1)) + assigns(found.warm(1))
    assert [task for _, task, _ in assigned] == [2] or states(found) == "dodoac"
    assert found.job.tasks()[2].waits == ""


def test_what_comes_after_a_failed_task_fails_with_it_and_nothing_else() -> None:
    found = play({1: [0], 2: [1], 4: [3]}, 5, retries=0)
    found.fail(0, "no disk")
    assert states(found) == "fafafaacbl"
    assert found.job.failures[2] == "task 0, which it comes after, failed: no disk"
    assert not found.job.over


def test_retry_runs_what_failed_and_what_waited_for_it() -> None:
    found = play({1: [0], 2: [1]}, 4, workers=1, retries=0)
    assert states(found)[:2] == "ac"
    found.fail(0)
    found.warm(0)
    found.done(0)
    assert found.job.over
    again = found.restarted()
    again.take(again.job.retry(again.now))
    assert states(again) == "wablbldo"
    again.come(7, "next")
    for _ in range(3):
        again.done(7)
        again.warm(7)
    assert states(again) == "dododods"[:8].replace("ds", "do")
    assert again.job.error is None


def test_a_restart_goes_on_where_it_was() -> None:
    found = play({2: [0, 1], 3: [2]}, 4)
    found.done(0)
    again = found.restarted()
    assert states(again) == "dowablbl"
    for _ in range(3):
        again = again.restarted()
    assert states(again) == "dowablbl"


def test_the_longest_row_begins_first() -> None:
    order = Precedence(range(6), groups({2: [5], 4: [2], 1: [0]})).order
    assert order == (5, 0, 2, 1, 3, 4)


@pytest.mark.parametrize(
    ("after", "consumes", "messages", "said"),
    [
        ({0: [1], 1: [0]}, {}, {}, "come after one another in a circle"),
        ({0: [0]}, {}, {}, "come after one another in a circle"),
        ({0: [7]}, {}, {}, "comes after task 7, which the job does not have"),
        ({7: [0]}, {}, {}, "task 7 is none of the job"),
        ({1: [0]}, {0: [1]}, {}, "wait for messages of others that come after them"),
        ({1: [0]}, {}, {0: [1], 1: [0]}, "wait for messages of others that come after them"),
        ({2: [0]}, {1: [2], 0: [1]}, {}, "wait for messages of others that come after them"),
    ],
)
def test_a_graph_that_cannot_be_is_refused(after: Any, consumes: Any, messages: Any, said: str) -> None:
    with pytest.raises(JobError, match=said):
        Job("j", range(3), consumes=consumes, messages=messages, after=groups(after))


def test_messages_and_stages_go_together_where_they_can() -> None:
    job = Job("j", range(4), consumes={1: [0]}, messages={2: [3], 3: [2]}, after=groups({2: [0, 1], 3: [0, 1]}))
    assert job.wanted_workers == 2


def test_stages_of_many_tasks_need_as_many_edges() -> None:
    stages, width = 4, 25_000
    after = {task: range(width * (task // width - 1), width * (task // width)) for task in range(width, width * stages)}
    found = groups(after)
    assert len(found) == stages - 1
    assert sum(len(before) + len(behind) for before, behind in found) == 2 * width * (stages - 1)


graphs = st.integers(1, 14).flatmap(
    lambda tasks: st.tuples(
        st.just(tasks),
        st.dictionaries(st.integers(0, tasks - 1), st.lists(st.integers(0, tasks - 1), max_size=4), max_size=tasks).map(
            lambda after: {task: [one for one in before if one < task] for task, before in after.items()}
        ),
    )
)


class OrderedFleet(SimulatedFleet):
    """Holds that no task begins before those that it comes after are done, and that each stage says what it waits for.

    :ivar idle: reasons, each as often as a stage had it whose tasks did not get on.
    """

    after: dict[int, Any]

    def __init__(self, *given: Any, **more: Any) -> None:
        super().__init__(*given, **more)
        self.done: set[int] = set()
        self.idle: Counter[str] = Counter()

    def look_at(self, record: Any) -> None:
        super().look_at(record)
        if isinstance(record, ResultReached):
            self.done.add(record.task)

    def assign(self, action: Assign) -> None:
        assert self.done.issuperset(self.after.get(action.task, ()))
        super().assign(action)

    def tick(self) -> None:
        super().tick()
        for stage in [] if self.finished else self.job.stages():
            settled = stage.done + stage.failed == stage.tasks
            assert bool(stage.waits) is (not settled and not stage.active), stage
            if stage.waits:
                self.idle[re.sub(r"[0-9]+.*", "", stage.waits)] += 1


STAGED = [pytest.param(12, 40, id="480"), pytest.param(50, 200, id="10000", marks=pytest.mark.long)]
"""Stages, and tasks of each."""


@pytest.mark.parametrize(("stages", "width"), STAGED)
def test_a_graph_of_many_does_each_task_once_and_says_what_it_waits_for(stages: int, width: int) -> None:
    dice = Random(1)
    after: dict[int, Any] = {}
    for task in range(width, stages * width):
        stage, first = task // width, (task // width - 1) * width
        some = [first + dice.randrange(width) for _ in range(3)]
        after[task] = range(first, first + width) if stage % 10 == 0 else some
    named = [(f"s{stage}", range(stage * width, (stage + 1) * width)) for stage in range(stages)]
    policy = JobPolicy(max_workers=width, retries=25)
    job = Job("j", range(stages * width), policy, after=groups(after), stages=named, random=dice.random)
    fleet = OrderedFleet(job, 1, Faults(death=0.3))
    fleet.after = after
    fleet.crashes = 3
    fleet.start()
    fleet.play()
    fleet.hold_all_done()
    assert set(fleet.results.values()) == {1}
    deaths = sum(record["type"] == "attempt-ended" and record["kind"] == "worker lost" for record in fleet.records)
    assert deaths > 0.3 * stages * width
    assert fleet.idle["task "] > 0
    assert len(fleet.idle) > 1


@settings(max_examples=examples(60), deadline=None)
@given(graphs, st.integers(0, 1 << 30), st.sampled_from([None, 1, 3]))
def test_whatever_dies_each_task_is_done_after_those_before_it(
    drawn: tuple[int, dict[int, list[int]]], seed: int, workers: int | None
) -> None:
    tasks, after = drawn
    policy = JobPolicy(max_workers=workers, retries=50, retry_delay=0.5)
    job = Job("j", range(tasks), policy, after=groups(after), random=Random(seed).random)
    fleet = OrderedFleet(job, seed, Faults(death=0.3, redial=0.3))
    fleet.after = after
    fleet.crashes = seed % 3
    fleet.start()
    fleet.play()
    assert fleet.job.over
    assert fleet.job.error is None
    assert fleet.job.counts().done == tasks


@given(graphs, st.data())
def test_failures_take_with_them_what_depends_on_them_only(
    drawn: tuple[int, dict[int, list[int]]], data: st.DataObject
) -> None:
    tasks, after = drawn
    bad = data.draw(st.sets(st.integers(0, tasks - 1)))
    expected = set(bad)
    for task in range(tasks):
        if expected.intersection(after.get(task, ())):
            expected.add(task)
    found = play(after, tasks, retries=0)
    while not found.job.over:
        for worker in range(found.came):
            task = found.job.task_of(worker)
            if task is not None:
                if task in bad:
                    found.fail(worker)
                else:
                    found.done(worker)
                found.warm(worker)
        found.tick()
        staff(found)
    assert found.job.over
    assert set(found.job.failures) == expected


def test_everything_ends_where_there_is_nothing_to_wait_for() -> None:
    found = play({1: [0]}, 2, retries=0)
    actions = found.fail(0)
    assert any(isinstance(action, Finish) for action in actions)
    assert found.job.error == "2 of 2 tasks failed"
