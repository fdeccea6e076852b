"""The journal: an append-only table of what happened to each job, at the grain of tasks, that outlives the process.

Knows nothing of what the records say. What is appended in one turn of the reactor is committed together; after a
``kill -9`` all that was committed is there. After a loss of power the last moments may be missing, whole commits only.
"""

import sqlite3
from collections.abc import Callable, Iterator
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
        """
        self._waiting.append((job, self._encoder.encode(record).decode()))
        if self._commit is None:
            self._commit = self._clock.callLater(0, self.flush)

    def flush(self) -> None:
        """Commit what was appended."""
        if self._commit is not None:
            if self._commit.active():
                self._commit.cancel()
            self._commit = None
        waiting = self._waiting
        if not waiting:
            return
        if self._change(lambda: self._database.executemany("INSERT INTO events (job, record) VALUES (?, ?)", waiting)):
            self._waiting = []
        else:
            self._commit = self._clock.callLater(RETRY, self.flush)

    def jobs(self) -> list[str]:
        """The names of all jobs on record, the oldest first."""
        rows = self._read("SELECT job FROM events GROUP BY job ORDER BY MIN(number)")
        return [job for (job,) in rows]

    def records(self, job: str) -> Iterator[dict[str, Any]]:
        """All records of a job, in the order in which they were appended.

        :raises JournalError: one is damaged.
        """
        self.flush()
        for (record,) in self._read("SELECT record FROM events WHERE job = ? ORDER BY number", job):
            yield self._decoded(job, record)

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
        self._waiting = [(name, record) for name, record in self._waiting if name != job]
        if not self._change(lambda: self._database.execute("DELETE FROM events WHERE job = ?", (job,))):
            raise JournalError(self.fault or "")

    def close(self) -> None:
        """Commit and give the file back."""
        self.flush()
        if self._commit is not None:
            self._commit.cancel()
            self._commit = None
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
            if self.fault is None:
                self.fault = f"the journal {self._path} cannot be written: {error}"
                self._failed(self.fault)
            return False
        self.fault = None
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
