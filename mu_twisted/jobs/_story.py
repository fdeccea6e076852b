"""A story follows one task through its job's records, move by move; it knows nothing of the job's other tasks."""

from dataclasses import replace

from mu_twisted.jobs._ledger import Ledger
from mu_twisted.jobs._records import Cancelled, Finished, JobRecord, Reopened, ResultStands, Retried, Submitted
from mu_twisted.jobs._tasks import TaskState


class TaskStory:
    """The states that one task moves through.

    :param submitted: the job's first record.
    :param task: its number.
    """

    def __init__(self, submitted: Submitted, task: int) -> None:
        self._task = task
        self._ledger = Ledger(replace(submitted, order=(task,), consumes=()))

    def apply(self, record: JobRecord) -> tuple[TaskState, TaskState] | None:
        """The move that a record brings about, from one state to another; None if the task stays where it is.

        :param record: any of the job, but those of a job as a whole may be left out.
        :raises RecordError: the task cannot make this move, see :data:`TRANSITIONS`.
        """
        if isinstance(record, Reopened | Retried | ResultStands):
            if self._task not in record.tasks:
                return None
            record = replace(record, tasks=(self._task,))
        elif not isinstance(record, Cancelled | Finished) and getattr(record, "task", None) != self._task:
            return None
        task = self._ledger.tasks[self._task]
        was = task.state
        if isinstance(record, Retried) and was is not TaskState.FAILED:
            return None
        self._ledger.apply(record)
        return None if task.state is was else (was, task.state)
