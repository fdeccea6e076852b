"""A job's log is what happened to it, as text: one line an event, whatever users and workers have put into it."""

import time
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from itertools import islice

from mu_twisted.base import counted, printable
from mu_twisted.base.json_types import Json, JsonObject
from mu_twisted.base.steps import STEP, Steps
from mu_twisted.coordinator._status import EventPage, EventQuery
from mu_twisted.coordinator.observation._task_story import Move, story_rows
from mu_twisted.coordinator.records import Journal, Row
from mu_twisted.coordinator.run import AttemptFile, joined_lines
from mu_twisted.jobs import StageIndex
from mu_twisted.wire.byte_counts import counts_text

MAX_LINES = 100_000
"""Of a log; the oldest are left out when there are more."""
MAX_CHARACTERS = 16 << 20
"""The same."""


def reading_log(journal: Journal, attempts: AttemptFile, job: str, task: int | None) -> Steps[str]:
    """A job's log, or one task's with the states of its attempts.

    :param task: its number; None: the whole job.
    :returns: empty if there is no such task, or it never began.
    :raises JournalError: a record is damaged.
    """
    lines: deque[str] = deque()
    dropped = characters = 0
    found = _lines(journal, attempts, job, task)
    for index, line in enumerate(found):
        if line is not None:
            lines.append(line + "\n")
            characters += len(line)
            while len(lines) > MAX_LINES or characters > MAX_CHARACTERS:
                characters -= len(lines.popleft())
                dropped += 1
        if index % STEP == 0:
            yield
    if dropped:
        lines[0] = f"({dropped + 1} earlier lines are left out; --task shows those of one task)\n"
    return "".join(lines)


def reading_events(journal: Journal, job: str, query: EventQuery) -> Steps[EventPage]:
    """Some events of a job as its log shows them; of one task without its moves and the states of its attempts.

    :returns: whether the job is over is for the caller to say.
    :raises JournalError: a record is damaged.
    """
    texts = [] if query.task is None else [f'"task":{query.task}']
    rows, reached, more = journal.page(job, query.after, *(texts or ['"error":"'] if query.failed else texts))
    lines: list[str | JsonObject] = []
    stages: _LoggedStages | None = None
    for index, (number, row) in enumerate(rows):
        record = row.get("record")
        record = record if isinstance(record, Mapping) else {}
        if (query.task is None or record.get("task") == query.task) and (record.get("error") or not query.failed):
            if query.structured:
                lines.append(event_of(number, row))
            else:
                stages = stages or _LoggedStages.of(journal, job)
                lines += log_lines([row], stages)
        if index % STEP == 0:
            yield
    return EventPage(lines, reached, more)


def _lines(journal: Journal, attempts: AttemptFile, job: str, task: int | None) -> Iterator[str | None]:
    """The lines of a log, and None for each record that makes none."""
    stages = _LoggedStages()
    if task is None:
        for row in journal.records(job):
            yield from log_lines([row], stages)
            yield None
    else:
        for row, _, move in story_rows(journal, job, task):
            stages.take(row)
            yield from _story_lines(row, task, move, stages)
            yield None
        for attempt in attempts.read(task):
            if attempt is not None:
                yield from state_lines(attempt)
            yield None


def event_of(number: int, row: Row) -> JsonObject:
    """An event as programs read it: its number, its time and what the record says. What is about all tasks of the job
    is given as their count.
    """
    record = row.get("record")
    at = row.get("at")
    if not isinstance(record, Mapping):
        request = row.get("request")
        request = request if isinstance(request, Mapping) else {}
        fields = {key: request.get(key) for key in ("pipeline", "words")}
        return {"number": number, "at": at, "type": "requested", **fields}
    if record.get("type") == "submitted":
        return {"number": number, "at": at, "type": "submitted", "tasks": len(record.get("order", ()))}
    return {"number": number, "at": at, **record}


class _LoggedStages:
    """The stages of a job by the record of what was submitted, once that has been taken."""

    def __init__(self) -> None:
        self._index = StageIndex(())

    @classmethod
    def of(cls, journal: Journal, job: str) -> "_LoggedStages":
        """Those of a job. Its tasks' numbers are read with them, which takes a while where there are many."""
        stages = cls()
        for row in islice(journal.records(job), 2):  # the second says what was submitted
            stages.take(row)
        return stages

    def take(self, row: Row) -> None:
        """Take the stages of this record, if it is the one."""
        record = row.get("record")
        if isinstance(record, Mapping) and record.get("type") == "submitted" and record.get("stages"):
            with suppress(TypeError, ValueError, AttributeError):  # damaged: then tasks have numbers only
                self._index = StageIndex(record["stages"])

    def task(self, number: Json) -> str:
        """A task by its number and stage."""
        name = self._index.name(number) if type(number) is int else None
        return f"task {number}" if name is None else f"task {number} ({name})"


def log_lines(rows: Iterable[Row], stages: "_LoggedStages | None" = None) -> Iterator[str]:
    """One line an event."""
    stages = stages or _LoggedStages()
    for row in rows:
        stages.take(row)
        try:
            record = row.get("record")
            text = _text(record, stages) if record is not None else _request_text(row["request"])
            yield f"{stamp(row['at'])} {printable(text)}"
        except (LookupError, TypeError, ValueError, AttributeError, OverflowError):
            yield f"a damaged record: {printable(str(row)[:200])}"


def _story_lines(row: Row, task: int, move: Move | None, stages: _LoggedStages) -> Iterator[str]:
    """The line of an event that is about the task or moves it, which names the move."""
    with suppress(LookupError, TypeError, ValueError, AttributeError, OverflowError):
        if move is not None or row["record"].get("task") == task:
            moved = f" [{move[0].value} -> {move[1].value}]" if move is not None else ""
            yield f"{stamp(row['at'])} {printable(_text(row['record'], stages))}{moved}"


def state_lines(attempt: Mapping[str, Json]) -> Iterator[str]:
    """The states of one attempt, as :class:`~mu_twisted.coordinator.run._attempts.Attempts` writes them."""
    yield f"attempt {attempt['attempt']}: {attempt['outcome']}"
    if "paths" in attempt:
        yield f"  messages: {paths_text(attempt['paths'])}"
    if "bytes" in attempt:
        yield f"  data: {counts_text(attempt['bytes'])}"
    states = attempt["states"]
    if "dropped" in attempt:
        yield f"  ({attempt['dropped']} earlier states were not kept)"
    for at, text in states:
        yield f"  {at - states[0][0]:10.3f} s  {printable(text)}"


def paths_text(counts: Mapping[str, int]) -> str:
    """By which way a task's messages went, by outcome the number of its peers."""
    others = [f"{count} ({outcome})" for outcome, count in sorted(counts.items()) if outcome != "direct"]
    ways = [f"directly with {counted(counts['direct'], 'peer')}"] if counts.get("direct") else []
    return ", ".join([*ways, *([f"by the rendezvous with {', '.join(others)}"] if others else [])])


def stamp(at: float) -> str:
    """A time of day as logs show it, UTC."""
    return time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(at)) + f".{int(at % 1 * 1000):03d}Z"


def _request_text(request: Mapping[str, Json]) -> str:
    return f"submitted: {request['pipeline']} {' '.join(request.get('words', ()))}".rstrip(" ")


def _text(record: Mapping[str, Json], stages: _LoggedStages) -> str:
    kind = str(record.get("type", "?"))
    rest = {
        key: value
        for key, value in record.items()
        if key not in ("type", "task", "attempt") and value not in (None, "")
    }
    if kind == "submitted":
        parts = [f"{sum(last - first + 1 for first, last in runs)} {name}" for name, runs in record.get("stages", ())]
        return f"{counted(len(record['order']), 'task')}{': ' if parts else ''}{', '.join(parts)}"
    where = f"{stages.task(record['task'])}: " if "task" in record else ""
    if "attempt" in record:
        where = f"{stages.task(record['task'])}, attempt {record['attempt']}: "
    error = rest.pop("error", None)
    details = ", ".join(f"{key} {_short(value)}" for key, value in rest.items())
    return f"{where}{kind}" + (f" ({details})" if details else "") + (f": {joined_lines(str(error))}" if error else "")


def _short(value: Json) -> str:
    if isinstance(value, float):
        return f"{value:.3f}"
    if isinstance(value, list) and len(value) > 20:
        return f"{', '.join(map(str, value[:20]))} and {len(value) - 20} more"
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)
