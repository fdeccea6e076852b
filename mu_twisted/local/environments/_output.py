"""An environment's output is read here; the last 4 KiB are kept."""

from __future__ import annotations

import os
from typing import Any

from twisted.internet.interfaces import IReadDescriptor
from twisted.python.failure import Failure
from zope.interface import implementer

from mu_twisted.local.environments.invocation import LOG_TAIL

_CHUNK = 1 << 16


@implementer(IReadDescriptor)
class PipeOutput:
    """The reading end of a pipe on the reactor.

    :param reactor: reads it.
    :param descriptor: the pipe's reading end, ours from now on.
    """

    def __init__(self, reactor: Any, descriptor: int) -> None:
        self._reactor = reactor
        self._descriptor = descriptor
        self._kept = bytearray()
        os.set_blocking(descriptor, False)
        reactor.addReader(self)

    def fileno(self) -> int:
        return self._descriptor

    def logPrefix(self) -> str:
        return "output"

    def doRead(self) -> None:
        self._read(4)

    def drain(self) -> None:
        """Read what is there now."""
        self._read(64)

    def _read(self, times: int) -> None:
        for _ in range(times):
            if self._descriptor < 0:
                return
            try:
                data = os.read(self._descriptor, _CHUNK)
            except (BlockingIOError, InterruptedError):
                return
            if not data:
                self._reactor.removeReader(self)
                return
            self._kept += data
            del self._kept[:-LOG_TAIL]

    def tail(self) -> bytes:
        """At most the last 4 KiB since the last :meth:`clear`."""
        return bytes(self._kept)

    def clear(self) -> None:
        self._kept.clear()

    def connectionLost(self, reason: Failure) -> None:
        self.close()

    def close(self) -> None:
        self._reactor.removeReader(self)
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1
