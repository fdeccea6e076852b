"""The loop's lag is how late its timers come, the longest of the last ones."""

from twisted.internet.task import Clock

from mu_twisted.daemons._loop_lag import KEPT, LoopLag


def test_the_longest_of_late_counts_and_is_forgotten() -> None:
    clock = Clock()
    lag = LoopLag(clock)
    lag.start()
    assert lag.seconds() is None
    clock.advance(1)
    assert lag.seconds() == 0
    clock.advance(1.5)
    assert lag.seconds() == 0.5
    clock.pump([1.0] * (KEPT + 2))
    assert lag.seconds() == 0
    lag.stop()
    assert clock.getDelayedCalls() == []
