"""A job's log is what happened to it, as text: one line an event, whatever users and workers have put into it."""

import time
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from mu_twisted.base import printable
from mu_twisted.coordinator._attempts import AttemptFile
from mu_twisted.coordinator._failures import joined_lines
from mu_twisted.coordinator._history import Row
from mu_twisted.coordinator._journal import Journal
from mu_twisted.coordinator._slices import Steps
from mu_twisted.jobs import STEP

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


def _lines(journal: Journal, attempts: AttemptFile, job: str, task: int | None) -> Iterator[str | None]:
    """The lines of a log, and None for each record that makes none."""
    for row in journal.records(job, "" if task is None else f'"task":{task}'):
        yield from log_lines([row], task)
        yield None
    if task is not None:
        for attempt in attempts.read(task):
            if attempt is not None:
                yield from state_lines(attempt)
            yield None


def log_lines(rows: Iterable[Row], task: int | None) -> Iterator[str]:
    """One line an event.

    :param task: leave out what is not about this one; None: all.
    """
    for row in rows:
        try:
            record = row.get("record")
            if task is None or (record is not None and record.get("task") == task):
                text = _text(record) if record is not None else _request_text(row["request"])
                yield f"{stamp(row['at'])} {printable(text)}"
        except (LookupError, TypeError, ValueError, AttributeError, OverflowError):
            if task is None:
                yield f"a damaged record: {printable(str(row)[:200])}"


def state_lines(attempt: Mapping[str, Any]) -> Iterator[str]:
    """The states of one attempt, as :class:`~mu_twisted.coordinator._attempts.Attempts` writes them."""
    yield f"attempt {attempt['attempt']}: {attempt['outcome']}"
    states = attempt["states"]
    if "dropped" in attempt:
        yield f"  ({attempt['dropped']} earlier states were not kept)"
    for at, text in states:
        yield f"  {at - states[0][0]:10.3f} s  {printable(text)}"


def stamp(at: float) -> str:
    """A time of day as logs show it, UTC."""
    return time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(at)) + f".{int(at % 1 * 1000):03d}Z"


def _request_text(request: Mapping[str, Any]) -> str:
    return f"submitted: {request['pipeline']} {' '.join(request.get('words', ()))}".rstrip(" ")


def _text(record: Mapping[str, Any]) -> str:
    kind = str(record.get("type", "?"))
    rest = {
        key: value
        for key, value in record.items()
        if key not in ("type", "task", "attempt") and value not in (None, "")
    }
    if kind == "submitted":
        return f"{len(record['order'])} tasks"
    where = f"task {record['task']}: " if "task" in record else ""
    if "attempt" in record:
        where = f"task {record['task']}, attempt {record['attempt']}: "
    error = rest.pop("error", None)
    facts = ", ".join(f"{key} {_short(value)}" for key, value in rest.items())
    return f"{where}{kind}" + (f" ({facts})" if facts else "") + (f": {joined_lines(str(error))}" if error else "")


def _short(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.3f}"
    if isinstance(value, list) and len(value) > 20:
        return f"{', '.join(map(str, value[:20]))} and {len(value) - 20} more"
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)
