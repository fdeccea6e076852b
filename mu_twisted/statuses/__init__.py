"""Statuses are what a coordinator answers about jobs, tasks and their output: values, as they go in JSON.

Knows neither where they come from nor how they are shown.
"""

from mu_twisted.statuses._cost import Cost
from mu_twisted.statuses._errors import NotYet, ServiceError, UnknownJob
from mu_twisted.statuses._jobs import (
    INTERRUPTED,
    MAX_PAGE,
    UNSERVED,
    JobState,
    JobStatus,
    SettledPage,
    StageStatus,
    TaskPage,
    TaskStatus,
    failures_of,
)
from mu_twisted.statuses._output import FIRST, Cursor, OutputPage, OutputQuery, RunOutput, Which, parse_cursor
from mu_twisted.statuses._plot import Plot

__all__ = [
    "FIRST",
    "INTERRUPTED",
    "MAX_PAGE",
    "UNSERVED",
    "Cost",
    "Cursor",
    "JobState",
    "JobStatus",
    "NotYet",
    "OutputPage",
    "OutputQuery",
    "Plot",
    "RunOutput",
    "ServiceError",
    "SettledPage",
    "StageStatus",
    "TaskPage",
    "TaskStatus",
    "UnknownJob",
    "Which",
    "failures_of",
    "parse_cursor",
]
