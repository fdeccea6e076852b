"""The coordinator holds sessions with workers, and runs jobs over them.

Knows how a job's decisions become connections, commands and launches; launchers and listeners come in from outside.
"""

from mu_twisted.coordinator._attempts import AttemptFile, Attempts, TimesFile
from mu_twisted.coordinator._counters import CoordinatorCounts
from mu_twisted.coordinator._event import diagnosis, job_event, with_launch_id
from mu_twisted.coordinator._interfaces import Launching, Recorder
from mu_twisted.coordinator._job_run import JobRun
from mu_twisted.coordinator._journal import Journal, JournalError
from mu_twisted.coordinator._launch_tokens import LaunchTokens
from mu_twisted.coordinator._meter import Meter, Usage
from mu_twisted.coordinator._observed_service import ObservedJobService
from mu_twisted.coordinator._opening import Opened, Opener
from mu_twisted.coordinator._output_values import Cursor, OutputPage, OutputQuery, RunOutput, Which, parse_cursor
from mu_twisted.coordinator._peers import JobLinks, Peers, spread, without
from mu_twisted.coordinator._progress import Progress, progress_line
from mu_twisted.coordinator._registry import WorkerRegistry
from mu_twisted.coordinator._rendezvous_link import RendezvousLink
from mu_twisted.coordinator._service import Jobs
from mu_twisted.coordinator._session import Session
from mu_twisted.coordinator._slices import Slices
from mu_twisted.coordinator._status import (
    MAX_PAGE,
    DaemonStatus,
    EventPage,
    EventQuery,
    JobService,
    JobState,
    JobStatus,
    NotYet,
    Request,
    ServiceError,
    SettledPage,
    StageStatus,
    TaskPage,
    TaskStatus,
    UnknownJob,
    failures_of,
)
from mu_twisted.coordinator._submission import job_name
from mu_twisted.coordinator._suspects import Suspects
from mu_twisted.coordinator._tee_values import TeeCursor, TeePage, TeePiece, parse_tee_cursor
from mu_twisted.coordinator._timeline_values import (
    ActiveTask,
    ActiveTasks,
    AttemptColumns,
    AttemptStory,
    CountSeries,
    Failures,
    PathTask,
    ReasonGroup,
    StageSpan,
    Story,
    TaskStates,
    Timeline,
)
from mu_twisted.coordinator._traces import SpanDelivery, SpanSink, Traces
from mu_twisted.coordinator._watchers import EventSink, Watches

__all__ = [
    "MAX_PAGE",
    "ActiveTask",
    "ActiveTasks",
    "AttemptColumns",
    "AttemptFile",
    "AttemptStory",
    "Attempts",
    "CoordinatorCounts",
    "CountSeries",
    "Cursor",
    "DaemonStatus",
    "EventPage",
    "EventQuery",
    "EventSink",
    "Failures",
    "JobLinks",
    "JobRun",
    "JobService",
    "JobState",
    "JobStatus",
    "Jobs",
    "Journal",
    "JournalError",
    "LaunchTokens",
    "Launching",
    "Meter",
    "NotYet",
    "ObservedJobService",
    "Opened",
    "Opener",
    "OutputPage",
    "OutputQuery",
    "PathTask",
    "Peers",
    "Progress",
    "ReasonGroup",
    "Recorder",
    "RendezvousLink",
    "Request",
    "RunOutput",
    "ServiceError",
    "Session",
    "SettledPage",
    "Slices",
    "SpanDelivery",
    "SpanSink",
    "StageSpan",
    "StageStatus",
    "Story",
    "Suspects",
    "TaskPage",
    "TaskStates",
    "TaskStatus",
    "TeeCursor",
    "TeePage",
    "TeePiece",
    "Timeline",
    "TimesFile",
    "Traces",
    "UnknownJob",
    "Usage",
    "Watches",
    "Which",
    "WorkerRegistry",
    "diagnosis",
    "failures_of",
    "job_event",
    "job_name",
    "parse_cursor",
    "parse_tee_cursor",
    "progress_line",
    "spread",
    "with_launch_id",
    "without",
]
