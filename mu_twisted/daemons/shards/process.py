"""A shard, to its supervisor, is a process that is started again whenever it ends, or is silent for long."""

import json
import os
import sys
from collections.abc import Mapping
from contextlib import suppress
from typing import Any, Protocol

from twisted.internet.base import DelayedCall
from twisted.internet.defer import Deferred, succeed
from twisted.internet.error import ProcessExitedAlready
from twisted.internet.protocol import ProcessProtocol
from twisted.logger import InvalidLogLevelError, Logger, LogLevel
from twisted.python.failure import Failure

from mu_twisted.base.json_types import Json
from mu_twisted.daemons.shards.ports import Listener

FIRST_PAUSE = 0.1
LONGEST_PAUSE = 10.0
"""Seconds before a shard is started again: doubled each time, until one has lived for ``STABLE_TIME``."""
STABLE_TIME = 60.0
STARTS = 5
"""Starts in a row that may fail before the shard is given up; the first of all may not."""
SILENCES = 6
"""Looks in a row without a sign of life before a shard is taken for hung."""
STOP_TIME = 5.0
"""Seconds that a shard has to end after SIGTERM."""
MAX_LINE = 64 << 10
"""Bytes of a line of a shard's output; a longer one is cut."""
_PRIVATE = ("NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID", "LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES")
_EXECUTED = "mu_twisted.daemons.shards.child"
_STDIN, _STDOUT, _STDERR, _LISTENER = 0, 1, 2, 3


class Pauses:
    """How long to wait before a shard is started again."""

    def __init__(self) -> None:
        self._pause = FIRST_PAUSE
        self._failed = 0
        self._known_good = False

    def after(self, seconds: float | None) -> float | None:
        """The shard has ended.

        :param seconds: since it was ready; None: it never was.
        :returns: seconds to wait; None: it cannot be started.
        """
        if seconds is None:
            self._failed += 1
            if not self._known_good or self._failed == STARTS:
                return None
        else:
            self._known_good = True
            self._failed = 0
            if seconds >= STABLE_TIME:
                self._pause = FIRST_PAUSE
        pause, self._pause = self._pause, min(2 * self._pause, LONGEST_PAUSE)
        return pause


class Supervisor(Protocol):
    """Is notified about shards."""

    def shard_ready(self) -> None:
        """A shard is there, for the first time or again."""

    def shard_missing(self, status: str) -> None:
        """A shard has ended, and is started again.

        :param status: one line.
        """

    def shard_failed(self, error: str) -> None:
        """A shard cannot be started.

        :param error: one line.
        """


class Shard:
    """One shard, over all its processes.

    :param reactor: Twisted's.
    :param number: from 0.
    :param listener: what it accepts from; stays open between its processes.
    :param order: what it is to do, JSON-able.
    :param supervisor: see :class:`Supervisor`.
    """

    log = Logger()

    def __init__(
        self, reactor: Any, number: int, listener: Listener, order: Mapping[str, Json], supervisor: Supervisor
    ) -> None:
        self.ready = False
        self._reactor = reactor
        self._number = number
        self._listener = listener
        self._order = f"{json.dumps({'number': number, **order})}\n".encode("ascii")
        self._supervisor = supervisor
        self._pauses = Pauses()
        self._process: Any = None
        self._pid = 0
        self._began = 0.0
        self._silences = 0
        self._complaint = ""
        self._timer: DelayedCall | None = None
        self._stopped: Deferred[None] | None = None

    def start(self) -> None:
        """Start its process."""
        self._complaint, self._silences = "", 0
        port = str(self._listener.port)
        flags = [word for option in sys.warnoptions for word in ("-W", option)]
        environment = {name: value for name, value in os.environ.items() if name not in _PRIVATE}
        try:
            self._process = self._reactor.spawnProcess(
                _ShardProcess(self),
                sys.executable,
                [sys.executable, *flags, "-m", _EXECUTED, str(self._number), port],
                environment,
                childFDs={_STDIN: "w", _STDOUT: "r", _STDERR: "r", _LISTENER: self._listener.fileno},
            )
        except OSError as error:
            self._gone(f"no process can be made: {error.strerror}")
            return
        self._process.write(self._order)
        self._pid = self._process.pid
        self.log.info("shard {shard} is process {pid}, on port {port}", shard=self._number, pid=self._pid, port=port)

    def look(self) -> None:
        """Some seconds have passed: end the process if it is hung. It is started again then."""
        self._silences += 1
        if self._process is not None and self._stopped is None and self._silences > SILENCES:
            self.log.error("shard {shard} gives no signs of life: it is killed", shard=self._number)
            self._signal("KILL")

    def stop(self) -> Deferred[None]:
        """End it for good; fires when it has."""
        if self._timer is not None and self._timer.active():
            self._timer.cancel()
        if self._process is None:
            return succeed(None)
        self._stopped = Deferred()
        self._signal("TERM")
        self._timer = self._reactor.callLater(STOP_TIME, self._signal, "KILL")
        return self._stopped

    # -- what the process reports ----------------------------------------------------------------------------------

    def said(self, line: bytes) -> None:
        """A line on its standard output."""
        self._silences = 0
        try:
            kind, *words = json.loads(line)
            if kind == "notify":
                self._notified(str(words[0]))
            else:
                self._log(kind, str(words[0]), str(words[1]))
        except (ValueError, LookupError, TypeError, InvalidLogLevelError):
            self.complained(line)

    def complained(self, line: bytes) -> None:
        """A line on its standard error."""
        text = line.decode("utf-8", "replace")
        if text.startswith("error: "):
            self._complaint = text.removeprefix("error: ")
        elif text:
            self.log.error("shard {shard}: {text}", shard=self._number, text=text)

    def ended(self, reason: Failure) -> None:
        """It has ended."""
        self._process = None
        if self._stopped is None:
            self._gone(self._complaint or _how(reason))
            return
        self.ready = False
        if self._timer is not None and self._timer.active():
            self._timer.cancel()
        self._stopped.callback(None)

    # -- inside ----------------------------------------------------------------------------------------------------

    def _gone(self, how: str) -> None:
        pause = self._pauses.after(self._reactor.seconds() - self._began if self.ready else None)
        self.ready = False
        if pause is None:
            self._supervisor.shard_failed(f"shard {self._number} cannot be started: {how}")
            return
        self._timer = self._reactor.callLater(pause, self.start)
        self.log.error(
            "shard {shard}, process {pid}, is gone: {how}; another is started in {pause:g} s",
            shard=self._number,
            pid=self._pid,
            how=how,
            pause=pause,
        )
        self._supervisor.shard_missing(f"shard {self._number} is being started again: {how}")

    def _signal(self, name: str) -> None:
        with suppress(ProcessExitedAlready):
            self._process.signalProcess(name)

    def _notified(self, text: str) -> None:
        if text.startswith("READY=1") and not self.ready:
            self.ready = True
            self._began = self._reactor.seconds()
            self._supervisor.shard_ready()

    def _log(self, level: str, namespace: str, text: str) -> None:
        Logger(namespace=namespace).emit(
            LogLevel.levelWithName(level), "shard {shard}: {text}", shard=self._number, text=text
        )


class _ShardProcess(ProcessProtocol):
    """One process: its output in lines."""

    def __init__(self, shard: Shard) -> None:
        self._take = {_STDOUT: shard.said, _STDERR: shard.complained}
        self._rest = {_STDOUT: b"", _STDERR: b""}
        self._shard = shard

    def childDataReceived(self, childFD: int, data: bytes) -> None:
        """Output."""
        *lines, rest = (self._rest[childFD] + data).split(b"\n")
        self._rest[childFD] = rest[:MAX_LINE]
        for line in lines:
            self._take[childFD](line)

    def processEnded(self, reason: Failure) -> None:
        """It has ended, and all its output has been read."""
        for descriptor, rest in self._rest.items():
            if rest:
                self._take[descriptor](rest)
        self._shard.ended(reason)


def _how(reason: Failure) -> str:
    signal, status = getattr(reason.value, "signal", None), getattr(reason.value, "exitCode", None)
    return f"killed by signal {signal}" if signal else f"ended with status {status}"
