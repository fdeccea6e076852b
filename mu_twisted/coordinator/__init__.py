"""The coordinator holds sessions with workers, and runs jobs over them.

Knows how a job's decisions become connections, commands and launches; launchers and listeners come in from outside.
"""

from mu_twisted.coordinator._counters import CoordinatorCounts
from mu_twisted.coordinator._event import diagnosis, job_event, with_launch_id
from mu_twisted.coordinator._interfaces import Launching, Recorder
from mu_twisted.coordinator._launch_tokens import LaunchTokens
from mu_twisted.coordinator._meter import Meter, Usage
from mu_twisted.coordinator._opening import Opened, Opener
from mu_twisted.coordinator._peers import JobLinks, Peers, spread, without
from mu_twisted.coordinator._progress import Progress, progress_line
from mu_twisted.coordinator._registry import WorkerRegistry
from mu_twisted.coordinator._rendezvous_link import RendezvousLink
from mu_twisted.coordinator._service import Jobs
from mu_twisted.coordinator._session import Session
from mu_twisted.coordinator._slices import Slices
from mu_twisted.coordinator._status import DaemonStatus, EventPage, EventQuery, JobService, Request
from mu_twisted.coordinator._submission import job_name
from mu_twisted.coordinator._suspects import Suspects
from mu_twisted.coordinator.observation import (
    ActiveTask,
    ActiveTasks,
    AttemptColumns,
    AttemptStory,
    CountSeries,
    EventSink,
    Failures,
    ObservedJobService,
    PathTask,
    ReasonGroup,
    SpanDelivery,
    SpanSink,
    StageSpan,
    Story,
    TaskStates,
    Timeline,
    Traces,
    Watches,
)
from mu_twisted.coordinator.output import TeeCursor, TeePage, TeePiece, parse_tee_cursor
from mu_twisted.coordinator.records import Journal, JournalError
from mu_twisted.coordinator.run import AttemptFile, Attempts, JobRun, TimesFile

__all__ = [
    "ActiveTask",
    "ActiveTasks",
    "AttemptColumns",
    "AttemptFile",
    "AttemptStory",
    "Attempts",
    "CoordinatorCounts",
    "CountSeries",
    "DaemonStatus",
    "EventPage",
    "EventQuery",
    "EventSink",
    "Failures",
    "JobLinks",
    "JobRun",
    "JobService",
    "Jobs",
    "Journal",
    "JournalError",
    "LaunchTokens",
    "Launching",
    "Meter",
    "ObservedJobService",
    "Opened",
    "Opener",
    "PathTask",
    "Peers",
    "Progress",
    "ReasonGroup",
    "Recorder",
    "RendezvousLink",
    "Request",
    "Session",
    "Slices",
    "SpanDelivery",
    "SpanSink",
    "StageSpan",
    "Story",
    "Suspects",
    "TaskStates",
    "TeeCursor",
    "TeePage",
    "TeePiece",
    "Timeline",
    "TimesFile",
    "Traces",
    "Usage",
    "Watches",
    "WorkerRegistry",
    "diagnosis",
    "job_event",
    "job_name",
    "parse_tee_cursor",
    "progress_line",
    "spread",
    "with_launch_id",
    "without",
]
