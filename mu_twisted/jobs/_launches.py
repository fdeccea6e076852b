"""Launches keep the identifiers, each used once: which have a worker, and for which one may still connect."""

from collections.abc import Generator, Iterable, Mapping
from enum import Enum

from msgspec import Struct

from mu_twisted.base.steps import STEP
from mu_twisted.jobs._launch_id import LaunchId

MAX_STRANGE = 64
"""Launch ids that are not ours and are let in all the same (a user invoked the function by hand)."""
MAX_REASONS = 100
"""Reasons for refusals that are counted apart."""
MAX_REASON = 500
"""Characters of each that are kept."""


class Arrival(Enum):
    """Which worker it is that has greeted."""

    NEW = "its launch id has not been used"
    BACK = "a worker that had lost us is back"
    DOUBLED = "its launch id is in use"
    STRANGE = "its launch id is not ours"


class _Expected(Struct, gc=False):
    """A launch whose worker may still connect.

    :ivar accepted: whether Lambda has taken it.
    :ivar known: whether its worker has been here before.
    """

    accepted: bool = False
    known: bool = False


class Launches:
    """The launches of a job.

    :ivar generation: first part of new identifiers.
    :ivar unsent: launches that Lambda has not taken yet.
    """

    def __init__(self) -> None:
        self.generation = 0
        self.unsent = 0
        self.any_connected = False
        self.any_accepted = False
        self._number = 0
        self._limits: dict[int, int] = {}
        self._expected: dict[LaunchId, _Expected] = {}
        self._used: dict[LaunchId, int | None] = {}
        self._bound: set[LaunchId] = set()
        self._strange = 0
        self._refusals: dict[str, int] = {}

    def __len__(self) -> int:
        return len(self._expected)

    def begin(self, generation: int, launched: Mapping[int, int], used: Iterable[LaunchId]) -> None:
        """A new generation of identifiers.

        :param launched: how many there were in those before.
        :param used: those with which a worker has connected.
        """
        self.generation = generation
        self._number = 0
        self._limits = dict(launched)
        self.give_up_all()
        self._used = dict.fromkeys(used)
        self._bound.clear()
        self.any_connected = bool(self._used)

    def new(self, count: int) -> tuple[LaunchId, ...]:
        """Identifiers that have never been used; a worker is expected for each."""
        ids = tuple(LaunchId(f"{self.generation}-{number}") for number in range(self._number, self._number + count))
        self._number += count
        self._limits[self.generation] = self._number
        self._expected.update({launch_id: _Expected() for launch_id in ids})
        self.unsent += count
        return ids

    def expect_back(self, launch_id: LaunchId) -> None:
        """Its worker was connected, or on its way, before the coordinator was restarted."""
        self._forget(launch_id)
        self._expected[launch_id] = _Expected(accepted=True, known=True)

    def unseen(self, count: int) -> Generator[None, None, list[LaunchId]]:
        """The latest identifiers, ``count`` at most, with which no worker has connected yet; with pauses."""
        found: list[LaunchId] = []
        for generation in sorted(self._limits, reverse=True):
            for number in range(self._limits[generation] - 1, -1, -1):
                if len(found) >= count:
                    return found
                launch_id = LaunchId(f"{generation}-{number}")
                if launch_id not in self._used and launch_id not in self._expected:
                    found.append(launch_id)
                if number % STEP == 0:
                    yield
        return found

    def accept(self, launch_id: LaunchId) -> bool:
        """Lambda has taken it; False if no worker is expected for it."""
        expected = self._expected.get(launch_id)
        if expected is None:
            return False
        self.unsent -= not expected.accepted
        self.any_accepted = expected.accepted = True
        return True

    def refuse(self, launch_id: LaunchId, reason: str) -> bool:
        """No worker will come of it; False if none was expected."""
        if self._forget(launch_id) is None:
            return False
        reason = reason[:MAX_REASON]
        if reason in self._refusals or len(self._refusals) < MAX_REASONS:
            self._refusals[reason] = self._refusals.get(reason, 0) + 1
        return True

    def give_up(self, launch_id: LaunchId) -> bool | None:
        """Expect no worker for it any more.

        :returns: None if none was expected; else whether it was a launch, not a worker that was to come back.
        """
        expected = self._forget(launch_id)
        return None if expected is None else not expected.known

    def give_up_all(self) -> None:
        """Expect no worker any more."""
        self._expected.clear()
        self.unsent = 0

    def arrive(
        self, launch_id: LaunchId | None, worker: int, redial: bool | None, *, proven: bool = False
    ) -> tuple[Arrival, int | None]:
        """Note a worker's first greeting on a connection.

        :param redial: whether it says that it has been here before; None: it does not say.
        :param proven: whether it has shown the token of its launch id.
        :returns: who it is, and the number of the connection that it has replaced.
        """
        if launch_id is None:
            self.any_connected = True
            if self._expected:
                self._forget(next(reversed(self._expected)))
            return Arrival.NEW, None
        known, before = launch_id in self._used, self._used.get(launch_id)
        if proven:
            redial = True
        elif launch_id in self._bound:
            return Arrival.DOUBLED, before
        if (redial is False and known) or (redial is None and before is not None):
            return Arrival.DOUBLED, before
        if not known and not self._is_ours(launch_id):
            self._strange += 1
            if self._strange > MAX_STRANGE:
                return Arrival.STRANGE, None
        self.any_connected = True
        self._used[launch_id] = worker
        if proven:
            self._bound.add(launch_id)
        self._forget(launch_id)
        return Arrival.BACK if known or redial else Arrival.NEW, before

    def bind(self, launch_id: LaunchId, worker: int) -> None:
        """The worker has the token of its launch id: from now on that is good for no worker that does not show it."""
        if self._used.get(launch_id) == worker:
            self._bound.add(launch_id)

    def left(self, launch_id: LaunchId | None, worker: int) -> None:
        """The connection is gone; its worker may come back."""
        if launch_id is not None and self._used.get(launch_id) == worker:
            self._used[launch_id] = None

    @property
    def refusal(self) -> str | None:
        """The most common reason of refusals, if there was any."""
        return max(self._refusals, key=lambda reason: self._refusals[reason]) if self._refusals else None

    def _forget(self, launch_id: LaunchId) -> _Expected | None:
        expected = self._expected.pop(launch_id, None)
        if expected is not None:
            self.unsent -= not expected.accepted
        return expected

    def _is_ours(self, launch_id: LaunchId) -> bool:
        generation, dash, number = launch_id.partition("-")
        if not dash or not (generation.isdecimal() and number.isdecimal() and launch_id.isascii()):
            return False
        if len(launch_id) > 40 or launch_id != f"{int(generation)}-{int(number)}":
            return False
        return int(number) < self._limits.get(int(generation), 0)
