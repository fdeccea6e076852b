"""What a job costs, from what it has used and where."""

from datetime import timedelta

import msgspec
import pytest

from mu_twisted.aws.placement import Deployment, cost_of, places_of
from mu_twisted.coordinator import Usage
from mu_twisted.statuses import Cost

USAGE = Usage(requests=1000, seconds=2000.0, greeted=1000, left=59_000.0, memory_mb=3008)


def deployment(*regions: str, architecture: str = "x86_64", tmp_mb: int = 512) -> Deployment:
    return Deployment(
        tuple(places_of(regions, "f", 1)), timedelta(seconds=60), 2048, tmp_mb=tmp_mb, architecture=architecture
    )


def test_gb_seconds_are_the_functions_memory_times_its_workers_lives() -> None:
    cost = cost_of(USAGE, deployment("us-east-1"), ["us-east-1"])
    assert cost == Cost(1000, 3000.0, 6000.0, 0.1002, "USD", cost.prices_of)
    assert cost.price == pytest.approx(6000 * 0.0000166667 + 1000 * 0.0000002, abs=1e-6)


def test_the_dearest_region_of_those_that_the_function_is_in_counts() -> None:
    cheap = cost_of(USAGE, deployment("us-east-1"), ["us-east-1", "ap-east-1"]).price
    dear = cost_of(USAGE, deployment("us-east-1", "ap-east-1"), ["us-east-1", "ap-east-1"]).price
    assert cheap is not None
    assert dear is not None
    assert dear > cheap


def test_arm_is_cheaper_and_temporary_files_cost() -> None:
    plain = cost_of(USAGE, deployment("us-east-1"), []).price or 0
    assert (cost_of(USAGE, deployment("us-east-1", architecture="arm64"), []).price or 0) < plain
    assert (cost_of(USAGE, deployment("us-east-1", tmp_mb=10_240), []).price or 0) > plain


def test_a_price_that_stands_in_for_an_unknown_one_is_told_as_an_estimate() -> None:
    cost = cost_of(USAGE, deployment("mx-central-1"), [])
    assert cost.estimated_by == "sa-east-1"
    assert cost.price == cost_of(USAGE, deployment("sa-east-1"), []).price
    assert cost_of(USAGE, deployment("eu-central-2"), []).estimated_by is None


def test_what_processes_ran_before_their_handlers_is_paid_for() -> None:
    usage = msgspec.structs.replace(USAGE, init=500.0)
    assert cost_of(usage, deployment("us-east-1"), []).seconds == 3500.0
    assert cost_of(usage, None, ["us-east-1"]).seconds == 2500.0


def test_without_a_price_the_use_is_told_all_the_same() -> None:
    assert cost_of(USAGE, deployment("us-east-1", "cn-north-1"), []) == Cost(1000, 3000.0, 6000.0)


def test_after_a_restart_what_workers_said_counts() -> None:
    cost = cost_of(USAGE, None, ["us-east-1"])
    assert (cost.seconds, cost.gb_seconds) == (2000.0, 5875.0)
    assert cost.price is not None
