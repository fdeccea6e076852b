"""The jobs of a coordinator: taken, run, remembered over restarts, told of.

Knows neither where workers come from nor what a pipeline needs: an :class:`Opener` does.
"""

import re
import secrets
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import msgspec
from twisted.internet.defer import Deferred, succeed
from twisted.logger import Logger

from mu_twisted.coordinator._attempts import AttemptFile, Attempts, TimesFile
from mu_twisted.coordinator._facts import JobFact, Request, ServiceError, TaskFact, UnknownJob
from mu_twisted.coordinator._hall import Hall
from mu_twisted.coordinator._history import History, last_fact, log_lines, record_row, request_row, state_lines
from mu_twisted.coordinator._job_run import JobRun, Launching
from mu_twisted.coordinator._journal import Journal, JournalError
from mu_twisted.coordinator._launch_desk import LaunchDesk
from mu_twisted.coordinator._peers import Peers
from mu_twisted.coordinator._rendezvous_link import RendezvousLink
from mu_twisted.jobs import Finished, Job, JobError, JobPolicy, JobRecord
from mu_twisted.pipelines import Pipeline, PipelineError
from mu_twisted.transport import ReactorTime
from mu_twisted.wire import MuError

LEAVE = 2.0
"""Seconds that the workers of a cancelled job have to go before its cancellation is told all the same."""


@dataclass(frozen=True)
class Opened:
    """What the run of a job needs from outside.

    :param launching: where its workers come from.
    :param peers: how its tasks come to their peers; with the ``link`` to their rendezvous.
    :param skipped: tasks that need not run, as their output is there.
    """

    launching: Launching
    peers: Peers | None = None
    link: RendezvousLink | None = None
    skipped: frozenset[int] = field(default_factory=frozenset)


class Opener(Protocol):
    """What knows pipelines, Lambda, S3 and the rendezvous."""

    def parse(self, request: Request) -> tuple[Pipeline, Any]:
        """The pipeline and its settings.

        :raises MuError: there is no such pipeline, or its options are wrong; one line.
        """

    async def open(self, name: str, pipeline: Pipeline, settings: Any) -> Opened:
        """Look at all that can be missing before anything is launched.

        :raises MuError: what is missing, on one line.
        """

    def reopen(self, name: str, pipeline: Pipeline, settings: Any) -> Opened:
        """The same for a job that goes on after a restart: nothing is looked at before it is needed."""

    def policy(self, settings: Any) -> JobPolicy:
        """How hard the job tries.

        :raises MuError: the options make no sense together.
        """


@dataclass
class _Active:
    """A job that is being run."""

    request: Request
    submitted: float
    run: JobRun
    opened: Opened


class _Keeper:
    """Keeps the records of one job, with the time of day."""

    def __init__(self, journal: Journal, wall: Callable[[], float], name: str, ended: Callable[[], JobFact]) -> None:
        self._journal = journal
        self._wall = wall
        self._name = name
        self._ended = ended

    def keep(self, records: Sequence[JobRecord]) -> None:
        at = self._wall()
        for record in records:
            fact = self._ended() if isinstance(record, Finished) else None
            self._journal.append(self._name, record_row(record, at, fact))

    def flush(self) -> None:
        self._journal.flush()


class Jobs:
    """All jobs of a coordinator; a :class:`~mu_twisted.coordinator.JobService` but for ``daemon``.

    :param clock: the time; it must not jump.
    :param wall: the time of day, seconds since 1970.
    :param journal: what outlives the process.
    :param hall: where workers come in.
    :param opener: see :class:`Opener`.
    :param directory: for the states of attempts.
    :param workers: in flight at once over all jobs; None: any number.
    """

    _log = Logger()

    def __init__(
        self,
        clock: ReactorTime,
        *,
        wall: Callable[[], float],
        journal: Journal,
        hall: Hall,
        opener: Opener,
        directory: Path,
        workers: int | None = None,
    ) -> None:
        self._clock = clock
        self._wall = wall
        self._journal = journal
        self._hall = hall
        self._opener = opener
        self._directory = directory
        self.desk = LaunchDesk(clock, workers)
        self._active: dict[str, _Active] = {}
        self._past: dict[str, JobFact] = {}
        self._closing = False

    # -- the daemon's life -----------------------------------------------------------------------------------------

    def restore(self) -> None:
        """Take up the jobs that the journal holds: those that are over to be told of, the others to go on.

        :raises JournalError: it cannot be read.
        """
        for name in self._journal.jobs():
            try:
                fact = last_fact(self._journal.last(name))
                if fact is not None:
                    self._past[name] = fact
                else:
                    self._resume(name)
            except (JournalError, msgspec.MsgspecError) as error:
                self._log.error("job {name} is lost: {error}", name=name, error=str(error))
                self._past[name] = JobFact(name, "?", "failed", 0.0, 0, error=str(error), ended=0.0)

    def forget_old(self, before: float) -> None:
        """Delete the records of jobs that ended before a time, seconds since 1970."""
        for name, fact in list(self._past.items()):
            if fact.ended is not None and fact.ended < before:
                self.remove(name)

    def stop(self) -> None:
        """Take no new jobs, tell all workers to quit; jobs that run go on at the next start."""
        self._closing = True
        for active in list(self._active.values()):
            active.run.stop()
        self.desk.close()
        self._journal.flush()

    # -- what can be asked -----------------------------------------------------------------------------------------

    @property
    def running(self) -> int:
        """How many jobs run."""
        return len(self._active)

    @property
    def trouble(self) -> str | None:
        """Why no new job is taken, if so."""
        return "the coordinator is stopping" if self._closing else self._journal.fault

    def submit(self, request: Request, parsed: tuple[Pipeline, Any] | None = None) -> Deferred[JobFact]:
        """Take a job.

        :param parsed: its pipeline and settings, where the caller has them.
        :returns: fires when it is in the journal, before anything is launched; fails with :class:`ServiceError`, or
            another :class:`MuError` for a request that makes no sense.
        """
        return Deferred.fromCoroutine(self._submit(request, parsed))

    def jobs(self) -> list[JobFact]:
        """All jobs on record, the oldest first."""
        running = [self._fact(name) for name in self._active]
        return sorted([*self._past.values(), *running], key=lambda fact: fact.submitted)

    def job(self, name: str) -> JobFact:
        """One job."""
        if name in self._active:
            return self._fact(name)
        try:
            return self._past[name]
        except KeyError:
            raise UnknownJob(f"there is no job {name!r}: `mu jobs` lists them") from None

    def tasks(self, name: str) -> list[TaskFact]:
        """All tasks of a job, by number."""
        if name in self._active:
            job = self._active[name].run.job
        else:
            self.job(name)
            job = self._folded(History(self._journal, name))
        views = job.tasks()
        return [TaskFact(view.task, view.state.value, view.attempts, view.error or None) for view in views]

    def wait(self, name: str) -> Deferred[JobFact]:
        """Fires when the job is over. Cancelling gives up waiting, not the job."""
        fact = self.job(name)
        if name not in self._active:
            return succeed(fact)
        waiting: Deferred[Any] = self._active[name].run.finished()
        return waiting.addCallback(lambda _: self.job(name))

    def cancel(self, name: str) -> Deferred[JobFact]:
        """End a job and every worker of it; fires when they are gone, or have had time to."""
        fact = self.job(name)
        if name not in self._active:
            return succeed(fact)
        run = self._active[name].run
        run.cancel("cancelled by its user")
        gone: Deferred[Any] = run.gone()
        gone.addTimeout(LEAVE, self._clock, onTimeoutCancel=lambda _result, _seconds: None)  # type: ignore[arg-type]
        return gone.addCallback(lambda _: self.job(name))

    def abort(self, name: str, error: str) -> None:
        """End a job that runs; what is not done has failed of this.

        :param error: one line.
        """
        if name in self._active:
            self._active[name].run.abort(error)

    def retry(self, name: str) -> JobFact:
        """Run the failed tasks of a job that is over again."""
        fact = self.job(name)
        self._check_open()
        if name in self._active:
            raise ServiceError(f"job {name} is still running: cancel it first, or wait for its end")
        if not fact.failed:
            raise ServiceError(f"job {name} has no failed tasks")
        history = History(self._journal, name)
        try:
            job = self._folded(history)
            active = self._go_on(name, history, job)
        except MuError as error:
            raise ServiceError(str(error)) from None
        del self._past[name]
        self._begin(active.run, active.run.retry)
        return self.job(name)

    def log(self, name: str, task: int | None) -> str:
        """What happened, one event a line: of the job, or of one task with the states of its attempts."""
        self.job(name)
        rows = list(self._journal.records(name))
        lines = list(log_lines(rows, task))
        if task is not None:
            if not lines and not any(fact.task == task for fact in self.tasks(name)):
                raise UnknownJob(f"job {name} has no task {task}")
            for attempt in self._attempt_file(name).read(task):
                lines += state_lines(attempt)
        return "".join(f"{line}\n" for line in lines)

    def remove(self, name: str) -> None:
        """Delete the record of a job that is over."""
        self.job(name)
        if name in self._active:
            raise ServiceError(f"job {name} is still running: cancel it first")
        try:
            self._journal.remove(name)
        except JournalError as error:
            raise ServiceError(str(error)) from None
        shutil.rmtree(self._directory / name, ignore_errors=True)
        del self._past[name]

    # -- inside ----------------------------------------------------------------------------------------------------

    def _check_open(self) -> None:
        if self._closing:
            raise ServiceError("the coordinator is stopping: try again when it is back")
        if self._journal.fault is not None:
            raise ServiceError(f"no new job is taken: {self._journal.fault}")

    async def _submit(self, request: Request, parsed: tuple[Pipeline, Any] | None) -> JobFact:
        self._check_open()
        pipeline, settings = parsed or self._opener.parse(request)
        policy = self._opener.policy(settings)
        order, consumes = pipeline.task_order(settings), pipeline.producers(settings)
        if parsed is None and settings["times"] is not None and not Path(settings["times"]).is_absolute():
            raise PipelineError("-O: give an absolute path: it is the coordinator that writes the file")
        name = job_name(pipeline.name)
        try:
            opened = await self._opener.open(name, pipeline, settings)
        except MuError as error:
            raise ServiceError(str(error)) from None
        self._check_open()
        submitted = self._wall()
        order = [task for task in order if task not in opened.skipped]
        if not order:
            return self._nothing_to_do(name, request, submitted, len(opened.skipped))
        kept = {
            task: tuple(by for by in consumes[task] if by not in opened.skipped) for task in order if task in consumes
        }
        try:
            job = Job(name, order, policy, consumes=kept, side_effects=pipeline.side_effects)
        except JobError as error:
            raise ServiceError(str(error)) from None
        active = self._activate(request, submitted, job, pipeline, settings, opened)
        self._journal.append(name, request_row(request, submitted))
        self._begin(active.run, active.run.start)
        self._journal.flush()
        return self.job(name)

    def _nothing_to_do(self, name: str, request: Request, at: float, skipped: int) -> JobFact:
        fact = JobFact(name, request.pipeline, "done", at, 0, skipped=skipped, ended=at)
        self._journal.append(name, request_row(request, at))
        self._journal.append(name, record_row(Finished(None), at, fact))
        self._journal.flush()
        self._past[name] = fact
        return fact

    def _resume(self, name: str) -> None:
        history = History(self._journal, name)
        try:
            active = self._go_on(name, history, self._folded(history))
        except (PipelineError, ServiceError) as error:
            self._log.warn("job {name} cannot go on: {error}", name=name, error=str(error))
            at = self._wall()
            fact = JobFact(name, history.request.pipeline, "failed", history.submitted, 0, error=str(error), ended=at)
            self._journal.append(name, record_row(Finished(str(error)), at, fact))
            self._past[name] = fact
            return
        self._begin(active.run, active.run.resume)

    def _folded(self, history: History) -> Job:
        try:
            return Job.restore(history.records)
        except JobError as error:
            raise JournalError(f"the journal's records of a job are damaged: {error}") from None

    def _go_on(self, name: str, history: History, job: Job) -> _Active:
        try:
            pipeline, settings = self._opener.parse(history.request)
            opened = self._opener.reopen(name, pipeline, settings)
        except MuError as error:
            raise ServiceError(str(error)) from None
        return self._activate(history.request, history.submitted, job, pipeline, settings, opened)

    def _activate(
        self, request: Request, submitted: float, job: Job, pipeline: Pipeline, settings: Any, opened: Opened
    ) -> _Active:
        name = job.name
        sinks = [self._attempt_file(name).append]
        if settings["times"] is not None:
            sinks.append(TimesFile(Path(settings["times"])).append)
        queue = self.desk.queue(name, opened.launching)
        run = JobRun(
            self._clock,
            job,
            pipeline,
            settings,
            launching=queue,
            keeper=_Keeper(self._journal, self._wall, name, lambda: self._fact(name)),
            attempts=Attempts(self._clock, *sinks),
            peers=opened.peers,
        )
        active = self._active[name] = _Active(request, submitted, run, opened)
        self._hall.add(run)
        self.desk.add(run, queue)
        if opened.link is not None:
            opened.link.add(name, run)
        return active

    def _begin(self, run: JobRun, begin: Callable[[], None]) -> None:
        begin()
        run.finished().addCallback(lambda _: self._over(run.name))

    def _over(self, name: str) -> None:
        active = self._active.get(name)
        if active is None:
            return
        self._past[name] = self._fact(name)
        del self._active[name]
        self._hall.remove(active.run)
        self.desk.remove(name)
        if active.opened.link is not None:
            active.opened.link.remove(name)

    def _attempt_file(self, name: str) -> AttemptFile:
        return AttemptFile(self._directory / name / "attempts.jsonl.gz")

    def _fact(self, name: str) -> JobFact:
        active = self._active[name]
        job, counts = active.run.job, active.run.counts
        snapshot = job.snapshot()
        state = "running"
        if job.over:
            state = "cancelled" if job.cancelled else "failed" if job.error else "done"
        return JobFact(
            name,
            active.request.pipeline,
            state,  # type: ignore[arg-type]
            active.submitted,
            counts.tasks,
            waiting=counts.waiting,
            active=counts.active,
            done=counts.done,
            failed=counts.failed,
            skipped=len(active.opened.skipped),
            workers=counts.workers,
            launches=snapshot.unsent + snapshot.accepted,
            error=job.error,
            note=active.opened.launching.note(),
            ended=self._wall() if job.over else None,
        )


def job_name(pipeline: str) -> str:
    """A new name for a job: it stands in certificates, so only some characters may."""
    return f"{re.sub(r'[^A-Za-z0-9._-]', '-', pipeline)[:40]}-{secrets.token_hex(4)}"
