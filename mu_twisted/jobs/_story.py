"""A story follows one task through its job's records, move by move; it knows little of the job's other tasks.

Of those that it comes after it counts which are not done: a single task of its own stands for all of them.
"""

from dataclasses import replace

from mu_twisted.jobs._ledger import Ledger
from mu_twisted.jobs._records import (
    Assigned,
    AttemptEnded,
    AttemptOutcome,
    Cancelled,
    Enlarged,
    Finished,
    JobRecord,
    Reopened,
    ResultReached,
    ResultStands,
    Retried,
    Submitted,
    TasksFailed,
)
from mu_twisted.jobs._tasks import TaskState

_OF_SOME = (Reopened, Retried, Enlarged, ResultStands, TasksFailed)


class TaskStory:
    """The states that one task moves through.

    :param submitted: the job's first record.
    :param task: its number.
    """

    def __init__(self, submitted: Submitted, task: int) -> None:
        self._task = task
        self._missing = {one for before, behind in submitted.after if task in behind for one in before}
        self._won: set[int] = set()
        self._before = max(submitted.order) + 1
        order, after = ((task, self._before), (((self._before,), (task,)),)) if self._missing else ((task,), ())
        self._ledger = Ledger(
            Submitted(submitted.job, order, submitted.policy, (), submitted.side_effects, after=after)
        )

    def apply(self, record: JobRecord) -> tuple[TaskState, TaskState] | None:
        """The move that a record brings about, from one state to another; None if the task stays where it is.

        :param record: any of the job, but those of a job as a whole may be left out.
        :raises RecordError: the task cannot make this move, see :data:`TRANSITIONS`.
        """
        task = self._ledger.tasks[self._task]
        was = task.state
        if isinstance(record, Retried):
            self._retried(record)
        elif self._is_about_it(record):
            self._ledger.apply(replace(record, tasks=(self._task,)) if isinstance(record, _OF_SOME) else record)
        self._count(record)
        return None if task.state is was else (was, task.state)

    def _is_about_it(self, record: JobRecord) -> bool:
        if isinstance(record, _OF_SOME):
            return self._task in record.tasks
        return isinstance(record, Cancelled | Finished) or getattr(record, "task", None) == self._task

    def _retried(self, record: Retried) -> None:
        self._ledger.apply(Retried(tuple(one for one in self._ledger.failures if one == self._before)))
        if self._before in self._ledger.tasks and not self._missing and self._ledger.precedence.is_blocked(self._task):
            self._let_begin()
        if self._task in record.tasks and self._task in self._ledger.failures:
            self._ledger.apply(Retried((self._task,)))

    def _count(self, record: JobRecord) -> None:
        """Note which of those before it are done."""
        if isinstance(record, ResultReached) and record.task in self._missing:
            self._missing.remove(record.task)
            if not self._missing:
                self._let_begin()
        elif isinstance(record, AttemptEnded) and record.outcome is AttemptOutcome.DONE:
            self._won.add(record.task)
        elif isinstance(record, Finished):
            self._missing -= self._won

    def _let_begin(self) -> None:
        """What stands for those before it is done."""
        one = self._before
        self._ledger.apply(Assigned(one, 0, None, False))
        self._ledger.apply(AttemptEnded(one, 0, AttemptOutcome.DONE, 0.0))
        self._ledger.apply(ResultReached(one, 0))
