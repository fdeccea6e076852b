"""The launch queue sends the launches of all jobs in turn, within the coordinator's own limit.

It does not know how they are sent.

Outcomes come one at a time, and many in one turn of the reactor: what they make room for is sent together at its end,
as each time that a job may launch costs a key and an event.
"""

from collections.abc import Callable, Coroutine, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from twisted.internet.base import DelayedCall
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from mu_twisted.base import MuError
from mu_twisted.coordinator._counters import JobCounters
from mu_twisted.coordinator._interfaces import Launching
from mu_twisted.coordinator.run import JobRun
from mu_twisted.jobs import Job, LaunchAdmission, LaunchAdmissionState, LaunchId, LaunchOutcome
from mu_twisted.transport import ReactorTime, every

REBALANCE_INTERVAL = 1.0
"""Seconds between two divisions of the workers among the jobs."""
CANCELLED = "cancelled"
"""The reason of launches that their job has given up."""

OnOutcome = Callable[[LaunchOutcome], None]


@dataclass
class _LaunchRequest:
    """One call of a job for launches."""

    on_outcome: OnOutcome
    failed: Deferred[None]


class LaunchQueue:
    """The launches of all jobs.

    :param clock: for the divisions, and for the ends of turns.
    :param workers: in flight at once over all jobs; None: any number.
    """

    log = Logger()

    def __init__(self, clock: ReactorTime, workers: int | None = None) -> None:
        self.counters = JobCounters()
        """Of all jobs together."""
        self._clock = clock
        self._turn: DelayedCall | None = None
        self._admission = LaunchAdmission(workers)
        self._jobs: dict[str, tuple[JobRun, JobLaunchQueue]] = {}
        self._rebalancing = every(clock, REBALANCE_INTERVAL, self.rebalance)

    @property
    def state(self) -> LaunchAdmissionState:
        """For a status."""
        return self._admission.state

    def queue(self, job: Job, launching: Launching) -> "JobLaunchQueue":
        """What a job's run is to launch through."""
        return JobLaunchQueue(self, job, launching)

    def add(self, run: JobRun, queue: "JobLaunchQueue") -> None:
        """Count the job from now on."""
        self._jobs[run.name] = run, queue
        self._rebalancing.start()

    def remove(self, name: str) -> None:
        """The job is over."""
        _, queue = self._jobs.pop(name)
        queue.stop()
        if not self._jobs:
            self.close()
        self.dispatch()

    def close(self) -> None:
        """Stop dividing workers, and dispatching."""
        self._rebalancing.stop()
        if self._turn is not None:
            self._turn.cancel()
            self._turn = None

    def ask(self, name: str, launch_ids: Sequence[LaunchId]) -> None:
        """A job asks for launches."""
        self._admission.ask(name, launch_ids)
        self.dispatch()

    def drop(self, name: str) -> list[LaunchId]:
        """A job gives up its launches that were not sent; returns these."""
        return self._admission.drop(name)

    def answered(self, name: str, launch_ids: Iterable[LaunchId]) -> None:
        """Launches have their outcome."""
        self._admission.answered(name, launch_ids)
        if self._turn is None and self._admission.waiting:
            self._turn = self._clock.callLater(0, self._end_turn)

    def rebalance(self) -> None:
        """Divide the workers among the jobs anew."""
        try:
            self._divide()
        except Exception:  # noqa: BLE001 - else it is never called again, and launches wait for ever
            self.log.failure("dividing the workers among the jobs failed")

    def dispatch(self) -> None:
        """Send what the admission grants."""
        for grant in self._admission.grants({name: run.job.in_flight for name, (run, _) in self._jobs.items()}):
            if grant.job in self._jobs:
                _, queue = self._jobs[grant.job]
                queue.send(grant.launch_ids)

    # -- inside ----------------------------------------------------------------------------------------------------

    def _end_turn(self) -> None:
        self._turn = None
        self.dispatch()

    def _divide(self) -> None:
        wanted = {name: run.job.wanted_workers for name, (run, _) in self._jobs.items()}
        least = {name: run.job.least_workers for name, (run, _) in self._jobs.items()}
        for name, limit in self._admission.ceilings(wanted, least).items():
            if name not in self._jobs:  # it has ended as another was given its share
                continue
            run, _ = self._jobs[name]
            try:
                run.allow_workers(limit)
            except Exception:  # noqa: BLE001 - the others get theirs
                self.log.failure("job {job} cannot be given its share of workers", job=name)
        self.dispatch()


class JobLaunchQueue:
    """The launches of one job, in the launch queue's turn: a :class:`Launching` before another.

    :param job: whose launches they are: whether a worker of it has been reached says what a failure means.
    :param launching: sends them.
    """

    def __init__(self, launch_queue: LaunchQueue, job: Job, launching: Launching) -> None:
        self._launch_queue = launch_queue
        self._job = job
        self._name = job.name
        self._launching = launching
        self._calls: dict[LaunchId, _LaunchRequest] = {}

    def start(self, launch_ids: Sequence[LaunchId], on_outcome: OnOutcome) -> Deferred[None]:
        """As :class:`Launching` says; the Deferred fires only if it fails."""
        call = _LaunchRequest(on_outcome, Deferred())
        self._calls.update(dict.fromkeys(launch_ids, call))
        self._launch_queue.ask(self._name, launch_ids)
        return call.failed

    def stop(self) -> None:
        """Give up what has not been sent."""
        for launch_id in self._launch_queue.drop(self._name):
            self._report(LaunchOutcome(launch_id, False, 0, CANCELLED))
        self._launching.stop()

    def use_larger(self) -> None:
        """As :class:`Launching` says."""
        self._launching.use_larger()

    def note(self) -> str | None:
        """As :class:`Launching` says."""
        return self._launching.note()

    def diagnose(self) -> Coroutine[Any, Any, str]:
        """As :class:`Launching` says."""
        return self._launching.diagnose()

    def send(self, launch_ids: Sequence[LaunchId]) -> None:
        """Send these launches, whose turn it is."""
        sending = maybeDeferred(self._launching.start, launch_ids, self._settled)
        sending.addErrback(lambda failure: self._failed(launch_ids, failure))
        sending.addErrback(
            lambda failure: self._launch_queue.log.failure("the failure of a launch cannot be reported", failure)
        )

    def _settled(self, outcome: LaunchOutcome) -> None:
        self._launch_queue.answered(self._name, [LaunchId(outcome.launch_id)])
        self._report(outcome)

    def _report(self, outcome: LaunchOutcome) -> None:
        call = self._calls.pop(LaunchId(outcome.launch_id), None)
        if call is not None:
            kind = "accepted" if outcome.accepted else CANCELLED if outcome.reason == CANCELLED else "failed"
            self._launch_queue.counters.launches[kind] += 1
            call.on_outcome(outcome)

    def _failed(self, launch_ids: Sequence[LaunchId], failure: Failure) -> None:
        if not isinstance(failure.value, MuError):
            self._launch_queue.log.failure("launching for job {job} failed", failure, job=self._name)
        if not self._job.is_reached:
            launch_ids = [*launch_ids, *self._launch_queue.drop(self._name)]  # which would fare no better
        for launch_id in launch_ids:
            call = self._calls.pop(launch_id, None)
            self._launch_queue.counters.launches["failed"] += call is not None
            if call is not None and self._job.is_reached:
                # It has worked before; and others of the call may be sent later, and do better.
                call.on_outcome(LaunchOutcome(launch_id, False, 0, failure.getErrorMessage()))
            elif call is not None and not call.failed.called:
                call.failed.errback(failure)
        # Only now: a job that has ended by it asks for nothing more.
        self._launch_queue.answered(self._name, launch_ids)
