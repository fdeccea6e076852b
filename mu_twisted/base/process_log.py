"""The log of a process that is started in the background is opened here, and asked why the process has ended."""

import os
from pathlib import Path

MAX_LOG = 8 << 20
"""Bytes from which a log is begun anew."""


class ProcessLog:
    """A log file that is appended to, since others may be writing to it.

    :param path: of the file; its directory is there.
    :ivar descriptor: for the process, the caller's to close.
    :raises OSError: it cannot be opened.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self.descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        self._begun = os.fstat(self.descriptor).st_size
        if self._begun > MAX_LOG:
            os.ftruncate(self.descriptor, 0)
            self._begun = 0

    def last_line(self) -> str | None:
        """What was logged since it was opened: the last error, without its mark, else the last line; None: nothing."""
        with self._path.open("rb") as file:
            file.seek(self._begun)
            lines = [line for line in file.read().decode("utf-8", "replace").splitlines() if line.strip()]
        said = [line for line in lines if line.startswith("error: ")] or lines
        return said[-1].removeprefix("error: ") if said else None
