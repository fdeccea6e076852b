"""A job's policy says how hard it tries: the options that its decisions depend on."""

import math
from dataclasses import dataclass, field, fields

from mu_twisted.jobs._errors import JobError

ADDED = {"added": True}
"""Marks a field that records of versions before do not have."""


@dataclass(frozen=True, kw_only=True)
class JobPolicy:
    """The options of one job's decisions. Times are in seconds.

    :param retries: attempts that a task gets after a failed one.
    :param retry_exit: exit statuses of commands that are retried at all; None: every one.
    :param retry_delay: before a task's second attempt, doubled with each further one; the half of it is random.
    :param retry_longest: what that may grow to.
    :param task_timeout: that one attempt may take; None: as long as its function.
    :param max_workers: connected and asked for at once; None: one a task.
    :param overprovision: workers beyond, so that a launch that is lost costs no time.
    :param start_timeout: from an accepted launch until a worker that has not come counts as lost.
    :param start_retries: rounds of launches in a row that may bring no worker before those tasks are given up.
    :param relaunch_delay: between two rounds of launches, doubled with each that brings no worker.
    :param relaunch_longest: what that may grow to.
    :param speculate: a task that runs longer than this many times the median of finished ones gets a second attempt;
        None: never.
    :param heartbeat: between two pings.
    :param heartbeat_misses: pings without any message in reply after which a worker counts as dead.
    :param warm_timeout: that a worker has to greet again when it was cleared of its task.
    :param redial_timeout: after a restart, for workers to come back before others are launched.
    :param halt_failures: tasks that may fail before the job is halted; None: any number.
    :param halt_percent: the same as a share of all tasks.
    :param halt_running: whether halting kills what runs; else that goes on, and nothing else is begun.
    :param retry_memory: whether tasks that died for want of memory run once more, on a larger function.
    :param reruns: attempts that cost a task no retry (its messages were lost, a connection failed) before they do.
    :raises JobError: a number makes no sense.
    """

    retries: int = 2
    retry_exit: frozenset[int] | None = frozenset()
    retry_delay: float = 0.5
    retry_longest: float = 30.0
    task_timeout: float | None = None
    max_workers: int | None = None
    overprovision: int = 0
    start_timeout: float = 30.0
    start_retries: int = 4
    relaunch_delay: float = 1.0
    relaunch_longest: float = 30.0
    speculate: float | None = None
    heartbeat: float = 10.0
    heartbeat_misses: int = 3
    warm_timeout: float = 15.0
    redial_timeout: float = 15.0
    reruns: int = 20
    halt_failures: int | None = field(default=None, metadata=ADDED)
    halt_percent: float | None = field(default=None, metadata=ADDED)
    halt_running: bool = field(default=False, metadata=ADDED)
    retry_memory: bool = field(default=False, metadata=ADDED)

    def __post_init__(self) -> None:
        for one in fields(self):
            if isinstance(getattr(self, one.name), float) and not math.isfinite(getattr(self, one.name)):
                raise JobError(f"{one.name} of a job must be a finite number")
        for name in ("retries", "overprovision", "start_retries", "reruns"):
            if getattr(self, name) < 0:
                raise JobError(f"{name} of a job is {getattr(self, name)}: it must be 0 or more")
        for name in ("max_workers", "heartbeat_misses", "halt_failures"):
            if getattr(self, name) is not None and getattr(self, name) < 1:
                raise JobError(f"{name} of a job is {getattr(self, name)}: it must be 1 or more")
        for name in ("task_timeout", "start_timeout", "heartbeat", "warm_timeout", "relaunch_delay"):
            if getattr(self, name) is not None and not getattr(self, name) > 0:
                raise JobError(f"{name} of a job is {getattr(self, name):g}: it must be more than 0 seconds")
        if self.halt_percent is not None and not 0 < self.halt_percent <= 100:
            raise JobError(f"halt_percent of a job is {self.halt_percent:g}: it must be above 0, and 100 at most")
        if self.speculate is not None and not self.speculate >= 1:
            raise JobError(f"speculate of a job is {self.speculate:g}: it must be 1 or more times the median")
        if not 0 <= self.retry_delay <= self.retry_longest or not self.relaunch_delay <= self.relaunch_longest:
            raise JobError("the delays of a job's retries must grow: 0 <= first <= longest")
        if self.redial_timeout < 0:
            raise JobError("redial_timeout of a job must be 0 seconds or more")
