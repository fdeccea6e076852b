"""Dialling leads from a host's addresses to a socket that is connected and has shaken hands, none of it blocking."""

import errno
import fcntl
import os
import selectors
import socket
import ssl
import sys
import termios
import time
from collections.abc import Callable
from contextlib import suppress

from worker_lambda._errors import DialError
from worker_lambda.connection._socket_watch import SocketWatch
from worker_lambda.connection._streams import Stream, TlsStream
from worker_lambda.connection._tls import demand_role

DIAL_TIMEOUT = 10.0
"""Seconds for connecting and for the TLS handshake, at each of the host's addresses."""

Target = tuple[int, tuple[str, int] | tuple[str, int, int, int]]
"""Address family and address."""


class Partner:
    """The peer that is dialled, and what is expected of it.

    :param name: for a user, e.g. ``coordinator``.
    :param role: what its certificate must name; None: anything.
    :param max_frame: largest payload taken from it, in bytes.
    :param stall_timeout: seconds for which it may take nothing of what it is sent; None: for ever.
    """

    def __init__(self, name: str, role: str | None, max_frame: int, stall_timeout: float | None = None) -> None:
        self.name = name
        self.role = role
        self.max_frame = max_frame
        self.stall_timeout = stall_timeout


def resolve(host: str, port: int) -> list[Target]:
    """The addresses of a host. Blocks while a name is looked up; an address is not.

    :raises DialError: the name is unknown, or has no address.
    """
    try:
        # As bytes where it can be: of a text Python makes a name in IDNA, and imports what it needs for that.
        name = host.encode("ascii") if host.isascii() else host
        addresses = socket.getaddrinfo(name, port, type=socket.SOCK_STREAM)
    except (OSError, ValueError) as error:  # ValueError: no name at all
        raise DialError(getattr(error, "strerror", None) or str(error)) from None
    targets: list[Target] = [(int(family), address) for family, _, _, _, address in addresses]  # type: ignore[misc]
    if not targets:
        raise DialError("the host has no address")
    return targets


def is_loopback(target: Target) -> bool:
    """Whether an address stays on this machine; only there is TLS not needed."""
    host = target[1][0]
    return host == "::1" or host.removeprefix("::ffff:").startswith("127.")


class Dial:
    """Tries addresses in turn until one answers.

    :param selector: the loop's; the data registered is the function to call with the events.
    :param targets: where to dial, see :func:`resolve`.
    :param context: for TLS; None for plain TCP.
    :param role: what the certificate shown must name, see :func:`worker_lambda.connection._tls.demand_role`; None:
        anything.
    :param done: called once with the stream when frames can travel.
    :param prepare: called with each new socket before it is connected, e.g. to bind it; may raise OSError.
    :ivar answered: whether an address has taken the connection; the TLS handshake may still be under way.
    :ivar error: why it has come to nothing, None while it has not. To be checked after each :meth:`step`.
    """

    def __init__(
        self,
        selector: selectors.BaseSelector,
        targets: list[Target],
        context: ssl.SSLContext | None,
        role: str | None,
        done: Callable[[Stream], None],
        prepare: Callable[[socket.socket], None] | None = None,
    ) -> None:
        self.answered = False
        self.error: DialError | None = None
        self._targets = list(targets)
        self._context = context
        self._role = role
        self._done = done
        self._prepare = prepare
        self._socket: socket.socket | None = None
        self._stream: TlsStream | None = None
        self._watch = SocketWatch(selector, self._ready)
        self._deadline = 0.0
        self._next()

    def step(self) -> float | None:
        """To be called in each pass of the loop.

        :returns: in how many seconds to call again at the latest; None: it is over.
        """
        if self._socket is None:
            return None
        left = self._deadline - time.monotonic()
        if left <= 0:
            self._fail(DialError("no answer" if self._stream is None else "no TLS handshake"))
            return 0.0
        return left

    def close(self) -> None:
        """Give up."""
        self._watch.clear()
        if self._socket is not None:
            self._socket.close()
            self._socket = self._stream = None

    def _next(self) -> None:
        """Begin with the next address."""
        family, address = self._targets.pop(0)
        self._deadline = time.monotonic() + DIAL_TIMEOUT
        try:
            self._socket = socket.socket(family, socket.SOCK_STREAM)
            self._socket.setblocking(False)
            tune(self._socket)
            if self._prepare is not None:
                self._prepare(self._socket)
            code = self._socket.connect_ex(address)
        except OSError as error:
            self._fail(dial_error(error))
            return
        if code not in (0, errno.EINPROGRESS):
            self._fail(DialError(os.strerror(code)))
            return
        self._watch.set(self._socket, selectors.EVENT_WRITE)

    def _fail(self, error: DialError) -> None:
        self.close()
        if self._targets and not error.final:
            self._next()
        else:
            self.error = error

    def _ready(self, _: int) -> None:
        if self._stream is None and self._socket is not None:
            self._connected(self._socket)
        if self._stream is not None:
            self._shake(self._stream)

    def _connected(self, sock: socket.socket) -> None:
        code = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if code:
            self._fail(DialError(os.strerror(code)))
            return
        self.answered = True
        if self._context is None:
            self._hand_over(Stream(sock))
        else:
            self._stream = TlsStream(sock, self._context)

    def _shake(self, stream: TlsStream) -> None:
        try:
            if not stream.shake():
                writing = selectors.EVENT_WRITE if stream.unsent else 0
                self._watch.set(stream.socket, selectors.EVENT_READ | writing)
                return
            if self._role is not None:
                demand_role(stream.tls, self._role)
        except DialError as error:
            self._fail(error)
        except OSError as error:
            self._fail(dial_error(error))
        else:
            self._hand_over(stream)

    def _hand_over(self, stream: Stream) -> None:
        self._watch.clear()
        self._socket = self._stream = None
        self._done(stream)


def tune(sock: socket.socket) -> None:
    """Send at once, and detect within about a minute that the other side has vanished without closing."""
    for level, option, value in (
        (socket.IPPROTO_TCP, socket.TCP_NODELAY, 1),
        (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1),
        (socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 20),
        (socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 10),
        (socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 4),
        (socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, 60_000),
    ):
        with suppress(OSError):  # not everywhere, and not vital
            sock.setsockopt(level, option, value)


def unacknowledged(sock: socket.socket) -> int:
    """Bytes that were sent and that the other machine has not taken yet."""
    try:
        answer = fcntl.ioctl(sock, termios.TIOCOUTQ, bytes(4))
    except OSError:
        return 0
    return int.from_bytes(answer, sys.byteorder)


def dial_error(error: OSError) -> DialError:
    """What the system or the TLS library says, as a line for a user."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return DialError(f"the certificate shown there is not trusted: {error.verify_message}", final=True)
    if isinstance(error, ssl.SSLEOFError | ssl.SSLZeroReturnError):
        return DialError("closed by the other side during the TLS handshake")
    if isinstance(error, ssl.SSLError):
        return DialError("TLS: " + str(error.reason or error).replace("_", " ").lower())
    return DialError(error.strerror or str(error))
