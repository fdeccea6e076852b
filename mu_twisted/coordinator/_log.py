"""What happened to a job, as text: one line an event, whatever users and workers have put into it."""

import time
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from typing import Any

from twisted.internet.task import deferLater

from mu_twisted.coordinator._attempts import AttemptFile
from mu_twisted.coordinator._cleaning import joined, on_one_line
from mu_twisted.coordinator._history import Row
from mu_twisted.coordinator._journal import PAGE, Journal
from mu_twisted.transport import ReactorTime

MAX_LINES = 100_000
"""Of a log; the oldest are left out when there are more."""


async def job_log(clock: ReactorTime, journal: Journal, attempts: AttemptFile, job: str, task: int | None) -> str:
    """A job's log, or one task's with the states of its attempts; read in pieces, between which others have their turn.

    :param task: its number; None: the whole job.
    :returns: empty if there is no such task, or it never began.
    :raises JournalError: a record is damaged.
    """
    lines: deque[str] = deque(maxlen=MAX_LINES)
    count = 0
    records = journal.records(job, "" if task is None else f'"task":{task}')
    while rows := list(islice(records, PAGE)):
        for line in log_lines(rows, task):
            lines.append(line)
            count += 1
        await deferLater(clock, 0)  # type: ignore[arg-type]
    if task is not None:
        ends = attempts.read(task)
        while some := list(islice(ends, PAGE)):
            for attempt in filter(None, some):
                for line in state_lines(attempt):
                    lines.append(line)
                    count += 1
            await deferLater(clock, 0)  # type: ignore[arg-type]
    if count > MAX_LINES:
        lines[0] = f"({count - MAX_LINES + 1} earlier lines are left out; --task shows those of one task)"
    return "".join(f"{line}\n" for line in lines)


def log_lines(rows: Iterable[Row], task: int | None) -> Iterator[str]:
    """One line an event.

    :param task: leave out what is not about this one; None: all.
    """
    for row in rows:
        try:
            record = row.get("record")
            if task is None or (record is not None and record.get("task") == task):
                text = _text(record) if record is not None else _request_text(row["request"])
                yield f"{stamp(row['at'])} {on_one_line(text)}"
        except (LookupError, TypeError, ValueError, AttributeError, OverflowError):
            if task is None:
                yield f"a damaged record: {on_one_line(str(row)[:200])}"


def state_lines(attempt: Mapping[str, Any]) -> Iterator[str]:
    """The states of one attempt, as :class:`~mu_twisted.coordinator._attempts.Attempts` writes them."""
    yield f"attempt {attempt['attempt']}: {attempt['outcome']}"
    states = attempt["states"]
    if "dropped" in attempt:
        yield f"  ({attempt['dropped']} earlier states were not kept)"
    for at, text in states:
        yield f"  {at - states[0][0]:10.3f} s  {on_one_line(text)}"


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
    return f"{where}{kind}" + (f" ({facts})" if facts else "") + (f": {joined(str(error))}" if error else "")


def _short(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.3f}"
    if isinstance(value, list) and len(value) > 20:
        return f"{', '.join(map(str, value[:20]))} and {len(value) - 20} more"
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)
