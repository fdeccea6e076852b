"""The listener is a loopback socket of few bytes that logs nothing: there is one for each environment."""

from __future__ import annotations

import socket
from contextlib import suppress
from typing import Any

from twisted.internet.interfaces import IReadDescriptor
from twisted.python.failure import Failure
from zope.interface import implementer

from mu_twisted.local.environments._peer import ours

_BACKLOG = 16
_ACCEPTS = 8


@implementer(IReadDescriptor)
class LoopbackListener:
    """Accepts our own user's connections for a factory that serves many listeners: others can reach loopback, too.

    Twisted's own port logs its start and its end, and starts and stops its factory.

    :param reactor: adopts the connections.
    :param factory: builds their protocols.
    """

    def __init__(self, reactor: Any, factory: Any) -> None:
        self._reactor = reactor
        self._factory = factory
        self._end = socket.socket(socket.AF_INET, socket.SOCK_STREAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
        try:
            self._end.bind(("127.0.0.1", 0))
            self._end.listen(_BACKLOG)
        except OSError:
            self._end.close()
            raise
        self.port: int = self._end.getsockname()[1]
        reactor.addReader(self)

    def fileno(self) -> int:
        return self._end.fileno()

    def logPrefix(self) -> str:
        return "listener"

    def doRead(self) -> None:
        for _ in range(_ACCEPTS):
            try:
                connection, address = self._end.accept()
            except OSError:
                return
            with connection:
                connection.setblocking(False)
                if ours(connection.getsockname(), address):
                    # Without a descriptor to spare it is closed, and its peer tries again.
                    with suppress(OSError):
                        self._reactor.adoptStreamConnection(connection.fileno(), socket.AF_INET, self._factory)

    def connectionLost(self, reason: Failure) -> None:
        self.close()

    def close(self) -> None:
        """Take no more connections; those that are there go on."""
        self._reactor.removeReader(self)
        self._end.close()
