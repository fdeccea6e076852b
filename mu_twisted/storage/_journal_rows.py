"""Rows of the journal that are asked for by more than one: how far it has come, which jobs there are, how each ends."""

import sqlite3
from pathlib import Path
from urllib.parse import quote

JOB_NAMES = """
WITH RECURSIVE names (job) AS (
    SELECT MIN(job) FROM events
    UNION ALL SELECT (SELECT MIN(job) FROM events WHERE job > names.job) FROM names WHERE job IS NOT NULL
)
SELECT job FROM names WHERE job IS NOT NULL ORDER BY (SELECT MIN(number) FROM events WHERE events.job = names.job)
"""
"""Looks at two entries of the index for each job, and not at all rows, as GROUP BY would."""
LAST_RECORD = "SELECT number, record FROM events WHERE job = ? ORDER BY number DESC LIMIT 1"
RECORD = "SELECT record FROM events WHERE job = ? AND number = ?"
RECORDS_BEHIND = "SELECT record FROM events WHERE job = ? AND number > ? ORDER BY number"
LAST_NUMBER = "SELECT COALESCE(MAX(seq), 0) FROM sqlite_sequence WHERE name = 'events'"
"""The number of the last record that there ever was: those of jobs that were removed count."""
SCHEMA = 1
"""The form of the journal's tables that is known here."""


def opened(path: Path, how: str) -> sqlite3.Connection:
    """A journal, open without a change to it.

    :param how: parameters of SQLite's URI, such as ``mode=ro``.
    :raises sqlite3.Error: it cannot be opened.
    """
    return sqlite3.connect(f"file:{quote(str(path.absolute()))}?{how}", uri=True, isolation_level=None)


def come_to(database: sqlite3.Connection) -> tuple[int, str | None]:
    """The number of the last record, and the journal's identity; 0 and None where there is none."""
    tables = {name for (name,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    last = database.execute(LAST_NUMBER).fetchone()[0] if "sqlite_sequence" in tables else 0
    found = database.execute("SELECT identity FROM journal").fetchone() if "journal" in tables else None
    return last, found[0] if found is not None else None
