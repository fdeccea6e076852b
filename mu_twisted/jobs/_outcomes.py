"""What follows when an attempt ends: a result, another attempt after a while, or failure for good."""

from mu_twisted.jobs._board import Board
from mu_twisted.jobs._chains import Chains
from mu_twisted.jobs._crew import Attempt, Place, Worker
from mu_twisted.jobs._failures import Failure, is_retried
from mu_twisted.jobs._records import Forgiven, Outcome, Remarked, ResultReached, ResultStands
from mu_twisted.jobs._tasks import PENDING, Task, TaskState
from mu_twisted.jobs._timers import Due

FAILED_ENOUGH = 2
"""Attempts in a row that may fail on one worker before it is not used again: where most attempts are done elsewhere,
it is at fault itself."""


class Outcomes:
    """The decisions about ends of attempts.

    :param board: the job.
    :param chains: told when a task is settled.
    """

    def __init__(self, board: Board, chains: Chains) -> None:
        self._board = board
        self._chains = chains

    def done(self, worker: Worker, attempt: Attempt, remark: str = "") -> None:
        """The attempt has reached its end: others at the same task are killed before its result is announced.

        :param remark: what it leaves for the job's report.
        """
        board = self._board
        worker.failed = 0
        if remark:
            board.record(Remarked(attempt.task, attempt.number, remark))
        board.end(attempt, Outcome.DONE)
        for other in board.attempts.get(attempt.task, ()):
            other.beaten = True
            if other.worker.reusable:
                board.clear(other.worker, "another worker has done its task")
            else:
                board.see_off(other.worker, "another worker has done its task")
        self.settle(board.ledger.tasks[attempt.task])
        self._release(worker)

    def failed(self, worker: Worker, attempt: Attempt, kind: Failure, status: int | None, error: str) -> None:
        """The attempt has failed; its worker is still there, and may still be at it."""
        worker.failed += 1
        self._board.failed += 1
        self._fail(attempt, kind, status, error)
        self._release(worker, "its attempt took too long" if kind is Failure.DEADLINE else None)

    def lost(self, worker: Worker, kind: Failure, reason: str) -> None:
        """The worker is gone, and forgotten already."""
        attempt = worker.attempt
        if attempt is None:
            return
        if attempt.beaten:
            self._beaten(attempt)
            return
        if worker.launch_id is not None:
            self._board.lost[worker.launch_id] = (attempt.task, attempt.number)
        self._fail(attempt, kind, None, reason)

    def cleared(self, worker: Worker) -> None:
        """The worker has greeted again, free of its last task."""
        self._board.crew.move(worker, Place.IDLE)
        if worker.attempt is not None:
            self._beaten(worker.attempt)

    def came_back(self, launch_id: str) -> None:
        """A worker that had been taken for lost is there again: that cost its task no retry, if it still waits."""
        board = self._board
        number, attempt = board.lost.pop(launch_id, (None, None))
        if number is None:
            return
        task = board.ledger.tasks[number]
        if task.state in PENDING and task.attempts - 1 == attempt and task.charged and task.free < board.policy.reruns:
            board.record(Forgiven(number))
            board.enqueue([task])

    def settle(self, task: Task) -> None:
        """Announce the task's result, if it has one and nobody works on it any more."""
        if task.won is None or task.running:
            return
        if task.has_result:
            self._board.record(ResultStands((task.number,)))
        else:
            self._board.record(ResultReached(task.number, task.won))
        self._chains.settled(task)

    def try_again(self, task: Task) -> None:
        """The task's last attempt has failed; give it another after a while, unless it has had enough."""
        board, policy = self._board, self._board.policy
        if task.charged > policy.retries:
            self.give_up(task)
            return
        if board.holds.cover(task.number):
            board.enqueue([task])
            return
        board.ledger.move(task, TaskState.BACKING_OFF)
        tries = max(1, task.charged + task.free)
        delay = min(policy.retry_longest, policy.retry_delay * 2.0 ** min(tries - 1, 60))
        board.timers.push(board.now + delay * (0.5 + 0.5 * board.random()), Due.READY, (task, task.attempts))

    def give_up(self, task: Task) -> None:
        """The task has failed for good, and with it all that need its messages."""
        self._chains.fail(task, task.error)

    # -- inside ----------------------------------------------------------------------------------------------------

    def _fail(self, attempt: Attempt, kind: Failure, status: int | None, error: str) -> None:
        board = self._board
        task = board.ledger.tasks[attempt.task]
        if len(task.running) > 1:
            # The other one goes on: it decides.
            board.end(attempt, Outcome.FAILED, kind=kind, status=status, error=error)
            return
        free = kind is Failure.CHANNEL and task.free < board.policy.reruns
        board.end(attempt, Outcome.FAILED, costs=not free, kind=kind, status=status, error=error)
        if is_retried(board.policy, kind, status):
            self.try_again(task)
        else:
            self.give_up(task)

    def _beaten(self, attempt: Attempt) -> None:
        self._board.end(attempt, Outcome.BEATEN)
        self.settle(self._board.ledger.tasks[attempt.task])

    def _release(self, worker: Worker, busy: str | None = None) -> None:
        board = self._board
        if not worker.reusable or not self._is_useful():
            board.dismiss(worker, "no task is left for it")
        elif worker.failed >= FAILED_ENOUGH and board.failed < len(board.ledger.durations):
            board.dismiss(worker, f"{worker.failed} attempts in a row have failed on it")
        else:
            board.clear(worker, busy)

    def _is_useful(self) -> bool:
        board, tally = self._board, self._board.ledger.tally
        wanted = board.useful - tally[TaskState.ACTIVE] + len(board.backlog.doubles)
        return wanted > len(board.crew.idle) + board.crew.warming and not board.is_full
