"""A UNIX socket listens at a file, which is its lock: a process that may open it may do everything."""

import os
import socket
import stat
from contextlib import suppress
from grp import getgrnam
from pathlib import Path
from typing import Any

from twisted.internet import tcp, unix
from twisted.internet.error import CannotListenError
from twisted.internet.interfaces import IProtocolFactory
from twisted.python.failure import Failure

from mu_twisted.web._calls import ControlError

BACKLOG = 128
_LONGEST = 107
"""Bytes of a path in ``struct sockaddr_un``, its end not counted."""


class Port(unix.Port):
    """As its base, but removes its own file only, and does not mind if that is gone."""

    def __init__(self, path: Path, directory: int, factory: IProtocolFactory, reactor: Any) -> None:
        super().__init__(os.fsencode(_name(path, directory)), factory, BACKLOG, 0o600, reactor)
        self._path = path
        self._directory = directory
        self._inode = 0

    def startListening(self) -> None:
        super().startListening()  # type: ignore[no-untyped-call]
        self._inode = self._path.stat().st_ino

    def connectionLost(self, reason: Failure) -> None:
        with suppress(OSError):
            if self._path.stat().st_ino == self._inode:
                self._path.unlink()
        os.close(self._directory)
        # Not unix.Port's, which fails where the file is gone, and then never reports that it has stopped.
        tcp.Port.connectionLost(self, reason)  # type: ignore[no-untyped-call]


def listen_unix(reactor: Any, path: Path, factory: IProtocolFactory, group: str | None = None) -> Port:
    """Listen at a path, for the owner alone, or for a group too.

    What an earlier process has left there is replaced, if no process answers.

    :param path: of the socket; its directory must be there, and with a group is opened for that (``0710``).
    :param group: a name in ``/etc/group``.
    :raises ControlError: a process answers there, something else lies there, there is no such group, or the system
        does not let us.
    """
    number = _group_number(group) if group is not None else None
    path = path.absolute()
    try:
        _clear(path)
        port = Port(path, _directory(path), factory, reactor)
        port.startListening()
    except (OSError, CannotListenError) as error:
        raise ControlError(f"cannot listen on the control socket {path}: {_reason(error)}") from None
    if number is not None:
        try:
            os.chown(path, -1, number)
            path.chmod(0o660)
            os.chown(path.parent, -1, number)
            path.parent.chmod(stat.S_IMODE(path.parent.stat().st_mode) | stat.S_IXGRP)
        except OSError as error:
            port.stopListening()  # type: ignore[no-untyped-call]
            raise ControlError(
                f"cannot give the control socket to group {group}: {error.strerror}; the daemon's user must be in it"
            ) from None
    return port


def _group_number(name: str) -> int:
    try:
        return getgrnam(name).gr_gid
    except KeyError:
        raise ControlError(f"there is no group {name!r}; make it, or choose another with --control-group") from None


def _clear(path: Path) -> None:
    try:
        mode = path.lstat().st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(mode):
        raise ControlError(f"{path} is in the way of the control socket and is none; move it")
    if _answered(path):
        raise ControlError(f"another process answers on the control socket {path}; stop it first")
    path.unlink(missing_ok=True)


def _answered(path: Path) -> bool:
    directory = _directory(path)
    try:
        with socket.socket(socket.AF_UNIX) as caller:
            caller.setblocking(False)
            caller.connect(_name(path, directory))
    except (ConnectionRefusedError, FileNotFoundError):
        return False
    except OSError:
        return True  # its queue is full, or it is not ours to dial
    finally:
        os.close(directory)
    return True


def _directory(path: Path) -> int:
    return os.open(path.parent, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)


def _name(path: Path, directory: int) -> str:
    """The path as a socket's address takes it: one that is too long goes over the directory's descriptor."""
    return str(path) if len(os.fsencode(path)) <= _LONGEST else f"/proc/self/fd/{directory}/{path.name}"


def _reason(error: OSError | CannotListenError) -> str:
    cause = error.socketError if isinstance(error, CannotListenError) else error
    return getattr(cause, "strerror", None) or str(cause)
