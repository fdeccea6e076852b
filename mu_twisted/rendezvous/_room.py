"""Who may bring a message in: memory is reserved for each before its body is read. Knows time as an argument only."""

from typing import Protocol

from mu_twisted.rendezvous._limits import Limits
from mu_twisted.rendezvous._parcel import Account
from mu_twisted.rendezvous._shelf import Shelf

SMALL = 16 << 10
"""Bytes of a message that are never waited for: they have come with one read already."""
WAIT = 60.0
"""Seconds that a message may wait for its memory while nobody else gets any, before who brings it is told so."""
LEASE = 10.0
"""Seconds that a message may take to come in while others wait for the memory."""
SLOWEST = 128 << 10
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
    """Reservations, first come, first served. Giants have a queue and memory of their own: as much as one message may
    have.

    :param shelf: whose memory it is.
    """

    def __init__(self, shelf: Shelf) -> None:
        self._shelf = shelf
        self._limits: Limits = shelf.limits
        self._sizes: dict[Comer, int] = {}
        self._since: dict[Comer, float] = {}
        self._queue: dict[Comer, tuple[int, float]] = {}
        self._giants: dict[Comer, tuple[int, float]] = {}
        self._beside = Account(shelf.limits.message)
        self._moved = {False: 0.0, True: 0.0}

    @property
    def wanted(self) -> bool:
        """Whether anybody waits."""
        return bool(self._queue) or bool(self._giants)

    def reserve(self, comer: Comer, size: int, now: float) -> bool:
        """Ask for the memory of a message.

        :returns: whether it may come now; else ``room_granted`` will be called.
        """
        if comer in self._sizes:
            return True
        queue = self._giants if size >= self._limits.giant else self._queue
        queue[comer] = size, now
        if size <= SMALL:
            self._let_in(comer, queue, now, asking=comer)
        self._grant(now, asking=comer)
        return comer not in self._queue and comer not in self._giants

    def release(self, comer: Comer) -> None:
        """The message has come, or never will. Call :meth:`settle` after it."""
        size = self._sizes.pop(comer, None)
        if size is not None:
            self._account(size).used -= size
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
            size = self._sizes.get(comer, 0)
            if now - since > LEASE + size / SLOWEST:
                comer.lease_ended(size, now - since)
        patience = 0.0 if self._shelf.broken else WAIT
        for queue in (self._queue, self._giants):
            for comer, (_, since) in list(queue.items()):
                if now - max(since, self._moved[queue is self._giants]) > patience:
                    comer.room_denied()

    # -- inside ----------------------------------------------------------------------------------------------------

    def _account(self, size: int) -> Account:
        return self._beside if size >= self._limits.giant else self._shelf.memory

    def _grant(self, now: float, asking: Comer | None) -> None:
        while self._giants:
            comer, (size, _) = next(iter(self._giants.items()))
            if self._beside.free < size and self._beside.used:
                break
            self._let_in(comer, self._giants, now, asking)
        while self._queue:
            comer, (size, _) = next(iter(self._queue.items()))
            if not self._shelf.make_room(size):
                break
            self._let_in(comer, self._queue, now, asking)

    def _let_in(self, comer: Comer, queue: dict[Comer, tuple[int, float]], now: float, asking: Comer | None) -> None:
        size, _ = queue.pop(comer)
        self._sizes[comer] = size
        self._since[comer] = self._moved[queue is self._giants] = now
        self._account(size).used += size
        if comer is not asking:
            comer.room_granted()
