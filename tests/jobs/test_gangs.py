"""Tasks that pipes join run at the same time or not at all."""

from random import Random
from typing import Any

import pytest
from counted_calls import calls_of
from hypothesis import given, settings
from hypothesis import strategies as st
from job_driver import Play, assigns
from property_examples import examples
from simulated_fleet import Faults, SimulatedFleet

from mu_twisted.base.steps import exhaust
from mu_twisted.jobs import (
    Assign,
    Failure,
    Job,
    JobError,
    JobPolicy,
    LaunchAdmission,
    PipeEnd,
    Reopened,
    ResultReached,
    TaskState,
    fair_shares,
)
from mu_twisted.jobs._gangs import Gangs
from mu_twisted.jobs._tasks import SETTLED

FOR_EVER = 50_000.0


def play(tasks: int, pipes: list[tuple[int, int, str]], workers: int, come: int | None = None, **more: Any) -> Play:
    """A job whose workers come one after the other; they are not assigned before the clock is at 50 s."""
    consumes, after, messages = more.pop("consumes", None), more.pop("after", ()), more.pop("messages", None)
    policy = JobPolicy(**({"max_workers": workers, "retry_delay": 1.0} | more))
    edges = {"pipes": pipes, "consumes": consumes, "after": after, "messages": messages}
    job = Job("j", range(tasks), policy, **edges, random=lambda: 0.5)
    found = Play(job)
    for worker in range(workers if come is None else come):
        found.come(worker)
    return found


def states(played: Play) -> str:
    """One letter a task."""
    return "".join(view.state.name[0] for view in played.job.tasks())


# -- what is declared --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("pipes", "more", "says"),
    [
        ([(0, 7, "x")], {}, "joins task 7, which the job does not have"),
        ([(7, 0, "x")], {}, "joins task 7, which the job does not have"),
        ([(1, 1, "x")], {}, "joins task 1 with itself"),
        ([(0, 1, "x"), (0, 1, "x")], {}, "two pipes named 'x', to 1 and to 1"),
        ([(0, 1, "x"), (0, 2, "x")], {}, "task 0 has two pipes named 'x', to 1 and to 2"),
        ([(0, 2, "x"), (1, 2, "x")], {}, "task 2 has two pipes named 'x'"),
        (
            [(0, 1, "x"), (1, 2, "y"), (2, 3, "z")],
            {"policy": JobPolicy(max_workers=3)},
            "takes 4 workers: there may be 3",
        ),
        ([(0, 1, "x")], {"after": [((0,), (1,))]}, "come after them"),
        ([(0, 1, "x")], {"after": [((0,), (2,)), ((2,), (1,))]}, "come after them"),
        ([(0, 1, "x")], {"consumes": {2: [0], 1: [2]}}, "wait for one another in a circle"),
        ([(0, 1, "x"), (2, 3, "x")], {"consumes": {2: [0], 1: [3]}}, "wait for one another in a circle"),
        ([(0, 1, "x")], {"consumes": {2: [0]}, "after": [((2,), (1,))]}, "come after them"),
    ],
)
def test_pipes_that_cannot_be_are_refused_with_the_reason(pipes: Any, more: dict[str, Any], says: str) -> None:
    with pytest.raises(JobError, match=says):
        Job("j", range(4), pipes=pipes, **more)


@pytest.mark.parametrize(
    ("pipes", "gangs"),
    [
        ([], []),
        ([(0, 1, "x"), (1, 0, "y")], [(0, 1)]),
        ([(5, 2, "x"), (0, 1, "x"), (2, 1, "y")], [(0, 1, 2, 5)]),
        ([(0, 1, "x"), (2, 3, "x"), (4, 5, "x"), (3, 5, "y")], [(0, 1), (2, 3, 4, 5)]),
    ],
)
def test_gangs_are_what_pipes_connect(pipes: Any, gangs: list[tuple[int, ...]]) -> None:
    found = Gangs(range(6), pipes)
    assert sorted(found.all) == gangs
    assert bool(found) is bool(gangs)
    assert [task for task in range(6) if task in found] == sorted(task for gang in gangs for task in gang)


# -- assigned together -------------------------------------------------------------------------------------------------


def test_a_gang_begins_when_it_has_all_its_workers_and_each_is_given_its_ends() -> None:
    played = play(3, [(2, 0, "x"), (0, 1, "y")], 3, come=2)
    assert states(played) == "WWW"
    found = [action for action in played.come(2) if isinstance(action, Assign)]
    assert {action.task: action.pipes for action in found} == {
        0: (PipeEnd("x", 2, 0, False), PipeEnd("y", 1, 0, True)),
        1: (PipeEnd("y", 0, 0, False),),
        2: (PipeEnd("x", 0, 0, True),),
    }


def test_smaller_work_overtakes_a_gang_until_it_has_waited_for_long() -> None:
    played = play(5, [(0, 1, "x"), (1, 2, "y")], 3, come=1)
    assert [task for _, task, _ in assigns(played.come(1))] == [4]  # 3 went to the first
    assert states(played) == "WWWAA"
    played = play(6, [(0, 1, "x"), (1, 2, "y")], 3, come=1)
    played.ticks(12, alive=[0])
    assert assigns(played.come(1)) == []
    assert assigns(played.come(2)) == []  # nor does one that has done its task get another
    assert assigns(played.done(0)) == []
    assert {task for _, task, _ in assigns(played.warm(0))} == {0, 1, 2}


def test_no_worker_is_kept_for_half_a_gang_that_is_new() -> None:
    played = play(4, [(0, 1, "x")], 2, come=1)
    assert states(played) == "WWAW"
    played.done(0)
    assert [task for _, task, _ in assigns(played.warm(0))] == [3]


def test_of_two_gangs_the_smaller_may_begin_first() -> None:
    played = play(5, [(0, 1, "x"), (1, 2, "y"), (3, 4, "x")], 3, come=2)
    assert states(played) == "WWWAA"


def test_what_waits_for_messages_of_a_gang_does_not_overtake_it() -> None:
    played = play(4, [(0, 1, "x")], 2, come=1, consumes={2: [0]})
    assert states(played) == "WWWA"


def test_a_gang_waits_for_the_last_of_what_its_tasks_come_after() -> None:
    played = play(4, [(1, 2, "x")], 3, after=[((0,), (2,))])
    assert states(played) == "AWBA"
    played.done(next(view.workers[0] for view in played.job.tasks() if view.task == 0))
    assert states(played)[1:3] == "AA" or assigns(played.warm(0))
    assert states(played)[1:3] == "AA"


def test_a_status_says_what_a_gang_waits_for() -> None:
    played = play(4, [(0, 1, "x"), (1, 2, "y")], 3, come=2, after=[((3,), (2,))])
    assert played.job.tasks()[0].waits == "runs at the same time as task 2, which is blocked"
    played = play(3, [(0, 1, "x"), (1, 2, "y")], 3, come=2)
    said = "task 0 waits for 3 workers at once, 2 are free: it runs at the same time as 1, 2"
    assert played.job.waits_for == said
    assert played.job.tasks()[1].waits == "waits for 3 workers at once, 2 are free: it runs at the same time as 0, 2"


# -- ended and begun again together ------------------------------------------------------------------------------------


def test_one_that_fails_ends_the_others_at_no_cost_and_all_begin_again() -> None:
    played = play(2, [(0, 1, "x")], 2, retries=1)
    at = {view.task: view.workers[0] for view in played.job.tasks()}
    played.fail(at[1])
    views = {view.task: view for view in played.job.tasks()}
    assert (views[0].state, views[0].retries) == (TaskState.WAITING, 0)
    assert (views[1].state, views[1].retries) == (TaskState.BACKING_OFF, 1)
    for worker in list(played.warming):
        assert assigns(played.warm(worker)) == []
    found = [action for action in played.ticks(3, alive=[0, 1]) if isinstance(action, Assign)]
    assert {action.task: (action.attempt, action.pipes[0].attempt) for action in found} == {0: (1, 1), 1: (1, 1)}


@pytest.mark.parametrize("lost", [0, 1, 2])
def test_a_lost_worker_ends_the_whole_gang_and_one_that_was_done_runs_again(lost: int) -> None:
    played = play(3, [(0, 1, "x"), (1, 2, "y")], 3)
    at = {view.task: view.workers[0] for view in played.job.tasks()}
    done = (lost + 1) % 3
    played.done(at[done])
    assert states(played).count("D") == 1
    played.lose(at[lost])
    assert any(isinstance(record, Reopened) and record.tasks == (done,) for record in played.records)
    assert "D" not in states(played)
    assert {played.on()[1] for _ in range(1)} <= {0, 1, 2}
    assert states(played) == "AAA"
    for worker in [view.workers[0] for view in played.job.tasks()]:
        played.done(worker)
    assert played.job.over
    assert played.job.error is None
    assert sum(isinstance(record, ResultReached) for record in played.records) == 3


def test_what_runs_again_for_the_others_ends_when_these_have_their_results() -> None:
    played = play(2, [(0, 1, "x")], 2)
    at = {view.task: view.workers[0] for view in played.job.tasks()}
    played.done(at[0])
    played.lose(at[1])
    played.on()
    assert states(played) == "AA"
    played.done(next(view.workers[0] for view in played.job.tasks() if view.task == 1))
    assert played.job.over
    assert played.job.error is None


def test_a_gang_fails_together_and_says_of_whom() -> None:
    played = play(3, [(0, 1, "x")], 3, retries=0)
    at = {view.task: view.workers[0] for view in played.job.tasks()}
    played.fail(at[0], "no luck")
    assert states(played)[:2] == "FF"
    assert played.job.failures[1] == "task 0, which it is joined with by pipes, failed: no luck"


def test_a_gang_that_is_cut_again_and_again_fails_in_the_end() -> None:
    played = play(2, [(0, 1, "x")], 2, retries=2, reruns=3)
    attempts = 0
    while not played.job.over:
        attempts += 1
        assert attempts < 12
        if states(played) != "AA":
            played.on()
        at = {view.task: view.workers[0] for view in played.job.tasks()}
        played.fail(at[attempts % 2], "cut", Failure.CHANNEL)
    assert set(played.job.failures) == {0, 1}


@pytest.mark.parametrize("breaks", [[0, 0, 0], [1, 1, 1], [0, 1, 0, 1, 0]])
def test_a_gang_that_is_cut_time_and_again_has_no_direct_paths_any_more(breaks: list[int]) -> None:
    played = play(4, [(0, 1, "x")], 4, messages={1: [0], 2: [3]})
    for task in breaks:
        assert played.job.message_peers(1) == [0]
        at = {view.task: view.workers[0] for view in played.job.tasks()}
        played.fail(at[task], "cut", Failure.CHANNEL)
        while states(played) != "AAAA":
            played.on()
    assert [played.job.message_peers(task) for task in range(4)] == [None, None, [3], []]
    played.take(played.job.cancel("", played.now))
    played.take(played.job.retry(played.now))
    assert played.job.message_peers(1) == [0]


def test_what_a_gang_fails_of_by_itself_says_nothing_of_its_paths() -> None:
    played = play(2, [(0, 1, "x")], 2, retries=9)
    for _ in range(6):
        played.fail(played.job.tasks()[0].workers[0])
        while states(played) != "AA":
            played.on()
    assert played.job.message_peers(0) == []


def test_failed_gangs_are_retried_with_those_that_were_done() -> None:
    played = play(2, [(0, 1, "x")], 2, retries=0)
    at = {view.task: view.workers[0] for view in played.job.tasks()}
    played.done(at[0])
    played.fail(at[1])
    assert played.job.over
    played.take(played.job.retry(played.now))
    played.on()
    assert states(played) == "AA"


@pytest.mark.parametrize("only", [[0], [1], [2], [3], [4]])
def test_a_retry_of_a_task_takes_the_gangs_along_without_which_it_cannot_begin(only: list[int]) -> None:
    # 0 to 2 are a gang, 3 takes messages of 1, and 4 comes after 3
    pipes, after = [(0, 1, "x"), (1, 2, "y")], [((3,), (4,))]
    played = play(6, pipes, 6, 5, retries=0, consumes={3: [1]}, after=after)
    played.done(next(view.workers[0] for view in played.job.tasks() if view.task == 5))
    played.fail(next(view.workers[0] for view in played.job.tasks() if view.task == 0))
    assert played.job.over
    assert states(played) == "FFFFFD"
    exhaust(played.job.retrying(played.now, only))
    played.take(played.job.retry(played.now))
    wanted = {0, 1, 2, *range(3, only[0] + 1)}
    while not played.job.over:
        working = [view.workers[0] for view in played.job.tasks() if view.state is TaskState.ACTIVE]
        if working:
            played.done(working[0])
        else:
            played.on()
    assert {view.task for view in played.job.tasks() if view.state is TaskState.DONE} == wanted | {5}


@pytest.mark.parametrize("only", [[1], [3], [1, 2], None])
def test_a_retry_sends_again_what_the_done_tasks_of_its_gangs_take(only: list[int] | None) -> None:
    # 1 and 2 are a gang, 2 takes messages of 0, and 3 of 2
    played = play(5, [(1, 2, "x")], 5, retries=0, consumes={2: [0], 3: [2]})
    at = {view.task: view.workers[0] for view in played.job.tasks()}
    for task in (0, 2, 4):
        played.done(at[task])
    played.fail(at[1])
    if states(played) != "DFDFD":
        played.fail(at[3])
    assert states(played) == "DFDFD"
    exhaust(played.job.retrying(played.now, only))
    again = set(range(4)) if only in (None, [3]) else {0, 1, 2}
    assert {view.task for view in played.job.tasks() if view.state is TaskState.WAITING} == again
    played.take(played.job.retry(played.now))
    while not played.job.over:
        working = [view.workers[0] for view in played.job.tasks() if view.state is TaskState.ACTIVE]
        played.done(working[0]) if working else played.on()
    assert states(played) == ("DDDDD" if 3 in again else "DDDFD")


@pytest.mark.parametrize("active", [False, True])
def test_a_cancelled_job_ends_its_gangs(active: bool) -> None:
    played = play(3, [(0, 1, "x"), (1, 2, "y")], 3, come=3 if active else 2)
    assert states(played) == ("AAA" if active else "WWW")
    played.take(played.job.cancel("not wanted", played.now))
    assert played.job.over
    assert states(played) == "FFF"
    played.take(played.job.retry(played.now))
    played.on()
    assert states(played) == "AAA"


@pytest.mark.parametrize("records", [None, -1, -2, -3])
def test_a_gang_is_whole_after_a_restart_of_the_coordinator(records: int | None) -> None:
    played = play(3, [(0, 1, "x"), (1, 2, "y")], 3)
    at = {view.task: view.workers[0] for view in played.job.tasks()}
    played.done(at[0])
    again = played.restarted(None if records is None else len(played.records) + records)
    for number in range(3):
        again.come(10 + number, f"0-{number}", redial=True)
    for worker in list(again.warming):
        again.warm(worker)
    assert states(again) == "AAA"


def test_one_that_dies_for_want_of_memory_takes_the_others_to_a_larger_function() -> None:
    played = play(2, [(0, 1, "x")], 2, retries=0, retry_memory=True)
    at = {view.task: view.workers[0] for view in played.job.tasks()}
    played.done(at[0])
    played.fail(at[1], "killed", Failure.EXIT, status=-9)
    assert not played.job.over
    played.on()
    assert states(played) == "AA"


# -- among jobs --------------------------------------------------------------------------------------------------------


@given(st.integers(1, 40), st.lists(st.tuples(st.integers(0, 50), st.integers(1, 40)), min_size=1, max_size=6))
def test_a_share_is_enough_for_a_gang_or_nothing(workers: int, jobs: list[tuple[int, int]]) -> None:
    wanted = {str(at): count for at, (count, _) in enumerate(jobs)}
    least = {str(at): min(gang, workers) for at, (_, gang) in enumerate(jobs)}
    shares = fair_shares(workers, wanted, least)
    for job, share in shares.items():
        assert share <= wanted[job]
        assert share == 0 or share >= min(wanted[job], least[job])
    if any(gang > 1 for gang in least.values()):
        assert sum(shares.values()) <= max(workers, sum(count > 0 for count in wanted.values()))
    if sum(wanted.values()):
        assert any(shares.values())


def test_two_jobs_of_gangs_do_not_halve_the_workers_that_neither_can_use() -> None:
    admission = LaunchAdmission(4)
    assert admission.ceilings({"a": 4, "b": 4}, {"a": 3, "b": 3}) == {"a": 4, "b": 0}


@pytest.mark.parametrize("seed", range(6))
def test_a_job_needs_the_workers_of_its_largest_gang_that_is_not_settled(seed: int) -> None:
    pipes = [(0, 1, "x"), (1, 2, "y"), (3, 2, "z"), (5, 6, "x"), (8, 7, "x"), (9, 10, "x"), (11, 10, "y")]
    sizes = {task: len(gang) for gang in ([0, 1, 2, 3], [4], [5, 6], [7, 8], [9, 10, 11]) for task in gang}
    policy = JobPolicy(retries=seed % 3, max_workers=4)
    job = Job("j", range(12), policy, pipes=pipes, consumes={4: [3]}, random=Random(seed).random)
    world = SimulatedFleet(job, seed, Faults(death=0.1, failure=0.1, lost=0.2), life=FOR_EVER)
    world.crashes = seed % 2
    seen: set[int] = set()

    def compare() -> None:
        open_ = [sizes[view.task] for view in world.job.tasks() if view.state not in SETTLED]
        assert world.job.least_workers == max(open_, default=0)
        seen.add(world.job.least_workers)

    def all_through() -> None:
        for at in range(0, 400, 2):
            world.always(at, compare)
        world.always(30.0, lambda: None if world.finished else world.lose_store())

    all_through()
    world.start()
    world.play()
    compare()
    if world.job.failures:
        world.finished = False
        world.carry_out(world.job.retry(world.now))
        all_through()
        world.play()
    compare()
    assert seen >= {0, 4}


def test_how_many_workers_a_job_needs_is_known_without_a_look_at_its_gangs() -> None:
    def calls(gangs: int) -> int:
        played = play(2 * gangs, [(task, task + 1, "x") for task in range(0, 2 * gangs, 2)], workers=2)
        least, called = calls_of(lambda: played.job.least_workers)
        assert least == 2
        return called

    assert calls(3) == calls(300)


# -- in a world that breaks --------------------------------------------------------------------------------------------


@settings(max_examples=examples(60), deadline=None)
@given(st.data())
def test_gangs_in_any_world_begin_whole_and_end_with_every_task_done_once(data: st.DataObject) -> None:
    seed = data.draw(st.integers(0, 1 << 20))
    tasks = data.draw(st.sampled_from([2, 3, 5, 8, 16]))
    chance = Random(seed)
    pipes = []
    for task in range(1, tasks):
        if chance.random() < 0.6:
            writer, reader = chance.sample([task, task - 1], 2)
            pipes.append((writer, reader, f"p{task}"))
    gangs = Gangs(range(tasks), pipes)
    consumes: dict[int, list[int]] = {}
    after: list[tuple[tuple[int, ...], tuple[int, ...]]] = []
    shape = data.draw(st.sampled_from(["none", "consumes", "after", "both"]))
    for task in range(1, tasks):
        earlier = [one for one in range(gangs.members(task)[0]) if max(gangs.members(one)) < gangs.members(task)[0]]
        if earlier and shape in ("consumes", "both") and chance.random() < 0.4:
            consumes[task] = [chance.choice(earlier)]
        if earlier and shape in ("after", "both") and chance.random() < 0.2:
            after.append(((chance.choice(earlier),), (task,)))
    fault = st.sampled_from([0.0, 0.0, 0.05, 0.2])
    faults = Faults(
        death=data.draw(st.sampled_from([0.0, 0.1, 0.2])),
        failure=data.draw(fault),
        absent=data.draw(fault),
        refused=data.draw(fault),
        doubled=data.draw(fault),
        slow=data.draw(st.sampled_from([0.0, 0.1])),
        frozen=data.draw(st.sampled_from([0.0, 0.05])),
        redial=data.draw(st.sampled_from([0.0, 0.8])),
        stuck=data.draw(st.sampled_from([0.0, 0.05])),
        lost=data.draw(fault),
    )
    least = max(1, len(gangs.largest))
    policy = JobPolicy(
        retries=1000,
        reruns=data.draw(st.sampled_from([0, 3, 1000])),
        max_workers=data.draw(st.sampled_from([None, least, least + 1, tasks])),
        overprovision=data.draw(st.sampled_from([0, 2])),
        start_retries=30,
        speculate=data.draw(st.sampled_from([None, 2.0])),
        warm_timeout=5.0,
        redial_timeout=data.draw(st.sampled_from([0.0, 5.0])),
        retry_delay=0.1,
        retry_longest=2.0,
    )
    job = Job("j", range(tasks), policy, consumes=consumes, after=after, pipes=pipes, random=chance.random)
    world = SimulatedFleet(job, seed, faults, life=FOR_EVER, seconds=3.0)
    world.crashes = data.draw(st.sampled_from([0, 3]))
    world.start()
    for _ in range(data.draw(st.integers(0, 3))):
        world.always(chance.random() * 60, lambda: None if world.finished else world.restart())
    for _ in range(data.draw(st.integers(0, 2))):
        world.always(chance.random() * 60, lambda: None if world.finished else world.lose_store())
    world.play(steps=500_000)
    assert world.finished
    assert world.now < FOR_EVER / 2
    if world.job.error not in ("no worker came", "no launch was accepted: 429: too many"):
        world.hold_all_done()


@pytest.mark.parametrize("piped", [False, True])
def test_a_slow_task_of_a_gang_is_not_begun_a_second_time_beside_the_first(piped: bool) -> None:
    job = Job("j", range(200), JobPolicy(speculate=2.0, max_workers=200), pipes=[(0, 1, "x")] if piped else [])
    world = SimulatedFleet(job, 1, Faults(slow=0.05), life=FOR_EVER)
    world.start()
    world.play()
    assert world.finished
    assert (len(world.assigned) > 200) is not piped


@pytest.mark.parametrize("workers", [2, 3, 8])
def test_many_gangs_on_few_workers_take_as_many_turns_as_they_must(workers: int) -> None:
    pipes = [(task, task + 1, "x") for task in range(0, 40, 2)]
    job = Job("j", range(60), JobPolicy(max_workers=workers), pipes=pipes)
    world = SimulatedFleet(job, 1, life=FOR_EVER)
    world.start()
    world.play()
    world.hold_all_done()
    assert len(world.assigned) == 60
    assert len(world.launched) == workers
    assert world.now < 60 / workers * 15.0 * 1.6 + 60
