"""Network namespaces that have no name: each lives as long as a process holds it open, and leaves nothing after a kill.

Knows the kernel's calls and iproute2's ``ip``, nothing of what a namespace is for.
"""

import fcntl
import os
import shutil
import signal
import struct
import subprocess
import sys
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

from mu_twisted.local.environments.isolation import set_death_signal, setns, unshare

CLONE_NEWNET = 0x40000000
_TUNSETIFF = 0x400454CA
_IFF_TUN, _IFF_NO_PI = 1, 0x1000
ROOT = Path(__file__).resolve().parents[2]
T = TypeVar("T")


class NamespaceError(Exception):
    """The kernel, or a command inside a namespace, has refused; the text is one line."""


class NetworkNamespace:
    """A new namespace, with its loopback up. Needs root, or a user namespace's.

    :param name: for messages.
    :raises NamespaceError: it is not permitted.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        try:
            self._descriptor = _in_thread(_new_namespace)
        except OSError as error:
            raise NamespaceError(f"no network namespace can be made: {error.strerror}") from None
        try:
            self.run("ip", "link", "set", "lo", "up")
        except BaseException:
            self.close()
            raise

    @property
    def inode(self) -> int:
        """The number by which ``/proc/PID/ns/net`` shows it."""
        return os.fstat(self._descriptor).st_ino

    def run(self, *command: str, stdin: str = "") -> str:
        """Run a command inside, and return what it prints.

        :raises NamespaceError: its status is not 0.
        """
        done = subprocess.run(
            self._entering(command),
            input=stdin,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
            pass_fds=[self._descriptor],
        )
        if done.returncode:
            raise NamespaceError(f"{self.name}: {' '.join(command)}: {' '.join(done.stderr.split())}")
        return done.stdout

    def start(self, *command: str, env: Mapping[str, str] | None = None) -> "subprocess.Popen[str]":
        """Start a program inside, which is killed when this thread ends; its input and output are pipes."""
        return subprocess.Popen(
            self._entering(command),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=None if env is None else dict(env),
            pass_fds=[self._descriptor],
            preexec_fn=_die_with_parent,  # noqa: PLW1509 - no thread holds a lock that this needs
        )

    def start_python(self, *words: str) -> "subprocess.Popen[str]":
        """Start this interpreter inside, with the project and the tests' support to import."""
        path = os.pathsep.join([str(ROOT), str(ROOT / "tests" / "support")])
        return self.start(sys.executable, *words, env={**os.environ, "PYTHONPATH": path})

    def set(self, name: str, value: str) -> None:
        """Set one of the network's variables, e.g. ``ipv4/ip_forward``."""
        self.run("sh", "-c", 'echo "$1" > "/proc/sys/net/$0"', name, value)

    def tun(self, name: str) -> int:
        """Make a TUN interface inside.

        :returns: the descriptor that carries its packets, which the caller closes; the interface goes with it.
        :raises NamespaceError: it is not permitted.
        """

        def make() -> int:
            setns(self._descriptor, CLONE_NEWNET)
            descriptor = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
            try:
                fcntl.ioctl(descriptor, _TUNSETIFF, struct.pack("16sH14x", name.encode("ascii"), _IFF_TUN | _IFF_NO_PI))
            except BaseException:
                os.close(descriptor)
                raise
            return descriptor

        try:
            return _in_thread(make)
        except OSError as error:
            raise NamespaceError(f"no TUN interface can be made: {error.strerror}") from None

    def take(self, interface: str, maker: "NetworkNamespace") -> None:
        """Move an interface here from the namespace that has it."""
        command = ["ip", "link", "set", "dev", interface, "netns", f"/proc/{os.getpid()}/fd/{self._descriptor}"]
        maker.run(*command)

    def close(self) -> None:
        """Let it go; the kernel removes it with the last process inside."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def _entering(self, command: tuple[str, ...]) -> list[str]:
        return ["nsenter", f"--net=/proc/self/fd/{self._descriptor}", "--", *command]


def missing_commands() -> list[str]:
    """Which of the commands that the lab runs are not installed."""
    return [command for command in ("ip", "nft", "nsenter") if shutil.which(command) is None]


def _new_namespace() -> int:
    unshare(CLONE_NEWNET)
    return os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)


def _in_thread(call: Callable[[], T]) -> T:
    """Call in a thread of its own: its namespace changes, the others' do not."""
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(call).result()


def _die_with_parent() -> None:
    set_death_signal(signal.SIGKILL)
