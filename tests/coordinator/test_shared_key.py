"""Several jobs at once whose workers have the original's shared key, which names none of them."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from memory_jobs import MemoryCoordinator
from worker_double import WorkerDouble, ours


@pytest.fixture
def world(tmp_path: Path) -> Iterator[MemoryCoordinator]:
    world = MemoryCoordinator(tmp_path, shared_key=True)
    yield world
    world.journal.close()


def comes(world: MemoryCoordinator, greeting: bytes = b"OK:HELLO") -> WorkerDouble:
    worker = WorkerDouble(world.registry.new_session(), None, world.turn)
    worker.says(greeting)
    return worker


def test_workers_that_name_no_job_are_shared_among_those_that_lack_some(world: MemoryCoordinator) -> None:
    jobs = [world.submit("-n", "4"), world.submit("-n", "2"), world.submit("-n", "2")]
    for _ in range(3):
        comes(world)
    assert [world.jobs.job(job).active for job in jobs] == [1, 1, 1]
    workers = [comes(world) for _ in range(5)]
    assert [world.jobs.job(job).active for job in jobs] == [4, 2, 2]
    assert [worker.takes() for worker in workers] == [[b"echo:hi"]] * 5


def test_a_spare_goes_to_the_job_that_has_asked_for_it(world: MemoryCoordinator) -> None:
    one = world.submit("-n", "1")
    other = world.submit("-n", "2", "--overprovision", "1")
    for _ in range(4):
        comes(world)
    assert (world.jobs.job(one).workers, world.jobs.job(other).workers) == (1, 3)


def test_a_worker_whose_launch_id_names_a_job_goes_to_that_job(world: MemoryCoordinator) -> None:
    first, second = world.submit("-n", "2"), world.submit("-n", "2")
    comes(world, ours(f"{second}/0-0"))
    comes(world, ours(f"{second}/0-1"))
    assert (world.jobs.job(first).active, world.jobs.job(second).active) == (0, 2)
    assert comes(world, ours("gone/0-0")).takes() == [b"quit:"]


def test_a_job_that_may_have_no_more_workers_gets_none(tmp_path: Path) -> None:
    world = MemoryCoordinator(tmp_path, workers=3, shared_key=True)
    first = world.submit("-n", "1")
    second = world.submit("-n", "9")
    world.clock.advance(1.0)
    for _ in range(3):
        comes(world)
    assert (world.jobs.job(first).workers, world.jobs.job(second).workers) == (1, 2)
    world.journal.close()
