"""A progress bar is one line that fits, and says of a job what there is room for."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from property_examples import examples

from mu_twisted.wording import Rate, price_text, progress_bar

JOB = {
    "job": "map-1",
    "tasks": 1000,
    "done": 440,
    "failed": 12,
    "active": 40,
    "launches": 3,
    "median": 2.0,
    "note": None,
}
COST = {"price": 0.012345, "currency": "USD"}


def text(width: int, *, rate: float | None = None, **changes: Any) -> str:
    return "".join(piece for piece, _ in progress_bar(JOB | changes, width, rate=rate))


@pytest.mark.parametrize(
    ("price", "text"), [(0.0, "0.0000 USD"), (1e-7, "<0.0001 USD"), (0.00006, "0.0001 USD"), (12.346, "12.35 USD")]
)
def test_what_has_cost_little_has_not_cost_nothing(price: float, text: str) -> None:
    assert price_text(price, "USD") == text


def test_it_says_share_counts_time_left_rate_and_cost() -> None:
    shown = text(160, cost=COST, rate=12.34)
    for part in (
        "map-1",
        "45 %",
        "440 of 1000 done",
        "12 failed",
        "40 active",
        "about 27.4 s left",
        "12/s",
        "0.0123 USD",
    ):
        assert part in shown
    assert "━" in shown


def test_what_there_is_no_room_for_is_left_out_the_least_important_first() -> None:
    wide, middle, narrow = (text(width, cost=COST, rate=12.34) for width in (160, 60, 12))
    assert "12 failed" in middle
    assert "USD" in wide
    assert "USD" not in middle
    assert narrow == "45 %  12/s"
    assert "━" not in narrow
    assert "━" in middle
    assert text(3) == ""


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"done": 2, "failed": 0}, False),
        ({"done": 20, "failed": 0}, True),
        ({"done": 2, "failed": 0, "tasks": 10}, False),
        ({"done": 3, "failed": 0, "tasks": 10}, True),
        ({"active": 0}, False),
        ({"median": None}, False),
        ({"tasks": 452}, False),
        ({"tasks": 10**6, "done": 99, "failed": 0}, False),
        ({"tasks": 10**6, "done": 100, "failed": 0}, True),
    ],
)
def test_the_time_left_is_hidden_until_it_means_something(changes: dict[str, Any], told: bool) -> None:
    assert (" left" in text(200, **changes)) is told


def test_a_single_failure_among_many_is_seen_in_the_bar() -> None:
    pieces = progress_bar(JOB | {"tasks": 10**6, "done": 10**6 - 1, "failed": 1}, 80)
    assert [(style, len(piece)) for piece, style in pieces[:6] if style in ("red", "dim")] == [
        ("red", 1),
        ("dim", 0),
    ]


def test_a_terminal_without_unicode_gets_none() -> None:
    shown = "".join(piece for piece, _ in progress_bar(JOB, 80, ascii_only=True))
    assert shown.isascii()
    assert "#" in shown


def test_a_note_cannot_command_the_terminal() -> None:
    assert "\x1b" not in text(200, note="Lambda throttles\x1b[2J\n")


@given(st.integers(0, 200), st.integers(0, 10**6), st.integers(0, 10**6), st.integers(0, 10**6), st.text(max_size=30))
@settings(max_examples=examples(200), deadline=None)
def test_it_is_never_longer_than_the_terminal(width: int, done: int, failed: int, rest: int, note: str) -> None:
    job = JOB | {"tasks": done + failed + rest, "done": done, "failed": failed, "note": note, "cost": COST}
    for ascii_only in (False, True):
        shown = "".join(piece for piece, _ in progress_bar(job, width, rate=5.0, took=9.0, ascii_only=ascii_only))
        assert len(shown) <= width
        assert "\n" not in shown


def test_a_rate_is_that_of_the_last_ten_seconds() -> None:
    rate = Rate()
    assert rate.take(0.0, 0) is None
    assert rate.take(0.5, 100) is None
    assert rate.take(2.0, 200) == 100.0
    for second in range(3, 40):
        last = rate.take(float(second), 200 + second)
    assert last == pytest.approx(1.0)
    assert rate.take(40.0, 3) is None  # some run again
