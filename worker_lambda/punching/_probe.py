"""The probe shows the rendezvous whether a NAT maps this port to another one for each destination."""

import selectors
import socket
import time

from mu_twisted.wire import Decoder, PeerError, encode
from mu_twisted.wire.punching import Candidate, parse_probe_answer, probe_message
from worker_lambda.connection import SocketWatch
from worker_lambda.punching._local_port import LocalPort, family_of

PROBE_TIMEOUT = 2.0
"""Seconds for it."""
_ANSWER = 128
"""Bytes of the rendezvous's answer at most."""


class Probe:
    """One connection from the local port, which shows a token. What comes of it, the rendezvous decides.

    :param selector: the loop's.
    :param port: the local one.
    :param address: the rendezvous's, with its second port.
    :param token: to be shown.
    :ivar over: whether it is over.
    :ivar seen: where the rendezvous has seen it, if it has said so.
    """

    def __init__(self, selector: selectors.BaseSelector, port: LocalPort, address: tuple[str, int], token: str) -> None:
        self.over = False
        self.seen: Candidate | None = None
        self._decoder = Decoder(_ANSWER)
        self._watch = SocketWatch(selector, self._ready)
        self._deadline = time.monotonic() + PROBE_TIMEOUT
        self._message = encode(probe_message(token))
        self._socket: socket.socket | None = None
        try:
            self._socket = port.new_socket(family_of(address[0]))
            self._socket.connect_ex(address)
            self._watch.set(self._socket, selectors.EVENT_WRITE)
        except OSError:
            self.close()

    def step(self) -> float | None:
        """Enforce the time limit; to be called in each pass of the loop.

        :returns: in how many seconds to call again at the latest; None: it is over.
        """
        left = self._deadline - time.monotonic()
        if left <= 0:
            self.close()
        return None if self.over else left

    def close(self) -> None:
        """End it."""
        self.over = True
        self._watch.clear()
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def _ready(self, _: int) -> None:
        sock = self._socket
        if sock is None:
            return
        try:
            if self._message:
                sent = sock.send(self._message)
                self._message = self._message[sent:]
                if not self._message:
                    self._watch.set(sock, selectors.EVENT_READ)
            elif data := sock.recv(_ANSWER):
                for answer in self._decoder.feed(data):
                    self.seen = parse_probe_answer(answer)
            else:  # it has answered, and closed first
                self.close()
        except BlockingIOError:
            return
        except (OSError, PeerError):
            self.close()
