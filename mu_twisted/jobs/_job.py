"""One job: which worker gets which task, when it is over and how it went.

The rules, from the design: task numbers go out in connection order, in the order that the pipeline wants; a launch is
good for one connection; a worker that has done its task takes the next one of the same job; what no worker will ever
come for has failed. A task that fails takes no other down with it.
"""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum

from mu_twisted.jobs._actions import Action, Assign, Diagnose, Dismiss, Finish, StartLaunches, Warm
from mu_twisted.jobs._errors import JobError


class TaskState(Enum):
    """Where a task stands."""

    WAITING = "waiting"
    ACTIVE = "active"
    DONE = "done"
    FAILED = "failed"


@dataclass(frozen=True)
class Counts:
    """How many of the job's tasks are in each state, and how many workers are connected."""

    waiting: int
    active: int
    done: int
    failed: int
    workers: int

    @property
    def tasks(self) -> int:
        """All tasks of the job."""
        return self.waiting + self.active + self.done + self.failed


class Job:
    """The decisions of one job. Every method that takes ``now`` reports an event and returns what to do about it.

    :param name: the job's identifier; part of nothing but texts here.
    :param order: task numbers in the order in which they are to be assigned, each once.
    :param overprovision: launches beyond one a task, so that a launch that is lost costs nothing.
    :param start_timeout: seconds from an accepted launch until a worker that has not come counts as lost.
    :raises JobError: there is no task, or a number stands in ``order`` twice.
    """

    def __init__(self, name: str, order: Sequence[int], *, overprovision: int = 0, start_timeout: float = 30.0) -> None:
        if not order:
            raise JobError("a job needs at least one task")
        if len(set(order)) != len(order):
            raise JobError("a task number stands in the job's order twice")
        self.name = name
        self.start_timeout = start_timeout
        self.started_at: float | None = None
        self.over = False
        self.error: str | None = None
        self.failures: dict[int, str] = {}
        self._overprovision = overprovision
        self._states = dict.fromkeys(order, TaskState.WAITING)
        self._tally = dict.fromkeys(TaskState, 0) | {TaskState.WAITING: len(order)}
        self._waiting = deque(order)
        self._working: dict[int, int] = {}
        self._warming: set[int] = set()
        self._spares: deque[int] = deque()
        self._workers: set[int] = set()
        self._single_use: set[int] = set()
        self._due: dict[str, float | None] = {}
        self._spent: set[str] = set()
        self._anybody_came = False
        self._refusals: dict[str, int] = {}

    # -- what one can ask ------------------------------------------------------------------------------------------

    def counts(self) -> Counts:
        """A snapshot for progress and results."""
        tally = self._tally
        return Counts(
            waiting=tally[TaskState.WAITING],
            active=tally[TaskState.ACTIVE],
            done=tally[TaskState.DONE],
            failed=tally[TaskState.FAILED],
            workers=len(self._workers),
        )

    def task_of(self, worker: int) -> int | None:
        """The task that the worker is on, if any."""
        return self._working.get(worker)

    # -- events ----------------------------------------------------------------------------------------------------

    def start(self, now: float) -> list[Action]:
        """The job begins: one launch for each task, and the overprovisioned ones."""
        self.started_at = now
        ids = tuple(f"0-{number}" for number in range(len(self._states) + self._overprovision))
        self._due = dict.fromkeys(ids)
        return [StartLaunches(ids)]

    def launch_accepted(self, launch_id: str, now: float) -> list[Action]:
        """Lambda has taken the event: from now on the worker may come, and is due after the start timeout."""
        if launch_id in self._due:
            self._due[launch_id] = now + self.start_timeout
        return []

    def launch_refused(self, launch_id: str, reason: str, now: float) -> list[Action]:
        """The launch has failed for good; no worker will come of it."""
        if launch_id not in self._due:
            return []
        del self._due[launch_id]
        self._refusals[reason] = self._refusals.get(reason, 0) + 1
        return self._give_up_if_nobody_comes()

    def worker_came(self, worker: int, launch_id: str | None, now: float, *, reusable: bool = True) -> list[Action]:
        """A worker has greeted, for the first time or again after :class:`Warm`.

        :param worker: a number that stands for its connection.
        :param launch_id: what its event said; None for a worker that cannot tell (the original's).
        :param reusable: whether it can be warmed for another task; the original's cannot.
        """
        if worker in self._warming:
            self._warming.discard(worker)
            return self._employ(worker)
        if self.over:
            return [Dismiss(worker, "the job is over")]
        if launch_id is not None:
            if launch_id in self._spent:
                return [Dismiss(worker, f"launch {launch_id} has been used: a doubled event or a worker that redials")]
            # A worker that comes after its time is as good as any other.
            self._spent.add(launch_id)
            self._due.pop(launch_id, None)
        elif self._due:
            self._due.popitem()
        self._anybody_came = True
        self._workers.add(worker)
        if not reusable:
            self._single_use.add(worker)
        return self._employ(worker)

    def task_done(self, worker: int, now: float) -> list[Action]:
        """The worker's machine has reached its end."""
        self._settle(worker, TaskState.DONE)
        return self._released(worker)

    def task_failed(self, worker: int, error: str, now: float) -> list[Action]:
        """The worker's machine has ended with an error; the worker itself is still there."""
        task = self._settle(worker, TaskState.FAILED)
        self.failures[task] = error
        return self._released(worker)

    def worker_lost(self, worker: int, reason: str, now: float) -> list[Action]:
        """The connection has ended, whoever ended it.

        :param reason: what a task that was under way has failed of.
        """
        if worker not in self._workers:
            return []
        self._workers.discard(worker)
        self._warming.discard(worker)
        self._single_use.discard(worker)
        if worker in self._spares:
            self._spares.remove(worker)
        if worker in self._working:
            task = self._settle(worker, TaskState.FAILED)
            self.failures[task] = reason
        return self._after_a_task()

    def time_passed(self, now: float) -> list[Action]:
        """The clock has moved: workers that are overdue count as lost."""
        if self.over:
            return []
        late = [launch for launch, due in self._due.items() if due is not None and due <= now]
        if not late:
            return []
        for launch in late:
            del self._due[launch]
        if not self._anybody_came:
            self._due.clear()
            return [Diagnose()]
        return self._give_up_if_nobody_comes()

    def abort(self, error: str, now: float) -> list[Action]:
        """Something makes going on useless, or the user has cancelled: every task that is not done has failed."""
        if self.over:
            return []
        return self._finish(error)

    # -- how they are decided --------------------------------------------------------------------------------------

    def _employ(self, worker: int) -> list[Action]:
        if not self._waiting:
            if self.over:
                return [Dismiss(worker, "the job is over")]
            self._spares.append(worker)
            return []
        task = self._waiting.popleft()
        self._move(task, TaskState.ACTIVE)
        self._working[worker] = task
        return [Assign(worker, task, attempt=0)]

    def _released(self, worker: int) -> list[Action]:
        actions: list[Action]
        if self._waiting and not self.over and worker not in self._single_use:
            self._warming.add(worker)
            actions = [Warm(worker)]
        else:
            self._workers.discard(worker)
            self._single_use.discard(worker)
            actions = [Dismiss(worker, "no task is left for it")]
        return actions + self._after_a_task()

    def _after_a_task(self) -> list[Action]:
        if self.over:
            return []
        if self._tally[TaskState.WAITING] or self._tally[TaskState.ACTIVE]:
            return self._give_up_if_nobody_comes()
        return self._finish(self._summary())

    def _give_up_if_nobody_comes(self) -> list[Action]:
        if self.over or self._due or self._workers:
            return []
        if not self._anybody_came and self._refusals:
            return self._finish(f"no launch was accepted: {self._most_common_refusal()}")
        return self._finish(self._summary())

    def _finish(self, error: str | None) -> list[Action]:
        self.over = True
        self.error = error
        for task, state in self._states.items():
            if state in (TaskState.WAITING, TaskState.ACTIVE):
                self.failures[task] = error if state is TaskState.ACTIVE and error else "no worker came for it"
                self._move(task, TaskState.FAILED)
        self._waiting.clear()
        self._working.clear()
        self._warming.clear()
        self._spares.clear()
        return [*(Dismiss(worker, "the job is over") for worker in sorted(self._workers)), Finish()]

    def _summary(self) -> str | None:
        lost = self._tally[TaskState.FAILED] + self._tally[TaskState.WAITING]
        if not lost:
            return None
        text = f"{lost} of {len(self._states)} tasks failed"
        if self._tally[TaskState.WAITING]:
            why = self._most_common_refusal() if self._refusals else "their workers never dialled in"
            text += f", {self._tally[TaskState.WAITING]} of them because no worker came: {why}"
        return text

    def _most_common_refusal(self) -> str:
        return max(self._refusals, key=lambda reason: self._refusals[reason])

    def _settle(self, worker: int, state: TaskState) -> int:
        task = self._working.pop(worker)
        self._move(task, state)
        return task

    def _move(self, task: int, state: TaskState) -> None:
        self._tally[self._states[task]] -= 1
        self._tally[state] += 1
        self._states[task] = state
