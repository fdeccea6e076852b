"""Sockets that are dialled and waited for, until the caller does not want them any more.

Only a name's look-up cannot be cancelled: it is the system's.
"""

from __future__ import annotations

import errno
import os
import select
import socket
import ssl
import time
from collections.abc import Callable
from typing import NamedTuple

_SLICE = 0.2
"""Seconds between two looks at whether the caller still wants it."""
_CONNECT_TIMEOUT = 5.0
"""Seconds for one address of a host; a name may have several."""
_PORTS = {"http": 80, "https": 443}


class Cancelled(Exception):
    """The caller does not want the answer any more."""


class Origin(NamedTuple):
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
            raise Cancelled
    raise TimeoutError(late)


def dial(
    origin: Origin, timeout: float, context: ssl.SSLContext | None, cancelled: Callable[[], bool]
) -> socket.socket:
    """A socket to the first address that answers, secured where there is a context.

    :param timeout: seconds, for its later use too.
    :raises Cancelled: the caller said so.
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
    sock.settimeout(timeout)
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
