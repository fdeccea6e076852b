"""A job from its beginning to its end: taken up, taken up again, concluded after each event, finished."""

from collections.abc import Generator

from mu_twisted.jobs._actions import Finish, StopLaunches
from mu_twisted.jobs._board import Board
from mu_twisted.jobs._chains import Chains
from mu_twisted.jobs._ledger import STEP
from mu_twisted.jobs._outcomes import Outcomes
from mu_twisted.jobs._records import AttemptEnded, Cancelled, Finished, Outcome, Retried, Started
from mu_twisted.jobs._staffing import Staffing
from mu_twisted.jobs._tasks import SETTLED, Task, TaskState
from mu_twisted.jobs._timers import Due


class Course:
    """The decisions about the job as a whole.

    :param board: the job.
    """

    def __init__(self, board: Board, chains: Chains, outcomes: Outcomes, staffing: Staffing) -> None:
        self._board = board
        self._chains = chains
        self._outcomes = outcomes
        self._staffing = staffing
        self._back: list[str] | None = None
        self._extra = 0

    def start(self) -> None:
        """A new job begins."""
        self._next_generation()
        self._board.enqueue(self._board.ledger.tasks.values())
        self.conclude(self._board.policy.overprovision)

    def taking_up(self) -> Generator[None, None, None]:
        """All tasks of a restored job, once: what was under way waits again, at no cost. Pauses now and then."""
        if self._back is not None:
            return
        ledger = self._board.ledger
        self._extra = self._board.policy.overprovision if ledger.generation < 0 else 0
        self._next_generation()
        back: list[str] = []
        for at, task in enumerate(ledger.tasks.values()):
            back += self._interrupted(task)
            if at % STEP == 0:
                yield
        for at, task in enumerate(ledger.tasks.values()):
            self._take_in(task)
            if at % STEP == 0:
                yield
        self._back = back

    def resume(self) -> None:
        """A restored job, whose tasks have been taken up, goes on; its workers may come back."""
        board = self._board
        back, self._back, extra = self._back or [], None, self._extra
        if board.holds or board.ledger.tally[TaskState.HELD]:  # that may have changed since they were taken up
            ready, covers = (TaskState.WAITING, TaskState.HELD), board.holds.cover
            tasks = [task for task in board.ledger.tasks.values() if task.state in ready]
            board.enqueue([task for task in tasks if covers(task.number) is not (task.state is TaskState.HELD)])
        back += board.launches.unseen(min(board.limit, board.useful) - len(back))
        for launch_id in back:
            board.launches.expect_back(launch_id)
            board.timers.push(board.now + board.policy.redial_timeout, Due.LAUNCH, launch_id)
        self.conclude(extra)

    def retry(self) -> None:
        """The tasks that have failed are wanted all the same."""
        board, ledger = self._board, self._board.ledger
        failed = sorted((ledger.tasks[number] for number in ledger.failures), key=lambda task: task.rank)
        board.record(Retried(tuple(task.number for task in failed)))
        self._next_generation()
        board.enqueue(failed)
        self._chains.store_lost("the job was over, and its messages gone with it")
        self.conclude()

    def cancel(self, reason: str) -> None:
        """The user does not want the job any more."""
        self._board.record(Cancelled(reason))
        self.finish(reason)

    def conclude(self, extra: int = 0) -> None:
        """What follows from an event for those who have nothing to do.

        :param extra: workers to ask for beyond those that are needed.
        """
        board, staffing = self._board, self._staffing
        if not board.ledger.open:
            self.finish(self._summary())
            return
        staffing.employ()
        if self._is_refused_throughout():
            self.finish(f"no launch was accepted: {board.launches.refusal}")
            return
        staffing.launch(extra)
        if staffing.has_given_up and not board.launches and not staffing.paused:
            self.finish(self._summary())

    def finish(self, error: str | None) -> None:
        """The job is over."""
        self.leave("the job is over")
        self._board.record(Finished(error))
        self._board.do(Finish())

    def leave(self, reason: str) -> None:
        """End what is under way, send everybody home, and let nobody else come."""
        board = self._board
        for attempt in [attempt for attempts in board.attempts.values() for attempt in attempts]:
            board.end(attempt, Outcome.BEATEN if attempt.beaten else Outcome.WITHDRAWN, error=reason)
        if board.launches:
            board.do(StopLaunches())
        for worker in list(board.crew.members.values()):
            board.dismiss(worker, reason)
        board.wipe()

    # -- inside ----------------------------------------------------------------------------------------------------

    def _next_generation(self) -> None:
        board, ledger = self._board, self._board.ledger
        board.record(Started(ledger.generation + 1))
        board.launches.begin(ledger.generation, ledger.launched, ledger.seen)
        self._staffing.begin()

    def _interrupted(self, task: Task) -> list[str]:
        """End what was under way when the coordinator ended; the launch ids of those who were at it."""
        board = self._board
        outcome = Outcome.WITHDRAWN if task.won is None else Outcome.BEATEN
        running = dict(task.running)
        for attempt in running:
            board.record(AttemptEnded(task.number, attempt, outcome, 0.0, error="the coordinator was restarted"))
        if task.won is not None and running:
            # Its other worker may still be at it, until it is back and cleared or has ended by itself.
            board.timers.push(board.now + board.policy.redial_timeout, Due.SETTLE, task)
        else:
            self._outcomes.settle(task)
        return [launch_id for launch_id in running.values() if launch_id is not None]

    def _take_in(self, task: Task) -> None:
        """Do what had been decided about the task but was not recorded any more."""
        if task.state is TaskState.WAITING:
            if task.charged > self._board.policy.retries:
                self._outcomes.give_up(task)
            else:
                self._board.enqueue([task])
        elif task.state is TaskState.FAILED:
            self._chains.fail_consumers(task, task.error)
        if task.state in SETTLED:
            self._chains.settled(task)

    def _is_refused_throughout(self) -> bool:
        launches = self._board.launches
        nobody = not launches and not self._board.crew.members
        return nobody and not launches.any_accepted and not launches.anybody_came and launches.refusal is not None

    def _summary(self) -> str | None:
        ledger = self._board.ledger
        failed = ledger.tally[TaskState.FAILED]
        if not failed and not ledger.open:
            return None
        text = f"{failed + ledger.open} of {len(ledger.tasks)} tasks failed"
        if ledger.open:
            why = self._board.launches.refusal or "their workers never dialled in"
            text += f", {ledger.open} of them because no worker came: {why}"
        return text
