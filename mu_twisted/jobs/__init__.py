"""Jobs, tasks and workers as pure decisions: an event and the time go in, actions come out.

Knows neither sockets nor clocks nor AWS. Whoever drives it carries the actions out.
"""

from mu_twisted.jobs._actions import Action, Assign, Diagnose, Dismiss, Finish, StartLaunches, Warm
from mu_twisted.jobs._job import Counts, Job, JobError, TaskState

__all__ = [
    "Action",
    "Assign",
    "Counts",
    "Diagnose",
    "Dismiss",
    "Finish",
    "Job",
    "JobError",
    "StartLaunches",
    "TaskState",
    "Warm",
]
