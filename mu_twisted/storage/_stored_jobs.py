"""Jobs that do not run are told of here from their files alone: what is asked for is read, and nothing else.

These are jobs that are over, and those that a coordinator has left as they stood: stopped or killed, with a checkpoint
of their tasks and the records behind it (``_task_file``), or once all their records were read.

What is asked most is answered, in the values in which a coordinator would; for all else, and wherever something is not
as it should be, there is no answer, and the records are to be read as a whole. Nothing is changed.
"""

import sqlite3
from collections.abc import Callable, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from mu_twisted.base.steps import exhaust
from mu_twisted.statuses import (
    FIRST,
    MAX_PAGE,
    JobStatus,
    OutputPage,
    OutputQuery,
    ServiceError,
    SettledPage,
    TaskPage,
    parse_cursor,
)
from mu_twisted.storage._journal_check import how_to_read, stamp_of
from mu_twisted.storage._journal_rows import JOB_NAMES, LAST_RECORD, RECORD, RECORDS_BEHIND, opened
from mu_twisted.storage._output_page import reading_page, reading_results
from mu_twisted.storage._task_changes import TaskChanges, UnfoldedRecord
from mu_twisted.storage._task_file import Checkpoint, TaskFile, TaskFileError, checksum
from mu_twisted.storage._task_pages import as_settled, no_label, page_of, settled_last, settled_page, with_results

T = TypeVar("T")
_Parameters = dict[str, Any]


class _NotHere(Exception):
    """The answer takes more than these files."""


class StoredJobs:
    """The jobs of a state directory to which no process writes.

    :param state_dir: is held by the caller in each call. What one has found serves the next, if no process has written
        to it meanwhile.
    """

    def __init__(self, state_dir: Path) -> None:
        self._journal = state_dir / "journal.db"
        self._directory = state_dir / "jobs"
        self._stamp: tuple[object, ...] = ()
        self._how: str | None = None
        """How the journal is opened; None: it is not."""
        self._changes: dict[tuple[str, int], TaskChanges] = {}
        self._answers: dict[tuple[str, ...], Callable[[str, _Parameters], object]] = {
            (): self._job,
            ("wait",): self._job,
            ("tasks",): self._tasks,
            ("settled",): self._settled,
            ("output",): self._output,
        }

    def answer(self, path: tuple[str, ...], query: Mapping[str, object]) -> bytes | None:
        """What the control API answers to a GET, as JSON; None: that takes all records.

        :param path: its segments, without the version; ``query`` its parameters.
        """
        ask = self._answers.get(path[2:]) if len(path) > 1 else self._jobs
        if path[:1] != ("jobs",) or ask is None:
            return None
        stamp = stamp_of(self._journal)
        if stamp != self._stamp:
            self._stamp, self._how = stamp, how_to_read(self._journal)
            self._changes.clear()
        if self._how is None:
            return None
        left = dict(query)
        try:
            found = ask(path[1] if len(path) > 1 else "", left)
            return None if left else msgspec.json.encode(found) + b"\n"
        except (_NotHere, TaskFileError, UnfoldedRecord, ServiceError):
            return None
        except (sqlite3.Error, msgspec.MsgspecError, UnicodeError, ValueError, TypeError):  # a row may hold no text
            return None

    def _jobs(self, _: str, query: _Parameters) -> object:
        if query:
            raise _NotHere
        with closing(self._opened()) as database:
            names = [name for (name,) in database.execute(JOB_NAMES)]
            found = [self._standing(database, name)[0] for name in names]
        found.sort(key=lambda status: status.submitted)
        return {"jobs": found}

    def _job(self, name: str, query: _Parameters) -> JobStatus:
        query.pop("timeout", None)
        return self._found(name)[0]

    def _tasks(self, name: str, query: _Parameters) -> TaskPage:
        cursor, limit = _number(query, "cursor", 0), _number(query, "limit", MAX_PAGE)
        state = query.pop("state", None)
        if not 0 < limit <= MAX_PAGE or state not in (None, "done", "failed", "waiting", "blocked"):
            raise _NotHere
        with self._task_file(name) as file:
            return exhaust(page_of(file.tasks_from(cursor, state), limit, None, no_label))

    def _settled(self, name: str, query: _Parameters) -> SettledPage:
        query.pop("timeout", None)
        after, results = _number(query, "after", 0), _number(query, "results", 0)
        status, _ = self._found(name)
        with self._task_file(name) as file:
            slots = (
                None if number is None else as_settled(file.task(number), has_result=number in file.again)
                for number in settled_last(file.settled, after, now=status.done + status.failed)
            )
            count = len(file.settled)
            page, places = exhaust(settled_page(slots, after, lambda: count, no_label, over=True))
        if not results:
            return page
        done = [task.task for task in page.tasks if task.state == "done"]
        return with_results(page, places, exhaust(reading_results(self._output_file(name), done)))

    def _output(self, name: str, query: _Parameters) -> OutputPage:
        wanted = OutputQuery(
            FIRST if (after := query.pop("after", None)) is None else parse_cursor(str(after)),
            _number(query, "task", None),
            None if (called := query.pop("called", None)) is None else str(called),
            _which(query),
            bool(_number(query, "failed", 0)),
        )
        with self._task_file(name) as file:
            if wanted.called is not None:
                named = file.with_label(wanted.called)
                if len(named) != 1:  # others may be called so as well, or all by another part of their names
                    raise _NotHere
                wanted = msgspec.structs.replace(wanted, task=named[0].task)
            page = exhaust(reading_page(self._output_file(name), wanted))
            if wanted.task is not None and not page.runs:
                raise _NotHere
            labels = {one.task: file.task(one.task).label for one in page.runs}
        runs = [msgspec.structs.replace(one, label=labels[one.task]) for one in page.runs]
        return msgspec.structs.replace(page, runs=runs, task=wanted.task)

    # -- inside ----------------------------------------------------------------------------------------------------

    def _opened(self) -> sqlite3.Connection:
        return opened(self._journal, self._how or "")

    def _found(self, name: str) -> tuple[JobStatus, int]:
        with closing(self._opened()) as database:
            return self._standing(database, name)

    def _standing(self, database: sqlite3.Connection, name: str) -> tuple[JobStatus, int]:
        """How a job stands, and the number of its last record."""
        for number, record in database.execute(LAST_RECORD, (name,)):
            row = msgspec.json.decode(record, type=dict[str, Any])
            if "fact" in row:
                return msgspec.convert(row["fact"], JobStatus), number
            with self._task_file_of(name, number) as file:
                if file.held is not None:
                    return file.held, number
        raise _NotHere

    def _task_file_of(self, name: str, end: int) -> TaskFile:
        def changes(after: int, checkpoint: Checkpoint) -> TaskChanges:
            if (name, after) not in self._changes:
                with closing(self._opened()) as database:
                    last = database.execute(RECORD, (name, checkpoint.last)).fetchone()
                    if last is None or checksum(last[0]) != checkpoint.checksum:
                        raise TaskFileError("it is of another journal")
                    rows = (record for (record,) in database.execute(RECORDS_BEHIND, (name, after)))
                    self._changes[name, after] = TaskChanges(rows, checkpoint.room)
            return self._changes[name, after]

        return TaskFile(self._directory / name / "tasks.jsonl", end, changes)

    def _task_file(self, name: str) -> TaskFile:
        _, end = self._found(name)  # before its name is part of a path
        file = self._task_file_of(name, end)
        if not file.labelled:
            file.close()
            raise _NotHere
        return file

    def _output_file(self, name: str) -> Path:
        return self._directory / name / "output.db"


def _number(query: _Parameters, key: str, default: T) -> int | T:
    """A number of a query, which takes no part in it from now on."""
    text = str(query.pop(key, ""))
    if text and not (text.isascii() and text.isdigit() and len(text) < 19):
        raise _NotHere
    return int(text) if text else default


def _which(query: _Parameters) -> Any:
    text = str(query.pop("which", "last"))
    return text if text in ("last", "all") else _number({"": text}, "", None)
