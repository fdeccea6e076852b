"""Who may bring a message in: memory is reserved for each before its body is read. Knows time as an argument only."""

from typing import Protocol

from mu_twisted.rendezvous._limits import Limits
from mu_twisted.rendezvous._shelf import Shelf

SMALL = 16 << 10
"""Bytes of a message that are never waited for: they have come with one read already."""
WAIT = 30.0
"""Seconds that a message may wait for its memory, before who brings it is told so."""
LEASE = 10.0
"""Seconds that a message may take to come in while others wait for the memory."""
SLOWEST = 64 << 10
"""Bytes in a second beyond that."""


class Comer(Protocol):
    """A connection that brings a message in."""

    def room_granted(self) -> None:
        """There is room now: go on."""

    def room_denied(self) -> None:
        """There has been no room for long."""

    def lease_ended(self, size: int, seconds: float) -> None:
        """It took too long, and others wait."""


class Room:
    """Reservations, first come, first served; giants have a queue and a place of their own.

    :param shelf: whose memory it is.
    """

    def __init__(self, shelf: Shelf) -> None:
        self._shelf = shelf
        self._limits: Limits = shelf.limits
        self._sizes: dict[Comer, int] = {}
        self._since: dict[Comer, float] = {}
        self._queue: dict[Comer, tuple[int, float]] = {}
        self._giants: dict[Comer, tuple[int, float]] = {}
        self._giant: Comer | None = None

    @property
    def wanted(self) -> bool:
        """Whether anybody waits."""
        return bool(self._queue) or bool(self._giants)

    def reserve(self, comer: Comer, size: int, now: float) -> bool:
        """Ask for the memory of a message.

        :returns: whether it may come now; else ``room_granted`` will be called.
        """
        if comer in self._sizes or comer is self._giant:
            return True
        queue = self._giants if size >= self._limits.giant else self._queue
        queue[comer] = size, now
        self._grant(now, asking=comer)
        return comer not in self._queue and comer not in self._giants

    def release(self, comer: Comer) -> None:
        """The message has come, or never will. Call :meth:`settle` after it."""
        size = self._sizes.pop(comer, None)
        if size is not None:
            self._shelf.memory.used -= size
            del self._since[comer]
        elif comer is self._giant:
            self._giant = None
            del self._since[comer]
        else:
            self._queue.pop(comer, None)
            self._giants.pop(comer, None)

    def settle(self, now: float) -> None:
        """Memory may have become free: let those in who wait."""
        if self._queue or self._giants:
            self._grant(now, asking=None)

    def sweep(self, now: float) -> None:
        """If anybody waits, those who take too long give way, and those who have waited for long are told."""
        if not self.wanted:
            return
        for comer, since in list(self._since.items()):
            size = self._sizes.get(comer, self._limits.message)
            if now - since > LEASE + size / SLOWEST:
                comer.lease_ended(size, now - since)
        patience = 0.0 if self._shelf.broken else WAIT
        for queue in (self._queue, self._giants):
            for comer, (_, since) in list(queue.items()):
                if now - since > patience:
                    comer.room_denied()

    # -- inside ----------------------------------------------------------------------------------------------------

    def _grant(self, now: float, asking: Comer | None) -> None:
        if self._giants and self._giant is None:
            comer = next(iter(self._giants))
            del self._giants[comer]
            self._giant = comer
            self._since[comer] = now
            if comer is not asking:
                comer.room_granted()
        while self._queue:
            comer, (size, _) = next(iter(self._queue.items()))
            if size > SMALL and not self._shelf.make_room(size):
                return
            del self._queue[comer]
            self._sizes[comer] = size
            self._since[comer] = now
            self._shelf.memory.used += size
            if comer is not asking:
                comer.room_granted()
