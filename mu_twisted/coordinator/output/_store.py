"""The output store keeps what the programs of one job's tasks have printed, in a database of its own within a budget.

Knows tasks, attempts and bytes, neither workers nor what a job decides. What is taken is written together, a tenth of a
second later, so that a reply costs no commit; after a ``kill -9`` the last moments may be missing. Where the budget is
reached the oldest go, those of runs that ended well before all others; that there was something is still known.
"""

import sqlite3
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from twisted.internet.base import DelayedCall
from twisted.logger import Logger

from mu_twisted.fsm import FSMError, parse_run
from mu_twisted.transport import ReactorTime

MAX_OUTPUT = 64 << 10
"""Bytes that are kept of one run, the last ones; a worker sends no more."""
MAX_SUCCESS = 4 << 10
"""The same of a run that ended well, in a job with more than :data:`FEW_TASKS` tasks."""
FEW_TASKS = 100
BUDGET = 256 << 20
"""Bytes that are kept of one job."""
ROW = 100
"""Bytes that each run takes of the budget beside its output."""
DELAY = 0.1
"""Seconds until what was taken is written."""
MAX_WAITING = 1 << 20
"""Bytes that wait for that at most."""
_TOGETHER = 64
"""Runs whose outputs are looked at together, where there is no room."""
_KEPT = "size > 0 AND output IS NOT NULL"
_FAILURE = "(failed OR status <> 0)"
_SCHEMA = f"""
CREATE TABLE IF NOT EXISTS runs (
    number INTEGER PRIMARY KEY,
    task INTEGER NOT NULL,
    attempt INTEGER NOT NULL,
    run INTEGER NOT NULL,
    status INTEGER NOT NULL,
    failed INTEGER NOT NULL,
    size INTEGER NOT NULL,
    output BLOB
);
CREATE UNIQUE INDEX IF NOT EXISTS by_task ON runs (task, attempt, run);
CREATE INDEX IF NOT EXISTS by_failure ON runs (task) WHERE failed;
CREATE INDEX IF NOT EXISTS by_age ON runs ({_FAILURE}, number) WHERE {_KEPT};
CREATE TABLE IF NOT EXISTS total (bytes INTEGER NOT NULL);
"""


class _StoredRun(NamedTuple):
    """A row of one run, but for its key.

    :param size: bytes that it has printed; ``output`` are the last of them.
    """

    status: int
    failed: bool
    size: int
    output: bytes


class OutputStore:
    """What is kept of one job. Opened with the first output.

    :param path: of the database; its directory is made if need be.
    :param clock: for the delay of writing.
    :param tasks: of the job.
    :param budget: bytes that are kept of it.
    """

    _log = Logger()

    def __init__(self, path: Path, clock: ReactorTime, *, tasks: int, budget: int = BUDGET) -> None:
        self._path = path
        self._clock = clock
        self._of_success = MAX_OUTPUT if tasks <= FEW_TASKS else MAX_SUCCESS
        self._budget = budget
        self._database: sqlite3.Connection | None = None
        self._waiting: dict[tuple[int, int, int], _StoredRun] = {}
        self._late: set[tuple[int, int]] = set()
        self._held = 0
        self._kept = 0
        self._writing: DelayedCall | None = None
        self._closed = self._failing = False

    def attempt(self, task: int, attempt: int) -> "AttemptOutput":
        """Where the outputs of one attempt go."""
        return AttemptOutput(self, task, attempt)

    def add(self, task: int, attempt: int, run: int, status: int, output: bytes, *, failed: bool) -> None:
        """Keep what a run has printed. Does nothing once this is closed.

        :param status: its exit status.
        :param failed: whether the attempt has failed already.
        """
        if self._closed:
            return
        kept = output[-(self._of_success if status == 0 and not failed else MAX_OUTPUT) :]
        self._waiting[task, attempt, run] = _StoredRun(status, failed, len(output), kept)
        self._held += len(kept) + ROW
        self._write_later()

    def attempt_failed(self, task: int, attempt: int, runs: int) -> None:
        """All that this attempt has printed is of a failure.

        :param runs: that it has had.
        """
        if self._closed or not runs:
            return
        for run in range(runs):
            waiting = self._waiting.get((task, attempt, run))
            if waiting is not None:
                self._waiting[task, attempt, run] = waiting._replace(failed=True)
            else:
                self._late.add((task, attempt))
        self._write_later()

    def flush(self) -> None:
        """Write what was taken. Where that cannot be done it is lost, as is logged once."""
        if self._writing is not None:
            if self._writing.active():
                self._writing.cancel()
            self._writing = None
        waiting, self._waiting = self._waiting, {}
        late, self._late = self._late, set()
        self._held = 0
        if not waiting and not late:
            return
        try:
            self._write(self._open(), waiting, late)
        except (OSError, sqlite3.Error) as error:
            if not self._failing:
                self._log.warn("what programs print is not kept for now: {error}", error=str(error))
            self._failing = True
            self._disconnect()  # another one may do
        else:
            self._failing = False

    def close(self) -> None:
        """Write what was taken, and take nothing more."""
        if not self._closed:
            self.flush()
            self._closed = True
            self._disconnect()

    # -- inside ----------------------------------------------------------------------------------------------------

    def _write_later(self) -> None:
        if self._held >= MAX_WAITING:
            self.flush()
        elif self._writing is None:
            self._writing = self._clock.callLater(DELAY, self.flush)

    def _write(
        self,
        database: sqlite3.Connection,
        waiting: Mapping[tuple[int, int, int], _StoredRun],
        late: Iterable[tuple[int, int]],
    ) -> None:
        kept = self._kept
        database.execute("BEGIN IMMEDIATE")
        try:
            database.executemany(
                "INSERT OR REPLACE INTO runs (task, attempt, run, status, failed, size, output) "
                "VALUES (?, ?, ?, ?, ?, ?, ?)",
                [(*key, *values) for key, values in waiting.items()],
            )
            database.executemany("UPDATE runs SET failed = 1 WHERE task = ? AND attempt = ? AND NOT failed", late)
            kept += sum(len(run.output) + ROW for run in waiting.values())
            while kept > self._budget:
                freed = _make_room(database, kept - self._budget)
                if not freed:
                    break
                kept -= freed
            database.execute("UPDATE total SET bytes = ?", (kept,))
            database.execute("COMMIT")
        except BaseException:
            if database.in_transaction:
                database.execute("ROLLBACK")
            raise
        self._kept = kept

    def _open(self) -> sqlite3.Connection:
        if self._database is None:
            self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            try:
                self._database, self._kept = _prepared(self._path)
            except sqlite3.OperationalError:
                raise
            except sqlite3.DatabaseError as error:
                self._log.warn("{path} is damaged and begun anew: {error}", path=str(self._path), error=str(error))
                for end in ("", "-wal", "-shm"):
                    self._path.with_name(self._path.name + end).unlink(missing_ok=True)
                self._database, self._kept = _prepared(self._path)
        return self._database

    def _disconnect(self) -> None:
        if self._database is not None:
            with suppress(sqlite3.Error):
                self._database.close()
            self._database = None


class AttemptOutput:
    """Takes what the runs of one attempt have printed, also once it has ended: of a program that is killed for that.

    :param store: of the job.
    """

    __slots__ = ("_attempt", "_failed", "_runs", "_store", "_task")

    def __init__(self, store: OutputStore, task: int, attempt: int) -> None:
        self._store = store
        self._task = task
        self._attempt = attempt
        self._runs = 0
        self._failed = False

    def take(self, reply: bytes) -> None:
        """The next run of it has ended.

        :param reply: the worker's ``OK:RETVAL(N):OUTPUT(...):COMMAND(...)``; any other is not kept.
        """
        with suppress(FSMError):  # the attempt fails of it
            result = parse_run(reply.decode("utf-8", "surrogateescape"))
            self.add(result.status, result.raw)

    def add(self, status: int, output: bytes) -> None:
        """The next run of it has ended."""
        self._store.add(self._task, self._attempt, self._runs, status, output, failed=self._failed)
        self._runs += 1

    def failed(self) -> None:
        """The attempt has failed."""
        self._failed = True
        self._store.attempt_failed(self._task, self._attempt, self._runs)


def _prepared(path: Path) -> tuple[sqlite3.Connection, int]:
    """The database, and the bytes of its budget that are used."""
    path.touch(mode=0o600)
    database = sqlite3.connect(path, isolation_level=None)
    try:
        database.execute("PRAGMA journal_mode = WAL")
        database.execute("PRAGMA synchronous = OFF")  # a loss of power may cost it; the job does not depend on it
        database.execute(f"PRAGMA journal_size_limit = {4 * MAX_WAITING}")
        database.executescript(_SCHEMA)
        database.execute("INSERT INTO total SELECT 0 WHERE NOT EXISTS (SELECT 1 FROM total)")
        ((kept,),) = database.execute("SELECT bytes FROM total").fetchall()
    except BaseException:
        database.close()
        raise
    return database, kept


def _make_room(database: sqlite3.Connection, wanted: int) -> int:
    """Let the oldest outputs go, those of runs that ended well first, and the oldest runs where none is left.

    :param wanted: bytes of the budget that are to be free again.
    :returns: bytes that are, which may be fewer; 0: there is nothing left that could go.
    """
    freed = 0
    gone = []
    oldest = f"SELECT number, LENGTH(output) FROM runs WHERE {_KEPT} ORDER BY {_FAILURE}, number LIMIT {_TOGETHER}"
    for number, size in database.execute(oldest).fetchall():
        if freed < wanted:
            gone.append((number,))
            freed += size
    if gone:
        database.executemany("UPDATE runs SET output = NULL WHERE number = ?", gone)
        return freed
    oldest = f"SELECT number FROM runs ORDER BY number LIMIT {min(_TOGETHER, -(-wanted // ROW))}"
    return ROW * database.execute(f"DELETE FROM runs WHERE number IN ({oldest})").rowcount
