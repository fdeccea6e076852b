"""A page of what is kept of a job's output is read here from the database that the output store has written.

Knows neither the store nor the job: the database is read where a job runs, where it is over, and without a coordinator.
"""

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path

from mu_twisted.base.steps import Steps
from mu_twisted.statuses import Cursor, OutputPage, OutputQuery, RunOutput, ServiceError, Which

MAX_PAGE_BYTES = 1 << 20
MAX_PAGE_RUNS = 1000
"""Of one page: it ends behind the run that exceeds either."""
_RUNS = (
    "SELECT run, status, failed, size, output FROM runs WHERE task = ? AND attempt = ? AND run > ? ORDER BY run LIMIT "
    f"{MAX_PAGE_RUNS + 1}"
)


def reading_page(path: Path, query: OutputQuery) -> Steps[OutputPage]:
    """Some of what is kept of a job; everything that was taken is on disk.

    :param path: of the database; that of a job of which nothing was kept is not there.
    :param query: whose task is known by number.
    :raises ServiceError: it cannot be read.
    """
    after = query.after
    if not path.exists():
        return OutputPage(())
    found: list[RunOutput] = []
    size = 0
    try:
        with closing(sqlite3.connect(path, isolation_level=None)) as database:
            for number in _tasks(database, after.task, query.task, failed=query.failed):
                for attempt in _attempts(database, number, query.which, failed=query.failed):
                    if number == after.task and attempt < after.attempt:
                        continue
                    behind = after.run if (number, attempt) == (after.task, after.attempt) else -1
                    for row in database.execute(_RUNS, (number, attempt, behind)):
                        if len(found) >= MAX_PAGE_RUNS or size >= MAX_PAGE_BYTES:
                            last = found[-1]
                            return OutputPage(found, str(Cursor(last.task, last.attempt, last.run)))
                        run, status, has_failed, sent, output = row
                        found.append(RunOutput(number, attempt, run, status, bool(has_failed), sent, output))
                        size += len(output or b"")
                yield
    except sqlite3.Error as error:
        raise ServiceError(f"what is kept of its output, in {path}, cannot be read: {error}") from None
    return OutputPage(found)


def reading_results(path: Path, tasks: Sequence[int]) -> Steps[dict[int, bytes | None]]:
    """For each of these tasks what the last run of its last good attempt has printed, as far as it is kept.

    :param path: as for :func:`reading_page`.
    :raises ServiceError: it cannot be read.
    """
    found: dict[int, bytes | None] = {}
    if not tasks or not path.exists():
        return found
    query = "SELECT output FROM runs WHERE task = ? AND NOT failed ORDER BY attempt DESC, run DESC LIMIT 1"
    try:
        with closing(sqlite3.connect(path, isolation_level=None)) as database:
            for number in tasks:
                for (output,) in database.execute(query, (number,)):
                    found[number] = output
                yield
    except sqlite3.Error as error:
        raise ServiceError(f"what is kept of its output, in {path}, cannot be read: {error}") from None
    return found


def _tasks(database: sqlite3.Connection, first: int, only: int | None, *, failed: bool) -> Iterator[int]:
    """The numbers of tasks of which there is something, from one on."""
    if only is not None:
        if only >= first:
            yield only
        return
    query = f"SELECT MIN(task) FROM runs WHERE task >= ?{' AND failed' if failed else ''}"
    while True:
        ((found,),) = database.execute(query, (first,)).fetchall()
        if found is None:
            return
        yield found
        first = found + 1


def _attempts(database: sqlite3.Connection, task: int, which: Which, *, failed: bool) -> list[int]:
    """The numbers of the attempts of a task that are meant."""
    query = "SELECT attempt, MAX(failed) FROM runs WHERE task = ? GROUP BY attempt ORDER BY attempt"
    attempts = database.execute(query, (task,)).fetchall()
    good = [attempt for attempt, has_failed in attempts if not has_failed]
    if failed and good:
        return []
    if which == "all":
        return [attempt for attempt, _ in attempts]
    if which == "last":
        return (good or [attempt for attempt, _ in attempts])[-1:]
    return [attempt for attempt, _ in attempts if attempt == which]
