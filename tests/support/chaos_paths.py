"""Direct connections between workers, found in the system's tables and cut while both ends live."""

from __future__ import annotations

import ctypes
import os
import random
import socket
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

ESTABLISHED = "01"
"""As ``/proc/net/tcp`` writes it."""
QUIET = "00000000:00000000"
"""Of a connection in which nothing is unsent, unconfirmed or unread."""
_PIDFD_GETFD = 438


@dataclass(frozen=True)
class PathEnd:
    """One end of a direct path.

    :param pid: of the worker, and its ``descriptor`` of the connection.
    :param busy: whether bytes are on their way in it.
    """

    pid: int
    descriptor: int
    inode: str
    busy: bool


def path_ends(workers: Iterable[int]) -> list[PathEnd]:
    """The ends of the connections that go from one of these processes to another, one end of each."""
    held: dict[str, tuple[int, int]] = {}
    for pid in workers:
        with suppress(OSError):
            for path in Path(f"/proc/{pid}/fd").iterdir():
                with suppress(OSError):
                    name = str(path.readlink())
                    if name.startswith("socket:["):
                        held[name[8:-1]] = (pid, int(path.name))
    lines = [line.split() for line in Path("/proc/net/tcp").read_text(encoding="ascii").splitlines()[1:]]
    ends = {(line[1], line[2]): line for line in lines if line[3] == ESTABLISHED and line[9] in held}
    found = []
    for (here, there), line in ends.items():
        other = ends.get((there, here))
        if other is not None and here < there and held[line[9]][0] != held[other[9]][0]:
            busy = {line[4], other[4]} != {QUIET}
            found.append(PathEnd(*held[line[9]], line[9], busy))
    return found


def cut_some(ends: list[PathEnd], dice: random.Random) -> int:
    """Shut some connections down, both ways; rather those with bytes on their way. Returns how many."""
    dice.shuffle(ends)
    ends.sort(key=lambda end: not end.busy)
    return sum(map(_cut, ends[: dice.randint(1, max(1, len(ends) // 2))]))


def _cut(end: PathEnd) -> bool:
    libc = ctypes.CDLL(None, use_errno=True)
    with suppress(OSError):
        process = os.pidfd_open(end.pid)
        try:
            ours = libc.syscall(_PIDFD_GETFD, process, end.descriptor, 0)
        finally:
            os.close(process)
        if ours < 0:
            return False
        with socket.socket(fileno=ours) as connection:
            if str(Path(f"/proc/self/fd/{ours}").readlink()) == f"socket:[{end.inode}]":  # and not another since
                connection.shutdown(socket.SHUT_RDWR)
                return True
    return False
