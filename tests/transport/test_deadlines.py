"""One timer for many time limits."""

from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.task import Clock

from mu_twisted.transport._deadlines import Deadlines


def test_each_expires_when_its_own_time_is_over() -> None:
    clock, late = Clock(), []
    deadlines: Deadlines[str] = Deadlines(clock, 16.0, late.append)
    deadlines.start("early")
    clock.advance(8)
    deadlines.start("later")
    clock.advance(8)
    assert late == ["early"]
    clock.advance(8)
    assert late == ["early", "later"]
    assert clock.getDelayedCalls() == []


def test_a_restart_begins_anew_and_an_end_is_the_end() -> None:
    clock, late = Clock(), []
    deadlines: Deadlines[str] = Deadlines(clock, 10.0, late.append)
    deadlines.start("restarted")
    deadlines.start("ended")
    clock.advance(9)
    deadlines.start("restarted")
    deadlines.end("ended")
    deadlines.end("never started")
    clock.advance(9)
    assert late == []
    assert len(deadlines) == 1
    clock.advance(1)
    assert late == ["restarted"]


def test_a_thousand_have_one_timer() -> None:
    clock = Clock()
    deadlines: Deadlines[int] = Deadlines(clock, 10.0, lambda _: None)
    for thing in range(1000):
        clock.advance(0.001)
        deadlines.start(thing)
    assert len(clock.getDelayedCalls()) == 1
    deadlines.stop()
    assert clock.getDelayedCalls() == []


def test_one_that_expires_may_end_another_that_is_late_too() -> None:
    clock, late = Clock(), []

    def expired(thing: str) -> None:
        late.append(thing)
        deadlines.end("second")
        deadlines.start("third")

    deadlines: Deadlines[str] = Deadlines(clock, 5.0, expired)
    deadlines.start("first")
    deadlines.start("second")
    clock.advance(5)
    assert late == ["first"]
    assert len(deadlines) == 1
    assert len(clock.getDelayedCalls()) == 1
    deadlines.stop()


@given(st.lists(st.tuples(st.sampled_from(["start", "end"]), st.integers(0, 5), st.floats(0, 7)), max_size=40))
def test_nothing_expires_early_nor_more_than_a_sixteenth_late(steps: list[tuple[str, int, float]]) -> None:
    clock = Clock()
    started: dict[int, float] = {}

    def expired(thing: int) -> None:
        age = clock.seconds() - started.pop(thing)
        assert 16.0 <= age <= 17.0 + 1e-6

    deadlines: Deadlines[int] = Deadlines(clock, 16.0, expired)
    for action, thing, pause in steps:
        if action == "start":
            deadlines.start(thing)
            started[thing] = clock.seconds()
        else:
            deadlines.end(thing)
            started.pop(thing, None)
        clock.pump([pause / 100] * 100)
    clock.pump([0.05] * 400)
    assert started == {}
    assert clock.getDelayedCalls() == []
