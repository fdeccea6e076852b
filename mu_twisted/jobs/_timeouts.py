"""This module decides what follows from time alone: a silent worker is dead, a late one lost, a delayed task ready."""

from typing import Any

from mu_twisted.base import counted
from mu_twisted.jobs._actions import Diagnose, Ping, StopLaunches
from mu_twisted.jobs._failures import Failure
from mu_twisted.jobs._job_data import JobData
from mu_twisted.jobs._launch_id import LaunchId
from mu_twisted.jobs._outcomes import Outcomes
from mu_twisted.jobs._scaling import Scaling
from mu_twisted.jobs._tasks import TaskState
from mu_twisted.jobs._timers import TimerKind
from mu_twisted.jobs._worker_pool import Attempt, PoolWorker, WorkerSlot


class Timeouts:
    """The decisions about what falls due.

    :param data: the job.
    """

    def __init__(self, data: JobData, outcomes: Outcomes, scaling: Scaling) -> None:
        self._data = data
        self._outcomes = outcomes
        self._scaling = scaling

    def keep(self, worker: PoolWorker) -> None:
        """Ask the worker for signs of life from now on, at times that are spread over the period."""
        data = self._data
        data.timers.push(data.now + data.policy.heartbeat * data.random(), TimerKind.HEARTBEAT, worker)

    def look(self) -> None:
        """The clock has moved."""
        for due, what in self._data.timers.take(self._data.now):
            self._fell_due(due, what)

    # -- inside ----------------------------------------------------------------------------------------------------

    def _fell_due(self, due: TimerKind, what: Any) -> None:
        match due:
            case TimerKind.READY:
                task, attempts = what
                if task.state is TaskState.BACKING_OFF and task.attempts == attempts:
                    self._data.enqueue([task])
            case TimerKind.ATTEMPT:
                self._too_long(what)
            case TimerKind.LAUNCH:
                self._did_not_come(what)
            case TimerKind.HEARTBEAT:
                self._heartbeat(what)
            case TimerKind.WARM:
                worker, warmings = what
                if worker.slot in (WorkerSlot.WARMING, WorkerSlot.LEAVING) and worker.warmings == warmings:
                    self._is_dead(worker, "it did not greet again after its last task")
            case TimerKind.SETTLE:
                self._outcomes.settle(what)
            case TimerKind.STAFF:
                self._scaling.round_is_due()

    def _too_long(self, attempt: Attempt) -> None:
        worker = attempt.worker
        if worker.attempt is attempt and worker.slot is WorkerSlot.WORKING:
            limit = self._data.policy.task_timeout or 0.0
            self._outcomes.failed(worker, attempt, Failure.DEADLINE, None, f"it took longer than {limit:g} s")

    def _did_not_come(self, launch_id: LaunchId) -> None:
        data = self._data
        if data.launches.give_up(launch_id) and not data.launches.any_connected:
            data.launches.give_up_all()
            self._scaling.pause()
            data.do(StopLaunches())
            data.do(Diagnose())

    def _heartbeat(self, worker: PoolWorker) -> None:
        data = self._data
        if worker.unanswered >= data.policy.heartbeat_misses:
            self._is_dead(worker, f"its worker has not answered {counted(worker.unanswered, 'ping')}")
        elif data.pool.members.get(worker.number) is worker:
            worker.pinged()
            data.timers.push(data.now + data.policy.heartbeat, TimerKind.HEARTBEAT, worker)
            data.do(Ping(worker.number))

    def _is_dead(self, worker: PoolWorker, reason: str) -> None:
        if self._data.pool.members.get(worker.number) is worker:
            self._data.abort(worker, reason)
            self._outcomes.lost(worker, Failure.HEARTBEAT, reason)
