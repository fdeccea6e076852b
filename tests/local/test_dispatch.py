"""Events from their arrival to their last try, on a fake clock: queue, dispatcher and pool together."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from twisted.internet.task import Clock

from mu_twisted.local._dispatch import Dispatcher
from mu_twisted.local._events import EventQueue
from mu_twisted.local._functions import Function, FunctionStore
from mu_twisted.local.environments._environment import Environment
from mu_twisted.local.environments.invocation import Invocation
from mu_twisted.local.environments.pool import EnvironmentPool, PoolLimits

ROLE = "arn:aws:iam::000000000000:role/any"


class Silence:
    def drain(self) -> None:
        return

    def tail(self) -> bytes:
        return b""

    def clear(self) -> None:
        return

    def close(self) -> None:
        return


class DispatchHarness:
    """A host whose environments ask for work at once, and end when the test says so."""

    def __init__(self, directory: Path, package: Any, **policy: int) -> None:
        self.clock = Clock()
        self.runs: list[tuple[float, str]] = []
        self.under_way: list[tuple[Environment, Invocation]] = []
        self.pool = EnvironmentPool(self.clock, self.clock.seconds, self, PoolLimits(), lambda: self.dispatcher.run())
        self.store = FunctionStore(directory)
        request = {"FunctionName": "f", "Runtime": "python3.12", "Role": ROLE, "Handler": "m.h", "Timeout": 900}
        self.function = self.store.create(request, "us-east-1", package(m=""))
        if policy:
            self.function = self.store.set_event_policy(self.function, policy, keep=False)
        self.dispatcher = Dispatcher(self.clock, EventQueue(60.0), self.store, self.pool, "us-east-1")

    def prepared(self, function: Function) -> bool:
        return True

    def prepare(self, function: Function) -> Any:
        raise AssertionError

    def peak(self, environment: Environment) -> int | None:
        return None

    def make(self, environment: Environment) -> Silence:
        self.clock.callLater(0, environment.polled, Poll(self, environment))
        return Silence()

    def kill(self, environment: Environment) -> None:
        environment.gone()

    def clear(self, environment: Environment) -> None:
        return

    def send(self, *names: str) -> None:
        for name in names:
            assert self.dispatcher.enqueue(self.function, name, b"{}")
        self.clock.advance(0)

    def end(self, error: str | None = None) -> None:
        """The first run under way ends."""
        environment, invocation = self.under_way.pop(0)
        assert environment.responded(invocation.request_id, b"", error)
        environment.polled(Poll(self, environment))
        self.clock.advance(0)
        self.clock.advance(0)

    def reserve(self, concurrency: int | None) -> None:
        self.pool.reserve("f", concurrency)
        self.dispatcher.run()
        self.clock.advance(0)


class Poll:
    def __init__(self, world: DispatchHarness, environment: Environment) -> None:
        self._world = world
        self._environment = environment

    def deliver(self, invocation: Invocation, deadline_ms: int) -> None:
        self._world.runs.append((self._world.clock.seconds(), invocation.request_id))
        self._world.under_way.append((self._environment, invocation))


@pytest.fixture
def world(tmp_path: Path, package: Any) -> DispatchHarness:
    return DispatchHarness(tmp_path, package)


def test_throttled_events_run_one_after_the_other_in_their_order(world: DispatchHarness) -> None:
    world.reserve(1)
    world.send("a", "b", "c")
    assert world.runs == [(0.0, "a")]
    world.clock.advance(5.0)
    world.end()
    assert world.runs == [(0.0, "a"), (5.0, "b")]
    world.end()
    assert [name for _, name in world.runs] == ["a", "b", "c"]


def test_being_throttled_costs_no_try(world: DispatchHarness) -> None:
    world.reserve(0)
    world.send("a")
    for _ in range(5):
        world.clock.advance(100.0)
        world.dispatcher.run()
    assert world.runs == []
    world.reserve(None)
    for wait in (60.0, 120.0, 1000.0):
        world.end("Unhandled")
        world.clock.advance(wait)
    assert [moment - 500.0 for moment, _ in world.runs] == [0.0, 60.0, 180.0]


def test_a_throttled_event_is_given_up_at_its_age(tmp_path: Path, package: Any) -> None:
    world = DispatchHarness(tmp_path, package, MaximumEventAgeInSeconds=60)
    world.reserve(0)
    world.send("a")
    world.clock.advance(59.0)
    world.send("b")
    world.clock.advance(2.0)
    world.reserve(None)
    assert world.runs == [(61.0, "b")]


def test_a_failing_event_is_not_tried_again_past_its_age(tmp_path: Path, package: Any) -> None:
    world = DispatchHarness(tmp_path, package, MaximumEventAgeInSeconds=100)
    world.send("a")
    world.end("Unhandled")
    world.clock.advance(60.0)
    world.end("Unhandled")
    world.clock.advance(1000.0)
    assert [moment for moment, _ in world.runs] == [0.0, 60.0]


def test_no_retries_means_one_try(tmp_path: Path, package: Any) -> None:
    world = DispatchHarness(tmp_path, package, MaximumRetryAttempts=0)
    world.send("a")
    world.end("Unhandled")
    world.clock.advance(1000.0)
    assert len(world.runs) == 1


def test_the_events_of_a_function_that_is_deleted_are_given_up(world: DispatchHarness) -> None:
    world.reserve(0)
    world.send("a")
    world.store.delete(world.function)
    world.reserve(None)
    assert world.runs == []
