"""Mailboxes are assigned to connections here, and removed when they are old. Pure: time and tokens are arguments."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from mu_twisted.rendezvous._errors import PeerRefused
from mu_twisted.rendezvous._link_session import LinkSession, Outlet
from mu_twisted.rendezvous._mailbox import Mailbox
from mu_twisted.rendezvous._message import Origins
from mu_twisted.rendezvous._message_store import MessageStore
from mu_twisted.rendezvous._run import Run
from mu_twisted.wire import PeerGreeting
from mu_twisted.wire.links import WHOLE, LinkGreeting


@dataclass(eq=False, slots=True)
class Subscription:
    """The mailboxes of a connection that has greeted.

    :param run: the run or job that it named.
    :param inbox: what it reads.
    :param outbox: what all its messages are put into.
    :param origins: the task and attempt that its messages are marked with.
    """

    run: Run
    inbox: Mailbox
    outbox: Mailbox
    origins: Origins


@dataclass(frozen=True, slots=True)
class Welcome:
    """The result of a greeting.

    :param subscription: the new connection's.
    :param replaced: the connections that it takes the place of: the reader that had its mailbox before, and what an
        earlier attempt has for links.
    :param lost: tasks whose messages it wants again and which are gone.
    """

    subscription: Subscription
    replaced: Sequence[object]
    lost: Sequence[int]


@dataclass(frozen=True, slots=True)
class LinkAdmission:
    """The result of a greeting for links.

    :param run: the job.
    :param session: the new connection's.
    :param replaced: the connections that it takes the place of.
    """

    run: Run
    session: LinkSession
    replaced: Sequence[object]


class Mailboxes:
    """Every run and job with its mailboxes.

    :param store: memory and disk for messages.
    :param token: makes a new token at each call.
    :ivar jobs: by their names.
    :ivar runs: the original's, by their names.
    """

    def __init__(self, store: MessageStore, token: Callable[[], str]) -> None:
        self.store = store
        self._token = token
        self._limits = store.limits
        self.jobs: dict[bytes, Run] = {}
        self.runs: dict[bytes, Run] = {}
        self._count = 0

    def __len__(self) -> int:
        """How many mailboxes there are, of all jobs and runs."""
        return self._count

    def greet(self, greeting: PeerGreeting, reader: object, now: float) -> Welcome:
        """Give a connection the mailboxes that its greeting names.

        :param reader: stands for the connection, until it is replaced or unsubscribes.
        :param now: seconds.
        :raises PeerRefused: its attempt is over, or there are too many runs or mailboxes.
        """
        run = self._run(greeting.run, greeting.attempt is not None, now)
        replaced: list[object] = []
        origins: Origins = ()
        if greeting.attempt is not None:
            link = run.links.receivers.get(greeting.me)
            if run.claim(greeting.me, greeting.attempt) and link is not None:
                run.links.detach(link)
                replaced.append(link.outlet)
            origins = ((greeting.me, greeting.attempt),)
        inbox, outbox = self._mailbox(run, greeting.me), self._mailbox(run, greeting.to)
        inbox.users += 1
        outbox.users += 1
        before = inbox.attach(reader)
        if before is not None:
            replaced.append(before)
        lost = inbox.replay(run.attempts) if greeting.replay else []
        if not run.storage.job:
            inbox.expire(now - self._limits.retention)
        return Welcome(Subscription(run, inbox, outbox, origins), replaced, lost)

    def greet_link(self, greeting: LinkGreeting, outlet: Outlet, now: float) -> LinkAdmission:
        """Begin the session of a connection for links.

        :param outlet: the connection.
        :param now: seconds.
        :raises PeerRefused: its attempt is over, or there are too many jobs.
        """
        run = self._run(greeting.job, True, now)
        replaced: list[object] = []
        mailbox, before = run.mailboxes.get(greeting.task), run.links.receivers.get(greeting.task)
        if run.claim(greeting.task, greeting.attempt) and mailbox is not None and mailbox.reader is not None:
            replaced.append(mailbox.reader)
        if before is not None:
            replaced.append(before.outlet)
        whole = greeting.announced.get(WHOLE) is True
        session = LinkSession(run.links, greeting.task, greeting.attempt, outlet, whole=whole)
        run.links.attach(greeting.task, session)
        return LinkAdmission(run, session, replaced)

    def unsubscribe(self, subscription: Subscription, reader: object) -> None:
        """End a subscription whose connection is gone, or was replaced."""
        subscription.inbox.detach(reader)
        subscription.inbox.users -= 1
        subscription.outbox.users -= 1
        if not subscription.run.storage.job:
            self._remove_unused(subscription.run, (subscription.inbox, subscription.outbox))

    def mention(self, job: bytes, limits: Mapping[str, int], watcher: object, now: float) -> tuple[Run, Sequence[int]]:
        """Keep a job, as its coordinator has named it.

        :param limits: as :meth:`RunStorage.limit` and :meth:`NamedStorage.limit`.
        :param watcher: stands for the coordinator's connection, which is to be notified of what is lost.
        :param now: seconds.
        :returns: the job, and the tasks whose messages were lost while no coordinator could be notified.
        :raises PeerRefused: there are too many jobs.
        """
        run = self._run(job, True, now)
        run.mentioned = now
        run.watcher = watcher
        run.storage.limit(limits)
        run.links.storage.limit(limits)
        lost, run.lost = sorted(run.lost), set()
        return run, lost

    def end(self, job: bytes) -> Run | None:
        """Remove a job that is over.

        :returns: the job, with the readers of its mailboxes; None if there is no such job.
        """
        run = self.jobs.pop(job, None)
        if run is not None:
            self._clear(run)
        return run

    def sweep(self, now: float) -> list[Run]:
        """Remove what is too old.

        :param now: seconds.
        :returns: jobs that no coordinator has mentioned for too long; they are removed.
        """
        before = now - self._limits.retention
        for run in list(self.runs.values()):
            for mailbox in run.mailboxes.values():
                mailbox.expire(before)
            self._remove_unused(run, list(run.mailboxes.values()))
        forgotten = [run for run in self.jobs.values() if run.mentioned <= before]
        for run in forgotten:
            del self.jobs[run.name]
            self._clear(run)
        return forgotten

    def mark_slow(self, before: float) -> None:
        """Let the store move to disk what has waited since before this time, even for a connected reader."""
        for run in (*self.runs.values(), *self.jobs.values()):
            for mailbox in run.mailboxes.values():
                if mailbox.held and mailbox.waiting[0].arrived <= before:
                    mailbox.slow = True
                    self.store.idle[mailbox] = None

    def clear(self) -> None:
        """Remove everything."""
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
            mailbox = run.mailboxes[number] = Mailbox(number, run.storage)
        return mailbox

    def _remove_unused(self, run: Run, mailboxes: Sequence[Mailbox]) -> None:
        """Remove the empty mailboxes of a run of the original's that no connection uses."""
        for mailbox in mailboxes:
            unused = not mailbox.users and not mailbox.waiting
            if unused and run.mailboxes.pop(mailbox.me, None) is not None:
                self._count -= 1
        if not run.mailboxes:
            self.runs.pop(run.name, None)

    def _clear(self, run: Run) -> None:
        run.clear()
        self._count -= len(run.mailboxes)
