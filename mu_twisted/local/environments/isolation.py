"""Kernel calls isolate an environment: namespaces, mounts, death signals, limits.

Standard library only: the zygote loads this file by its path, since what it forks must not have the project's packages.
"""

from __future__ import annotations

import ctypes
import errno
import os
import re
import resource
import signal
import time
from collections.abc import Sequence
from contextlib import suppress

CLONE_NEWNS = 0x00020000
CLONE_NEWUSER = 0x10000000
CLONE_NEWPID = 0x20000000
MS_RDONLY, MS_NOSUID, MS_NODEV, MS_NOEXEC = 1, 2, 4, 8
MS_REMOUNT, MS_BIND, MS_REC, MS_PRIVATE = 32, 4096, 16384, 1 << 18
_PR_SET_PDEATHSIG, _PR_SET_NAME, _PR_SET_SUBREAPER, _PR_SET_NO_NEW_PRIVS = 1, 15, 36, 38
_CAPABILITY_VERSION = 0x20080522
_MOUNT_SETATTR, _AT_FDCWD, _AT_RECURSIVE, _ATTR_RDONLY = 442, -100, 0x8000, 1
TASK = "/var/task"
"""Where an environment with mounts of its own finds the function's code, as on AWS."""
MOST_PROCESSES = 1024
"""Processes and threads that an environment may have, as on AWS."""
COVERED = ("/tmp", "/var/tmp")  # noqa: S108
"""Directories that an environment has for itself, over one and the same private directory."""
SHARED_MEMORY = "/dev/shm"  # noqa: S108
"""Is empty in an environment, but for what it is shown of it."""

_libc = ctypes.CDLL(None, use_errno=True)


def _check(result: int, what: str) -> None:
    if result != 0:
        code = ctypes.get_errno()
        raise OSError(code, f"{what}: {os.strerror(code)}")


def set_death_signal(number: int) -> None:
    """Have the kernel send this signal when the thread that forked us ends."""
    _check(_libc.prctl(_PR_SET_PDEATHSIG, number, 0, 0, 0), "PR_SET_PDEATHSIG")


def become_subreaper() -> None:
    """Orphans among our descendants become our children, not init's."""
    _check(_libc.prctl(_PR_SET_SUBREAPER, 1, 0, 0, 0), "PR_SET_CHILD_SUBREAPER")


def set_name(name: bytes) -> None:
    """The name that ps shows, at most 15 bytes."""
    _libc.prctl(_PR_SET_NAME, name, 0, 0, 0)


def unshare(flags: int) -> None:
    """unshare(2)."""
    _check(_libc.unshare(flags), "unshare")


def setns(descriptor: int, kind: int) -> None:
    """setns(2)."""
    _check(_libc.setns(descriptor, kind), "setns")


def enter_user_namespace(also: int = 0) -> None:
    """A user namespace in which we keep our ids and may mount. Only a process with one thread can."""
    user, group = os.geteuid(), os.getegid()
    unshare(CLONE_NEWUSER | also)
    for name, text in (("setgroups", "deny"), ("uid_map", f"{user} {user} 1"), ("gid_map", f"{group} {group} 1")):
        descriptor = os.open(f"/proc/self/{name}", os.O_WRONLY)
        try:
            os.write(descriptor, text.encode())
        finally:
            os.close(descriptor)


def drop_privileges() -> None:
    """Give up every capability and never gain one, as the user namespace's owner has them all inside."""
    _libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    header = (ctypes.c_uint32 * 2)(_CAPABILITY_VERSION, 0)
    _check(_libc.capset(header, (ctypes.c_uint32 * 6)()), "capset")


def mount(source: str | None, target: str, kind: str | None, flags: int, data: str | None = None) -> None:
    """As mount(2); raises OSError."""
    texts = [None if text is None else os.fsencode(text) for text in (source, target, kind)]
    _check(_libc.mount(*texts, ctypes.c_ulong(flags), None if data is None else data.encode()), f"mount {target}")


def _below(path: str, parents: Sequence[str]) -> bool:
    return any(path == parent or path.startswith(parent.rstrip("/") + "/") for parent in parents)


def prepare_root() -> None:
    """A mount namespace in which nothing may be written to, and which has the directory :data:`TASK`.

    What is mounted in a copy of it later may be written to again: see :func:`private_mounts`.
    """
    unshare(CLONE_NEWNS)
    mount(None, "/", None, MS_REC | MS_PRIVATE)
    parent, name = TASK.rsplit("/", 1)
    if not os.path.isdir(TASK):  # noqa: PTH112
        _extend(parent, name)
    _set_read_only("/", True, recursive=True)


def _extend(directory: str, name: str) -> None:
    """Have a further directory in one that we may not write to: all else that is in it is bound into an empty one."""
    links, held = {}, {}
    for entry in os.scandir(directory):
        if entry.is_symlink():
            links[entry.path] = os.readlink(entry.path)  # noqa: PTH115
        else:
            held[entry.path] = (os.open(entry.path, os.O_PATH | os.O_NOFOLLOW), entry.is_dir())
    mount("tmpfs", directory, "tmpfs", MS_NOSUID | MS_NODEV, "mode=0755,size=256k")
    for path, target in links.items():
        os.symlink(target, path)  # noqa: PTH211
    for path, (descriptor, is_directory) in held.items():
        if is_directory:
            os.mkdir(path)  # noqa: PTH102
        else:
            os.close(os.open(path, os.O_WRONLY | os.O_CREAT, 0o644))
        mount(f"/proc/self/fd/{descriptor}", path, None, MS_BIND | MS_REC)
        os.close(descriptor)
    os.mkdir(f"{directory}/{name}")  # noqa: PTH102


def private_mounts(
    temporary: str, hidden: str | None, shown: Sequence[str], *, task: str | None = None, writable: bool = False
) -> None:
    """A mount namespace with a temporary directory of its own and nothing of the stack's state.

    :param temporary: the host's directory that becomes /tmp and /var/tmp here.
    :param hidden: the state directory, empty here.
    :param shown: directories needed here even where they lie below a covered one, as a virtual environment that lives
        in /tmp.
    :param task: the unpacked code, which becomes :data:`TASK`; ``/opt`` is empty then, as on AWS without layers.
    :param writable: whether all may be written to that may be so now, not the temporary directories only.
    """
    unshare(CLONE_NEWNS)
    mount(None, "/", None, MS_REC | MS_PRIVATE)
    covered = [path for path in COVERED if os.path.isdir(path) and not os.path.islink(path)]  # noqa: PTH112, PTH114
    emptied = ["/opt"] if task and os.path.isdir("/opt") and not os.path.islink("/opt") else []  # noqa: PTH112, PTH114
    shared = [SHARED_MEMORY] if os.path.isdir(SHARED_MEMORY) else []  # noqa: PTH112
    if hidden and not _below(hidden, [*covered, *emptied, *shared]):
        emptied.append(hidden)
    lost = [*covered, *emptied, *shared]
    kept = {path: os.open(path, os.O_PATH | os.O_DIRECTORY) for path in shown if _below(path, lost)}
    private = os.open(temporary, os.O_PATH | os.O_DIRECTORY)
    code = os.open(task, os.O_PATH | os.O_DIRECTORY) if task else -1
    for path in emptied:
        mount("tmpfs", path, "tmpfs", MS_NOSUID | MS_NODEV, "mode=0755,size=256k")
    for path in covered:
        mount(f"/proc/self/fd/{private}", path, None, MS_BIND)
        if not writable:
            _set_read_only(path, False)
    for path in shared:
        mount("tmpfs", path, "tmpfs", MS_NOSUID | MS_NODEV, "mode=1777,size=50%")
    for path, descriptor in sorted(kept.items()):
        os.makedirs(path, exist_ok=True)  # noqa: PTH103
        # It may be written to where that from which it is bound may be.
        mount(f"/proc/self/fd/{descriptor}", path, None, MS_BIND)
        os.close(descriptor)
    if code >= 0:
        mount(f"/proc/self/fd/{code}", TASK, None, MS_BIND)
        os.close(code)
    if not writable:
        for path in emptied:
            _set_read_only(path, True)
    os.close(private)


def _set_read_only(path: str, wanted: bool, *, recursive: bool = False) -> None:
    """Whether a mount, or with ``recursive`` all mounts from there on, may be written to here; others' stay as they
    are."""
    change = (ctypes.c_uint64 * 4)(_ATTR_RDONLY if wanted else 0, 0 if wanted else _ATTR_RDONLY, 0, 0)
    result = _libc.syscall(
        ctypes.c_long(_MOUNT_SETATTR),
        ctypes.c_int(_AT_FDCWD),
        os.fsencode(path),
        ctypes.c_uint(_AT_RECURSIVE if recursive else 0),
        ctypes.byref(change),
        ctypes.c_size_t(ctypes.sizeof(change)),
    )
    if result == 0:
        return
    if ctypes.get_errno() not in (errno.ENOSYS, errno.EPERM):
        _check(result, f"mount_setattr {path}")
    _remount(path, wanted)
    for point in _mount_points() if recursive else []:
        with suppress(OSError):  # one that is covered, or that may not be reached
            _remount(point, wanted)


def _remount(path: str, read_only: bool) -> None:
    """As kernels before 5.12 have it: mount by mount, and all other flags said again."""
    flags = MS_REMOUNT | MS_BIND | (MS_RDONLY if read_only else 0)
    mount(None, path, None, flags | _flags(path))


def _mount_points() -> list[str]:
    with open("/proc/self/mountinfo", "rb") as file:  # noqa: PTH123
        names = [line.split()[4] for line in file]
    return [os.fsdecode(name.decode("unicode_escape").encode("latin-1")) for name in names]


_LOCKED = ((2, MS_NOSUID), (4, MS_NODEV), (8, MS_NOEXEC), (1024, 1024), (2048, 2048), (4096, 1 << 21))


def _flags(path: str) -> int:
    """The mount flags that a user namespace may not take away: what statvfs(3) shows, as mount(2) wants it."""
    found = os.statvfs(path).f_flag
    return sum(flag for bit, flag in _LOCKED if found & bit)


def mount_proc() -> None:
    """Show this process namespace's processes; without the right to it, the host's stay in sight."""
    with suppress(OSError):
        mount("proc", "/proc", "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC)


def join_cgroups(files: Sequence[str], root: int | None = None) -> None:
    """Move this process into the groups whose ``cgroup.procs`` these are.

    :param root: a root directory by which they may be written to.
    """
    for path in files:
        name = path if root is None else path.lstrip("/")
        descriptor = os.open(name, os.O_WRONLY, dir_fd=root)
        try:
            os.write(descriptor, b"0")
        finally:
            os.close(descriptor)


def limit_resources(data: int | None, *, processes: bool = False) -> None:
    """Lambda's limits on files, no core dumps, and where no cgroup does it, memory and processes.

    :param data: bytes of private writable memory that each process may have, or None.
    :param processes: limit those of this user namespace.
    """
    if processes:
        resource.setrlimit(resource.RLIMIT_NPROC, (MOST_PROCESSES, MOST_PROCESSES))
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    files = 1024 if hard == resource.RLIM_INFINITY else min(1024, hard)
    resource.setrlimit(resource.RLIMIT_NOFILE, (files, files))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if data is not None:
        resource.setrlimit(resource.RLIMIT_DATA, (data, data))
    with suppress(OSError):
        descriptor = os.open("/proc/self/oom_score_adj", os.O_WRONLY)
        os.write(descriptor, b"500")
        os.close(descriptor)


def counts_by_namespace() -> bool:
    """Whether RLIMIT_NPROC counts those of one user namespace, and not all of the user's, as before Linux 5.14."""
    return tuple(int(part) for part in re.findall(r"\d+", os.uname().release)[:2]) >= (5, 14)


def private_data() -> int:
    """Bytes of private writable memory that this process has now."""
    with open("/proc/self/statm", "rb") as file:  # noqa: PTH123
        return int(file.read().split()[5]) * resource.getpagesize()


def parents() -> dict[int, tuple[int, str]]:
    """Parent and state letter of every process that we can see."""
    found: dict[int, tuple[int, str]] = {}
    for name in os.listdir("/proc"):  # noqa: PTH208
        if name.isdigit():
            with suppress(OSError, ValueError, IndexError):
                with open(f"/proc/{name}/stat", "rb") as file:  # noqa: PTH123
                    fields = file.read().rpartition(b")")[2].split()
                found[int(name)] = (int(fields[1]), fields[0].decode())
    return found


def descendants(root: int, tree: dict[int, tuple[int, str]] | None = None) -> list[int]:
    """Every living process below ``root``."""
    tree = parents() if tree is None else tree
    children: dict[int, list[int]] = {}
    for pid, (parent, _) in tree.items():
        children.setdefault(parent, []).append(pid)
    found: list[int] = []
    waiting = [root]
    while waiting:
        for pid in children.get(waiting.pop(), ()):
            waiting.append(pid)
            found.append(pid)
    return [pid for pid in found if tree[pid][1] not in "ZX"]


def sweep(limit: float = 2.0) -> None:
    """Kill everything below this process, a subreaper, and reap it: what is forked meanwhile too."""
    until = time.monotonic() + limit
    while time.monotonic() < until:
        living = descendants(os.getpid())
        for pid in living:
            with suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)
        with suppress(ChildProcessError):
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
            time.sleep(0.002)
            continue
        return
