"""The files of tasks of a coordinator's jobs are written here: they answer later questions in place of the records.

Knows the journal, and jobs as they stand; neither requests for them nor what is kept in memory.
"""

from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import replace
from pathlib import Path

from mu_twisted.base.steps import Steps
from mu_twisted.coordinator._status import Request, held_status
from mu_twisted.coordinator.records._journal import Journal, JournalError
from mu_twisted.coordinator.records._unkept_changes import UnkeptChanges
from mu_twisted.jobs import Job
from mu_twisted.statuses import UNSERVED, TaskStatus
from mu_twisted.storage import (
    LINE,
    Checkpoint,
    Labels,
    TaskFile,
    TaskFileError,
    TaskLine,
    TaskList,
    checksum,
    task_line,
    writing_lines,
    writing_tasks,
)

MAX_KEPT = 200_000
"""Tasks up to which those of one job are kept in a file, and those of all jobs in memory."""
UNSERVED_UNTIL = "`mu retry` lets it go on, as a coordinator that is started does"
"""What lets a job go on that waits because no coordinator runs."""


class TaskFiles:
    """The file of each job, written by one at a time, which says nothing that is not on record.

    :param journal: has the jobs' records.
    :param directory: has a directory for each job.
    """

    def __init__(self, journal: Journal, directory: Path) -> None:
        self._journal = journal
        self._directory = directory
        self._written: set[str] = set()
        """Jobs whose files are being written."""

    def path(self, job: str) -> Path:
        """Where a job's file is, if it has one."""
        return self._directory / job / "tasks.jsonl"

    def end(self, job: str) -> int | None:
        """The number of a job's last record, by which its file is known; None: not all records are on disk, or they
        cannot be read.
        """
        with suppress(JournalError):
            end = self._journal.end(job)
            return None if self._journal.waiting else end
        return None

    def make_directory(self, job: str) -> None:
        """Make the directory of a job that may have had no attempt."""
        with suppress(OSError):  # then the file cannot be written, either
            self.path(job).parent.mkdir(mode=0o700, parents=True, exist_ok=True)

    def writing(self, job: str, end: int | None, found: TaskList) -> Steps[None]:
        """Write a job's tasks, unless its file is being written: what that has is known by its last record.

        :param end: the number of that; None: the file would say what is not on record.
        """
        if end is None or job in self._written:
            return
        self._written.add(job)
        try:
            yield from writing_tasks(self.path(job), end, found)
        finally:
            self._written.discard(job)

    def writing_checkpoint(
        self, request: Request, submitted: float, job: Job, label: Labels, changes: UnkeptChanges
    ) -> Steps[None]:
        """Write the tasks of a job that runs, and how it stands: a checkpoint for questions after a kill.

        The job may go on meanwhile. Then tasks stand in it as they were after some of the records behind its number:
        to apply all of these to them leads to the same.

        :param submitted: when, seconds since 1970.
        :param label: what a task is known by.
        :param changes: since this was done last.
        """
        name, path = job.name, self.path(job.name)
        if not job.is_plain or request.source is not None or job.counts().tasks > MAX_KEPT:
            changes.stop()
            return
        if name in self._written or job.over or job.has_unannounced:
            return  # the next record asks for it again
        end = self.end(name)
        if end is None:
            return
        before, changed = changes.take()
        held = held_status(request, submitted, job, UNSERVED, UNSERVED_UNTIL)
        of_end, room = TaskList((), list(job.settled), frozenset(), True, held), job.text_room
        self.make_directory(name)

        def completed() -> TaskList | None:
            if job.over or self.end(name) is None:
                return None  # nothing stands in the file that is not on record
            last, record = self._journal.last_text(name)
            return replace(of_end, checkpoint=Checkpoint(last, checksum(record), room))

        self._written.add(name)
        try:
            with _opened(path, before, end) as old:
                lines = _lines(job, label, old, changed)
                is_written = yield from writing_lines(path, end, lines, completed)
        finally:
            self._written.discard(name)
        if is_written:
            changes.kept(end)


def _opened(path: Path, before: int | None, end: int) -> AbstractContextManager[TaskFile | None]:
    """The checkpoint that was written last.

    :param before: the number of the record that it is of; None: it is not known.
    :param end: that of the last record now.
    """

    def changes(after: int, _: Checkpoint) -> None:
        if after != before:
            raise TaskFileError("it is another")

    if before is not None:
        with suppress(TaskFileError):
            return TaskFile(path, end, changes)
    return nullcontext()


def _lines(job: Job, label: Labels, old: TaskFile | None, changed: set[int]) -> Iterator[TaskLine]:
    """The tasks of a job that runs, as if it did not.

    :param old: where those stand that have not changed since; None: nowhere.
    :param changed: the numbers of the others.
    """
    numbers = job.numbers()
    for place, first in enumerate(range(0, len(numbers), LINE)):
        some = numbers[first : first + LINE]
        if old is not None and changed.isdisjoint(some):
            yield old.line(place)
            continue
        tasks = []
        for number in some:
            state, attempts, error = job.brief(number)
            state = state if state in ("done", "failed") else "waiting"
            tasks.append(TaskStatus(number, state, attempts, error or None, label(number)))
        yield task_line(tasks)
