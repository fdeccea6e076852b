"""A coordinator's job service in memory: jobs are there, and end when a test says so."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence

from msgspec.structs import replace
from twisted.internet.defer import Deferred, fail, succeed

from mu_twisted.aws import AWSError, check_region
from mu_twisted.coordinator import (
    ActiveTask,
    ActiveTasks,
    AttemptColumns,
    CoordinatorCounts,
    CountSeries,
    DaemonStatus,
    EventPage,
    EventQuery,
    EventSink,
    Failures,
    ReasonGroup,
    Request,
    Story,
    TeeCursor,
    TeePage,
    TeePiece,
    Timeline,
)
from mu_twisted.pipelines import PipelineError
from mu_twisted.statuses import (
    MAX_PAGE,
    Cost,
    Cursor,
    JobStatus,
    OutputPage,
    OutputQuery,
    RunOutput,
    ServiceError,
    SettledPage,
    TaskPage,
    TaskStatus,
    UnknownJob,
)


class MemoryService:
    """Implements ``JobService``. The fourth job and those after it are refused: its journal is small."""

    def __init__(self) -> None:
        self.requests: list[Request] = []
        self.note: str | None = None
        self.launch_rate: float | None = None
        self.transport = ""
        self.waiting: dict[str, list[Deferred[JobStatus]]] = {}
        self.happened: list[str] = []
        """To every job, an event each; a page has two."""
        self.followed: list[EventQuery] = []
        self.outputs: list[RunOutput] = []
        """Of every job; a page has two."""
        self.retried: list[Collection[int] | None] = []
        self.watchers: list[tuple[str | None, EventSink, int]] = []
        self.pieces: list[TeePiece] = []
        """That the programs of every job print; a page has two."""
        self.unable = 0
        self._jobs: dict[str, JobStatus] = {}
        self._tasks: dict[str, list[TaskStatus]] = {}

    # What a coordinator does by itself

    def end(self, name: str, state: str = "done", error: str | None = None, cost: Cost | None = None) -> None:
        """The job comes to its end; a failed one by its last task."""
        job = self._jobs[name]
        tasks = [TaskStatus(task, "done", 1) for task in range(job.tasks)]
        if state == "failed":
            tasks[-1] = TaskStatus(job.tasks - 1, "failed", 3, error)
        self._tasks[name] = tasks
        done = sum(task.state == "done" for task in tasks)
        failed = job.tasks - done
        self._set(name, state=state, error=error, ended=1_700_000_012.5, waiting=0, done=done, failed=failed, cost=cost)
        for waiter in self.waiting.pop(name, []):
            waiter.callback(self._jobs[name])

    def progress(self, name: str, done: int) -> None:
        """So many tasks are done."""
        self._set(name, done=done, waiting=self._jobs[name].tasks - done)

    def _set(self, name: str, **changes: object) -> None:
        self._jobs[name] = replace(self._jobs[name], **changes)

    # JobService

    def submit(self, request: Request) -> Deferred[JobStatus]:
        if self.note is not None:
            return fail(ServiceError("the journal cannot be written"))
        if request.pipeline == "nosuch":
            return fail(PipelineError("no pipeline is called 'nosuch'"))
        words = list(request.words)
        try:
            if "-r" in words:
                check_region(words[words.index("-r") + 1])
            if "-b" in words:
                raise AWSError(f"there is no bucket {words[words.index('-b') + 1]}")
        except AWSError as error:
            return fail(error)
        self.requests.append(request)
        tasks = int(words[words.index("-n") + 1]) if "-n" in words else 1
        name = f"{request.pipeline.split('/')[-1]}-{len(self.requests):08x}"
        self._jobs[name] = JobStatus(name, request.pipeline, "running", 1_700_000_000.0, tasks, waiting=tasks)
        self._tasks[name] = [TaskStatus(task, "waiting") for task in range(tasks)]
        return succeed(self._jobs[name])

    def daemon(self) -> DaemonStatus:
        running = sum(job.state == "running" for job in self._jobs.values())
        return DaemonStatus(4711, "0.1.0", 13579, running, 2, self.note, self.launch_rate, transport=self.transport)

    def counts(self) -> CoordinatorCounts:
        return CoordinatorCounts(messages=17)

    def jobs(self) -> Sequence[JobStatus]:
        return list(self._jobs.values())

    def job(self, name: str) -> JobStatus:
        if name not in self._jobs:
            raise UnknownJob(f"there is no job {name[:64]!r}")
        return self._jobs[name]

    async def tasks(self, name: str, cursor: int = 0, *, limit: int = MAX_PAGE, state: str | None = None) -> TaskPage:
        self.job(name)
        found = [task for task in self._tasks[name] if task.task >= cursor and state in (None, task.state)]
        return TaskPage(found[:limit], found[limit].task if len(found) > limit else None)

    def wait(self, name: str) -> Deferred[JobStatus]:
        job = self.job(name)
        if job.state != "running":
            return succeed(job)
        waiters = self.waiting.setdefault(name, [])
        waiter: Deferred[JobStatus] = Deferred(waiters.remove)
        waiters.append(waiter)
        return waiter

    def extend(self, name: str, inputs: str) -> int:
        raise ServiceError(f"no tasks can be added to job {self.job(name).job}")

    def close(self, name: str) -> JobStatus:
        return self.job(name)

    def settled(self, name: str, after: int = 0, *, results: bool = False) -> Deferred[SettledPage]:
        over = self.job(name).state != "running"
        settled = [task for task in self._tasks[name] if task.state in ("done", "failed")]
        found = settled[after : after + 2]
        end = after + len(found)
        return succeed(SettledPage(found, end, over=over and end >= len(settled))) if found or over else Deferred()

    def cancel(self, name: str) -> Deferred[JobStatus]:
        if self.job(name).state == "running":
            self.end(name, "cancelled", "cancelled")
        return succeed(self.job(name))

    def retry(self, name: str, only: Collection[int] | None = None) -> Deferred[JobStatus]:
        self.retried.append(only)
        if self.job(name).state == "running":
            raise ServiceError(f"{name} is running: cancel it first, or wait")
        self._set(name, state="running", error=None, ended=None, waiting=self.job(name).failed, failed=0)
        return succeed(self.job(name))

    async def log(self, name: str, task: int | None) -> str:
        if task is not None and task >= len(self._tasks[self.job(name).job]):
            raise UnknownJob(f"{name} has no task {task}")
        return f"{self.job(name).job} {'all' if task is None else task}\nsaid \udcff\n"

    async def events(self, name: str, query: EventQuery) -> EventPage:
        over = self.job(name).state != "running"
        if query.task is not None and query.task >= len(self._tasks[name]):
            raise UnknownJob(f"{name} has no task {query.task}")
        self.followed.append(query)
        found = self.happened[query.after : query.after + 2]
        lines: list[str | dict[str, object]] = [line for line in found if "failed" in line or not query.failed]
        end = query.after + len(found)
        return EventPage(lines, end, end < len(self.happened), over)

    async def output(self, name: str, query: OutputQuery) -> OutputPage:
        self.job(name)
        task, called = query.task, query.called
        if called is not None:
            named = [run.task for run in self.outputs if run.label == called]
            if not named and not called.isdigit():
                raise UnknownJob(f"no input is called {called!r}")
            task = named[0] if named else int(called)
        if task is not None and task >= len(self._tasks[name]):
            raise UnknownJob(f"{name} has no task {task}")
        found = [
            run
            for run in self.outputs
            if (run.task, run.attempt, run.run) > query.after
            and task in (None, run.task)
            and query.which in ("last", "all", run.attempt)
            and (run.failed or not query.failed)
        ]
        following = str(Cursor(found[1].task, found[1].attempt, found[1].run)) if len(found) > 2 else None
        return OutputPage(found[:2], following, task)

    async def active(self, name: str, limit: int) -> ActiveTasks:
        job = self.job(name)
        running = job.state == "running"
        tasks = [ActiveTask(task, 0, 10.0 * (job.tasks - task)) for task in range(min(job.tasks, limit))]
        return ActiveTasks(tasks, {"idle": 1, "working": job.tasks}) if running else ActiveTasks()

    async def timeline(self, name: str) -> Timeline:
        tasks = self.job(name).tasks
        none: list[int] = []
        columns = AttemptColumns(none, none, none, none, none)
        series = CountSeries(0.25, none, none, none, none, none)
        return Timeline(name, 1_700_000_000.0, 12.5, 7, True, tasks, ("running",), columns, series)

    async def failures(self, name: str) -> Failures:
        failed = [task for task in self._tasks[self.job(name).job] if task.state == "failed"]
        return Failures([ReasonGroup(task.error or "", 1, [str(task.task)], (1, 1), task) for task in failed])

    async def story(self, name: str, task: int) -> Story:
        if task >= len(self._tasks[self.job(name).job]):
            raise UnknownJob(f"{name} has no task {task}")
        return Story(self._tasks[name][task], 1_700_000_000.0, 12.5, (), (), ())

    def watch_jobs(self, sink: EventSink) -> Callable[[], None]:
        return self._watched(None, sink, 0)

    def watch_job(self, name: str, sink: EventSink, after: int = 0) -> Callable[[], None]:
        self.job(name)
        return self._watched(name, sink, after)

    def _watched(self, name: str | None, sink: EventSink, after: int) -> Callable[[], None]:
        watcher = (name, sink, after)
        self.watchers.append(watcher)
        return lambda: self.watchers.remove(watcher)

    def tee(self, name: str, after: TeeCursor | None) -> Deferred[TeePage]:
        over = self.job(name).state != "running"
        begin = (after or TeeCursor()).pieces
        found = self.pieces[begin : begin + 2]
        page = TeePage(found, str(TeeCursor(begin + len(found))), unable=self.unable, over=over and len(found) < 2)
        if found or over:
            return succeed(page)
        return self.wait(name).addCallback(lambda _: TeePage((), page.next, over=True))

    def remove(self, name: str) -> Deferred[None]:
        if self.job(name).state == "running":
            raise ServiceError(f"{name} is running: cancel it first")
        del self._jobs[name], self._tasks[name]
        return succeed(None)
