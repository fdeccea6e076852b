"""What the doctor thinks of facts."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from mu_twisted.aws.findings import (
    Finding,
    Health,
    judge_bucket,
    judge_certificate,
    judge_clock,
    judge_concurrency,
    judge_function,
    judge_missing,
    judge_programs,
    judge_shared_key,
)
from mu_twisted.aws.inspection import Concurrency, FunctionState

GOOD, DOUBTFUL, BROKEN = Health.GOOD, Health.DOUBTFUL, Health.BROKEN
SETTINGS = {
    "MemorySize": 1536,
    "Timeout": 180,
    "Handler": "worker_lambda.lambda_function.lambda_handler",
    "State": "Active",
    "Architectures": ["arm64"],
    "Runtime": "python3.13",
}
EVENTS = {"MaximumRetryAttempts": 0, "MaximumEventAgeInSeconds": 60}


def judged(
    *, events: dict[str, Any] | None = EVENTS, reserved: int | None = None, tasks: int = 1, **settings: Any
) -> list[Finding]:
    state = FunctionState("f", "us-east-1", {**SETTINGS, **settings}, reserved=reserved, events=events)
    return list(judge_function(state, tasks))


def wrong(findings: list[Finding]) -> list[Finding]:
    """Those that are not good; each of them says why, and what to do."""
    found = [finding for finding in findings if finding.health is not GOOD]
    assert all(finding.why and finding.fix for finding in found)
    return found


def test_a_function_of_the_originals_needs_one_shared_key() -> None:
    state = FunctionState(
        "f", "us-east-1", {**SETTINGS, "Handler": "lambda_function.lambda_handler"}, reserved=None, events=EVENTS
    )
    assert wrong(list(judge_function(state, 1, shared=True))) == []
    [finding] = wrong(list(judge_function(state, 1)))
    assert "--rsa" in finding.fix
    assert "--share-key" in finding.fix


@pytest.mark.parametrize("shared", [False, True])
def test_a_function_that_is_no_worker_is_to_be_made_again(shared: bool) -> None:
    state = FunctionState("f", "us-east-1", {**SETTINGS, "Handler": "app.handler"}, reserved=None, events=EVENTS)
    [finding] = wrong(list(judge_function(state, 1, shared=shared)))
    assert "it is no worker" in finding.why
    assert "--share-key" not in finding.why + finding.fix


def test_a_shared_key_that_the_originals_workers_cannot_use_is_doubtful() -> None:
    assert judge_shared_key(rsa=True).health is GOOD
    assert "mu genkeys --rsa" in judge_shared_key(rsa=False).fix


def test_a_function_as_mu_makes_it_is_good_and_its_settings_are_told() -> None:
    found = judged(reserved=5, tasks=5)
    assert wrong(found) == []
    assert found[0].what == "function f in us-east-1: 1536 MB, 180 s, arm64, python3.13"


@pytest.mark.parametrize(
    ("change", "health", "text"),
    [
        ({"State": "Pending"}, BROKEN, "is Pending"),
        ({"LastUpdateStatus": "Failed"}, BROKEN, "last update Failed"),
        ({"Handler": "lambda_function.lambda_handler"}, DOUBTFUL, "handler lambda_function"),
        ({"Timeout": 3}, DOUBTFUL, "3 s only"),
        ({"VpcConfig": {"VpcId": "vpc-1"}}, DOUBTFUL, "VPC vpc-1"),
        ({"DeadLetterConfig": {"TargetArn": "arn:q"}}, DOUBTFUL, "a dead-letter queue, arn:q"),
        ({"events": None}, DOUBTFUL, "retries failed events 2 times and keeps them for 21600 s"),
        ({"events": {**EVENTS, "MaximumRetryAttempts": 1}}, DOUBTFUL, "retries failed events 1 time "),
        (
            {"events": {**EVENTS, "DestinationConfig": {"OnFailure": {"Destination": "arn:d"}}}},
            DOUBTFUL,
            "a destination for failures, arn:d",
        ),
        (
            {"events": {**EVENTS, "DestinationConfig": {"OnSuccess": {"Destination": "arn:d"}, "OnFailure": {}}}},
            DOUBTFUL,
            "a destination for successes, arn:d",
        ),
        ({"reserved": 0}, BROKEN, "reserved concurrency of 0"),
        ({"reserved": 4, "tasks": 5}, DOUBTFUL, "reserved concurrency of 4"),
    ],
)
def test_a_setting_that_harms_jobs_is_found(change: dict[str, Any], health: Health, text: str) -> None:
    [finding] = wrong(judged(**change))
    assert finding.health is health
    assert text in finding.what


def test_a_function_that_is_missing_is_broken_unless_other_regions_have_it() -> None:
    assert judge_missing("f", "us-east-1", alone=True).health is BROKEN
    assert judge_missing("f", "us-east-1", alone=False).health is DOUBTFUL
    assert judge_missing("f", "us-east-1", alone=True, made_by="mu faces").fix == "make it: mu faces"


@pytest.mark.parametrize(
    ("unreserved", "reserved", "tasks", "health"),
    [(100, [None], 100, GOOD), (100, [None], 101, DOUBTFUL), (100, [500], 400, GOOD), (9, [500, None], 10, DOUBTFUL)],
)
def test_more_workers_than_the_account_may_have_is_doubtful(
    unreserved: int, reserved: list[int | None], tasks: int, health: Health
) -> None:
    assert judge_concurrency(Concurrency(1000, unreserved), "us-east-1", reserved, tasks).health is health


def test_a_program_that_the_package_lacks_is_broken() -> None:
    state = FunctionState("f", "us-east-1", SETTINGS)
    assert judge_programs(state, ["./xc-enc", "vpxenc"], {"xc-enc", "vpxenc"}).health is GOOD
    [finding] = wrong([judge_programs(state, ["./xc-enc", "vpxenc"], {"xc-enc"})])
    assert (finding.health, finding.what) == (BROKEN, "function f in us-east-1 lacks vpxenc")


@pytest.mark.parametrize(("found", "health"), [("us-east-1", GOOD), (None, GOOD), ("eu-west-1", DOUBTFUL)])
def test_a_bucket_elsewhere_is_doubtful(found: str | None, health: Health) -> None:
    assert judge_bucket("b", found, "us-east-1").health is health


@pytest.mark.parametrize(
    ("skew", "health"), [(0, GOOD), (-20, GOOD), (60, DOUBTFUL), (-60, DOUBTFUL), (300, BROKEN), (-4000, BROKEN)]
)
def test_a_clock_that_is_off_is_found(skew: float, health: Health) -> None:
    finding = judge_clock(skew)
    assert finding.health is health
    assert health is GOOD or ("ahead of" if skew > 0 else "behind") in finding.what


@pytest.mark.parametrize(
    ("begin", "end", "health"), [(-1, 365, GOOD), (-1, 20, DOUBTFUL), (1, 365, BROKEN), (-10, 0, BROKEN)]
)
def test_a_certificate_is_good_for_a_time(begin: int, end: int, health: Health) -> None:
    now = datetime(2030, 1, 1, tzinfo=UTC)
    finding = judge_certificate("it", now + timedelta(days=begin), now + timedelta(days=end), now)
    assert finding.health is health
    assert wrong([finding]) == ([] if health is GOOD else [finding])
