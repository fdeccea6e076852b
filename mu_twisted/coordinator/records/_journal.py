"""The journal is an append-only table of what happened to each job, at the grain of tasks; it outlives the process.

Knows nothing of what the records say. What is appended in one turn of the reactor is committed together; after a
``kill -9`` all that was committed is there. After a loss of power the last moments may be missing, whole commits only.

Where it cannot be written, jobs go on all the same: records wait in memory, in their order, and what they say is
carried out. After a kill in that state the jobs go on from the last commit, and what was not in it is done again.

One that is damaged is left as it is. How far it had come is noted beside it (``_journal_count``), so that records which
were lost without a trace are missed.
"""

import secrets
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import msgspec
from twisted.internet.base import DelayedCall
from twisted.logger import Logger

from mu_twisted.base import MuError
from mu_twisted.base.json_types import JsonObject
from mu_twisted.base.steps import Steps, uncollected
from mu_twisted.storage import (
    JOB_NAMES,
    LAST_NUMBER,
    LAST_RECORD,
    SCHEMA,
    CountFile,
    boot_id,
    come_to,
    count_path,
    opened,
    read_count,
)
from mu_twisted.transport import ReactorTime

_MAKE = """
CREATE TABLE IF NOT EXISTS events (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    job TEXT NOT NULL,
    record TEXT NOT NULL
);
CREATE INDEX IF NOT EXISTS events_of_a_job ON events (job, number);
CREATE TABLE IF NOT EXISTS journal (identity TEXT NOT NULL);
"""
_CHECKPOINT = 1000
"""Pages of 4 KiB in the write-ahead log after which SQLite moves them into the database."""
SETTLE = 1.0
"""Seconds after which what was to be settled is, at most once in as many."""
RETRY = 1.0
"""Seconds until a commit that failed is tried again."""
PROBE = 1000
"""Records of the first commit after one that failed: if the disk is still full, a long backlog costs no more."""
PAGE = 1000
"""Records that are read, or deleted, at once."""
FOLLOWED = 100
"""The same, of all jobs, by one who follows what is appended."""
LARGE = 256 << 10
"""Characters of a record that is decoded without the garbage collector."""
_PAGES = 100
"""Pages of 4 KiB that are given back at once."""
_FEW_PAGES = 16 << 10
"""A file with no more pages in use is written anew at the start, if it was made before pages could be given back."""


class JournalError(MuError):
    """The journal cannot be read or written."""


class Journal:
    """Opened at once.

    :param path: the database's file; made if need be, for its owner only.
    :param clock: commits at the end of each turn.
    :param failed: is called with one line when commits begin to fail. Records wait in memory then and are tried again
        every second; until they are on disk :attr:`fault` says why they are not.
    :raises JournalError: it cannot be made, is damaged, lacks records that it had, or was made by a newer program. It
        is as it was then.
    """

    _log = Logger()

    def __init__(self, path: Path, clock: ReactorTime, failed: Callable[[str], None]) -> None:
        self.fault: str | None = None
        self._path = path
        self._clock = clock
        self._failed = failed
        self._waiting: list[tuple[str, str]] = []
        self._waiting_since = 0.0
        self._commit: DelayedCall | None = None
        self._retry: DelayedCall | None = None
        self._settling: DelayedCall | None = None
        self._encoder = msgspec.json.Encoder()
        try:
            self._inspect()
            path.touch(mode=0o600)
            self._database = sqlite3.connect(path, isolation_level=None)
            self._count = self._prepare()
            self._checkpoint()  # so that its identity is not in the log alone
        except (OSError, sqlite3.OperationalError) as error:
            raise JournalError(
                f"the journal {path} cannot be used: {getattr(error, 'strerror', None) or error}; "
                "see whether the disk is full or fails, or choose another --state-dir"
            ) from None
        except sqlite3.Error as error:
            raise JournalError(
                f"the journal {path} cannot be used: {error}; "
                f"bring back a copy, or move it away{self._with_log()} to begin with an empty one"
            ) from None

    def append(self, job: str, record: JsonObject) -> None:
        """Note one record; it is on disk after this turn of the reactor, or after :meth:`flush`.

        :param record: what JSON can hold.
        :raises JournalError: it cannot: it holds text that is no Unicode.
        """
        try:
            text = self._encoder.encode(record).decode()
        except UnicodeEncodeError as error:
            raise JournalError(f"{error.object[:80]!r} cannot be kept: it is not UTF-8") from None
        if not self._waiting:
            self._waiting_since = self._clock.seconds()
        self._waiting.append((job, text))
        if self._commit is None and self._retry is None:
            self._commit = self._clock.callLater(0, self.flush)

    def flush(self) -> None:
        """Commit what was appended. After a commit that failed only time tries again; :attr:`fault` says so."""
        if self._commit is not None:
            if self._commit.active():
                self._commit.cancel()
            self._commit = None
        if self._retry is None:
            self._write()

    @property
    def waiting(self) -> int:
        """Records that are not on disk yet."""
        return len(self._waiting)

    @property
    def lag(self) -> float:
        """Seconds since the first of those was appended, or since the last commit, where that was in between."""
        return self._clock.seconds() - self._waiting_since if self._waiting else 0.0

    def withdraw(self, job: str) -> None:
        """Forget what of a job is not on disk yet."""
        self._waiting = [(name, record) for name, record in self._waiting if name != job]

    def jobs(self) -> list[str]:
        """The names of all jobs on record, the oldest first."""
        rows = self._read(JOB_NAMES)
        return [job for (job,) in rows]

    def __contains__(self, job: str) -> bool:
        return bool(self._read("SELECT 1 FROM events WHERE job = ? LIMIT 1", job))

    def records(self, job: str, *containing: str) -> Iterator[JsonObject]:
        """The records of a job, in the order in which they were appended; read as they are asked for. Those that cannot
        be written now are among them.

        :param containing: leave out those whose JSON has none of these texts in it; none given: leave out none.
        :raises JournalError: one is damaged.
        """
        self.flush()
        last = -1
        query = _selecting(containing)
        while True:
            page = self._read(f"{query} ORDER BY number LIMIT {PAGE}", job, last, *containing)
            is_last = len(page) < PAGE
            if is_last:
                # Looked at now: by the time that the page has been read, they may be on disk.
                waiting = [text for name, text in self._waiting if name == job]
                page += [(0, text) for text in waiting if not containing or any(one in text for one in containing)]
            for number, record in page:
                yield self._decoded(job, record)
                last = number
            if is_last:
                return

    def page(self, job: str, after: int, *containing: str) -> tuple[list[tuple[int, JsonObject]], int, bool]:
        """Some records of a job that are on disk, in the order in which they were appended.

        :param after: the number that the page before has given; 0: from the first on.
        :param containing: as :meth:`records` has it.
        :returns: the records with their numbers, the number of the page, and whether there are more now.
        :raises JournalError: one is damaged.
        """
        end = self.end(job)
        rows = self._read(f"{_selecting(containing)} ORDER BY number LIMIT {PAGE}", job, after, *containing)
        is_full = len(rows) == PAGE
        reached = rows[-1][0] if is_full else max(after, end)
        return [(number, self._decoded(job, record)) for number, record in rows], reached, is_full

    def following(self, after: int) -> list[tuple[int, str, JsonObject | None]]:
        """Some records of all jobs that are on disk, in the order in which they were appended.

        :param after: the number of the last one that the caller has; 0: from the first on.
        :returns: each with its number and its job; None in place of one that is damaged. Empty: there are no more now.
        :raises JournalError: they cannot be read.
        """
        query = "SELECT number, job, record FROM events WHERE number > ? ORDER BY number LIMIT ?"
        found: list[tuple[int, str, JsonObject | None]] = []
        for number, job, record in self._read(query, after, FOLLOWED):
            try:
                found.append((number, job, self._decoded(job, record)))
            except JournalError:
                found.append((number, job, None))
        return found

    @property
    def last_number(self) -> int:
        """The number of the last record that there ever was, of any job; all are on disk then, if they can be."""
        self.flush()
        ((last,),) = self._read(LAST_NUMBER)
        return int(last)

    def end(self, job: str) -> int:
        """The number of the last record of a job, 0 if it has none; all are on disk then, if they can be written."""
        self.flush()
        ((end,),) = self._read("SELECT COALESCE(MAX(number), 0) FROM events WHERE job = ?", job)
        return int(end)

    def last(self, job: str) -> JsonObject:
        """The last record of a job.

        :raises JournalError: it is damaged.
        """
        _, record = self.last_text(job)
        return self._decoded(job, record)

    def last_text(self, job: str) -> tuple[int, str]:
        """The last record of a job, as :meth:`end` counts, and as it is kept."""
        self.flush()
        ((number, record),) = self._read(LAST_RECORD, job)
        return number, record

    def removing(self, job: str) -> Steps[None]:
        """Delete all records of a job, the last at the end: where this is interrupted, it can be done again. What the
        file had for them is given back to the file system.

        :raises JournalError: they cannot be deleted.
        """
        self.flush()
        delete = "DELETE FROM events WHERE number IN (SELECT number FROM events WHERE job = ? ORDER BY number LIMIT ?)"
        left = 1
        while left:
            if not self._change(lambda: self._database.execute(delete, (job, PAGE))):
                raise JournalError(self.fault or "")
            ((left,),) = self._read("SELECT EXISTS (SELECT 1 FROM events WHERE job = ?)", job)
            yield
        self.withdraw(job)
        self.flush()
        yield from self._giving_back()

    def settle(self) -> None:
        """Have what was appended moved from the write-ahead log to the database, and to the disk, within a second."""
        if self._settling is None:
            self._settling = self._clock.callLater(SETTLE, self._settle)

    def close(self) -> None:
        """Commit and give the file back."""
        if self._settling is not None:
            self._settling.cancel()
            self._settling = None
        if self._retry is not None:
            self._retry.cancel()
            self._retry = None
        self.flush()
        if self._retry is not None:
            self._retry.cancel()
            self._retry = None
        self._checkpoint()
        self._database.close()
        if self.fault is None:
            self._count.journal_closed(self._path)
        self._count.close()

    # -- inside ----------------------------------------------------------------------------------------------------

    def _inspect(self) -> None:
        """Look for damage without a change: a connection that opens a database to write in it cuts a damaged log off.

        :raises sqlite3.DatabaseError: it is damaged.
        :raises JournalError: records are missing, or it was made by a newer program.
        """
        path, log = self._path, self._path.with_name(f"{self._path.name}-wal")
        has_log = log.exists() and log.stat().st_size > 0
        if not path.exists() or path.stat().st_size == 0:
            if has_log:
                raise JournalError(
                    f"the journal {path} is not there, but its write-ahead log {log.name} is: bring the journal back, "
                    "or move that away too to begin with an empty one"
                )
            if path.exists() and self._counted() > 0:
                raise JournalError(self._lacking(0))
            if self._counted() > 0:
                self._log.warn("the journal {path} is not there any more: an empty one is begun", path=str(path))
            return
        if has_log:
            self._match_log(log)
        with closing(opened(path, "mode=ro" if has_log else "immutable=1")) as database:
            (schema,) = database.execute("PRAGMA user_version").fetchone()
            if schema > SCHEMA:
                raise JournalError(f"the journal {path} was made by a newer mu: use that, or another --state-dir")
            ((verdict,), *_) = database.execute("PRAGMA quick_check(1)").fetchall()
            if verdict != "ok":
                raise sqlite3.DatabaseError(f"it is damaged: {' '.join(str(verdict).split())}")
            last, identity = come_to(database)
        count = read_count(self._count_path)
        if count is None:
            return
        if identity is not None and identity != count.identity:
            return  # another one was put in its place, which no damage does
        if identity is None and last > 0:
            return  # so was one of version 0.1.0, which has none
        if last < count.due(boot_id()):
            raise JournalError(self._lacking(last))
        if last < count.last:
            self._log.warn(
                "the machine went down before the last {missing} records of the journal {path} were on its disk: "
                "what they recorded is done again",
                missing=count.last - last,
                path=str(path),
            )

    def _match_log(self, log: Path) -> None:
        """A log that belongs to another journal would be written over this one.

        :raises JournalError: it may.
        """
        count = read_count(self._count_path)
        if count is None:
            return
        try:
            with closing(opened(self._path, "immutable=1")) as database:  # as if there was no log
                _, identity = come_to(database)
        except sqlite3.Error:
            return  # logged in what follows
        if identity is not None and identity != count.identity:
            raise JournalError(
                f"the journal {self._path} is not the one that was used here last, and its write-ahead log {log.name} "
                f"may be that one's: move that away, or, if it was brought with this journal, {self._count_path.name}"
            )

    @property
    def _count_path(self) -> Path:
        return count_path(self._path)

    def _counted(self) -> int:
        count = read_count(self._count_path)
        return count.due(boot_id()) if count is not None else 0

    def _lacking(self, last: int) -> str:
        return (
            f"the journal {self._path} lacks {self._counted() - last} of the {self._counted()} records that it had, "
            f"so it or its write-ahead log is damaged: bring back a copy, move it away{self._with_log()} to begin with "
            f"an empty one, or remove {self._count_path.name} to go on with what it still holds"
        )

    def _with_log(self) -> str:
        names = [name for end in ("-wal", "-shm") if self._path.with_name(name := f"{self._path.name}{end}").exists()]
        return f" (with {' and '.join(names)})" if names else ""

    def _prepare(self) -> CountFile:
        database = self._database
        database.execute("PRAGMA auto_vacuum = INCREMENTAL")  # of a new file; before anything is written to it
        database.execute("PRAGMA journal_mode = WAL")
        database.execute(f"PRAGMA journal_size_limit = {_CHECKPOINT * 4096}")
        database.execute("PRAGMA synchronous = NORMAL")
        database.execute(f"PRAGMA wal_autocheckpoint = {_CHECKPOINT}")
        database.executescript(_MAKE)
        self._let_shrink()
        database.execute(f"PRAGMA user_version = {SCHEMA}")
        last, identity = come_to(database)
        if identity is None:
            identity = secrets.token_hex(16)
            database.execute("INSERT INTO journal (identity) VALUES (?)", (identity,))
        return CountFile(self._count_path, identity, last)

    def _settle(self) -> None:
        self._settling = None
        self.flush()
        if self._waiting:
            self.settle()
        else:
            self._checkpoint()

    def _checkpoint(self) -> None:
        try:
            ((busy, pages, moved),) = self._database.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()
        except sqlite3.Error as error:
            self._log.warn("the journal {path} was not settled: {error}", path=str(self._path), error=str(error))
            return
        if not busy and pages == moved:
            self._count.synced()

    def _pragma(self, name: str) -> int:
        value: int = self._database.execute(f"PRAGMA {name}").fetchone()[0]
        return value

    def _let_shrink(self) -> None:
        """Have pages given back of a file that was made before they were, unless that takes long."""
        if (
            self._pragma("auto_vacuum") == 0
            and self._pragma("page_count") - self._pragma("freelist_count") < _FEW_PAGES
        ):
            with suppress(sqlite3.OperationalError):  # the disk is full: another time
                self._database.execute("PRAGMA auto_vacuum = INCREMENTAL")
                self._database.execute("VACUUM")

    def _giving_back(self) -> Steps[None]:
        """Make the file as small as its content."""
        with suppress(sqlite3.Error):  # what is not given back now is used again, or given back next time
            free = self._pragma("freelist_count")
            while free:
                self._database.execute(f"PRAGMA incremental_vacuum({_PAGES})").fetchall()
                yield
                before, free = free, self._pragma("freelist_count")
                if free >= before:
                    break
            self._database.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()

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
                self._database.execute(f"PRAGMA user_version = {SCHEMA}")

        if not self._change(insert):
            return False
        self._waiting = self._waiting[len(rows) :]
        self._waiting_since = self._clock.seconds()
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
        with suppress(sqlite3.Error):  # a count that stays behind is safe; the commit is done
            self._count.committed(self._database.execute(LAST_NUMBER).fetchone()[0])
        self.fault = None
        if self._retry is not None:
            self._retry.cancel()
            self._retry = None
        return True

    def _decoded(self, job: str, record: str) -> JsonObject:
        try:
            with uncollected(len(record) > LARGE):
                return msgspec.json.decode(record, type=JsonObject)
        except msgspec.MsgspecError as error:
            raise JournalError(f"the journal {self._path} is damaged in job {job}: {error}") from None

    def _read(self, query: str, *values: str | int) -> list[Any]:
        try:
            return self._database.execute(query, values).fetchall()
        except sqlite3.Error as error:
            raise JournalError(
                f"the journal {self._path} cannot be read: {error}; "
                "stop the coordinator, and bring back a copy, or move it away to begin with an empty one"
            ) from None


def _selecting(containing: Sequence[str]) -> str:
    """The query for records of a job behind a number; see :meth:`Journal.records`."""
    query = "SELECT number, record FROM events WHERE job = ? AND number > ?"
    if not containing:
        return query
    return f"{query} AND ({' OR '.join(['instr(record, ?)'] * len(containing))})"
