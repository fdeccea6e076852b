"""Processes that a command has started are found and ended here, in whatever group or session they are.

A program's processes are its process group; but a grandchild may have made a group or a session of its own, and may
have cleared its environment. A process is a program's if it carries the mark that the worker puts into the command's
environment, or holds the command's output, or descends from one that is.
"""

import os
import signal
import time
from collections.abc import Iterable
from contextlib import suppress

MARK = "MU_WORKER_RUN"
"""Name of the variable in a command's environment."""
_STATE, _PARENT, _GROUP, _START = 0, 1, 2, 19
_ROUNDS = 25
_PAUSE = 0.002


def find(mark: str, shells: Iterable[int] = (), outputs: Iterable[int] = ()) -> dict[int, int]:
    """Living processes of a mark's programs: process group by process id. Those that were not reaped do not count.

    :param shells: process ids of the commands' shells, none of them reaped.
    :param outputs: descriptors of the pipes that the commands write to.
    """
    wanted = f"{MARK}={mark}".encode()
    pipes = {_pipe(f"/proc/self/fd/{each}") for each in outputs} - {""}
    groups: dict[int, int] = {}
    children: dict[int, list[int]] = {}
    ours = []
    roots, own = set(shells), os.getpid()
    try:
        names = os.listdir("/proc")  # noqa: PTH208
        begun = int(_status("self")[_START])
    except OSError:
        return {}
    for name in names:
        if not name.isdigit() or int(name) == own:
            continue
        with suppress(OSError, ValueError, IndexError):
            process = int(name)
            status = _status(name)
            if status[_STATE] in (b"Z", b"X") or int(status[_START]) < begun:  # older than the worker: not from here
                continue
            groups[process] = int(status[_GROUP])
            children.setdefault(int(status[_PARENT]), []).append(process)
            if process in roots or _holds(name, pipes) or wanted in _read(f"/proc/{name}/environ").split(b"\0"):
                ours.append(process)
    found: dict[int, int] = {}
    while ours:
        process = ours.pop()
        if process not in found:
            found[process] = groups[process]
            ours += children.get(process, ())
    return found


def end(mark: str, shells: Iterable[int], outputs: Iterable[int] = ()) -> set[int]:
    """Kill all processes of a mark's programs. The shells are left to be reaped by the caller.

    :param shells: process ids of the commands' shells, none of them reaped; each leads a process group.
    :param outputs: see :func:`find`.
    :returns: the process groups that were met, the shells' included.
    """
    roots, pipes = set(shells), tuple(outputs)
    met: set[int] = set(roots)
    killed: set[int] = set()
    found = find(mark, roots, pipes)  # before any is killed: then parents are no longer known
    for group in roots:
        with suppress(OSError):
            os.killpg(group, signal.SIGKILL)
    for _ in range(_ROUNDS):  # again: one may have been forked between find and kill
        met.update(found.values())
        killed.update(found)
        for process in found:
            with suppress(OSError):
                os.kill(process, signal.SIGKILL)
        time.sleep(_PAUSE)
        found = find(mark, roots, pipes)
        if not found:
            break
    for process in killed - roots:
        with suppress(OSError):  # where there is no other init, orphans come back to this process
            os.waitpid(process, os.WNOHANG)
    return met


def _holds(name: str, pipes: set[str]) -> bool:
    if not pipes:
        return False
    with suppress(OSError):
        return any(_pipe(f"/proc/{name}/fd/{each}") in pipes for each in os.listdir(f"/proc/{name}/fd"))  # noqa: PTH208
    return False


def _pipe(path: str) -> str:
    """Which pipe a descriptor is; empty if it is none, or gone."""
    with suppress(OSError):
        target = os.readlink(path)  # noqa: PTH115
        return target if target.startswith("pipe:") else ""
    return ""


def _status(name: str) -> list[bytes]:
    """The fields of proc(5)'s ``stat`` behind the program's name, which may hold blanks and parentheses."""
    return _read(f"/proc/{name}/stat").rpartition(b")")[2].split()


def _read(path: str) -> bytes:
    with open(path, "rb") as file:  # noqa: PTH123
        return file.read()
