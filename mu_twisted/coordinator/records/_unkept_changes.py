"""It is counted here how far the records of a job have come since it was kept how its tasks stand."""

from collections.abc import Sequence

from mu_twisted.jobs import JobRecord

MIN_SPAN = 10_000
"""Records from one checkpoint to the next, at least."""


class UnkeptChanges:
    """What of one job has changed since the last checkpoint.

    :param tasks: how many the job has. A checkpoint is due at once, and whenever there are half as many records more,
        but no less than :data:`MIN_SPAN`: each may have to write all tasks.
    """

    def __init__(self, tasks: int) -> None:
        self._span = max(MIN_SPAN, tasks // 2)
        self._records = self._span
        self._tasks: set[int] = set()
        self._end: int | None = None
        self._is_stopped = False

    @property
    def is_due(self) -> bool:
        """Whether a checkpoint is to be made."""
        return self._records >= self._span and not self._is_stopped

    def note(self, records: Sequence[JobRecord]) -> None:
        """These were appended to the journal."""
        if self._is_stopped:
            return
        self._records += len(records)
        for record in records:
            task = getattr(record, "task", None)
            if task is not None:
                self._tasks.add(task)
            else:
                self._tasks.update(getattr(record, "tasks", ()))

    def stop(self) -> None:
        """There are to be no checkpoints of the job: nothing is counted any more."""
        self._is_stopped = True
        self._tasks.clear()

    def take(self) -> tuple[int | None, set[int]]:
        """A checkpoint is begun.

        :returns: the number of the record that the one before is of, None if there is none that can be used, and the
            tasks that have changed since.
        """
        found = self._end, self._tasks
        self._records, self._tasks, self._end = 0, set(), None
        return found

    def kept(self, end: int) -> None:
        """It is complete.

        :param end: the number of the record that it is of.
        """
        self._end = end
