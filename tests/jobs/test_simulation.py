"""Whole jobs in virtual time, in a world that breaks: every task is done exactly once, and nothing hangs."""

from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from property_examples import examples
from simulated_fleet import Faults, SimulatedFleet

from mu_twisted.jobs import Job, JobPolicy

FOR_EVER = 50_000.0
"""Seconds that a function may take where no worker is to be rescued by its end."""


SIZES = [pytest.param(2000, id="2000"), pytest.param(10_000, id="10000", marks=pytest.mark.long)]
"""Tasks of a large job, and of the largest: that takes seconds, on a busy machine many."""


@pytest.mark.parametrize("tasks", SIZES)
def test_many_tasks_on_few_workers_that_die_double_linger_and_never_come(tasks: int) -> None:
    workers = tasks // 10
    policy = JobPolicy(max_workers=workers, retries=25, speculate=5.0)
    job = Job("j", range(tasks), policy, random=Random(1).random)
    world = SimulatedFleet(job, 1, Faults(death=0.3, doubled=0.02, absent=0.05, slow=0.01))
    world.start()
    world.play()
    world.hold_all_done()
    deaths = sum(record["type"] == "attempt-ended" and record["kind"] == "worker lost" for record in world.records)
    assert deaths > 0.3 * tasks
    # No attempt but those that died, and the second ones of slow tasks.
    assert len(world.assigned) <= tasks + deaths + tasks // 20
    assert len(world.launched) <= workers + 1.1 * deaths + 0.06 * tasks
    assert world.most_workers <= workers
    # 14 waves of 10 s, and the last ones' retries and slowness.
    assert world.now < 600.0


@pytest.mark.parametrize("tasks", SIZES)
def test_many_tasks_on_a_hundredth_as_many_workers_need_as_many_launches_as_workers(tasks: int) -> None:
    world = SimulatedFleet(Job("j", range(tasks), JobPolicy(max_workers=tasks // 100)), 1, life=10_000.0)
    world.start()
    world.play()
    world.hold_all_done()
    assert len(world.launched) == tasks // 100
    assert len(world.assigned) == tasks


def test_stragglers_hold_the_job_up_for_no_longer_than_a_second_attempt_takes() -> None:
    ends = {}
    for factor in (None, 3.0):
        job = Job("j", range(1000), JobPolicy(speculate=factor, max_workers=1000))
        world = SimulatedFleet(job, 5, Faults(slow=0.01))
        world.start()
        world.play()
        world.hold_all_done()
        ends[factor] = world.now
        assert len(world.assigned) <= 1000 + (50 if factor else 0)
    assert ends[3.0] < 75.0
    assert ends[None] > 100.0


def chains(groups: int, length: int) -> dict[int, list[int]]:
    """Chains side by side: task ``group * length + place`` needs the one before it in its group."""
    return {task: [task - 1] for task in range(groups * length) if task % length}


@pytest.mark.parametrize("groups", [1, 4])
@pytest.mark.parametrize("workers", [1, 2, 8, 16])
def test_chains_make_progress_with_any_number_of_workers(groups: int, workers: int) -> None:
    length = 16 // groups
    order = [group * length + place for place in range(length) for group in range(groups)]
    job = Job("j", order, JobPolicy(max_workers=workers), consumes=chains(groups, length))
    world = SimulatedFleet(job, 1)
    world.start()
    world.play(until=16 * 15.0 + 10.0)
    world.hold_all_done()
    assert len(world.launched) == workers
    assert world.interrupts == 0


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("workers", [1, 2, 8, 16])
@pytest.mark.parametrize("groups", [1, 4])
def test_chains_survive_deaths_lost_messages_and_lost_stores(groups: int, workers: int, seed: int) -> None:
    length = 16 // groups
    policy = JobPolicy(max_workers=workers, retries=50, reruns=50, retry_delay=0.5, retry_longest=4.0)
    job = Job("j", range(16), policy, consumes=chains(groups, length), random=Random(seed).random)
    faults = Faults(death=0.2, failure=0.1, lost=0.1, absent=0.05, doubled=0.02, redial=0.5)
    world = SimulatedFleet(job, seed, faults, life=FOR_EVER)
    world.start()
    for at in (20.0, 55.0, 90.0):
        world.always(at, world.lose_store)
    world.play()
    world.hold_all_done()
    assert world.now < FOR_EVER / 10


@pytest.mark.parametrize("seed", range(4))
def test_groups_on_one_shard_do_not_notice_what_another_loses(seed: int) -> None:
    job = Job("j", range(16), JobPolicy(retries=0), consumes=chains(4, 4), random=Random(seed).random)
    shards = [frozenset({*range(4), *range(8, 12)}), frozenset({*range(4, 8), *range(12, 16)})]
    world = SimulatedFleet(job, seed, life=FOR_EVER, shards=shards)
    world.start()
    for at in (8.0, 14.0, 21.0):
        world.always(at, lambda: None if world.finished else world.lose_store(1))
    world.play()
    world.hold_all_done()
    assert {world.last_attempt[task] for task in shards[0]} == {0}
    assert max(world.last_attempt[task] for task in shards[1]) > 0


@pytest.mark.parametrize("seed", range(6))
def test_a_coordinator_that_is_killed_again_and_again_loses_nothing(seed: int) -> None:
    """At any moment, also in the middle of its journal."""
    tasks = 200
    policy = JobPolicy(max_workers=40, retries=30, speculate=3.0, retry_longest=4.0)
    faults = Faults(death=0.1, failure=0.1, absent=0.05, doubled=0.05, redial=0.7, slow=0.02)
    job = Job("j", range(tasks), policy, random=Random(seed).random)
    world = SimulatedFleet(job, seed, faults)
    world.crashes = 15
    world.start()
    world.play()
    world.hold_all_done()
    assert world.crashes < 15


def test_a_thousand_workers_come_back_after_a_restart_and_none_is_launched() -> None:
    job = Job("j", range(3000), JobPolicy(max_workers=1000))
    world = SimulatedFleet(job, 1, Faults(redial=1.0))
    world.start()
    world.always(12.0, world.restart)
    world.play()
    world.hold_all_done()
    assert len(world.launched) <= 1100
    assert all(view.retries == 0 for view in world.job.tasks())


@settings(max_examples=examples(60), deadline=None)
@given(st.data())
def test_any_job_in_any_world_ends_with_every_task_done_once(data: st.DataObject) -> None:
    seed = data.draw(st.integers(0, 1 << 20))
    tasks = data.draw(st.sampled_from([1, 2, 3, 5, 8, 16, 40]))
    consumes = {}
    shape = data.draw(st.sampled_from(["none", "chain", "groups", "any"]))
    chance = Random(seed)
    for task in range(1, tasks):
        if shape == "chain" or (shape == "groups" and task % 3):
            consumes[task] = [task - 1]
        elif shape == "any":
            consumes[task] = chance.sample(range(task), chance.randint(0, min(task, 3)))
    fault = st.sampled_from([0.0, 0.0, 0.05, 0.2])
    faults = Faults(
        death=data.draw(st.sampled_from([0.0, 0.1, 0.4])),
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
    policy = JobPolicy(
        retries=1000,
        reruns=data.draw(st.sampled_from([0, 3, 1000])),
        max_workers=data.draw(st.sampled_from([None, 1, 2, max(1, tasks // 2), tasks])),
        overprovision=data.draw(st.sampled_from([0, 2])),
        start_retries=30,
        speculate=data.draw(st.sampled_from([None, 2.0, 5.0])),
        task_timeout=data.draw(st.sampled_from([None, 400.0])),
        warm_timeout=5.0,
        redial_timeout=data.draw(st.sampled_from([0.0, 5.0])),
        retry_delay=0.1,
        retry_longest=2.0,
    )
    job = Job("j", range(tasks), policy, consumes=consumes, random=chance.random)
    shards = []
    if shape == "groups" and data.draw(st.booleans()):
        shards = [frozenset(task for task in range(tasks) if task // 3 % 2 == shard) for shard in range(2)]
    world = SimulatedFleet(job, seed, faults, life=FOR_EVER, shards=shards)
    world.crashes = data.draw(st.sampled_from([0, 3, 10]))
    world.start()
    for _ in range(data.draw(st.integers(0, 3))):
        world.always(chance.random() * 60, lambda: None if world.finished else world.restart())
    for _ in range(data.draw(st.integers(0, 3)) if consumes else 0):
        world.always(
            chance.random() * 60, lambda: None if world.finished else world.lose_store(len(shards) - 1 if shards else 0)
        )
    world.play(steps=500_000)
    assert world.finished
    assert world.now < FOR_EVER / 2
    if world.job.error not in ("no worker came", "no launch was accepted: 429: too many"):
        world.hold_all_done()
