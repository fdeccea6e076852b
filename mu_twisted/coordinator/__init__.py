"""The coordinator holds sessions with workers, and runs jobs over them.

Knows how a job's decisions become connections, commands and launches; launchers and listeners come in from outside.
"""

from mu_twisted.coordinator._counters import CoordinatorCounts
from mu_twisted.coordinator._errors import NotYet, ServiceError, UnknownJob
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
from mu_twisted.coordinator._status import (
    MAX_PAGE,
    DaemonStatus,
    EventPage,
    EventQuery,
    JobService,
    JobState,
    JobStatus,
    Request,
    SettledPage,
    StageStatus,
    TaskPage,
    TaskStatus,
    failures_of,
)
from mu_twisted.coordinator._submission import job_name
from mu_twisted.coordinator._suspects import Suspects
from mu_twisted.coordinator._traces import SpanDelivery, SpanSink, Traces
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
    StageSpan,
    Story,
    TaskStates,
    Timeline,
    Watches,
)
from mu_twisted.coordinator.output import (
    Cursor,
    OutputPage,
    OutputQuery,
    RunOutput,
    TeeCursor,
    TeePage,
    TeePiece,
    Which,
    parse_cursor,
    parse_tee_cursor,
)
from mu_twisted.coordinator.records import Journal, JournalError
from mu_twisted.coordinator.run import AttemptFile, Attempts, JobRun, TimesFile

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
