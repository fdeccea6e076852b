"""A trace is a job as spans: one for the job, for each of its tasks, each attempt, and each state of an attempt.

A span is made when the records say that it has ended. Its identifiers follow from the job, the task and the attempt
alone, so that the same records give the same spans whenever they are read. States are spans and not events of their
attempt's: they take time, and it is that which is looked for. Knows records and the times at which they were made,
neither where they are kept nor where spans go.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256

from mu_twisted.base import one_line
from mu_twisted.base.masking import masked
from mu_twisted.base.steps import STEP
from mu_twisted.jobs._launch_id import LaunchId
from mu_twisted.jobs._precedence import Precedence
from mu_twisted.jobs._records import (
    Assigned,
    AttemptEnded,
    AttemptOutcome,
    Cancelled,
    Enlarged,
    Extended,
    Finished,
    JobRecord,
    Reopened,
    ResultReached,
    ResultStands,
    Retried,
    Submitted,
    TaskFailed,
    TasksFailed,
)
from mu_twisted.jobs._stages import StageIndex

MAX_LINKS = 128
"""Links of one span, as OpenTelemetry's SDKs have it; a task that comes after more names the first."""
MAX_STATES = 128
"""States of an attempt that are spans, the last ones: as many as a span of OpenTelemetry's SDKs may have events."""
MAX_TEXT = 500
"""Characters of a text in a span."""
Attribute = str | int | float | bool


@dataclass(frozen=True)
class Span:
    """What took time.

    :param trace: the trace's identifier, 16 bytes, the same for all of a job.
    :param span: the span's, 8 bytes; ``parent`` that of the one that it is a part of, None for the job's own.
    :param name: of the kind of thing that it is.
    :param begin: seconds since 1970, as ``end``.
    :param attributes: by OpenTelemetry's names where it has one, else by names below ``mu.``.
    :param links: spans of the same trace that it waits for.
    :param error: why it failed, one line; None: it did not.
    """

    trace: bytes
    span: bytes
    parent: bytes | None
    name: str
    begin: float
    end: float
    attributes: Mapping[str, Attribute] = field(default_factory=dict)
    links: Sequence[bytes] = ()
    error: str | None = None


@dataclass(frozen=True)
class AttemptStates:
    """What an attempt did.

    :param states: when each began and ended, seconds since the attempt began, and its name.
    :param dropped: earlier ones, which are not known any more.
    """

    states: Sequence[tuple[float, float, str]] = ()
    dropped: int = 0


@dataclass(frozen=True)
class _Open:
    """An attempt that has not ended."""

    begin: float
    parent: bytes
    launch: LaunchId | None
    speculative: bool


def _no_label(_: int) -> str | None:
    return None


class JobTrace:
    """Makes a job's spans of its records, in their order.

    :param job: its name.
    :param pipeline: what it runs.
    :param requested: when it was asked for, seconds since 1970.
    :param label: what the user knows a task by, if by anything but its number.
    """

    def __init__(
        self, job: str, pipeline: str, requested: float, label: Callable[[int], str | None] = _no_label
    ) -> None:
        self._job = job
        self._pipeline = pipeline
        self._label = label
        self._trace = sha256(f"{job} {requested!r}".encode()).digest()[:16]
        self._now = self._begin = requested
        self._order: list[int] = []
        self._stages = StageIndex(())
        self._senders: dict[int, tuple[int, ...]] = {}
        self._precedence = Precedence((), ())
        self._passed: set[int] = set()
        self._ready: dict[int, float | None] = {}
        """Since when a task that is not settled could begin; None: since nothing, as it comes after others."""
        self._rounds: dict[int, int] = {}
        self._open: dict[tuple[int, int], _Open] = {}
        self._won: set[int] = set()
        self._kinds: dict[int, str] = {}
        self._tries: dict[int, int] = {}
        self._done: set[int] = set()
        self._failed = 0
        self._reason: str | None = None
        self._run = 0
        self.over = False

    def apply(
        self,
        record: JobRecord,
        at: float,
        more: Mapping[str, Attribute] | None = None,
        states: AttemptStates | None = None,
    ) -> Iterator[Span | None]:
        """Apply the next record.

        :param at: when it was made, seconds since 1970. One that goes back counts as the time before: clocks are set.
        :param more: attributes of the job or the attempt that are known with the record of its end.
        :param states: of the attempt, with the record of its end, if they are known.
        :returns: the spans that it ends, and None where others may have their turn. All are to be taken.
        """
        self._now = max(self._now, at)
        if self.over and isinstance(record, Retried):
            self._again()
        match record:
            case Submitted():
                yield from self._submit(record)
            case Assigned():
                self._assign(record)
            case AttemptEnded():
                yield from self._end(record, more or {}, states or AttemptStates())
            case ResultReached(task=task):
                yield from self._settle((task,), None)
            case ResultStands(tasks=tasks):
                yield from self._settle(tasks, None)
            case TaskFailed(task=task, error=error):
                yield from self._settle((task,), error)
            case TasksFailed(tasks=tasks, error=error):
                yield from self._settle(tasks, error)
            case Reopened(tasks=tasks) | Retried(tasks=tasks) | Enlarged(tasks=tasks):
                self._reopen(tasks)
            case Extended(first=first, count=count):
                added = range(first, first + count)
                self._order += added
                self._ready.update(dict.fromkeys(added, self._now))
            case Cancelled(reason=reason):
                self._reason = reason
            case Finished(error=error):
                yield from self._finish(error, more or {})

    # -- inside ----------------------------------------------------------------------------------------------------

    def _submit(self, record: Submitted) -> Iterator[None]:
        self._order = list(record.order)
        self._stages = StageIndex(record.stages)
        for receiver, senders in (*record.consumes, *record.messages):
            self._senders[receiver] = tuple(dict.fromkeys((*self._senders.get(receiver, ()), *senders)))
        self._precedence = yield from Precedence.making(self._order, record.after)
        self._ready = dict.fromkeys(self._order, self._begin)
        self._ready.update(dict.fromkeys(self._precedence.behind_gates(), None))
        yield

    def _again(self) -> None:
        """The job was over, and goes on: that is another span, with those that come now in it."""
        self.over = False
        self._run += 1
        self._begin = self._now
        self._reason = None

    def _assign(self, record: Assigned) -> None:
        task = record.task
        if self._ready.get(task) is None:  # what it comes after counts as done though it has no record
            self._ready[task] = self._now
        self._tries[task] = self._tries.get(task, 0) + 1
        self._open[task, record.attempt] = _Open(self._now, self._task_span(task), record.launch_id, record.speculative)

    def _end(self, record: AttemptEnded, more: Mapping[str, Attribute], states: AttemptStates) -> Iterator[Span]:
        if record.outcome is AttemptOutcome.DONE:
            self._won.add(record.task)
        failed = record.outcome is AttemptOutcome.FAILED
        attributes = dict(more)
        if failed and record.kind is not None:
            self._kinds[record.task] = attributes["error.type"] = record.kind.value
        if record.status is not None:
            attributes["process.exit.code"] = record.status
        error = record.error or record.outcome.value if failed else None
        yield from self._attempt(record.task, record.attempt, record.outcome, error, attributes, states)

    def _attempt(
        self,
        task: int,
        attempt: int,
        outcome: AttemptOutcome,
        error: str | None = None,
        attributes: Mapping[str, Attribute] | None = None,
        states: AttemptStates | None = None,
    ) -> Iterator[Span]:
        one = self._open.pop((task, attempt), None)
        if one is None:
            return
        known: dict[str, Attribute] = {
            **self._of_task(task),
            "mu.attempt.number": attempt,
            "mu.attempt.outcome": outcome.value,
            **(attributes or {}),
        }
        if one.launch:
            known["mu.attempt.launch"] = str(one.launch)
        if one.speculative:
            known["mu.attempt.speculative"] = True
        states = states or AttemptStates()
        shown = states.states[-MAX_STATES:]
        dropped = states.dropped + len(states.states) - len(shown)
        if dropped:
            known["mu.attempt.dropped_state_count"] = dropped
        span = self._id("attempt", task, attempt)
        yield self._span(span, one.parent, "attempt", one.begin, known, error=error)
        for at, (begin, end, name) in enumerate(shown, 1):
            failed = error if at == len(shown) else None
            known = {**self._of_task(task), "mu.attempt.number": attempt, "mu.state.name": _text(name)}
            if failed is not None and attributes and "error.type" in attributes:
                known["error.type"] = attributes["error.type"]
            number = self._id("state", task, attempt, dropped + at)
            times = min(one.begin + begin, self._now), min(one.begin + end, self._now)
            yield self._span(number, span, _text(name), times[0], known, error=failed, end=times[1])

    def _settle(self, tasks: Iterable[int], error: str | None) -> Iterator[Span | None]:
        for at, task in enumerate(tasks):
            if task in self._ready:
                yield self._settled(task, error)
            if error is None:
                self._pass(task)
            if at % STEP == 0:
                yield None

    def _settled(self, task: int, error: str | None) -> Span:
        begin = self._ready.pop(task)
        attributes = {**self._of_task(task), "mu.task.attempt_count": self._tries.get(task, 0)}
        label = self._label(task)
        if label is not None:
            attributes["mu.task.label"] = _text(label)
        if error is None:
            self._done.add(task)
        else:
            self._failed += 1
            attributes["error.type"] = self._kinds.get(task, "not run")
        before = (*self._senders.get(task, ()), *self._precedence.before(task)[:MAX_LINKS])
        links = [self._task_span(one) for one in before[:MAX_LINKS]]
        name = self._stages.name(task) or "task"
        begin = self._now if begin is None else begin
        return self._span(self._task_span(task), self._job_span, name, begin, attributes, links, error)

    def _pass(self, task: int) -> None:
        """A task is done: those behind it may begin."""
        if task not in self._passed:
            self._passed.add(task)
            for ready in self._precedence.done(task):
                if ready in self._ready:
                    self._ready[ready] = self._now

    def _reopen(self, tasks: Iterable[int]) -> None:
        for task in tasks:
            if task in self._ready:
                continue
            if task in self._done:
                self._done.discard(task)
            else:
                self._failed -= 1
            self._rounds[task] = self._rounds.get(task, 0) + 1
            self._kinds.pop(task, None)
            self._won.discard(task)
            self._ready[task] = None if self._precedence.is_blocked(task) else self._now

    def _finish(self, error: str | None, more: Mapping[str, Attribute]) -> Iterator[Span | None]:
        for task, attempt in list(self._open):
            yield from self._attempt(task, attempt, AttemptOutcome.REVOKED)
        left = list(self._ready)
        # As the ledger has it: an attempt that was done counts, though its result was not announced.
        yield from self._settle([task for task in left if task in self._won], None)
        why = self._reason or error or "the job was over before it"
        yield from self._settle([task for task in left if task not in self._won], why)
        attributes: dict[str, Attribute] = {
            "mu.job.name": self._job,
            "mu.job.pipeline": _text(self._pipeline),
            "mu.job.task_count": len(self._order),
            "mu.job.done_count": len(self._done),
            "mu.job.failed_count": self._failed,
            "mu.job.run": self._run,
            **more,
        }
        if error is not None:
            attributes["error.type"] = "cancelled" if self._reason is not None else "failed"
        parent = self._id("job", 0) if self._run else None
        self.over = True
        yield self._span(self._job_span, parent, "job", self._begin, attributes, error=error)

    @property
    def _job_span(self) -> bytes:
        return self._id("job", self._run)

    def _task_span(self, task: int) -> bytes:
        return self._id("task", task, self._rounds.get(task, 0))

    def _id(self, kind: str, *numbers: int) -> bytes:
        return sha256(self._trace + f"{kind} {numbers}".encode()).digest()[:8]

    def _of_task(self, task: int) -> dict[str, Attribute]:
        return {"mu.job.name": self._job, "mu.task.number": task}

    def _span(
        self,
        span: bytes,
        parent: bytes | None,
        name: str,
        begin: float,
        attributes: Mapping[str, Attribute],
        links: Sequence[bytes] = (),
        error: str | None = None,
        end: float | None = None,
    ) -> Span:
        why = None if error is None else _text(error)
        return Span(self._trace, span, parent, name, begin, self._now if end is None else end, attributes, links, why)


def _text(text: str) -> str:
    """A text of a user or a program as a span holds it: without what may be secret."""
    return one_line(masked(text), MAX_TEXT)
