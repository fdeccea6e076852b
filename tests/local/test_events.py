"""The queue of asynchronous invocations: turns, retries, ages, bounds."""

from __future__ import annotations

from mu_twisted.local._events import EventPolicy, EventQueue, QueuedEvent


def event(name: str = "f", number: int = 0, at: float = 0.0, size: int = 2) -> QueuedEvent:
    return QueuedEvent(f"{name}{number}", name, b"x" * size, at)


def take(queue: EventQueue, now: float, policy: EventPolicy | None = None, busy: str = "") -> QueuedEvent | None:
    return queue.take(now, lambda name: policy or EventPolicy(), lambda name: name != busy)[0]


def test_events_of_one_function_run_in_order_and_functions_take_turns() -> None:
    queue = EventQueue()
    for name, number in (("a", 0), ("a", 1), ("b", 0)):
        assert queue.put(event(name, number))
    taken = [take(queue, 0.0) for _ in range(3)]
    assert [found.request_id for found in taken if found] == ["a0", "b0", "a1"]
    assert take(queue, 0.0) is None


def test_a_failing_event_is_tried_three_times_after_growing_delays() -> None:
    queue = EventQueue(retry_delay=10.0)
    queue.put(event())
    for now, again in ((0.0, True), (10.0, True), (30.0, False)):
        if now:
            assert take(queue, now - 0.1) is None
        found = take(queue, now)
        assert found is not None
        assert queue.failed(found, now, EventPolicy()) is again
    assert len(queue) == 0


def test_no_retries_means_one_try() -> None:
    queue = EventQueue()
    queue.put(event())
    found = take(queue, 0.0)
    assert found is not None
    assert not queue.failed(found, 0.0, EventPolicy(retries=0))


def test_an_event_that_grew_too_old_while_it_waited_is_given_up() -> None:
    queue = EventQueue()
    queue.put(event())
    found, dropped = queue.take(61.0, lambda name: EventPolicy(age=60.0), lambda name: True)
    assert found is None
    assert [lost.request_id for lost in dropped] == ["f0"]
    assert len(queue) == 0


def test_an_event_is_not_tried_again_past_its_age() -> None:
    queue = EventQueue(retry_delay=100.0)
    queue.put(event())
    found = take(queue, 0.0)
    assert found is not None
    assert not queue.failed(found, 0.0, EventPolicy(age=60.0))


def test_a_throttled_function_holds_up_no_other_and_keeps_its_turn() -> None:
    queue = EventQueue()
    queue.put(event("slow"))
    queue.put(event("quick"))
    found = take(queue, 0.0, busy="slow")
    assert found is not None
    assert found.function == "quick"
    assert take(queue, 0.0, busy="slow") is None
    later = take(queue, 1000.0)
    assert later is not None
    queue.throttled(later)
    assert later.tries == 0
    assert take(queue, 1000.0) is later


def test_a_deleted_functions_events_are_given_up() -> None:
    queue = EventQueue()
    queue.put(event())
    assert queue.take(0.0, lambda name: None, lambda name: True)[1][0].function == "f"


def test_the_queue_is_bounded_by_count_and_by_bytes() -> None:
    assert [EventQueue(max_events=1).put(event()), EventQueue(max_bytes=1).put(event())] == [True, False]
    queue = EventQueue(max_events=1)
    assert queue.put(event())
    assert not queue.put(event())
    found = take(queue, 0.0)
    assert found is not None
    assert not queue.put(event())
    queue.succeeded(found)
    assert queue.put(event())
