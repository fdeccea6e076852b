"""A port's holder is the process of this user that has it, as Linux shows in ``/proc``."""

import errno
import re
from contextlib import suppress
from pathlib import Path

from twisted.internet.error import CannotListenError
from twisted.python.failure import Failure

from mu_twisted.base import one_line, printable

_LISTENS = "0A"
_DAEMON = re.compile(r"\0(mu-(?:coordinator|rendezvous|local))\0")


def why_not_listening(failure: Failure) -> str:
    """Why a port cannot be had: who has it, or the system's words where it is the system that refuses it.

    :param failure: of an endpoint's ``listen``.
    """
    error = failure.value
    if not isinstance(error, CannotListenError) or not isinstance(error.socketError, OSError):
        return one_line(failure.getErrorMessage())
    if error.socketError.errno == errno.EADDRNOTAVAIL:
        return "that is no address of this machine"
    holder = port_holder(error.port) if error.socketError.errno == errno.EADDRINUSE else None
    return f"{holder} has it" if holder is not None else error.socketError.strerror or str(error.socketError)


def port_holder(port: int) -> str | None:
    """The process that listens on a TCP port, in words.

    :returns: None: it cannot be seen, as another user's, or there is none.
    """
    sockets = _listening(port)
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if any(str(link.readlink()) in sockets for link in (process / "fd").iterdir()):
                return f"process {process.name} ({_name(process)})"
    return None


def _listening(port: int) -> set[str]:
    """The sockets, as ``/proc/PID/fd`` names them. The columns are those of proc(5), ``/proc/net/tcp``."""
    sockets = set()
    for table in ("tcp", "tcp6"):
        with suppress(OSError):
            for line in (Path("/proc/net") / table).read_text(encoding="ascii").splitlines()[1:]:
                columns = line.split()
                if columns[3] == _LISTENS and int(columns[1].rpartition(":")[2], 16) == port:
                    sockets.add(f"socket:[{columns[9]}]")
    return sockets


def _name(process: Path) -> str:
    """What a daemon of ours is called; else the name of the program."""
    words = (process / "cmdline").read_text(encoding="utf-8", errors="replace")
    daemon = _DAEMON.search(f"{words}\0")
    name = daemon[1] if daemon else (process / "comm").read_text(encoding="utf-8", errors="replace").strip()
    return printable(name)
