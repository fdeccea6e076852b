"""The launches of one job: handed on where a region fails, told of, given up when the job is over."""

from collections import Counter
from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Any, cast

import pytest
from twisted.internet.defer import Deferred, fail, succeed
from twisted.logger import LogEvent, formatEvent, globalLogPublisher

from mu_twisted.aws.placement import Deployment, places_of
from mu_twisted.daemons._cloud import Cloud
from mu_twisted.daemons._keys import COORDINATOR, Keys
from mu_twisted.daemons._launches import JobLaunching
from mu_twisted.jobs import LaunchOutcome
from mu_twisted.launch import Launch, Launcher, LaunchError
from mu_twisted.tls import Authority

AUTHORITY = Authority.generate()
KEYS = Keys(AUTHORITY.certificate, AUTHORITY.issue(COORDINATOR, lifetime=timedelta(hours=1)), AUTHORITY)


class Lambda:
    """A launcher in front of regions that take launches or refuse them."""

    def __init__(self) -> None:
        self.refusing: dict[str, tuple[int, str]] = {}
        self.hanging: dict[str, tuple[Launch, Callable[[LaunchOutcome], None]]] = {}
        self.unknown: set[str] = set()
        self.hang = False
        self.taken: list[Launch] = []

    def launch(self, launches: Sequence[Launch], told: Callable[[LaunchOutcome], None]) -> "Deferred[None]":
        if self.unknown & {launch.region for launch in launches}:
            return fail(LaunchError("cannot launch there"))
        for launch in launches:
            if self.hang:
                self.hanging[launch.launch_id] = (launch, told)
                continue
            status, reason = self.refusing.get(launch.region, (202, ""))
            if status == 202:
                self.taken.append(launch)
            told(LaunchOutcome(launch.launch_id, status == 202, status, reason))
        return succeed(None)

    def withdraw(self, launch_ids: Sequence[str]) -> None:
        for launch_id in launch_ids:
            _, told = self.hanging.pop(launch_id)
            told(LaunchOutcome(launch_id, False, 0, "cancelled"))

    def paces(self) -> list[Any]:
        return []


class LaunchesHarness:
    def __init__(self, regions: list[str], keys: Keys = KEYS, original: int = 0) -> None:
        self.awslambda = Lambda()
        self.outcomes: list[LaunchOutcome] = []
        self.looking: Deferred[None] = succeed(None)
        settings = {"regions": regions, "function": "f", "bucket": "b", "start-timeout": 30.0}
        places = tuple(places_of(regions, "f", 1))
        deployment = Deployment(places, timedelta(seconds=60), original=places[:original])
        cloud = Cloud(None, lambda region: f"https://{region}", None)

        async def ready() -> tuple[Cloud, Launcher, Deployment, str, int]:
            await self.looking
            return cloud, cast(Launcher, self.awslambda), deployment, "192.0.2.1", 13579

        self.now = 0.0
        self.launching = JobLaunching("job", settings, keys, ready, lambda: self.now)

    def start(self, count: int, first: int = 0) -> None:
        names = [f"0-{number}" for number in range(first, first + count)]
        self.launching.start(names, self.outcomes.append)

    def regions(self) -> dict[str, int]:
        return Counter(launch.region for launch in self.awslambda.taken)


@pytest.fixture
def world() -> LaunchesHarness:
    return LaunchesHarness(["us-east-1", "eu-west-1"])


def test_the_number_is_split_over_the_regions(world: LaunchesHarness) -> None:
    world.start(5)
    world.start(5, first=5)
    assert world.regions() == {"us-east-1": 5, "eu-west-1": 5}
    assert world.launching.note() is None
    assert {launch.tries for launch in world.awslambda.taken} == {3}


@pytest.mark.parametrize("shared", [False, True])
@pytest.mark.parametrize("original", [0, 1, 2])
def test_a_function_with_the_originals_handler_is_told_at_the_first_launch(shared: bool, original: int) -> None:
    keys = Keys(KEYS.ca, KEYS.own, None) if shared else KEYS
    world = LaunchesHarness(["us-east-1", "eu-west-1"], keys, original)
    told: list[str] = []

    def observe(event: LogEvent) -> None:
        told.append(formatEvent(event))

    globalLogPublisher.addObserver(observe)
    try:
        world.start(2)
        world.start(2, first=2)
    finally:
        globalLogPublisher.removeObserver(observe)
    warned = [line for line in told if "the original's workers" in line]
    assert [line[: line.index(" has")] for line in warned] == (
        [] if shared else ["function f in us-east-1", "function f in eu-west-1"][:original]
    )
    assert all("--share-key, or make it again with `mu lambdaize --replace`" in line for line in warned)


@pytest.mark.parametrize("status", [404, 429])
def test_a_region_that_fails_hands_its_share_on_and_that_is_told(world: LaunchesHarness, status: int) -> None:
    world.awslambda.refusing["eu-west-1"] = (status, "Function not found" if status == 404 else "Rate exceeded")
    world.start(6)
    assert world.regions() == {"us-east-1": 6}
    assert sorted(outcome.launch_id for outcome in world.outcomes) == [f"0-{number}" for number in range(6)]
    assert all(outcome.accepted for outcome in world.outcomes)
    reason = world.awslambda.refusing["eu-west-1"][1]
    assert world.launching.note() == f"f in eu-west-1 handed 3 launches on to other places: {reason}"
    handed = [launch for launch in world.awslambda.taken if launch.tries is None]
    assert len(handed) == 3
    assert len({launch.payload for launch in world.awslambda.taken}) == 1


def test_where_all_regions_fail_each_launch_has_one_outcome_the_last(world: LaunchesHarness) -> None:
    world.awslambda.refusing.update({"us-east-1": (429, "first"), "eu-west-1": (404, "second")})
    world.start(4)
    assert [outcome.accepted for outcome in world.outcomes] == [False] * 4
    assert {outcome.reason for outcome in world.outcomes} == {"first", "second"}


def test_a_region_in_which_nothing_can_be_sent_at_all_is_a_refusal_too(world: LaunchesHarness) -> None:
    world.awslambda.refusing["us-east-1"] = (429, "slow")
    world.awslambda.hang = True
    world.start(1)
    _, told = world.awslambda.hanging.pop("job/0-0")
    world.awslambda.unknown.add("eu-west-1")
    told(LaunchOutcome("job/0-0", False, 429, "slow"))
    assert world.outcomes == [LaunchOutcome("0-0", False, 0, "cannot launch there")]


def test_what_is_revoked_is_not_handed_on(world: LaunchesHarness) -> None:
    world.awslambda.hang = True
    world.start(4)
    world.launching.stop()
    assert [outcome.reason for outcome in world.outcomes] == ["cancelled"] * 4
    assert world.awslambda.hanging == {}
    world.launching.stop()  # nothing is left to withdraw


@pytest.mark.parametrize("missing", [False, True])
def test_what_is_given_up_before_anything_could_be_sent_is_never_sent(world: LaunchesHarness, missing: bool) -> None:
    world.looking = Deferred()
    world.start(2)
    world.launching.stop()
    if missing:
        world.looking.errback(LaunchError("no bucket"))
    else:
        world.looking.callback(None)
    assert world.outcomes == [LaunchOutcome(f"0-{number}", False, 0, "cancelled") for number in range(2)]
    assert world.awslambda.taken == []


def test_a_job_that_was_stopped_may_launch_again(world: LaunchesHarness) -> None:
    world.looking = Deferred()
    world.start(1)
    world.launching.stop()
    looking, world.looking = world.looking, succeed(None)
    world.start(1, first=1)
    looking.callback(None)
    assert [launch.launch_id for launch in world.awslambda.taken] == ["job/0-1"]


def test_launches_of_one_time_carry_one_key_and_those_of_another_another(world: LaunchesHarness) -> None:
    world.start(1)
    world.now = 500.0
    world.start(1, first=1)
    world.now = 700.0
    world.start(1, first=2)
    first, second, third = (launch.payload for launch in world.awslambda.taken)
    assert first is second
    assert first != third
