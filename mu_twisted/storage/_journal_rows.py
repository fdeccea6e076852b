"""Rows of the journal that are asked for by more than one: which jobs there are, and how each has ended."""

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


def opened(path: Path, how: str) -> sqlite3.Connection:
    """A journal, open without a change to it.

    :param how: parameters of SQLite's URI, such as ``mode=ro``.
    :raises sqlite3.Error: it cannot be opened.
    """
    return sqlite3.connect(f"file:{quote(str(path.absolute()))}?{how}", uri=True, isolation_level=None)
