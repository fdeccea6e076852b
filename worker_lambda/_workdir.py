"""The worker's private directory is made and removed here, and so are those of workers that were killed.

A living worker holds a lock on its directory, so one that can be locked is a leftover. Nothing is ever touched but
directories with this prefix and this owner, in the machine's temporary directory.
"""

import fcntl
import os
from pathlib import Path

from worker_lambda._errors import WorkerError

PREFIX = "mu_worker_"


def temporary_directory() -> Path:
    """``TMPDIR``, else ``/tmp``: the only place that Lambda lets a function write to."""
    return Path(os.environ.get("TMPDIR") or "/tmp")  # noqa: S108


class WorkDirectory:
    """A new directory, mode 0700, locked until :meth:`close`.

    :param parent: where it is made.
    :raises WorkerError: it cannot be made.
    """

    def __init__(self, parent: Path) -> None:
        try:
            while True:
                self.path = parent / (PREFIX + os.urandom(8).hex())
                self.path.mkdir(0o700)
                locked = _lock(self.path)
                if locked is not None:  # else a sweeper was quicker
                    self._lock: int | None = locked
                    break
        except OSError as error:
            raise WorkerError(f"could not make a private directory in {parent}: {error.strerror}") from None

    def close(self, *, remove: bool) -> None:
        """Release it.

        :param remove: whether to delete it with all that it holds.
        """
        if self._lock is None:
            return
        if remove:
            _remove(self.path)
        os.close(self._lock)
        self._lock = None


def sweep(parent: Path) -> list[Path]:
    """Delete what ended workers of this owner left behind; return what is gone."""
    removed = []
    try:
        with os.scandir(parent) as entries:
            left = [Path(entry.path) for entry in entries if entry.name.startswith(PREFIX)]
    except OSError:
        return []
    for path in left:
        held = _lock(path)
        if held is not None:
            try:
                _remove(path)
            finally:
                os.close(held)
            if not os.path.lexists(path):
                removed.append(path)
    return removed


def _lock(path: Path) -> int | None:
    """The locked descriptor of an own directory that is still where it was; None for anything else."""
    try:
        found = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        fcntl.flock(found, fcntl.LOCK_EX | fcntl.LOCK_NB)
        here, there = os.fstat(found), os.lstat(path)
        if here.st_uid == os.geteuid() and (here.st_dev, here.st_ino) == (there.st_dev, there.st_ino):
            return found
    except OSError:
        pass
    os.close(found)
    return None


def _remove(path: Path) -> None:
    """Delete a tree, follow no link; what cannot be deleted stays."""
    import shutil  # costs, and is not wanted before the worker's end

    shutil.rmtree(path, ignore_errors=True)
    if path.exists():  # a program may have made directories that cannot be entered
        for directory, _, _ in os.walk(path):
            for name in os.scandir(directory):
                if name.is_dir(follow_symlinks=False):
                    Path(name.path).chmod(0o700)
        shutil.rmtree(path, ignore_errors=True)
