"""A notifier speaks systemd's notify protocol: datagrams say that a daemon is ready, alive, or stopping (sd_notify)."""

import os
import socket
from collections.abc import Mapping
from functools import partial
from typing import Any

from twisted.logger import Logger

from mu_twisted.transport import every

SEND_TIMEOUT = 1.0
"""Seconds that a message may wait for a service manager that takes none at the moment."""


class Notifier:
    """Notifies the service manager, if there is one.

    :param reactor: Twisted's, whose running is what the watchdog watches.
    :param environ: ``NOTIFY_SOCKET``, and ``WATCHDOG_USEC`` with ``WATCHDOG_PID``, as systemd sets them.
    """

    log = Logger()

    def __init__(self, reactor: Any, environ: Mapping[str, str] = os.environ) -> None:
        self._path = environ.get("NOTIFY_SOCKET", "")
        self._reached = True
        self._period = _watchdog_seconds(environ) / 2
        self._alive = every(reactor, self._period, partial(self.say, "WATCHDOG=1"))

    def ready(self, status: str) -> None:
        """The daemon can be used from now on.

        :param status: one line for ``systemctl status``.
        """
        self.say(f"READY=1\nSTATUS={status}")
        if self._period > 0:
            self._alive.start(now=True)

    def hold(self, status: str) -> None:
        """A part of the daemon is missing: no signs of life until it is ready again.

        :param status: one line.
        """
        self._alive.stop()
        self.say(f"STATUS={status}")

    def stopping(self) -> None:
        """The daemon stops."""
        self._alive.stop()
        self.say("STOPPING=1")

    def say(self, text: str) -> None:
        """One message, in the words of the protocol. Where it cannot be sent, the next may be."""
        if not self._path:
            return
        address = "\0" + self._path[1:] if self._path.startswith("@") else self._path
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as line:
                line.settimeout(SEND_TIMEOUT)
                line.sendto(text.encode("utf-8"), address)
            self._reached = True
        except OSError as error:
            if self._reached:
                self.log.warn("the service manager cannot be notified: {error}", error=str(error))
            self._reached = False


def _watchdog_seconds(environ: Mapping[str, str]) -> float:
    """How long the service manager waits for a sign of life; 0: it does not."""
    microseconds, pid = environ.get("WATCHDOG_USEC", ""), environ.get("WATCHDOG_PID", str(os.getpid()))
    if not microseconds.isascii() or not microseconds.isdigit() or pid != str(os.getpid()):
        return 0.0
    return int(microseconds) / 1e6
