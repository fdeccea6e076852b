"""The proxy stands before SeaweedFS and refuses the keys it cannot keep: ``PORT INNER_PORT PROGRAM [ARGUMENTS]``.

A process of its own, so that bulk passes beside the daemon's reactor, and standard library only, as all that runs below
the daemon. The program is its child; each ends with the other. Bytes pass as they came, so that signatures hold.
"""

from __future__ import annotations

import asyncio
import os
import resource
import signal
import sys
from typing import Any

from ._s3_filter import Refusal, RequestFilter
from .environments import isolation

_LOOPBACK = "127.0.0.1"
_BACKLOG = 4096
_LINGER = 60.0
"""Seconds that a refused caller may go on sending before it reads why."""
_SPARE = 64
_AWAY = Refusal("503 Service Unavailable", "ServiceUnavailable", "The local S3 is not there yet, or starts again.")


class Connections:
    """The callers' connections, the longest idle first; with one more than the limit that one is evicted.

    :param limit: connections at once.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._all: dict[Caller, None] = {}

    def __len__(self) -> int:
        return len(self._all)

    def add(self, one: Caller) -> None:
        self._all[one] = None
        if len(self._all) > self._limit:
            next(iter(self._all)).evict()

    def moved(self, one: Caller) -> None:
        """Something passed: it is the youngest now."""
        if one in self._all:
            del self._all[one]
            self._all[one] = None

    def remove(self, one: Caller) -> None:
        self._all.pop(one, None)


class _ProxyEnd(asyncio.Protocol):
    """One end of a pair: what it cannot take stops the other."""

    transport: Any = None
    other: Any = None

    def pause_writing(self) -> None:
        if self.other is not None:
            self.other.hold()

    def resume_writing(self) -> None:
        if self.other is not None:
            self.other.release()

    def hold(self) -> None:
        if self.transport is not None:
            self.transport.pause_reading()

    def release(self) -> None:
        if self.transport is not None and not self.transport.is_closing():
            self.transport.resume_reading()


class _Upstream(_ProxyEnd):
    """The connection to SeaweedFS."""

    def __init__(self, caller: Caller) -> None:
        self.other = caller

    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self.other.answered(data)

    def connection_lost(self, error: Exception | None) -> None:
        self.other.upstream_lost()


class Caller(_ProxyEnd):
    """One caller's connection.

    :param connections: of all.
    :param port: SeaweedFS's.
    """

    def __init__(self, connections: Connections, port: int) -> None:
        self._connections = connections
        self._port = port
        self._filter = RequestFilter()
        self._refused = False
        self._connecting: asyncio.Task[None] | None = None
        self._waiting: list[bytes] = []
        self._ended = False

    def connection_made(self, transport: Any) -> None:
        self.transport = transport
        self._connections.add(self)

    def data_received(self, data: bytes) -> None:
        self._connections.moved(self)
        if self._refused:
            return
        for piece in self._filter.feed(data):
            if isinstance(piece, Refusal):
                self._refuse(piece)
                return
            self._pass(piece)

    def _pass(self, data: bytes) -> None:
        if self.other is not None:
            self.other.transport.write(data)
            return
        self._waiting.append(data)
        if self._connecting is None:
            self.hold()
            self._connecting = asyncio.ensure_future(self._connect())

    async def _connect(self) -> None:
        loop = asyncio.get_running_loop()
        try:
            transport, upstream = await loop.create_connection(lambda: _Upstream(self), _LOOPBACK, self._port)
        except OSError:
            self._refuse(_AWAY)
            return
        if self.transport.is_closing() or self._refused:
            transport.abort()
            return
        self.other = upstream
        transport.writelines(self._waiting)
        self._waiting.clear()
        if self._ended:
            transport.write_eof()
        self.release()

    def answered(self, data: bytes) -> None:
        """SeaweedFS has sent bytes of its answer."""
        self._connections.moved(self)
        if not self._refused:
            self.transport.write(data)

    def upstream_lost(self) -> None:
        """SeaweedFS has ended the connection; what it said is sent to its end."""
        if not self._refused:
            self.transport.close()

    def _refuse(self, refusal: Refusal) -> None:
        self._refused = True
        if self.other is not None:
            self.other.transport.abort()
        self.transport.write(refusal.encode())
        # A caller that sends on would lose the answer by a reset: all of it is read.
        self.release()
        asyncio.get_running_loop().call_later(_LINGER, self.transport.abort)

    def evict(self) -> None:
        """Close it for a newer connection."""
        self._connections.remove(self)
        self.transport.abort()

    def eof_received(self) -> bool:
        self._ended = True
        if self._refused:
            return False
        if self.other is not None:
            self.other.transport.write_eof()
        return self._connecting is not None

    def connection_lost(self, error: Exception | None) -> None:
        self._connections.remove(self)
        if self.other is not None:
            self.other.transport.abort()


async def _serve(port: int, inner: int, child: int) -> int:
    loop = asyncio.get_running_loop()
    over: asyncio.Future[int] = loop.create_future()

    def ended() -> None:
        pid, status = os.waitpid(child, os.WNOHANG)
        if pid and not over.done():
            over.set_result(os.waitstatus_to_exitcode(status))

    loop.add_signal_handler(signal.SIGCHLD, ended)
    ended()
    # Each caller takes two: its own connection, and that to SeaweedFS.
    connections = Connections(max(1, (resource.getrlimit(resource.RLIMIT_NOFILE)[0] - _SPARE) // 2))
    try:
        server = await loop.create_server(
            lambda: Caller(connections, inner), _LOOPBACK, port, backlog=_BACKLOG, reuse_address=True
        )
    except OSError as error:
        sys.stderr.write(f"error: port {port}: {error.strerror}\n")
        return 1
    async with server:
        return await over


def main(arguments: list[str]) -> None:
    """Start the program and serve before it until it ends."""
    port, inner, program = int(arguments[0]), int(arguments[1]), arguments[2:]
    ourselves = os.getpid()
    child = os.fork()
    if child == 0:
        isolation.set_death_signal(signal.SIGKILL)
        if os.getppid() == ourselves:
            os.execv(program[0], program)
        os._exit(1)
    status = asyncio.run(_serve(port, inner, child))
    sys.exit(status if status >= 0 else 128 - status)
