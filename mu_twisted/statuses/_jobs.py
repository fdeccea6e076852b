"""Statuses of jobs, of their stages and of their tasks, and pages of these."""

from collections.abc import Iterable, Sequence
from typing import Literal

import msgspec

from mu_twisted.statuses._cost import Cost
from mu_twisted.statuses._plot import Plot

MAX_PAGE = 1000
"""Tasks on one page."""

JobState = Literal["running", "held", "done", "failed", "cancelled", "interrupted"]
INTERRUPTED = "interrupted"
"""The error of a job whose coordinator was ended by its user while it ran."""
UNSERVED = "the coordinator that ran it has ended"
"""Why a job that is not over waits, where no coordinator runs that goes on with it."""


class TaskStatus(msgspec.Struct, frozen=True):
    """One task.

    :param state: ``blocked`` (tasks that it comes after are not done), ``waiting``, ``backing off`` (waits after a
        failure), ``held`` (the rendezvous that it needs is away), ``active``, ``done`` or ``failed``.
    :param attempts: tries begun so far.
    :param error: of the last attempt that failed.
    :param label: what the user knows the task by, such as its input; None: by its number.
    :param waits: for which tasks or which message it waits, and how it stands with these; None: for none.
    :param result: what its last run has printed, where that was asked for, and the task is done.
    :param stage: the name of the stage that it is part of; None: the job has no stages.
    """

    task: int
    state: str
    attempts: int = 0
    error: str | None = None
    label: str | None = None
    waits: str | None = None
    result: bytes | None = None
    stage: str | None = None


class TaskPage(msgspec.Struct, frozen=True):
    """Some tasks of a job, by number.

    :param next: the cursor of those after them; None: there are no more.
    """

    tasks: Sequence[TaskStatus]
    next: int | None = None


class StageStatus(msgspec.Struct, frozen=True):
    """One stage of a job.

    :param state: ``active`` if one of its tasks is, else ``done`` or ``failed`` if all are settled, else ``waiting`` if
        one can begin, or ``blocked``.
    :param waiting: tasks that wait for a worker; those that are ``blocked`` are counted apart.
    :param waits: what it waits for if none of its tasks is active and not all are settled; None: for nothing.
    """

    name: str
    state: str
    tasks: int
    waiting: int = 0
    blocked: int = 0
    active: int = 0
    done: int = 0
    failed: int = 0
    waits: str | None = None


class SettledPage(msgspec.Struct, frozen=True):
    """Some tasks of a job that are done or have failed for good, in the order in which that was recorded.

    A task that is tried again after it had failed comes again. One that runs again for its messages is done.

    :param next: where the page ends; those after it may come yet.
    :param over: whether none will come before the job goes on again.
    """

    tasks: Sequence[TaskStatus]
    next: int
    over: bool = False


class JobStatus(msgspec.Struct, frozen=True):
    """One job.

    :param state: ``running``, ``done``, ``failed``, ``cancelled``, ``interrupted`` (it ended with its coordinator),
        or ``held``: it cannot go on before something is put right that ``error`` says.
    :param error: what the job failed of, one line or several.
    :param report: what its pipeline has to say of it, once it is over; one line or several.
    :param note: what the user should know meanwhile, e.g. that Lambda throttles, or what tasks are held for.
    :param submitted: seconds since 1970, as ``ended``; that is None while it runs or is held, and where its records are
        damaged.
    :param unfinished: of the tasks that count as failed, those that had not failed when the job was cancelled or
        interrupted; None: while it goes on, or where that is not on record.
    :param skipped: tasks that were not run, as their output was there; ``tasks`` does not count them.
    :param workers: connected ones; ``launches`` those that are still to come.
    :param cost: on Lambda; None where it is not known.
    :param ramp: seconds from its submission until as many workers were there as ever at once, less Lambda's own time
        for the last one; None where none has come.
    :param stages: the parts of a job whose pipeline names them.
    :param paths: how often its workers said of one of their peers that there is a direct path (``direct``), that it was
        lost, or why there is none (``edm``, ``absent``, ``timeout``, ...); None where none has said anything.
    :param bytes: that its tasks have moved, by kind: ``retrieved`` from S3, ``uploaded`` to it, ``sent`` to other tasks
        and ``received`` from them, those of all attempts together; None where no worker has said so.
    :param median: seconds of attempts that were done; None as long as there is none, and once it is over.
    :param plots: what its pipeline has to show of it, once it is over.
    """

    job: str
    pipeline: str
    state: JobState
    submitted: float
    tasks: int
    waiting: int = 0
    active: int = 0
    done: int = 0
    failed: int = 0
    skipped: int = 0
    workers: int = 0
    launches: int = 0
    error: str | None = None
    note: str | None = None
    ended: float | None = None
    report: str | None = None
    cost: Cost | None = None
    ramp: float | None = None
    unfinished: int | None = None
    stages: tuple[StageStatus, ...] = ()
    paths: dict[str, int] | None = None
    bytes: dict[str, int] | None = None
    median: float | None = None
    plots: tuple[Plot, ...] = ()


def failures_of(job: JobStatus, tasks: Iterable[TaskStatus]) -> list[TaskStatus]:
    """Those of a job's failed tasks that failed themselves, and not only as the job was ended.

    :param tasks: of the job; those in other states are left out.
    """
    ended = job.error if job.state in ("cancelled", "interrupted") else None
    return [task for task in tasks if task.state == "failed" and task.error and task.error != ended]
