"""Admission reserves memory for each message before its body is read. Knows time as an argument only."""

from typing import Protocol

from mu_twisted.rendezvous._limits import RelayLimits
from mu_twisted.rendezvous._message import Account
from mu_twisted.rendezvous._message_store import MessageStore

SMALL = 16 << 10
"""Bytes of a message that is admitted at once: one read has brought it already."""
ADMISSION_TIMEOUT = 60.0
"""Seconds that a message may wait for memory while no other message is admitted either."""
RECEIVE_TIMEOUT = 10.0
"""Seconds that an admitted message may take to arrive while others wait for memory, and beyond it one for each
:data:`SLOWEST` bytes."""
SLOWEST = 128 << 10
"""Bytes in a second."""


class Sender(Protocol):
    """A connection that brings a message."""

    def admitted(self) -> None:
        """Memory is reserved for its message, which may now be read."""

    def admission_timed_out(self) -> None:
        """There has been no memory for long."""

    def receive_timed_out(self, size: int, seconds: float) -> None:
        """Its message took too long to arrive, and others wait for memory.

        :param size: bytes of the message.
        :param seconds: since it was admitted.
        """


class MessageAdmission:
    """Reserves memory, first come, first served. Large messages have a queue and memory of their own: as much as one
    message may have.

    :param store: whose memory it is.
    """

    def __init__(self, store: MessageStore) -> None:
        self._store = store
        self._limits: RelayLimits = store.limits
        self._sizes: dict[Sender, int] = {}
        self._since: dict[Sender, float] = {}
        self._queue: dict[Sender, tuple[int, float]] = {}
        self._large_queue: dict[Sender, tuple[int, float]] = {}
        self._large_memory = Account(store.limits.message)
        self._last_admitted = {False: 0.0, True: 0.0}

    def __len__(self) -> int:
        """How many senders wait for memory."""
        return len(self._queue) + len(self._large_queue)

    @property
    def contended(self) -> bool:
        """Whether any sender waits for memory."""
        return bool(self._queue) or bool(self._large_queue)

    def reserve(self, sender: Sender, size: int, now: float) -> bool:
        """Ask for the memory of a message.

        :param size: bytes.
        :param now: seconds.
        :returns: whether it may be read now; else ``sender.admitted`` will be called.
        """
        if sender in self._sizes:
            return True
        queue = self._large_queue if size >= self._limits.large else self._queue
        queue[sender] = size, now
        if size <= SMALL:
            self._admit(sender, queue, now, asking=sender)
        self._admit_queued(now, asking=sender)
        return sender not in self._queue and sender not in self._large_queue

    def release(self, sender: Sender) -> None:
        """End a sender's reservation: its message has arrived, or never will. :meth:`settle` is to be called then."""
        size = self._sizes.pop(sender, None)
        if size is not None:
            self._account(size).used -= size
            del self._since[sender]
        else:
            self._queue.pop(sender, None)
            self._large_queue.pop(sender, None)

    def settle(self, now: float) -> None:
        """Admit waiting messages, as memory may have become free."""
        self._admit_queued(now, asking=None)

    def sweep(self, now: float) -> None:
        """If any sender waits, time out messages that arrive too slowly, and those that have waited too long."""
        if not self.contended:
            return
        for sender, since in list(self._since.items()):
            size = self._sizes.get(sender, 0)
            if now - since > RECEIVE_TIMEOUT + size / SLOWEST:
                sender.receive_timed_out(size, now - since)
        timeout = 0.0 if self._store.broken else ADMISSION_TIMEOUT
        for queue in (self._queue, self._large_queue):
            for sender, (_, since) in list(queue.items()):
                if now - max(since, self._last_admitted[queue is self._large_queue]) > timeout:
                    sender.admission_timed_out()

    # -- inside ----------------------------------------------------------------------------------------------------

    def _account(self, size: int) -> Account:
        return self._large_memory if size >= self._limits.large else self._store.memory

    def _admit_queued(self, now: float, asking: Sender | None) -> None:
        while self._large_queue:
            sender, (size, _) = next(iter(self._large_queue.items()))
            if self._large_memory.free < size and self._large_memory.used:
                break
            self._admit(sender, self._large_queue, now, asking)
        while self._queue:
            sender, (size, _) = next(iter(self._queue.items()))
            if not self._store.make_room(size):
                break
            self._admit(sender, self._queue, now, asking)

    def _admit(self, sender: Sender, queue: dict[Sender, tuple[int, float]], now: float, asking: Sender | None) -> None:
        size, _ = queue.pop(sender)
        self._sizes[sender] = size
        self._since[sender] = self._last_admitted[queue is self._large_queue] = now
        self._account(size).used += size
        if sender is not asking:
            sender.admitted()
