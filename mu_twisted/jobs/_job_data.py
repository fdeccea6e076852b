"""JobData holds what all decisions of a job share: its state, and the actions that have been decided.

Keeps its parts in step with one another; decides nothing.
"""

from collections.abc import Callable, Iterable

from mu_twisted.jobs._actions import Abort, Action, Assign, Dismiss, Interrupt, Record, Warm
from mu_twisted.jobs._backlog import Backlog
from mu_twisted.jobs._failures import Failure
from mu_twisted.jobs._gangs import PipeEnd
from mu_twisted.jobs._holds import Holds
from mu_twisted.jobs._launch_id import LaunchId
from mu_twisted.jobs._launches import Launches
from mu_twisted.jobs._ledger import Ledger
from mu_twisted.jobs._records import Assigned, AttemptEnded, AttemptOutcome, JobRecord
from mu_twisted.jobs._tasks import PENDING, Task, TaskState
from mu_twisted.jobs._timers import TimerKind, Timers
from mu_twisted.jobs._worker_pool import Attempt, PoolWorker, WorkerPool, WorkerSlot

HOLD_GRACE = 30.0
"""Seconds that workers are kept for tasks that are held: a store that is restarted is back sooner, and a worker that is
kept for longer costs more than another."""
LINGER = 10.0
"""Seconds that workers are kept without a task in a job that is kept open: its next tasks begin at once on them."""
LEASE = 120.0
"""Seconds after which such a job is closed if its program has not been heard of."""
MAX_ERROR = 2000
"""Characters of an error that are kept: it may come from a worker."""


class JobData:
    """The present state of a job.

    :param ledger: what is recorded.
    :param random: a number from 0 to 1 at each call.
    """

    def __init__(self, ledger: Ledger, random: Callable[[], float]) -> None:
        self.ledger = ledger
        self.policy = ledger.submitted.policy
        self.random = random
        self.now = 0.0
        self.pool = WorkerPool()
        self.launches = Launches()
        self.backlog = Backlog(list(ledger.tasks.values()))
        self.timers = Timers()
        self.holds = Holds(lambda task: ledger.lineage.is_linked(task) or task in ledger.gangs)
        self.attempts: dict[int, list[Attempt]] = {}
        self._first_attempts: dict[Attempt, None] = {}
        self._lost: dict[LaunchId, tuple[int, int]] = {}
        self.ceiling: int | None = None
        self.failed = 0
        self._actions: list[Action] = []
        self._lingers_until = 0.0
        self._lease_until: float | None = None

    @property
    def alone(self) -> int:
        """Workers that tasks may have at once, as far as the job alone is concerned."""
        most, tasks = self.policy.max_workers, len(self.ledger.tasks)
        return tasks if most is None else min(most, tasks)

    @property
    def limit(self) -> int:
        """Workers that tasks may have at once."""
        return self.alone if self.ceiling is None else min(self.alone, self.ceiling)

    @property
    def needed(self) -> int:
        """Workers that would all have something to do now."""
        tally = self.ledger.tally
        return self.ledger.open - tally[TaskState.HELD] - tally[TaskState.BLOCKED] + len(self.backlog.doubles)

    @property
    def useful(self) -> int:
        """Workers that would all have something to do now, or probably soon.

        Soon are tasks that are not held for long, and for each active task one that may come after it.
        """
        since, tally = self.holds.since, self.ledger.tally
        soon = tally[TaskState.HELD] if since is not None and self.now - since < HOLD_GRACE else 0
        soon += min(tally[TaskState.BLOCKED], tally[TaskState.ACTIVE])
        useful = self.ledger.open - tally[TaskState.HELD] - tally[TaskState.BLOCKED] + soon
        if self.ledger.kept_open and self.now < self._lingers_until:
            return max(useful, self.limit + tally[TaskState.ACTIVE])
        return useful

    @property
    def is_full(self) -> bool:
        """Whether there are more workers than may stay; where nothing limits them, spares may."""
        if self.policy.max_workers is None and self.ceiling is None:
            return False
        return len(self.pool) > self.limit + self.policy.overprovision

    # -- what is noted ---------------------------------------------------------------------------------------------

    def advance(self, now: float) -> None:
        """Move the clock, which never goes back.

        :param now: seconds.
        """
        self.now = max(now, self.now)

    def linger(self) -> None:
        """Keep workers without a task for a while: others may be added soon."""
        self._lingers_until = self.now + LINGER

    def renew_lease(self) -> None:
        """The program that adds tasks is there."""
        self._lease_until = self.now + LEASE

    @property
    def is_abandoned(self) -> bool:
        """Whether the program that adds tasks has not been heard of for too long. Begins to count when it is asked."""
        if not self.ledger.kept_open:
            return False
        if self._lease_until is None:
            self.renew_lease()
        return self._lease_until is not None and self.now >= self._lease_until

    def set_ceiling(self, workers: int | None) -> None:
        """Limit the workers that other jobs leave to this one; None: they leave all."""
        self.ceiling = workers

    def note_failed(self, worker: PoolWorker) -> None:
        """Count an attempt that has failed on a worker which is still connected."""
        worker.failed += 1
        self.failed += 1

    def note_lost(self, launch_id: LaunchId, attempt: Attempt) -> None:
        """Keep which attempt ended with the connection of this launch's worker, which may come back."""
        self._lost[launch_id] = (attempt.task, attempt.number)

    def take_lost(self, launch_id: LaunchId) -> tuple[int, int] | None:
        """Task and number of the attempt that ended with this worker's connection, once; None if none did."""
        return self._lost.pop(launch_id, None)

    def take_straggler(self, seconds: float) -> Attempt | None:
        """The oldest first attempt, once, if it is under way for longer than this."""
        attempt = next(iter(self._first_attempts), None)
        if attempt is None or self.now - attempt.began <= seconds:
            return None
        del self._first_attempts[attempt]
        return attempt

    # -- what was decided ------------------------------------------------------------------------------------------

    def do(self, action: Action) -> None:
        """Ask the driver for this."""
        self._actions.append(action)

    def record(self, record: JobRecord) -> None:
        """This has happened, and is to be kept."""
        self.ledger.apply(record)
        self._actions.append(Record(record))

    def take(self) -> list[Action]:
        """All that was decided since the last time."""
        actions, self._actions = self._actions, []
        return actions

    # -- workers ---------------------------------------------------------------------------------------------------

    def dismiss(self, worker: PoolWorker, reason: str, failed: str | None = None) -> None:
        """Tell it to quit, as :class:`Dismiss` has it, and forget it."""
        self.forget(worker)
        self.do(Dismiss(worker.number, reason, failed))

    def abort(self, worker: PoolWorker, reason: str) -> None:
        """Drop its connection, and forget it."""
        self.forget(worker)
        self.do(Abort(worker.number, reason))

    def reset(self) -> None:
        """Forget all workers and attempts; none is expected any more."""
        self.launches.give_up_all()
        self.timers.clear()
        self.attempts.clear()
        self._first_attempts.clear()
        self.backlog.doubles.clear()
        self._lost.clear()

    def forget(self, worker: PoolWorker) -> None:
        """Forget a worker that is gone."""
        self.pool.remove(worker)
        self.launches.left(worker.launch_id, worker.number)

    def clear(self, worker: PoolWorker, reason: str | None = None) -> None:
        """Make it free for another task.

        :param reason: why its work is ended; None: it has none.
        """
        self._expect_greeting(worker, WorkerSlot.WARMING)
        self.do(Warm(worker.number) if reason is None else Interrupt(worker.number, reason))

    def dismiss_and_wait(self, worker: PoolWorker, reason: str) -> None:
        """Tell it to quit, and wait until it is gone."""
        self._expect_greeting(worker, WorkerSlot.LEAVING)
        self.do(Dismiss(worker.number, reason))

    def _expect_greeting(self, worker: PoolWorker, slot: WorkerSlot) -> None:
        self.pool.move(worker, slot)
        self.timers.push(self.now + self.policy.warm_timeout, TimerKind.WARM, (worker, worker.next_warming()))

    # -- tasks and attempts ----------------------------------------------------------------------------------------

    def enqueue(self, tasks: Iterable[Task]) -> None:
        """These are waiting, and ready for a worker, unless they are to be held."""
        ready = list(tasks)
        if self.holds:
            tasks, ready = ready, []
            held: list[Task] = []
            for task in tasks:
                (held if self.holds.cover(task.number) else ready).append(task)
            self.ledger.move_all([task for task in held if task.state is not TaskState.HELD], TaskState.HELD)
        self.ledger.move_all([task for task in ready if task.state is not TaskState.WAITING], TaskState.WAITING)
        if self.ledger.gangs:
            ready = self._enqueue_gangs(ready)
        self.backlog.add(ready)

    def is_ready(self, task: Task) -> bool:
        """Whether the task, and all of its gang, wait for a worker and for nothing else."""
        tasks = self.ledger.tasks
        return all(tasks[one].state is TaskState.WAITING for one in self.ledger.gangs.members(task.number))

    def _enqueue_gangs(self, tasks: list[Task]) -> list[Task]:
        """Queue the gangs of these tasks of which all tasks are ready; returns the tasks that are in none."""
        gangs, alone = self.ledger.gangs, list[Task]()
        for task in tasks:
            if task.number not in gangs:
                alone.append(task)
            elif self.is_ready(task):
                members = [self.ledger.tasks[one] for one in gangs.members(task.number)]
                self.backlog.add_gang(min(members, key=lambda one: one.rank), len(members), self.now)
        return alone

    def apply_holds(self) -> None:
        """Hold what is to be held by now, and let the rest wait for a worker."""
        held = self.holds.cover
        ready = [
            task for task in self.ledger.tasks.values() if task.state in PENDING and task.state is not TaskState.BLOCKED
        ]
        self.enqueue([task for task in ready if held(task.number) is not (task.state is TaskState.HELD)])

    def begin(
        self, worker: PoolWorker, task: Task, *, speculative: bool = False, pipes: tuple[PipeEnd, ...] = ()
    ) -> None:
        """The worker gets the task.

        :param pipes: the task's ends.
        """
        number = task.attempts
        self.record(Assigned(task.number, number, worker.launch_id, speculative))
        attempt = Attempt(task.number, number, worker, self.now, speculative)
        self.pool.give(worker, attempt)
        self.attempts.setdefault(task.number, []).append(attempt)
        if not speculative:
            self._first_attempts[attempt] = None
        if self.policy.task_timeout is not None:
            self.timers.push(self.now + self.policy.task_timeout, TimerKind.ATTEMPT, attempt)
        replay = number > 0 and bool(self.ledger.lineage.producers(task.number))
        self.do(Assign(worker.number, task.number, number, replay, pipes))

    def end(
        self,
        attempt: Attempt,
        outcome: AttemptOutcome,
        *,
        costs: bool = False,
        kind: Failure | None = None,
        status: int | None = None,
        error: str = "",
    ) -> None:
        """The attempt is over, whatever its worker is at by now."""
        self.pool.take_back(attempt)
        running = self.attempts[attempt.task]
        running.remove(attempt)
        if not running:
            del self.attempts[attempt.task]
        self._first_attempts.pop(attempt, None)
        self.backlog.doubles.pop(self.ledger.tasks[attempt.task], None)
        seconds = round(max(0.0, self.now - attempt.began), 3)
        error = error[:MAX_ERROR]
        self.record(AttemptEnded(attempt.task, attempt.number, outcome, seconds, costs, kind, status, error))
