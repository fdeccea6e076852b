"""The jobs of a coordinator are taken, run, kept over restarts, and described here.

Knows neither where workers come from nor what a pipeline needs: an :class:`Opener` does.
"""

from collections import Counter
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import msgspec
from twisted.internet.defer import Deferred, DeferredList, succeed
from twisted.internet.task import SchedulerStopped
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.python.usage import UsageError

from mu_twisted.base import MuError, printable
from mu_twisted.base.steps import Steps, exhaust
from mu_twisted.coordinator._active_jobs import ActiveJobs
from mu_twisted.coordinator._checkpoints import Checkpoints
from mu_twisted.coordinator._counters import CoordinatorCounts
from mu_twisted.coordinator._job_output import JobOutput
from mu_twisted.coordinator._launch_queue import LaunchQueue
from mu_twisted.coordinator._opening import Opened, Opener
from mu_twisted.coordinator._registry import WorkerRegistry
from mu_twisted.coordinator._slices import PAUSE, Slices
from mu_twisted.coordinator._status import EventPage, EventQuery, Request
from mu_twisted.coordinator._submission import Submission, job_name, reading_submission
from mu_twisted.coordinator._suspects import Suspects
from mu_twisted.coordinator.observation import Observation, reading_events, reading_log
from mu_twisted.coordinator.output import TeeCursor, TeePage
from mu_twisted.coordinator.records import (
    UNSERVED_UNTIL,
    History,
    JobArchive,
    Journal,
    JournalError,
    record_row,
    request_row,
    task_status,
)
from mu_twisted.coordinator.run import AttemptFile, JobRun, own_fault
from mu_twisted.jobs import Finished, Job, JobError
from mu_twisted.pipelines import Pipeline, PipelineError, PipelineOptions, guard, unpack_inputs
from mu_twisted.statuses import (
    FIRST,
    INTERRUPTED,
    MAX_PAGE,
    JobStatus,
    NotYet,
    OutputPage,
    OutputQuery,
    ServiceError,
    SettledPage,
    TaskPage,
    UnknownJob,
)
from mu_twisted.storage import (
    Labels,
    as_settled,
    page_of,
    reading_results,
    settled_last,
    settled_page,
    with_results,
)
from mu_twisted.transport import ReactorTime

T = TypeVar("T")

CANCELLED = "cancelled by its user"
SUSPECT_UNTIL = "`mu retry` runs its code once more, `mu cancel` ends it; submit it anew with its code mended"
HOLD_ALL_UNTIL = "`mu retry` lets it go on, as the coordinator's next start without that option does"
LEAVE = 2.0
"""Seconds that the workers of a cancelled job have to go before its cancellation is reported all the same."""


class Jobs:
    """All jobs of a coordinator; a :class:`~mu_twisted.coordinator.JobService` but for ``daemon``.

    :param clock: the time; it must not jump.
    :param wall: the time of day, seconds since 1970.
    :param journal: what outlives the process.
    :param registry: finds the jobs of workers that greet.
    :param opener: provides what jobs need from outside.
    :param directory: for the states of attempts.
    :param workers: in flight at once over all jobs; None: any number.
    :param suspects: the jobs whose code has ended the process before; None: it is not known.
    :param hold_all: whether :meth:`restore` takes up no job.
    :param held_because: why it takes up none, where none was to be; one line.
    :param daemon: the coordinator's options, which are noted in the records of the jobs that it takes.
    """

    _log = Logger()

    def __init__(
        self,
        clock: ReactorTime,
        *,
        wall: Callable[[], float],
        journal: Journal,
        registry: WorkerRegistry,
        opener: Opener,
        directory: Path,
        workers: int | None = None,
        suspects: Suspects | None = None,
        hold_all: bool = False,
        held_because: str | None = None,
        daemon: tuple[str, ...] = (),
    ) -> None:
        self._clock = clock
        self._suspects = suspects or Suspects()
        self._hold_all = hold_all
        self._held_because = held_because
        self._daemon = daemon
        self._wall = wall
        self._journal = journal
        self._opener = opener
        self._archive = JobArchive(journal, directory, wall, self._labels, labels_held=held_because is not None)
        self.registry = registry
        self.launch_queue = LaunchQueue(clock, workers)
        self._slices = Slices(clock)
        self._background = Slices(clock, PAUSE)
        self._checkpoints = Checkpoints(self._background, self._checkpointing)
        self._active_jobs = ActiveJobs(
            clock,
            wall=wall,
            journal=journal,
            registry=registry,
            launch_queue=self.launch_queue,
            directory=directory,
            grown=self._checkpoints.write,
            ended=self._job_ended,
        )
        self._output = JobOutput(self._active_jobs, self._archive, opener.parse, names_held=held_because is not None)
        self.observation = Observation(
            clock, wall, self, self._active_jobs, journal, self._output.label, self._slices.run
        )
        self._opening: set[str] = set()
        self._keeping: list[Steps[None]] = []
        self._unread: dict[str, None] = {}
        """Jobs on record of which it is not known yet whether they are over."""
        self._restoring: dict[str, JobStatus] = {}
        self._restored: dict[str, list[Deferred[None]]] = {}
        self._closing = False

    # -- the daemon's life -----------------------------------------------------------------------------------------

    def restore(self) -> Deferred[None]:
        """Take up the jobs that the journal holds: those that are over to be listed, the others to go on.

        Which they are is read a little in each turn, and of one that is asked for at once. Those that go on are listed
        as running while their records are read; their workers wait for that. One that cannot go on is held: nothing is
        written about it, and the next start takes it up again.

        :returns: fires when all are taken up.
        :raises JournalError: it cannot be read.
        """
        self._unread = dict.fromkeys(self._journal.jobs())
        for name in self._unread:
            self.registry.expect(name)
        return self._slices.run(self._recalling()).addCallback(self._all_recalled)

    def forget_old(self, before: float) -> Deferred[None]:
        """Delete the records of jobs that ended before a time, seconds since 1970."""
        return self._slices.run(self._forgetting(before))

    def stop(self) -> None:
        """Take no new jobs, dismiss all workers; jobs that run go on at the next start."""
        self._closing = True
        self.observation.watches.close()
        unfinished = list(self._keeping)
        self._checkpoints.stop()
        self._slices.stop()
        self._background.stop()
        for keeping in unfinished:  # the next to ask may ask the records
            with suppress(JournalError):
                exhaust(keeping)
        for name in self._active_jobs:
            try:
                self._active_jobs.run(name).stop()
            except Exception:  # noqa: BLE001 - the others are to be stopped all the same
                self._log.failure("job {job} was not stopped in good order", job=name)
        self.launch_queue.close()
        self._journal.flush()

    # -- what can be asked -----------------------------------------------------------------------------------------

    @property
    def running(self) -> int:
        """How many jobs run."""
        return len(self._active_jobs) + len(self._restoring)

    @property
    def busy(self) -> bool:
        """Whether a job runs, or is about to."""
        return bool(self.running or self._opening)

    @property
    def trouble(self) -> str | None:
        """Why no new job is taken, if so."""
        return "the coordinator is stopping" if self._closing else self._journal.fault

    def counts(self) -> CoordinatorCounts:
        """What is counted for metrics."""
        workers: Counter[str] = Counter()
        for name in self._active_jobs:
            workers.update(self._active_jobs.run(name).job.worker_slots())
        work, connections = self.launch_queue.counters, self.registry.counters
        return CoordinatorCounts(
            dict(work.launches),
            dict(work.attempts),
            connections.handshakes,
            connections.messages,
            dict(workers),
            self._journal.waiting,
            self._journal.lag,
            dict(work.bytes),
            dict(connections.failed_handshakes),
            sum(self.launch_queue.state.waiting.values()),
        )

    def submit(self, request: Request, parsed: tuple[Pipeline, PipelineOptions] | None = None) -> Deferred[JobStatus]:
        """Take a job.

        :param parsed: its pipeline and settings, where the caller has them.
        :returns: fires when it is in the journal, before anything is launched; fails with :class:`ServiceError`, or
            another :class:`MuError` for a request that makes no sense.
        """
        return Deferred.fromCoroutine(self._submit(request, parsed))

    def jobs(self) -> list[JobStatus]:
        """All jobs on record, the oldest first."""
        for name in list(self._unread):
            self._recall(name)
        running = map(self._active_jobs.status, self._active_jobs)
        return sorted(
            [*self._archive.statuses(), *self._restoring.values(), *running], key=lambda status: status.submitted
        )

    def job(self, name: str) -> JobStatus:
        """One job."""
        self._recall(name)
        if name in self._active_jobs:
            return self._active_jobs.status(name)
        return self._restoring.get(name) or self._archive[name]

    def tasks(
        self, name: str, cursor: int = 0, *, limit: int = MAX_PAGE, state: str | None = None
    ) -> Deferred[TaskPage]:
        """Tasks of a job, by number.

        :param cursor: the ``next`` of the page before; 0: from the first on.
        :param limit: tasks at most.
        :param state: leave out those in another.
        """
        self.job(name)
        return Deferred.fromCoroutine(self._page(name, cursor, limit, state))

    def labels(self, name: str) -> Labels:
        """What the tasks of a job are known by."""
        self.job(name)
        return self._output.label(name)

    def attempt_file(self, name: str) -> AttemptFile:
        """Where the states of a job's attempts are kept."""
        return self._active_jobs.attempt_file(name)

    def wait(self, name: str) -> Deferred[JobStatus]:
        """Fires when the job is over. Cancelling gives up waiting, not the job."""
        status = self.job(name)
        if name in self._restoring:
            return self._taken_up(name).addCallback(lambda _: self.wait(name))
        if name not in self._active_jobs:
            return succeed(status)
        waiting: Deferred[Any] = self._active_jobs.run(name).finished()
        return waiting.addCallback(lambda _: self.job(name))

    def settled(self, name: str, after: int = 0, *, results: bool = False) -> Deferred[SettledPage]:
        """Tasks that are done or have failed for good; fires when there are some, or none will come."""
        self.job(name)
        return Deferred.fromCoroutine(self._settled(name, after, results=results))

    def extend(self, name: str, inputs: str) -> int:
        """Add tasks to a job that is kept open; they are in the journal then."""
        self._check_restored(name)
        self._check_open()
        if name not in self._active_jobs:
            raise ServiceError(f"no tasks can be added to job {name}")
        with guard.on_behalf_of(name):
            first = self._active_jobs.run(name).extend(inputs)
        self._journal.flush()
        return first

    def close(self, name: str) -> JobStatus:
        """Add no more tasks to a job: it ends with those that it has."""
        self._check_restored(name)
        self._check_running()
        if name in self._active_jobs:
            self._active_jobs.run(name).close()
            self._journal.flush()
        return self.job(name)

    def cancel(self, name: str) -> Deferred[JobStatus]:
        """End a job and every worker of it; fires when they are gone, or have had time to."""
        self.job(name)
        if name in self._restoring:
            return self._taken_up(name).addCallback(lambda _: self.cancel(name))
        if name not in self._active_jobs:
            cancelling = self._slices.run(self._archive.cancelling(name, CANCELLED))
            return cancelling.addCallback(partial(self._forgotten, name))
        run = self._active_jobs.run(name)
        run.cancel(CANCELLED)
        gone: Deferred[Any] = run.workers_gone()
        gone.addTimeout(LEAVE, self._clock, onTimeoutCancel=lambda _result, _seconds: None)  # type: ignore[arg-type]
        return gone.addCallback(lambda _: self.job(name))

    def interrupt(self, name: str) -> None:
        """End a job that runs, as its coordinator is ended by its user; ``retry`` does what is left."""
        if name in self._active_jobs:
            self._active_jobs.run(name).cancel(INTERRUPTED)

    def interrupt_all(self) -> None:
        """The same for all that run."""
        for name in self._active_jobs:
            self.interrupt(name)

    def retry(self, name: str, only: Collection[int] | None = None) -> Deferred[JobStatus]:
        """Run the failed tasks of a job that is over again, or let one go on that is held.

        :param only: of these tasks, and of failed ones that they cannot be done without; None: all.
        """
        return self._slices.run(self._retrying(name, self._check_retried(name), only))

    def _check_retried(self, name: str) -> JobStatus:
        status = self.job(name)
        self._check_open()
        self._check_over(name)
        if not status.failed and status.state != "held":
            raise ServiceError(f"job {name} has no failed tasks")
        return status

    def _retrying(self, name: str, status: JobStatus, only: Collection[int] | None) -> Steps[JobStatus]:
        history, job = yield from self._archive.folding(name)
        if status.state == "held":
            yield from job.taking_up(self._clock.seconds())
        else:
            try:
                yield from job.retrying(self._clock.seconds(), only)
            except JobError as error:
                raise ServiceError(f"job {name}: {error}") from None
        if name in self._active_jobs:
            raise ServiceError(f"job {name} was set going again by another `mu retry` meanwhile: `mu wait {name}`")
        if self._check_retried(name) is not status:
            raise ServiceError(f"something else was done to job {name} at the same time: see `mu status {name}`")
        self._suspects.forget(name)
        try:
            run = self._go_on(history, job)
        except MuError as error:
            raise ServiceError(str(error)) from None
        self._archive.discard(name)
        try:
            self._active_jobs.begin(run, run.resume if status.state == "held" else run.retry)
        except BaseException:
            self._active_jobs.discard(name)
            self._journal.withdraw(name)
            self._archive.put(status)
            raise
        return self.job(name)

    def _forgetting(self, before: float) -> Steps[None]:
        while self._unread:
            yield
        yield from self._archive.forgetting(before)

    def _recalling(self) -> Steps[list[str]]:
        """Read how each job has ended, if it has.

        :returns: the names of those that have.
        """
        ended = []
        for name in list(self._unread):
            self._recall(name)
            if name not in self._restoring:
                ended.append(name)
            yield
        self._archive.sweep()
        return ended

    def _all_recalled(self, ended: list[str]) -> Deferred[None]:
        self.registry.expect_no_more(*ended)
        waiting: Deferred[Any] = DeferredList([self._taken_up(name) for name in self._restoring])
        return waiting.addCallback(lambda _: None)

    def _recall(self, name: str) -> None:
        """Read how a job has ended; one that has not begins to go on."""
        if name not in self._unread:
            return
        del self._unread[name]
        try:
            if self._archive.recall(name):
                self._suspects.forget(name)
                return
            self._restoring[name] = self._archive.unread(name)
        except MuError as error:
            self._log.error("job {job} cannot be read: {error}", job=name, error=str(error))
            self._archive.damaged(name, printable(str(error)))
        except Exception as error:  # noqa: BLE001 - no job may keep the others, or the coordinator, from going on
            self._log.failure("the records of job {job} cannot be used", job=name)
            self._archive.damaged(name, f"its records cannot be used: {own_fault(error)}; `mu rm` deletes them")
        else:
            self._slices.run(self._resuming(name)).addErrback(
                lambda failure: self._log.failure("job {job} was not taken up", failure, job=name)
            )

    def log(self, name: str, task: int | None) -> Deferred[str]:
        """What happened, one event a line: of the job, or of one task with the states of its attempts.

        :returns: fires when it is read, which takes several turns of the reactor; fails with :class:`ServiceError`.
        """
        return Deferred.fromCoroutine(self._read_log(name, task))

    def events(self, name: str, query: EventQuery) -> Deferred[EventPage]:
        """What happened, page by page, for a caller that comes again for what happens then."""
        self.job(name)
        return Deferred.fromCoroutine(self._read_events(name, query))

    def output(self, name: str, query: OutputQuery) -> Deferred[OutputPage]:
        """What the programs of a job's tasks have printed, as far as it is kept, page by page."""
        self.job(name)
        return Deferred.fromCoroutine(self._read_output(name, query))

    def tee(self, name: str, after: TeeCursor | None) -> Deferred[TeePage]:
        """What the programs of a job print while they run, page by page; fires when there is something."""
        self.job(name)
        if name in self._restoring:
            return self._taken_up(name).addCallback(lambda _: self.tee(name, after))
        return self._active_jobs.tee(name, after)

    def remove(self, name: str) -> Deferred[None]:
        """Delete the record of a job that is not running; fires when it is gone."""
        self.job(name)
        self._check_over(name)
        self.observation.forget(name)
        return self._slices.run(self._archive.removing(name)).addCallback(partial(self._forgotten, name))

    # -- inside ----------------------------------------------------------------------------------------------------

    def _check_running(self) -> None:
        if self._closing:
            raise NotYet("the coordinator is stopping: try again when it is back")

    def _check_restored(self, name: str) -> None:
        self.job(name)
        if name in self._restoring:
            raise NotYet(f"the records of job {name} are being read, after a restart of the coordinator: try again")

    def _check_open(self) -> None:
        self._check_running()
        if self._journal.fault is not None:
            raise ServiceError(f"no new job is taken: {self._journal.fault}")

    def _check_over(self, name: str) -> None:
        if name in self._active_jobs or name in self._restoring:
            raise ServiceError(f"job {name} is still running: cancel it first, or wait for its end")

    def _taken_up(self, name: str) -> Deferred[None]:
        """Fires when the records of a job that goes on have been read. Cancelling gives up waiting only."""
        waiting = self._restored.setdefault(name, [])
        one: Deferred[None] = Deferred(waiting.remove)
        waiting.append(one)
        return one

    async def _page(self, name: str, cursor: int, limit: int, state: str | None) -> TaskPage:
        if name in self._restoring:
            await self._taken_up(name)
        if name not in self._active_jobs:
            return await self._slices.run(self._archive.page(name, cursor, limit, state))
        run = self._active_jobs.run(name)
        views = run.job.tasks_from(cursor) if state is None else run.job.tasks_in_state(cursor, state)
        tasks = (None if view is None else task_status(view, running=True) for view in views)
        return await self._slices.run(page_of(tasks, limit, state, run.label))

    async def _settled(self, name: str, after: int, *, results: bool) -> SettledPage:
        page, places = await self._settled_page(name, after)
        return await self._with_results(name, page, places) if results else page

    async def _settled_page(self, name: str, after: int) -> tuple[SettledPage, list[int]]:
        if name in self._restoring:
            await self._taken_up(name)
        if name not in self._active_jobs:
            return await self._slices.run(self._archive.settled(name, after))
        run = self._active_jobs.run(name)
        await run.settled_after(after)
        job, counts = run.job, run.job.counts()
        slots = (
            None
            if number is None
            else as_settled(task_status(job.task(number), running=True), has_result=job.has_result(number))
            for number in settled_last(job.settled, after, now=counts.done + counts.failed)
        )
        return await self._slices.run(settled_page(slots, after, lambda: len(job.settled), run.label, over=job.over))

    async def _with_results(self, name: str, page: SettledPage, places: Sequence[int]) -> SettledPage:
        if name in self._active_jobs:
            outputs = self._active_jobs.run(name).outputs
            if outputs is not None:
                outputs.flush()
        done = [task.task for task in page.tasks if task.state == "done"]
        results = await self._slices.run(reading_results(self._active_jobs.output_file(name), done))
        return with_results(page, places, results)

    def _checkpointing(self, name: str) -> Steps[None]:
        active = self._active_jobs.active(name)
        if active is not None:
            job, label = active.run.job, active.run.labels
            changes = active.changes
            steps = self._archive.files.writing_checkpoint(active.request, active.submitted, job, label, changes)
            yield from guard.doing_for(name, steps)

    def _job_ended(self, status: JobStatus, job: Job, label: Labels) -> None:
        self._checkpoints.cancel(status.job)
        self._archive.put(status)
        keeping = self._archive.keeping(status, job, label)
        if keeping is None:
            return
        self._keeping.append(keeping)

        def ended(failure: Failure | None) -> None:
            self._keeping.remove(keeping)
            if failure is not None and not isinstance(failure.value, SchedulerStopped):
                self._log.failure("the tasks of job {job} are not kept", failure, job=status.job)

        self._background.run(keeping).addBoth(ended)

    def _labels(self, request: Request) -> Labels | None:
        """What the tasks of a job that is not being run are known by; None: that cannot be asked."""
        try:
            pipeline, settings = self._opener.parse(request)
        except (MuError, UsageError):  # it is not there any more, or another
            return None
        return pipeline.labels(settings)

    async def _read_events(self, name: str, query: EventQuery) -> EventPage:
        over = self.job(name).state != "running"  # before they are read: none is missed then
        try:
            page = await self._slices.run(reading_events(self._journal, name, query))
        except JournalError as error:
            raise ServiceError(str(error)) from None
        if query.task is not None and query.after == 0 and not page.events and not page.more:
            await self._check_task(name, query.task)
        return msgspec.structs.replace(page, over=over)

    async def _read_output(self, name: str, query: OutputQuery) -> OutputPage:
        if name in self._restoring:
            await self._taken_up(name)
        page = await self._slices.run(self._output.reading(name, query))
        if page.task is not None and not page.runs and query.after == FIRST:
            await self._check_task(name, page.task)
        return page

    async def _check_task(self, name: str, task: int) -> None:
        page = await self.tasks(name, task, limit=1)
        if not page.tasks or page.tasks[0].task != task:
            raise UnknownJob(f"job {name} has no task {task}")

    async def _read_log(self, name: str, task: int | None) -> str:
        self.job(name)
        try:
            text = await self._slices.run(reading_log(self._journal, self._active_jobs.attempt_file(name), name, task))
        except JournalError as error:
            raise ServiceError(str(error)) from None
        if task is not None and not text:
            await self._check_task(name, task)
        return text

    async def _submit(self, request: Request, parsed: tuple[Pipeline, PipelineOptions] | None) -> JobStatus:
        self._check_open()
        request = msgspec.structs.replace(request, daemon=self._daemon)
        submission = await self._slices.run(reading_submission(self._opener, request, parsed))
        pipeline, settings = submission.pipeline, submission.settings
        name = self._new_name(request.name or pipeline.name)
        self._opening.add(name)
        try:
            try:
                submission.gangs.check_size(self.launch_queue.state.workers, "--worker-limit")
                opened = await self._opener.open(name, pipeline, settings, submission.edges)
            except MuError as error:
                if error.misuse:
                    raise
                raise ServiceError(str(error)) from None
            job = await self._slices.run(submission.making(name, opened.skipped))
        except JobError as error:
            raise PipelineError(f"pipeline {pipeline.name}: {error}") from None
        finally:
            self._opening.remove(name)
        self._check_open()
        with self._taking(name):
            self._take(name, submission, opened, job)
            self._journal.flush()
            if self._journal.fault is not None:
                raise ServiceError(f"no new job is taken: {self._journal.fault}")
        return self.job(name)

    def _take(self, name: str, submission: Submission, opened: Opened, job: Job | None) -> None:
        at = self._wall()
        self._journal.append(name, request_row(submission.request, at))
        if job is None:
            done = JobStatus(name, submission.request.pipeline, "done", at, 0, skipped=len(opened.skipped), ended=at)
            self._journal.append(name, record_row(Finished(None), at, done))
            self._archive.put(done)
        else:
            run = self._active_jobs.add(submission.request, at, job, submission.pipeline, submission.settings, opened)
            self._active_jobs.begin(run, run.start)

    @contextmanager
    def _taking(self, name: str) -> Iterator[None]:
        """Take a job as a whole, or not at all."""
        try:
            yield
        except BaseException as error:
            self._active_jobs.discard(name)
            self._archive.discard(name)
            self._journal.withdraw(name)
            if isinstance(error, JobError | JournalError):
                raise ServiceError(str(error)) from None
            raise

    def _resuming(self, name: str) -> Steps[None]:
        try:
            history, job = yield from self._archive.folding(name)
            yield from job.taking_up(self._clock.seconds())
            del self._restoring[name]
            self._take_up(history, job)
            if self._held_because is not None:
                yield from self._archive.keeping_held(history, job)
        except MuError as error:
            self._log.error("job {job} cannot be read: {error}", job=name, error=str(error))
            self._archive.damaged(name, printable(str(error)))
        except Exception as error:  # noqa: BLE001 - as in restore
            self._log.failure("the records of job {job} cannot be used", job=name)
            self._archive.damaged(name, f"its records cannot be used: {own_fault(error)}; `mu rm` deletes them")
        finally:
            self._restoring.pop(name, None)
        self.registry.expect_no_more(name)
        for waiting in list(self._restored.pop(name, ())):
            waiting.callback(None)

    def _take_up(self, history: History, job: Job) -> None:
        """Let a job go on, unless it is one that had better not: none of its code runs then."""
        name = history.name
        why = self._suspects.why_held(name)
        if why is not None:
            self._log.error("job {job} is held: {why}", job=name, why=why)
            self._archive.hold(history, job, why, until=SUSPECT_UNTIL)
        elif self._hold_all:
            self._archive.hold(history, job, "the coordinator was started with --hold-all", until=HOLD_ALL_UNTIL)
        elif self._held_because is not None:
            self._archive.hold(history, job, self._held_because, until=UNSERVED_UNTIL)
        else:
            self._resume(history, job)

    def _forgotten(self, name: str, result: T) -> T:
        """The user has decided about a job: nothing is held against it any more."""
        self._suspects.forget(name)
        return result

    def _resume(self, history: History, job: Job) -> None:
        try:
            run = self._go_on(history, job)
            self._active_jobs.begin(run, run.resume)
        except MuError as error:
            self._log.warn("job {job} cannot go on: {error}", job=history.name, error=str(error))
            self._hold(history, job, printable(str(error)))
        except Exception as error:  # noqa: BLE001 - as in restore
            self._log.failure("job {job} cannot go on", job=history.name)
            self._hold(history, job, own_fault(error))

    def _hold(self, history: History, job: Job, why: str) -> None:
        self._active_jobs.discard(history.name)
        self._journal.withdraw(history.name)
        self._archive.hold(history, job, f"it cannot go on: {why}")

    def _go_on(self, history: History, job: Job) -> JobRun:
        with guard.on_behalf_of(history.name):
            pipeline, settings = self._opener.parse(history.request)
            for inputs in job.extensions:
                pipeline.extend(settings, unpack_inputs(inputs))
            opened = self._opener.reopen(history.name, pipeline, settings, job.edges)
        return self._active_jobs.add(history.request, history.submitted, job, pipeline, settings, opened, history.usage)

    def _new_name(self, pipeline: str) -> str:
        while True:
            name = job_name(pipeline)
            known = (self._archive, self._active_jobs, self._restoring, self._opening, self._journal)
            if not any(name in names for names in known):
                return name
