"""Asynchronous invocations wait in a bounded queue, by AWS's rules of retry and age. No IO."""

from __future__ import annotations

import heapq
from collections import OrderedDict, deque
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import count

DEFAULT_RETRIES = 2
DEFAULT_AGE = 21600.0


@dataclass(frozen=True)
class EventPolicy:
    """What a function's event-invoke configuration says.

    :param retries: tries after the first, 0 to 2.
    :param age: seconds from its arrival after which an event is no longer tried.
    """

    retries: int = DEFAULT_RETRIES
    age: float = DEFAULT_AGE


@dataclass
class QueuedEvent:
    """One accepted invocation.

    :param request_id: kept over all its tries, as at AWS.
    :param function: the function's name.
    :param payload: the event's bytes.
    :param arrived: when it was accepted, in the queue's seconds.
    """

    request_id: str
    function: str
    payload: bytes
    arrived: float
    tries: int = field(default=0)


class EventQueue:
    """Events that are due by function, and events that wait for their retry.

    :param retry_delay: seconds before the second try; the third waits twice as long, as at AWS (60 and 120).
    :param max_events: events held at most.
    :param max_bytes: bytes of payload held at most.
    """

    def __init__(self, retry_delay: float = 60.0, max_events: int = 20_000, max_bytes: int = 256 << 20) -> None:
        self._retry_delay = retry_delay
        self._max_events = max_events
        self._max_bytes = max_bytes
        self._due: OrderedDict[str, deque[QueuedEvent]] = OrderedDict()
        self._delayed: list[tuple[float, int, QueuedEvent]] = []
        self._order = count()
        self._bytes = 0
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def put(self, event: QueuedEvent) -> bool:
        """Queue an event; False where the queue is full."""
        if self._count >= self._max_events or self._bytes + len(event.payload) > self._max_bytes:
            return False
        self._count += 1
        self._bytes += len(event.payload)
        self._due.setdefault(event.function, deque()).append(event)
        return True

    def take(
        self, now: float, policy: Callable[[str], EventPolicy | None], free: Callable[[str], bool]
    ) -> tuple[QueuedEvent | None, list[QueuedEvent]]:
        """The next event to run, and those that were dropped on the way.

        Functions take turns, so one that is throttled or busy holds up no other.

        :param policy: a function's policy by name; None where it does not exist any more.
        :param free: whether the function may be invoked now.
        """
        while self._delayed and self._delayed[0][0] <= now:
            event = heapq.heappop(self._delayed)[2]
            self._due.setdefault(event.function, deque()).append(event)
        dropped: list[QueuedEvent] = []
        for name in list(self._due):
            waiting = self._due[name]
            rules = policy(name)
            while waiting and (rules is None or now - waiting[0].arrived > rules.age):
                dropped.append(self._leave(waiting.popleft()))
            if not waiting:
                del self._due[name]
            elif free(name):
                event = waiting.popleft()
                self._due.move_to_end(name)
                if not waiting:
                    del self._due[name]
                event.tries += 1
                return event, dropped
        return None, dropped

    def succeeded(self, event: QueuedEvent) -> None:
        """An event taken before has been handled."""
        self._leave(event)

    def throttled(self, event: QueuedEvent) -> None:
        """It could not be tried after all: it keeps its turn and its tries."""
        event.tries -= 1
        self._due.setdefault(event.function, deque()).appendleft(event)

    def failed(self, event: QueuedEvent, now: float, policy: EventPolicy | None) -> bool:
        """A try failed. True if there will be another, False if the event has been dropped."""
        delay = self._retry_delay * event.tries
        if policy is None or event.tries > policy.retries or now + delay - event.arrived > policy.age:
            self._leave(event)
            return False
        heapq.heappush(self._delayed, (now + delay, next(self._order), event))
        return True

    def next_due(self) -> float | None:
        """When the next retry falls due, or None."""
        return self._delayed[0][0] if self._delayed else None

    def _leave(self, event: QueuedEvent) -> QueuedEvent:
        self._count -= 1
        self._bytes -= len(event.payload)
        return event
