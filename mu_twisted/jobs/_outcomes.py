"""This module decides what follows when an attempt ends: a result, another attempt later, or failure for good."""

from mu_twisted.jobs._chains import Chains
from mu_twisted.jobs._failures import Failure, is_retried
from mu_twisted.jobs._job_data import JobData
from mu_twisted.jobs._launch_id import LaunchId
from mu_twisted.jobs._records import AttemptOutcome, Refunded, Remarked, ResultReached, ResultStands
from mu_twisted.jobs._tasks import PENDING, Task, TaskState
from mu_twisted.jobs._timers import TimerKind
from mu_twisted.jobs._worker_pool import Attempt, PoolWorker, WorkerSlot

MAX_CONSECUTIVE_FAILURES = 2
"""Attempts in a row that may fail on one worker before it is dismissed: where most attempts are done elsewhere, the
worker is at fault."""


class Outcomes:
    """The decisions about ends of attempts.

    :param data: the job.
    :param chains: notified when a task is settled.
    """

    def __init__(self, data: JobData, chains: Chains) -> None:
        self._data = data
        self._chains = chains

    def done(self, worker: PoolWorker, attempt: Attempt, remark: str = "") -> None:
        """The attempt has reached its end: others at the same task are killed before its result is announced.

        :param remark: what it leaves for the job's report.
        """
        data = self._data
        worker.succeeded()
        if remark:
            data.record(Remarked(attempt.task, attempt.number, remark))
        data.end(attempt, AttemptOutcome.DONE)
        for other in data.attempts.get(attempt.task, ()):
            other.supersede()
            if other.worker.reusable:
                data.clear(other.worker, "another worker has done its task")
            else:
                data.dismiss_and_wait(other.worker, "another worker has done its task")
        self.settle(data.ledger.tasks[attempt.task])
        self._release(worker)

    def failed(self, worker: PoolWorker, attempt: Attempt, kind: Failure, status: int | None, error: str) -> None:
        """The attempt has failed; its worker is still there, and may still be at it."""
        self._data.note_failed(worker)
        self._fail(attempt, kind, status, error)
        self._release(worker, "its attempt took too long" if kind is Failure.DEADLINE else None)

    def lost(self, worker: PoolWorker, kind: Failure, reason: str) -> None:
        """The worker is gone, and forgotten already."""
        attempt = worker.attempt
        if attempt is None:
            return
        if attempt.superseded:
            self._superseded(attempt)
            return
        if worker.launch_id is not None:
            self._data.note_lost(worker.launch_id, attempt)
        self._fail(attempt, kind, None, reason)

    def cleared(self, worker: PoolWorker) -> None:
        """The worker has greeted again, free of its last task."""
        self._data.pool.move(worker, WorkerSlot.IDLE)
        if worker.attempt is not None:
            self._superseded(worker.attempt)

    def reconnected(self, launch_id: LaunchId) -> None:
        """A worker that had been taken for lost is there again: that cost its task no retry, if it still waits."""
        data = self._data
        lost = data.take_lost(launch_id)
        if lost is None:
            return
        number, attempt = lost
        task = data.ledger.tasks[number]
        if task.state in PENDING and task.attempts - 1 == attempt and task.failures and task.free < data.policy.reruns:
            data.record(Refunded(number))
            data.enqueue([task])

    def settle(self, task: Task) -> None:
        """Announce the task's result, if it has one and no worker works on it any more."""
        if task.won is None or task.running:
            return
        if task.has_result:
            self._data.record(ResultStands((task.number,)))
        else:
            self._data.record(ResultReached(task.number, task.won))
            self._data.enqueue(self._data.ledger.take_ready())
        self._chains.settled(task)

    def try_again(self, task: Task) -> None:
        """The task's last attempt has failed; give it another after a delay, unless no retry is left."""
        data, policy = self._data, self._data.policy
        if task.failures > policy.retries:
            self.give_up(task)
            return
        if data.holds.cover(task.number):
            data.enqueue([task])
            return
        data.ledger.move(task, TaskState.BACKING_OFF)
        tries = max(1, task.failures + task.free)
        delay = min(policy.retry_longest, policy.retry_delay * 2.0 ** min(tries - 1, 60))
        data.timers.push(data.now + delay * (0.5 + 0.5 * data.random()), TimerKind.READY, (task, task.attempts))

    def give_up(self, task: Task) -> None:
        """The task has failed for good, and with it all that need its messages."""
        self._chains.fail(task, task.error)

    # -- inside ----------------------------------------------------------------------------------------------------

    def _fail(self, attempt: Attempt, kind: Failure, status: int | None, error: str) -> None:
        data = self._data
        task = data.ledger.tasks[attempt.task]
        if len(task.running) > 1:
            # The other one goes on: it decides.
            data.end(attempt, AttemptOutcome.FAILED, kind=kind, status=status, error=error)
            return
        free = kind is Failure.CHANNEL and task.free < data.policy.reruns
        data.end(attempt, AttemptOutcome.FAILED, costs=not free, kind=kind, status=status, error=error)
        if not is_retried(data.policy, kind, status) or task.failures > data.policy.retries:
            self.give_up(task)
            return
        self._chains.begin_gang_again(task, f"task {task.number}, which it is joined with by pipes, failed")
        if task.state is TaskState.WAITING:
            self.try_again(task)

    def _superseded(self, attempt: Attempt) -> None:
        self._data.end(attempt, AttemptOutcome.SUPERSEDED)
        self.settle(self._data.ledger.tasks[attempt.task])

    def _release(self, worker: PoolWorker, busy: str | None = None) -> None:
        data = self._data
        if not worker.reusable or not self._is_useful():
            data.dismiss(worker, "no task is left for it", busy)
        elif worker.failed >= MAX_CONSECUTIVE_FAILURES and data.failed < len(data.ledger.durations):
            data.dismiss(worker, f"{worker.failed} attempts in a row have failed on it", busy)
        else:
            data.clear(worker, busy)

    def _is_useful(self) -> bool:
        data, tally = self._data, self._data.ledger.tally
        wanted = data.useful - tally[TaskState.ACTIVE] + len(data.backlog.doubles)
        return wanted > len(data.pool.idle) + data.pool.warming and not data.is_full
