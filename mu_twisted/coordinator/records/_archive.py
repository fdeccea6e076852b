"""The archive has the jobs that are not active: over, held because they cannot go on, or damaged.

Knows records and statuses, neither pipelines nor workers.
"""

import shutil
from bisect import bisect_left
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import msgspec
from twisted.logger import Logger

from mu_twisted.base.steps import STEP, Steps
from mu_twisted.coordinator._status import Request, held_status, stage_statuses
from mu_twisted.coordinator.records._history import History, folding, last_status, record_row
from mu_twisted.coordinator.records._journal import Journal, JournalError
from mu_twisted.coordinator.records._task_files import MAX_KEPT, TaskFiles
from mu_twisted.jobs import Finished, Job, Record, TaskState, TaskView
from mu_twisted.statuses import (
    JobStatus,
    ServiceError,
    SettledPage,
    TaskPage,
    TaskStatus,
    UnknownJob,
)
from mu_twisted.storage import (
    Labels,
    TaskList,
    as_settled,
    is_held_so,
    no_label,
    page_of,
    reading_tasks,
    settled_last,
    settled_page,
)

MAX_NAMED = 20
"""Directories that one line of the log names."""
_GOING = ".removed"
"""Ends the name of a directory whose job is being removed."""
HELD_UNTIL = "`mu retry` tries again, as the coordinator's next start does"
"""What lets a job go on that is held because something is missing."""

_Kept = tuple[TaskList, Labels]


class JobArchive:
    """What is known of these jobs, and what can be done with them without a worker.

    :param journal: holds their records.
    :param directory: holds a directory for each job that has had an attempt.
    :param wall: the time of day, seconds since 1970.
    :param labels: from a job's request, what its tasks are known by; None: that cannot be asked.
    :param labels_held: whether that is asked of a job that is held, too, which may be so for what its own code does.
    :ivar files: those of the jobs' tasks, of jobs that run, too.
    """

    _log = Logger()

    def __init__(
        self,
        journal: Journal,
        directory: Path,
        wall: Callable[[], float],
        labels: Callable[[Request], Labels | None] = lambda _: no_label,
        *,
        labels_held: bool = False,
    ) -> None:
        self._labels_held = labels_held
        self._labels = labels
        self._journal = journal
        self._directory = directory
        self.files = TaskFiles(journal, directory)
        self._wall = wall
        self._statuses: dict[str, JobStatus] = {}
        self._kept: dict[str, _Kept] = {}
        self._reading: set[str] = set()
        """Jobs whose tasks are being read for a request; others wait for that, all in turn with it."""
        self._ending: dict[str, tuple[Job, Labels]] = {}
        """Jobs that have just ended, of which the tasks are not kept yet."""

    def __contains__(self, name: str) -> bool:
        return name in self._statuses

    def __getitem__(self, name: str) -> JobStatus:
        """:raises UnknownJob: there is no such job."""
        try:
            return self._statuses[name]
        except KeyError:
            raise UnknownJob(f"there is no job {name!r}: `mu jobs` lists them") from None

    def statuses(self) -> list[JobStatus]:
        """All of them."""
        return list(self._statuses.values())

    def put(self, status: JobStatus) -> None:
        """A job is on record, and not being run."""
        self._statuses[status.job] = status
        self._kept.pop(status.job, None)

    def discard(self, name: str) -> None:
        """It is being run, or was never taken."""
        self._statuses.pop(name, None)
        self._kept.pop(name, None)
        self._ending.pop(name, None)

    # -- what the journal says -------------------------------------------------------------------------------------

    def recall(self, name: str) -> bool:
        """Read how a job has ended.

        :returns: whether it has.
        :raises MuError: its last record is damaged.
        """
        try:
            status = last_status(self._journal.last(name))
        except msgspec.ValidationError as error:
            raise _damage(name, error) from None
        if status is not None:
            self.put(status)
        return status is not None

    def request(self, name: str) -> Request:
        """A job as it was asked for.

        :raises ServiceError: its records do not say.
        """
        try:
            return msgspec.convert(next(self._journal.records(name))["request"], Request)
        except JournalError as error:
            raise ServiceError(str(error)) from None
        except (LookupError, TypeError, StopIteration, msgspec.ValidationError) as error:
            raise _damage(name, error) from None

    def folding(self, name: str) -> Steps[tuple[History, Job]]:
        """A job as all its records describe it.

        :raises ServiceError: they describe none.
        """
        try:
            return (yield from folding(self._journal, name))
        except JournalError as error:
            raise ServiceError(str(error)) from None

    def page(self, name: str, cursor: int, limit: int, state: str | None) -> Steps[TaskPage]:
        """As :meth:`~mu_twisted.coordinator.JobService.tasks`. The tasks of the jobs that were asked for last are kept,
        so that further pages need not read the records again.
        """
        status = self[name]
        if status.state == "done" and not status.tasks:
            return TaskPage(())  # there was nothing to do
        if name in self._ending:
            job, label = self._ending[name]
            views = job.tasks_from(cursor) if state is None else job.tasks_in_state(cursor, state)
            some = (None if view is None else task_status(view, running=False) for view in views)
            return (yield from page_of(some, limit, state, label))
        found, label = yield from self._reading_tasks(name, status)
        tasks, first = found.tasks, bisect_left(found.tasks, cursor, key=lambda task: task.task)
        return (yield from page_of((tasks[index] for index in range(first, len(tasks))), limit, state, label))

    def settled(self, name: str, after: int) -> Steps[tuple[SettledPage, list[int]]]:
        """As :meth:`~mu_twisted.coordinator.JobService.settled`, with the places of the tasks."""
        status = self[name]
        if status.state == "done" and not status.tasks:
            return SettledPage((), 0, over=True), []
        ordered: Sequence[int]
        if name in self._ending:
            job, label = self._ending[name]
            ordered = job.settled

            def settled(number: int) -> TaskStatus | None:
                return as_settled(task_status(job.task(number), running=False), has_result=job.has_result(number))

        else:
            found, label = yield from self._reading_tasks(name, status)
            ordered = found.settled

            def settled(number: int) -> TaskStatus | None:
                task = found.tasks[bisect_left(found.tasks, number, key=lambda task: task.task)]
                return as_settled(task, has_result=number in found.again)

        numbers = settled_last(ordered, after, now=status.done + status.failed)
        slots = (None if number is None else settled(number) for number in numbers)
        return (yield from settled_page(slots, after, lambda: len(ordered), label, over=True))

    def keeping(self, status: JobStatus, job: Job, label: Labels) -> Steps[None] | None:
        """Keep the tasks of a job that has just ended: it will be asked for. Until they are kept, the job itself is.

        :param status: as it was put here.
        :returns: the work that is left to do; None: there are too many.
        """
        if status.tasks > MAX_KEPT:
            return None
        self._ending[status.job] = ending = job, label
        return self._keeping(status, ending)

    def _keeping(self, status: JobStatus, ending: tuple[Job, Labels]) -> Steps[None]:
        name = status.job
        if self._ending.get(name) is not ending:
            return  # it goes on, is removed, or has ended again
        try:
            found = yield from _task_list(*ending)
            self._keep(name, status, (found, no_label))
        finally:
            if self._ending.get(name) is ending:
                del self._ending[name]
        if self._statuses.get(name) is status:
            yield from self.files.writing(name, self.files.end(name), found)

    def keeping_held(self, history: History, job: Job) -> Steps[None]:
        """Keep the tasks of a job that is held, and how it stands, for the next question, unless they are kept."""
        status = self[history.name]
        path, end = self.files.path(status.job), self.files.end(status.job)
        if end is not None and status.tasks <= MAX_KEPT and not is_held_so(path, end, status):
            found = replace((yield from _task_list(job, self._labels(history.request))), held=status)
            self._keep(status.job, status, (found, no_label))
            self.files.make_directory(status.job)
            yield from self.files.writing(status.job, end, found)

    def _reading_tasks(self, name: str, status: JobStatus) -> Steps[_Kept]:
        """The tasks of a job, and what they are known by."""
        while name in self._reading and name not in self._kept:  # another request has begun: it is in turn with this
            yield
        kept = self._kept.get(name)
        if kept is not None:
            return kept
        self._reading.add(name)
        try:
            end = self.files.end(name)
            over = status.ended is not None
            may_ask = over or self._labels_held
            found = None
            if end is not None and (over or status.state == "held"):
                found = yield from reading_tasks(self.files.path(name), end)
            if found is None:
                history, job = yield from self.folding(name)
                found = yield from _task_list(job, self._labels(history.request) if may_ask else None)
                if over and len(found.tasks) <= MAX_KEPT:
                    yield from self.files.writing(name, end, found)
                kept = found, no_label
            elif found.labelled or not may_ask:
                kept = found, no_label
            else:
                kept = found, self._labels(self.request(name)) or no_label
        finally:
            self._reading.discard(name)
        self._keep(name, status, kept)
        return kept

    def _keep(self, name: str, status: JobStatus, tasks: _Kept) -> None:
        if self._statuses.get(name) is not status:
            return
        self._kept[name] = tasks
        while len(self._kept) > 1 and sum(len(found.tasks) for found, _ in self._kept.values()) > MAX_KEPT:
            del self._kept[next(iter(self._kept))]

    def unread(self, name: str) -> JobStatus:
        """The status of a job that goes on, before its records are read.

        :raises MuError: there are none of a job.
        """
        rows = self._journal.records(name)
        try:
            first, second = next(rows), next(rows, {})
            return JobStatus(
                name,
                msgspec.convert(first["request"], Request).pipeline,
                "running",
                float(first["at"]),
                len(second.get("record", {}).get("order", ())),
                note="its records are being read, after a restart of the coordinator",
            )
        except (LookupError, TypeError, ValueError, AttributeError, StopIteration, msgspec.ValidationError) as error:
            raise _damage(name, error) from None

    # -- what becomes of them --------------------------------------------------------------------------------------

    def damaged(self, name: str, error: str) -> None:
        """A job's records cannot be used. Whether it has ended is unknown, and only its user deletes it.

        :param error: one line.
        """
        pipeline, submitted = "?", 0.0
        try:
            first = next(iter(self._journal.records(name)))
            pipeline, submitted = str(first["request"]["pipeline"]), float(first["at"])
        except (JournalError, LookupError, TypeError, ValueError, StopIteration):
            pass  # then that is unknown as well
        self.put(JobStatus(name, pipeline, "failed", submitted, 0, error=error))

    def hold(self, history: History, job: Job, why: str, *, until: str = HELD_UNTIL) -> None:
        """A job cannot go on now, and waits as it stands.

        :param why: one line, and ``until`` what lets it go on.
        """
        self.put(held_status(history.request, history.submitted, job, why, until))

    def cancelling(self, name: str, reason: str) -> Steps[JobStatus]:
        """End a job that is held; any other stays as it is."""
        status = self[name]
        if status.state != "held":
            return status
        _, job = yield from self.folding(name)
        if self._statuses.get(name) is not status:
            return self[name]  # something else has become of it meanwhile
        records = [action.record for action in job.cancel(reason, 0.0) if isinstance(action, Record)]
        at, counts = self._wall(), job.counts()
        status = msgspec.structs.replace(
            status,
            state="cancelled",
            error=reason,
            ended=at,
            waiting=0,
            done=counts.done,
            failed=counts.failed,
            unfinished=job.unfinished,
            stages=stage_statuses(job),
        )
        for record in records:
            self._journal.append(name, record_row(record, at, status if isinstance(record, Finished) else None))
        self._journal.settle()
        self.put(status)
        return status

    def removing(self, name: str) -> Steps[None]:
        """Delete all that is kept of a job, which is not listed from now on.

        :raises ServiceError: it cannot be deleted.
        """
        status = self[name]
        kept, going = self._directory / name, self._directory / f"{name}{_GOING}"
        self.discard(name)
        with suppress(OSError):  # there is none, or it is left behind
            kept.rename(going)
        try:
            yield from self._journal.removing(name)
        except JournalError as error:
            with suppress(OSError):
                going.rename(kept)
            self.put(status)
            raise ServiceError(str(error)) from None
        shutil.rmtree(going, ignore_errors=True)

    def forgetting(self, before: float) -> Steps[None]:
        """Delete the records of jobs that ended before a time, seconds since 1970."""
        for status in self.statuses():
            if status.ended is not None and status.ended < before and self._statuses.get(status.job) is status:
                try:
                    yield from self.removing(status.job)
                except ServiceError as error:
                    self._log.error("job {job} is kept for now: {error}", job=status.job, error=str(error))

    def sweep(self) -> None:
        """Complete what was being removed when the coordinator was killed.

        Directories of jobs that have no records are kept, and named: it may be the journal that has lost them.
        """
        known, unknown = frozenset(self._journal.jobs()), []
        for path in list(self._directories()):
            name = path.name.removesuffix(_GOING)
            if name in known:
                if name != path.name and not (self._directory / name).exists():
                    with suppress(OSError):
                        path.rename(self._directory / name)
            elif name == path.name:
                unknown.append(name)
            else:
                self._log.info("what was left of job {job}, which was removed, is deleted", job=name)
                shutil.rmtree(path, ignore_errors=True)
        if unknown:
            named = sorted(unknown)[:MAX_NAMED]
            more = f" and {len(unknown) - len(named)} more" if len(unknown) > len(named) else ""
            self._log.warn(
                "{directory} holds jobs that the journal does not know; they are kept: {names}; bring back the "
                "journal of these jobs, or delete the directories if they are not wanted",
                directory=str(self._directory),
                names=", ".join(named) + more,
            )

    def _directories(self) -> Iterator[Path]:
        try:
            yield from filter(Path.is_dir, self._directory.iterdir())
        except OSError:
            return


def _task_list(job: Job, label: Labels | None) -> Steps[TaskList]:
    """The tasks of a job that is not being run.

    :param label: what a task is known by; None: that cannot be asked.
    """
    tasks: list[TaskStatus] = []
    again: list[int] = []
    for index, view in enumerate(job.tasks_from(0)):
        tasks.append(task_status(view, running=False, label=None if label is None else label(view.task)))
        if view.state is not TaskState.DONE and job.has_result(view.task):
            again.append(view.task)
        if index % STEP == 0:
            yield
    return TaskList(tasks, job.settled, frozenset(again), label is not None)


def task_status(view: TaskView, *, running: bool, label: str | None = None) -> TaskStatus:
    """One task of a job.

    :param running: whether the job is being run; else nothing of it is active.
    :param label: what it is known by.
    """
    state = view.state if running or view.state is not TaskState.ACTIVE else TaskState.WAITING
    error, waits = view.error or None, view.waits or None
    return TaskStatus(view.task, state.value, view.attempts, error, label, waits, stage=view.stage)


def _damage(name: str, error: Exception) -> ServiceError:
    return ServiceError(f"the journal's records of job {name} are damaged: {error}; `mu rm` deletes them")
