"""Jobs on record that are not being run: over, held because they cannot go on, or damaged.

Knows records and facts, neither pipelines nor workers.
"""

import shutil
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import msgspec
from twisted.logger import Logger

from mu_twisted.coordinator._facts import JobFact, ServiceError, TaskFact, UnknownJob
from mu_twisted.coordinator._history import History, last_fact, record_row
from mu_twisted.coordinator._journal import Journal, JournalError
from mu_twisted.jobs import Finished, Job, JobError, Record, TaskState

MAX_NAMED = 20
"""Directories that one line of the log names."""
_GOING = ".removed"
"""Ends the name of a directory whose job is being removed."""


class Past:
    """What is known of these jobs, and what can be done with them without a worker.

    :param journal: has their records.
    :param directory: has a directory for each job that has had an attempt.
    :param wall: the time of day, seconds since 1970.
    """

    _log = Logger()

    def __init__(self, journal: Journal, directory: Path, wall: Callable[[], float]) -> None:
        self._journal = journal
        self._directory = directory
        self._wall = wall
        self._facts: dict[str, JobFact] = {}

    def __contains__(self, name: str) -> bool:
        return name in self._facts

    def __getitem__(self, name: str) -> JobFact:
        """:raises UnknownJob: there is no such job."""
        try:
            return self._facts[name]
        except KeyError:
            raise UnknownJob(f"there is no job {name!r}: `mu jobs` lists them") from None

    def facts(self) -> list[JobFact]:
        """All of them."""
        return list(self._facts.values())

    def put(self, fact: JobFact) -> None:
        """A job is on record, and not being run."""
        self._facts[fact.job] = fact

    def discard(self, name: str) -> None:
        """It is being run, or was never taken."""
        self._facts.pop(name, None)

    # -- what the journal says -------------------------------------------------------------------------------------

    def recall(self, name: str) -> bool:
        """Read how a job has ended.

        :returns: whether it has.
        :raises MuError: its last record is damaged.
        """
        try:
            fact = last_fact(self._journal.last(name))
        except msgspec.ValidationError as error:
            raise _damage(name, error) from None
        if fact is not None:
            self.put(fact)
        return fact is not None

    def folded(self, name: str) -> tuple[History, Job]:
        """A job as all its records tell of it.

        :raises ServiceError: they tell of none.
        """
        try:
            history = History(self._journal, name)
            return history, Job.restore(history.records)
        except JobError as error:
            raise _damage(name, error) from None
        except JournalError as error:
            raise ServiceError(str(error)) from None

    def tasks(self, name: str) -> list[TaskFact]:
        """All tasks of a job, by number."""
        fact = self[name]
        if fact.state == "done" and not fact.tasks:
            return []  # there was nothing to do
        return task_facts(self.folded(name)[1], running=False)

    # -- what becomes of them --------------------------------------------------------------------------------------

    def damaged(self, name: str, error: str) -> None:
        """A job's records cannot be used. It has not ended: nobody knows, and only its user has it deleted.

        :param error: one line.
        """
        pipeline, submitted = "?", 0.0
        try:
            first = next(iter(self._journal.records(name)))
            pipeline, submitted = str(first["request"]["pipeline"]), float(first["at"])
        except (JournalError, LookupError, TypeError, ValueError, StopIteration):
            pass  # then nobody knows that either
        self.put(JobFact(name, pipeline, "failed", submitted, 0, error=error))

    def hold(self, history: History, job: Job, why: str) -> None:
        """A job cannot go on now, and waits as it stands.

        :param why: one line.
        """
        counts = job.counts()
        self.put(
            JobFact(
                history.name,
                history.request.pipeline,
                "held",
                history.submitted,
                counts.tasks,
                waiting=counts.waiting + counts.active,
                done=counts.done,
                failed=counts.failed,
                error=f"it cannot go on: {why} (it is held as it stands: `mu retry` tries again, "
                "as the coordinator's next start does)",
            )
        )

    def cancel(self, name: str, reason: str) -> JobFact:
        """End a job that is held; any other stays as it is."""
        fact = self[name]
        if fact.state != "held":
            return fact
        _, job = self.folded(name)
        records = [action.record for action in job.cancel(reason, 0.0) if isinstance(action, Record)]
        at, counts = self._wall(), job.counts()
        fact = msgspec.structs.replace(
            fact, state="cancelled", error=reason, ended=at, waiting=0, done=counts.done, failed=counts.failed
        )
        for record in records:
            self._journal.append(name, record_row(record, at, fact if isinstance(record, Finished) else None))
        self._journal.settle()
        self.put(fact)
        return fact

    def remove(self, name: str) -> None:
        """Delete all that is kept of a job.

        :raises ServiceError: it cannot be deleted.
        """
        kept, going = self._directory / self[name].job, self._directory / f"{name}{_GOING}"
        with suppress(OSError):  # there is none, or it is left behind
            kept.rename(going)
        try:
            self._journal.remove(name)
        except JournalError as error:
            with suppress(OSError):
                going.rename(kept)
            raise ServiceError(str(error)) from None
        shutil.rmtree(going, ignore_errors=True)
        self.discard(name)

    def forget_old(self, before: float) -> None:
        """Delete the records of jobs that ended before a time, seconds since 1970."""
        for fact in self.facts():
            if fact.ended is not None and fact.ended < before:
                try:
                    self.remove(fact.job)
                except ServiceError as error:
                    self._log.error("job {name} is kept for now: {error}", name=fact.job, error=str(error))

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
                self._log.info("what was left of job {name}, which was removed, is deleted", name=name)
                shutil.rmtree(path, ignore_errors=True)
        if unknown:
            named = sorted(unknown)[:MAX_NAMED]
            more = f" and {len(unknown) - len(named)} more" if len(unknown) > len(named) else ""
            self._log.warn(
                "{directory} holds what the journal does not know, which is kept: {names}; bring back the journal of "
                "these jobs, or delete the directories if they are not wanted",
                directory=str(self._directory),
                names=", ".join(named) + more,
            )

    def _directories(self) -> Iterator[Path]:
        try:
            yield from filter(Path.is_dir, self._directory.iterdir())
        except OSError:
            return


def task_facts(job: Job, *, running: bool) -> list[TaskFact]:
    """The tasks of a job, by number.

    :param running: whether it is being run; else nothing of it is active.
    """
    return [
        TaskFact(
            view.task,
            (view.state if running or view.state is not TaskState.ACTIVE else TaskState.WAITING).value,
            view.attempts,
            view.error or None,
        )
        for view in job.tasks()
    ]


def _damage(name: str, error: Exception) -> ServiceError:
    return ServiceError(f"the journal's records of job {name} are damaged: {error}; `mu rm` deletes them")
