"""HTTP sites limit their connections and the bodies of requests here. Knows nothing of what is served.

Every user of this machine can reach a loopback port. So of connections without an open request the longest silent are
evicted for new ones, and enough descriptors stay free for the work itself.
"""

from __future__ import annotations

import resource
from typing import Any

from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.web.http import HTTPChannel
from twisted.web.resource import Resource
from twisted.web.server import Request, Site

_SPARE = 128
"""Descriptors beside connections and environments: files, the S3, the zygote."""
_MAX_IDLE = 16384
_QUIET = 60.0
"""Seconds between two log lines about evicted connections."""


def idle_limit() -> int:
    """Idle connections that a site may have: a quarter of the descriptors, as there are two sites, and an environment
    takes two beside its connection."""
    soft = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    if soft == resource.RLIM_INFINITY:
        return _MAX_IDLE
    return min(_MAX_IDLE, max(8, (soft - _SPARE) // 4))


class LimitedRequest(Request):
    """A request whose body has a limit, checked against its length before any of it is kept.

    :cvar max_body: bytes of a body.
    :cvar too_large: AWS's code of the error for a larger one.
    """

    channel: Any
    content: Any
    max_body: int
    too_large = "RequestTooLargeException"

    def gotLength(self, length: int | None) -> None:
        if length is not None and length > self.max_body:
            self.mu_too_large = True
            self.channel.transport.write(self._refusal())
            self.channel.loseConnection()
            length = 0
        super().gotLength(length)  # type: ignore[no-untyped-call]

    def handleContentChunk(self, data: bytes) -> None:
        if self.content.tell() + len(data) > self.max_body:
            self.channel.loseConnection()
            return
        super().handleContentChunk(data)  # type: ignore[no-untyped-call]

    def process(self) -> None:
        self.channel.serve()
        if not getattr(self, "mu_too_large", False):
            super().process()  # type: ignore[no-untyped-call]

    def _refusal(self) -> bytes:
        body = b'{"Type":"User","message":"Request must be smaller than %d bytes"}' % self.max_body
        return (
            b"HTTP/1.1 413 Request Entity Too Large\r\nContent-Type: application/json\r\nConnection: close\r\n"
            b"x-amzn-ErrorType: %s\r\nContent-Length: %d\r\n\r\n%s" % (self.too_large.encode(), len(body), body)
        )


class BoundedChannel(HTTPChannel):
    """A connection that reports its state to its site."""

    factory: BoundedSite

    def connectionMade(self) -> None:
        super().connectionMade()  # type: ignore[no-untyped-call]
        self.factory.opened(self)

    def dataReceived(self, data: bytes) -> None:
        self.factory.moved(self)
        super().dataReceived(data)  # type: ignore[no-untyped-call]

    def serve(self) -> None:
        """A whole request has come: an answer is owed."""
        self.factory.serving(self)

    def requestDone(self, request: Any) -> None:
        self.factory.rested(self)
        super().requestDone(request)  # type: ignore[no-untyped-call]

    def connectionLost(self, reason: Failure) -> None:  # type: ignore[override]
        self.factory.closed(self)
        super().connectionLost(reason)  # type: ignore[no-untyped-call]


class BoundedSite(Site):
    """A site without an access log, as requests are not news.

    :param resource: serves the requests.
    :param request: what they are.
    :param reactor: for the time limits.
    :param timeout: seconds that a connection may stand idle, or None.
    :param max_idle: connections at most to which no answer is owed; with one more, that which was silent the longest is
        closed. Twice as many in all; then newer ones are turned away. None: by this process's limit of descriptors.
    """

    noisy = False
    _log = Logger()

    def __init__(
        self,
        resource: Resource,
        request: type[Request],
        reactor: Any,
        timeout: float | None,
        max_idle: int | None = None,
    ) -> None:
        super().__init__(resource, requestFactory=request, timeout=timeout, reactor=reactor)  # type: ignore[no-untyped-call]
        # Plain HTTP/1.1: what Twisted has there by default may be of either kind, and reports nothing.
        self.protocol = BoundedChannel  # type: ignore[method-assign, assignment]
        self._seconds = reactor.seconds
        self._max_idle = idle_limit() if max_idle is None else max_idle
        self._idle: dict[BoundedChannel, None] = {}
        self._all: set[BoundedChannel] = set()
        self._warned: float | None = None

    def log(self, request: Any) -> None:
        return

    # What the channels report

    def opened(self, channel: BoundedChannel) -> None:
        self._all.add(channel)
        self._idle[channel] = None
        if len(self._idle) > self._max_idle:
            self._close(next(iter(self._idle)))
        elif len(self._all) > 2 * self._max_idle:
            self._close(channel)

    def moved(self, channel: BoundedChannel) -> None:
        """A channel has sent something."""
        if channel in self._idle:
            del self._idle[channel]
            self._idle[channel] = None

    def serving(self, channel: BoundedChannel) -> None:
        self._idle.pop(channel, None)

    def rested(self, channel: BoundedChannel) -> None:
        if channel in self._all:
            self._idle[channel] = None

    def closed(self, channel: BoundedChannel) -> None:
        self._all.discard(channel)
        self._idle.pop(channel, None)

    def _close(self, channel: BoundedChannel) -> None:
        self.closed(channel)
        now = self._seconds()
        if self._warned is None or now - self._warned >= _QUIET:
            self._warned = now
            self._log.warn(
                "over {limit} idle connections: those that were silent the longest are closed", limit=self._max_idle
            )
        transport: Any = channel.transport
        transport.abortConnection()
