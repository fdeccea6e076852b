"""The longest turn is measured that each request about a job of 100,000 tasks costs a coordinator's reactor.

Jobs and journal are the real ones, on a clock that measures each turn; nothing is launched.
"""

import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred, succeed
from twisted.internet.task import Clock

from bench._figure import Figure
from mu_twisted.coordinator import Jobs, Journal, Opened, Request, WorkerRegistry
from mu_twisted.daemons._start import freeze_modules
from mu_twisted.jobs import JobPolicy
from mu_twisted.pipelines import Pipeline, job_policy, load_pipeline

TASKS = 100_000
MAX_TURN = 0.1
"""Seconds of one turn."""
WORDS = ("-n", str(TASKS), "--max-workers", "1", "--", "true")


class TurnClock(Clock):
    """Time is that of the machine, and the longest turn is noted."""

    longest = 0.0

    def seconds(self) -> float:
        return time.monotonic()

    def until(self, doing: Deferred[Any]) -> Any:
        results: list[Any] = []
        doing.addBoth(results.append)
        while not results:
            for call in [call for call in self.getDelayedCalls() if call.getTime() <= self.seconds()]:
                if not call.active():
                    continue  # cancelled by one before it
                self.calls.remove(call)
                call.called = 1
                self.measure(lambda call=call: call.func(*call.args, **call.kw))  # type: ignore[misc]
        return results[0]

    def measure(self, turn: Callable[[], Any]) -> Any:
        begun = time.monotonic()
        result = turn()
        self.longest = max(self.longest, time.monotonic() - begun)
        return result


class _NullOpener:
    """Stands for pipelines, Lambda and S3: jobs can be opened, and no worker connects."""

    def parse(self, request: Request) -> tuple[Pipeline, Any]:
        pipeline = load_pipeline(request.pipeline)
        return pipeline, pipeline.parse(request.words)

    def policy(self, settings: Any) -> JobPolicy:
        return job_policy(settings)

    async def open(self, name: str, pipeline: Pipeline, settings: Any) -> Opened:
        return Opened(self)

    def reopen(self, name: str, pipeline: Pipeline, settings: Any) -> Opened:
        return Opened(self)

    def start(self, launch_ids: Sequence[str], on_outcome: Callable[[Any], None]) -> Deferred[None]:
        return succeed(None)

    def stop(self) -> None:
        pass

    def note(self) -> None:
        return None

    async def diagnose(self) -> str:
        return ""


def run() -> list[Figure]:
    """The longest turn of each; takes a few seconds."""
    freeze_modules()  # as the daemon does
    figures = []
    with tempfile.TemporaryDirectory(prefix="mu-bench-") as directory:
        clock, jobs, journal = _open(Path(directory))

        def figure(what: str, doing: Callable[[], Deferred[Any]]) -> Any:
            clock.longest = 0.0
            found = clock.until(clock.measure(doing))
            figures.append(Figure(f"{TASKS} tasks, longest turn: {what}", clock.longest, "s", MAX_TURN))
            return found

        job = figure("submission", lambda: jobs.submit(Request("exec", WORDS))).job
        figure("a page of a running job's tasks", lambda: jobs.tasks(job))
        jobs.stop()
        journal.close()
        clock, jobs, journal = _open(Path(directory))
        figure("restart", jobs.restore)
        figure("cancellation", lambda: jobs.cancel(job).addCallback(lambda _: jobs.wait(job)))
        figure("a page of its tasks when it is over", lambda: jobs.tasks(job))
        figure("its log", lambda: jobs.log(job, None))
        figure("retry", lambda: jobs.retry(job))
        figure("cancellation, again", lambda: jobs.cancel(job).addCallback(lambda _: jobs.wait(job)))
        figure("removal", lambda: jobs.remove(job))
        figure("100,000 words", lambda: jobs.submit(Request("exec", ("-n", "1") * 50_000)).addErrback(lambda _: None))
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
        opener=_NullOpener(),
        directory=directory / "jobs",
    )
    return clock, jobs, journal
