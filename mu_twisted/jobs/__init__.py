"""Jobs, tasks, workers and launches as pure decisions: an event and the time go in, actions come out.

Knows neither sockets nor clocks nor AWS. Whoever drives it carries the actions out.
"""

from mu_twisted.jobs._actions import Action, Assign, Diagnose, Dismiss, Finish, StartLaunches, Warm
from mu_twisted.jobs._job import Counts, Job, JobError, TaskState
from mu_twisted.jobs._launching import (
    ACCEPTED,
    Answer,
    Fault,
    LaunchAction,
    Launching,
    LaunchPolicy,
    SendBatch,
    Settle,
    in_turn,
)

__all__ = [
    "ACCEPTED",
    "Action",
    "Answer",
    "Assign",
    "Counts",
    "Diagnose",
    "Dismiss",
    "Fault",
    "Finish",
    "Job",
    "JobError",
    "LaunchAction",
    "LaunchPolicy",
    "Launching",
    "SendBatch",
    "Settle",
    "StartLaunches",
    "TaskState",
    "Warm",
    "in_turn",
]
