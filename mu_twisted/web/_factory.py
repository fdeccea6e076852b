"""The factory makes the control API's connections, counts them, and ends them. Knows not what they carry."""

from collections.abc import Awaitable, Callable
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IAddress
from twisted.internet.protocol import Factory, Protocol
from twisted.logger import Logger

from mu_twisted.transport import DropLog, ReactorTime
from mu_twisted.web._calls import Call, Reply
from mu_twisted.web._http import HttpChannel

Admission = Callable[[Any], str]
"""Names the peer of a connection's transport; raises CallRefusal for one that may not connect."""

_log = Logger()


class _Dropped(Protocol):
    """One more connection than is allowed."""

    transport: Any

    def connectionMade(self) -> None:
        self.transport.abortConnection()


class ControlFactory(Factory):
    """Makes the connections of one listener and counts them.

    :param answer: answers a request; cancelled when the caller has gone.
    :param admit: names a connection's peer.
    :param clock: for the time limits.
    :param max_connections: of peers that may connect; so many again are answered with 503, and more are
        dropped without an answer.
    :param max_unadmitted: connections of peers that are not known yet, or may not connect. One more, and that which is
        there the longest is dropped: a peer that holds many open keeps no other out.
    :param max_body: bytes of a request's body.
    """

    noisy = False

    def __init__(
        self,
        answer: Callable[[Call], Awaitable[Reply]],
        admit: Admission,
        *,
        clock: ReactorTime,
        max_connections: int = 256,
        max_unadmitted: int = 64,
        max_body: int,
    ) -> None:
        self.answer = answer
        self.admit = admit
        self.clock = clock
        self.max_connections = max_connections
        self.max_body = max_body
        self.channels: set[HttpChannel] = set()
        self._max_unadmitted = max_unadmitted
        self._unadmitted: dict[HttpChannel, None] = {}
        self.drops = DropLog(clock)
        self._emptied: Deferred[None] | None = None

    @property
    def full(self) -> bool:
        """Whether there are too many connections of peers that may connect."""
        return len(self.channels) - len(self._unadmitted) > self.max_connections

    def buildProtocol(self, addr: IAddress | None) -> Any:
        if len(self.channels) >= 2 * self.max_connections + self._max_unadmitted or self._emptied is not None:
            return _Dropped()
        channel: Any = HttpChannel()  # type: ignore[no-untyped-call]
        channel.factory = self
        channel.callLater = self.clock.callLater
        return channel

    def close(self, timeout: float) -> Deferred[None]:
        """End all connections: answers that are under way within ``timeout`` seconds, the others at once."""
        done: Deferred[None] = Deferred()
        if not self.channels:
            done.callback(None)
            return done
        self._emptied = done
        for channel in list(self.channels):
            channel.close()
        late = self.clock.callLater(timeout, self._cut_off)

        def stop(_: None) -> None:
            if late.active():
                late.cancel()

        return done.addCallback(stop)

    def stopFactory(self) -> None:
        self.drops.flush()

    # What the channels report

    def opened(self, channel: HttpChannel) -> None:
        self.channels.add(channel)
        self._unadmitted[channel] = None
        if len(self._unadmitted) > self._max_unadmitted:
            oldest = next(iter(self._unadmitted))
            self.dropped(oldest, f"{self._max_unadmitted} others came that are not known either")
            oldest.transport.abortConnection()

    def admitted(self, channel: HttpChannel) -> None:
        self._unadmitted.pop(channel, None)

    def closed(self, channel: HttpChannel) -> None:
        self.channels.discard(channel)
        self._unadmitted.pop(channel, None)
        if self._emptied is not None and not self.channels:
            self._emptied.callback(None)

    def log(self, request: Any) -> None:
        """Called by Twisted for each request that was answered."""
        _log.debug(
            "{caller}: {method} {uri} {code}",
            caller=request.channel.caller,
            method=request.method.decode("ascii", "replace"),
            uri=request.uri.decode("ascii", "replace"),
            code=request.code,
        )

    def dropped(self, channel: HttpChannel, reason: str) -> None:
        """A connection is refused, or its request is."""
        peer = channel.transport.getPeer()
        self.drops.dropped(f"{peer.host}:{peer.port}" if hasattr(peer, "port") else "control socket", reason)

    def _cut_off(self) -> None:
        for channel in list(self.channels):
            channel.transport.abortConnection()
