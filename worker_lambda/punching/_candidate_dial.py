"""A candidate's dial connects to one address: once where nothing answers, and again at once where an error comes.

A NAT that drops what it does not know lets a connection through once both ends have sent their SYN; to close and dial
anew on silence would begin another one, with which the peer's does not cross. One that answers with RST or ICMP ends
the dial. Two ends that dial again as soon as they hear of it dial once in a round trip each, and a SYN is under way for
half of one: two of them cross soon, whenever each began. It must be at once for another reason: behind a Linux NAT that
an ICMP error has reached, the mapping stays open, and lets in the peer's SYN, but answers to it only as long as they
continue the numbers of our last SYN, which the system counts on with time, by 64 KiB in 4 ms.
"""

import errno
import selectors
import socket
import time
from collections.abc import Callable
from contextlib import suppress

from worker_lambda._socket_watch import SocketWatch
from worker_lambda.punching._local_port import LocalPort, family_of

PACE = (0.001, 0.003)
"""Seconds from one dial to the next, between which they are drawn: where errors come faster, and so that no two ends
keep missing each other.
"""
Uniform = Callable[[float, float], float]
"""Returns a number between the two, all equally likely."""


class CandidateDial:
    """Dials until it is closed.

    :param selector: the loop's.
    :param port: the local one.
    :param address: where to dial.
    :param begun: when the first dial is due, see ``time.monotonic``.
    :param uniform: draws the pace.
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
                self._socket, self.connected = None, sock
                return
        self._failed(code)
        if self._due <= time.monotonic():
            self._dial()

    def _failed(self, code: int) -> None:
        self.close()
        self._refused = True
        self.errors += 1
        self.error = errno.errorcode.get(code, "")
        self.again()
