"""A journal is looked at here before it is read without a coordinator, and left as it is."""

import sqlite3
from contextlib import closing
from pathlib import Path

from mu_twisted.storage._journal_count import boot_id, count_path, is_as_closed, read_count
from mu_twisted.storage._journal_rows import SCHEMA, come_to, opened


def stamp_of(journal: Path) -> tuple[object, ...]:
    """What is another after each change to a journal: the count, and how its files are."""
    found: list[object] = []
    for path in (journal, journal.with_name(f"{journal.name}-wal"), count_path(journal)):
        try:
            file = path.stat()
        except OSError:
            found.append(None)
        else:
            found.append((file.st_ino, file.st_size, file.st_mtime_ns))
    return (*found, read_count(count_path(journal)))


def how_to_read(journal: Path) -> str | None:
    """Parameters of SQLite's URI with which a journal is opened to be read.

    One that was changed after it was closed, or was not closed before the machine went down, is looked through for
    damage before. Where a process was killed that had looked through it, nothing but SQLite has written to it since,
    and what of it is not as it should be shows where it is read.

    :returns: None: something about it is not as it should be.
    """
    unchanging = "immutable=1"
    if is_as_closed(journal):
        return unchanging
    log = journal.with_name(f"{journal.name}-wal")
    count = read_count(count_path(journal))
    try:
        if count is None or not journal.exists():
            return None
        has_log = log.exists() and log.stat().st_size > 0
        with closing(opened(journal, unchanging)) as database:  # as if there was no log: it may be another journal's
            if come_to(database)[1] != count.identity:
                return None
        how = "mode=ro" if has_log else unchanging
        with closing(opened(journal, how)) as database:
            (schema,) = database.execute("PRAGMA user_version").fetchone()
            is_whole = schema == SCHEMA and come_to(database)[0] >= count.last
            if count.closed is not None or not count.boot or count.boot != boot_id():
                ((verdict,), *_) = database.execute("PRAGMA quick_check(1)").fetchall()
                is_whole = is_whole and verdict == "ok"
    except (OSError, sqlite3.Error):
        return None
    return how if is_whole else None
