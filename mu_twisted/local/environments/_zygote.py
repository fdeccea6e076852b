"""The zygote is a small process that forks one process tree per environment. Standard library only.

Each environment is an init, which owns the tree, and below it the runtime: AWS's runtime client, imported after the
fork since it reads its endpoint when it is loaded. In a process namespace of its own the init's end is the end of all
of them, by the kernel; without namespaces the init is a subreaper and sweeps. The daemon speaks JSON packets over a
``SOCK_SEQPACKET`` socket, each ``spawn`` with the descriptor that takes the environment's output.
"""

from __future__ import annotations

# What most handlers import anyway is loaded once and shared by all forks.
import base64  # noqa: F401
import gc
import json
import os
import select
import signal
import site
import socket
import sys
import time
from contextlib import suppress

from . import isolation
from ._isolation_level import enter
from ._runtime_process import Spec, become, preload, run

_PACKET = 1 << 18


class Zygote:
    """The loop that forks.

    :param control: the daemon's socket; its end is ours.
    :param level: ``root``, ``user`` or ``none``: by which right namespaces are made.
    """

    def __init__(self, control: socket.socket, level: str) -> None:
        self._control = control
        self._isolation_level = level
        self._inits: dict[int, str] = {}
        self._namespace = self._root = -1
        if level != "none":
            self._namespace = os.open("/proc/self/ns/pid", os.O_RDONLY | os.O_CLOEXEC)
            # By this the control groups may still be written to.
            self._root = os.open("/", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
            isolation.prepare_root()
        self._stdlib = [path for path in sys.path if path]
        self._wake, self._waker = socket.socketpair()
        self._baseline = isolation.private_data()

    def serve(self) -> Spec | None:
        """Fork on demand. Returns the specification in a forked runtime, None when all is over in the zygote."""
        self._wake.setblocking(False)
        self._waker.setblocking(False)
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.set_wakeup_fd(self._waker.fileno())
        self._say(event="ready", level=self._isolation_level, pid=os.getpid())
        while True:
            readable = select.select([self._control, self._wake], [], [])[0]
            if self._wake in readable:
                with suppress(BlockingIOError):
                    self._wake.recv(4096)
                self._reap()
            if self._control not in readable:
                continue
            packet, descriptors, _, _ = socket.recv_fds(self._control, _PACKET, 1)
            if not packet:
                self._end()
                return None
            order: Spec = json.loads(packet)
            if order["op"] == "kill":
                self._kill(order["id"])
            elif order["op"] == "spawn":
                found = self._spawn(order, descriptors[0])
                if found is not None:
                    return found

    def _say(self, **message: object) -> None:
        with suppress(OSError):
            self._control.send(json.dumps(message).encode())

    def _kill(self, name: str) -> None:
        for pid, known in self._inits.items():
            if known == name:
                os.kill(pid, signal.SIGTERM if self._isolation_level == "none" else signal.SIGKILL)

    def _reap(self) -> None:
        with suppress(ChildProcessError):
            while True:
                pid, status = os.waitpid(-1, os.WNOHANG)
                if pid == 0:
                    break
                name = self._inits.pop(pid, None)
                if name is not None:
                    self._sweep_orphans(status)
                    self._say(event="gone", id=name)

    def _sweep_orphans(self, status: int) -> None:
        """Without namespaces an init that was killed leaves its tree to us."""
        if self._isolation_level == "none" and os.WIFSIGNALED(status):
            for _ in range(200):
                tree = isolation.parents()
                kept = set(self._inits)
                for pid in self._inits:
                    kept.update(isolation.descendants(pid, tree))
                orphans = [pid for pid in isolation.descendants(os.getpid(), tree) if pid not in kept]
                if not orphans:
                    break
                for pid in orphans:
                    with suppress(ProcessLookupError):
                        os.kill(pid, signal.SIGKILL)
                time.sleep(0.002)

    def _end(self) -> None:
        for pid in self._inits:
            os.kill(pid, signal.SIGTERM if self._isolation_level == "none" else signal.SIGKILL)
        until = time.monotonic() + 1.5
        while self._inits and time.monotonic() < until:
            self._reap()
            time.sleep(0.002)
        if self._isolation_level == "none":
            isolation.sweep(0.5)

    def _spawn(self, spec: Spec, output: int) -> Spec | None:
        separate = self._isolation_level != "none"
        try:
            if separate:
                isolation.unshare(isolation.CLONE_NEWPID)
            pid = os.fork()
        except OSError as error:
            pid = -1
            self._say(event="ended", id=spec["id"], status=None, reason=f"fork: {error}")
            self._say(event="gone", id=spec["id"])
        if pid == 0:
            return self._init(spec, output)
        if separate:
            isolation.setns(self._namespace, isolation.CLONE_NEWPID)
        if pid > 0:
            self._inits[pid] = spec["id"]
        os.close(output)
        return None

    def _init(self, spec: Spec, output: int) -> Spec | None:
        """The first process of an environment. Only its child, the runtime, returns."""
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        try:
            os.setsid()
            if self._isolation_level == "none":
                isolation.become_subreaper()
                isolation.set_death_signal(signal.SIGTERM)
                signal.signal(signal.SIGTERM, lambda *_: self._swept())
            else:
                isolation.set_death_signal(signal.SIGKILL)
            if self._isolation_level == "none":
                isolation.join_cgroups(spec["cgroups"])
            else:
                isolation.join_cgroups(spec["cgroups"], self._root)
                os.close(self._root)
                isolation.private_mounts(spec["tmp"], spec["hidden"], spec["shown"], task=spec["code"])
                isolation.mount_proc()
            pid = os.fork()
            if pid == 0:
                become(spec, output, self._isolation_level, self._baseline, self._stdlib)
                return spec
        except BaseException as error:  # noqa: BLE001 - nothing of this process may go on
            self._say(event="ended", id=spec["id"], status=None, reason=f"{type(error).__name__}: {error}")
            os._exit(1)
        isolation.set_name(b"mu-init")
        os.close(output)
        status = None
        while status is None:
            with suppress(InterruptedError):
                ended, found = os.waitpid(-1, 0)
                status = found if ended == pid else None
        self._say(event="ended", id=spec["id"], status=os.waitstatus_to_exitcode(status))
        if self._isolation_level == "none":
            isolation.sweep()
        os._exit(0)

    def _swept(self) -> None:
        isolation.sweep()
        os._exit(0)


def main(arguments: list[str]) -> None:
    """``DAEMON_PID CONTROL_DESCRIPTOR ISOLATION RUNTIME_DIRECTORY``."""
    found = _serve(arguments)
    # The zygote's sockets are forgotten by now: their numbers are the runtime's to use.
    if found is not None:
        run(found)


def _serve(arguments: list[str]) -> Spec | None:
    daemon, descriptor, wanted, runtime = int(arguments[0]), int(arguments[1]), arguments[2], arguments[3]
    os.setsid()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    isolation.set_name(b"mu-zygote")
    control = socket.socket(fileno=descriptor)
    control.set_inheritable(False)
    if wanted != "none":
        isolation.set_death_signal(signal.SIGKILL)
    else:
        isolation.become_subreaper()
    if os.getppid() != daemon:
        return None
    level = enter(wanted)
    if level == "none":
        isolation.set_death_signal(0)
        isolation.become_subreaper()
    preload(runtime)
    site.setquit()
    gc.collect()
    gc.disable()
    gc.freeze()
    return Zygote(control, level).serve()
