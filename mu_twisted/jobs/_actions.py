"""What a job asks of whoever drives it."""

from dataclasses import dataclass


@dataclass(frozen=True)
class StartLaunches:
    """Ask Lambda for one worker for each of these.

    :param launch_ids: unique within the job, relaunches included.
    """

    launch_ids: tuple[str, ...]


@dataclass(frozen=True)
class Assign:
    """Drive this worker through this task from its first state."""

    worker: int
    task: int
    attempt: int


@dataclass(frozen=True)
class Warm:
    """Clear the worker of its last task (``reset:``); when it greets again it is free for another."""

    worker: int


@dataclass(frozen=True)
class Dismiss:
    """Tell the worker to quit.

    :param reason: one line for the log.
    """

    worker: int
    reason: str


@dataclass(frozen=True)
class Diagnose:
    """No worker has come in time: launch no more, and find out why."""


@dataclass(frozen=True)
class Finish:
    """The job is over; :attr:`Job.error` says how. Nothing follows this action."""


Action = StartLaunches | Assign | Warm | Dismiss | Diagnose | Finish
