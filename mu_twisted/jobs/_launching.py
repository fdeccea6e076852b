"""Launches as pure decisions: what to send when, what to try again, when to give up.

An event and the time go in, actions come out. Each launch that was submitted ends with exactly one :class:`Settle`.
Knows neither sockets nor clocks nor where its randomness comes from.
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from enum import Enum

ACCEPTED = 202
"""The status with which Lambda takes an event."""


@dataclass(frozen=True)
class LaunchPolicy:
    """How hard to try, and how fast.

    :param rate: launches a second in each region, tries again included.
    :param burst: how many may go out at once after a rest.
    :param tries: how often one launch is sent at most.
    :param first_delay: seconds before the second try, doubled with each further one; the half of it is random.
    :param longest_delay: seconds that this may grow to.
    :param deadline: seconds from its submission after which a launch is not sent any more.
    """

    rate: float = 1000.0
    burst: int = 1000
    tries: int = 8
    first_delay: float = 0.25
    longest_delay: float = 15.0
    deadline: float = 120.0

    def __post_init__(self) -> None:
        if self.rate <= 0 or self.burst < 1 or self.tries < 1 or self.deadline <= 0:
            raise ValueError("a launch policy needs a positive rate, burst, number of tries and deadline")
        if self.first_delay < 0 or self.longest_delay < self.first_delay:
            raise ValueError("a launch policy's delays must be 0 <= first <= longest")


class Fault(Enum):
    """What an answer's status alone does not say."""

    NO_ANSWER = "the connection failed, or what came was no HTTP"
    EXPIRED = "the session token has expired"
    CANCELLED = "given up by us"
    NEVER = "it cannot work: the certificate, the name, the credentials"


@dataclass(frozen=True)
class Answer:
    """What came of sending one launch.

    :param status: HTTP status; 0 where none came.
    :param reason: one line; empty where it was accepted.
    :param retry_after: seconds that the endpoint asks to wait.
    """

    launch_id: str
    status: int
    reason: str = ""
    retry_after: float | None = None
    fault: Fault | None = None


@dataclass(frozen=True)
class SendBatch:
    """Send these launches now, all in one region; then report ``batch_ended``. Never two of a region at once."""

    region: str
    launch_ids: tuple[str, ...]


@dataclass(frozen=True)
class Settle:
    """The one outcome of a launch.

    :param status: that of the last answer; 0 where none came.
    :param reason: one line; empty where it was accepted.
    """

    launch_id: str
    accepted: bool
    status: int
    reason: str


LaunchAction = SendBatch | Settle


def in_turn(count: int, regions: Sequence[str]) -> list[str]:
    """The region of each of ``count`` launches: their number is the total, spread over the regions in turn."""
    return [regions[at % len(regions)] for at in range(count)]


@dataclass
class _Waiting:
    """A launch that has not been settled."""

    launch_id: str
    region: _Region
    until: float
    tries: int = 0
    in_flight: bool = False
    renewed: bool = False
    cancelled: bool = False
    last: Answer | None = None


@dataclass
class _Region:
    name: str
    tokens: float
    filled_at: float
    busy: bool = False
    held_until: float = float("-inf")
    ready: deque[_Waiting] = field(default_factory=deque)
    later: list[tuple[float, int, _Waiting]] = field(default_factory=list)
    ends: list[tuple[float, int, _Waiting]] = field(default_factory=list)
    in_flight: dict[str, _Waiting] = field(default_factory=dict)


class Launching:
    """The decisions about any number of launches. Every method that takes ``now`` returns what to do.

    :param policy: how hard to try.
    :param random: a number from 0 to 1 at each call.
    """

    def __init__(self, policy: LaunchPolicy, random: Callable[[], float]) -> None:
        self._policy = policy
        self._random = random
        self._regions: dict[str, _Region] = {}
        self._waiting: dict[str, _Waiting] = {}
        self._count = 0
        # So that a steady stream goes out in batches and not one by one.
        self._least = max(1.0, min(policy.burst, policy.rate / 20))

    @property
    def pending(self) -> int:
        """Launches without an outcome."""
        return len(self._waiting)

    def submit(self, launches: Iterable[tuple[str, str]], now: float) -> list[LaunchAction]:
        """Take launches on.

        :param launches: identifier and region of each.
        :raises ValueError: an identifier is in use; then none is taken.
        """
        wanted = list(launches)
        ids = {launch_id for launch_id, _ in wanted}
        if len(ids) != len(wanted) or not ids.isdisjoint(self._waiting):
            raise ValueError("a launch's identifier is in use")
        for launch_id, name in wanted:
            region = self._regions.get(name)
            if region is None:
                region = self._regions[name] = _Region(name, float(self._policy.burst), now)
            launch = _Waiting(launch_id, region, now + self._policy.deadline)
            self._waiting[launch_id] = launch
            region.ready.append(launch)
            heapq.heappush(region.ends, (launch.until, self._number(), launch))
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
                actions.append(self._settle(launch, Settle(launch.launch_id, True, ACCEPTED, "")))
            else:
                actions += self._refused(launch, answer, now)
        return actions

    def batch_ended(self, region: str, reason: str, now: float) -> list[LaunchAction]:
        """Nothing more will come of the batch that was sent to this region.

        :param reason: becomes that of launches which have not been answered.
        """
        at = self._regions[region]
        left = [Answer(launch_id, 0, reason, fault=Fault.NEVER) for launch_id in at.in_flight]
        actions = self.answered(left, now)
        at.busy = False
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
                times.append(region.ends[0][0])
            if region.busy:
                continue
            if region.later:
                times.append(region.later[0][0])
            if region.ready:
                missing = min(self._least, len(region.ready)) - region.tokens
                filled = region.filled_at + max(0.0, missing) / self._policy.rate
                times.append(max(filled, region.held_until))
        return max(now, min(times)) if times else None

    # -- how they are decided --------------------------------------------------------------------------------------

    def _number(self) -> int:
        self._count += 1
        return self._count

    def _settle(self, launch: _Waiting, outcome: Settle) -> Settle:
        del self._waiting[launch.launch_id]
        return outcome

    def _given_up(self, launch: _Waiting, why: str) -> Settle:
        status = 0
        if launch.last is not None:
            status = launch.last.status
            why = f"{why}; the last answer: {launch.last.reason}" if launch.last.reason else why
        return self._settle(launch, Settle(launch.launch_id, False, status, why))

    def _refused(self, launch: _Waiting, answer: Answer, now: float) -> list[LaunchAction]:
        if answer.fault is Fault.EXPIRED and not launch.renewed and not launch.cancelled and now < launch.until:
            launch.renewed = True
            launch.region.ready.appendleft(launch)
            return []
        again = answer.fault is Fault.NO_ANSWER or (answer.fault is None and _is_temporary(answer.status))
        if not again:
            return [self._settle(launch, Settle(launch.launch_id, False, answer.status, answer.reason))]
        if launch.cancelled:
            return [self._given_up(launch, "cancelled")]
        if launch.tries >= self._policy.tries:
            return [self._given_up(launch, f"given up after {launch.tries} tries")]
        delay = min(self._policy.longest_delay, self._policy.first_delay * 2.0 ** (launch.tries - 1))
        due = now + delay * (0.5 + 0.5 * self._random())
        if answer.retry_after is not None:
            due += answer.retry_after
            if answer.status == 429:
                launch.region.held_until = max(launch.region.held_until, now + answer.retry_after)
        if due >= launch.until:
            return [self._given_up(launch, f"given up after {launch.tries} tries")]
        heapq.heappush(launch.region.later, (due, self._number(), launch))
        return []

    def _forget_settled(self, region: _Region) -> None:
        ends = region.ends
        while ends and self._waiting.get(ends[0][2].launch_id) is not ends[0][2]:
            heapq.heappop(ends)

    def _expire(self, region: _Region, now: float) -> list[LaunchAction]:
        actions: list[LaunchAction] = []
        while region.ends and region.ends[0][0] <= now:
            launch = heapq.heappop(region.ends)[2]
            if self._waiting.get(launch.launch_id) is launch and not launch.in_flight:
                actions.append(self._given_up(launch, f"not sent within {self._policy.deadline:g} s"))
        return actions

    def _send(self, region: _Region, now: float) -> list[LaunchAction]:
        policy = self._policy
        while region.later and region.later[0][0] <= now:
            region.ready.append(heapq.heappop(region.later)[2])
        region.tokens = min(float(policy.burst), region.tokens + max(0.0, now - region.filled_at) * policy.rate)
        region.filled_at = max(now, region.filled_at)
        if region.busy or not region.ready or now < region.held_until:
            return []
        if region.tokens + 1e-6 < min(self._least, len(region.ready)):
            return []
        sent: list[str] = []
        while region.ready and len(sent) < int(region.tokens + 1e-6):
            launch = region.ready.popleft()
            if self._waiting.get(launch.launch_id) is not launch:
                continue
            launch.tries += 1
            launch.in_flight = True
            sent.append(launch.launch_id)
            region.in_flight[launch.launch_id] = launch
        if not sent:
            return []
        region.tokens -= len(sent)
        region.busy = True
        return [SendBatch(region.name, tuple(sent))]


def _is_temporary(status: int) -> bool:
    return status == 429 or 500 <= status <= 599
