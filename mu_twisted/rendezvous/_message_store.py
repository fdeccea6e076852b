"""What all mailboxes share: the memory, the disk, and who gives way when memory is short."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from mu_twisted.rendezvous._limits import RelayLimits
from mu_twisted.rendezvous._message import Account, Message, MessageFile
from mu_twisted.rendezvous._spill import Spill, SpillError

if TYPE_CHECKING:
    from mu_twisted.rendezvous._mailbox import Mailbox


class MessageStore:
    """Room for parcels.

    :param limits: of everything.
    :param spill: the disk.
    :param trouble: is told, on one line, when the disk does not take messages any more.
    :ivar memory: of messages in memory, those that are coming in included.
    :ivar undelivered: of messages in memory and on disk.
    :ivar idle: mailboxes whose messages in memory nobody takes now; they go to disk first.
    :ivar retained: delivered messages in memory, the oldest first, with their mailboxes; they go next.
    """

    def __init__(self, limits: RelayLimits, spill: Spill, trouble: Callable[[str], object]) -> None:
        self.limits = limits
        self.spill = spill
        self.memory = Account(limits.memory)
        self.undelivered = Account(limits.disk)
        self.idle: dict[Mailbox, None] = {}
        self.retained: dict[Message, Mailbox] = {}
        self._kept = 0
        self.broken = False
        self._trouble = trouble

    @property
    def short(self) -> bool:
        """Whether little memory is free, and little could be had by letting delivered messages go."""
        return self.memory.free + self._kept < self.memory.limit // 8

    def keep(self, message: Message, mailbox: "Mailbox") -> None:
        """A message in memory was delivered."""
        self.retained[message] = mailbox
        self._kept += message.memory

    def keep_no_more(self, message: Message) -> None:
        """It waits again, or goes."""
        if self.retained.pop(message, None) is not None:
            self._kept -= message.memory

    def make_room(self, size: int) -> bool:
        """Have so many bytes of memory free, if it can be done at once.

        :returns: whether they are.
        """
        while self.memory.free < size and self.idle:
            next(iter(self.idle)).spill()
        while self.memory.free < size and self.retained:
            next(iter(self.retained.values())).forget_oldest()
        return self.memory.free >= size

    def write(self, directory: Path, messages: Sequence[Message]) -> MessageFile | None:
        """Parcels go to disk; None if the disk does not take them, and they stay where they are."""
        try:
            bundle = self.spill.write(directory, messages)
        except SpillError as error:
            if not self.broken:
                self._trouble(f"{error}; until it can, no more is taken than fits the memory")
            self.broken = True
            return None
        self.broken = False
        self.memory.used += bundle.memory - sum(message.memory for message in messages)
        return bundle

    def release(self, message: Message) -> None:
        """A parcel is of no more use."""
        self.memory.used -= message.memory
        if isinstance(message, MessageFile):
            self.spill.remove(message)
