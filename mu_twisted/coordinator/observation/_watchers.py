"""A watch notices what changes in jobs, and sends it to those who watch: at most four times a second, and only changes.

What has changed is a set of tasks, so what a watcher has not taken yet never grows beyond the job. A job that is not
watched notes nothing. Knows neither HTTP nor how anything is shown.

A watcher that has lost its connection names the number of the last event that it has: from the record and the state as
it is now follows what it has missed, also across a restart of the coordinator.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Any, Protocol

import msgspec
from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from mu_twisted.base import unicode_only
from mu_twisted.base.steps import STEP, Steps
from mu_twisted.coordinator._active_jobs import ActiveJobs
from mu_twisted.coordinator.records import Journal
from mu_twisted.coordinator.run import JobRun
from mu_twisted.jobs import TaskState
from mu_twisted.statuses import JobStatus, TaskPage, UnknownJob
from mu_twisted.transport import ReactorTime, every
from mu_twisted.wording import ranges

PERIOD = 0.25
"""Seconds between two events to a watcher."""
QUIET = 4
"""Periods between two of them where no task has changed."""
KEEP_ALIVE = 60
"""Periods without an event after which an empty one is sent, so that a connection that is lost is noticed."""
MAX_LISTED = 500
"""Jobs, the latest, of which a watcher of all jobs is sent changes."""
CELLS = {
    TaskState.BLOCKED.value: "b",
    TaskState.WAITING.value: "w",
    TaskState.BACKING_OFF.value: "r",
    TaskState.HELD.value: "h",
    TaskState.ACTIVE.value: "a",
    TaskState.DONE.value: "d",
    TaskState.FAILED.value: "f",
}
"""The letter that stands for a task's state; a capital if it has had more than one attempt."""
_CODES = {state: (CELLS[state.value], CELLS[state.value].upper()) for state in TaskState}
_WHOLE = frozenset(
    ("requested", "submitted", "extended", "started", "retried", "enlarged", "cancelled", "finished", "tasks-failed")
)
"""Records after which a watcher is sent the whole job again."""


class EventSink(Protocol):
    """Where a watcher's events go.

    :ivar ready: whether it takes one now; else what changes is kept together for later.
    """

    @property
    def ready(self) -> bool:
        """Whether it takes an event now."""

    def send(self, kind: str, data: bytes, number: int | None = None) -> None:
        """Send an event.

        :param data: JSON.
        :param number: of the last event on record that it includes; None: it has none.
        """


class WatchedJobs(Protocol):
    """What a watch asks about jobs."""

    def jobs(self) -> Sequence[JobStatus]:
        """All jobs on record, the oldest first."""

    def job(self, name: str) -> JobStatus:
        """One job; raises :class:`UnknownJob`."""

    def tasks(self, name: str, cursor: int = 0) -> Deferred[TaskPage]:
        """Tasks of a job, by number."""


class _Watcher:
    def __init__(self, sink: EventSink, after: int) -> None:
        self.sink = sink
        self.after = after
        self.whole = True
        """Whether it is to be sent the whole job."""
        self.busy: Deferred[Any] | None = None
        self.changed: set[int] = set()
        self.status = b""
        self.quiet = 0

    def send(self, kind: str, data: bytes, number: int | None = None) -> None:
        self.quiet = 0
        self.sink.send(kind, data, number)


class _JobFeed:
    """One job that is watched."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.run: JobRun | None = None
        self.tasks = 0
        """How many tasks the run had at the last look."""
        self.changed: set[int] = set()
        self.watchers: set[_Watcher] = set()


class Watches:
    """All watchers of a coordinator.

    :param clock: for the periods.
    :param wall: the time of day, seconds since 1970.
    :param service: describes jobs; ``active`` has those that run, ``journal`` the records of all.
    :param run_steps: does long work a little in each turn.
    """

    _log = Logger()

    def __init__(
        self,
        clock: ReactorTime,
        wall: Callable[[], float],
        service: WatchedJobs,
        active: ActiveJobs,
        journal: Journal,
        run_steps: Callable[[Steps[Any]], Deferred[Any]],
    ) -> None:
        self._wall = wall
        self._service = service
        self._active = active
        self._journal = journal
        self._run_steps = run_steps
        self._feeds: dict[str, _JobFeed] = {}
        self._listeners: dict[_Watcher, dict[str, tuple[JobStatus, bytes]]] = {}
        self._loop = every(clock, PERIOD, self._look)
        self._periods = 0
        self._closed = False

    def __len__(self) -> int:
        """How many watch."""
        return len(self._listeners) + sum(len(feed.watchers) for feed in self._feeds.values())

    def watch_jobs(self, sink: EventSink) -> Callable[[], None]:
        """Send all jobs, and then those that change.

        :returns: ends it.
        """
        watcher = _Watcher(sink, 0)
        self._listeners[watcher] = {}
        self._list(watcher)
        self._begin()

        def stop() -> None:
            self._listeners.pop(watcher, None)
            self._end()

        return stop

    def watch_job(self, name: str, sink: EventSink, after: int = 0) -> Callable[[], None]:
        """Send a job with all its tasks, and then what changes.

        :param after: the number of the last event that the watcher has; 0: it has none.
        :returns: ends it.
        :raises UnknownJob: there is no such job.
        """
        self._service.job(name)
        feed = self._feeds.setdefault(name, _JobFeed(name))
        watcher = _Watcher(sink, after)
        self._attach(feed)
        feed.watchers.add(watcher)
        self._serve(feed, watcher)
        self._begin()

        def stop() -> None:
            feed.watchers.discard(watcher)
            if watcher.busy is not None:
                watcher.busy.cancel()
            if not feed.watchers and self._feeds.get(name) is feed:
                del self._feeds[name]
                self._note(feed, None)
            self._end()

        return stop

    def close(self) -> None:
        """Send nothing any more."""
        self._closed = True
        self._end()

    # -- inside ----------------------------------------------------------------------------------------------------

    def _begin(self) -> None:
        if not self._loop.running and not self._closed:
            self._loop.start(now=False)

    def _end(self) -> None:
        if (self._closed or not len(self)) and self._loop.running:
            self._loop.stop()

    def _look(self) -> None:
        self._periods += 1
        try:
            for feed in list(self._feeds.values()):
                self._look_at(feed)
            if self._periods % QUIET == 0:
                for watcher in list(self._listeners):
                    self._list(watcher)
        except Exception:  # noqa: BLE001 - no watcher may cost the coordinator anything but its own view
            self._log.failure("what is watched cannot be sent")

    def _look_at(self, feed: _JobFeed) -> None:
        self._attach(feed)
        fresh, number = b"", 0
        changed = set(feed.changed)
        feed.changed.clear()
        shared: dict[bool, bytes] = {}
        try:
            status = self._service.job(feed.name)
        except UnknownJob:
            for watcher in list(feed.watchers):
                watcher.send("gone", b"{}")
            feed.watchers.clear()
            return
        for watcher in list(feed.watchers):
            watcher.changed |= changed
            watcher.quiet += 1
            if watcher.whole or watcher.busy is not None or not watcher.sink.ready:
                if watcher.whole and watcher.busy is None:
                    self._serve(feed, watcher)
                continue
            fresh = fresh or _encoded(status)
            is_known = watcher.status == fresh or (not watcher.changed and watcher.quiet % QUIET != 0)
            if not watcher.changed and ((is_known and status.state == "running") or watcher.status == fresh):
                if watcher.quiet >= KEEP_ALIVE:
                    watcher.send("alive", b"{}")
                continue
            number = number or self._journal.end(feed.name)
            is_shared = watcher.changed == changed
            data = shared.get(True) if is_shared else None
            if data is None:
                data = self._delta(feed, fresh, watcher.changed)
                if is_shared:
                    shared[True] = data
            watcher.changed.clear()
            watcher.status = fresh
            watcher.send("delta", data, number)

    def _attach(self, feed: _JobFeed) -> None:
        """Have the job that runs note its changes; another than before, or one with more tasks, is sent as a whole."""
        run = self._active.run(feed.name) if feed.name in self._active else None
        tasks = 0 if run is None else len(run.job.numbers())
        if run is feed.run and tasks == feed.tasks:
            return
        feed.tasks = tasks
        if run is not feed.run:
            self._note(feed, None)
            feed.run = run
            self._note(feed, feed.changed)
        for watcher in feed.watchers:
            watcher.whole = True

    def _note(self, feed: _JobFeed, into: set[int] | None) -> None:
        if feed.run is not None:
            feed.run.job.note_changes(into)

    def _delta(self, feed: _JobFeed, encoded: bytes, changed: Iterable[int]) -> bytes:
        cells: dict[str, list[int]] = {}
        if feed.run is not None:
            job = feed.run.job
            for task in sorted(changed):
                state, attempts = job.standing(task)
                cells.setdefault(_CODES[state][attempts > 1], []).append(task)
        extra = msgspec.json.encode(
            {
                "now": round(self._wall(), 3),
                "cells": {letter: ",".join(ranges(tasks)) for letter, tasks in cells.items()},
            }
        )
        return b'{"status":' + encoded + b"," + extra[1:]

    def _serve(self, feed: _JobFeed, watcher: _Watcher) -> None:
        """Send the whole job, or what a watcher that was there before has missed."""
        if not watcher.sink.ready:
            return
        watcher.changed.clear()
        busy = watcher.busy = Deferred.fromCoroutine(self._send_first(feed, watcher))

        def ended(failure: Failure | None) -> None:
            watcher.busy = None
            if failure is not None and watcher in feed.watchers:
                self._log.debug("job {job} cannot be sent to a watcher: {error}", job=feed.name, error=failure.value)
                watcher.whole = True

        busy.addCallbacks(lambda _: ended(None), ended)

    async def _send_first(self, feed: _JobFeed, watcher: _Watcher) -> None:
        run, after = feed.run, watcher.after
        watcher.whole = False
        number = self._journal.end(feed.name)
        if after and run is not None and after <= number:
            missed = await self._run_steps(self._missed(feed, run, after))
            if missed is not None:
                watcher.after = 0
                watcher.changed |= missed
                watcher.status = b""
                return
        watcher.after = 0
        if run is not None:
            numbers, cells = await self._run_steps(_cells(run))
        else:
            numbers, cells = await self._recorded_cells(feed.name)
        status = self._service.job(feed.name)
        data = _encoded(
            {
                "status": status,
                "now": round(self._wall(), 3),
                "tasks": ",".join(ranges(numbers)),
                "cells": cells,
            }
        )
        watcher.status = _encoded(status)
        watcher.send("snapshot", data, number)

    def _missed(self, feed: _JobFeed, run: JobRun, after: int) -> Steps[set[int] | None]:
        """The tasks that may stand elsewhere than at an event; None: the whole job may."""
        rows, _, more = self._journal.page(feed.name, after)
        if more:
            return None
        found: set[int] = set()
        for _, row in rows:
            record = row.get("record") or {}
            if record.get("type", "requested") in _WHOLE:
                return None
            found.update(record.get("tasks", ()))
            if "task" in record:
                found.add(record["task"])
        yield
        for at, number in enumerate(run.job.numbers()):  # what no record says: a task is held, or its delay has passed
            if run.job.standing(number)[0] not in (TaskState.DONE, TaskState.FAILED, TaskState.ACTIVE):
                found.add(number)
            if at % STEP == 0:
                yield
        return found

    async def _recorded_cells(self, name: str) -> tuple[list[int], str]:
        numbers: list[int] = []
        cells: list[str] = []
        cursor: int | None = 0
        while cursor is not None:
            page = await self._service.tasks(name, cursor)
            numbers += [task.task for task in page.tasks]
            cells += [CELLS[task.state].upper() if task.attempts > 1 else CELLS[task.state] for task in page.tasks]
            cursor = page.next
        return numbers, "".join(cells)

    def _list(self, watcher: _Watcher) -> None:
        if not watcher.sink.ready:
            return
        sent = self._listeners[watcher]
        statuses = self._service.jobs()[-MAX_LISTED:]
        fresh: list[bytes] = []
        for status in statuses:
            before = sent.get(status.job)
            if before is not None and before[0] is status:
                continue
            encoded = _encoded(status)
            if before is None or before[1] != encoded:
                fresh.append(encoded)
            sent[status.job] = status, encoded
        gone = sent.keys() - {status.job for status in statuses}
        for name in gone:
            del sent[name]
        watcher.quiet += QUIET
        if fresh or gone or watcher.whole:
            names = msgspec.json.encode(sorted(gone))
            whole = b"true" if watcher.whole else b"false"
            watcher.whole = False
            watcher.send("jobs", b'{"whole":%s,"jobs":[%s],"gone":%s}' % (whole, b",".join(fresh), names))
        elif watcher.quiet >= KEEP_ALIVE:
            watcher.send("alive", b"{}")


def _cells(run: JobRun) -> Steps[tuple[Sequence[int], str]]:
    """All tasks of a job that runs, a letter for each. What changes or is added meanwhile comes after it."""
    cells = []
    numbers = tuple(run.job.numbers())
    for at, number in enumerate(numbers):
        state, attempts = run.job.standing(number)
        cells.append(_CODES[state][attempts > 1])
        if at % STEP == 0:
            yield
    return numbers, "".join(cells)


def _encoded(content: object) -> bytes:
    try:
        return msgspec.json.encode(content)
    except UnicodeEncodeError:
        return msgspec.json.encode(unicode_only(msgspec.to_builtins(content)))
