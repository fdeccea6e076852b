"""A candidate's dial connects to one address: once where nothing answers, and again where an error comes.

A NAT that drops what it does not know lets a connection through once both ends have sent their SYN; to close and dial
anew on silence would begin another one, with which the peer's does not cross.

A NAT that answers with RST ends the dial, and closes what our own NAT had opened for it. Two ends that dial again and
again cross soon.

One that answers with ICMP ends the dial, but our own NAT stays open: it lets in the peer's SYN, and from then on takes
from us only what continues our last SYN, no other one. If the dial that sent that SYN is over, whatever connects then
is deaf on one side, and the two ports cannot be connected for minutes. So a dial must endure the ICMP. Linux ignores an
error about a packet whose TTL was lower than the socket takes (IP_MINTTL), so the SYN is sent with a lower one than is
taken from the peer. Only one end can do that from the first dial on. The other end's dial is ended if it comes too
early, and it dials again at once, with a TTL so low that it still takes the peer's.
"""

import errno
import selectors
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

from worker_lambda.connection import SocketWatch
from worker_lambda.punching._local_port import LocalPort, family_of

PACE = (0.001, 0.003)
"""Seconds from one dial to the next, between which they are drawn: where errors come faster, and so that no two ends
keep missing each other.
"""
ENDURING_TTL, LATER_TTL = 40, 20
"""Of SYNs of dials that endure ICMP: of the one end, and of the other when an ICMP error has come.

Less than the 64 that RSTs of NATs begin with, for those are to be heard; and so far apart that the second end hears the
first one's SYN.
"""
IP_RECVERR, IP_MINTTL = 11, 21
"""Options that :mod:`socket` does not name."""
_ORIGIN, _ICMP = 4, 2
"""Where ``struct sock_extended_err`` says what an error has come from, and what it says there."""
Uniform = Callable[[float, float], float]
"""Returns a number between the two, all equally likely."""


class CandidateDial:
    """Dials until it is closed.

    :param selector: the loop's.
    :param port: the local one.
    :param address: where to dial.
    :param begun: when the first dial is due, see ``time.monotonic``.
    :param uniform: draws the pace.
    :param enduring: whether no ICMP error ends a dial from the first on, see above; to be set at one end only.
    :ivar connected: the socket, once the TCP connection is there; the caller takes it away.
    :ivar errors: how many dials have, and ``error``: the last one's name.
    """

    def __init__(
        self,
        selector: selectors.BaseSelector,
        port: LocalPort,
        address: tuple[str, int],
        begun: float,
        uniform: Uniform,
        *,
        enduring: bool = False,
    ) -> None:
        self.connected: socket.socket | None = None
        self._refused = False
        self.errors = 0
        self.error = ""
        self.address = address
        self._port = port
        self._due = begun
        self._dialled = begun
        self._uniform = uniform
        self._usual_ttl = ENDURING_TTL if enduring else None
        self._ttl = self._usual_ttl
        self._socket: socket.socket | None = None
        self._watch = SocketWatch(selector, self._ready)

    def step(self) -> float | None:
        """Dial if it is time to; to be called in each pass of the loop.

        :returns: in how many seconds to call again at the latest; None: when something happens.
        """
        if self._socket is not None or self.connected is not None:
            return None
        left = self._due - time.monotonic()
        if left > 0:
            return left
        self._dial()
        return None if self._socket is not None else 0.0

    def again(self) -> None:
        """Dial again: what had connected was no good."""
        self._due = self._dialled + self._uniform(*PACE)
        self._ttl = self._usual_ttl

    def was_refused(self) -> bool:
        """Whether the last dial was refused. An answer counts that has come since the loop last looked for one."""
        if self._socket is not None and (code := self._socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)):
            self._failed(code)
        return self._refused

    def close(self) -> None:
        """Give up what is not connected."""
        self._watch.clear()
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def _dial(self) -> None:
        self._dialled = time.monotonic()
        try:
            self._socket = self._port.new_socket(family_of(self.address[0]))
            with _endured(self._socket, self._ttl):
                code = self._socket.connect_ex(self.address)
        except OSError as error:
            code = error.errno or errno.EIO
        if code not in (0, errno.EINPROGRESS) or self._socket is None:
            self._failed(code)
            return
        self._refused = False
        self._watch.set(self._socket, selectors.EVENT_WRITE)

    def _ready(self, _: int) -> None:
        sock = self._socket
        if sock is None:
            return
        code = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if not code:
            with suppress(OSError):
                sock.getpeername()
                self._watch.clear()
                _restore(sock)
                self._socket, self.connected = None, sock
                return
        self._failed(code)
        if self._due <= time.monotonic():
            self._dial()

    def _failed(self, code: int) -> None:
        rejected = self._socket is not None and _has_icmp_error(self._socket)
        self.close()
        self._refused = True
        self.errors += 1
        self.error = errno.errorcode.get(code, "")
        self.again()
        if rejected:
            self._ttl = self._usual_ttl or LATER_TTL
            self._due = self._dialled


@contextmanager
def _endured(sock: socket.socket, ttl: int | None) -> Iterator[None]:
    """Send what is sent meanwhile with this TTL, and have ICMP errors about it not end the dial.

    Without a TTL they do, and can be told apart. IPv4 alone.
    """
    if sock.family != socket.AF_INET:
        yield
        return
    usual = sock.getsockopt(socket.IPPROTO_IP, socket.IP_TTL)
    _set(sock, IP_RECVERR, 1)
    if ttl is not None:
        _set(sock, IP_MINTTL, ttl + 1)
        _set(sock, socket.IP_TTL, ttl)
    yield
    _set(sock, socket.IP_TTL, usual)


def _restore(sock: socket.socket) -> None:
    """Have a connected socket take packets and errors as usual."""
    if sock.family == socket.AF_INET:
        _set(sock, IP_RECVERR, 0)
        _set(sock, IP_MINTTL, 0)


def _set(sock: socket.socket, option: int, value: int) -> None:
    with suppress(OSError):  # not everywhere, and only needed where a NAT sends ICMP
        sock.setsockopt(socket.IPPROTO_IP, option, value)


def _has_icmp_error(sock: socket.socket) -> bool:
    """Whether an ICMP error has come for a socket, and not an RST. Takes it."""
    try:
        _, answers, _, _ = sock.recvmsg(0, 256, socket.MSG_ERRQUEUE)
    except OSError:  # nothing is there
        return False
    return any(len(data) > _ORIGIN and data[_ORIGIN] == _ICMP for _, _, data in answers)
