"""All jobs of a coordinator, with workers in memory, a real journal and a clock that stands still."""

import random
import sqlite3
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, cast

import pytest
from twisted.internet.base import DelayedCall
from twisted.internet.defer import Deferred, succeed
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from worker_double import WorkerDouble, launch_identity, ours

from mu_twisted.coordinator import Jobs, Journal, Opened, Request, Suspects, WorkerRegistry, _service
from mu_twisted.fsm import CommandListState, TerminalState
from mu_twisted.jobs import JobPolicy, LaunchOutcome
from mu_twisted.pipelines import Pipeline, PipelineError, job_policy
from mu_twisted.statuses import JobStatus, TaskStatus


class Echo(CommandListState):
    commandlist = [("OK:HELLO", "echo:hi"), ("OK:ECHO(hi)", None)]
    nextState = TerminalState


PIPELINE = Pipeline(name="p", summary="", first=Echo)


class Launches:
    """Stands for Lambda: takes every launch and starts no worker; where it is slow, as ``takes`` are called."""

    def __init__(self) -> None:
        self.submission: list[str] = []
        self.stopped = 0
        self.slow = False
        self.takes: list[Callable[[], None]] = []

    def start(self, launch_ids: Sequence[str], on_outcome: Callable[[LaunchOutcome], None]) -> Deferred[None]:
        self.submission += launch_ids
        for launch_id in launch_ids:
            outcome = LaunchOutcome(launch_id, True, 202, "")
            if self.slow:
                self.takes.append(partial(on_outcome, outcome))
            else:
                on_outcome(outcome)
        return succeed(None)

    def stop(self) -> None:
        self.stopped += 1

    def use_larger(self) -> None:
        raise AssertionError("the job has no larger function")

    def note(self) -> str | None:
        return None

    async def diagnose(self) -> str:
        return "no worker came"


class WorkClock(Clock):
    """Stands still, or moves on with each look at it, as if what is done between two looks took time.

    :ivar takes: seconds.
    """

    takes = 0.0

    def seconds(self) -> float:
        self.rightNow += self.takes
        return self.rightNow


class MemoryCoordinator:
    """A coordinator's jobs that can be killed and started again on the same directory."""

    def __init__(self, directory: Path, workers: int | None = None, *, shared_key: bool = False) -> None:
        self.workers = workers
        self.shared_key = shared_key
        self.directory = directory
        self.clock = WorkClock()
        self.wall = 1000.0
        self.launches = Launches()
        self.skipped: frozenset[int] = frozenset()
        self.missing: str | None = None
        self.suspects: Suspects | None = None
        self.hold_all = False
        self.pipeline = PIPELINE
        self.start()

    def start(self) -> None:
        self.registry = WorkerRegistry(self.clock, shared_key=self.shared_key)
        self.faults: list[str] = []
        self.journal = Journal(self.directory / "journal.db", self.clock, self.faults.append)
        self.jobs = Jobs(
            self.clock,
            wall=lambda: self.wall,
            journal=self.journal,
            registry=self.registry,
            opener=self,
            directory=self.directory / "jobs",
            workers=self.workers,
            suspects=self.suspects,
            hold_all=self.hold_all,
        )
        self.jobs.restore()
        self.turn()

    def killed_and_started_again(self) -> None:
        """No worker or client hears of it, and what is not in the journal is gone."""
        for call in list(self.clock.getDelayedCalls()):
            cast("DelayedCall", call).cancel()
        self.journal._database.close()
        self.launches = Launches()
        self.start()

    def turn(self) -> None:
        self.clock.advance(0)

    # what the jobs ask

    def parse(self, request: Request) -> tuple[Pipeline, Any]:
        if request.pipeline != "p":
            raise PipelineError(f"no pipeline is called {request.pipeline!r}")
        settings = self.pipeline.options()
        settings.parseOptions(list(request.words))
        return self.pipeline, settings

    def policy(self, settings: Any) -> JobPolicy:
        return job_policy(settings)

    async def open(self, name: str, pipeline: Pipeline, settings: Any, edges: Any) -> Opened:
        if self.missing:
            raise PipelineError(self.missing)
        return Opened(self.launches, skipped=self.skipped)

    def reopen(self, name: str, pipeline: Pipeline, settings: Any, edges: Any) -> Opened:
        return Opened(self.launches)

    # what the tests do

    def submit(self, *words: str) -> str:
        found: list[Any] = []
        self.jobs.submit(Request("p", words)).addBoth(found.append)
        self.turn()
        if not isinstance(found[0], JobStatus):
            found[0].raiseException()
        return found[0].job  # type: ignore[no-any-return]

    def tasks(self, job: str, **which: Any) -> Sequence[TaskStatus]:
        return self.at_once(self.jobs.tasks(job, **which)).tasks  # type: ignore[no-any-return]

    def retry(self, job: str) -> JobStatus:
        return self.at_once(self.jobs.retry(job))  # type: ignore[no-any-return]

    def remove(self, job: str) -> None:
        self.at_once(self.jobs.remove(job))

    def forget_old(self, before: float) -> None:
        self.at_once(self.jobs.forget_old(before))

    def at_once(self, doing: Deferred[Any]) -> Any:
        """What it leads to by the end of this turn."""
        found: list[Any] = []
        doing.addBoth(found.append)
        self.turn()
        if isinstance(found[0], Failure):
            found[0].raiseException()
        return found[0]

    def log(self, job: str, task: int | None = None) -> str:
        return self.at_once(self.jobs.log(job, task))  # type: ignore[no-any-return]

    def worker(self, job: str, launch_id: str) -> WorkerDouble:
        worker = WorkerDouble(self.registry.new_session(), launch_identity(job), self.turn)
        worker.says(ours(f"{job}/{launch_id}"))
        return worker

    def finish(self, job: str, launch_id: str) -> None:
        self.worker(job, launch_id).says(b"OK:ECHO(hi)")


def draw_names(monkeypatch: pytest.MonkeyPatch, seed: int) -> None:
    """Have jobs named by a seed: names decide the order of some things, and how long pauses are."""
    names = random.Random(seed)
    monkeypatch.setattr(_service, "job_name", lambda pipeline: f"{pipeline}-{names.getrandbits(32):08x}")


class Full:
    """A database whose disk is full."""

    def __init__(self, database: Any) -> None:
        self.database = database

    def __getattr__(self, name: str) -> Any:
        return getattr(self.database, name)

    def execute(self, query: str, *values: Any) -> Any:
        if query.startswith("COMMIT"):
            raise sqlite3.OperationalError("database or disk is full")
        return self.database.execute(query, *values)


def fill_the_disk(world: MemoryCoordinator) -> None:
    world.journal._database = Full(world.journal._database)  # type: ignore[assignment]


def make_room(world: MemoryCoordinator) -> None:
    world.journal._database = world.journal._database.database  # type: ignore[attr-defined]
