"""How much a job has used: workers' times added up, also over restarts of the coordinator."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from memory_jobs import MemoryCoordinator
from worker_double import WorkerDouble, launch_identity

from mu_twisted.coordinator import Meter, Opened, Usage
from mu_twisted.coordinator._meter import MAX_INIT, MAX_OUTCOMES
from mu_twisted.pipelines import Pipeline
from mu_twisted.statuses import Cost
from mu_twisted.wire import VERSION, Greeting


def greeting(left: float, **more: Any) -> Greeting:
    return Greeting(version=VERSION, launch_id="j/0-0", deadline_ms=int(left * 1000), memory_mb=1536, **more)


def test_a_worker_counts_from_its_functions_start_to_the_end_of_its_connection() -> None:
    meter = Meter()
    meter.launched()
    meter.worker_greeted(1, greeting(59.5), 100.0)
    assert meter.usage(103.0) == Usage(1, 3.0, 1, 59.5, 1536)
    meter.worker_left(1, 104.0)
    usage = meter.usage(200.0)
    assert usage.seconds == 4.0
    assert usage.billed(60.0) == 4.5
    assert usage.billed(None) == 4.0


def test_a_warm_worker_counts_once_and_one_that_is_back_does_not_begin_anew() -> None:
    meter = Meter()
    meter.worker_greeted(1, greeting(59.0), 0.0)
    meter.worker_greeted(1, greeting(40.0), 19.0)
    meter.worker_left(1, 20.0)
    meter.worker_left(1, 30.0)
    meter.worker_greeted(2, greeting(30.0, redial=True), 30.0)
    meter.worker_left(2, 35.0)
    usage = meter.usage(99.0)
    assert (usage.seconds, usage.greeted, usage.billed(60.0)) == (25.0, 1, 26.0)


def test_time_before_a_first_invocation_counts_once_and_within_reason() -> None:
    meter = Meter()
    meter.worker_greeted(1, greeting(60.0, init_ms=1500), 0.0)
    meter.worker_greeted(1, greeting(50.0, init_ms=1500), 10.0)  # cleared for another task
    meter.worker_left(1, 20.0)
    meter.worker_greeted(2, greeting(30.0, init_ms=1500, redial=True), 30.0)
    meter.worker_left(2, 40.0)
    usage = meter.usage(40.0)
    assert (usage.init, usage.billed(60.0), usage.billed(None)) == (1.5, 31.5, 31.5)
    for worker, told in enumerate((-5, 10**12), 3):
        meter.worker_greeted(worker, greeting(60.0, init_ms=told), 40.0)
    assert meter.usage(40.0).init == 1.5 + MAX_INIT
    assert Meter(usage).usage(0.0).init == 1.5


def test_the_ramp_ends_with_the_worker_that_makes_them_the_most() -> None:
    meter = Meter(None, 100.0)
    assert meter.usage(100.0).ramp == 0.0
    for worker, (at, init_ms) in enumerate([(101.0, 0), (101.5, 200), (102.25, 250)]):
        meter.worker_greeted(worker, greeting(60.0, init_ms=init_ms), at)
    assert meter.usage(103.0).ramp == 2.0
    meter.worker_left(0, 110.0)
    meter.worker_greeted(7, greeting(60.0), 120.0)  # in place of one that has left
    meter.worker_greeted(7, greeting(50.0), 125.0)  # cleared for another task
    usage = meter.usage(130.0)
    assert usage.ramp == 2.0
    meter.worker_greeted(8, greeting(60.0), 131.0)
    assert meter.usage(131.0).ramp == 31.0
    again = Meter(usage)  # of a job whose failed tasks are tried again
    again.worker_greeted(1, greeting(60.0), 5000.0)
    assert again.usage(5001.0).ramp == 2.0


def test_a_worker_that_says_nothing_of_its_time_counts_as_long_as_it_is_there() -> None:
    meter = Meter()
    meter.worker_greeted(1, Greeting(), 0.0)
    assert meter.usage(7.0).billed(60.0) == 7.0


def test_a_function_whose_time_was_changed_meanwhile_gives_no_negative_times() -> None:
    assert Usage(1, 5.0, 1, 900.0, 1536).billed(60.0) == 5.0


@given(visits=st.lists(st.tuples(st.integers(0, 5), st.booleans(), st.floats(0.0, 1e5)), min_size=1, max_size=40))
def test_in_whatever_order_workers_come_and_go_the_times_add_up(visits: list[tuple[int, bool, float]]) -> None:
    meter, now, there, used = Meter(), 1e6, {}, 0.0
    for worker, comes, pause in visits:
        now += pause
        if comes:
            meter.worker_greeted(worker, Greeting(), now)
            there.setdefault(worker, now)
        else:
            meter.worker_left(worker, now)
            used += now - there.pop(worker, now)
        so_far = used + sum(now - since for since in there.values())
        assert meter.usage(now).seconds == pytest.approx(so_far, abs=0.002)


def test_what_was_used_before_is_gone_on_with() -> None:
    meter = Meter(Usage(3, 10.0, 2, 100.0, 512))
    meter.launched()
    meter.worker_greeted(1, greeting(50.0), 0.0)
    assert meter.usage(1.0) == Usage(4, 11.0, 3, 150.0, 1536)


class PricedCoordinator(MemoryCoordinator):
    async def open(self, name: str, pipeline: Pipeline, settings: Any, edges: Any) -> Opened:
        return Opened(self.launches, cost=self.cost)

    def reopen(self, name: str, pipeline: Pipeline, settings: Any, edges: Any) -> Opened:
        return Opened(self.launches, cost=self.cost)

    @staticmethod
    def cost(usage: Usage) -> Cost:
        return Cost(usage.requests, usage.billed(60.0), usage.billed(60.0) * usage.memory_mb / 1024)

    def come(self, job: str, launch_id: str) -> WorkerDouble:
        worker = WorkerDouble(self.registry.new_session(), launch_identity(job), self.turn)
        worker.says(Greeting(VERSION, f"{job}/{launch_id}", 59_500, 2048).encode())
        return worker


@pytest.fixture
def world(tmp_path: Path) -> Iterator[PricedCoordinator]:
    world = PricedCoordinator(tmp_path)
    yield world
    world.journal.close()


def test_a_jobs_record_says_what_it_has_cost_and_keeps_it(world: PricedCoordinator) -> None:
    job = world.submit("-n", "2")
    assert world.jobs.job(job).cost == Cost(2, 0.0, 0.0)
    first, second = world.come(job, "0-0"), world.come(job, "0-1")
    world.clock.advance(3)
    assert world.jobs.job(job).cost == Cost(2, 7.0, 14.0)
    for worker in (first, second):
        worker.says(b"OK:ECHO(hi)")
    fact = world.jobs.job(job)
    assert (fact.state, fact.cost) == ("done", Cost(2, 7.0, 14.0))
    world.killed_and_started_again()
    assert world.jobs.job(job).cost == Cost(2, 7.0, 14.0)


def test_a_restart_in_the_middle_goes_on_with_what_was_used(world: PricedCoordinator) -> None:
    job = world.submit("-n", "2")
    first, _ = world.come(job, "0-0"), world.come(job, "0-1")
    world.clock.advance(3)
    first.says(b"OK:ECHO(hi)")
    world.killed_and_started_again()
    cost = world.jobs.job(job).cost
    assert cost is not None
    assert (cost.requests, cost.seconds) == (2, 7.0)


def test_where_prices_are_unknown_nothing_is_said(tmp_path: Path) -> None:
    world = MemoryCoordinator(tmp_path)
    try:
        assert world.jobs.job(world.submit("-n", "1")).cost is None
    finally:
        world.journal.close()


def test_only_so_many_outcomes_of_paths_are_told_apart_and_known_ones_go_on() -> None:
    meter = Meter(Usage(paths={"direct": 3}))
    meter.paths_known(f"odd {number}" for number in range(10_000))
    meter.paths_known(["direct", "odd 0", "odd 9999"])
    paths = meter.usage(0.0).paths
    assert len(paths) == MAX_OUTCOMES
    assert (paths["direct"], paths["odd 0"]) == (4, 2)
    assert "odd 9999" not in paths
