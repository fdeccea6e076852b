"""Who may bring a message in: memory is reserved for each before its body is read. Knows time as an argument only."""

from typing import Protocol

from mu_twisted.rendezvous._limits import RelayLimits
from mu_twisted.rendezvous._message import Account
from mu_twisted.rendezvous._message_store import MessageStore

SMALL = 16 << 10
"""Bytes of a message that are never waited for: they have come with one read already."""
WAIT = 60.0
"""Seconds that a message may wait for its memory while nobody else gets any, before who brings it is told so."""
DEADLINE = 10.0
"""Seconds that a message may take to come in while others wait for the memory."""
SLOWEST = 128 << 10
"""Bytes in a second beyond that."""


class Sender(Protocol):
    """A connection that brings a message in."""

    def admitted(self) -> None:
        """There is room now: go on."""

    def not_admitted(self) -> None:
        """There has been no room for long."""

    def deadline_passed(self, size: int, seconds: float) -> None:
        """It took too long, and others wait."""


class MessageAdmission:
    """Reservations, first come, first served. Giants have a queue and memory of their own: as much as one message may
    have.

    :param store: whose memory it is.
    """

    def __init__(self, store: MessageStore) -> None:
        self._store = store
        self._limits: RelayLimits = store.limits
        self._sizes: dict[Sender, int] = {}
        self._since: dict[Sender, float] = {}
        self._queue: dict[Sender, tuple[int, float]] = {}
        self._giants: dict[Sender, tuple[int, float]] = {}
        self._beside = Account(store.limits.message)
        self._moved = {False: 0.0, True: 0.0}

    @property
    def wanted(self) -> bool:
        """Whether anybody waits."""
        return bool(self._queue) or bool(self._giants)

    def reserve(self, sender: Sender, size: int, now: float) -> bool:
        """Ask for the memory of a message.

        :returns: whether it may come now; else ``admitted`` will be called.
        """
        if sender in self._sizes:
            return True
        queue = self._giants if size >= self._limits.giant else self._queue
        queue[sender] = size, now
        if size <= SMALL:
            self._let_in(sender, queue, now, asking=sender)
        self._grant(now, asking=sender)
        return sender not in self._queue and sender not in self._giants

    def release(self, sender: Sender) -> None:
        """The message has come, or never will. Call :meth:`settle` after it."""
        size = self._sizes.pop(sender, None)
        if size is not None:
            self._account(size).used -= size
            del self._since[sender]
        else:
            self._queue.pop(sender, None)
            self._giants.pop(sender, None)

    def settle(self, now: float) -> None:
        """Memory may have become free: let those in who wait."""
        if self._queue or self._giants:
            self._grant(now, asking=None)

    def sweep(self, now: float) -> None:
        """If anybody waits, those who take too long give way, and those who have waited for long are told."""
        if not self.wanted:
            return
        for sender, since in list(self._since.items()):
            size = self._sizes.get(sender, 0)
            if now - since > DEADLINE + size / SLOWEST:
                sender.deadline_passed(size, now - since)
        patience = 0.0 if self._store.broken else WAIT
        for queue in (self._queue, self._giants):
            for sender, (_, since) in list(queue.items()):
                if now - max(since, self._moved[queue is self._giants]) > patience:
                    sender.not_admitted()

    # -- inside ----------------------------------------------------------------------------------------------------

    def _account(self, size: int) -> Account:
        return self._beside if size >= self._limits.giant else self._store.memory

    def _grant(self, now: float, asking: Sender | None) -> None:
        while self._giants:
            sender, (size, _) = next(iter(self._giants.items()))
            if self._beside.free < size and self._beside.used:
                break
            self._let_in(sender, self._giants, now, asking)
        while self._queue:
            sender, (size, _) = next(iter(self._queue.items()))
            if not self._store.make_room(size):
                break
            self._let_in(sender, self._queue, now, asking)

    def _let_in(
        self, sender: Sender, queue: dict[Sender, tuple[int, float]], now: float, asking: Sender | None
    ) -> None:
        size, _ = queue.pop(sender)
        self._sizes[sender] = size
        self._since[sender] = self._moved[queue is self._giants] = now
        self._account(size).used += size
        if sender is not asking:
            sender.admitted()
