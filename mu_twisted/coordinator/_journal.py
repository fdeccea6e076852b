"""The journal: an append-only table of what happened to each job, at the grain of tasks, that outlives the process.

Knows nothing of what the records say. What is appended in one turn of the reactor is committed together; after a
``kill -9`` all that was committed is there. After a loss of power the last moments may be missing, whole commits only.

Where it cannot be written, jobs go on all the same: records wait in memory, in their order, and what they tell is
carried out. After a kill in that state the jobs go on from the last commit, and what was not in it is done again.
"""

import sqlite3
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec

from mu_twisted.transport import ReactorTime
from mu_twisted.wire import MuError

_SCHEMA = 1
_MAKE = """
CREATE TABLE IF NOT EXISTS events (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    job TEXT NOT NULL,
    record TEXT NOT NULL
);
CREATE INDEX IF NOT EXISTS events_of_a_job ON events (job, number);
"""
_CHECKPOINT = 1000
"""Pages of 4 KiB in the write-ahead log after which SQLite moves them into the database."""
RETRY = 1.0
"""Seconds until a commit that failed is tried again."""
PROBE = 1000
"""Records of the first commit after one that failed: if the disk is still full, a long backlog costs no more."""
PAGE = 1000
"""Records that are read at once."""


class JournalError(MuError):
    """The journal cannot be read or written."""


class Journal:
    """Opened at once.

    :param path: the database's file; made if need be, for its owner only.
    :param clock: commits at the end of each turn.
    :param failed: is called with one line when commits begin to fail. Records wait in memory then and are tried again
        every second; until they are on disk :attr:`fault` says why they are not.
    :raises JournalError: it cannot be made, is damaged, or was made by a newer program.
    """

    def __init__(self, path: Path, clock: ReactorTime, failed: Callable[[str], None]) -> None:
        self.fault: str | None = None
        self._path = path
        self._clock = clock
        self._failed = failed
        self._waiting: list[tuple[str, str]] = []
        self._commit: Any = None
        self._retry: Any = None
        self._encoder = msgspec.json.Encoder()
        try:
            path.touch(mode=0o600)
            self._database = sqlite3.connect(path, isolation_level=None)
            self._prepare()
        except (OSError, sqlite3.OperationalError) as error:
            raise JournalError(
                f"the journal {path} cannot be used: {getattr(error, 'strerror', None) or error}; "
                "see whether the disk is full or fails, or choose another --state-dir"
            ) from None
        except sqlite3.Error as error:
            raise JournalError(
                f"the journal {path} cannot be used: {error}; "
                "move it away to begin with an empty one, or choose another --state-dir"
            ) from None

    def append(self, job: str, record: dict[str, Any]) -> None:
        """Note one record; it is on disk after this turn of the reactor, or after :meth:`flush`.

        :param record: what JSON can hold.
        :raises JournalError: it cannot: it holds text that is no Unicode.
        """
        try:
            text = self._encoder.encode(record).decode()
        except UnicodeEncodeError as error:
            raise JournalError(f"{error.object[:80]!r} cannot be kept: it is not UTF-8") from None
        self._waiting.append((job, text))
        if self._commit is None and self._retry is None:
            self._commit = self._clock.callLater(0, self.flush)

    def flush(self) -> None:
        """Commit what was appended. After a commit that failed only time tries again; :attr:`fault` tells."""
        if self._commit is not None:
            if self._commit.active():
                self._commit.cancel()
            self._commit = None
        if self._retry is None:
            self._write()

    def withdraw(self, job: str) -> None:
        """Forget what of a job is not on disk yet."""
        self._waiting = [(name, record) for name, record in self._waiting if name != job]

    def jobs(self) -> list[str]:
        """The names of all jobs on record, the oldest first."""
        rows = self._read("SELECT job FROM events GROUP BY job ORDER BY MIN(number)")
        return [job for (job,) in rows]

    def __contains__(self, job: str) -> bool:
        return bool(self._read("SELECT 1 FROM events WHERE job = ? LIMIT 1", job))

    def records(self, job: str, containing: str = "") -> Iterator[dict[str, Any]]:
        """The records of a job, in the order in which they were appended; read as they are asked for. Those that cannot
        be written now are among them.

        :param containing: leave out those whose JSON does not have this text in it.
        :raises JournalError: one is damaged.
        """
        self.flush()
        last = -1
        query = "SELECT number, record FROM events WHERE job = ? AND number > ?"
        query += " AND instr(record, ?)" if containing else " AND ? = ''"
        while True:
            page = self._read(f"{query} ORDER BY number LIMIT {PAGE}", job, last, containing)
            is_last = len(page) < PAGE
            if is_last:
                # Looked at now: by the time that the page has been told, they may be on disk.
                page += [(0, text) for name, text in self._waiting if name == job and containing in text]
            for number, record in page:
                yield self._decoded(job, record)
                last = number
            if is_last:
                return

    def last(self, job: str) -> dict[str, Any]:
        """The last record of a job.

        :raises JournalError: it is damaged.
        """
        self.flush()
        ((record,),) = self._read("SELECT record FROM events WHERE job = ? ORDER BY number DESC LIMIT 1", job)
        return self._decoded(job, record)

    def remove(self, job: str) -> None:
        """Delete all records of a job.

        :raises JournalError: they cannot be deleted.
        """
        self.flush()
        if not self._change(lambda: self._database.execute("DELETE FROM events WHERE job = ?", (job,))):
            raise JournalError(self.fault or "")
        self.withdraw(job)
        self.flush()

    def close(self) -> None:
        """Commit and give the file back."""
        if self._retry is not None:
            self._retry.cancel()
            self._retry = None
        self.flush()
        if self._retry is not None:
            self._retry.cancel()
            self._retry = None
        self._database.close()

    # -- inside ----------------------------------------------------------------------------------------------------

    def _prepare(self) -> None:
        database = self._database
        database.execute("PRAGMA journal_mode = WAL")
        database.execute("PRAGMA synchronous = NORMAL")
        database.execute(f"PRAGMA wal_autocheckpoint = {_CHECKPOINT}")
        (schema,) = database.execute("PRAGMA user_version").fetchone()
        if schema > _SCHEMA:
            raise JournalError(f"the journal {self._path} was made by a newer mu: use that, or another --state-dir")
        ((verdict,), *_) = database.execute("PRAGMA quick_check(1)").fetchall()
        if verdict != "ok":
            raise sqlite3.DatabaseError(f"it is damaged: {' '.join(str(verdict).split())}")
        database.executescript(_MAKE)
        database.execute(f"PRAGMA user_version = {_SCHEMA}")

    def _write(self) -> None:
        if self.fault is not None and not self._insert(self._waiting[:PROBE]):
            return
        if self._waiting:
            self._insert(self._waiting)

    def _insert(self, rows: Sequence[tuple[str, str]]) -> bool:
        def insert() -> None:
            if rows:
                self._database.executemany("INSERT INTO events (job, record) VALUES (?, ?)", rows)
            else:  # something, to see whether it can be written
                self._database.execute(f"PRAGMA user_version = {_SCHEMA}")

        if not self._change(insert):
            return False
        self._waiting = self._waiting[len(rows) :]
        return True

    def _try_again(self) -> None:
        self._retry = None
        self._write()

    def _change(self, change: Callable[[], object]) -> bool:
        try:
            self._database.execute("BEGIN IMMEDIATE")
            try:
                change()
                self._database.execute("COMMIT")
            except BaseException:
                if self._database.in_transaction:
                    self._database.execute("ROLLBACK")
                raise
        except sqlite3.Error as error:
            if self._retry is None:
                self._retry = self._clock.callLater(RETRY, self._try_again)
            if self.fault is None:
                self.fault = f"the journal {self._path} cannot be written: {error}"
                self._failed(self.fault)
            return False
        self.fault = None
        if self._retry is not None:
            self._retry.cancel()
            self._retry = None
        return True

    def _decoded(self, job: str, record: str) -> dict[str, Any]:
        try:
            return msgspec.json.decode(record, type=dict[str, Any])
        except msgspec.MsgspecError as error:
            raise JournalError(f"the journal {self._path} is damaged in job {job}: {error}") from None

    def _read(self, query: str, *values: Any) -> list[Any]:
        try:
            return self._database.execute(query, values).fetchall()
        except sqlite3.Error as error:
            raise JournalError(f"the journal {self._path} cannot be read: {error}") from None
