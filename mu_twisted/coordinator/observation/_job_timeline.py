"""Job timelines are read from a job's records as they are asked for, and go on from there when they are asked again.

Knows the journal, the states of attempts and what is kept of output; neither workers nor how anything is shown.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from itertools import accumulate, islice

from mu_twisted.base.json_types import Json
from mu_twisted.base.steps import STEP, Steps
from mu_twisted.coordinator.observation._states import shifted
from mu_twisted.coordinator.observation._timeline_values import (
    AttemptColumns,
    CountSeries,
    PathTask,
    StageSpan,
    TaskStates,
    Timeline,
)
from mu_twisted.coordinator.records import Journal, Row
from mu_twisted.coordinator.run import AttemptFile, Attempts
from mu_twisted.jobs import OUTCOMES, JobError, JobTimeline, Stage, Submitted, record_from_dict, slowest
from mu_twisted.statuses import JobStatus, ServiceError
from mu_twisted.storage import Labels
from mu_twisted.wording import ranges

KEPT = 4
"""Timelines that are kept, so that the next look reads only what is new."""
SLOWEST = 20
"""Attempts that are listed as the slowest."""
NAMED = 160
"""Slowest attempts, and failed ones, whose tasks are listed by name, too, as they may be drawn."""
FAILED = OUTCOMES.index("failed")
MAX_LINKS = 2000
"""Pairs of tasks that send messages, which are listed."""
MAX_PATH = 500
"""Tasks of the critical path that are listed, the last ones."""
WITH_STATES = 300
"""Tasks of a job up to which the states of its attempts are listed."""
DIGITS = 3
"""Of a time in seconds."""


class JobTimelines:
    """Of the jobs of a coordinator.

    :param journal: holds their records.
    :param wall: the time of day, seconds since 1970.
    """

    def __init__(self, journal: Journal, wall: Callable[[], float]) -> None:
        self._journal = journal
        self._wall = wall
        self._kept: dict[str, tuple[JobTimeline, int]] = {}
        self._reading: set[str] = set()

    def forget(self, name: str) -> None:
        """The job's records go."""
        self._kept.pop(name, None)

    def reading(
        self, status: JobStatus, file: AttemptFile, attempts: Attempts | None, labels: Labels
    ) -> Steps[Timeline]:
        """A job over time.

        :param file: has the states of its attempts; ``attempts`` those of the ones that run, if it does.
        :param labels: what its tasks are known by.
        :raises MuError: its records cannot be read.
        """
        line, reached = yield from self._folded(status.job)
        over = status.state != "running"
        now = line.last if over else max(line.last, self._wall() - line.begun)
        columns = yield from _columns(line)
        stages = yield from line.stages()
        path = (yield from line.critical_path())[-MAX_PATH:]
        links, link_count = yield from line.links(MAX_LINKS)
        states: list[TaskStates] = []
        if len(line.order) <= WITH_STATES:
            states = yield from _states(line, file, attempts)
        slow = slowest(line.attempts, now, NAMED)
        named = {one.task for one in path} | {line.attempts.task[index] for index in slow}
        ended = zip(line.attempts.task, line.attempts.outcome, strict=True)
        failed = (task for task, outcome in ended if outcome == FAILED)
        named |= set(islice(failed, NAMED))
        if len(line.order) <= WITH_STATES:
            named |= set(line.order)
        called = {}
        for task in sorted(named):
            label = labels(task)
            if label is not None:
                called[task] = label
            yield
        return Timeline(
            job=status.job,
            submitted=line.begun,
            now=round(now, DIGITS),
            next=reached,
            over=over,
            tasks=len(line.order),
            outcomes=OUTCOMES,
            attempts=columns,
            series=_series(line, now),
            dropped=line.dropped,
            path=[
                PathTask(one.task, round(one.begin, DIGITS), round(one.end, DIGITS), called.get(one.task))
                for one in path
            ],
            stages=(yield from _spans(line, stages)),
            links=links,
            link_count=link_count,
            states=states,
            slowest=slow[:SLOWEST],
            bytes=_moved(line, slow[:SLOWEST], attempts),
            labels=called,
        )

    def _folded(self, name: str) -> Steps[tuple[JobTimeline, int]]:
        while name in self._reading:  # another request has begun: it is in turn with this one
            yield
        self._reading.add(name)
        try:
            line, reached = self._kept.pop(name, (None, 0))
            more = True
            while more:
                rows, reached, more = self._journal.page(name, reached)
                for at, (_, row) in enumerate(rows):
                    line = _applied(line, row)
                    if at % STEP == 0:
                        yield
            if line is None:
                raise ServiceError(f"job {name} has no records of its tasks: there was nothing to do")
            self._kept[name] = line, reached
            while len(self._kept) > KEPT:
                del self._kept[next(iter(self._kept))]
            return line, reached
        except (LookupError, TypeError, ValueError, AttributeError, JobError) as error:
            raise ServiceError(f"the journal's records of job {name} are damaged: {error}") from None
        finally:
            self._reading.discard(name)


def _applied(line: JobTimeline | None, row: Row) -> JobTimeline | None:
    if "record" not in row:
        return line
    record = record_from_dict(row["record"])
    if isinstance(record, Submitted):
        return JobTimeline(record, float(row["at"]))
    if line is not None:
        used = row.get("usage")
        line.apply(record, float(row["at"]), float(used["seconds"]) if used is not None else None, row.get("bytes"))
    return line


def _columns(line: JobTimeline) -> Steps[AttemptColumns]:
    one = line.attempts
    columns = AttemptColumns(
        one.task.tolist(),
        one.attempt.tolist(),
        [round(begin, DIGITS) for begin in one.begin],
        [round(end, DIGITS) if end >= 0 else None for end in one.end],
        one.outcome.tolist(),
    )
    yield
    return columns


def _series(line: JobTimeline, now: float) -> CountSeries:
    series = line.series
    count = int(now / series.step) + 1
    changes = [series.spans.get(number, (0, 0, 0, 0)) for number in range(count)]
    done, failed, active, launches = (list(accumulate(column)) for column in zip(*changes, strict=True))
    used, last = [], 0.0
    for number in range(count):
        last = series.used.get(number, last)
        used.append(round(last, DIGITS))
    return CountSeries(series.step, done, failed, active, launches, used)


def _spans(line: JobTimeline, stages: Sequence[Stage]) -> Steps[list[StageSpan]]:
    place: dict[int, int] = {task: at for at, stage in enumerate(stages) for task in stage.tasks}
    yield
    begins: list[float | None] = [None] * len(stages)
    ends: list[float | None] = [None] * len(stages)
    moved: list[Counter[str]] = [Counter() for _ in stages]
    one = line.attempts
    for index, task in enumerate(one.task):
        at = place[task]
        moved[at].update(one.bytes_of(index) or {})
        first, last = begins[at], ends[at]
        begins[at] = one.begin[index] if first is None else min(first, one.begin[index])
        ends[at] = max(last or 0.0, one.end[index], one.begin[index])
        if index % STEP == 0:
            yield
    after = yield from line.stages_before(stages)
    found = []
    for at, stage in enumerate(stages):
        begin, end = begins[at], ends[at]
        found.append(
            StageSpan(
                ranges(stage.tasks),
                len(stage.tasks),
                sum(line.is_done(task) for task in stage.tasks),
                sum(line.has_failed(task) for task in stage.tasks),
                None if begin is None else round(begin, DIGITS),
                None if end is None else round(end, DIGITS),
                stage.name,
                dict(moved[at]) or None,
                after[at],
            )
        )
        yield
    return found


def _moved(line: JobTimeline, places: Iterable[int], attempts: Attempts | None) -> dict[int, dict[str, int]]:
    """The bytes that these attempts have moved, those that run too."""
    found = {}
    for index in places:
        moved = line.attempts.bytes_of(index)
        if moved is None and attempts is not None:
            moved = attempts.bytes_of(line.attempts.task[index], line.attempts.attempt[index])
        if moved is not None:
            found[index] = moved
    return found


def _states(line: JobTimeline, file: AttemptFile, attempts: Attempts | None) -> Steps[list[TaskStates]]:
    """The states of all attempts whose beginning is known."""
    begins = {
        (task, attempt): begin
        for task, attempt, begin in zip(line.attempts.task, line.attempts.attempt, line.attempts.begin, strict=True)
    }
    found: dict[tuple[int, int], TaskStates] = {}
    for one in [] if attempts is None else attempts.current():
        _take_states(found, begins, one)
    for one in file.read_all():
        _take_states(found, begins, one)
        yield
    return [found[key] for key in sorted(found)]


def _take_states(
    found: dict[tuple[int, int], TaskStates], begins: Mapping[tuple[int, int], float], one: Mapping[str, Json]
) -> None:
    with suppress(LookupError, TypeError, ValueError):  # a damaged line
        key = (int(one["task"]), int(one["attempt"]))
        if key in begins:
            found[key] = TaskStates(*key, shifted(one, begins[key]))
