"""A periodic call follows the clock it was given, and starting or stopping it twice does no harm."""

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.logger import capturedLogs, formatEvent

from mu_twisted.transport import every


def test_a_call_is_made_by_the_given_clock_from_start_to_stop() -> None:
    clock, calls = Clock(), []
    repetition = every(clock, 2.0, lambda: calls.append(clock.seconds()))
    clock.advance(5.0)
    assert not calls
    repetition.start()
    repetition.start()
    clock.pump([1.0] * 4)
    assert calls == [7.0, 9.0]
    repetition.stop()
    repetition.stop()
    clock.advance(5.0)
    assert calls == [7.0, 9.0]
    assert not clock.getDelayedCalls()


def test_a_first_call_at_once_and_none_while_the_last_is_not_done() -> None:
    clock, waiting = Clock(), []

    def call() -> "Deferred[None]":
        waiting.append(Deferred())
        return waiting[-1]

    repetition = every(clock, 1.0, call)
    repetition.start(now=True)
    clock.pump([1.0] * 3)
    assert len(waiting) == 1
    waiting[0].callback(None)
    clock.advance(1.0)
    assert len(waiting) == 2
    repetition.stop()


def test_a_call_that_fails_is_logged_and_can_be_started_anew() -> None:
    clock, calls = Clock(), []

    def call() -> None:
        calls.append(clock.seconds())
        if len(calls) == 1:
            raise OSError("no disk")

    repetition = every(clock, 1.0, call)
    repetition.start()
    with capturedLogs() as events:
        clock.pump([1.0] * 3)
    assert calls == [1.0]
    assert not repetition.running
    assert "call failed, and is not called any more" in (formatEvent(events[0]) or "")
    repetition.start()
    clock.advance(1.0)
    assert calls == [1.0, 4.0]
