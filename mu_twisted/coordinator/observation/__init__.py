"""Observation answers what jobs look like: over time, by task, in words, as spans, as they change.

Reads what is on record and where jobs stand, and changes nothing.
"""

from mu_twisted.coordinator.observation._log import reading_events, reading_log
from mu_twisted.coordinator.observation._observation import Observation
from mu_twisted.coordinator.observation._observed_service import ObservedJobService
from mu_twisted.coordinator.observation._timeline_values import (
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
from mu_twisted.coordinator.observation._traces import SpanDelivery, SpanSink, Traces
from mu_twisted.coordinator.observation._watchers import EventSink, Watches

__all__ = [
    "ActiveTask",
    "ActiveTasks",
    "AttemptColumns",
    "AttemptStory",
    "CountSeries",
    "EventSink",
    "Failures",
    "Observation",
    "ObservedJobService",
    "PathTask",
    "ReasonGroup",
    "SpanDelivery",
    "SpanSink",
    "StageSpan",
    "Story",
    "TaskStates",
    "Timeline",
    "Traces",
    "Watches",
    "reading_events",
    "reading_log",
]
