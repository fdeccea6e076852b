"""A gate that programs of workers wait at, until the test that knows what they wait for opens it."""

from __future__ import annotations

import contextlib
import socket
import sys
from types import TracebackType
from typing import Self

LIMIT = 180.0
"""Seconds after which those that should have come are taken for lost."""


class Gate:
    """Is shut until :meth:`open`. A context manager, which opens it at its end.

    :ivar command: for a shell: waits while the gate is shut, and ends well.
    """

    def __init__(self) -> None:
        self._listening = socket.create_server(("127.0.0.1", 0), backlog=128)
        self._listening.settimeout(LIMIT)
        self._waiting: list[socket.socket] = []
        wait = f"import socket; socket.create_connection({self._listening.getsockname()}).recv(1)"
        self.command = f'{{ {sys.executable} -IS -c "{wait}" 2> /dev/null || true; }}'

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.open()
        self._listening.close()

    def await_arrivals(self, count: int) -> None:
        """Wait until so many more programs have come."""
        for _ in range(count):
            self._waiting.append(self._listening.accept()[0])

    def open(self) -> None:
        """Let all pass that wait, and those that come from now on."""
        # The port stays this gate's: who comes is refused, and does not wait at what else may have it.
        with contextlib.suppress(OSError):  # it is open
            self._listening.shutdown(socket.SHUT_RDWR)
        for caller in self._waiting:
            caller.close()
        self._waiting.clear()
