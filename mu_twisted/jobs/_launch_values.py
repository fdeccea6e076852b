"""These values are what launching is about: how hard to try, what was asked for, what came of it."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum

from msgspec import Struct

ACCEPTED = 202
"""The status with which Lambda takes an event."""
THROTTLED = 429
"""The status with which it says that it has too many."""
_NOT_READY = frozenset({408, 409})
"""Statuses with which it says that the function cannot be invoked yet: it is Pending or Inactive and wakes up
(ResourceConflictException), its snapshot is being made or takes too long (SnapStartNotReady, SnapStartTimeout), or its
file system is not mounted yet (EFSMountTimeout, EFSMountConnectivity)."""


@dataclass(frozen=True)
class LaunchPolicy:
    """How hard to try, and how fast.

    :param rate: launches a second in each region, tries again included.
    :param burst: how many may go out at once after a rest.
    :param tries: how often one launch is sent at most.
    :param first_delay: seconds before the second try, doubled with each further one; the half of it is random.
    :param longest_delay: seconds that this may grow to.
    :param deadline: seconds from its submission after which a launch is not sent any more. For so long a function that
        is not ready yet is waited for, however often that takes, as AWS may need a minute or two to make it so.
    :param wake_delay: in place of ``longest_delay`` then.
    """

    rate: float = 1000.0
    burst: int = 1000
    tries: int = 8
    first_delay: float = 0.25
    longest_delay: float = 15.0
    deadline: float = 120.0
    wake_delay: float = 5.0

    def __post_init__(self) -> None:
        if self.rate <= 0 or self.burst < 1 or self.tries < 1 or self.deadline <= 0:
            raise ValueError("a launch policy needs a positive rate, burst, number of tries and deadline")
        if self.first_delay < 0 or self.longest_delay < self.first_delay:
            raise ValueError("a launch policy's delays must be 0 <= first <= longest")


def is_retryable(status: int) -> bool:
    """Whether what Lambda answers with this status may be over in a while."""
    return status == THROTTLED or 500 <= status <= 599 or is_not_ready(status)


def is_not_ready(status: int) -> bool:
    """Whether Lambda says by this status that the function cannot be invoked yet."""
    return status in _NOT_READY


class Fault(Enum):
    """What an answer's status alone does not say."""

    NO_ANSWER = "the connection failed, or what came was no HTTP"
    EXPIRED = "the session token has expired"
    CANCELLED = "given up by us"
    NEVER = "it cannot work: the certificate, the name, the credentials"


class Answer(Struct, frozen=True, gc=False):
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


class LaunchOutcome(Struct, frozen=True, gc=False):
    """How a launch ended.

    :param accepted: whether Lambda has taken the event.
    :param status: the last answer's HTTP status; 0 where none came.
    :param reason: one line that says why it was not accepted; else empty.
    """

    launch_id: str
    accepted: bool
    status: int
    reason: str


@dataclass(frozen=True)
class Pace:
    """How fast launches go out in a region.

    :param rate: a second, at present; below ``limit`` where the endpoint has throttled of late.
    :param waiting: not sent, or to be sent again; ``in_flight`` ones wait for their answer.
    """

    region: str
    rate: float
    limit: float
    waiting: int
    in_flight: int

    @property
    def throttled(self) -> bool:
        """Whether the endpoint has throttled of late."""
        return self.rate < self.limit


LaunchAction = SendBatch | LaunchOutcome


def in_turn(count: int, regions: Sequence[str]) -> list[str]:
    """The region of each of ``count`` launches: their number is the total, spread over the regions in turn."""
    return [regions[at % len(regions)] for at in range(count)]
