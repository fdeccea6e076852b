"""--max-cost: a job ends when it has cost so much, before a restart of the coordinator or after it."""

from pathlib import Path
from typing import Any

import pytest
from memory_jobs import MemoryCoordinator

from mu_twisted.coordinator import Opened, Usage
from mu_twisted.pipelines import Pipeline
from mu_twisted.statuses import Cost


class DearCoordinator(MemoryCoordinator):
    """A second of a worker costs a dollar."""

    price: float | None = 1.0

    def cost(self, usage: Usage) -> Cost:
        price = None if self.price is None else usage.seconds * self.price
        return Cost(usage.requests, usage.seconds, usage.seconds, price, "USD")

    async def open(self, name: str, pipeline: Pipeline, settings: Any, edges: Any) -> Opened:
        return Opened(self.launches, cost=self.cost)

    def reopen(self, name: str, pipeline: Pipeline, settings: Any, edges: Any) -> Opened:
        return Opened(self.launches, cost=self.cost)

    def pass_seconds(self, seconds: int) -> None:
        self.clock.pump([1.0] * seconds)


@pytest.fixture
def world(tmp_path: Path) -> Any:
    world = DearCoordinator(tmp_path)
    yield world
    world.journal.close()


def test_a_job_ends_that_has_cost_more_than_it_may(world: DearCoordinator) -> None:
    job = world.submit("-n", "2", "--max-cost", "5")
    worker = world.worker(job, "0-0")
    world.pass_seconds(4)
    assert world.jobs.job(job).state == "running"
    world.pass_seconds(2)
    fact = world.jobs.job(job)
    assert fact.state == "failed"
    assert str(fact.error).startswith("halted: it has cost 5 USD, and --max-cost allows 5")
    assert worker.closed or b"quit:" in worker.takes()


def test_what_was_spent_before_a_restart_counts(world: DearCoordinator) -> None:
    job = world.submit("-n", "2", "--max-cost", "5")
    worker = world.worker(job, "0-0")
    world.pass_seconds(4)
    worker.says(b"OK:ECHO(hi)")
    world.killed_and_started_again()
    world.worker(job, "0-1")
    world.pass_seconds(2)
    assert str(world.jobs.job(job).error).startswith("halted: it has cost ")


def test_where_no_limit_is_set_or_no_price_known_nothing_ends(world: DearCoordinator) -> None:
    free = world.submit("-n", "1")
    world.worker(free, "0-0")
    world.pass_seconds(20)
    assert world.jobs.job(free).state == "running"
    world.price = None
    unknown = world.submit("-n", "1", "--max-cost", "0.1")
    world.worker(unknown, "0-0")
    world.pass_seconds(20)
    assert world.jobs.job(unknown).state == "running"
