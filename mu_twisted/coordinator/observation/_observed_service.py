"""This module states what a coordinator can be asked about its jobs' looks, beside what can be asked of its jobs."""

from collections.abc import Awaitable, Callable
from typing import Protocol

from mu_twisted.coordinator._status import JobService
from mu_twisted.coordinator.observation._timeline_values import ActiveTasks, Failures, Story, Timeline
from mu_twisted.coordinator.observation._watchers import EventSink


class ObservedJobService(JobService, Protocol):
    """Every method raises :class:`ServiceError` for what cannot be done."""

    def active(self, name: str, limit: int) -> Awaitable[ActiveTasks]:
        """What a job does now: the attempts that have run longest, as many as the limit says, and its workers."""

    def timeline(self, name: str) -> Awaitable[Timeline]:
        """A job over time."""

    def failures(self, name: str) -> Awaitable[Failures]:
        """The failed tasks of a job by what they failed of, with the output of one of each."""

    def story(self, name: str, task: int) -> Awaitable[Story]:
        """One task from its beginning."""

    def watch_jobs(self, sink: EventSink) -> Callable[[], None]:
        """Send all jobs, and then those that change.

        :returns: ends it.
        """

    def watch_job(self, name: str, sink: EventSink, after: int = 0) -> Callable[[], None]:
        """Send a job with all its tasks, and then what changes.

        :param after: the number of the last event that the watcher has; 0: it has none.
        :returns: ends it.
        """
