"""The jobs of a coordinator: taken, run, remembered over restarts, told of.

Knows neither where workers come from nor what a pipeline needs: an :class:`Opener` does.
"""

import re
import secrets
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
from twisted.internet.defer import Deferred, succeed
from twisted.logger import Logger

from mu_twisted.coordinator._facts import JobFact, Request, ServiceError, TaskFact, UnknownJob
from mu_twisted.coordinator._hall import Hall
from mu_twisted.coordinator._history import History, last_fact, log_lines, record_row, request_row, state_lines
from mu_twisted.coordinator._job_run import JobRun
from mu_twisted.coordinator._journal import Journal, JournalError
from mu_twisted.coordinator._launch_desk import LaunchDesk
from mu_twisted.coordinator._opening import Opener
from mu_twisted.coordinator._running import Running
from mu_twisted.jobs import Finished, Job, JobError
from mu_twisted.pipelines import Pipeline, PipelineError
from mu_twisted.transport import ReactorTime
from mu_twisted.wire import MuError

LEAVE = 2.0
"""Seconds that the workers of a cancelled job have to go before its cancellation is told all the same."""


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
        self._opener = opener
        self._directory = directory
        self.desk = LaunchDesk(clock, workers)
        self._running = Running(
            clock, wall=wall, journal=journal, hall=hall, desk=self.desk, directory=directory, ended=self._keep
        )
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
        for name in self._running:
            self._running.run(name).stop()
        self.desk.close()
        self._journal.flush()

    # -- what can be asked -----------------------------------------------------------------------------------------

    @property
    def running(self) -> int:
        """How many jobs run."""
        return len(self._running)

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
        running = map(self._running.fact, self._running)
        return sorted([*self._past.values(), *running], key=lambda fact: fact.submitted)

    def job(self, name: str) -> JobFact:
        """One job."""
        if name in self._running:
            return self._running.fact(name)
        try:
            return self._past[name]
        except KeyError:
            raise UnknownJob(f"there is no job {name!r}: `mu jobs` lists them") from None

    def tasks(self, name: str) -> list[TaskFact]:
        """All tasks of a job, by number."""
        if name in self._running:
            job = self._running.run(name).job
        else:
            self.job(name)
            job = self._folded(History(self._journal, name))
        views = job.tasks()
        return [TaskFact(view.task, view.state.value, view.attempts, view.error or None) for view in views]

    def wait(self, name: str) -> Deferred[JobFact]:
        """Fires when the job is over. Cancelling gives up waiting, not the job."""
        fact = self.job(name)
        if name not in self._running:
            return succeed(fact)
        waiting: Deferred[Any] = self._running.run(name).finished()
        return waiting.addCallback(lambda _: self.job(name))

    def cancel(self, name: str) -> Deferred[JobFact]:
        """End a job and every worker of it; fires when they are gone, or have had time to."""
        fact = self.job(name)
        if name not in self._running:
            return succeed(fact)
        run = self._running.run(name)
        run.cancel("cancelled by its user")
        gone: Deferred[Any] = run.gone()
        gone.addTimeout(LEAVE, self._clock, onTimeoutCancel=lambda _result, _seconds: None)  # type: ignore[arg-type]
        return gone.addCallback(lambda _: self.job(name))

    def abort(self, name: str, error: str) -> None:
        """End a job that runs; what is not done has failed of this.

        :param error: one line.
        """
        if name in self._running:
            self._running.run(name).abort(error)

    def retry(self, name: str) -> JobFact:
        """Run the failed tasks of a job that is over again."""
        fact = self.job(name)
        self._check_open()
        if name in self._running:
            raise ServiceError(f"job {name} is still running: cancel it first, or wait for its end")
        if not fact.failed:
            raise ServiceError(f"job {name} has no failed tasks")
        history = History(self._journal, name)
        try:
            job = self._folded(history)
            run = self._go_on(name, history, job)
        except MuError as error:
            raise ServiceError(str(error)) from None
        del self._past[name]
        self._running.begin(run, run.retry)
        return self.job(name)

    def log(self, name: str, task: int | None) -> str:
        """What happened, one event a line: of the job, or of one task with the states of its attempts."""
        self.job(name)
        rows = list(self._journal.records(name))
        lines = list(log_lines(rows, task))
        if task is not None:
            if not lines and not any(fact.task == task for fact in self.tasks(name)):
                raise UnknownJob(f"job {name} has no task {task}")
            for attempt in self._running.attempt_file(name).read(task):
                lines += state_lines(attempt)
        return "".join(f"{line}\n" for line in lines)

    def remove(self, name: str) -> None:
        """Delete the record of a job that is over."""
        self.job(name)
        if name in self._running:
            raise ServiceError(f"job {name} is still running: cancel it first")
        try:
            self._journal.remove(name)
        except JournalError as error:
            raise ServiceError(str(error)) from None
        shutil.rmtree(self._directory / name, ignore_errors=True)
        del self._past[name]

    # -- inside ----------------------------------------------------------------------------------------------------

    def _keep(self, fact: JobFact) -> None:
        self._past[fact.job] = fact

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
        run = self._running.add(request, submitted, job, pipeline, settings, opened)
        self._journal.append(name, request_row(request, submitted))
        self._running.begin(run, run.start)
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
            run = self._go_on(name, history, self._folded(history))
        except (PipelineError, ServiceError) as error:
            self._log.warn("job {name} cannot go on: {error}", name=name, error=str(error))
            at = self._wall()
            fact = JobFact(name, history.request.pipeline, "failed", history.submitted, 0, error=str(error), ended=at)
            self._journal.append(name, record_row(Finished(str(error)), at, fact))
            self._past[name] = fact
            return
        self._running.begin(run, run.resume)

    def _folded(self, history: History) -> Job:
        try:
            return Job.restore(history.records)
        except JobError as error:
            raise JournalError(f"the journal's records of a job are damaged: {error}") from None

    def _go_on(self, name: str, history: History, job: Job) -> JobRun:
        try:
            pipeline, settings = self._opener.parse(history.request)
            opened = self._opener.reopen(name, pipeline, settings)
        except MuError as error:
            raise ServiceError(str(error)) from None
        return self._running.add(history.request, history.submitted, job, pipeline, settings, opened, history.usage)


def job_name(pipeline: str) -> str:
    """A new name for a job: it stands in certificates, so only some characters may."""
    return f"{re.sub(r'[^A-Za-z0-9._-]', '-', pipeline)[:40]}-{secrets.token_hex(4)}"
