"""What fails while a job runs, and how little of it ends: launches, looks at the clock, single actions."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pytest
from job_bench import Bench
from memory_jobs import MemoryCoordinator
from twisted.internet.defer import Deferred, fail
from twisted.logger import globalLogPublisher
from worker_double import ours

from mu_twisted.base import MuError
from mu_twisted.coordinator import Peers, diagnosis
from mu_twisted.jobs import LaunchOutcome
from mu_twisted.tls import KeyPair

PEM = b"-----BEGIN CERTIFICATE-----\nQUJD\n-----END CERTIFICATE-----\n"


@pytest.fixture
def failures() -> Iterator[list[str]]:
    """What is logged as a failure meanwhile."""
    found: list[str] = []

    def observe(event: Any) -> None:
        if event.get("log_failure") is not None:
            found.append(event["log_failure"].getErrorMessage())

    globalLogPublisher.addObserver(observe)
    yield found
    globalLogPublisher.removeObserver(observe)


# -- launches --------------------------------------------------------------------------------------------------------


class Unreachable:
    """In the place of a job's launches: Lambda cannot be asked, for some calls."""

    def __init__(self, launches: Any, times: int) -> None:
        self.launches = launches
        self.times = times

    def __getattr__(self, name: str) -> Any:
        return getattr(self.launches, name)

    def start(self, launch_ids: Sequence[str], on_outcome: Callable[[LaunchOutcome], None]) -> Deferred[None]:
        if self.times:
            self.times -= 1
            return fail(MuError("cannot reach Lambda in us-east-1"))
        return self.launches.start(launch_ids, on_outcome)  # type: ignore[no-any-return]


def test_a_look_that_fails_after_a_restart_ends_no_job_whose_workers_have_come(world: MemoryCoordinator) -> None:
    job = world.submit("-n", "4")
    for number in range(2):
        world.worker(job, f"0-{number}")
    world.killed_and_started_again()
    _, queue = world.jobs.launch_queue._jobs[job]
    queue._launching = Unreachable(world.launches, 3)  # type: ignore[assignment]
    back = world.worker(job, "0-0")
    back.says(b"OK:KILL(0)", ours(f"{job}/0-0"))
    world.clock.pump([1.0] * 60)
    back.says(b"OK:PONG()")
    fact = world.jobs.job(job)
    assert (fact.state, fact.error) == ("running", None)
    assert len(world.launches.submission) >= 3


def test_launches_that_fail_later_are_refused_ones_and_are_tried_again() -> None:
    bench = Bench(2, start_retries=4)
    bench.worker().says(ours("0-0"))
    bench.cannot_launch = MuError("no route to host")
    bench.clock.pump([1.0] * 8)
    assert bench.run.job.error is None
    submission = len(bench.launched)
    bench.cannot_launch = None
    bench.clock.pump([1.0] * 20)
    assert len(bench.launched) > submission
    assert not bench.run.job.over


def test_a_diagnosis_ends_no_job_for_which_a_worker_came_meanwhile(world: MemoryCoordinator) -> None:
    diagnosed: Deferred[str] = Deferred()

    async def diagnose() -> str:
        return await diagnosed

    world.launches.diagnose = diagnose  # type: ignore[method-assign]
    job = world.submit("-n", "2", "--start-timeout", "5")
    world.clock.pump([1.0] * 7)
    worker = world.worker(job, "0-0")
    worker.says(b"OK:ECHO(hi)")
    worker.abort()
    world.turn()
    assert world.jobs.job(job).workers == 0
    diagnosed.callback("no worker reached us")
    world.turn()
    fact = world.jobs.job(job)
    assert (fact.state, fact.done) == ("running", 1)
    world.clock.pump([1.0] * 5)
    world.finish(job, world.launches.submission[-1])
    assert world.jobs.job(job).state == "done"


def test_a_newer_worker_is_refused_alone_where_others_could_be_served() -> None:
    bench = Bench(2)
    good, newer = bench.worker(), bench.worker()
    good.says(ours("0-0"))
    newer.says(ours("0-1", version=99))
    assert newer.takes() == [b"quit:"]
    assert bench.run.job.error is None
    bench.clock.pump([1.0] * 3)
    assert bench.launched == ["0-0", "0-1", "0-2"]
    good.says(b"OK:ECHO(hi)")
    bench.worker().says(ours("0-2"))
    assert bench.run.counts.active + bench.run.counts.done == 2


def test_a_diagnosis_hands_no_control_characters_on() -> None:
    text = diagnosis(
        address="h", port=1, function="fn", timeout=1.0, error="\x1b[2Jx", result="", log_tail="\x1b]0;mine\x07\ttab"
    )
    assert "\x1b" not in text
    assert "\x07" not in text
    assert "\ttab" in text
    assert len(text.splitlines()) == 4


# -- faults of our own -----------------------------------------------------------------------------------------------


def raising(times: int, then: Callable[..., Any]) -> Callable[..., Any]:
    """A function that fails so often and then does what it should."""
    left = [times]

    def call(*given: Any, **more: Any) -> Any:
        if left[0]:
            left[0] -= 1
            raise RuntimeError("a slip")
        return then(*given, **more)

    return call


def test_an_attempt_that_cannot_begin_costs_its_worker_and_is_tried_again(failures: list[str]) -> None:
    peers = Peers("j", ["h:1"], raising(1, lambda _: KeyPair(PEM, PEM)))
    bench = Bench(1, peers=peers, retries=1, retry_delay=0.0, start_retries=4)
    worker = bench.worker()
    worker.says(ours("0-0"))
    assert worker.closed
    assert failures == ["a slip"]
    bench.clock.pump([1.0] * 3)
    again = bench.worker()
    again.says(ours(bench.launched[-1]))
    assert again.takes() == [b"identity:QUJD QUJD", b"echo:hi"]
    again.says(b"OK:ECHO(hi)")
    assert bench.finished == [None]
    assert bench.run.job.error is None


def test_an_attempt_that_can_never_begin_fails_its_task_and_says_why(failures: list[str]) -> None:
    bench = Bench(1, peers=Peers("j", ["h:1"], raising(9, lambda _: None)))
    bench.worker().says(ours("0-0"))
    assert bench.finished == [None]
    assert "a fault of the coordinator itself, its log has more: RuntimeError: a slip" in bench.run.job.failures[0]
    assert failures == ["a slip"]


def test_a_ping_that_fails_costs_one_worker_and_the_clock_is_looked_at_as_before(failures: list[str]) -> None:
    bench = Bench(2, retries=1)
    workers = [bench.worker(), bench.worker()]
    for number, worker in enumerate(workers):
        worker.says(ours(f"0-{number}"))
        worker.takes()
    workers[0].send = raising(1, workers[0].send)  # type: ignore[method-assign]
    bench.clock.pump([1.0] * 15)
    assert failures == ["a slip"]
    assert [worker.closed for worker in workers] == [True, False]
    assert b"ping:" in workers[1].takes()
    bench.clock.pump([1.0] * 45)
    assert workers[1].closed


def test_a_look_at_the_clock_that_fails_ends_its_job_and_no_other(
    world: MemoryCoordinator, failures: list[str]
) -> None:
    job, other = world.submit(), world.submit("--start-timeout", "90")
    run = world.jobs._active_jobs.run(job)
    run.job.time_passed = raising(1, run.job.time_passed)  # type: ignore[method-assign]
    world.clock.pump([1.0] * 2)
    fact = world.jobs.job(job)
    assert fact.state == "failed"
    assert "a fault of the coordinator itself" in (fact.error or "")
    assert failures == ["a slip"]
    assert world.jobs.job(other).state == "running"


def test_where_not_even_that_can_be_decided_the_job_can_still_be_cancelled(
    world: MemoryCoordinator, failures: list[str]
) -> None:
    job = world.submit()
    run = world.jobs._active_jobs.run(job)
    run.job.time_passed = raising(99, run.job.time_passed)  # type: ignore[method-assign]
    run.job.abort = raising(3, run.job.abort)  # type: ignore[method-assign]
    world.clock.pump([1.0] * 2)
    assert world.jobs.job(job).state == "running"
    assert len(failures) == 4
    world.jobs.cancel(job)
    world.turn()
    assert world.jobs.job(job).state == "cancelled"


def test_a_job_that_cannot_be_stopped_in_good_order_keeps_no_other_from_it(
    world: MemoryCoordinator, failures: list[str]
) -> None:
    first, second = world.submit(), world.submit()
    worker = world.worker(second, "0-0")
    run = world.jobs._active_jobs.run(first)
    run.job.stop = raising(1, run.job.stop)  # type: ignore[method-assign]
    world.jobs.stop()
    assert worker.takes()[-1] == b"quit:"
    assert failures == ["a slip"]
