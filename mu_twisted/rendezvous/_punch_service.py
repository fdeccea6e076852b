"""The punch service carries messages about punching between connections and the broker, and counts the time for it.

Knows what it asks of a connection: that it takes messages.
"""

import secrets
from collections import Counter
from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IStreamServerEndpoint
from twisted.logger import Logger

from mu_twisted.rendezvous._probe_port import ProbeFactory
from mu_twisted.rendezvous._punching import Messages, Party, PunchBroker, PunchLimits
from mu_twisted.transport import ListeningPort, ReactorTime, every


def _token() -> str:
    return secrets.token_hex(16)


class PunchService:
    """Lets the workers of a job punch to one another.

    :param clock: for all time limits.
    :param limits: see :class:`PunchLimits`.
    :param enabled: whether any punch is allowed.
    :param token: makes nonces and probes' tokens.
    """

    log = Logger()

    def __init__(
        self,
        clock: ReactorTime,
        limits: PunchLimits | None = None,
        *,
        enabled: bool = True,
        token: Callable[[], str] = _token,
    ) -> None:
        self.broker = PunchBroker(token, limits, enabled=enabled)
        self.probes = ProbeFactory(clock, self._probed)
        self._now = clock.seconds
        self._reported: Counter[str] = Counter()
        self._senders: dict[Party, tuple[tuple[str, int], Callable[[bytes], object]]] = {}
        self._sweep = every(clock, 0.25, lambda: self._send(self.broker.sweep(self._now())))

    def listen(self, endpoint: IStreamServerEndpoint) -> Deferred[ListeningPort]:
        """Take probes on this port; to be called before :meth:`open`.

        :returns: fires with the port; fails as the endpoint does.
        """
        target: Any = endpoint  # mypy takes the methods of zope's interfaces for ordinary ones that lack ``self``
        listening: Deferred[Any] = target.listen(self.probes)

        def opened(port: ListeningPort) -> ListeningPort:
            self.broker.probe_port = port.getHost().port
            return port

        return listening.addCallback(opened)

    def open(self) -> None:
        """Begin to enforce time limits."""
        self._sweep.start()

    def report(self) -> None:
        """Log what punches have come to since the start, if that has changed."""
        if self.broker.counts != self._reported:
            self._reported = Counter(self.broker.counts)
            counts = ", ".join(f"{count} {name}" for name, count in sorted(self._reported.items()))
            self.log.info("direct paths so far: {counts}", counts=counts)

    def close(self) -> None:
        """Forget everything; the port is the caller's to close."""
        self._sweep.stop()
        self.probes.stop()
        self._senders.clear()

    def joined(self, party: Party, seen: tuple[str, int], send: Callable[[bytes], object]) -> None:
        """Know the connection of a party that has greeted; a later one of the same party takes its place.

        :param seen: address and port that the connection comes from.
        :param send: takes a message to it.
        """
        self._senders[party] = seen, send

    def received(self, party: Party, message: bytes) -> None:
        """Take a message that begins with :data:`mu_twisted.wire.punching.PREFIX` from a party that has joined.

        :raises PeerError: it is malformed.
        """
        known = self._senders.get(party)
        if known is not None:
            self._send(self.broker.received(party, known[0], message, self._now()))

    def left(self, party: Party, send: Callable[[bytes], object]) -> None:
        """Forget a party whose connection is gone, unless another connection has taken its place.

        :param send: as the connection has joined with.
        """
        known = self._senders.get(party)
        if known is not None and known[1] == send:
            del self._senders[party]
            self._send(self.broker.left(party, self._now()))

    def _probed(self, token: str, seen: tuple[str, int]) -> bool:
        good, messages = self.broker.probed(token, seen, self._now())
        self._send(messages)
        return good

    def _send(self, messages: Messages) -> None:
        for party, message in messages:
            known = self._senders.get(party)
            if known is not None:
                known[1](message)
