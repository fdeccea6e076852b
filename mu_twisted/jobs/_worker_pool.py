"""The pool holds the workers that are connected, and what each is doing."""

from dataclasses import dataclass, field
from enum import Enum

from mu_twisted.jobs._launch_id import LaunchId

Waits = tuple[tuple[int | None, str, int], ...]
"""Messages that a task waits for: of which task, None for any, their name, and which of that name it is, from 1."""


class WorkerSlot(Enum):
    """What a worker is doing."""

    IDLE = "idle"
    WORKING = "working"
    WARMING = "warming"
    LEAVING = "leaving"

    __hash__ = object.__hash__


@dataclass(slots=True, eq=False)
class Attempt:
    """One try at a task, under way.

    :ivar began: when.
    :ivar superseded: whether another attempt has been done first, and this one's worker is being cleared of it.
    :ivar waits: for which messages it waits, and does nothing else.
    :ivar waits_since: when it began to wait for these.
    """

    task: int
    number: int
    worker: "PoolWorker"
    began: float
    speculative: bool
    superseded: bool = False
    waits: "Waits" = ()
    waits_since: float = 0.0

    def wait(self, waits: "Waits", now: float) -> None:
        """Note for which messages it waits, if for any.

        :param now: seconds.
        """
        if waits != self.waits:
            self.waits, self.waits_since = waits, now

    def supersede(self) -> None:
        """Note that another attempt at the task was done first."""
        self.superseded = True


@dataclass(slots=True, eq=False)
class PoolWorker:
    """One live connection.

    :ivar reusable: whether it knows how to be cleared of a task, and answers pings; the original's does neither.
    :ivar deadline: when its function ends, if it says so.
    :ivar unanswered: pings since its last message.
    :ivar failed: attempts in a row that failed on it.
    :ivar warmings: how often it was cleared; says which timer is about the present time.
    """

    number: int
    launch_id: LaunchId | None
    reusable: bool
    deadline: float | None
    slot: WorkerSlot = WorkerSlot.IDLE
    attempt: Attempt | None = None
    unanswered: int = 0
    failed: int = 0
    warmings: int = 0

    def heard(self) -> None:
        """Note a message of the worker, whatever it was."""
        self.unanswered = 0

    def pinged(self) -> None:
        """Note a ping that was sent to the worker."""
        self.unanswered += 1

    def greeted_again(self, deadline: float | None) -> None:
        """Note another greeting on the same connection.

        :param deadline: when its function ends, if the greeting says so.
        """
        self.unanswered = 0
        self.deadline = deadline or self.deadline

    def succeeded(self) -> None:
        """Note an attempt that was done: failures are counted anew."""
        self.failed = 0

    def next_warming(self) -> int:
        """The number of the clearing that begins."""
        self.warmings += 1
        return self.warmings


@dataclass(slots=True)
class WorkerPool:
    """All workers of a job.

    :ivar idle: those that have nothing to do, the longest connected first.
    :ivar warming: how many are being cleared of their last task.
    """

    members: dict[int, PoolWorker] = field(default_factory=dict)
    idle: dict[int, PoolWorker] = field(default_factory=dict)
    warming: int = 0
    leaving: int = 0

    def __len__(self) -> int:
        return len(self.members) - self.leaving

    def add(self, worker: PoolWorker) -> None:
        """Add a worker that has connected; it is idle."""
        self.members[worker.number] = worker
        self.idle[worker.number] = worker

    def move(self, worker: PoolWorker, slot: WorkerSlot) -> None:
        """Let the worker do something else."""
        self._out(worker)
        worker.slot = slot
        if slot is WorkerSlot.IDLE:
            self.idle[worker.number] = worker
        self.warming += slot is WorkerSlot.WARMING
        self.leaving += slot is WorkerSlot.LEAVING

    def give(self, worker: PoolWorker, attempt: Attempt) -> None:
        """Let the worker work on an attempt."""
        worker.attempt = attempt
        self.move(worker, WorkerSlot.WORKING)

    def take_back(self, attempt: Attempt) -> None:
        """Part the attempt from its worker, whose slot stays as it is."""
        attempt.worker.attempt = None

    def remove(self, worker: PoolWorker) -> None:
        """Remove a worker that is gone, or is not listened to any more."""
        self._out(worker)
        del self.members[worker.number]

    def _out(self, worker: PoolWorker) -> None:
        self.idle.pop(worker.number, None)
        self.warming -= worker.slot is WorkerSlot.WARMING
        self.leaving -= worker.slot is WorkerSlot.LEAVING
