"""Processes found by their parents, so that no other program's are ever touched."""

from __future__ import annotations

import os
import signal
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

WORKER = "w:"
"""How the name of a process begins that serves an invocation: the end of the job's name follows, and the launch id."""


@dataclass(frozen=True)
class Process:
    """One process as it was at a look."""

    pid: int
    parent: int
    name: str
    state: str


@dataclass(frozen=True)
class Tree:
    """All processes below one, as they were at a look."""

    root: int
    processes: dict[int, Process] = field(default_factory=dict)

    def children(self, pid: int) -> list[Process]:
        """Those whose parent it is."""
        return [process for process in self.processes.values() if process.parent == pid]

    def workers(self, job: str = "") -> dict[str, Process]:
        """The processes that serve an invocation, by launch id.

        :param job: those of this one only. Others may have late ones: Lambda tries again what has failed.
        """
        found = {}
        for process in self.processes.values():
            if process.name.startswith(WORKER) and self.parent_name(process) == "mu-init":
                of, _, launch_id = process.name.removeprefix(WORKER).partition(":")
                if not job or job.endswith(of):
                    found[launch_id] = process
        return found

    def parent_name(self, process: Process) -> str:
        """The name of its parent."""
        parent = self.processes.get(process.parent)
        return parent.name if parent is not None else ""


def tree(root: int) -> Tree:
    """The processes below this one."""
    everything: dict[int, list[Process]] = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError, ValueError, IndexError):
            process = _parse(path.read_text(encoding="ascii", errors="replace"))
            everything.setdefault(process.parent, []).append(process)
    found: dict[int, Process] = {}
    stack = [root]
    while stack:
        for process in everything.get(stack.pop(), ()):
            found[process.pid] = process
            stack.append(process.pid)
    return Tree(root, found)


def stop_group(leader: int) -> bool:
    """Halt a process group; False if that process does not lead one."""
    with suppress(ProcessLookupError):
        if os.getpgid(leader) == leader:
            os.killpg(leader, signal.SIGSTOP)
            return True
    return False


def send(pid: int, number: int) -> bool:
    """Send a signal; False if the process is gone."""
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return False
    return True


def state(pid: int) -> str:
    """The letter of its state, as in proc(5); empty if it is gone."""
    try:
        return _parse(Path(f"/proc/{pid}/stat").read_text(encoding="ascii", errors="replace")).state
    except (OSError, ValueError, IndexError):
        return ""


def has_said_all(pid: int, port: int) -> bool:
    """Whether all that a process has sent to a port of this machine has been read there.

    On a busy machine packets may be on their way for a while, even here.
    """
    sockets = set()
    with suppress(OSError):
        for path in Path(f"/proc/{pid}/fd").iterdir():
            with suppress(OSError):
                sockets.add(str(path.readlink()).removeprefix("socket:[").removesuffix("]"))
    lines = [line.split() for line in Path("/proc/net/tcp").read_text(encoding="ascii").splitlines()[1:]]
    ends = {(line[1], line[2]): line for line in lines}
    for line in lines:
        if line[9] in sockets and int(line[2].partition(":")[2], 16) == port:
            there = ends.get((line[2], line[1]))
            unsent, unread = line[4].partition(":")[0], there[4].partition(":")[2] if there is not None else "0"
            if int(unsent, 16) or int(unread, 16):
                return False
    return True


def _parse(text: str) -> Process:
    head, _, tail = text.rpartition(")")
    pid, _, name = head.partition(" (")
    fields = tail.split()
    return Process(int(pid), int(fields[1]), name, fields[0])
