"""The control service is what the control API asks: the coordinator's jobs, and the coordinator itself.

Knows no HTTP, and nothing of how jobs are run.
"""

import os
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from importlib.metadata import version

import msgspec
from twisted.internet.defer import Deferred

from mu_twisted.coordinator import (
    ActiveTasks,
    CoordinatorCounts,
    DaemonStatus,
    EventPage,
    EventQuery,
    EventSink,
    Failures,
    Jobs,
    ObservedJobService,
    Request,
    Story,
    TeeCursor,
    TeePage,
    Timeline,
    WorkerRegistry,
)
from mu_twisted.statuses import MAX_PAGE, JobStatus, OutputPage, OutputQuery, SettledPage, TaskPage


class ControlService(ObservedJobService):
    """The :class:`~mu_twisted.coordinator.ObservedJobService` of a daemon.

    :param jobs: the coordinator's.
    :param registry: of its workers.
    :param port: that workers dial.
    :param launch_rate: launches a second, where Lambda's throttling has slowed them down; else None.
    :param local: the state directory of the embedded Lambda and S3, if the jobs use those.
    :param transport: what carries the workers' connections.
    :param loop_lag: seconds that the reactor was late of late.
    :param dashboard: the address of its dashboard, which by itself opens nothing; None: it has none.
    :param spans: of traces, by what became of them; None: no traces are sent.
    """

    def __init__(
        self,
        jobs: Jobs,
        registry: WorkerRegistry,
        *,
        port: int,
        launch_rate: Callable[[], float | None],
        local: str | None = None,
        transport: str = "",
        loop_lag: Callable[[], float | None] = lambda: None,
        dashboard: Callable[[], str | None] = lambda: None,
        spans: Mapping[str, int] | None = None,
    ) -> None:
        self._jobs = jobs
        self._registry = registry
        self._port = port
        self._launch_rate = launch_rate
        self._local = local
        self._transport = transport
        self._loop_lag = loop_lag
        self._dashboard = dashboard
        self._spans = spans

    def daemon(self) -> DaemonStatus:
        """How the coordinator itself is."""
        return DaemonStatus(
            pid=os.getpid(),
            version=version("mu-twisted"),
            port=self._port,
            jobs=self._jobs.running,
            workers=len(self._registry),
            note=self._jobs.trouble,
            launch_rate=self._launch_rate(),
            loop_lag=self._loop_lag(),
            local=self._local,
            transport=self._transport,
            dashboard=self._dashboard(),
        )

    def counts(self) -> CoordinatorCounts:
        """What is counted for metrics."""
        return msgspec.structs.replace(self._jobs.counts(), spans=None if self._spans is None else dict(self._spans))

    def submit(self, request: Request) -> Deferred[JobStatus]:
        """As :class:`~mu_twisted.coordinator.JobService` says, as do all below."""
        return self._jobs.submit(request)

    def jobs(self) -> Sequence[JobStatus]:
        return self._jobs.jobs()

    def job(self, name: str) -> JobStatus:
        return self._jobs.job(name)

    def tasks(
        self, name: str, cursor: int = 0, *, limit: int = MAX_PAGE, state: str | None = None
    ) -> Awaitable[TaskPage]:
        return self._jobs.tasks(name, cursor, limit=limit, state=state)

    def wait(self, name: str) -> Deferred[JobStatus]:
        return self._jobs.wait(name)

    def settled(self, name: str, after: int = 0, *, results: bool = False) -> Deferred[SettledPage]:
        return self._jobs.settled(name, after, results=results)

    def extend(self, name: str, inputs: str) -> int:
        return self._jobs.extend(name, inputs)

    def close(self, name: str) -> JobStatus:
        return self._jobs.close(name)

    def cancel(self, name: str) -> Deferred[JobStatus]:
        return self._jobs.cancel(name)

    def retry(self, name: str, only: Collection[int] | None = None) -> Deferred[JobStatus]:
        return self._jobs.retry(name, only)

    def log(self, name: str, task: int | None) -> Awaitable[str]:
        return self._jobs.log(name, task)

    def events(self, name: str, query: EventQuery) -> Awaitable[EventPage]:
        return self._jobs.events(name, query)

    def output(self, name: str, query: OutputQuery) -> Awaitable[OutputPage]:
        return self._jobs.output(name, query)

    def tee(self, name: str, after: TeeCursor | None) -> Deferred[TeePage]:
        return self._jobs.tee(name, after)

    def remove(self, name: str) -> Deferred[None]:
        return self._jobs.remove(name)

    def active(self, name: str, limit: int) -> Awaitable[ActiveTasks]:
        return self._jobs.observation.active(name, limit)

    def timeline(self, name: str) -> Awaitable[Timeline]:
        return self._jobs.observation.timeline(name)

    def failures(self, name: str) -> Awaitable[Failures]:
        return self._jobs.observation.failures(name)

    def story(self, name: str, task: int) -> Awaitable[Story]:
        return self._jobs.observation.story(name, task)

    def watch_jobs(self, sink: EventSink) -> Callable[[], None]:
        return self._jobs.observation.watches.watch_jobs(sink)

    def watch_job(self, name: str, sink: EventSink, after: int = 0) -> Callable[[], None]:
        return self._jobs.observation.watches.watch_job(name, sink, after)
