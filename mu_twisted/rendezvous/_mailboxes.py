"""All mailboxes: who may have which, and how long. Pure: time and tokens come in, effects go out as values."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from mu_twisted.rendezvous._errors import PeerRefused
from mu_twisted.rendezvous._mailbox import Mailbox
from mu_twisted.rendezvous._message import Origins
from mu_twisted.rendezvous._message_store import MessageStore
from mu_twisted.rendezvous._run import Run
from mu_twisted.wire import PeerGreeting


@dataclass(eq=False, slots=True)
class Subscription:
    """What a connection has that was let in.

    :param inbox: what it reads.
    :param outbox: where all that it sends goes.
    :param origins: by whom its messages are marked.
    """

    run: Run
    inbox: Mailbox
    outbox: Mailbox
    origins: Origins


@dataclass(frozen=True, slots=True)
class Welcome:
    """How a greeting was answered.

    :param subscription: the newcomer's.
    :param replaced: the reader that had its mailbox before.
    :param lost: tasks whose messages it wants again and which are gone.
    """

    subscription: Subscription
    replaced: object | None
    lost: Sequence[int]


class Mailboxes:
    """Every run and job with its mailboxes.

    :param store: room for messages.
    :param token: makes a new one each time.
    """

    def __init__(self, store: MessageStore, token: Callable[[], str]) -> None:
        self.store = store
        self._token = token
        self._limits = store.limits
        self.jobs: dict[bytes, Run] = {}
        self.runs: dict[bytes, Run] = {}
        self._count = 0

    def greet(self, greeting: PeerGreeting, reader: object, now: float) -> Welcome:
        """Somebody comes for a mailbox.

        :param reader: stands for it, until it is replaced or leaves.
        :raises Refused: its attempt is over, or there are too many mailboxes.
        """
        run = self._run(greeting.run, greeting.attempt is not None, now)
        if greeting.attempt is not None:
            latest = run.attempts.get(greeting.me, 0)
            if greeting.attempt < latest:
                raise PeerRefused(
                    f"attempt {greeting.attempt} of task {greeting.me} of job {run.label} is over: attempt {latest} "
                    "has its mailbox"
                )
        inbox, outbox = self._mailbox(run, greeting.me), self._mailbox(run, greeting.to)
        origins: Origins = ()
        if greeting.attempt is not None:
            run.attempts[greeting.me] = greeting.attempt
            origins = ((greeting.me, greeting.attempt),)
        inbox.users += 1
        outbox.users += 1
        replaced = inbox.attach(reader)
        lost = inbox.replay() if greeting.replay else []
        if not run.job:
            inbox.expire(now - self._limits.retention)
        return Welcome(Subscription(run, inbox, outbox, origins), replaced, lost)

    def leave(self, subscription: Subscription, reader: object) -> None:
        """Who had a seat is gone, or was replaced."""
        subscription.inbox.detach(reader)
        subscription.inbox.users -= 1
        subscription.outbox.users -= 1
        if not subscription.run.job:
            self._tidy(subscription.run, (subscription.inbox, subscription.outbox))

    def mention(self, job: bytes, limits: Mapping[str, int], watcher: object, now: float) -> tuple[Run, Sequence[int]]:
        """A coordinator says that a job lives.

        :param watcher: who is to be told what is lost.
        :returns: the job, and what was lost while nobody could be told.
        :raises Refused: there are too many jobs.
        """
        run = self._run(job, True, now)
        run.mentioned = now
        run.watcher = watcher
        run.limit(limits)
        lost, run.lost = sorted(run.lost), set()
        return run, lost

    def end(self, job: bytes) -> Run | None:
        """A job is over, its messages go; None if it is not known. Its readers are in the run that is returned."""
        run = self.jobs.pop(job, None)
        if run is not None:
            self._clear(run)
        return run

    def sweep(self, now: float) -> list[Run]:
        """What is too old goes.

        :returns: jobs that no coordinator has mentioned for too long; they are gone.
        """
        before = now - self._limits.retention
        for run in list(self.runs.values()):
            for mailbox in run.mailboxes.values():
                mailbox.expire(before)
            self._tidy(run, list(run.mailboxes.values()))
        forgotten = [run for run in self.jobs.values() if run.mentioned <= before]
        for run in forgotten:
            del self.jobs[run.name]
            self._clear(run)
        return forgotten

    def give_way(self, before: float) -> None:
        """Memory is short: what waits since before this time for a reader that is there may go to disk."""
        for run in (*self.runs.values(), *self.jobs.values()):
            for mailbox in run.mailboxes.values():
                if mailbox.held and mailbox.waiting[0].arrived <= before:
                    mailbox.slow = True
                    self.store.idle[mailbox] = None

    def clear(self) -> None:
        """Everything goes."""
        for run in (*self.runs.values(), *self.jobs.values()):
            run.clear()
        self.runs.clear()
        self.jobs.clear()
        self._count = 0

    # -- inside ----------------------------------------------------------------------------------------------------

    def _run(self, name: bytes, job: bool, now: float) -> Run:
        runs = self.jobs if job else self.runs
        run = runs.get(name)
        if run is None:
            if len(runs) >= self._limits.runs:
                raise PeerRefused(f"there are {len(runs)} {'jobs' if job else 'runs'} already")
            run = runs[name] = Run(name, job, self.store, self._token(), now)
        return run

    def _mailbox(self, run: Run, number: int) -> Mailbox:
        mailbox = run.mailboxes.get(number)
        if mailbox is None:
            if self._count >= self._limits.mailboxes:
                raise PeerRefused(f"there are {self._count} mailboxes already")
            self._count += 1
            mailbox = run.mailboxes[number] = Mailbox(run, number)
        return mailbox

    def _tidy(self, run: Run, mailboxes: Sequence[Mailbox]) -> None:
        """Forget what of a run of the original's is empty and not in use."""
        for mailbox in mailboxes:
            unused = not mailbox.users and not mailbox.waiting
            if unused and run.mailboxes.pop(mailbox.me, None) is not None:
                self._count -= 1
        if not run.mailboxes:
            self.runs.pop(run.name, None)

    def _clear(self, run: Run) -> None:
        run.clear()
        self._count -= len(run.mailboxes)
