"""A timeline is a job over time, by its records: its attempts, how many tasks stood where, and its critical path.

Knows records and the times at which they were made, neither where they are kept nor how anything is drawn.
"""

from array import array
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
from operator import itemgetter

from mu_twisted.base.steps import STEP, Steps
from mu_twisted.jobs._lineage import Lineage
from mu_twisted.jobs._precedence import Precedence
from mu_twisted.jobs._records import (
    Assigned,
    AttemptEnded,
    Enlarged,
    Extended,
    Finished,
    JobRecord,
    Launched,
    Reopened,
    ResultReached,
    ResultStands,
    Retried,
    Submitted,
    TaskFailed,
    TasksFailed,
)
from mu_twisted.wire.byte_counts import KINDS

MAX_ATTEMPTS = 400_000
"""Attempts whose times are kept of one job, the first ones."""
BINS = 480
"""Spans that a job's time is divided into at most; when there would be more, each two become one."""
FIRST_STEP = 0.25
"""Seconds of such a span at first."""
MAX_STAGES = 64
"""Stages that are told apart; tasks that come after still more are of the last one."""
RUNNING = "running"
OUTCOMES = (RUNNING, "done", "failed", "beaten", "withdrawn")
"""How attempts have ended, by number, as the records spell it."""
_INDEX = {name: index for index, name in enumerate(OUTCOMES)}
_REVOKED = _INDEX["withdrawn"]


@dataclass
class AttemptTimes:
    """Attempts in the order in which they began: the same place in each array is one attempt.

    :ivar begin: seconds since the job was submitted, as ``end``; that is negative while it runs.
    :ivar outcome: an index of :data:`OUTCOMES`.
    :ivar moved: bytes that it has moved, by kind; -1: its worker has not said so.
    """

    task: "array[int]" = field(default_factory=lambda: array("q"))
    attempt: "array[int]" = field(default_factory=lambda: array("q"))
    begin: "array[float]" = field(default_factory=lambda: array("d"))
    end: "array[float]" = field(default_factory=lambda: array("d"))
    outcome: "array[int]" = field(default_factory=lambda: array("b"))
    moved: "dict[str, array[int]]" = field(default_factory=lambda: {kind: array("q") for kind in KINDS})

    def bytes_of(self, place: int) -> dict[str, int] | None:
        """The bytes that an attempt has moved, by kind; None: its worker has not said so, or it runs."""
        found = {kind: counts[place] for kind, counts in self.moved.items()}
        return None if min(found.values()) < 0 else found


@dataclass
class Series:
    """What has changed in each span of a job's time.

    :ivar step: seconds of a span; it grows with the job's time.
    :ivar spans: by the number of the span: tasks more that were done, that had failed, attempts more under way,
        launches asked for.
    :ivar used: by the number of the span: seconds for which workers had run by its end, added up.
    """

    step: float = FIRST_STEP
    spans: dict[int, list[int]] = field(default_factory=dict)
    used: dict[int, float] = field(default_factory=dict)

    def add(self, at: float, *, done: int = 0, failed: int = 0, active: int = 0, launches: int = 0) -> None:
        """Something has changed at a time."""
        number = self._span(at)  # which may replace the spans
        span = self.spans.setdefault(number, [0, 0, 0, 0])
        for index, change in enumerate((done, failed, active, launches)):
            span[index] += change

    def use(self, at: float, seconds: float) -> None:
        """Workers had run for so long at a time."""
        number = self._span(at)
        self.used[number] = seconds

    def _span(self, at: float) -> int:
        while at >= BINS * self.step:
            self.step *= 2
            halves, self.spans = self.spans, {}
            for number, changes in halves.items():
                span = self.spans.setdefault(number // 2, [0, 0, 0, 0])
                for index, change in enumerate(changes):
                    span[index] += change
            self.used = {number // 2: seconds for number, seconds in sorted(self.used.items())}
        return int(at / self.step)


@dataclass(frozen=True)
class PathStep:
    """One task of the critical path.

    :param begin: of its last attempt that counts, seconds since the job was submitted, as ``end``.
    """

    task: int
    begin: float
    end: float


@dataclass(frozen=True)
class Stage:
    """Tasks that belong together: of a stage with a name, else those that come after equally many others, one after
    the other.

    :param name: that the pipeline gives it; None: it gives none.
    """

    tasks: Sequence[int]
    name: str | None = None


class JobTimeline:
    """Folds a job's records, in their order.

    :param submitted: the first record.
    :param at: when it was made, seconds; the zero of all times of this object.
    :ivar order: the tasks' numbers, those that were added behind the others.
    """

    def __init__(self, submitted: Submitted, at: float) -> None:
        self.submitted = submitted
        self.order = list(submitted.order)
        self.begun = at
        self.attempts = AttemptTimes()
        self.dropped = 0
        self.series = Series()
        self.last = 0.0
        self.launches = 0
        self._open: dict[tuple[int, int], int] = {}
        self._won: dict[int, int] = {}
        self._failed: set[int] = set()
        self._done: set[int] = set()
        self._graph: tuple[Lineage, Precedence] | None = None

    def apply(
        self, record: JobRecord, at: float, used: float | None = None, moved: Mapping[str, int] | None = None
    ) -> None:
        """Apply the next record.

        :param at: when it was made. One that goes back counts as the time before: clocks are set.
        :param used: seconds for which workers had run by then, if that is known.
        :param moved: bytes that the attempt which it ends has moved, by kind, if that is known.
        """
        now = self.last = max(self.last, at - self.begun)
        if used is not None:
            self.series.use(now, used)
        match record:
            case Launched(count=count):
                self.launches += count
                self.series.add(now, launches=count)
            case Assigned():
                self._begin(record, now)
            case AttemptEnded():
                self._end(record.task, record.attempt, _INDEX[record.outcome.value], now, moved)
            case ResultReached(task=task):
                self._settle((task,), now, done=True)
            case ResultStands(tasks=tasks):
                self._settle(tasks, now, done=True)
            case TaskFailed(task=task):
                self._settle((task,), now, done=False)
            case TasksFailed(tasks=tasks):
                self._settle(tasks, now, done=False)
            case Reopened(tasks=tasks) | Retried(tasks=tasks) | Enlarged(tasks=tasks):
                self._reopen(tasks, now)
            case Extended(first=first, count=count):
                self.order += range(first, first + count)
                self._graph = None
            case Finished():
                self._finish(now)
            case _:
                pass

    def is_done(self, task: int) -> bool:
        """Whether the task has been done."""
        return task in self._done

    def has_failed(self, task: int) -> bool:
        """Whether the task has failed for good."""
        return task in self._failed

    def critical_path(self) -> Steps[list[PathStep]]:
        """The tasks that the job's length is due to, the first one first: from the last that was done, always the one
        it had to wait for that was done last. Empty where no task waits for another.
        """
        lineage, precedence = yield from self._made()
        if not lineage and not precedence:
            return []
        ends = self._last_attempts()
        if not ends:
            return []
        task: int | None = max(ends, key=lambda one: ends[one][1])
        path: list[PathStep] = []
        seen: set[int] = set()
        while task is not None and task not in seen:
            seen.add(task)
            path.append(PathStep(task, *ends[task]))
            task = yield from _latest((*lineage.producers(task), *precedence.before(task)), ends)
        return path[::-1]

    def stages(self) -> Steps[list[Stage]]:
        """The stages that the pipeline names, else the tasks by how many others they come after, one after the other.

        :returns: one stage, where none comes after another.
        """
        if self.submitted.stages:
            named = [Stage(_within(spans), name) for name, spans in self.submitted.stages]
            rest = set(self.order).difference(*(stage.tasks for stage in named))
            yield
            return [*named, Stage(sorted(rest))] if rest else named
        _, precedence = yield from self._made()
        levels: dict[int, int] = {}
        of_gate: dict[int, int] = {}
        for at, task in enumerate(precedence.order):
            before = precedence.before(task)
            level = of_gate.get(id(before))
            if level is None:
                level = max((levels[one] + 1 for one in before), default=0)
                of_gate[id(before)] = level
            levels[task] = min(level, MAX_STAGES - 1)
            if at % STEP == 0:
                yield
        found: dict[int, list[int]] = {}
        for task in sorted(levels):
            found.setdefault(levels[task], []).append(task)
        return [Stage(found[level]) for level in sorted(found)]

    def stages_before(self, stages: Sequence[Stage]) -> Steps[list[list[int]]]:
        """For each stage the places of the others that its tasks come after, or take messages of.

        :param stages: all of :meth:`stages`.
        """
        place = {task: at for at, stage in enumerate(stages) for task in stage.tasks}
        found: list[set[int]] = [set() for _ in stages]
        lineage, precedence = yield from self._made()
        waits = [(gate.behind, gate.before) for gate in precedence.gates]
        work = 0
        for behind, before in chain(waits, (((task,), senders) for task, senders in lineage.edges.items())):
            places = {place[task] for task in before}
            for at in {place[task] for task in behind}:
                found[at] |= places
            work += len(behind) + len(before)
            if work >= STEP:
                work = 0
                yield
        return [sorted(places - {at}) for at, places in enumerate(found)]

    def links(self, most: int) -> Steps[tuple[list[tuple[int, int]], int]]:
        """Which tasks send messages to which others.

        :param most: pairs at most, those of the lowest receivers.
        :returns: pairs of a sender and a receiver, and how many there are in all.
        """
        lineage, _ = yield from self._made()
        edges = lineage.edges
        count = 0
        pairs: list[tuple[int, int]] = []
        for at, receiver in enumerate(sorted(edges)):
            count += len(edges[receiver])
            if len(pairs) < most:
                pairs += [(sender, receiver) for sender in edges[receiver][: most - len(pairs)]]
            if at % STEP == 0:
                yield
        return pairs, count

    # -- inside ----------------------------------------------------------------------------------------------------

    def _begin(self, record: Assigned, now: float) -> None:
        self.series.add(now, active=1)
        attempts = self.attempts
        if len(attempts.task) >= MAX_ATTEMPTS:
            self.dropped += 1
            return
        self._open[record.task, record.attempt] = len(attempts.task)
        attempts.task.append(record.task)
        attempts.attempt.append(record.attempt)
        attempts.begin.append(now)
        attempts.end.append(-1.0)
        attempts.outcome.append(0)
        for counts in attempts.moved.values():
            counts.append(-1)

    def _end(self, task: int, attempt: int, outcome: int, now: float, moved: Mapping[str, int] | None = None) -> None:
        self.series.add(now, active=-1)
        index = self._open.pop((task, attempt), None)
        if index is not None:
            self.attempts.end[index] = now
            self.attempts.outcome[index] = outcome
            if moved:
                for kind, counts in self.attempts.moved.items():
                    counts[index] = moved.get(kind, 0)
            if outcome == _INDEX["done"]:
                self._won[task] = index

    def _settle(self, tasks: Iterable[int], now: float, *, done: bool) -> None:
        into, other = (self._done, self._failed) if done else (self._failed, self._done)
        fresh = [task for task in tasks if task not in into]
        moved = [task for task in fresh if task in other]
        into.update(fresh)
        other.difference_update(moved)
        more, less = len(fresh), -len(moved)
        self.series.add(now, done=more if done else less, failed=less if done else more)

    def _reopen(self, tasks: Iterable[int], now: float) -> None:
        """They are to run again. What was done stays done for the user; what had failed waits."""
        failed = [task for task in tasks if task in self._failed]
        self._failed.difference_update(failed)
        self.series.add(now, failed=-len(failed))

    def _finish(self, now: float) -> None:
        for task, attempt in list(self._open):
            self._end(task, attempt, _REVOKED, now)
        rest = [task for task in self.order if task not in self._done and task not in self._failed]
        # As the ledger has it: an attempt that was done counts, though its result was not announced.
        self._settle([task for task in rest if task in self._won], now, done=True)
        self._settle([task for task in rest if task not in self._won], now, done=False)

    def _made(self) -> Steps[tuple[Lineage, Precedence]]:
        if self._graph is None:
            one = self.submitted
            lineage = yield from Lineage.making(self.order, dict(one.consumes), dict(one.messages))
            self._graph = lineage, (yield from Precedence.making(lineage.order, one.after))
        return self._graph

    def _last_attempts(self) -> dict[int, tuple[float, float]]:
        """For each task that was done, when the attempt began and ended that did it."""
        attempts = self.attempts
        return {task: (attempts.begin[index], attempts.end[index]) for task, index in self._won.items()}


def _within(spans: Iterable[tuple[int, int]]) -> list[int]:
    """The numbers from the first to the last of each span."""
    return [task for first, last in spans for task in range(first, last + 1)]


def _latest(tasks: Iterable[int], ends: Mapping[int, tuple[float, float]]) -> Steps[int | None]:
    """The one of these tasks that was done last."""
    latest: int | None = None
    for at, task in enumerate(tasks):
        if task in ends and (latest is None or ends[task][1] > ends[latest][1]):
            latest = task
        if at % STEP == 0:
            yield
    return latest


def slowest(attempts: AttemptTimes, now: float, most: int) -> list[int]:
    """The places of the attempts that took longest, or have run longest, the slowest first.

    :param now: when those end for now that run.
    """

    def seconds(index: int) -> float:
        return (attempts.end[index] if attempts.end[index] >= 0 else now) - attempts.begin[index]

    key: Callable[[tuple[float, int]], float] = itemgetter(0)
    return [index for _, index in sorted(((seconds(i), i) for i in range(len(attempts.task))), key=key)[::-1][:most]]
