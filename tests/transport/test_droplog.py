"""Few lines in the log, whatever peers try."""

from collections.abc import Iterator

import pytest
from twisted.internet.task import Clock
from twisted.logger import globalLogPublisher

from mu_twisted.transport._droplog import DropLog


@pytest.fixture(name="lines")
def _lines() -> Iterator[list[str]]:
    lines: list[str] = []

    def observe(event: dict[str, str]) -> None:
        lines.append(event["log_format"].format(**event))

    globalLogPublisher.addObserver(observe)
    yield lines
    globalLogPublisher.removeObserver(observe)


def test_a_flood_is_summed_up_when_its_period_is_over(lines: list[str]) -> None:
    clock = Clock()
    drops = DropLog(clock, lines=2, period=10.0)
    for number in range(5):
        drops.dropped(f"peer {number}", "bad manners")
        clock.advance(1)
    assert lines == ["dropped peer 0: bad manners", "dropped peer 1: bad manners"]
    clock.advance(5)
    assert lines[2:] == ["dropped 3 more within 10 s"]
    drops.dropped("peer 5", "bad manners")
    assert lines[3:] == ["dropped peer 5: bad manners"]
    assert clock.getDelayedCalls() == []


def test_drops_that_are_far_apart_are_all_logged(lines: list[str]) -> None:
    clock = Clock()
    drops = DropLog(clock, lines=1, period=10.0)
    for _ in range(5):
        drops.dropped("peer", "again")
        clock.advance(10)
    assert lines == ["dropped peer: again"] * 5


def test_flushing_tells_what_was_held_back_and_leaves_no_timer(lines: list[str]) -> None:
    clock = Clock()
    drops = DropLog(clock, lines=1, period=10.0)
    for _ in range(3):
        drops.dropped("peer", "again")
    drops.flush()
    assert lines[1:] == ["dropped 2 more within 10 s"]
    assert clock.getDelayedCalls() == []


def test_what_a_peer_sent_is_shown_as_it_is_and_formats_nothing(lines: list[str]) -> None:
    DropLog(Clock()).dropped("peer", "sent {secret}")
    assert lines == ["dropped peer: sent {secret}"]
