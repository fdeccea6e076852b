"""Records of jobs are read here without a coordinator: the control API answers from the state directory, in process.

Blocks: nothing here waits for anything but the disk, so a clock that is moved on by hand does for a reactor.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.logger import globalLogPublisher
from twisted.python.failure import Failure

from mu_twisted.base import MuError
from mu_twisted.coordinator import Jobs, Journal, Opened, Request, WorkerRegistry
from mu_twisted.daemons._control_service import ControlService
from mu_twisted.daemons._state_dir import StateDirectory
from mu_twisted.jobs import JobPolicy
from mu_twisted.pipelines import JobSettings, Pipeline, PipelineOptions, load_pipeline
from mu_twisted.statuses import UNSERVED, ServiceError
from mu_twisted.web import Api, Call

MAX_TURNS = 10_000_000
"""Turns of the clock after which no answer comes any more."""


class Records:
    """The jobs of a state directory that no process holds.

    :param state_dir: is held until :meth:`close`.
    :param wall: the time of day, seconds since 1970.
    :raises MuError: it is in use, or its journal cannot be read.
    """

    def __init__(self, state_dir: Path, wall: Callable[[], float]) -> None:
        self._clock = Clock()
        self._state = StateDirectory(state_dir, briefly=True)
        self._journal: Journal | None = None
        try:
            self._journal = Journal(state_dir / "journal.db", self._clock, lambda _: None)
            registry = WorkerRegistry(self._clock)
            self._jobs = Jobs(
                self._clock,
                wall=wall,
                journal=self._journal,
                registry=registry,
                opener=_NoOpener(),
                directory=state_dir / "jobs",
                held_because=UNSERVED,
            )
            self._wait(self._jobs.restore())
        except BaseException:
            self.close()
            raise
        service = ControlService(self._jobs, registry, port=0, launch_rate=lambda: None)
        self._api = Api(service, self._clock)

    def answer(self, method: str, path: tuple[str, ...], query: Mapping[str, str], body: bytes) -> tuple[int, bytes]:
        """What the control API answers.

        :param path: its segments, the version's among them.
        :returns: the status of HTTP, and the body.
        """
        reply = self._wait(Deferred.fromCoroutine(self._api.answer(Call(method, path, dict(query), body))))
        return reply.status.value, reply.body

    def daemon_words(self, name: str) -> tuple[str, ...]:
        """The options of the coordinator that took a job.

        :raises MuError: there is no such job, or its records are damaged.
        """
        self._jobs.job(name)
        assert self._journal is not None
        try:
            first = next(iter(self._journal.records(name)))
            return msgspec.convert(first["request"], Request).daemon
        except (LookupError, TypeError, StopIteration, msgspec.ValidationError) as error:
            raise ServiceError(f"the journal's records of job {name} are damaged: {error}") from None

    def close(self) -> None:
        """Write what is left, and let another process have the directory."""
        if self._journal is not None:
            self._journal.close()
        self._state.close()

    def _wait(self, waiting: Deferred[Any]) -> Any:
        outcome: list[Any] = []
        waiting.addBoth(outcome.append)
        for _ in range(MAX_TURNS):
            if outcome:
                break
            self._clock.advance(0)
        else:
            raise ServiceError("the records do not answer")
        if isinstance(outcome[0], Failure):
            outcome[0].raiseException()
        return outcome[0]


@contextmanager
def opened(state_dir: Path, wall: Callable[[], float]) -> Iterator[Records]:
    """The records of a state directory for the body, with nothing logged."""
    observers = list(globalLogPublisher._observers)
    for observer in observers:
        globalLogPublisher.removeObserver(observer)
    records = None
    try:
        records = Records(state_dir, wall)
        yield records
    finally:
        if records is not None:
            records.close()
        for observer in observers:
            globalLogPublisher.addObserver(observer)


class _NoOpener:
    """Opens nothing: no job runs here. Pipelines that are installed say how tasks are called; no other code is run."""

    def parse(self, request: Request) -> tuple[Pipeline, PipelineOptions]:
        if request.source is not None:
            raise MuError("no coordinator runs")
        pipeline = load_pipeline(request.pipeline)
        return pipeline, pipeline.parse(request.words, request.inputs)

    async def open(
        self, name: str, pipeline: Pipeline, settings: JobSettings, edges: Mapping[int, Sequence[int]]
    ) -> Opened:
        raise MuError("no coordinator runs")

    def reopen(
        self, name: str, pipeline: Pipeline, settings: JobSettings, edges: Mapping[int, Sequence[int]]
    ) -> Opened:
        raise MuError("no coordinator runs")

    def policy(self, settings: JobSettings) -> JobPolicy:
        raise MuError("no coordinator runs")
