"""Finding and ending what a command has started, wherever its processes have gone.

A program's processes are its process group; but a grandchild may have made a group or a session of its own. All carry
the mark that the worker puts into their environment, and are found by it.
"""

import os
import signal
import time
from contextlib import suppress

MARK = "MU_WORKER_RUN"
"""Name of the variable in a command's environment."""
_ROUNDS = 25
_PAUSE = 0.002


def find(mark: str) -> dict[int, int]:
    """Living processes that carry a mark: process group by process id. Those that were not reaped do not count."""
    wanted = f"{MARK}={mark}".encode()
    found: dict[int, int] = {}
    own = os.getpid()
    try:
        names = os.listdir("/proc")  # noqa: PTH208
    except OSError:
        return found
    for name in names:
        if not name.isdigit() or int(name) == own:
            continue
        with suppress(OSError):
            with open(f"/proc/{name}/environ", "rb") as source:  # noqa: PTH123
                carried = source.read()
            if wanted in carried.split(b"\0"):
                found[int(name)] = os.getpgid(int(name))
    return found


def end(mark: str, groups: set[int]) -> set[int]:
    """Kill all processes that carry a mark.

    :param groups: process groups that are known to be theirs.
    :returns: the process groups that were met, ``groups`` included.
    """
    met = set(groups)
    for group in groups:
        with suppress(OSError):
            os.killpg(group, signal.SIGKILL)
    for _ in range(_ROUNDS):  # again: one may have been born between look and kill
        found = find(mark)
        if not found:
            break
        met.update(found.values())
        for process in found:
            with suppress(OSError):
                os.kill(process, signal.SIGKILL)
            with suppress(OSError):  # where there is no other init, orphans come back to this process
                os.waitpid(process, os.WNOHANG)
        time.sleep(_PAUSE)
    return met
