"""How launches are spread over regions and copies, and what becomes of those that fail there."""

from collections import Counter
from datetime import timedelta

import pytest

from mu_twisted.aws.placement import Deployment, LaunchTarget, Spread, copies_of, places_of, shares


def spread_over(*regions: str, copies: int = 1, absent: tuple[str, ...] = ()) -> Spread:
    return Spread(Deployment(tuple(places_of(regions, "f", copies)), timedelta(seconds=9), absent=absent))


def test_launches_go_to_regions_and_copies_in_turn_and_go_on_where_they_left_off() -> None:
    spread = spread_over("a", "b", copies=2)
    first = [place for _, place, _ in spread.begin(["1", "2", "3"])]
    second = [place for _, place, _ in spread.begin(["4", "5"])]
    assert first == [LaunchTarget("a", "f"), LaunchTarget("b", "f"), LaunchTarget("a", "f-2")]
    assert second == [LaunchTarget("b", "f-2"), LaunchTarget("a", "f")]
    assert copies_of("f", 3) == ["f", "f-2", "f-3"]


def test_a_launch_that_fails_is_tried_in_another_region_first_and_patiently_at_last() -> None:
    spread = spread_over("a", "b", "c")
    [(_, place, tries)] = spread.begin(["1"])
    assert (place.region, tries) == ("a", 3)
    second = spread.refused("1", 429, "TooManyRequestsException")
    third = spread.refused("1", 429, "TooManyRequestsException")
    assert [found and (found[0].region, found[1]) for found in (second, third)] == [("b", 3), ("c", None)]
    assert spread.refused("1", 429, "TooManyRequestsException") is None
    assert spread.notes() == [
        "f in a handed 1 launch on to other places: TooManyRequestsException",
        "f in b handed 1 launch on to other places: TooManyRequestsException",
    ]


def test_a_single_place_keeps_all_launches_and_hands_nothing_on() -> None:
    spread = spread_over("a")
    assert spread.begin(["1"]) == [("1", LaunchTarget("a", "f"), None)]
    assert spread.refused("1", 404, "no such function") is None
    assert spread.notes() == []
    assert spread.begin(["2"]) == [("2", LaunchTarget("a", "f"), None)]


@pytest.mark.parametrize("status", [403, 404, 0])
def test_a_place_that_will_not_do_gets_no_more_launches(status: int) -> None:
    spread = spread_over("a", "b")
    spread.begin(["1", "2"])
    assert spread.refused("1", status, "no") == (LaunchTarget("b", "f"), None)
    assert [place.region for _, place, _ in spread.begin(["3", "4"])] == ["b", "b"]
    assert spread.refused("2", 429, "slow") is None  # the other one is out


@pytest.mark.parametrize("status", [408, 409, 429, 500, 503])
def test_a_place_that_throttles_goes_on_getting_its_share(status: int) -> None:
    spread = spread_over("a", "b")
    spread.begin(["1", "2"])
    assert spread.refused("1", status, "slow") == (LaunchTarget("b", "f"), None)
    assert [place.region for _, place, _ in spread.begin(["3", "4"])] == ["a", "b"]


def test_copies_of_the_same_region_come_after_other_regions() -> None:
    spread = spread_over("a", "b", copies=2)
    spread.begin(["1"])
    places = [found[0] for _ in range(3) if (found := spread.refused("1", 429, "slow"))]
    assert places == [LaunchTarget("b", "f"), LaunchTarget("b", "f-2"), LaunchTarget("a", "f-2")]


def test_one_launch_is_not_tried_everywhere() -> None:
    spread = spread_over(*(f"r{number}" for number in range(50)))
    spread.begin(["1"])
    assert sum(spread.refused("1", 429, "slow") is not None for _ in range(4)) == 3


def test_what_was_missing_from_the_start_is_told() -> None:
    spread = spread_over("a", absent=("there is no function f in b",))
    assert spread.notes() == ["there is no function f in b"]


def test_settled_launches_are_forgotten() -> None:
    spread = spread_over("a", "b")
    spread.begin(["1"])
    spread.settled("1")
    spread.settled("1")
    assert spread._launches == {}


def test_shares_add_up() -> None:
    places = places_of(["a", "b"], "f", 2)
    found = shares(11, places)
    assert sum(found.values()) == 11
    assert Counter(found.values()) == {3: 3, 2: 1}
