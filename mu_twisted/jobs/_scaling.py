"""Scaling decides how many workers a job needs, which gets which task, and which is dismissed."""

from collections import deque
from collections.abc import Iterator

from mu_twisted.jobs._actions import StartLaunches
from mu_twisted.jobs._gangs import PipeEnd
from mu_twisted.jobs._job_data import JobData
from mu_twisted.jobs._records import Launched
from mu_twisted.jobs._tasks import Task, TaskState
from mu_twisted.jobs._timers import TimerKind
from mu_twisted.jobs._worker_pool import PoolWorker

MARGIN = 5.0
"""Seconds of its function that a worker must have left beyond what a task takes."""
ENOUGH = 5
"""Finished attempts from which the time of the next is estimated."""
PORTION = 4000
"""Launches at most that wait to be taken by Lambda: identifiers of more would only be made, and given up, in vain. The
launches of all jobs that are under way at once are fewer by far."""
AGED = 10.0
"""Seconds that a gang is ready before tasks of higher rank are assigned no more, so that its workers come together."""
RECENT = 4
"""Newcomers whose functions' lives say how long those of the next will be: a function's time-out may be changed, and be
another one in another region."""


class Scaling:
    """The decisions about workers.

    :param data: the job.
    """

    def __init__(self, data: JobData) -> None:
        self._data = data
        self._rounds = 0
        self._fruitless_rounds = 0
        self._next_round = float("-inf")
        self._rest = 0
        self._armed = False
        self._lives: deque[float] = deque(maxlen=RECENT)
        self._returned = 0.0
        self.paused = False

    @property
    def wanted(self) -> int:
        """Workers that the job needs now."""
        return min(self._data.limit, self._data.needed)

    def begin(self) -> None:
        """A new generation: the first round is due at once."""
        self._rounds = self._fruitless_rounds = self._rest = 0
        self._next_round = float("-inf")
        self.paused = False

    # -- launches --------------------------------------------------------------------------------------------------

    def launch(self, extra: int = 0) -> None:
        """Ask for as many workers as are missing, not too often, and less often as long as no worker gets a task.

        :param extra: beyond what is needed.
        """
        data = self._data
        if self._rest:
            if self.rest_is_due:
                self._launch_rest()
            return
        missing = self.wanted - len(data.pool) - len(data.launches) + extra
        if missing <= 0 or self.paused or self.has_given_up or self._is_first_round:
            return
        if data.now < self._next_round:
            if not self._armed:
                self._armed = True
                data.timers.push(self._next_round, TimerKind.STAFF, None)
            return
        policy = data.policy
        delay = min(policy.relaunch_longest, policy.relaunch_delay * 2.0 ** min(self._rounds, 60))
        self._next_round = data.now + delay
        self._rounds += 1
        self._fruitless_rounds += 1
        self._ask(missing)

    @property
    def rest_is_due(self) -> bool:
        """Whether more of what the last round wants is to be asked for: Lambda has taken half of what was."""
        return self._rest > 0 and self._data.launches.unsent <= PORTION // 2

    def pause(self) -> None:
        """Launch no more until a worker connects, or a new generation begins."""
        self.paused = True
        self._rest = 0

    def round_is_due(self) -> None:
        """The next round of launches may begin."""
        self._armed = False

    @property
    def _is_first_round(self) -> bool:
        """Whether it is not known yet if launching works at all."""
        launches = self._data.launches
        return self._rounds > 0 and bool(launches) and not (launches.any_accepted or launches.any_connected)

    @property
    def has_given_up(self) -> bool:
        """Whether rounds of launches brought no worker so often that none follows."""
        return self._fruitless_rounds > self._data.policy.start_retries and not self._data.pool.members

    def worker_connected(self, seconds_left: float | None, *, new: bool) -> None:
        """Launching works.

        :param seconds_left: of the newcomer's function.
        :param new: whether it has just begun; else it was here before, and says little of how long others live.
        """
        self._fruitless_rounds = 0
        self.paused = False
        if seconds_left is not None and new:
            self._lives.append(seconds_left)
        elif seconds_left is not None:
            self._returned = max(self._returned, seconds_left)

    # -- assignment ---------------------------------------------------------------------------------------------

    def has_room(self) -> bool:
        """Whether the worker that connected last may stay: to work, or as a spare."""
        data = self._data
        return not data.is_full and len(data.pool.idle) <= data.useful

    def assign(self) -> None:
        """Idle workers get the tasks that are ready, then slow tasks a second worker; surplus spares are dismissed."""
        data = self._data
        backlog, pool = data.backlog, data.pool
        while pool.idle and data.is_full:
            data.dismiss(next(iter(pool.idle.values())), "other jobs have use for it")
        if data.ledger.gangs:
            self._assign_gangs()
        for worker in () if data.ledger.gangs else self._able_workers():
            task = backlog.take()
            if task is not None:
                self._begin(worker, task)
                continue
            task = backlog.take_double()
            if task is None:
                break
            self._begin(worker, task, speculative=True)
        while len(pool.idle) > data.useful:
            data.dismiss(next(iter(pool.idle.values())), "there are as many workers as the job has use for")

    def retire_expiring(self) -> None:
        """Dismiss spares whose functions end too soon for any task."""
        idle = self._data.pool.idle
        for worker in [worker for worker in idle.values() if not self._has_time(worker)]:
            self._dismiss_expiring(worker)

    # -- inside ----------------------------------------------------------------------------------------------------

    def _launch_rest(self) -> None:
        data = self._data
        missing = self.wanted + data.policy.overprovision - len(data.pool) - len(data.launches)
        self._ask(max(0, min(self._rest, missing)))

    def _ask(self, count: int) -> None:
        data = self._data
        portion = min(count, max(0, PORTION - data.launches.unsent))
        self._rest = count - portion
        if not portion:
            return
        ids = data.launches.new(portion)
        first = int(ids[0].partition("-")[2])
        data.record(Launched(data.launches.generation, first, portion))
        data.do(StartLaunches(ids))

    def _assign_gangs(self) -> None:
        """A gang gets its workers when there are enough of them. Until it has waited for long, others may overtake it,
        but not those that wait for one that has not begun.
        """
        data, gangs = self._data, self._data.ledger.gangs
        able = deque(self._able_workers())
        while able:
            task = data.backlog.take_fitting(len(able), data.now - AGED, self._have_begun_before)
            if task is None:
                break
            if data.is_ready(task):
                members = gangs.members(task.number)
                attempts = {one: data.ledger.tasks[one].attempts for one in members}
                for one in members:
                    self._begin(able.popleft(), data.ledger.tasks[one], pipes=gangs.ends(one, attempts))

    def _have_begun_before(self, task: Task) -> bool:
        """Whether those whose messages the task's gang takes have workers, or are done."""
        tasks, lineage = self._data.ledger.tasks, self._data.ledger.lineage
        members = self._data.ledger.gangs.members(task.number)
        producers = (tasks[producer] for one in members for producer in lineage.producers(one))
        return all(one.state in (TaskState.ACTIVE, TaskState.DONE) or one.number in members for one in producers)

    def _begin(
        self, worker: PoolWorker, task: Task, *, speculative: bool = False, pipes: tuple[PipeEnd, ...] = ()
    ) -> None:
        data = self._data
        data.begin(worker, task, speculative=speculative, pipes=pipes)
        # Not already when a worker connects: one that is dismissed at once is no reason to launch others soon.
        self._rounds = 0
        self._next_round = min(self._next_round, data.now + data.policy.relaunch_delay)

    def _able_workers(self) -> Iterator[PoolWorker]:
        backlog = self._data.backlog
        idle = deque(self._data.pool.idle.values()) if backlog.first() is not None or backlog.doubles else deque()
        for worker in idle:
            if self._has_time(worker):
                yield worker
            else:
                self._dismiss_expiring(worker)

    def _dismiss_expiring(self, worker: PoolWorker) -> None:
        left = max(0.0, (worker.deadline or 0.0) - self._data.now)
        self._data.dismiss(worker, f"its function ends in {left:.0f} s, too soon for a task")

    def _has_time(self, worker: PoolWorker) -> bool:
        return worker.deadline is None or worker.deadline - self._data.now >= self._needed()

    def _needed(self) -> float:
        """Seconds that a worker must have left. A fresh one is good enough whatever tasks take: there is no better."""
        durations, limit = self._data.ledger.durations, self._data.policy.task_timeout
        median = durations.median
        if median is not None and (len(durations) >= ENOUGH or limit is None):
            likely = 1.25 * min(durations.longest, 3.0 * median)
            needed = likely if limit is None else min(likely, limit)
        else:
            needed = limit or 0.0
        return min(needed + MARGIN, 0.9 * max(self._lives, default=self._returned))
