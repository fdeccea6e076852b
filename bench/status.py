"""The longest turn is measured that each request about a job of 100,000 tasks costs a coordinator's reactor.

Jobs and journal are the real ones, on a clock that measures each turn; launches are accepted, and no worker comes.
"""

import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.task import Clock

from bench._figure import Figure
from mu_twisted.coordinator import Jobs, Journal, Opened, Request, WorkerRegistry
from mu_twisted.daemons._start import freeze_modules
from mu_twisted.jobs import JobPolicy, LaunchOutcome
from mu_twisted.pipelines import JobSettings, Pipeline, PipelineOptions, job_policy, load_pipeline

TASKS = 100_000
MAX_TURN = 0.1
"""Seconds of one turn, of this thread's CPU: what else the machine does is not counted."""
JOBS = {
    "tasks": Request("exec", ("-n", str(TASKS), "--max-workers", "1", "--", "true")),
    "tasks and workers": Request("exec", ("-n", str(TASKS), "--", "true")),
    "tasks that take one another's messages": Request("xcenc", ("-n", str(TASKS))),
}


class TurnClock(Clock):
    """Time is that of the machine, and the longest turn is noted."""

    longest = 0.0

    def seconds(self) -> float:
        return time.monotonic()

    def until(self, doing: Deferred[Any]) -> Any:
        results: list[Any] = []
        doing.addBoth(results.append)
        while not results:
            calls: list[Any] = list(self.getDelayedCalls())
            for call in [call for call in calls if call.getTime() <= self.seconds()]:
                if not call.active():
                    continue  # cancelled by one before it
                self.calls.remove(call)
                call.called = 1
                self.measure(lambda call=call: call.func(*call.args, **call.kw))  # type: ignore[misc]
        return results[0]

    def measure(self, turn: Callable[[], Any]) -> Any:
        begun = time.thread_time()
        result = turn()
        self.longest = max(self.longest, time.thread_time() - begun)
        return result


class NullOpener:
    """Stands for Lambda, S3 and the rendezvous: jobs can be opened, launches are accepted, and no worker connects."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock

    def parse(self, request: Request) -> tuple[Pipeline, PipelineOptions]:
        pipeline = load_pipeline(request.pipeline)
        return pipeline, pipeline.parse(request.words, request.inputs)

    def policy(self, settings: JobSettings) -> JobPolicy:
        return job_policy(settings)

    async def open(
        self, name: str, pipeline: Pipeline, settings: JobSettings, edges: Mapping[int, Sequence[int]]
    ) -> Opened:
        return Opened(self)

    def reopen(
        self, name: str, pipeline: Pipeline, settings: JobSettings, edges: Mapping[int, Sequence[int]]
    ) -> Opened:
        return Opened(self)

    def start(self, launch_ids: Sequence[str], on_outcome: Callable[[LaunchOutcome], None]) -> Deferred[None]:
        def accept() -> None:
            for launch_id in launch_ids:
                on_outcome(LaunchOutcome(launch_id, True, 202, ""))

        self._clock.callLater(0, accept)
        return Deferred()

    def stop(self) -> None:
        pass

    def use_larger(self) -> None:
        pass

    def note(self) -> None:
        return None

    async def diagnose(self) -> str:
        return ""


def run() -> list[Figure]:
    """The longest turn of each; takes about half a minute."""
    freeze_modules()  # as the daemon does
    figures = []
    for what, request in JOBS.items():
        with tempfile.TemporaryDirectory(prefix="mu-bench-") as directory:
            figures += _one_job(Path(directory), f"{TASKS} {what}, longest turn:", request)
    return figures


def _one_job(directory: Path, what: str, request: Request) -> list[Figure]:
    figures = []
    clock, jobs, journal = _open(directory)

    def figure(of: str, doing: Callable[[], Any]) -> Any:
        clock.longest = 0.0
        found = clock.until(clock.measure(lambda: maybeDeferred(doing)))
        figures.append(Figure(f"{what} {of}", clock.longest, "s", MAX_TURN))
        return found

    def pass_time() -> Deferred[None]:
        passed: Deferred[None] = Deferred()
        clock.callLater(2.0, passed.callback, None)
        return passed

    job = figure("submission", lambda: jobs.submit(request)).job
    figure("launches", pass_time)
    figure("a status", lambda: jobs.job(job))
    figure("a page of a running job's tasks", lambda: jobs.tasks(job))
    jobs.stop()
    journal.close()
    clock, jobs, journal = _open(directory)
    figure("restart", jobs.restore)
    figure("cancellation", lambda: jobs.cancel(job).addCallback(lambda _: jobs.wait(job)))
    figure("a page of its tasks when it is over", lambda: jobs.tasks(job))
    figure("its log", lambda: jobs.log(job, None))
    figure("retry", lambda: jobs.retry(job))
    figure("cancellation, again", lambda: jobs.cancel(job).addCallback(lambda _: jobs.wait(job)))
    figure("removal", lambda: jobs.remove(job))
    words = ("-n", "1") * 50_000
    figure("100,000 words", lambda: jobs.submit(Request("exec", words)).addErrback(lambda _: None))
    journal.close()
    return figures


def _open(directory: Path) -> tuple[TurnClock, Jobs, Journal]:
    clock = TurnClock()
    journal = Journal(directory / "journal.db", clock, print)
    jobs = Jobs(
        clock,
        wall=time.time,
        journal=journal,
        registry=WorkerRegistry(clock),
        opener=NullOpener(clock),
        directory=directory / "jobs",
    )
    return clock, jobs, journal
