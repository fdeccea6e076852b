"""The outflow counts and bounds what a connection has sent and its peer has not taken. Knows only producers."""

from typing import Any

from mu_twisted.transport._interfaces import Producer

GRAIN = 256 * 1024
"""Bytes sent before a producer is registered to learn whether they are taken: most connections send less."""


class Outflow:
    """The sending side of one transport.

    Twisted's transports do not expose how much they have buffered, but they pause a producer while they do. So this is
    registered as one whenever GRAIN bytes were sent, and unregistered once all were taken: a connection that sends
    little has no producer. The receiver's own producer, if there is one, is paused and resumed through this.

    :param transport: where it writes.
    :ivar held: bytes written since the transport was last seen to hold little (at most GRAIN, and what it takes
        without pausing, may be there uncounted).
    """

    __slots__ = ("_producer", "_registered", "_transport", "_write_paused", "held")

    def __init__(self, transport: Any) -> None:
        self.held = 0
        self._transport = transport
        self._producer: Producer | None = None
        self._registered = self._write_paused = False

    def write(self, data: bytes | memoryview, limit: int) -> bool:
        """Send, unless more than so many bytes are held back already; a single write may be of any size.

        :returns: whether it was written.
        """
        if self._write_paused and self.held > limit:
            return False
        self.held += len(data)
        if not self._registered and self.held > GRAIN:
            self._registered = True
            self._transport.registerProducer(self, True)
        self._transport.write(data)
        if self._registered and not self._write_paused:
            self._drained()
        return True

    def register(self, producer: Producer, streaming: bool) -> None:
        """As ``IConsumer.registerProducer``."""
        if self._producer is not None:
            raise RuntimeError("a producer is registered already")
        if self._write_paused and streaming:
            self._producer = producer
            producer.pauseProducing()
            return
        self.release()
        self._producer, self._registered = producer, True
        self._transport.registerProducer(self, streaming)

    def unregister(self) -> None:
        """As ``IConsumer.unregisterProducer``; what is buffered is still counted."""
        self._producer = None
        if not self._write_paused:
            self.release()

    def release(self) -> None:
        """Unregister from the transport, and count no more."""
        self._producer = None
        self._write_paused = False
        if self._registered:
            self._registered = False
            self._transport.unregisterProducer()

    # Calls of the transport to its producer

    def pauseProducing(self) -> None:
        self._write_paused = True
        if self._producer is not None:
            self._producer.pauseProducing()

    def resumeProducing(self) -> None:
        self._write_paused = False
        self._drained()
        if self._producer is not None:
            self._producer.resumeProducing()

    def stopProducing(self) -> None:
        producer, self._producer = self._producer, None
        self._write_paused = self._registered = False
        if producer is not None:
            producer.stopProducing()

    def _drained(self) -> None:
        self.held = 0
        if self._producer is None:
            self.release()
