"""What time alone brings about: whoever is silent is dead, whoever is late does not come, whoever waited is ready."""

from typing import Any

from mu_twisted.jobs._actions import Diagnose, Ping, StopLaunches
from mu_twisted.jobs._board import Board
from mu_twisted.jobs._crew import Attempt, Place, Worker
from mu_twisted.jobs._failures import Failure
from mu_twisted.jobs._outcomes import Outcomes
from mu_twisted.jobs._staffing import Staffing
from mu_twisted.jobs._tasks import TaskState
from mu_twisted.jobs._timers import Due


class Watch:
    """The decisions about what falls due.

    :param board: the job.
    """

    def __init__(self, board: Board, outcomes: Outcomes, staffing: Staffing) -> None:
        self._board = board
        self._outcomes = outcomes
        self._staffing = staffing

    def keep(self, worker: Worker) -> None:
        """Ask the worker for signs of life from now on, at times that are spread over the period."""
        board = self._board
        board.timers.push(board.now + board.policy.heartbeat * board.random(), Due.BEAT, worker)

    def look(self) -> None:
        """The clock has moved."""
        for due, what in self._board.timers.take(self._board.now):
            self._fell_due(due, what)

    # -- inside ----------------------------------------------------------------------------------------------------

    def _fell_due(self, due: Due, what: Any) -> None:
        match due:
            case Due.READY:
                task, attempts = what
                if task.state is TaskState.BACKING_OFF and task.attempts == attempts:
                    self._board.enqueue([task])
            case Due.ATTEMPT:
                self._too_long(what)
            case Due.LAUNCH:
                self._did_not_come(what)
            case Due.BEAT:
                self._beat(what)
            case Due.WARM:
                worker, warmings = what
                if worker.place in (Place.WARMING, Place.LEAVING) and worker.warmings == warmings:
                    self._is_dead(worker, "it did not greet again after its last task")
            case Due.SETTLE:
                self._outcomes.settle(what)
            case Due.STAFF:
                self._staffing.round_is_due()

    def _too_long(self, attempt: Attempt) -> None:
        worker = attempt.worker
        if worker.attempt is attempt and worker.place is Place.WORKING:
            limit = self._board.policy.task_timeout or 0.0
            self._outcomes.failed(worker, attempt, Failure.DEADLINE, None, f"it took longer than {limit:g} s")

    def _did_not_come(self, launch_id: str) -> None:
        board = self._board
        if board.launches.give_up(launch_id) and not board.launches.anybody_came:
            board.launches.give_up_all()
            self._staffing.paused = True
            board.do(StopLaunches())
            board.do(Diagnose())

    def _beat(self, worker: Worker) -> None:
        board = self._board
        if worker.unanswered >= board.policy.heartbeat_misses:
            self._is_dead(worker, f"its worker has not answered {worker.unanswered} pings")
        elif board.crew.members.get(worker.number) is worker:
            worker.unanswered += 1
            board.timers.push(board.now + board.policy.heartbeat, Due.BEAT, worker)
            board.do(Ping(worker.number))

    def _is_dead(self, worker: Worker, reason: str) -> None:
        if self._board.crew.members.get(worker.number) is worker:
            self._board.abort(worker, reason)
            self._outcomes.lost(worker, Failure.HEARTBEAT, reason)
