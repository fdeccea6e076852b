"""The launch scheduler decides purely what to send when, what to try again, and when to give up.

An event and the time go in, actions come out. Each launch that was submitted ends with exactly one
:class:`LaunchOutcome`. Knows neither sockets nor clocks nor where its randomness comes from.
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from msgspec import Struct

from mu_twisted.base import counted
from mu_twisted.jobs._launch_values import (
    ACCEPTED,
    THROTTLED,
    Answer,
    Fault,
    LaunchAction,
    LaunchOutcome,
    LaunchPolicy,
    Pace,
    SendBatch,
    is_not_ready,
    is_retryable,
)
from mu_twisted.jobs._token_bucket import TokenBucket


class _PendingLaunch(Struct, eq=False):
    """A launch that has not been settled."""

    launch_id: str
    region: _Region
    deadline: float
    max_tries: int
    waits_for_wake: bool
    tries: int = 0
    in_flight: bool = False
    renewed: bool = False
    cancelled: bool = False
    last: Answer | None = None


@dataclass
class _Region:
    name: str
    bucket: TokenBucket
    busy: bool = False
    held_until: float = float("-inf")
    ready: deque[_PendingLaunch] = field(default_factory=deque)
    later: list[tuple[float, int, _PendingLaunch]] = field(default_factory=list)
    ends: deque[_PendingLaunch] = field(default_factory=deque)
    """All of them in the order of their deadlines; settled ones until they come to be the first."""
    in_flight: dict[str, _PendingLaunch] = field(default_factory=dict)


class LaunchScheduler:
    """The decisions about any number of launches. Every method that takes ``now`` returns what to do.

    :param policy: how hard to try.
    :param random: a number from 0 to 1 at each call.
    """

    def __init__(self, policy: LaunchPolicy, random: Callable[[], float]) -> None:
        self._policy = policy
        self._random = random
        self._regions: dict[str, _Region] = {}
        self._waiting: dict[str, _PendingLaunch] = {}
        self._count = 0

    @property
    def pending(self) -> int:
        """Launches without an outcome."""
        return len(self._waiting)

    def paces(self) -> list[Pace]:
        """How fast launches go out in each region, for a status: one that throttles is slower than its limit."""
        return [
            Pace(
                region=region.name,
                rate=region.bucket.rate,
                limit=region.bucket.limit,
                waiting=len(region.ready) + len(region.later),
                in_flight=len(region.in_flight),
            )
            for region in self._regions.values()
        ]

    def submit(
        self, launches: Iterable[tuple[str, str]], now: float, *, tries: Mapping[str, int] | None = None
    ) -> list[LaunchAction]:
        """Take launches on.

        :param launches: identifier and region of each.
        :param tries: how often those are sent at most that are not to be sent as often as the policy says.
        :raises ValueError: an identifier is in use; then none is taken.
        """
        deadline, usual, fewer = now + self._policy.deadline, self._policy.tries, tries or {}
        taken: dict[str, _PendingLaunch] = {}
        for launch_id, name in launches:
            if launch_id in taken or launch_id in self._waiting:
                raise ValueError("a launch's identifier is in use")
            region = self._regions.get(name)
            if region is None:
                region = self._regions[name] = _Region(name, TokenBucket(self._policy.rate, self._policy.burst, now))
            most = fewer.get(launch_id)
            taken[launch_id] = _PendingLaunch(launch_id, region, deadline, most or usual, most is None)
        self._waiting.update(taken)
        for launch in taken.values():
            launch.region.ready.append(launch)
            launch.region.ends.append(launch)
        return self.time_passed(now)

    def answered(self, answers: Iterable[Answer], now: float) -> list[LaunchAction]:
        """Answers to launches of a batch have come. One to a launch that waits for none is ignored."""
        actions: list[LaunchAction] = []
        for answer in answers:
            launch = self._waiting.get(answer.launch_id)
            if launch is None or not launch.in_flight:
                continue
            launch.in_flight = False
            del launch.region.in_flight[launch.launch_id]
            launch.last = answer
            if answer.status == ACCEPTED:
                actions.append(self._settle(launch, True, ACCEPTED, ""))
            else:
                actions += self._refused(launch, answer, now)
        return actions

    def batch_ended(self, region: str, reason: str, now: float) -> list[LaunchAction]:
        """Nothing more will come of the batch that was sent to this region.

        :param reason: becomes that of launches which have not been answered.
        """
        state = self._regions[region]
        left = [Answer(launch_id, 0, reason, fault=Fault.NEVER) for launch_id in state.in_flight]
        actions = self.answered(left, now)
        state.busy = False
        return actions + self.time_passed(now)

    def time_passed(self, now: float) -> list[LaunchAction]:
        """The clock has moved."""
        actions: list[LaunchAction] = []
        for region in self._regions.values():
            actions += self._expire(region, now)
            actions += self._send(region, now)
        return actions

    def cancel(self, now: float, launch_ids: Iterable[str] | None = None) -> list[LaunchAction]:
        """Send none of those that are waiting; what is in flight ends with its answer.

        :param launch_ids: which; None: all.
        """
        actions: list[LaunchAction] = []
        for launch_id in list(self._waiting if launch_ids is None else launch_ids):
            launch = self._waiting.get(launch_id)
            if launch is None:
                continue
            launch.cancelled = True
            if not launch.in_flight:
                actions.append(self._given_up(launch, "cancelled"))
        if launch_ids is not None:
            return actions
        for region in self._regions.values():
            region.ready.clear()
            region.later.clear()
            region.ends.clear()
        return actions

    def wake_at(self, now: float) -> float | None:
        """When to call :meth:`time_passed` next; None: not before the next event."""
        times: list[float] = []
        for region in self._regions.values():
            self._forget_settled(region)
            if region.ends:
                times.append(region.ends[0].deadline)
            if region.busy:
                continue
            if region.later:
                times.append(region.later[0][0])
            if region.ready:
                times.append(max(region.bucket.when(len(region.ready)), region.held_until))
        return max(now, min(times)) if times else None

    # -- how they are decided --------------------------------------------------------------------------------------

    def _number(self) -> int:
        self._count += 1
        return self._count

    def _settle(self, launch: _PendingLaunch, accepted: bool, status: int, reason: str) -> LaunchOutcome:
        del self._waiting[launch.launch_id]
        return LaunchOutcome(launch.launch_id, accepted, status, reason)

    def _given_up(self, launch: _PendingLaunch, why: str) -> LaunchOutcome:
        status = 0
        if launch.last is not None:
            status = launch.last.status
            why = f"{why}; the last answer: {launch.last.reason}" if launch.last.reason else why
        return self._settle(launch, False, status, why)

    def _refused(self, launch: _PendingLaunch, answer: Answer, now: float) -> list[LaunchAction]:
        if answer.fault is Fault.EXPIRED and not launch.renewed and not launch.cancelled and now < launch.deadline:
            launch.renewed = True
            launch.region.ready.appendleft(launch)
            return []
        if answer.status == THROTTLED:
            launch.region.bucket.slow_down(now)
        again = answer.fault is Fault.NO_ANSWER or (answer.fault is None and is_retryable(answer.status))
        if not again:
            return [self._settle(launch, False, answer.status, answer.reason)]
        if launch.cancelled:
            return [self._given_up(launch, "cancelled")]
        waking = answer.fault is None and is_not_ready(answer.status) and launch.waits_for_wake
        tried = counted(launch.tries, "try", "tries")
        if launch.tries >= launch.max_tries and not waking:
            return [self._given_up(launch, f"given up after {tried}")]
        longest = self._policy.wake_delay if waking else self._policy.longest_delay
        delay = min(longest, self._policy.first_delay * 2.0 ** min(launch.tries - 1, 60))
        due = now + delay * (0.5 + 0.5 * self._random())
        if answer.retry_after is not None:
            due += answer.retry_after
            if answer.status == THROTTLED:
                launch.region.held_until = max(launch.region.held_until, now + answer.retry_after)
        if due >= launch.deadline:
            within = f" within {self._policy.deadline:g} s" if waking else ""
            return [self._given_up(launch, f"given up after {tried}{within}")]
        heapq.heappush(launch.region.later, (due, self._number(), launch))
        return []

    def _forget_settled(self, region: _Region) -> None:
        ends = region.ends
        while ends and self._waiting.get(ends[0].launch_id) is not ends[0]:
            ends.popleft()

    def _expire(self, region: _Region, now: float) -> list[LaunchAction]:
        actions: list[LaunchAction] = []
        while region.ends and region.ends[0].deadline <= now:
            launch = region.ends.popleft()
            if self._waiting.get(launch.launch_id) is launch and not launch.in_flight:
                actions.append(self._given_up(launch, f"not sent within {self._policy.deadline:g} s"))
        return actions

    def _send(self, region: _Region, now: float) -> list[LaunchAction]:
        while region.later and region.later[0][0] <= now:
            region.ready.append(heapq.heappop(region.later)[2])
        region.bucket.fill(now)
        if region.busy or not region.ready or now < region.held_until:
            return []
        allowed = region.bucket.available(len(region.ready))
        sent: list[str] = []
        while region.ready and len(sent) < allowed:
            launch = region.ready.popleft()
            if self._waiting.get(launch.launch_id) is not launch:
                continue
            launch.tries += 1
            launch.in_flight = True
            sent.append(launch.launch_id)
            region.in_flight[launch.launch_id] = launch
        if not sent:
            return []
        region.bucket.spend(len(sent))
        region.busy = True
        return [SendBatch(region.name, tuple(sent))]
