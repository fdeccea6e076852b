"""A state directory is a daemon's, and one process at a time has it: a lock says so."""

import fcntl
import os
import time
from collections.abc import Mapping
from pathlib import Path

from mu_twisted.base import MuError

BRIEF = 10.0
"""Seconds that a process waits for one that has the directory briefly."""
BRIEFLY = " briefly"
"""Stands in the lock's file behind the number of such a process."""


class StateDirectoryError(MuError):
    """The state directory cannot be used."""


def default_state_dir(environ: Mapping[str, str] = os.environ) -> Path:
    """``$STATE_DIRECTORY`` (systemd's ``StateDirectory=``), else ``$XDG_STATE_HOME/mu``, else ``~/.local/state/mu``."""
    if environ.get("STATE_DIRECTORY"):
        return Path(environ["STATE_DIRECTORY"].partition(":")[0])
    base = environ.get("XDG_STATE_HOME", "")
    root = Path(base) if base.startswith("/") else Path.home() / ".local" / "state"
    return root / "mu"


RUN_DIRECTORY = Path("/run/mu")
"""Where systemd keeps the control socket of the coordinator that it runs, by the units in ``etc/``."""


def socket_path(state_dir: Path, given: str | None, environ: Mapping[str, str] = os.environ) -> Path:
    """The control socket: in the state directory; under systemd, unless that was given, in ``$RUNTIME_DIRECTORY``."""
    run = environ.get("RUNTIME_DIRECTORY", "").partition(":")[0]
    return (Path(run) if run and given is None else state_dir) / "control.sock"


class InUse(StateDirectoryError):
    """Another process has it."""


class StateDirectory:
    """A directory that this process holds until :meth:`close`, or its end.

    :param path: made, for its owner only, if it is not there.
    :param lock: name of the lock's file; daemons of different kinds share a directory.
    :param briefly: whether this process is about to let it go again, as one that only reads the records is; others wait
        for that, :data:`BRIEF` seconds at most.
    :raises StateDirectoryError: as :class:`InUse` another process holds it, or it cannot be written.
    """

    def __init__(self, path: Path, lock: str = "coordinator.lock", *, briefly: bool = False) -> None:
        self.path = path
        try:
            path.mkdir(parents=True, exist_ok=True, mode=0o700)
            self._lock = os.open(path / lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise StateDirectoryError(
                f"cannot use the state directory {path}: {error.strerror}; choose another with --state-dir"
            ) from None
        until = time.monotonic() + BRIEF
        while True:
            try:
                fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                holder = os.pread(self._lock, 32, 0).decode("ascii", "replace").strip()
                if _is_brief(holder) and time.monotonic() < until:
                    time.sleep(0.02)
                    continue
                os.close(self._lock)
                number = holder.partition(" ")[0]
                raise InUse(
                    f"the state directory {path} is in use by process {number}: stop it, or choose another with "
                    "--state-dir"
                ) from None
        try:
            os.ftruncate(self._lock, 0)
            os.pwrite(self._lock, f"{os.getpid()}{BRIEFLY if briefly else ''}\n".encode("ascii"), 0)
        except OSError as error:
            os.close(self._lock)
            raise StateDirectoryError(f"cannot write to the state directory {path}: {error.strerror}") from None

    def close(self) -> None:
        """Let another process have it."""
        os.close(self._lock)


def _is_brief(holder: str) -> bool:
    """Whether the process that holds the lock lets it go soon.

    :param holder: what the lock's file says: that of a process that is gone, or nothing, as long as the new holder has
        not written its own.
    """
    if not holder.isdigit():
        return True
    try:
        os.kill(int(holder), 0)
    except ProcessLookupError:
        return True
    except OSError:
        pass
    return False
