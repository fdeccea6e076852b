"""The story of one task, by its job's records, is what the whole job says of it."""

from random import Random
from typing import Any

import pytest
from simulated_fleet import Faults, SimulatedFleet

from mu_twisted.base.steps import exhaust
from mu_twisted.jobs import Job, JobPolicy, Submitted, TaskStory, grouped, record_from_dict
from mu_twisted.jobs._ledger import Ledger


@pytest.mark.parametrize("seed", range(12))
def test_a_story_has_every_move_that_the_whole_job_has(seed: int) -> None:
    consumes = {task: [task - 1] for task in range(1, 6)}
    job = Job("j", range(8), JobPolicy(retries=seed % 3), consumes=consumes, random=Random(seed).random)
    world = SimulatedFleet(job, seed, Faults(death=0.2, failure=0.1, lost=0.3, redial=0.5))
    world.crashes = seed % 2
    world.always(30.0, lambda: None if world.finished else world.lose_store())
    world.start()
    world.play()
    if world.job.failures:
        world.finished = False
        world.carry_out(world.job.retry(world.now))
    compare(world)


@pytest.mark.parametrize("seed", range(12))
def test_a_story_of_a_graph_has_every_move_too(seed: int) -> None:
    after = exhaust(grouped({3: [0, 1], 4: [0, 1], 5: [3], 6: [4, 5, 2], 7: [0]}))
    policy = JobPolicy(retries=seed % 3, max_workers=2 + seed % 4)
    job = Job("j", range(8), policy, after=after, stages=[("a", [0, 1, 2, 7]), ("b", range(3, 7))])
    world = SimulatedFleet(job, seed, Faults(death=0.2, failure=0.15, redial=0.5))
    world.crashes = seed % 2
    world.start()
    world.play()
    for _ in range(3):
        if world.job.failures:
            world.finished = False
            world.carry_out(world.job.retry(world.now))
            world.later(1.0, world.tick)
            world.play()
    compare(world)


@pytest.mark.parametrize("seed", range(12))
def test_a_story_of_a_gang_has_every_move_too(seed: int) -> None:
    pipes = [(0, 1, "x"), (2, 1, "y"), (5, 4, "x")]
    policy = JobPolicy(retries=seed % 3, max_workers=3 + seed % 4)
    graph: dict[str, Any] = {"after": [((0, 3), (4,))]} if seed % 4 < 2 else {"consumes": {3: [1], 6: [5]}}
    job = Job("j", range(8), policy, pipes=pipes, **graph)
    world = SimulatedFleet(job, seed, Faults(death=0.2, failure=0.1, lost=0.2, redial=0.5))
    world.crashes = seed % 2
    world.start()
    world.play()
    if world.job.failures:
        world.finished = False
        world.carry_out(world.job.retry(world.now))
        world.later(1.0, world.tick)
        world.play()
    compare(world)


def compare(world: SimulatedFleet) -> None:
    records = [record_from_dict(plain) for plain in world.records]
    assert isinstance(records[0], Submitted)
    ledger = Ledger(records[0])
    stories = {task: TaskStory(records[0], task) for task in ledger.tasks}
    for record in records[1:]:
        before = {number: task.state for number, task in ledger.tasks.items()}
        ledger.apply(record)
        for number, task in ledger.tasks.items():
            move = None if task.state is before[number] else (before[number], task.state)
            assert stories[number].apply(record) == move, record
