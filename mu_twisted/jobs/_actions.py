"""Actions are what a job asks of its driver; they are values and do nothing themselves."""

from dataclasses import dataclass

from mu_twisted.jobs._gangs import PipeEnd
from mu_twisted.jobs._launch_id import LaunchId
from mu_twisted.jobs._records import JobRecord


@dataclass(frozen=True)
class Record:
    """Journal this. All records of one list of actions go to the journal before its other actions are carried out."""

    record: JobRecord


@dataclass(frozen=True)
class StartLaunches:
    """Ask Lambda for one worker for each of these.

    :param launch_ids: unique within the job, relaunches and restarts of the coordinator included.
    """

    launch_ids: tuple[LaunchId, ...]


@dataclass(frozen=True)
class UseLargerFunction:
    """From now on launch the job's larger function."""


@dataclass(frozen=True)
class StopLaunches:
    """Give up launches that have not been sent."""


@dataclass(frozen=True)
class GiveToken:
    """Give the worker the token by which it shows, when it comes back, that it is the one that had this launch id."""

    worker: int


@dataclass(frozen=True)
class Assign:
    """Drive this worker through this task from its first state.

    :param replay: whether messages for the task may have been delivered before, so that all are to be asked for again.
    :param pipes: the task's ends of pipes, to tasks that are assigned with it.
    """

    worker: int
    task: int
    attempt: int
    replay: bool = False
    pipes: tuple[PipeEnd, ...] = ()


@dataclass(frozen=True)
class Warm:
    """Clear the worker of its last task (``reset:``); when it greets again it is free for another."""

    worker: int


@dataclass(frozen=True)
class Interrupt:
    """End what the worker runs (``kill:`` and ``reset:``); when it greets again it is free for another task.

    :param reason: one line for the log.
    """

    worker: int
    reason: str


@dataclass(frozen=True)
class Dismiss:
    """Tell the worker to quit.

    :param reason: one line for the log.
    :param failed: why what it still runs has failed: that is killed, and what it has printed is waited for; None: it
        runs nothing of which more is wanted.
    """

    worker: int
    reason: str
    failed: str | None = None


@dataclass(frozen=True)
class Abort:
    """Drop the worker's connection without a word: it does not listen any more.

    :param reason: one line for the log.
    """

    worker: int
    reason: str


@dataclass(frozen=True)
class Ping:
    """Ask the worker for a sign of life."""

    worker: int


@dataclass(frozen=True)
class Diagnose:
    """No worker has come in time: launch no more, and find out why."""


@dataclass(frozen=True)
class Finish:
    """The job is over; :attr:`Job.error` says how. Nothing follows this action."""


Action = (
    Record
    | StartLaunches
    | UseLargerFunction
    | StopLaunches
    | GiveToken
    | Assign
    | Warm
    | Interrupt
    | Dismiss
    | Abort
    | Ping
    | Diagnose
    | Finish
)
