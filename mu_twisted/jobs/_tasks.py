"""This module holds the states of tasks, the moves between them, and what a status says of tasks and jobs."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from types import MappingProxyType

from msgspec import Struct, field

from mu_twisted.jobs._launch_id import LaunchId


class TaskState(Enum):
    """Where a task stands.

    A task is blocked as long as one that it comes after is not done. It is held where it waits for no worker, as the
    store of its messages is out of reach.
    """

    BLOCKED = "blocked"
    WAITING = "waiting"
    BACKING_OFF = "backing off"
    HELD = "held"
    ACTIVE = "active"
    DONE = "done"
    FAILED = "failed"

    # Members are singletons: the default, by name, costs a call for each look-up, and there are many.
    __hash__ = object.__hash__


TRANSITIONS: Mapping[tuple[TaskState, TaskState], str] = MappingProxyType(
    {
        (TaskState.BLOCKED, TaskState.WAITING): "the tasks that it comes after are done",
        (TaskState.BLOCKED, TaskState.FAILED): "one that it comes after has failed, or the job is over",
        (TaskState.WAITING, TaskState.ACTIVE): "a worker is assigned",
        (TaskState.WAITING, TaskState.BACKING_OFF): "its attempt failed and another follows after a delay",
        (TaskState.WAITING, TaskState.HELD): "the store of its messages is out of reach",
        (TaskState.WAITING, TaskState.DONE): "its result stands: its messages are not needed again",
        (TaskState.WAITING, TaskState.FAILED): "no retry is left, a producer failed, or the job is over",
        (TaskState.BACKING_OFF, TaskState.WAITING): "the delay has passed",
        (TaskState.BACKING_OFF, TaskState.HELD): "the store of its messages is out of reach",
        (TaskState.BACKING_OFF, TaskState.DONE): "its result stands: its messages are not needed again",
        (TaskState.BACKING_OFF, TaskState.FAILED): "a producer failed, or the job is over",
        (TaskState.HELD, TaskState.WAITING): "the store of its messages can be reached",
        (TaskState.HELD, TaskState.DONE): "its result stands: its messages are not needed again",
        (TaskState.HELD, TaskState.FAILED): "a producer failed, or the job is over",
        (TaskState.ACTIVE, TaskState.WAITING): "its last attempt has ended without a result",
        (TaskState.ACTIVE, TaskState.DONE): "its result is reached",
        (TaskState.ACTIVE, TaskState.FAILED): "the job is over",
        (TaskState.DONE, TaskState.WAITING): "its messages are lost and needed again",
        (TaskState.FAILED, TaskState.WAITING): "the user retries the job",
        (TaskState.FAILED, TaskState.BLOCKED): "the user retries the job, and one that it comes after, too",
    }
)
"""Every move of a task, from one state to another, and what brings it about; :meth:`Ledger.move` allows no other.

A second attempt beside a slow one leaves its task active. From which states a result stands, or the end of a job fails
a task, depends on where its last attempt left it."""

SETTLED = (TaskState.DONE, TaskState.FAILED)
PENDING = (TaskState.BLOCKED, TaskState.WAITING, TaskState.BACKING_OFF, TaskState.HELD)
"""Neither settled nor active."""


class Task(Struct, eq=False, gc=False):
    """One task, as the records so far have it.

    A job may have a hundred thousand, which the garbage collector passes over: they refer to nothing that refers back.

    :ivar rank: its place in the order of assignment, producers before consumers.
    :ivar attempts: begun so far, over the job's whole life: the next one's number.
    :ivar failures: failed attempts that cost a retry.
    :ivar free: attempts that had to be repeated and cost none.
    :ivar running: attempts under way, each with its worker's launch id.
    :ivar won: the attempt that was done, as long as the task's result is not announced.
    :ivar has_result: whether it ever was done, even if it runs again for its messages.
    :ivar seconds: that the attempt took that was done.
    :ivar stage: the place of its stage among the job's; -1: the job has none.
    """

    number: int
    rank: int
    state: TaskState = TaskState.WAITING
    attempts: int = 0
    failures: int = 0
    free: int = 0
    running: dict[int, LaunchId | None] = field(default_factory=dict)
    won: int | None = None
    has_result: bool = False
    error: str = ""
    seconds: float | None = None
    stage: int = -1


@dataclass(frozen=True)
class Counts:
    """How many of the job's tasks are in each state, and how many workers are connected.

    :param waiting: for a worker; those that are backing off, held or blocked included.
    :param backing_off: of those waiting: they failed and are tried again after a while.
    :param held: of those waiting: the store of their messages is out of reach.
    :param blocked: of those waiting: tasks that they come after are not done.
    """

    waiting: int
    active: int
    done: int
    failed: int
    workers: int
    backing_off: int = 0
    held: int = 0
    blocked: int = 0

    @property
    def tasks(self) -> int:
        """All tasks of the job."""
        return self.waiting + self.active + self.done + self.failed


@dataclass(frozen=True)
class TaskView:
    """One task, for a status of its job.

    :param attempts: begun so far.
    :param retries: that failures have used up.
    :param workers: the numbers of those that are on it.
    :param error: of the last attempt that failed; empty if none did or if it is done.
    :param seconds: that the attempt took that was done.
    :param waits: what it waits for, other tasks or a message, if it does nothing else; one line.
    :param stage: what its stage is called; None: the job has none.
    """

    task: int
    state: TaskState
    attempts: int
    retries: int
    workers: tuple[int, ...]
    error: str
    seconds: float | None
    waits: str = ""
    stage: str | None = None


@dataclass(frozen=True)
class AttemptView:
    """One attempt that is under way.

    :param seconds: for which it has run.
    :param launch_id: of its worker; None where that has none.
    :param speculative: whether it runs beside another that takes too long.
    :param waits: as in :class:`TaskView`.
    """

    task: int
    attempt: int
    seconds: float
    launch_id: LaunchId | None
    speculative: bool
    waits: str


@dataclass(frozen=True)
class JobSnapshot:
    """A job, for a status.

    :param results: tasks that have been done, those included that run again for their messages.
    :param idle: workers that have nothing to do; ``warming`` ones are being cleared of their last task.
    :param unsent: launches that Lambda has not taken yet; ``accepted`` ones are on their way.
    :param launched: workers asked for so far, over the job's whole life.
    :param speculated: second attempts begun beside a slow one.
    :param median: seconds of attempts that were done; None as long as there is none.
    """

    name: str
    over: bool
    error: str | None
    counts: Counts
    results: int
    idle: int
    warming: int
    unsent: int
    accepted: int
    launched: int
    speculated: int
    median: float | None
