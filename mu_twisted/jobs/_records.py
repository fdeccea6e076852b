"""The records are what the journal keeps of a job, at the grain of tasks.

A record holds no time, only durations: clocks do not outlive a process. Folded in order
(:class:`~mu_twisted.jobs._ledger.Ledger`), the records are the job; there is no second bookkeeping.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum

from mu_twisted.base.json_types import Json, JsonObject
from mu_twisted.jobs._codec import decodes, from_plain, to_plain
from mu_twisted.jobs._errors import RecordError
from mu_twisted.jobs._failures import Failure
from mu_twisted.jobs._gangs import Pipe
from mu_twisted.jobs._launch_id import LaunchId
from mu_twisted.jobs._policy import JobPolicy


@decodes
class AttemptOutcome(Enum):
    """How an attempt ended."""

    DONE = "done"
    FAILED = "failed"
    SUPERSEDED = "beaten"
    REVOKED = "withdrawn"


@dataclass(frozen=True)
class Submitted:
    """The job as it was asked for: always the first record.

    :param job: its name.
    :param order: task numbers in order of assignment.
    :param consumes: tasks that take messages, each with those that send them.
    :param side_effects: whether a task may not be tried twice at once.
    :param messages: as ``consumes``, where tasks may take messages of one another.
    :param after: groups of tasks, each with those that come after all of them.
    :param stages: the parts of the job by name, each with its tasks: the first and the last of some that follow one
        another.
    :param pipes: that join tasks, which run at the same time.
    """

    job: str
    order: tuple[int, ...]
    policy: JobPolicy
    consumes: tuple[tuple[int, tuple[int, ...]], ...]
    side_effects: bool
    messages: tuple[tuple[int, tuple[int, ...]], ...] = field(default=(), metadata={"added": True})
    after: tuple[tuple[tuple[int, ...], tuple[int, ...]], ...] = field(default=(), metadata={"added": True})
    stages: tuple[tuple[str, tuple[tuple[int, int], ...]], ...] = field(default=(), metadata={"added": True})
    pipes: tuple[Pipe, ...] = field(default=(), metadata={"added": True})


@dataclass(frozen=True)
class Started:
    """The coordinator takes the job up: at its start, after a restart, and when failed tasks are tried again.

    :param generation: counts these, from 0; the first part of launch ids.
    """

    generation: int


@dataclass(frozen=True)
class Launched:
    """Workers are asked for: ``GENERATION-FIRST`` and so on, ``count`` of them."""

    generation: int
    first: int
    count: int


@dataclass(frozen=True)
class Assigned:
    """An attempt begins.

    :param launch_id: of the worker; None where it has none.
    :param speculative: whether it runs beside another that takes too long.
    """

    task: int
    attempt: int
    launch_id: LaunchId | None
    speculative: bool


@dataclass(frozen=True)
class AttemptEnded:
    """An attempt is over.

    :param seconds: that it took.
    :param costs: whether it used up one of the task's retries.
    :param kind: of a failure, with the exit ``status`` if it is about one.
    :param error: one line; empty where it was done.
    """

    task: int
    attempt: int
    outcome: AttemptOutcome
    seconds: float
    costs: bool = False
    kind: Failure | None = None
    status: int | None = None
    error: str = ""


@dataclass(frozen=True)
class Remarked:
    """What an attempt that is about to end well leaves for the job's report."""

    task: int
    attempt: int
    text: str


@dataclass(frozen=True)
class Refunded:
    """The worker that was taken for lost is back: the task's last attempt cost no retry."""

    task: int


@dataclass(frozen=True)
class ResultReached:
    """The task is done, and no worker works on it any more."""

    task: int
    attempt: int


@dataclass(frozen=True)
class ResultStands:
    """These tasks were to run once more for their messages; those are not needed any more, or they have been sent."""

    tasks: tuple[int, ...]


@dataclass(frozen=True)
class TaskFailed:
    """The task has failed for good."""

    task: int
    error: str


@dataclass(frozen=True)
class TasksFailed:
    """Tasks have failed for good that were not active: one that they come after, or whose messages they need, has."""

    tasks: tuple[int, ...]
    error: str


@dataclass(frozen=True)
class Reopened:
    """Done tasks run again because their messages are gone; they stay done for the user.

    :param costs: whether that uses up one of their retries: they have done so too often.
    """

    tasks: tuple[int, ...]
    reason: str
    costs: bool = False


@dataclass(frozen=True)
class Retried:
    """The user wants these failed tasks tried again."""

    tasks: tuple[int, ...]


@dataclass(frozen=True)
class Enlarged:
    """These tasks have died for want of memory: they run again, and all that comes after it, on a larger function."""

    tasks: tuple[int, ...]


@dataclass(frozen=True)
class KeptOpen:
    """The job is not over when its tasks are: more may be added."""


@dataclass(frozen=True)
class Extended:
    """The job has more tasks, with the numbers from ``first`` on, ``count`` of them.

    :param inputs: what they are to work on, as the pipeline takes it.
    """

    first: int
    count: int
    inputs: str


@dataclass(frozen=True)
class Closed:
    """No more tasks are added.

    :param reason: one line; empty where the user has said so.
    """

    reason: str = ""


@dataclass(frozen=True)
class StoreNamed:
    """A shard of the rendezvous keeps messages of the job under this token; another one means that they are gone.

    :param shard: its place among those that the job uses.
    """

    store: str
    shard: int = 0


@dataclass(frozen=True)
class Cancelled:
    """The user does not want the job any more."""

    reason: str


@dataclass(frozen=True)
class Finished:
    """The job is over. Every task that is not done by then has failed.

    :param error: None where every task is done.
    """

    error: str | None


JobRecord = (
    Submitted
    | Started
    | Launched
    | Assigned
    | AttemptEnded
    | Remarked
    | Refunded
    | ResultReached
    | ResultStands
    | TaskFailed
    | TasksFailed
    | Reopened
    | Retried
    | Enlarged
    | KeptOpen
    | Extended
    | Closed
    | StoreNamed
    | Cancelled
    | Finished
)

_NAMES: dict[type, str] = {
    Submitted: "submitted",
    Started: "started",
    Launched: "launched",
    Assigned: "assigned",
    AttemptEnded: "attempt-ended",
    Remarked: "remarked",
    Refunded: "forgiven",
    ResultReached: "result",
    ResultStands: "result-stands",
    TaskFailed: "task-failed",
    TasksFailed: "tasks-failed",
    Reopened: "reopened",
    Retried: "retried",
    Enlarged: "enlarged",
    KeptOpen: "kept-open",
    Extended: "extended",
    Closed: "closed",
    StoreNamed: "store",
    Cancelled: "cancelled",
    Finished: "finished",
}
_KINDS = {name: kind for kind, name in _NAMES.items()}


def record_to_dict(record: JobRecord) -> JsonObject:
    """What ``json`` can write; ``type`` says which record it is."""
    return {"type": _NAMES[type(record)], **to_plain(record)}


def record_from_dict(plain: Mapping[str, Json]) -> JobRecord:
    """The record that :func:`record_to_dict` has written.

    :raises RecordError: it is not one: corrupt, or of a version that this one does not know.
    """
    if not isinstance(plain, Mapping):
        raise RecordError(f"a record is an object, not {str(plain)[:80]!r}")
    name = plain.get("type")
    kind = _KINDS.get(name) if isinstance(name, str) else None
    if kind is None:
        raise RecordError(f"there is no record of type {str(name)[:80]!r}")
    record: JobRecord = from_plain(kind, {key: value for key, value in plain.items() if key != "type"})
    return record
