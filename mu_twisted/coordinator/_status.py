"""What the coordinator is asked, beside statuses: requests, as they go in JSON, and the service that answers them.

Knows neither sessions nor where answers come from. The control API and the commands speak in these.
"""

from collections.abc import Awaitable, Collection, Sequence
from typing import Protocol

import msgspec
from twisted.internet.defer import Deferred

from mu_twisted.base.json_types import JsonObject
from mu_twisted.coordinator._counters import CoordinatorCounts
from mu_twisted.coordinator.output import TeeCursor, TeePage
from mu_twisted.jobs import Job
from mu_twisted.statuses import MAX_PAGE, JobStatus, OutputPage, OutputQuery, SettledPage, StageStatus, TaskPage


class Request(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A job as it was asked for; kept as long as the job's record.

    :param pipeline: an installed pipeline's name, or the path that its module had.
    :param words: the job options, as typed.
    :param source: the module's source, where the pipeline is a path. It is run in the daemon.
    :param inputs: what the tasks are to work on, packed as :func:`mu_twisted.pipelines.pack_inputs` does it.
    :param name: what the job's name is to begin with; None: the pipeline's.
    :param daemon: the options of the coordinator that took it, which says them itself: with them its failed tasks can
        be run again where no coordinator runs.
    :param tee: whether what its programs print will be asked for while they run, from the first on.
    """

    pipeline: str
    words: tuple[str, ...] = ()
    source: str | None = None
    inputs: str | None = None
    name: str | None = None
    daemon: tuple[str, ...] = ()
    tee: bool = False


def stage_statuses(job: Job) -> tuple[StageStatus, ...]:
    """The stages of a job as they stand."""
    return tuple(
        StageStatus(
            one.name,
            one.state,
            one.tasks,
            one.waiting,
            one.blocked,
            one.active,
            one.done,
            one.failed,
            one.waits or None,
        )
        for one in job.stages()
    )


def held_status(request: Request, submitted: float, job: Job, why: str, until: str) -> JobStatus:
    """How a job stands that does not go on now.

    :param submitted: when, seconds since 1970.
    :param why: one line, and ``until`` what lets it go on.
    """
    counts = job.counts()
    return JobStatus(
        job.name,
        request.pipeline,
        "held",
        submitted,
        counts.tasks,
        waiting=counts.waiting + counts.active,
        done=counts.done,
        failed=counts.failed,
        error=f"{why} (it is held as it stands: {until})",
        stages=_at_rest(stage_statuses(job)),
    )


def _at_rest(stages: tuple[StageStatus, ...]) -> tuple[StageStatus, ...]:
    """The stages of a job that is not being run: nothing of it is active."""
    return tuple(
        msgspec.structs.replace(one, state="waiting", waiting=one.waiting + one.active, active=0) if one.active else one
        for one in stages
    )


class EventQuery(msgspec.Struct, frozen=True):
    """Which events of a job are meant.

    :param after: the ``next`` of the page before; 0: from the first on.
    :param task: only those of this one.
    :param failed: only failures.
    :param structured: each as an object, and not as a line.
    """

    after: int = 0
    task: int | None = None
    failed: bool = False
    structured: bool = False


class EventPage(msgspec.Struct, frozen=True):
    """Some events of a job, as lines or as objects, in their order.

    :param next: where the page ends; those after it may come yet.
    :param more: whether there are some already.
    :param over: whether none will come before the job goes on again.
    """

    events: Sequence[str | JsonObject]
    next: int
    more: bool = False
    over: bool = False


class DaemonStatus(msgspec.Struct, frozen=True):
    """The coordinator itself.

    :param jobs: how many run.
    :param note: why it takes no new job, if so.
    :param local: the state directory of the embedded Lambda and S3, if it works with those.
    :param launch_rate: launches a second that it allows itself at the moment; None: no limit is in force.
    :param loop_lag: seconds that the latest of its timers came late of late; None: it is not known.
    :param transport: what carries the workers' connections, ``core`` or ``twisted``; empty where there are none.
    :param dashboard: the address of its dashboard, which by itself opens nothing; None: it has none.
    """

    pid: int
    version: str
    port: int
    jobs: int
    workers: int
    note: str | None = None
    launch_rate: float | None = None
    local: str | None = None
    transport: str = ""
    loop_lag: float | None = None
    dashboard: str | None = None


class JobService(Protocol):
    """What can be asked of a coordinator. Every method raises :class:`ServiceError` for what cannot be done."""

    def submit(self, request: Request) -> Deferred[JobStatus]:
        """Take a job; fires when it is in the journal, before anything is launched.

        :raises MuError: the request makes no sense: its pipeline or options are wrong. It is the Deferred that fails.
        """

    def daemon(self) -> DaemonStatus:
        """How the coordinator itself is."""

    def counts(self) -> CoordinatorCounts:
        """What is counted for metrics."""

    def jobs(self) -> Sequence[JobStatus]:
        """All jobs on record, the oldest first."""

    def job(self, name: str) -> JobStatus:
        """One job."""

    def tasks(
        self, name: str, cursor: int = 0, *, limit: int = MAX_PAGE, state: str | None = None
    ) -> Awaitable[TaskPage]:
        """Tasks of a job, by number.

        :param cursor: the ``next`` of the page before; 0: from the first on.
        :param limit: tasks at most.
        :param state: leave out those in another.
        """

    def wait(self, name: str) -> Deferred[JobStatus]:
        """Fires when the job is over; at once if it is. Cancelling the Deferred gives up waiting, not the job."""

    def settled(self, name: str, after: int = 0, *, results: bool = False) -> Deferred[SettledPage]:
        """Tasks that are done or have failed for good; fires when there are some, or none will come.

        Cancelling the Deferred gives up waiting.

        :param results: whether each is to come with what its last run has printed.
        :param after: the ``next`` of the page before; 0: from the first on.
        """

    def extend(self, name: str, inputs: str) -> int:
        """Add tasks to a job that is kept open; they are in the journal then.

        :param inputs: what they are to work on, packed as :func:`mu_twisted.pipelines.pack_inputs` does it.
        :returns: the number of the first.
        :raises NotYet: its records are being read, after a restart, or the coordinator is stopping.
        """

    def close(self, name: str) -> JobStatus:
        """Add no more tasks to a job: it ends with those that it has. One that is closed stays as it is.

        :raises NotYet: as :meth:`extend`.
        """

    def cancel(self, name: str) -> Deferred[JobStatus]:
        """End a job and every worker of it; fires when they are gone. A job that is over stays as it is."""

    def retry(self, name: str, only: Collection[int] | None = None) -> Deferred[JobStatus]:
        """Run the failed tasks of a job that is over again, or let one go on that is held.

        :param only: of these tasks, and of failed ones that they cannot be done without; None: all.
        """

    def log(self, name: str, task: int | None) -> Awaitable[str]:
        """What happened, as text, one event a line: of the job, or of all attempts at one task with their states."""

    def events(self, name: str, query: EventQuery) -> Awaitable[EventPage]:
        """What happened, page by page, for a caller that comes again for what happens then."""

    def output(self, name: str, query: OutputQuery) -> Awaitable[OutputPage]:
        """What programs of a job have printed, as far as it is kept, page by page."""

    def tee(self, name: str, after: TeeCursor | None) -> Deferred[TeePage]:
        """What programs of a job print while they run; fires when there is something behind the cursor, or the job is
        over. None: from what is left of it on. Cancelling gives up waiting only."""

    def remove(self, name: str) -> Deferred[None]:
        """Delete the record of a job that is not running; fires when it is gone."""
