"""What a connection has sent and its peer has not taken: known, and bounded. Knows Twisted's producers only."""

from typing import Any

GRAIN = 256 * 1024
"""Bytes sent before anybody asks whether they flow off: most connections never send as much."""


class Outflow:
    """The sending side of one transport.

    Twisted's transports do not tell how much they hold back, but they pause a producer while they do. So this is
    registered as one whenever GRAIN bytes were sent, and taken off again once all has flowed off: a connection that
    sends little has no producer. The receiver's own producer, if there is one, is told through this.

    :param transport: what is written to.
    :ivar held: bytes written since the transport was last seen to hold little (at most GRAIN, and what it takes
        without pausing, may be there uncounted).
    """

    __slots__ = ("_producer", "_registered", "_stuck", "_transport", "held")

    def __init__(self, transport: Any) -> None:
        self.held = 0
        self._transport = transport
        self._producer: Any = None
        self._registered = self._stuck = False

    def write(self, data: bytes | memoryview, limit: int) -> bool:
        """Send, unless more than so many bytes are held back already; a single write may be of any size.

        :returns: whether it was written.
        """
        if self._stuck and self.held > limit:
            return False
        self.held += len(data)
        if not self._registered and self.held > GRAIN:
            self._registered = True
            self._transport.registerProducer(self, True)
        self._transport.write(data)
        if self._registered and not self._stuck:
            self._flowed_off()
        return True

    def register(self, producer: Any, streaming: bool) -> None:
        """As ``IConsumer.registerProducer``."""
        if self._producer is not None:
            raise RuntimeError("a producer is registered already")
        if self._stuck and streaming:
            self._producer = producer
            producer.pauseProducing()
            return
        self.release()
        self._producer, self._registered = producer, True
        self._transport.registerProducer(self, streaming)

    def unregister(self) -> None:
        """As ``IConsumer.unregisterProducer``; what is held back is watched on."""
        self._producer = None
        if not self._stuck:
            self.release()

    def release(self) -> None:
        """Watch no more."""
        self._producer = None
        self._stuck = False
        if self._registered:
            self._registered = False
            self._transport.unregisterProducer()

    # What the transport tells its producer

    def pauseProducing(self) -> None:
        self._stuck = True
        if self._producer is not None:
            self._producer.pauseProducing()

    def resumeProducing(self) -> None:
        self._stuck = False
        self._flowed_off()
        if self._producer is not None:
            self._producer.resumeProducing()

    def stopProducing(self) -> None:
        producer, self._producer = self._producer, None
        self._stuck = self._registered = False
        if producer is not None:
            producer.stopProducing()

    def _flowed_off(self) -> None:
        self.held = 0
        if self._producer is None:
            self.release()
