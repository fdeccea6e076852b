"""Control groups, version 2 or 1, limit an environment's memory: found by trying, made and removed per environment.

Blocking calls on a few small files of the kernel's; no processes are started here.
"""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

from mu_twisted.local.environments.isolation import MOST_PROCESSES

_PREFIX = "mu-local-"


def _mounts(text: str) -> Iterator[tuple[str, str, frozenset[str], str]]:
    """Mount point, type, super options and root of each cgroup mount in ``/proc/self/mountinfo``."""
    for line in text.splitlines():
        left, _, right = line.partition(" - ")
        fields, kind = left.split(), right.split()
        if len(fields) > 4 and kind and kind[0] in ("cgroup", "cgroup2"):
            yield fields[4], kind[0], frozenset(kind[-1].split(",")), fields[3]


def _own(text: str, controller: str) -> str | None:
    """Our own group's path in ``/proc/self/cgroup``: of a controller of version 1, or of version 2 for ``""``."""
    for line in text.splitlines():
        _, controllers, path = line.split(":", 2)
        if controller in controllers.split(","):
            return path
    return None


def candidates(mountinfo: str, membership: str, controller: str = "memory") -> Iterator[tuple[int, Path]]:
    """Version and directory of the groups below which ours may be made, the nearest to us first.

    :param controller: that of version 1 which is wanted.
    """
    for point, kind, options, root in _mounts(mountinfo):
        version = 2 if kind == "cgroup2" else 1
        if version == 1 and controller not in options:
            continue
        own = _own(membership, controller if version == 1 else "")
        if own is None:
            continue
        inside = own if root == "/" else "/" + os.path.relpath(own, root)
        parts = [part for part in inside.split("/") if part and part != ".."]
        first = len(parts) if version == 1 else len(parts) - 1
        for length in range(max(first, 0), -1, -1):
            yield version, Path(point, *parts[:length])


class MemoryGroups:
    """A group of ours in which each environment gets one of its own.

    :param base: our group's directory.
    :param version: 1 or 2.
    :ivar pids: our group of the controller that counts processes, where it is another's hierarchy, as in version 1.
    :ivar counts_processes: whether processes are limited, too.
    """

    def __init__(self, base: Path, version: int) -> None:
        self.base = base
        self.version = version
        self.pids: Path | None = None
        self.counts_processes = False

    @classmethod
    def make(cls, name: str, on_make: Callable[[Path], None]) -> MemoryGroups | None:
        """Make our group where the kernel and our rights allow it; None where they do not.

        :param name: distinguishes this stack's group.
        :param on_make: called with each group before it is made, so that it can be found should we be killed.
        """
        try:
            mountinfo = Path("/proc/self/mountinfo").read_text()
            membership = Path("/proc/self/cgroup").read_text()
        except OSError:
            return None
        for version, parent in candidates(mountinfo, membership):
            groups = cls(parent / f"{_PREFIX}{name}", version)
            on_make(groups.base)
            try:
                groups.base.mkdir(exist_ok=True)
            except OSError:
                continue
            if groups._usable():
                groups._count_processes(name, mountinfo, membership, on_make)
                return groups
            with suppress(OSError):
                groups.base.rmdir()
        return None

    def _count_processes(self, name: str, mountinfo: str, membership: str, on_make: Callable[[Path], None]) -> None:
        """Limit processes, too, where that can be had."""
        if self.version == 2:
            with suppress(OSError):
                (self.base / "cgroup.subtree_control").write_text("+pids")
                self.counts_processes = True
            return
        for version, parent in candidates(mountinfo, membership, "pids"):
            base = parent / f"{_PREFIX}{name}"
            if version != 1:
                continue
            on_make(base)
            try:
                base.mkdir(exist_ok=True)
            except OSError:
                continue
            counting = MemoryGroups(base, 0)
            counting.pids, counting.counts_processes = base, True
            if counting._usable():
                self.pids, self.counts_processes = base, True
                return
            with suppress(OSError):
                base.rmdir()

    @property
    def bases(self) -> list[Path]:
        """Our groups, one in each hierarchy."""
        return [self.base] if self.pids is None else list(dict.fromkeys((self.base, self.pids)))

    def _usable(self) -> bool:
        """Make one group, and move a child of ours into it, since only then is it known that we may."""
        try:
            if self.version == 2:
                (self.base / "cgroup.subtree_control").write_text("+memory")
            files = self.create("probe", 64 << 20)
            join = subprocess.run(["/bin/sh", "-c", 'echo 0 > "$0"', *files], capture_output=True, check=False)
            moved = join.returncode == 0
            self.wait_removed("probe")
        except OSError:
            with suppress(OSError):
                (self.base / "probe").rmdir()
            return False
        return moved

    def create(self, name: str, limit: int) -> list[str]:
        """A group with a memory limit.

        :param limit: bytes.
        :returns: the files through which a process joins.
        :raises OSError: where the kernel refuses.
        """
        groups = [base / name for base in self.bases]
        group = groups[0]
        for created in groups:
            created.mkdir()
        try:
            if self.counts_processes:
                # Its first process is ours.
                (groups[-1] / "pids.max").write_text(str(MOST_PROCESSES + 1))
            if self.version == 2:
                (group / "memory.max").write_text(str(limit))
                with suppress(OSError):
                    (group / "memory.swap.max").write_text("0")
            elif self.version == 1:
                (group / "memory.limit_in_bytes").write_text(str(limit))
                with suppress(OSError):
                    (group / "memory.memsw.limit_in_bytes").write_text(str(limit))
                with suppress(OSError):
                    (group / "memory.swappiness").write_text("0")
        except OSError:
            for created in groups:
                with suppress(OSError):
                    created.rmdir()
            raise
        return [str(each / "cgroup.procs") for each in groups]

    def peak(self, name: str) -> int | None:
        """The most bytes that a group has held, None where the kernel does not report it."""
        file = "memory.peak" if self.version == 2 else "memory.max_usage_in_bytes"
        try:
            return int((self.base / name / file).read_text())
        except (OSError, ValueError):
            return None

    def remove(self, name: str) -> bool:
        """Remove a group whose processes are gone. False while the kernel still holds it."""
        removed = True
        for base in self.bases:
            try:
                (base / name).rmdir()
            except FileNotFoundError:
                continue
            except OSError:
                removed = False
        return removed

    def wait_removed(self, name: str, limit: float = 0.2) -> bool:
        """Remove, trying again for at most ``limit`` seconds. Blocks."""
        until = time.monotonic() + limit
        while not self.remove(name):
            if time.monotonic() > until:
                return False
            time.sleep(0.005)
        return True

    def clear(self, limit: float = 1.0) -> bool:
        """Kill what is left in any of the groups and remove them all. Blocks for at most ``limit`` seconds."""
        until = time.monotonic() + limit
        while self.left():
            for base in self.bases:
                for group in sorted((path for path in base.rglob("*") if path.is_dir()), reverse=True):
                    with suppress(OSError):
                        for pid in (group / "cgroup.procs").read_text().split():
                            os.kill(int(pid), signal.SIGKILL)
                    with suppress(OSError):
                        group.rmdir()
                with suppress(OSError):
                    base.rmdir()
            if time.monotonic() > until:
                return False
            if self.left():
                time.sleep(0.005)
        return True

    def left(self) -> list[Path]:
        """Those of our groups that the kernel still has."""
        return [base for base in self.bases if base.exists()]
