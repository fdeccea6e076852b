"""The interfaces state what is used here of Twisted's reactors, ports and producers.

Twisted's own are zope's, whose methods mypy takes for functions that lack ``self``.
"""

from collections.abc import Callable
from typing import Any, Protocol, runtime_checkable

from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.base import DelayedCall


class ReactorTime(Protocol):
    """The used part of ``IReactorTime``: a reactor, or ``task.Clock``."""

    def seconds(self) -> float: ...

    def callLater(self, delay: float, callable: Callable[..., Any], /) -> DelayedCall: ...


class ListeningPort(Protocol):
    """The used part of ``IListeningPort``, of TCP."""

    def getHost(self) -> IPv4Address | IPv6Address: ...

    def stopListening(self) -> Any:
        """Accept no more.

        :returns: None, or a Deferred that fires once it is closed.
        """


@runtime_checkable
class PausablePort(Protocol):
    """A port that can leave connections in the system's queue for a while."""

    def stopReading(self) -> None: ...

    def startReading(self) -> None: ...


class TcpPort(ListeningPort, PausablePort, Protocol):
    """The used part of ``tcp.Port``, which has a socket."""

    def fileno(self) -> int: ...


class Producer(Protocol):
    """The used part of ``IPushProducer``, and of ``IPullProducer``, which is never paused."""

    def pauseProducing(self) -> None: ...

    def resumeProducing(self) -> None: ...

    def stopProducing(self) -> None: ...
