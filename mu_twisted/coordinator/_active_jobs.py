"""Active jobs are put together here, described while they run, and taken apart when they are over.

Knows what a run consists of, and neither what is decided in it nor what becomes of its job afterwards.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec
from twisted.internet.defer import Deferred, succeed
from twisted.logger import Logger

from mu_twisted.base import unicode_only
from mu_twisted.base.json_types import JsonObject
from mu_twisted.coordinator._counters import JobCounters
from mu_twisted.coordinator._launch_queue import LaunchQueue
from mu_twisted.coordinator._meter import Meter, Usage, overspent
from mu_twisted.coordinator._opening import Opened
from mu_twisted.coordinator._registry import WorkerRegistry
from mu_twisted.coordinator._status import Request, stage_statuses
from mu_twisted.coordinator.output import LINGER, JobTee, OutputStore, TeeCursor, TeePage
from mu_twisted.coordinator.records import Journal, JournalError, UnkeptChanges, record_row
from mu_twisted.coordinator.run import AttemptFile, Attempts, JobRun, Sink, TimesFile
from mu_twisted.jobs import AttemptEnded, Finished, Job, JobRecord
from mu_twisted.pipelines import JobSettings, Pipeline
from mu_twisted.statuses import INTERRUPTED, JobStatus
from mu_twisted.storage import Labels
from mu_twisted.transport import ReactorTime


@dataclass
class Active:
    """A job that is being run."""

    request: Request
    submitted: float
    run: JobRun
    opened: Opened
    used: Callable[[], Usage]
    changes: UnkeptChanges
    over: JobStatus | None = None
    """How it has ended, as its record says; it stays so from then on."""


class _JobRecorder:
    """Keeps the records of one job, with the time of day.

    :param changes: is told of all records.
    :param grown: is called when a checkpoint is due.
    """

    def __init__(
        self,
        journal: Journal,
        wall: Callable[[], float],
        name: str,
        ended: Callable[[], JobStatus],
        used: Callable[[], Usage],
        counters: JobCounters,
        attempt_ended: Callable[[int, int, str], JsonObject],
        changes: UnkeptChanges,
        grown: Callable[[], object],
    ) -> None:
        self._changes = changes
        self._grown = grown
        self._attempt_ended = attempt_ended
        self._counters = counters
        self._journal = journal
        self._wall = wall
        self._name = name
        self._ended = ended
        self._used = used

    def record(self, records: Sequence[JobRecord]) -> None:
        now = self._wall()
        for record in records:
            known = None
            if isinstance(record, AttemptEnded):
                self._counters.attempts[record.outcome.value] += 1
                known = self._attempt_ended(record.task, record.attempt, record.outcome.value)
            status = self._ended() if isinstance(record, Finished) else None
            usage = self._used() if isinstance(record, Finished | AttemptEnded) else None
            row = record_row(record, now, status, usage, known)
            try:
                self._journal.append(self._name, row)
            except JournalError:
                # An error may quote anything, and what was decided cannot be taken back.
                self._journal.append(self._name, unicode_only(row))
        self._changes.note(records)
        if self._changes.is_due:
            self._grown()

    def flush(self) -> None:
        self._journal.flush()


class ActiveJobs:
    """Jobs in progress.

    :param clock: the time; it must not jump.
    :param wall: the time of day, seconds since 1970.
    :param journal: what outlives the process.
    :param registry: finds the runs for workers that greet.
    :param launch_queue: lets the jobs' launches go.
    :param directory: for the states of attempts.
    :param grown: is called with the name of a job that is due for a checkpoint.
    :param ended: is called with a job that has ended: its status, its decisions, and what its tasks are called.
    """

    _log = Logger()

    def __init__(
        self,
        clock: ReactorTime,
        *,
        wall: Callable[[], float],
        journal: Journal,
        registry: WorkerRegistry,
        launch_queue: LaunchQueue,
        directory: Path,
        grown: Callable[[str], object],
        ended: Callable[[JobStatus, Job, Labels], object],
    ) -> None:
        self._clock = clock
        self._wall = wall
        self._journal = journal
        self._registry = registry
        self._launch_queue = launch_queue
        self._directory = directory
        self._grown = grown
        self._ended = ended
        self._active: dict[str, Active] = {}
        self._ended_tees: dict[str, tuple[JobTee, JobRun]] = {}

    def __contains__(self, name: str) -> bool:
        return name in self._active

    def __iter__(self) -> Iterator[str]:
        return iter(list(self._active))

    def __len__(self) -> int:
        return len(self._active)

    def run(self, name: str) -> JobRun:
        """The run of an active job."""
        return self._active[name].run

    def active(self, name: str) -> Active | None:
        """What an active job consists of; None: it is not active."""
        return self._active.get(name)

    def status(self, name: str) -> JobStatus:
        """Where an active job stands."""
        active = self._active[name]
        if active.over is not None:
            return active.over
        status = self._status(name, active)
        if active.run.job.over:
            active.over = status
        return status

    def add(
        self,
        request: Request,
        submitted: float,
        job: Job,
        pipeline: Pipeline,
        settings: JobSettings,
        opened: Opened,
        usage: Usage | None = None,
    ) -> JobRun:
        """Put a job together; :meth:`begin` starts it.

        :param usage: what it has used before; None: it is new.
        :raises MuError: the file of its ``-O`` cannot be written.
        """
        name = job.name
        sinks: list[Sink] = [self.attempt_file(name).append]
        if settings["times"] is not None:
            sinks.append(TimesFile(Path(settings["times"]), anew=usage is None).append)
        queue = self._launch_queue.queue(job, opened.launching)
        counters = self._launch_queue.counters
        meter = Meter(usage, self._clock.seconds() if usage is None else None, counters.bytes)
        attempts = Attempts(self._clock, *sinks)

        def used() -> Usage:
            return meter.usage(self._clock.seconds())

        changes = UnkeptChanges(job.counts().tasks)
        # What a task of a job that is kept open prints last is its result: it is kept whole, however many there are.
        whole = 0 if pipeline.extends is not None else settings["tasks"]
        run = JobRun(
            self._clock,
            job,
            pipeline,
            settings,
            launching=queue,
            recorder=_JobRecorder(
                self._journal,
                self._wall,
                name,
                lambda: self.status(name),
                used,
                counters,
                attempts.ended,
                changes,
                lambda: self._grown(name),
            ),
            attempts=attempts,
            outputs=OutputStore(self.output_file(name), self._clock, tasks=whole),
            peers=opened.peers,
            meter=meter,
            tokens=opened.tokens,
            overspent=lambda: overspent(settings["max-cost"], opened.cost, used),
        )
        self._active[name] = Active(request, submitted, run, opened, used, changes)
        if request.tee and usage is None:
            run.watch_output()
        self._registry.add(run)
        self._launch_queue.add(run, queue)
        if opened.links is not None:
            opened.links.add(name, run)
        return run

    def tee(self, name: str, after: TeeCursor | None) -> Deferred[TeePage]:
        """As :meth:`~mu_twisted.coordinator.JobService.tee`, also for a while after a job has ended."""
        if name in self._active:
            run = self._active[name].run
            tee = run.watch_output()
        elif name in self._ended_tees:
            tee, run = self._ended_tees[name]
        else:
            return succeed(TeePage((), str(after or TeeCursor()), over=True))
        known = tee.known(after)
        return tee.changed(known).addCallback(lambda _: _labelled(tee.page(known), run))

    def begin(self, run: JobRun, begin: Callable[[], None]) -> None:
        """Start a job.

        :param begin: the run's ``start``, ``resume`` or ``retry``.
        """
        begin()
        over = run.finished().addCallback(lambda _: self._over(run.name))
        over.addErrback(lambda failure: self._log.failure("the end of job {job} failed", failure, job=run.name))

    def discard(self, name: str) -> None:
        """Forget a job, if it is active, as if it had not been taken; what it has decided is not carried out."""
        active = self._active.get(name)
        if active is not None:
            active.run.drop()
            self._take_apart(name, active)

    def attempt_file(self, name: str) -> AttemptFile:
        """Where the states of a job's attempts are kept."""
        return AttemptFile(self._directory / name / "attempts.jsonl.gz")

    def output_file(self, name: str) -> Path:
        """Where what the programs of a job print is kept."""
        return self._directory / name / "output.db"

    # -- inside ----------------------------------------------------------------------------------------------------

    def _status(self, name: str, active: Active) -> JobStatus:
        job, counts = active.run.job, active.run.counts
        snapshot = job.snapshot()
        used = active.used()
        state, error, report = "running", job.error, None
        if job.over:
            report = active.run.report()
            error = error or report.error
            cancelled = "interrupted" if job.error == INTERRUPTED else "cancelled"
            state = cancelled if job.cancelled else "failed" if error else "done"
        return JobStatus(
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
            error=error,
            note="; ".join(filter(None, (active.opened.launching.note(), job.held_for, job.waits_for))) or None,
            ended=self._wall() if job.over else None,
            report=report.text or None if report is not None else None,
            plots=report.plots if report is not None else (),
            cost=active.opened.cost(used) if active.opened.cost is not None else None,
            ramp=used.ramp or None,
            unfinished=job.unfinished if job.over else None,
            stages=stage_statuses(job),
            paths=used.paths or None,
            bytes=used.bytes or None,
            median=None if job.over or snapshot.median is None else round(snapshot.median, 3),
        )

    def _over(self, name: str) -> None:
        active = self._active.get(name)
        if active is not None:
            status = self.status(name)
            try:
                self._take_apart(name, active)
            finally:
                self._ended(status, active.run.job, active.run.labels)
                self._journal.settle()

    def _take_apart(self, name: str, active: Active) -> None:
        del self._active[name]
        tee = active.run.tee
        if tee is not None:
            self._ended_tees[name] = tee, active.run
            self._clock.callLater(LINGER, lambda: self._forget_tee(name, tee))
        self._registry.remove(active.run)
        self._launch_queue.remove(name)
        if active.opened.links is not None:
            active.opened.links.remove(name)

    def _forget_tee(self, name: str, tee: JobTee) -> None:
        if self._ended_tees.get(name, (None, None))[0] is tee:
            del self._ended_tees[name]


def _labelled(page: TeePage, run: JobRun) -> TeePage:
    labels = {task: run.label(task) for task in {piece.task for piece in page.pieces}}
    pieces = [msgspec.structs.replace(piece, label=labels[piece.task]) for piece in page.pieces]
    return msgspec.structs.replace(page, pieces=pieces)
