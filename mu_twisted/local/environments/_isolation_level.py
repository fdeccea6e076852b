"""The isolation level is the strongest that this host grants: found by trying, and entered. Standard library only."""

from __future__ import annotations

import os
import signal

from . import isolation


def enter(wanted: str) -> str:
    """Take the strongest isolation that this host grants, up to ``wanted``; the process that goes on is a child.

    :param wanted: ``auto``, ``user`` or ``none``.
    :returns: ``root``, ``user`` or ``none``: by which right namespaces are made.
    """
    levels = {"auto": ["root", "user", "none"], "user": ["user", "none"], "none": ["none"]}[wanted]
    if os.geteuid() != 0 and "root" in levels:
        levels.remove("root")
    for level in levels:
        if level == "none" or _possible(level):
            if level != "none":
                _descend(level)
            return level
    return "none"


def _unshare(level: str) -> None:
    if level == "user":
        isolation.enter_user_namespace(isolation.CLONE_NEWPID)
    else:
        isolation.unshare(isolation.CLONE_NEWPID)


def _possible(level: str) -> bool:
    """Try it for good in a child: namespaces, and a mount."""
    pid = os.fork()
    if pid == 0:
        try:
            _unshare(level)
            inner = os.fork()
            if inner == 0:
                here = os.getcwd()  # noqa: PTH109
                isolation.prepare_root()
                isolation.private_mounts(here, here, [], task=here)
                os._exit(0)
            os._exit(os.waitstatus_to_exitcode(os.waitpid(inner, 0)[1]))
        except BaseException:  # noqa: BLE001 - any failure means that this host does not grant it
            os._exit(1)
    return os.waitpid(pid, 0)[1] == 0


def _descend(level: str) -> None:
    """Go on as the first process of a process namespace, so that our end ends every environment."""
    _unshare(level)
    pid = os.fork()
    if pid:
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.SIG_IGN)
        os.closerange(3, 65536)
        os.waitpid(pid, 0)
        os._exit(0)
    isolation.set_death_signal(signal.SIGKILL)
