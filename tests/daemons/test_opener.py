"""What jobs need is looked for once for all who want it at the same time, and given back whenever the daemon ends."""

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any, cast

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from mu_twisted.aws import AccessDenied, AWSError
from mu_twisted.aws.placement import Deployment, LaunchTarget
from mu_twisted.coordinator import Opened
from mu_twisted.daemons._cloud import Cloud, open_cloud
from mu_twisted.daemons._keys import COORDINATOR, Keys
from mu_twisted.daemons._opener import CLOSING, CloudOpener
from mu_twisted.local import RunningStack
from mu_twisted.pipelines import ObjectPart, load_pipeline
from mu_twisted.tls import Authority

AUTHORITY = Authority.generate()
KEYS = Keys(AUTHORITY.certificate, AUTHORITY.issue(COORDINATOR, lifetime=None), AUTHORITY)
DEPLOYMENT = Deployment((LaunchTarget("us-east-1", "f"),), timedelta(seconds=60))


class Stack:
    """The embedded stack, as far as it can be stopped."""

    def __init__(self) -> None:
        self.stops = 0

    def stop(self) -> None:
        self.stops += 1


class OpenerHarness:
    """An opener whose calls that block wait to be answered."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.stack = Stack()
        self.cloud = Cloud(None, lambda region: f"https://{region}.invalid", None, cast(RunningStack, self.stack))
        self.calls: list[tuple[Callable[..., Any], Deferred[Any]]] = []
        options = {"host-addr": "192.0.2.1", "launch-rate": None, "local": 1}
        self.opener = CloudOpener(
            self.clock,
            options,
            KEYS,
            port=1,
            local_state=Path("nowhere"),
            descriptors=1024,
            in_thread=self.call,
        )

    def call(self, function: Callable[..., Any], *given: Any) -> Deferred[Any]:
        self.calls.append((function, Deferred()))
        return self.calls[-1][1]

    def answer(self, with_what: Any) -> Callable[..., Any]:
        function, waiting = self.calls.pop(0)
        waiting.callback(with_what)
        return function

    def open(self, name: str, function: str = "f", *words: str) -> list[Any]:
        pipeline = load_pipeline(words[0] if words else "exec")
        settings = pipeline.parse(["-n", "1", "-b", "b", "-l", function, *(words[1:] or ["true"])])
        results: list[Any] = []
        Deferred.fromCoroutine(self.opener.open(name, pipeline, settings, {})).addBoth(results.append)
        return results


@pytest.fixture
def world() -> OpenerHarness:
    return OpenerHarness()


def test_jobs_of_one_function_that_come_together_share_one_look(world: OpenerHarness) -> None:
    first, second, other = world.open("a"), world.open("b"), world.open("c", "g")
    assert world.answer(world.cloud) is open_cloud
    assert [function.__name__ for function, _ in world.calls] == ["check", "check"]
    world.answer(DEPLOYMENT)
    assert [isinstance(results[0], Opened) for results in (first, second)] == [True, True]
    assert other == []
    third = world.open("d")  # no caller looks any more
    assert (third, len(world.calls)) == ([], 2)


def test_a_look_that_fails_fails_for_all_who_wait_and_is_made_anew_for_the_next(world: OpenerHarness) -> None:
    first, second = world.open("a"), world.open("b")
    error = AWSError("no credentials")
    world.calls.pop(0)[1].errback(error)
    assert [results[0].value for results in (first, second)] == [error, error]
    world.open("c")
    assert world.answer(world.cloud) is open_cloud


def test_what_is_being_opened_when_the_daemon_ends_is_closed_too(world: OpenerHarness) -> None:
    Deferred.fromCoroutine(world.opener.cloud())
    ended: list[None] = []
    Deferred.fromCoroutine(world.opener.close()).addCallback(ended.append)
    world.answer(world.cloud)
    assert ended == []
    function, waiting = world.calls.pop()
    waiting.callback(function())
    assert (world.stack.stops, ended) == (1, [None])
    assert not world.clock.getDelayedCalls()


def test_the_daemon_does_not_wait_long_for_what_does_not_end(world: OpenerHarness) -> None:
    Deferred.fromCoroutine(world.opener.cloud())
    ended: list[None] = []
    Deferred.fromCoroutine(world.opener.close()).addCallback(ended.append)
    world.clock.advance(CLOSING)
    assert ended == [None]
    world.answer(world.cloud)
    assert [function.__name__ for function, _ in world.calls] == ["close"]  # late, but if the process still lives


def test_a_film_is_looked_at_before_anything_is_launched(world: OpenerHarness) -> None:
    results = world.open("a", "f", "film", "-v", "clip")
    world.answer(world.cloud)
    world.answer(DEPLOYMENT)
    assert results == []
    assert world.answer(ObjectPart(b"", 0)).__name__ == "read_part"
    assert str(results[0].value) == "clip.mp4 is empty"


def test_a_film_that_only_the_workers_may_read_is_left_to_them(world: OpenerHarness) -> None:
    results = world.open("a", "f", "film", "-v", "clip")
    world.answer(world.cloud)
    world.answer(DEPLOYMENT)
    world.calls.pop(0)[1].errback(AccessDenied("access denied"))
    assert isinstance(results[0], Opened)
    results = world.open("a", "f", "film", "-v", "clip")
    world.answer(DEPLOYMENT)
    world.calls.pop(0)[1].errback(AWSError("there is no object s3://b/clip.mp4"))
    assert str(results[0].value) == "there is no object s3://b/clip.mp4"
    for words, option in ([["film", "--in", "a/b"], "--in"], [["faces", "--face", "a/b"], "--face"]):
        results = world.open("a", "f", *words)
        world.answer(DEPLOYMENT)
        world.calls.pop(0)[1].errback(AWSError("there is no object s3://b/a/b"))
        assert str(results[0].value) == f"there is no object s3://b/a/b ({option})"
