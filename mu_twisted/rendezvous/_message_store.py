"""The message store is what all mailboxes share: memory, disk, and the order in which messages leave memory.

Knows a mailbox only as something that can be asked to free memory.
"""

from collections import OrderedDict
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol

from mu_twisted.rendezvous._limits import RelayLimits
from mu_twisted.rendezvous._message import Account, Message, MessageFile
from mu_twisted.rendezvous._named_message import NamedStream
from mu_twisted.rendezvous._spill import Spill, SpillError


class Evictable(Protocol):
    """A mailbox, or what a job keeps of links, as the store sees it."""

    def spill(self) -> None:
        """Move all waiting messages from memory to disk."""

    def forget_oldest(self) -> None:
        """Remove the oldest delivered message."""


class MessageStore:
    """Memory and disk for messages.

    :param limits: of everything.
    :param spill: the disk.
    :param on_failure: called with one line when the disk takes no more messages.
    :ivar memory: of messages in memory, those that are being received included.
    :ivar stored: in memory and on disk: of undelivered messages, and of all named ones.
    :ivar idle: mailboxes with messages in memory that no reader is taking; they go to disk first.
    :ivar retained: delivered messages in memory, the oldest first, with their mailboxes; they go next.
    :ivar pipes: windows of pipes, whose bytes are in memory beside all that.
    :ivar named: how many named messages there are, with their streams, and with those in ``gone``.
    :ivar taken: named messages that their receivers have taken, the oldest first; they go when disk is short.
    :ivar gone: by stream and number, what has gone so, the oldest first.
    :ivar broken: whether the disk refused the last messages.
    """

    def __init__(self, limits: RelayLimits, spill: Spill, on_failure: Callable[[str], object]) -> None:
        self.limits = limits
        self.spill = spill
        self.memory = Account(limits.memory)
        self.stored = Account(limits.disk)
        self.idle: dict[Evictable, None] = {}
        self.retained: dict[Message, Evictable] = {}
        self._retained_memory = 0
        self.pipes = Account(limits.pipes)
        self.named = Account(limits.named)
        self.taken: OrderedDict[object, Evictable] = OrderedDict()
        self.gone: OrderedDict[tuple[NamedStream, int], None] = OrderedDict()
        self.broken = False
        self._on_failure = on_failure

    @property
    def short(self) -> bool:
        """Whether little memory is free, and little could be had by removing delivered messages."""
        return self.memory.free + self._retained_memory < self.memory.limit // 8

    def retain(self, message: Message, mailbox: Evictable) -> None:
        """Keep a message in memory that was delivered; it is removed when memory is short."""
        self.retained[message] = mailbox
        self._retained_memory += message.memory

    def unretain(self, message: Message) -> None:
        """Forget that a message was delivered: it waits again, or is removed."""
        if self.retained.pop(message, None) is not None:
            self._retained_memory -= message.memory

    def make_room(self, size: int) -> bool:
        """Free memory, if it can be done at once.

        :param size: bytes.
        :returns: whether so many are free.
        """
        while self.memory.free < size and self.idle:
            next(iter(self.idle)).spill()
        while self.memory.free < size and self.retained:
            next(iter(self.retained.values())).forget_oldest()
        return self.memory.free >= size

    def make_disk_room(self, size: int) -> bool:
        """Remove named messages that were taken, the oldest first, until so many bytes may be stored.

        :param size: bytes.
        :returns: whether they may.
        """
        while self.stored.free < size and self.taken:
            next(iter(self.taken.values())).forget_oldest()
        return self.stored.free >= size

    def make_named_room(self, count: int) -> bool:
        """Remember less of named messages that are gone, and remove those that were taken, the oldest first, until so
        many more may be counted.

        :param count: of messages and streams.
        :returns: whether there may.
        """
        while self.named.free < count and (self.gone or self.taken):
            if self.gone:
                (stream, number), _ = self.gone.popitem(last=False)
                stream.forget(number)
                self.named.used -= 1
            else:
                next(iter(self.taken.values())).forget_oldest()
        return self.named.free >= count

    @property
    def disk_needed(self) -> bool:
        """Whether no more fits memory, and the disk takes nothing."""
        return self.broken and self.memory.free < 0

    def disk_failed(self, error: SpillError) -> None:
        """Report, the first time in a row, that the disk takes no more."""
        if not self.broken:
            self._on_failure(f"{error}; until it can, no more is taken than fits the memory")
        self.broken = True

    def write(self, directory: Path, messages: Sequence[Message]) -> MessageFile | None:
        """Move messages to disk.

        :returns: the file; None if the disk does not take them: they stay in memory.
        """
        try:
            bundle = self.spill.write(directory, messages)
        except SpillError as error:
            self.disk_failed(error)
            return None
        self.broken = False
        bundle.start = messages[0].start
        self.memory.used += bundle.memory - sum(message.memory for message in messages)
        return bundle

    def release(self, message: Message) -> None:
        """Free the memory and the file of a message that is of no more use."""
        self.memory.used -= message.memory
        if isinstance(message, MessageFile):
            self.spill.remove(message.path)
