"""A run is what belongs together: a job, or what the original called a run. Mailboxes of different ones never meet."""

from mu_twisted.rendezvous._errors import PeerRefused
from mu_twisted.rendezvous._links import Links
from mu_twisted.rendezvous._mailbox import Mailbox
from mu_twisted.rendezvous._message_store import MessageStore
from mu_twisted.rendezvous._named_storage import NamedStorage
from mu_twisted.rendezvous._pipes import Pipes
from mu_twisted.rendezvous._run_storage import RunStorage


class Run:
    """A job, or a run of the original's.

    :param name: any bytes.
    :param job: whether it is a job: its workers have attempts, and what was delivered is kept.
    :param store: what it shares with the others.
    :param store_token: identifies this beginning of it: no other has had this token.
    :param now: when it begins, seconds.
    :ivar storage: its share of the store.
    :ivar mentioned: when a coordinator last named it, seconds.
    :ivar mailboxes: by number.
    :ivar links: its named messages.
    :ivar pipes: those between its tasks.
    :ivar attempts: the highest attempt that each task has greeted with.
    :ivar watcher: the coordinator's connection, which is sent notices of lost messages; None: there was none.
    :ivar lost: tasks whose messages are lost and wanted, of which no coordinator has been notified.
    """

    def __init__(self, name: bytes, job: bool, store: MessageStore, store_token: str, now: float) -> None:
        self.name = name
        self.job = job
        self.store_token = store_token
        self.storage = RunStorage(self.label, job, store)
        self.mentioned = now
        self.mailboxes: dict[int, Mailbox] = {}
        self.attempts: dict[int, int] = {}
        self.links = Links(NamedStorage(self.label, store, self.storage.directory), self.attempts)
        self.pipes = Pipes(store.pipes)
        self.watcher: object | None = None
        self.lost: set[int] = set()

    @property
    def label(self) -> str:
        """Its name, for logs and errors."""
        return self.name.decode("utf-8", "backslashreplace")[:80]

    def claim(self, task: int, attempt: int) -> bool:
        """Have a task belong to this attempt.

        :returns: whether another attempt had it before.
        :raises PeerRefused: a later one has it.
        """
        latest = self.attempts.get(task, 0)
        if attempt < latest:
            raise PeerRefused(
                f"attempt {attempt} of task {task} of job {self.label} is over: attempt {latest} has its mailbox"
            )
        self.attempts[task] = attempt
        return attempt > latest

    def clear(self) -> None:
        """Remove all its messages."""
        for mailbox in self.mailboxes.values():
            mailbox.clear()
        self.links.clear()
        self.storage.clear()
