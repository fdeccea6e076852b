"""A handshake makes a link of a TCP connection: TLS, the peer's identity, and the peer's greeting. Knows no candidates.

The party with the lower task number is TLS's client. It may have several connections to the peer; it greets on the
first one that the server has greeted on, and so decides which becomes the link.
"""

import selectors
import socket
import ssl
import struct
import time
from contextlib import suppress
from dataclasses import dataclass

from mu_twisted.wire import HEADER_SIZE, PeerError, encode
from mu_twisted.wire.punching import MAX_DIRECT_GREETING, DirectGreeting, PunchOutcome, parse_direct_greeting
from worker_lambda.connection import SocketWatch, TlsStream, shown_identities

TLS_TIMEOUT = 2.0
"""Seconds for the TLS handshake."""
GREETING_TIMEOUT = 1.0
"""Seconds from then on for the peer's greeting."""
_RESET = struct.pack("ii", 1, 0)
"""Of SO_LINGER: what is closed is reset, and does not wait for what the peer has not acknowledged."""


@dataclass(frozen=True)
class LinkTerms:
    """What both ends of a link must show.

    :param context: for our side of TLS.
    :param mine: our greeting.
    :param theirs: the peer's, whose certificate must be of that task and attempt.
    """

    context: ssl.SSLContext
    mine: DirectGreeting
    theirs: DirectGreeting

    @property
    def is_client(self) -> bool:
        """Whether we are TLS's client."""
        return self.mine.task < self.theirs.task


class LinkHandshake:
    """One connection that may become the link.

    :param selector: the loop's.
    :param sock: connected, and not blocking.
    :param terms: see :class:`LinkTerms`.
    :ivar failed: why it cannot; None while it may.
    :ivar greeted: whether the peer has greeted. To be checked after each pass of the loop.
    """

    def __init__(self, selector: selectors.BaseSelector, sock: socket.socket, terms: LinkTerms) -> None:
        self.failed: PunchOutcome | None = None
        self.greeted = False
        self._terms = terms
        self._stream: TlsStream | None = TlsStream(sock, terms.context, server_side=not terms.is_client)
        self._shaken = False
        self._received = b""
        self._watch = SocketWatch(selector, self._ready)
        self._deadline = time.monotonic() + TLS_TIMEOUT
        self._ready(0)

    def step(self) -> float | None:
        """Enforce the time limits; to be called in each pass of the loop.

        :returns: in how many seconds to call again at the latest; None: it is over.
        """
        if self._stream is None or self.greeted:
            return None
        left = self._deadline - time.monotonic()
        if left <= 0:
            self._fail(PunchOutcome.GREETING if self._shaken else PunchOutcome.TLS)
            return None
        return left

    def finish(self) -> TlsStream:
        """The link, as the peer has greeted; what the peer has sent behind its greeting is the next to be received.

        :raises OSError: the connection is broken.
        """
        stream, self._stream = self._stream, None
        assert stream is not None
        self._watch.clear()
        try:
            if self._terms.is_client:
                stream.send(memoryview(encode(self._terms.mine.encode())))
        except BaseException:
            stream.close()
            raise
        if self._received:
            stream.unread(self._received)
        return stream

    def close(self) -> None:
        """Reset the connection, unless it was made the link: so its pair of ports is free for the next."""
        self._watch.clear()
        if self._stream is not None:
            with suppress(OSError):
                self._stream.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
            self._stream.close()
            self._stream = None

    def _ready(self, _: int) -> None:
        try:
            self._go_on()
        except OSError as error:
            # With TLS 1.3 the server refuses the client's certificate when the client has done its handshake.
            refused = isinstance(error, ssl.SSLError) and not isinstance(error, ssl.SSLEOFError)
            self._fail(PunchOutcome.TLS if refused or not self._shaken else PunchOutcome.GREETING)

    def _go_on(self) -> None:
        stream = self._stream
        if stream is None or self.greeted:
            return
        if not self._shaken:
            if not stream.shake():
                self._wait(stream)
                return
            self._shaken = True
            self._deadline = time.monotonic() + GREETING_TIMEOUT
            if shown_identities(stream.tls) != [self._terms.theirs.uri]:
                self._fail(PunchOutcome.CERTIFICATE)
                return
            if not self._terms.is_client:
                stream.send(memoryview(encode(self._terms.mine.encode())))
        stream.flush()
        self._read(stream)

    def _read(self, stream: TlsStream) -> None:
        while not self.greeted:
            data = stream.receive()
            if data is None:
                self._wait(stream)
                return
            self._received += data
            if not data or not self._check():
                self._fail(PunchOutcome.GREETING)
                return

    def _check(self) -> bool:
        """Whether what was received is the greeting that is expected, or may become it."""
        header = self._received[:HEADER_SIZE]
        if len(header) < HEADER_SIZE:
            return True
        digits = header[: HEADER_SIZE - 1]
        if not digits.isdigit() or header[-1:] != b" " or int(digits) > MAX_DIRECT_GREETING:
            return False
        end = HEADER_SIZE + int(digits)
        if len(self._received) < end:
            return True
        try:
            self.greeted = parse_direct_greeting(self._received[HEADER_SIZE:end]) == self._terms.theirs
        except PeerError:
            return False
        self._received = self._received[end:]
        self._watch.clear()
        return self.greeted

    def _wait(self, stream: TlsStream) -> None:
        writing = selectors.EVENT_WRITE if stream.unsent else 0
        self._watch.set(stream.socket, selectors.EVENT_READ | writing)

    def _fail(self, outcome: PunchOutcome) -> None:
        self.failed = outcome
        self.close()
