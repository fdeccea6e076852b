"""Admission divides one coordinator's workers and launches among its jobs, so that none waits for another's end.

How fast launches go out, and how that gives way to throttling, is decided in one place for all jobs
(:class:`~mu_twisted.jobs.LaunchScheduler`); here is decided whose are next.
"""

from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from mu_twisted.jobs._launch_id import LaunchId


@dataclass(frozen=True)
class Grant:
    """These launches of a job may be sent now."""

    job: str
    launch_ids: tuple[LaunchId, ...]


@dataclass(frozen=True)
class LaunchAdmissionState:
    """Where the launches of all jobs stand, for a status.

    :param workers: that may be in flight at once; None: any number.
    :param in_flight: workers that are there or on their way, as of the last look.
    :param unanswered: launches that were granted and have no outcome yet.
    :param waiting: launches of each job that were not granted yet.
    """

    workers: int | None
    in_flight: int
    unanswered: int
    waiting: Mapping[str, int]


def fair_shares(workers: int, wanted: Mapping[str, int], least: Mapping[str, int] | None = None) -> dict[str, int]:
    """Divide workers among jobs: none gets more than it wants, and what one leaves the others share equally.

    :param least: for jobs, as long as they need more than one worker to get on, so many. Those that come first have
        them first; what cannot have them has none, as fewer would be of no use to it and may be missed by others.
    :returns: for each job, in the order given, at least 1 if it wants any: a job with no worker would never end.
    """
    shares: dict[str, int] = {}
    left, jobs = workers, len(wanted)
    for job, count in sorted(wanted.items(), key=lambda item: item[1]):
        share = min(count, -(-left // jobs))
        shares[job] = max(share, min(count, 1))
        left = max(0, left - share)
        jobs -= 1
    floors = dict.fromkeys(wanted, 0)  # of those that come later
    for job, count in (least or {}).items():
        missing = min(count, wanted[job]) - shares[job]
        floors[job] = min(count, wanted[job])
        if missing <= 0:
            continue
        spare = {other: shares[other] - floors[other] for other in wanted if other != job}
        if sum(max(0, each) for each in spare.values()) < missing:
            shares[job] = floors[job] = 0
            continue
        shares[job] += missing
        for other, each in sorted(spare.items(), key=lambda item: -item[1]):
            given = max(0, min(each, missing))
            shares[other] -= given
            missing -= given
    left = workers - sum(shares.values())  # what was of no use to those that have none
    for job in wanted if least else ():
        more = max(0, min(left, wanted[job] - shares[job])) if shares[job] else 0
        shares[job] += more
        left -= more
    return {job: shares[job] for job in wanted}


class LaunchAdmission:
    """Grants the launches of all jobs in turn.

    :param workers: that may be in flight at once, over all jobs; None: any number.
    :param unanswered: launches that may be without an outcome at once: what was granted cannot be overtaken.
    """

    def __init__(self, workers: int | None = None, *, unanswered: int = 1000) -> None:
        if unanswered < 1 or (workers is not None and workers < 1):
            raise ValueError("an admission needs at least one worker")
        self._workers = workers
        self._max_unanswered = unanswered
        self._queues: dict[str, deque[LaunchId]] = {}
        self._round: deque[str] = deque()
        self._unanswered: set[tuple[str, LaunchId]] = set()
        self._in_flight = 0

    @property
    def state(self) -> LaunchAdmissionState:
        """For a status."""
        waiting = {job: len(queue) for job, queue in self._queues.items() if queue}
        return LaunchAdmissionState(self._workers, self._in_flight, len(self._unanswered), waiting)

    @property
    def waiting(self) -> bool:
        """Whether launches wait for their turn."""
        return any(self._queues.values())

    def ceilings(self, wanted: Mapping[str, int], least: Mapping[str, int] | None = None) -> dict[str, int | None]:
        """How many workers each job may have (:meth:`Job.allow_workers`).

        :param wanted: what each job would have if it were alone (:attr:`Job.wanted_workers`).
        :param least: as for :func:`fair_shares`.
        """
        if self._workers is None or sum(wanted.values()) <= self._workers:
            return dict.fromkeys(wanted)
        return dict(fair_shares(self._workers, wanted, least))

    def ask(self, job: str, launch_ids: Sequence[LaunchId]) -> None:
        """A job asks for these launches."""
        if job not in self._queues:
            self._queues[job] = deque()
            self._round.append(job)
        self._queues[job].extend(launch_ids)

    def drop(self, job: str) -> list[LaunchId]:
        """The job does not want its launches any more that were not granted.

        :returns: these.
        """
        queue = self._queues.pop(job, None)
        if queue is None:
            return []
        self._round.remove(job)
        return list(queue)

    def answered(self, job: str, launch_ids: Iterable[LaunchId]) -> None:
        """These launches have their outcome."""
        self._unanswered.difference_update((job, launch_id) for launch_id in launch_ids)

    def grants(self, in_flight: Mapping[str, int]) -> list[Grant]:
        """Grant as many launches as the limits allow, one of each job in turn.

        :param in_flight: for each job the workers that are there, on their way, or asked for here
            (:attr:`Job.in_flight`).
        """
        queued = sum(len(queue) for queue in self._queues.values())
        self._in_flight = max(0, sum(in_flight.values()) - queued)
        free = self._max_unanswered - len(self._unanswered)
        if self._workers is not None:
            free = min(free, self._workers - self._in_flight)
        chosen: dict[str, list[LaunchId]] = {}
        while free > 0 and self._round:
            job = self._round.popleft()
            queue = self._queues[job]
            if not queue:
                del self._queues[job]
                continue
            chosen.setdefault(job, []).append(queue.popleft())
            self._round.append(job)
            free -= 1
        for job, launch_ids in chosen.items():
            self._unanswered.update((job, launch_id) for launch_id in launch_ids)
            self._in_flight += len(launch_ids)
        return [Grant(job, tuple(launch_ids)) for job, launch_ids in chosen.items()]
