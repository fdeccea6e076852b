"""How the launches of all jobs are let go: together, in turn, and whatever goes wrong with one of them."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from memory_jobs import Launches, MemoryCoordinator
from twisted.internet.defer import Deferred, fail
from twisted.logger import globalLogPublisher
from worker_double import WorkerDouble

from mu_twisted.base import MuError
from mu_twisted.jobs import LaunchOutcome


class Counted(Launches):
    """Notes how many launches each call brings; where it is broken, none can be sent."""

    def __init__(self) -> None:
        super().__init__()
        self.slow = True
        self.broken = False
        self.calls: list[int] = []

    def start(self, launch_ids: Sequence[str], on_outcome: Callable[[LaunchOutcome], None]) -> Deferred[None]:
        self.calls.append(len(launch_ids))
        if self.broken:
            return fail(MuError("no route to Lambda"))
        return super().start(launch_ids, on_outcome)

    def all_are_taken(self) -> None:
        takes, self.takes = self.takes, []
        for take in takes:
            take()


@pytest.fixture
def world(tmp_path: Path) -> Iterator[MemoryCoordinator]:
    world = MemoryCoordinator(tmp_path)
    world.launches = Counted()
    yield world
    world.journal.close()


def counted(world: MemoryCoordinator) -> Counted:
    assert isinstance(world.launches, Counted)
    return world.launches


def test_what_the_outcomes_of_one_turn_make_room_for_is_sent_together(world: MemoryCoordinator) -> None:
    job = world.submit("-n", "2500")
    launches = counted(world)
    assert launches.calls == [1000]
    launches.all_are_taken()
    assert launches.calls == [1000]
    world.turn()
    assert launches.calls == [1000, 1000]
    launches.all_are_taken()
    world.turn()
    assert launches.calls == [1000, 1000, 500]
    assert world.jobs.job(job).launches == 2500


def test_a_job_that_ends_because_nothing_can_be_sent_sends_nothing_more(world: MemoryCoordinator) -> None:
    launches = counted(world)
    launches.broken = True
    job = world.submit("-n", "2500")
    world.clock.pump([1.0] * 3)
    fact = world.jobs.job(job)
    assert (fact.state, fact.error) == ("failed", "no route to Lambda")
    assert launches.calls == [1000]


def test_launches_and_attempts_are_counted_by_what_they_came_to(world: MemoryCoordinator) -> None:
    launches = counted(world)
    job = world.submit("-n", "3", "--retries", "0")
    assert world.jobs.counts().launches == {}
    launches.all_are_taken()
    world.worker(job, "0-0").says(b"OK:ECHO(hi)")
    world.worker(job, "0-1").says(b"FAIL(no)")
    world.worker(job, "0-2")
    world.clock.pump([1.0] * 2)
    found = world.jobs.counts()
    assert found.launches == {"accepted": 3}
    assert found.attempts == {"done": 1, "failed": 1}
    assert (found.handshakes, found.messages) == (3, 5)  # each has greeted
    assert found.workers["working"] == 1
    world.jobs.cancel(job)
    launches.broken = True
    world.submit("-n", "2")
    world.clock.pump([1.0] * 3)
    found = world.jobs.counts()
    assert found.launches == {"accepted": 3, "failed": 2}
    assert found.attempts["withdrawn"] == 1


def test_launches_that_were_never_sent_are_counted_as_cancelled(world: MemoryCoordinator) -> None:
    job = world.submit("-n", "2500")
    world.jobs.cancel(job)
    world.clock.pump([1.0] * 3)
    assert world.jobs.counts().launches == {"cancelled": 1500}


def test_a_job_that_cannot_be_given_its_share_costs_no_other_its_own(
    world: MemoryCoordinator, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[dict[str, Any]] = []
    globalLogPublisher.addObserver(told.append)  # type: ignore[arg-type]
    try:
        jobs = [world.submit("-n", "2"), world.submit("-n", "2")]
        shares: dict[str, int] = dict.fromkeys(jobs, 0)
        for job in jobs:
            run = world.jobs._active_jobs.run(job)

            def allow(workers: int | None, job: str = job) -> None:
                shares[job] += 1
                if job == jobs[0]:
                    raise ZeroDivisionError

            monkeypatch.setattr(run, "allow_workers", allow)
        world.clock.pump([1.0] * 3)
    finally:
        globalLogPublisher.removeObserver(told.append)
    assert shares == dict.fromkeys(jobs, 3)
    assert len([event for event in told if "cannot be given its share" in str(event.get("log_format"))]) == 3


def test_one_that_cannot_be_dropped_keeps_no_other_that_never_greets(
    world: MemoryCoordinator, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.registry.open()

    def breaks() -> None:
        raise ZeroDivisionError

    first = WorkerDouble(world.registry.new_session(), None, world.turn)
    monkeypatch.setattr(first, "abort", breaks)
    second = WorkerDouble(world.registry.new_session(), None, world.turn)
    world.clock.pump([1.0] * 31)
    third = WorkerDouble(world.registry.new_session(), None, world.turn)
    world.clock.pump([1.0] * 31)
    assert [worker.closed for worker in (first, second, third)] == [False, True, True]
