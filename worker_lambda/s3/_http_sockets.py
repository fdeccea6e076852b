"""Sockets are dialled and waited for here, until the caller cancels.

Only a name's look-up cannot be cancelled: it is the system's.
"""

from __future__ import annotations

import errno
import io
import os
import select
import socket
import ssl
import time
from collections.abc import Callable
from typing import Any, NamedTuple

_SLICE = 0.2
"""Seconds between two looks at whether the caller still wants it."""
_CONNECT_TIMEOUT = 5.0
"""Seconds for one address of a host; a name may have several."""
_PORTS = {"http": 80, "https": 443}


class TransferCancelled(Exception):
    """The caller does not want the answer any more."""


class Wire:
    """A socket as :mod:`http.client` uses one: whatever is waited for, in the middle of a line too, can be cancelled.

    :param sock: connected; it must not block. It is closed by the caller: http.client would close it too early.
    :param timeout: seconds without a byte after which a wait fails.
    :ivar cancelled: whether the caller does not want the present answer any more.
    """

    def __init__(self, sock: socket.socket, timeout: float, cancelled: Callable[[], bool]) -> None:
        self._sock = sock
        self._timeout = timeout
        self.cancelled = cancelled

    def sendall(self, data: bytes) -> None:
        """Send all of it.

        :raises TransferCancelled: the caller said so.
        :raises OSError: the connection is broken, or nothing was taken in time.
        """
        view = memoryview(data)
        while view:
            view = view[self._when_ready(self._sock.send, view, f"nothing taken in {self._timeout:g} s") :]

    def receive_into(self, buffer: memoryview) -> int:
        """Receive some bytes; none at the end.

        :raises TransferCancelled: the caller said so.
        :raises OSError: the connection is broken, or nothing came in time.
        """
        return self._when_ready(self._sock.recv_into, buffer, f"no answer in {self._timeout:g} s")

    def _when_ready(self, act: Callable[[memoryview], int], data: memoryview, late: str) -> int:
        while True:
            if self.cancelled():
                raise TransferCancelled
            try:
                return act(data)
            except ssl.SSLWantReadError:
                event = select.POLLIN
            except ssl.SSLWantWriteError:
                event = select.POLLOUT
            except BlockingIOError:
                event = select.POLLIN if act == self._sock.recv_into else select.POLLOUT
            wait_for(self._sock, event, self._timeout, self.cancelled, late)

    def makefile(self, mode: str) -> io.BufferedReader:
        """What comes, as a file."""
        return io.BufferedReader(_Received(self))

    def close(self) -> None:
        """Nothing yet: the last answer's body may still be read."""


class _Received(io.RawIOBase):
    def __init__(self, wire: Wire) -> None:
        self._wire = wire

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        return self._wire.receive_into(buffer)


class HttpOrigin(NamedTuple):
    """Where connections go. ``host`` is without brackets."""

    scheme: str
    host: str
    port: int

    @property
    def header(self) -> str:
        """The ``Host`` header: brackets around IPv6, no default port."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == _PORTS[self.scheme] else f"{host}:{self.port}"


def wait_for(sock: socket.socket, event: int, seconds: float, cancelled: Callable[[], bool], late: str) -> None:
    """Until a socket is ready.

    :raises TimeoutError: it was not in time; the text is ``late``.
    """
    poll = select.poll()
    poll.register(sock, event)
    end = time.monotonic() + seconds
    while (left := end - time.monotonic()) > 0:
        if poll.poll(min(left, _SLICE) * 1000):
            return
        if cancelled():
            raise TransferCancelled
    raise TimeoutError(late)


def dial(
    origin: HttpOrigin, timeout: float, context: ssl.SSLContext | None, cancelled: Callable[[], bool]
) -> socket.socket:
    """A socket to the first address that answers, secured where there is a context; it does not block.

    :param timeout: seconds for one address, 5 at most.
    :raises TransferCancelled: the caller said so.
    :raises OSError: the host is not known or not reached; the text names it.
    :raises ValueError: its certificate is not trusted.
    """
    limit = min(timeout, _CONNECT_TIMEOUT)
    fault = OSError(errno.EHOSTUNREACH, "the host has no address")
    try:
        for family, kind, protocol, _, address in socket.getaddrinfo(origin.host, origin.port, type=socket.SOCK_STREAM):
            try:
                sock = _connected(socket.socket(family, kind, protocol), address, limit, cancelled)
            except OSError as error:
                fault = error
            else:
                break
        else:
            raise fault
    except OSError as error:
        raise OSError(error.errno or errno.ETIMEDOUT, f"{origin.header}: {error.strerror or error}") from None
    if context is not None:
        sock = _secured(sock, origin.host, context, limit, cancelled)
    return sock


def _connected(sock: socket.socket, address: object, limit: float, cancelled: Callable[[], bool]) -> socket.socket:
    try:
        sock.setblocking(False)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        code = sock.connect_ex(address)  # type: ignore[arg-type]
        if code == errno.EINPROGRESS:
            wait_for(sock, select.POLLOUT, limit, cancelled, f"no connection in {limit:g} s")
            code = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if code:
            raise OSError(code, os.strerror(code))
    except BaseException:
        sock.close()
        raise
    return sock


def _secured(
    plain: socket.socket, host: str, context: ssl.SSLContext, limit: float, cancelled: Callable[[], bool]
) -> socket.socket:
    try:
        sock = context.wrap_socket(plain, server_hostname=host, do_handshake_on_connect=False)
    except BaseException:
        plain.close()
        raise
    try:
        while True:
            try:
                sock.do_handshake()
            except ssl.SSLWantReadError:
                wait_for(sock, select.POLLIN, limit, cancelled, f"no TLS in {limit:g} s")
            except ssl.SSLWantWriteError:
                wait_for(sock, select.POLLOUT, limit, cancelled, f"no TLS in {limit:g} s")
            else:
                return sock
    except BaseException:
        sock.close()
        raise
