"""What belongs together: a job, or what the original called a run. Mailboxes of different ones never meet."""

from collections.abc import Mapping
from pathlib import Path

from mu_twisted.rendezvous._mailbox import Mailbox
from mu_twisted.rendezvous._parcel import Account, Parcel
from mu_twisted.rendezvous._shelf import Shelf


class Run:
    """A job, or a run of the original's.

    :param name: any bytes.
    :param job: whether it is a job: its workers have attempts, and what was delivered is kept.
    :param shelf: what it shares with the others.
    :param store: a token that no other has had.
    :param now: when its time begins.
    :ivar attempts: the highest attempt that each task has come with.
    :ivar watcher: who is told what is lost; None: nobody has asked.
    :ivar lost: tasks whose messages are gone and wanted, of which nobody could be told.
    """

    def __init__(self, name: bytes, job: bool, shelf: Shelf, store: str, now: float) -> None:
        self.name = name
        self.job = job
        self.shelf = shelf
        self.store = store
        self.mentioned = now
        self.mailboxes: dict[int, Mailbox] = {}
        self.attempts: dict[int, int] = {}
        self.undelivered = Account(shelf.limits.spill)
        self.retained = Account(shelf.limits.retain)
        self.directory: Path = shelf.spill.new_directory()
        self.watcher: object | None = None
        self.lost: set[int] = set()
        self._oldest: dict[Parcel, Mailbox] = {}

    @property
    def label(self) -> str:
        """For people."""
        return self.name.decode("utf-8", "backslashreplace")[:80]

    @property
    def overfull(self) -> bool:
        """Whether it has more undelivered messages than it may."""
        return self.undelivered.free < 0 or self.shelf.undelivered.free < 0 or self._stuck()

    def admits(self, length: int) -> bool:
        """Whether a message of so many bytes may come in."""
        return min(self.undelivered.free, self.shelf.undelivered.free) >= length and not self._stuck()

    def _stuck(self) -> bool:
        return self.shelf.broken and self.shelf.memory.free < 0

    def limit(self, limits: Mapping[str, int]) -> None:
        """Take what a coordinator says about this job, as far as the rendezvous allows.

        :param limits: ``retain`` and ``spill``, bytes; others are not known here.
        """
        ours = self.shelf.limits
        self.undelivered.limit = min(limits.get("spill", ours.spill), ours.spill)
        self.retained.limit = min(limits.get("retain", ours.retain), ours.retain)
        self._keep_few()

    def retain(self, parcel: Parcel, mailbox: Mailbox) -> None:
        """Keep what was delivered; the oldest goes for it."""
        self._oldest[parcel] = mailbox
        self.retained.used += parcel.length
        if parcel.body is not None:
            self.shelf.keep(parcel, mailbox)
        if self.retained.used > self.retained.limit:
            self._keep_few()

    def unretain(self, parcel: Parcel) -> None:
        """It is not kept as delivered any longer."""
        del self._oldest[parcel]
        self.retained.used -= parcel.length
        self.shelf.keep_no_more(parcel)

    def clear(self) -> None:
        """All messages go."""
        for mailbox in self.mailboxes.values():
            mailbox.clear()
        self.shelf.spill.remove_directory(self.directory)

    def _keep_few(self) -> None:
        while self.retained.used > self.retained.limit:
            next(iter(self._oldest.values())).forget_oldest()
