"""Jobs on record that are not being run: how they are told of, and what becomes of them without a worker.

Knows records and facts, neither pipelines nor workers.
"""

import shutil
from collections.abc import Container, Iterator
from pathlib import Path

import msgspec

from mu_twisted.coordinator._facts import JobFact, TaskFact
from mu_twisted.coordinator._history import History, Row, record_row
from mu_twisted.coordinator._journal import Journal, JournalError
from mu_twisted.jobs import Finished, Job, JobError, Record, TaskState


def folded(history: History) -> Job:
    """The job that its records tell of.

    :raises JournalError: they tell of none.
    """
    try:
        return Job.restore(history.records)
    except JobError as error:
        raise JournalError(
            f"the journal's records of job {history.name} are damaged: {error}; `mu rm` deletes them"
        ) from None


def damaged(journal: Journal, name: str, error: str) -> JobFact:
    """A job whose records cannot be used. It has not ended: nobody knows, and only its user has it deleted.

    :param error: one line.
    """
    pipeline, submitted = "?", 0.0
    try:
        first = next(iter(journal.records(name)))
        pipeline, submitted = str(first["request"]["pipeline"]), float(first["at"])
    except (JournalError, LookupError, TypeError, ValueError, StopIteration):
        pass  # then nobody knows that either
    return JobFact(name, pipeline, "failed", submitted, 0, error=error)


def held(history: History, job: Job, error: str) -> JobFact:
    """A job that cannot go on now, and waits as it stands.

    :param error: why, one line.
    """
    counts = job.counts()
    return JobFact(
        history.name,
        history.request.pipeline,
        "held",
        history.submitted,
        counts.tasks,
        waiting=counts.waiting + counts.active,
        done=counts.done,
        failed=counts.failed,
        error=f"it cannot go on: {error} (it is held as it stands: `mu retry` tries again, "
        "as the coordinator's next start does)",
    )


def cancelled(fact: JobFact, job: Job, reason: str, at: float) -> tuple[JobFact, list[Row]]:
    """The end of a job that is held, and the rows that it adds.

    :param at: seconds since 1970.
    """
    records = [action.record for action in job.cancel(reason, 0.0) if isinstance(action, Record)]
    counts = job.counts()
    over = msgspec.structs.replace(
        fact, state="cancelled", error=reason, ended=at, waiting=0, done=counts.done, failed=counts.failed
    )
    return over, [record_row(record, at, over if isinstance(record, Finished) else None) for record in records]


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


def sweep(directory: Path, known: Container[str]) -> Iterator[str]:
    """Delete what is left of jobs whose records are gone: the coordinator was killed as it removed them.

    :param directory: has a directory for each job.
    :returns: the names of those that were deleted.
    """
    try:
        left = [path for path in directory.iterdir() if path.name not in known and path.is_dir()]
    except OSError:
        return
    for path in left:
        shutil.rmtree(path, ignore_errors=True)
        yield path.name
