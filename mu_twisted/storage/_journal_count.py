"""The journal's count keeps, in a file beside the journal, which journal it is and how far that has come.

SQLite reads a write-ahead log up to its first bad frame and takes what stands there for the whole: a log that was cut,
overwritten or lost looks like one that ends earlier. The count shows the difference at the next start. It also keeps
how the file was when it was closed, since one that is so still need not be looked through again. Knows nothing of
records.
"""

import os
import re
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

_BOOT = Path("/proc/sys/kernel/random/boot_id")
_FORM = re.compile(
    r"journal ([0-9a-f]{32}) last ([0-9]{20}) synced ([0-9]{20}) boot ([0-9a-f-]{36}|-{36})\n"
    r"(?:closed size ([0-9]{1,20}) modified ([0-9]{1,20}) changed ([0-9]{1,20})\n)?"
)
FileState = tuple[int, int, int]
"""A file's size, and when it was modified and its inode was changed, in nanoseconds."""


@dataclass(frozen=True)
class Count:
    """What was noted.

    :param identity: of the journal, 32 hex digits.
    :param last: the number of the last record that was committed.
    :param synced: the number of the last record that is known to be on the disk itself, in the database's own file.
    :param boot: which start of the machine it was noted in; empty where the system does not say.
    :param closed: the journal's file as it was closed; None: it was not, in good order.
    """

    identity: str
    last: int
    synced: int
    boot: str
    closed: FileState | None = None

    def due(self, boot: str) -> int:
        """The number that the journal must have come to by now.

        Commits are not synced one by one, so a machine that went down may have lost the last of them, but a process
        that was killed has not.

        :param boot: which start of the machine this is.
        """
        return self.last if self.boot == boot else self.synced


def boot_id() -> str:
    """What names this start of the machine; empty where the system does not say."""
    try:
        return _BOOT.read_text(encoding="ascii").strip()
    except (OSError, ValueError):
        return ""


def read_count(path: Path) -> Count | None:
    """What was noted; None if nothing was, or it cannot be read (a machine that goes down may leave it empty)."""
    try:
        found = _FORM.fullmatch(path.read_text(encoding="ascii"))
    except (OSError, ValueError):
        return None
    if found is None:
        return None
    identity, last, synced, boot, *closed = found.groups()
    size, modified, changed = (int(number or 0) for number in closed)
    file = None if closed[0] is None else (size, modified, changed)
    return Count(identity, int(last), int(synced), boot.strip("-"), file)


def count_path(journal: Path) -> Path:
    """Where the count of a journal is."""
    return journal.with_name(f"{journal.stem}.count")


def is_as_closed(journal: Path) -> bool:
    """Whether a journal is as the last process has closed it that wrote to it, which had looked through it before."""
    count = read_count(count_path(journal))
    return (
        count is not None
        and count.closed is not None
        and bool(count.boot)
        and count.boot == boot_id()
        and count.closed == _state_of(journal)
    )


def _state_of(journal: Path) -> FileState | None:
    """How its file is; None: it is not there, or what was written last stands in its write-ahead log."""
    log = journal.with_name(f"{journal.name}-wal")
    try:
        if log.exists() and log.stat().st_size > 0:
            return None
        found = journal.stat()
    except OSError:
        return None
    return found.st_size, found.st_mtime_ns, found.st_ctime_ns


class CountFile:
    """Notes the count after each commit: one short write in place, which needs no room on the disk.

    :param path: made if need be, for its owner only.
    :param identity: of the journal.
    :param last: the number of its last record.
    :raises OSError: it cannot be written.
    """

    def __init__(self, path: Path, identity: str, last: int) -> None:
        self._boot = boot_id() or "-" * 36
        self._identity = identity
        self._last, self._synced = last, 0
        self._file: int | None = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            os.pwrite(self._file, self._text(), 0)
            os.ftruncate(self._file, len(self._text()))
        except OSError:
            self.close()
            raise

    def committed(self, last: int) -> None:
        """The journal has this record, and all before it. A count that cannot be noted stays behind, which is safe."""
        self._last = last
        self._note()

    def synced(self) -> None:
        """All that was committed is on the disk, in the database itself."""
        self._synced = self._last
        self._note()

    def journal_closed(self, journal: Path) -> None:
        """The journal was closed in good order. Its file gets a time that is finer than the kernel's ticks, so that
        whatever is changed in it later gives it another.
        """
        with suppress(OSError):
            now = time.time_ns()
            os.utime(journal, ns=(now, now))
            file = _state_of(journal)
            if file is not None and self._file is not None:
                text = "closed size {} modified {} changed {}\n".format(*file)
                os.pwrite(self._file, self._text() + text.encode("ascii"), 0)

    def close(self) -> None:
        """Give the file back; more than once is as good as once."""
        if self._file is not None:
            os.close(self._file)
            self._file = None

    def _note(self) -> None:
        if self._file is not None:
            with suppress(OSError):
                os.pwrite(self._file, self._text(), 0)

    def _text(self) -> bytes:
        text = f"journal {self._identity} last {self._last:020} synced {self._synced:020} boot {self._boot:36}\n"
        return text.encode("ascii")
