"""The table of prices."""

import re

import boto3
import pytest

from mu_twisted.aws import price_in
from mu_twisted.aws._prices import _table


def test_the_examples_of_awss_price_page_come_out() -> None:
    price = price_in("us-east-1", "x86_64")
    assert price is not None
    # 3 million requests of 120 ms with 1,536 MB, without the free tier: 540,000 GB-seconds.
    assert price.of(3_000_000, 3_000_000 * 0.12, 1536) == pytest.approx(0.6 + 9.0000, abs=0.001)
    arm = price_in("us-east-1", "arm64")
    assert arm is not None
    assert arm.of(0, 1_000_000, 1024) == pytest.approx(13.33, abs=0.01)
    # 10 GB of temporary files, of which half a GB is free.
    assert price.of(0, 1_000_000, 0, 10_240) == pytest.approx(9.5 * 0.0309, abs=0.0001)


def test_some_regions_are_dearer_and_some_are_not_in_the_table() -> None:
    cheap, dear = price_in("us-east-1", "x86_64"), price_in("ap-east-1", "x86_64")
    assert cheap is not None
    assert dear is not None
    assert dear.gb_second > cheap.gb_second
    assert dear.request > cheap.request
    assert price_in("cn-north-1", "x86_64") is None
    assert price_in("us-east-1", "mips") is None


def test_the_table_is_dated_and_whole() -> None:
    table = _table()
    assert re.fullmatch(r"20\d\d-\d\d-\d\d", table["date"])
    for region in [*table["tmp_gb_second"], *table["others"]]:
        for architecture in ("x86_64", "arm64"):
            price = price_in(region, architecture)
            assert price is not None
            assert 1e-8 < price.request < 1e-6
            assert 1e-5 < price.gb_second < 1e-4
            assert price.tmp_gb_second < price.gb_second
    assert not set(table["tmp_gb_second"]) & set(table["others"])


@pytest.mark.parametrize("partition", ["aws", "aws-us-gov"])
def test_no_region_lacks_a_price_and_what_is_estimated_says_by_which(partition: str) -> None:
    table = _table()
    for region in boto3.Session().get_available_regions("lambda", partition_name=partition):
        for architecture in ("x86_64", "arm64"):
            price = price_in(region, architecture)
            assert price is not None, region
            assert price.estimated_by == table["estimated_by"].get(region)
    for region, by in table["estimated_by"].items():
        assert region not in table["tmp_gb_second"]
        assert region not in table["others"]
        listed, estimate = price_in(by, "arm64"), price_in(region, "arm64")
        assert listed is not None
        assert estimate is not None
        assert (listed.estimated_by, listed.gb_second) == (None, estimate.gb_second)
