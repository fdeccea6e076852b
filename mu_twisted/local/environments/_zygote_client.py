"""The zygote's client in the daemon starts it, sends it orders, and reports what became of each environment.

Knows nothing of functions or invocations.
"""

from __future__ import annotations

import json
import os
import socket
import sys
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReadWriteDescriptor
from twisted.internet.protocol import ProcessProtocol
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from mu_twisted.base.json_types import JsonObject
from mu_twisted.local._errors import LocalError
from mu_twisted.local._process_marks import MARK

_BOOTSTRAP = Path(__file__).parents[1] / "_bootstrap.py"
_PACKET = 1 << 18
_MOST_OUTPUT = 4096


@implementer(IReadWriteDescriptor)
class _Control:
    """A packet socket on the reactor."""

    def __init__(self, reactor: Any, end: socket.socket, received: Callable[[JsonObject], None]) -> None:
        self._reactor = reactor
        self._end = end
        self._received = received
        self._waiting: deque[tuple[bytes, int]] = deque()
        end.setblocking(False)
        reactor.addReader(self)

    def fileno(self) -> int:
        return self._end.fileno()

    def logPrefix(self) -> str:
        return "zygote"

    def doRead(self) -> None:
        for _ in range(256):
            try:
                packet = self._end.recv(_PACKET)
            except (BlockingIOError, InterruptedError):
                return
            except OSError:
                packet = b""
            if not packet:
                self._reactor.removeReader(self)
                return
            self._received(json.loads(packet))

    def send(self, message: JsonObject, descriptor: int = -1) -> None:
        """Send a packet, and with it a descriptor, which is closed here."""
        self._waiting.append((json.dumps(message).encode(), descriptor))
        self.doWrite()

    def doWrite(self) -> None:
        while self._waiting:
            packet, descriptor = self._waiting[0]
            try:
                if descriptor < 0:
                    self._end.send(packet)
                else:
                    socket.send_fds(self._end, [packet], [descriptor])
            except (BlockingIOError, InterruptedError):
                self._reactor.addWriter(self)
                return
            except OSError:
                pass  # it is gone; its process protocol says so
            self._waiting.popleft()
            if descriptor >= 0:
                os.close(descriptor)
        self._reactor.removeWriter(self)

    def connectionLost(self, reason: Failure) -> None:
        self.close()

    def close(self) -> None:
        self._reactor.removeReader(self)
        self._reactor.removeWriter(self)
        self._end.close()
        while self._waiting:
            descriptor = self._waiting.popleft()[1]
            if descriptor >= 0:
                os.close(descriptor)


class ZygoteClient(ProcessProtocol):
    """A running zygote.

    :param reactor: for the process, its socket and time.
    :param directory: an empty directory of ours, its working directory.
    :param runtime: the directory of links to AWS's client.
    :param isolation: ``auto``, ``user`` or ``none``: the strongest to try.
    :param on_ended: ``(environment, status, reason)``: the runtime has ended; status as of ``waitstatus_to_exitcode``,
        None where it never ran.
    :param on_gone: ``(environment)``: no process of it is left.
    :param on_lost: the zygote itself has ended, and with it every environment.
    """

    _log = Logger()

    def __init__(
        self,
        reactor: Any,
        directory: Path,
        runtime: Path,
        isolation: str,
        on_ended: Callable[[str, int | None, str], None],
        on_gone: Callable[[str], None],
        on_lost: Callable[[], None],
    ) -> None:
        self._reactor = reactor
        self._on_ended = on_ended
        self._on_gone = on_gone
        self._on_lost = on_lost
        self._ready: Deferred[str] | None = Deferred()
        self._over: list[Deferred[None]] = []
        self._alive = True
        self._output = b""
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        for end in (ours, theirs):
            end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 20)
        null = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
        try:
            self._process = reactor.spawnProcess(
                self,
                sys.executable,
                [
                    sys.executable,
                    "-I",
                    "-S",
                    str(_BOOTSTRAP),
                    "environments._zygote",
                    str(os.getpid()),
                    "3",
                    isolation,
                    str(runtime),
                ],
                env={"LANG": "en_US.UTF-8", "PYTHONUTF8": "1", MARK: str(directory.parent)},
                path=str(directory),
                childFDs={0: null, 1: "r", 2: "r", 3: theirs.fileno()},
            )
        finally:
            os.close(null)
            theirs.close()
        self._control = _Control(reactor, ours, self._received)

    def when_ready(self) -> Deferred[str]:
        """Fires once with the isolation in force: ``root``, ``user`` or ``none``."""
        assert self._ready is not None
        return self._ready

    @property
    def alive(self) -> bool:
        return self._alive

    def spawn(self, spec: JsonObject, output: int) -> None:
        """Fork an environment. ``output`` is the descriptor that takes what it prints; it is closed here."""
        self._control.send({"op": "spawn", **spec}, output)

    def kill(self, environment: str) -> None:
        """End a whole environment now."""
        self._control.send({"op": "kill", "id": environment})

    def stop(self) -> Deferred[None]:
        """End all of it; fires when the process is gone."""
        over: Deferred[None] = Deferred()
        if not self._alive:
            over.callback(None)
            return over
        self._over.append(over)
        self._control.close()
        late = self._reactor.callLater(1.5, self._kill)
        over.addBoth(lambda result: (late.active() and late.cancel(), result)[1])
        return over

    def _kill(self) -> None:
        if self._alive:
            self._process.signalProcess("KILL")

    def _received(self, message: JsonObject) -> None:
        if message["event"] == "ready":
            if self._ready is not None:
                ready, self._ready = self._ready, None
                ready.callback(message["level"])
        elif message["event"] == "ended":
            self._on_ended(message["id"], message["status"], message.get("reason", ""))
        elif message["event"] == "gone":
            self._on_gone(message["id"])

    def outReceived(self, data: bytes) -> None:
        self._output = (self._output + data)[-_MOST_OUTPUT:]

    errReceived = outReceived

    def processEnded(self, reason: Failure) -> None:
        self._alive = False
        self._control.doRead()
        self._control.close()
        if self._ready is not None:
            ready, self._ready = self._ready, None
            text = self._output.decode(errors="replace").strip().rpartition("\n")[2]
            ready.errback(LocalError(f"the process that forks environments did not start: {text or reason.value}"))
        elif not self._over:
            text = self._output.decode(errors="replace")
            self._log.error("the zygote ended: {reason} {text}", reason=reason.getErrorMessage(), text=text)
            self._on_lost()
        for over in self._over:
            over.callback(None)
        self._over.clear()
