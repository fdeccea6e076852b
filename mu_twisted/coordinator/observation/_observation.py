"""The observation of jobs answers what they look like: over time, by what failed, task by task, and as it changes.

Reads what is on record and where jobs stand; changes nothing.
"""

from collections.abc import Awaitable, Callable
from typing import Any, Protocol

import msgspec
from twisted.internet.defer import Deferred

from mu_twisted.base.steps import Steps
from mu_twisted.coordinator._active_jobs import ActiveJobs
from mu_twisted.coordinator.observation._job_timeline import JobTimelines
from mu_twisted.coordinator.observation._task_story import reading_story
from mu_twisted.coordinator.observation._timeline_values import (
    ActiveTask,
    ActiveTasks,
    Failures,
    ReasonGroup,
    Story,
    Timeline,
)
from mu_twisted.coordinator.observation._watchers import Watches
from mu_twisted.coordinator.records import Journal, JournalError
from mu_twisted.statuses import (
    JobStatus,
    OutputPage,
    OutputQuery,
    ServiceError,
    TaskPage,
    TaskStatus,
    UnknownJob,
    failures_of,
)
from mu_twisted.storage import Labels
from mu_twisted.transport import ReactorTime
from mu_twisted.wording import FailedTask, FailureGroup, grouping, ranges

MAX_REASONS = 50
"""Reasons that are listed."""
MAX_LABELS = 6
"""Tasks of each reason whose names are given."""
MAX_REASON = 2000
"""Characters of each."""
MAX_SHOWN_OUTPUT = 8 << 10
"""Bytes of an output that are shown with a reason, the last ones."""


class ObservedJobs(Protocol):
    """The jobs of a coordinator, as far as they are asked."""

    def jobs(self) -> list[JobStatus]:
        """All jobs on record, the oldest first."""

    def job(self, name: str) -> JobStatus:
        """One job."""

    def tasks(self, name: str, cursor: int = 0, *, limit: int = 1000, state: str | None = None) -> Deferred[TaskPage]:
        """Tasks of a job, by number."""

    def output(self, name: str, query: OutputQuery) -> Awaitable[OutputPage]:
        """What programs of a job have printed."""


class Observation:
    """Of the jobs of a coordinator.

    :param clock: for what is sent as it changes, and for how long attempts have run.
    :param wall: the time of day, seconds since 1970.
    :param jobs: describe themselves; ``active`` has those that run, ``journal`` the records of all.
    :param label: what the tasks of a job are known by.
    :param run_steps: does long work a little in each turn.
    """

    def __init__(
        self,
        clock: ReactorTime,
        wall: Callable[[], float],
        jobs: ObservedJobs,
        active: ActiveJobs,
        journal: Journal,
        label: Callable[[str], Labels],
        run_steps: Callable[[Steps[Any]], Deferred[Any]],
    ) -> None:
        self._clock = clock
        self._wall = wall
        self._jobs = jobs
        self._active = active
        self._journal = journal
        self._label = label
        self._run_steps = run_steps
        self._timelines = JobTimelines(journal, wall)
        self.watches = Watches(clock, wall, jobs, active, journal, run_steps)

    async def timeline(self, name: str) -> Timeline:
        """A job over time.

        :raises ServiceError: its records cannot be read.
        """
        status = self._jobs.job(name)
        await self._taken_up(name)
        attempts = self._active.run(name).attempts if name in self._active else None
        reading = self._timelines.reading(status, self._active.attempt_file(name), attempts, self._label(name))
        return await self._reading(reading)  # type: ignore[no-any-return]

    async def failed_tasks(self, name: str) -> list[TaskStatus]:
        """All failed tasks of a job, by number.

        :raises UnknownJob: there is none of this name.
        """
        failed: list[TaskStatus] = []
        cursor: int | None = 0
        while cursor is not None:
            page = await self._jobs.tasks(name, cursor, state="failed")
            failed += page.tasks
            cursor = page.next
        return failed

    async def failures(self, name: str) -> Failures:
        """The failed tasks of a job by what they failed of, with the output of one of each."""
        failed = await self.failed_tasks(name)
        status = self._jobs.job(name)
        by_number = {task.task: task for task in failures_of(status, failed)}
        tasks = [FailedTask(task.task, task.attempts, task.error or "", task.label) for task in by_number.values()]
        groups = await self._run_steps(grouping(tasks))
        listed = [await self._group(name, group, by_number) for group in groups[:MAX_REASONS]]
        return Failures(listed, max(0, len(groups) - MAX_REASONS))

    async def story(self, name: str, task: int) -> Story:
        """One task from its beginning.

        :raises UnknownJob: there is no such task.
        """
        page = await self._jobs.tasks(name, task, limit=1)
        if not page.tasks or page.tasks[0].task != task:
            raise UnknownJob(f"job {name} has no task {task}")
        attempts = self._active.run(name).attempts if name in self._active else None
        story: Story = await self._reading(
            reading_story(self._journal, self._active.attempt_file(name), attempts, name, page.tasks[0], self._wall())
        )
        output = await self._jobs.output(name, OutputQuery(task=task, which="all"))
        return msgspec.structs.replace(story, runs=output.runs)

    async def active(self, name: str, limit: int) -> ActiveTasks:
        """What a job does now.

        :param limit: tasks at most.
        :raises UnknownJob: there is no such job.
        """
        self._jobs.job(name)
        await self._taken_up(name)
        if name not in self._active:
            return ActiveTasks()
        job, label = self._active.run(name).job, self._label(name)
        return ActiveTasks(
            [
                ActiveTask(
                    one.task,
                    one.attempt,
                    round(one.seconds, 3),
                    label(one.task),
                    None if one.launch_id is None else str(one.launch_id),
                    one.speculative,
                    one.waits or None,
                )
                for one in job.longest_running(limit, self._clock.seconds())
            ],
            job.worker_slots(),
        )

    def forget(self, name: str) -> None:
        """The job's records go, or are read anew."""
        self._timelines.forget(name)

    # -- inside ----------------------------------------------------------------------------------------------------

    async def _taken_up(self, name: str) -> None:
        """Wait until the records of a job that goes on have been read."""
        await self._jobs.tasks(name, limit=1)

    async def _reading(self, steps: Steps[Any]) -> Any:
        try:
            return await self._run_steps(steps)
        except JournalError as error:
            raise ServiceError(str(error)) from None

    async def _group(self, name: str, group: FailureGroup, tasks: dict[int, TaskStatus]) -> ReasonGroup:
        first = group.tasks[0]
        page = await self._jobs.output(name, OutputQuery(task=first.task))
        run = page.runs[-1] if page.runs else None
        output = None if run is None or run.output is None else run.output[-MAX_SHOWN_OUTPUT:]
        return ReasonGroup(
            group.reason[:MAX_REASON],
            len(group.tasks),
            ranges([task.task for task in group.tasks]),
            group.attempts,
            tasks[first.task],
            None if output is None else output.decode("utf-8", "backslashreplace"),
            None if run is None else run.status,
            {task.task: task.label for task in group.tasks[:MAX_LABELS] if task.label},
        )
