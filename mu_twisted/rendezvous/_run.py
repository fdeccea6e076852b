"""What belongs together: a job, or what the original called a run. Mailboxes of different ones never meet."""

from collections.abc import Mapping
from pathlib import Path

from mu_twisted.rendezvous._mailbox import Mailbox
from mu_twisted.rendezvous._message import Account, Message
from mu_twisted.rendezvous._message_store import MessageStore


class Run:
    """A job, or a run of the original's.

    :param name: any bytes.
    :param job: whether it is a job: its workers have attempts, and what was delivered is kept.
    :param store: what it shares with the others.
    :param store_token: a token that no other has had.
    :param now: when its time begins.
    :ivar attempts: the highest attempt that each task has come with.
    :ivar watcher: who is told what is lost; None: nobody has asked.
    :ivar lost: tasks whose messages are gone and wanted, of which nobody could be told.
    """

    def __init__(self, name: bytes, job: bool, store: MessageStore, store_token: str, now: float) -> None:
        self.name = name
        self.job = job
        self.store = store
        self.store_token = store_token
        self.mentioned = now
        self.mailboxes: dict[int, Mailbox] = {}
        self.attempts: dict[int, int] = {}
        self.undelivered = Account(store.limits.spill)
        self.retained = Account(store.limits.retain)
        self.directory: Path = store.spill.new_directory()
        self.watcher: object | None = None
        self.lost: set[int] = set()
        self._oldest: dict[Message, Mailbox] = {}

    @property
    def label(self) -> str:
        """For people."""
        return self.name.decode("utf-8", "backslashreplace")[:80]

    @property
    def overfull(self) -> bool:
        """Whether it has more undelivered messages than it may."""
        return self.undelivered.free < 0 or self.store.undelivered.free < 0 or self._stuck()

    def admits(self, length: int) -> bool:
        """Whether a message of so many bytes may come in."""
        return min(self.undelivered.free, self.store.undelivered.free) >= length and not self._stuck()

    def _stuck(self) -> bool:
        return self.store.broken and self.store.memory.free < 0

    def limit(self, limits: Mapping[str, int]) -> None:
        """Take what a coordinator says about this job, as far as the rendezvous allows.

        :param limits: ``retain`` and ``spill``, bytes; others are not known here.
        """
        ours = self.store.limits
        self.undelivered.limit = min(limits.get("spill", ours.spill), ours.spill)
        self.retained.limit = min(limits.get("retain", ours.retain), ours.retain)
        self._keep_few()

    def retain(self, message: Message, mailbox: Mailbox) -> None:
        """Keep what was delivered; the oldest goes for it."""
        self._oldest[message] = mailbox
        self.retained.used += message.length
        if message.body is not None:
            self.store.keep(message, mailbox)
        if self.retained.used > self.retained.limit:
            self._keep_few()

    def unretain(self, message: Message) -> None:
        """It is not kept as delivered any longer."""
        del self._oldest[message]
        self.retained.used -= message.length
        self.store.keep_no_more(message)

    def clear(self) -> None:
        """All messages go."""
        for mailbox in self.mailboxes.values():
            mailbox.clear()
        self.store.spill.remove_directory(self.directory)

    def _keep_few(self) -> None:
        while self.retained.used > self.retained.limit:
            next(iter(self._oldest.values())).forget_oldest()
