"""The pool of environments, on a fake clock, with environments that are only remembered."""

from __future__ import annotations

from typing import Any

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from mu_twisted.local import ApiError
from mu_twisted.local._functions import Function
from mu_twisted.local.environments._environment import Environment
from mu_twisted.local.environments.invocation import Invocation, InvocationResult
from mu_twisted.local.environments.pool import EnvironmentPool, PoolLimits


class FakeOutput:
    def __init__(self) -> None:
        self.text = b""

    def drain(self) -> None:
        return

    def tail(self) -> bytes:
        return self.text

    def clear(self) -> None:
        self.text = b""

    def close(self) -> None:
        return


class FakeHost:
    def __init__(self) -> None:
        self.made: list[Environment] = []
        self.killed: list[Environment] = []
        self.cleared: list[Environment] = []
        self.output = FakeOutput()
        self.preparing: Deferred[None] | None = None
        self.refusal: OSError | None = None

    def prepared(self, function: Function) -> bool:
        return self.preparing is None

    def prepare(self, function: Function) -> Deferred[None]:
        assert self.preparing is not None
        return self.preparing

    def peak(self, environment: Environment) -> int | None:
        return None

    def make(self, environment: Environment) -> FakeOutput:
        if self.refusal is not None:
            raise self.refusal
        self.made.append(environment)
        return self.output

    def kill(self, environment: Environment) -> None:
        self.killed.append(environment)

    def clear(self, environment: Environment) -> None:
        self.cleared.append(environment)


class FakePoll:
    def __init__(self) -> None:
        self.delivered: list[tuple[Invocation, int]] = []

    def deliver(self, invocation: Invocation, deadline_ms: int) -> None:
        self.delivered.append((invocation, deadline_ms))


class PoolHarness:
    def __init__(self, **limits: Any) -> None:
        self.clock = Clock()
        self.host = FakeHost()
        self.freed = 0
        self.pool = EnvironmentPool(self.clock, lambda: 1000.0, self.host, PoolLimits(**limits), self._on_freed)
        self.results: list[InvocationResult] = []
        self._count = 0

    def _on_freed(self) -> None:
        self.freed += 1

    def invoke(self, name: str = "f", revision: str = "1") -> Invocation:
        self._count += 1
        function = Function(name, "m.h", "python3.12", "r", "c", 1, timeout=3, revision=revision)
        invocation = Invocation(str(self._count), b"{}", "arn")
        self.pool.invoke(function, invocation).addCallback(self.results.append)
        return invocation

    def serve(self, environment: Environment, invocation: Invocation) -> None:
        """Poll, answer, poll."""
        environment.polled(FakePoll())
        assert environment.responded(invocation.request_id, b"1", None)
        environment.polled(FakePoll())


def test_a_first_invocation_makes_an_environment_with_its_deadline_at_the_poll() -> None:
    world = PoolHarness()
    invocation = world.invoke()
    world.clock.advance(2.0)
    poll = FakePoll()
    world.host.made[0].polled(poll)
    assert poll.delivered == [(invocation, 1003000)]


def test_an_environment_is_used_again_once_it_has_asked_for_more() -> None:
    world = PoolHarness()
    world.serve((world.invoke(), world.host.made[0])[1], Invocation("1", b"", ""))
    second = world.invoke()
    assert len(world.host.made) == 1
    assert world.results[0].payload == b"1"
    assert world.host.made[0].responded(second.request_id, b"2", None)


def test_a_busy_environment_is_not_shared() -> None:
    world = PoolHarness()
    world.invoke()
    world.invoke()
    assert len(world.host.made) == 2


def test_another_functions_or_an_old_revisions_environment_is_not_used() -> None:
    world = PoolHarness()
    world.serve((world.invoke(), world.host.made[0])[1], Invocation("1", b"", ""))
    world.invoke("g")
    world.invoke("f", "2")
    assert len(world.host.made) == 3


def test_a_changed_functions_environments_end_at_once_or_after_their_work() -> None:
    world = PoolHarness()
    world.serve((world.invoke(), world.host.made[0])[1], Invocation("1", b"", ""))
    busy = world.invoke()
    idle = world.invoke()
    assert len(world.host.made) == 2
    world.serve(world.host.made[1], idle)
    world.pool.retire_stale("f", "2")
    assert world.host.killed == [world.host.made[1]]
    world.host.made[0].responded(busy.request_id, b"", None)
    world.host.made[0].polled(FakePoll())
    assert world.host.killed == [world.host.made[1], world.host.made[0]]


def test_an_idle_environment_ends_after_a_while() -> None:
    world = PoolHarness(idle=5.0)
    world.serve((world.invoke(), world.host.made[0])[1], Invocation("1", b"", ""))
    world.clock.advance(4.9)
    assert not world.host.killed
    world.clock.advance(0.2)
    assert world.host.killed == world.host.made


def test_the_time_limit_runs_from_the_poll_and_ends_the_environment() -> None:
    world = PoolHarness()
    world.invoke()
    environment = world.host.made[0]
    world.clock.advance(5.0)
    environment.polled(FakePoll())
    world.clock.advance(2.9)
    assert not world.host.killed
    world.clock.advance(0.2)
    assert world.host.killed == [environment]
    environment.gone()
    assert b"Task timed out after 3.00 seconds" in world.results[0].payload
    assert world.results[0].error == "Unhandled"
    assert b"Task timed out" in world.results[0].log
    assert len(world.pool) == 0


def test_an_environment_that_never_polls_is_given_ten_seconds_more() -> None:
    world = PoolHarness()
    world.invoke()
    world.clock.advance(12.9)
    assert not world.host.killed
    world.clock.advance(0.2)
    assert world.host.killed


@pytest.mark.parametrize(
    ("status", "said"), [(3, b"exit status 3"), (0, b"without providing a reason"), (-9, b"signal: killed")]
)
def test_a_runtime_that_ends_in_mid_invocation_is_an_exit_error(status: int, said: bytes) -> None:
    world = PoolHarness()
    world.invoke()
    world.host.made[0].polled(FakePoll())
    world.host.made[0].ended(status, "")
    assert said in world.results[0].payload
    assert b"Runtime.ExitError" in world.results[0].payload


def test_an_init_error_is_the_answer_and_the_environment_goes() -> None:
    world = PoolHarness()
    world.invoke()
    world.host.made[0].init_failed(b'{"errorType":"Runtime.ImportModuleError"}')
    world.host.made[0].ended(1, "")
    assert world.results[0].payload == b'{"errorType":"Runtime.ImportModuleError"}'
    assert world.host.killed


def test_an_answer_to_another_invocation_is_not_taken() -> None:
    world = PoolHarness()
    world.invoke()
    world.host.made[0].polled(FakePoll())
    assert not world.host.made[0].responded("other", b"", None)
    assert not world.results


def test_a_response_over_six_megabytes_is_an_error() -> None:
    world = PoolHarness()
    invocation = world.invoke()
    world.host.made[0].polled(FakePoll())
    world.host.made[0].responded(invocation.request_id, b"x" * (7 << 20), None)
    world.host.made[0].polled(FakePoll())
    assert b"ResponseSizeTooLarge" in world.results[0].payload


def test_over_the_limit_an_invocation_is_throttled_with_its_reason() -> None:
    world = PoolHarness(concurrency=2)
    world.invoke()
    world.invoke()
    with pytest.raises(ApiError) as caught:
        world.invoke()
    assert (caught.value.status, caught.value.details) == (429, {"Reason": "ConcurrentInvocationLimitExceeded"})
    world.pool.reserve("g", 0)
    with pytest.raises(ApiError) as caught:
        world.invoke("g")
    assert caught.value.details == {"Reason": "ReservedFunctionConcurrentInvocationLimitExceeded"}


def test_reserved_concurrency_is_kept_from_others() -> None:
    world = PoolHarness(concurrency=2)
    world.pool.reserve("g", 1)
    world.invoke()
    assert world.pool.refusal("f") == "ConcurrentInvocationLimitExceeded"
    assert world.pool.refusal("g") is None


def test_the_log_tail_is_the_last_four_kilobytes_and_ends_with_the_report() -> None:
    world = PoolHarness()
    invocation = world.invoke()
    environment = world.host.made[0]
    environment.polled(FakePoll())
    world.host.output.text = b"y" * 4096
    environment.responded(invocation.request_id, b"", None)
    environment.polled(FakePoll())
    assert len(world.results[0].log) == 4096
    assert b"REPORT RequestId: 1\t" in world.results[0].log


def test_an_end_of_everything_answers_all_and_room_is_told() -> None:
    world = PoolHarness()
    world.invoke()
    world.invoke()
    world.pool.lost()
    assert [b"signal: killed" in result.payload for result in world.results] == [True, True]
    world.clock.advance(0)
    assert world.freed == 2
    assert len(world.host.cleared) == 2


def test_code_that_is_not_unpacked_yet_is_waited_for() -> None:
    world = PoolHarness()
    world.host.preparing = Deferred()
    world.invoke()
    assert not world.host.made
    world.host.preparing.callback(None)
    assert len(world.host.made) == 1


def test_code_that_cannot_be_unpacked_fails_the_invocation() -> None:
    world = PoolHarness()
    world.host.preparing = Deferred()
    world.invoke()
    world.host.preparing.errback(OSError("disk full"))
    assert b"disk full" in world.results[0].payload
    assert len(world.pool) == 0


@pytest.mark.parametrize("preparing", [False, True])
def test_an_environment_that_the_host_refuses_fails_and_takes_no_room(preparing: bool) -> None:
    world = PoolHarness(concurrency=1)
    world.host.refusal = OSError(24, "Too many open files")
    world.host.preparing = Deferred() if preparing else None
    world.invoke()
    if world.host.preparing is not None:
        world.host.preparing.callback(None)
    assert b"Too many open files" in world.results[0].payload
    assert (world.results[0].error, len(world.pool), len(world.host.cleared)) == ("Unhandled", 0, 1)
    world.host.refusal = world.host.preparing = None
    world.clock.advance(0)
    world.invoke()
    assert len(world.host.made) == 1


def test_nothing_more_is_taken_at_the_end() -> None:
    world = PoolHarness()
    world.pool.stop()
    with pytest.raises(ApiError) as caught:
        world.invoke()
    assert caught.value.status == 503
    assert not world.host.made
