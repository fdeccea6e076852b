"""A placement spreads a job's launches over regions and copies of its function, and computes what that costs.

Pure: knows prices by their table, and neither clients of AWS nor launchers.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Protocol

from mu_twisted.aws._prices import price_in
from mu_twisted.jobs import is_retryable
from mu_twisted.statuses import Cost

MAX_PLACES = 4
"""Places in which one launch is tried at most; in the last one as often as usual, so a fault of all costs no hour."""
HASTY_TRIES = 3
"""How often a launch is sent in a place, where there are others that can have it: that takes about a second."""


@dataclass(frozen=True)
class LaunchTarget:
    """One function in one region.

    :param region: AWS region.
    :param function: its name there.
    """

    region: str
    function: str


@dataclass(frozen=True)
class Deployment:
    """A job's function, as it was when it was looked up.

    :param places: the function in each region, copies included; at least one.
    :param timeout: how long an invocation may run: the longest of all places.
    :param memory_mb: of an environment: the largest of all places.
    :param tmp_mb: MB of an environment's temporary files: the largest of all places.
    :param architecture: ``x86_64`` or ``arm64``.
    :param absent: for each place of the job that cannot be used, why.
    :param original: places whose functions have the original's handler.
    """

    places: tuple[LaunchTarget, ...]
    timeout: timedelta
    memory_mb: int = 128
    tmp_mb: int = 512
    architecture: str = "x86_64"
    absent: tuple[str, ...] = ()
    original: tuple[LaunchTarget, ...] = ()


def copies_of(function: str, copies: int) -> list[str]:
    """The names of a function's copies, as ``mu lambdaize --copies`` gives them: NAME, NAME-2, ..."""
    return [function if number == 1 else f"{function}-{number}" for number in range(1, copies + 1)]


@dataclass
class _PlacedLaunch:
    place: LaunchTarget
    left: list[LaunchTarget] = field(default_factory=list)


class Spread:
    """Assigns each launch a place, and another one where that fails.

    :param deployment: the places. Launches go to them in turn, so that each gets its share.
    """

    def __init__(self, deployment: Deployment) -> None:
        self._places = deployment.places
        self._absent = deployment.absent
        self._excluded: dict[LaunchTarget, str] = {}
        self._turn = 0
        self._launches: dict[str, _PlacedLaunch] = {}
        self._moved_on: dict[LaunchTarget, tuple[int, str]] = {}

    def begin(self, launch_ids: Iterable[str]) -> list[tuple[str, LaunchTarget, int | None]]:
        """Assign places to new launches.

        :param launch_ids: unique among the launches in progress.
        :returns: for each its identifier, its place, and how often to try there; None: as often as usual.
        """
        usable = [place for place in self._places if place not in self._excluded] or list(self._places)
        begun = []
        for launch_id in launch_ids:
            index = self._turn % len(usable)
            self._turn += 1
            place = usable[index]
            rest = usable[index + 1 :] + usable[:index]
            elsewhere = [other for other in rest if other.region != place.region]
            others = [*elsewhere, *(other for other in rest if other.region == place.region)]
            self._launches[launch_id] = launch = _PlacedLaunch(place, others[: MAX_PLACES - 1])
            begun.append((launch_id, place, self._tries(launch)))
        return begun

    def refused(self, launch_id: str, status: int, reason: str) -> tuple[LaunchTarget, int | None] | None:
        """Assign another place to a launch that has failed in its own.

        :param status: HTTP's; 0 where there was no answer.
        :param reason: one line.
        :returns: the place to try next, and how often; None: there is no other.
        """
        launch = self._launches[launch_id]
        if not is_retryable(status):
            self._excluded.setdefault(launch.place, reason)
        launch.left = [place for place in launch.left if place not in self._excluded]
        if not launch.left:
            del self._launches[launch_id]
            return None
        count, _ = self._moved_on.get(launch.place, (0, ""))
        self._moved_on[launch.place] = (count + 1, reason)
        launch.place = launch.left.pop(0)
        return launch.place, self._tries(launch)

    def place_of(self, launch_id: str) -> LaunchTarget:
        """The place in which a launch is tried now."""
        return self._launches[launch_id].place

    def settled(self, launch_id: str) -> None:
        """Forget a launch that Lambda has taken, or that is not tried again."""
        self._launches.pop(launch_id, None)

    def notes(self) -> list[str]:
        """What the user should know of the places, a line each."""
        notes = list(self._absent)
        for place, (count, reason) in self._moved_on.items():
            launches = "1 launch" if count == 1 else f"{count} launches"
            notes.append(f"{place.function} in {place.region} handed {launches} on to other places: {reason}")
        return notes

    @staticmethod
    def _tries(launch: _PlacedLaunch) -> int | None:
        return HASTY_TRIES if launch.left else None


def places_of(regions: Sequence[str], function: str, copies: int) -> list[LaunchTarget]:
    """All places of a job, in the order of its launches."""
    return [LaunchTarget(region, name) for name in copies_of(function, copies) for region in regions]


def shares(workers: int, places: Sequence[LaunchTarget]) -> dict[LaunchTarget, int]:
    """Share a number of workers out to places."""
    even, more = divmod(workers, len(places))
    return {place: even + (index < more) for index, place in enumerate(places)}


class Use(Protocol):
    """A job's use of Lambda."""

    @property
    def requests(self) -> int:
        """Launches that Lambda has taken."""

    @property
    def memory_mb(self) -> int:
        """MB: the most that a worker has reported; 0 if none has."""

    def billed(self, timeout: float | None) -> float:
        """Seconds for which functions ran.

        :param timeout: the function's, seconds; None: not known.
        """


def cost_of(use: Use, deployment: Deployment | None, regions: Sequence[str]) -> Cost:
    """Compute a job's cost by the prices of the dearest of its regions.

    :param use: of Lambda.
    :param deployment: the function; None: not looked up since a restart, then the workers' reports count.
    :param regions: the job's.
    """
    memory_mb = deployment.memory_mb if deployment is not None else use.memory_mb
    seconds = use.billed(deployment.timeout.total_seconds() if deployment is not None else None)
    architecture = deployment.architecture if deployment is not None else "x86_64"
    tmp_mb = deployment.tmp_mb if deployment is not None else 512
    used = {place.region for place in deployment.places} if deployment is not None else set(regions)
    prices = [price_in(region, architecture) for region in sorted(used)]
    listed = [price for price in prices if price is not None]
    dearest = max(listed, key=lambda price: price.gb_second) if len(listed) == len(prices) and listed else None
    gb_seconds = round(seconds * memory_mb / 1024, 3)
    if dearest is None:
        return Cost(use.requests, round(seconds, 1), gb_seconds)
    price = round(dearest.of(use.requests, seconds, memory_mb, tmp_mb), 6)
    return Cost(
        use.requests, round(seconds, 1), gb_seconds, price, dearest.currency, dearest.date, dearest.estimated_by
    )
