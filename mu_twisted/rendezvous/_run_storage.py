"""A run's storage counts its undelivered messages, and keeps its delivered ones up to a limit.

Knows the store that all share, and of mailboxes only that they can forget their oldest message.
"""

from collections.abc import Mapping
from pathlib import Path

from mu_twisted.rendezvous._errors import Full
from mu_twisted.rendezvous._message import Account, Message
from mu_twisted.rendezvous._message_store import Evictable, MessageStore


class RunStorage:
    """One run's share of the store.

    :param label: the run's name, for errors.
    :param job: whether it is a job: then a message beyond the limit is refused, and delivered ones are kept.
    :param store: what all runs share.
    :ivar undelivered: bytes of messages in memory and on disk that no reader has taken.
    :ivar retained: bytes of delivered messages that are kept.
    :ivar directory: for its files; made with the first of them.
    """

    def __init__(self, label: str, job: bool, store: MessageStore) -> None:
        self.label = label
        self.job = job
        self.store = store
        self.undelivered = Account(store.limits.spill)
        self.retained = Account(store.limits.retain)
        self.directory: Path = store.spill.new_directory()
        self._oldest: dict[Message, Evictable] = {}

    @property
    def overfull(self) -> bool:
        """Whether it has more undelivered messages than it may."""
        return self.undelivered.free < 0 or self.store.stored.free < 0 or self.store.disk_needed

    def admits(self, length: int) -> bool:
        """Whether a message of so many bytes may be stored."""
        room = self.undelivered.free >= length and self.store.make_disk_room(length)
        return room and not self.store.disk_needed

    def charge(self, length: int) -> None:
        """Count a new message.

        :param length: bytes, of all that have come together.
        :raises Full: the job has as many undelivered ones as it may. A run of the original's is never refused;
            its senders are held back by :attr:`overfull`.
        """
        if self.job and not self.admits(length):
            raise Full(
                f"job {self.label} has {self.undelivered.used} bytes of messages that were not taken: more than its "
                f"limit of {self.undelivered.limit}, or than the rendezvous can keep of all jobs"
            )
        self.count(length)

    def count(self, change: int) -> None:
        """Add to the undelivered bytes, or with a negative number subtract from them."""
        self.undelivered.used += change
        self.store.stored.used += change

    def limit(self, limits: Mapping[str, int]) -> None:
        """Set what a coordinator allows this job, as far as the rendezvous allows it.

        :param limits: ``retain`` and ``spill``, bytes; other names are ignored.
        """
        ours = self.store.limits
        self.undelivered.limit = min(limits.get("spill", ours.spill), ours.spill)
        self.retained.limit = min(limits.get("retain", ours.retain), ours.retain)
        self._forget_excess()

    def retain(self, message: Message, mailbox: Evictable) -> None:
        """Keep a delivered message, and remove the oldest ones beyond the limit.

        :param mailbox: whose oldest message it will be in its turn.
        """
        self._oldest[message] = mailbox
        self.retained.used += message.length
        if message.frames is not None:
            self.store.retain(message, mailbox)
        if self.retained.used > self.retained.limit:
            self._forget_excess()

    def unretain(self, message: Message) -> None:
        """Count a message as delivered no longer."""
        del self._oldest[message]
        self.retained.used -= message.length
        self.store.unretain(message)

    def clear(self) -> None:
        """Remove its files."""
        self.store.spill.remove_directory(self.directory)

    def _forget_excess(self) -> None:
        while self.retained.used > self.retained.limit:
            next(iter(self._oldest.values())).forget_oldest()
