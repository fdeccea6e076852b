"""Traces follow the journal: what it says of all jobs becomes spans, which are delivered in batches.

The journal is the queue. Spans of one batch are in memory; what cannot be delivered waits on record, in no job's way,
and how far delivery has come is noted in a file, from which the next process goes on. Knows neither HTTP nor how a span
is written.
"""

from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import msgspec
from twisted.internet.defer import Deferred
from twisted.internet.defer import TimeoutError as DeferredTimeout
from twisted.logger import Logger
from twisted.python.failure import Failure

from mu_twisted.base import MuError, counted
from mu_twisted.base.steps import Steps
from mu_twisted.coordinator._slices import Slices
from mu_twisted.coordinator.observation._states import attempt_states
from mu_twisted.coordinator.records import Journal, Row
from mu_twisted.coordinator.run import AttemptFile
from mu_twisted.jobs import (
    AttemptEnded,
    AttemptStates,
    Attribute,
    Finished,
    JobRecord,
    JobTrace,
    Span,
    record_from_dict,
)
from mu_twisted.storage import Labels
from mu_twisted.transport import ReactorTime, every

PERIOD = 1.0
"""Seconds between two looks for what is new."""
BATCH = 512
"""Spans of one request."""
FIRST_PAUSE, LAST_PAUSE = 2.0, 60.0
"""Seconds until a delivery that failed is tried again: the first time, and at most."""
PARTING = 2.0
"""Seconds in which the last spans are to be delivered when the coordinator ends."""


@dataclass(frozen=True)
class SpanDelivery:
    """What became of a batch.

    :param fault: what went wrong, one line; None: nothing.
    :param again: whether it is to be sent again; else it is done with.
    :param refused: spans that were not taken.
    """

    fault: str | None = None
    again: bool = False
    refused: int = 0


class SpanSink(Protocol):
    """Where spans go."""

    def send(self, spans: Sequence[Span]) -> Awaitable[SpanDelivery]:
        """Deliver a batch. Raises nothing."""


class _Position(msgspec.Struct):
    """How far delivery has come.

    :param after: the number of the last record of which all spans were delivered.
    """

    after: int = 0


class Traces:
    """Of all jobs of a coordinator, from the moment on at which they are begun to be followed.

    :param clock: for the periods.
    :param journal: what happened to the jobs.
    :param sink: where spans go.
    :param path: of the file that notes how far delivery has come.
    :param labels: what the tasks of a job are known by; ``files`` where the states of its attempts are.
    :ivar counts: spans, by what became of them: ``sent``, ``refused``.
    """

    _log = Logger()

    def __init__(
        self,
        clock: ReactorTime,
        journal: Journal,
        sink: SpanSink,
        path: Path,
        labels: Callable[[str], Labels],
        files: Callable[[str], AttemptFile],
    ) -> None:
        self._clock = clock
        self._journal = journal
        self._sink = sink
        self._path = path
        self._labels = labels
        self._files = files
        self._slices = Slices(clock)
        self._loop = every(clock, PERIOD, self._look)
        self.counts: Counter[str] = Counter(sent=0, refused=0)
        last = journal.last_number
        self._noted: int | None = None
        self._reached = min(last, _noted_position(path, last))
        self._rows: list[tuple[int, str, Row | None]] = []
        self._spans: Iterator[Span | None] = iter(())
        self._number = self._reached
        self._traces: dict[str, JobTrace | None] = {}
        """Of jobs that are not over; None for one whose records cannot be used."""
        self._batch: list[Span] = []
        self._complete = False
        """Whether the batch is to be delivered before more is read."""
        self._fault: str | None = None
        self._pause = FIRST_PAUSE
        self._not_before = 0.0
        self._busy: Deferred[None] | None = None
        self._note()  # as this process may be killed before anything is delivered

    def start(self) -> None:
        """Deliver what there is from now on."""
        self._loop.start()

    async def finish(self) -> None:
        """Deliver what is left, if that can be done soon; what cannot stays on record."""
        self._loop.stop()
        try:
            await Deferred.fromCoroutine(self._last()).addTimeout(PARTING, self._clock)  # type: ignore[arg-type]
        except DeferredTimeout:
            self._away("the collector has not answered in time")
        finally:
            self._slices.stop()

    # -- inside ----------------------------------------------------------------------------------------------------

    async def _last(self) -> None:
        if self._busy is not None:
            ended: Deferred[None] = Deferred()
            self._busy.addCallback(ended.callback)
            await ended
        if not self._is_pausing:
            await self._deliver()

    @property
    def _is_pausing(self) -> bool:
        return self._clock.seconds() < self._not_before

    def _look(self) -> Deferred[None] | None:
        if self._is_pausing:
            return None
        self._busy = Deferred.fromCoroutine(self._deliver())
        return self._busy.addErrback(self._failed).addCallback(self._idle)

    def _failed(self, failure: Failure) -> None:
        self._log.failure("traces cannot be made for now", failure)
        self._wait()

    def _idle(self, _: None) -> None:
        self._busy = None

    async def _deliver(self) -> None:
        """Deliver all that is on record, batch by batch."""
        while True:
            if not self._complete:
                await self._slices.run(self._reading())
            if not self._batch:
                self._note()
                return
            delivery = await self._sink.send(self._batch)
            if delivery.again:
                self._away(delivery.fault or "")
                return
            self._took(delivery)
            self._note()

    def _took(self, delivery: SpanDelivery) -> None:
        self.counts["sent"] += len(self._batch) - delivery.refused
        self.counts["refused"] += delivery.refused
        self._batch, self._complete = [], False
        self._pause = FIRST_PAUSE
        if delivery.fault is not None and delivery.fault != self._fault:
            self._log.warn(
                "the collector refuses {spans} of traces, and others that are like them: {fault}",
                spans=counted(delivery.refused, "span"),
                fault=delivery.fault,
            )
        elif delivery.fault is None and self._fault is not None:
            refused = counted(self.counts["refused"], "span")
            self._log.info("the collector takes traces again; so far it has refused {refused}", refused=refused)
        self._fault = delivery.fault

    def _away(self, fault: str) -> None:
        if self._fault is None:
            self._log.warn("traces are not delivered for now, and wait in the journal: {fault}", fault=fault)
        self._fault = fault
        self._wait()

    def _wait(self) -> None:
        self._not_before = self._clock.seconds() + self._pause
        self._pause = min(2 * self._pause, LAST_PAUSE)

    def _reading(self) -> Steps[None]:
        """Fill the batch."""
        while True:
            for span in self._spans:
                if span is None:
                    yield
                    continue
                self._batch.append(span)
                if len(self._batch) >= BATCH:
                    self._complete = True
                    return
            self._reached = self._number
            if not self._rows:
                self._journal.flush()
                self._rows = self._journal.following(self._reached)[::-1]
                yield
                if not self._rows:
                    self._complete = bool(self._batch)
                    return
            number, job, row = self._rows.pop()
            self._number = number
            self._spans = self._ended_by(number, job, row)

    def _ended_by(self, number: int, job: str, row: Row | None) -> Iterator[Span | None]:
        """The spans that a record ends."""
        try:
            if job not in self._traces:
                self._traces[job] = None
                self._traces[job] = yield from self._made(job, row, number)
            trace = self._traces[job]
            if trace is None or row is None or "record" not in row:
                return
            record = record_from_dict(row["record"])
            yield None  # as an attempt's states are in a file
            yield from trace.apply(record, float(row["at"]), _more(row, record), self._states(job, row, record))
            if isinstance(record, Finished):
                del self._traces[job]
        except (LookupError, TypeError, ValueError, AttributeError, MuError) as error:
            self._log.debug("job {job} has no trace: {error}", job=job, error=str(error))
            self._traces[job] = None

    def _states(self, job: str, row: Row, record: JobRecord) -> AttemptStates | None:
        """Those of the attempt that a record ends; None: there are none."""
        if not isinstance(record, AttemptEnded) or "states" not in row:
            return None
        line = self._files(job).at(int(row["states"]))
        if line is None or (line.get("task"), line.get("attempt")) != (record.task, record.attempt):
            return None
        try:
            return attempt_states(line)
        except (LookupError, TypeError, ValueError):
            return None

    def _made(self, job: str, row: Row | None, before: int) -> Steps[JobTrace | None]:
        """The trace of a job as the records before a number leave it."""
        first = row if row is not None and "request" in row else next(self._journal.records(job), None)
        if first is None:
            return None  # it was removed meanwhile
        trace = JobTrace(job, str(first["request"]["pipeline"]), float(first["at"]), self._label(job))
        reached, more = 0, first is not row
        while more:
            rows, reached, more = self._journal.page(job, reached)
            for number, one in rows:
                if number >= before:
                    return trace
                if "record" in one:
                    for _ in trace.apply(record_from_dict(one["record"]), float(one["at"])):
                        yield None
            yield None
        return trace

    def _label(self, job: str) -> Labels:
        known: list[Labels] = []

        def label(task: int) -> str | None:
            with suppress(MuError):
                if not known:
                    known.append(self._labels(job))
                return known[0](task)
            return None

        return label

    def _note(self) -> None:
        """Note how far delivery has come."""
        if self._batch or self._reached == self._noted:
            return
        fresh = self._path.with_name(f"{self._path.name}.new")
        try:
            fresh.write_bytes(msgspec.json.encode(_Position(self._reached)))
            fresh.replace(self._path)
        except OSError as error:
            self._log.debug("{path} cannot be written: {error}", path=str(self._path), error=error.strerror)
        else:
            self._noted = self._reached


def _noted_position(path: Path, last: int) -> int:
    """From where to go on; where nothing is noted, from what is appended next."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=_Position).after
    except (OSError, msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return last


def _more(row: Row, record: JobRecord) -> dict[str, Attribute]:
    """What is known of a job or an attempt with the record of its end."""
    if isinstance(record, AttemptEnded):
        return {f"mu.attempt.{kind}_bytes": int(count) for kind, count in (row.get("bytes") or {}).items()}
    fact = row.get("fact")
    if not isinstance(fact, Mapping):
        return {}
    moved = fact.get("bytes") or {}
    known: dict[str, Attribute] = {f"mu.job.{kind}_bytes": int(count) for kind, count in moved.items()}
    cost = fact.get("cost")
    if cost is None:
        return known
    known["mu.job.gb_seconds"] = float(cost["gb_seconds"])
    if cost.get("price") is not None:
        known["mu.job.price"] = float(cost["price"])
        known["mu.job.currency"] = str(cost.get("currency"))
    return known
