"""Back-pressure stops the reading of senders whose mailbox holds enough, for a short time."""

from typing import Protocol

from mu_twisted.rendezvous._mailbox import Mailbox
from mu_twisted.rendezvous._run_storage import RunStorage
from mu_twisted.transport import Deadlines, ReactorTime


class Pausable(Protocol):
    """A connection that sends to a mailbox."""

    def pause(self, reason: str) -> None:
        """Read no more."""

    def resume(self, reason: str) -> None:
        """Read again, unless it is paused for other reasons."""


class Backpressure:
    """Pauses senders while a reader takes what waits for it; what a slower reader is to take goes to disk.

    :param clock: for the time limit.
    :param timeout: seconds that senders are paused at most for a reader that takes nothing.
    """

    MAILBOX = "mailbox"
    RUN = "run"

    def __init__(self, clock: ReactorTime, timeout: float) -> None:
        self._paused: dict[Mailbox, dict[Pausable, None]] = {}
        self._overfull: dict[Pausable, RunStorage] = {}
        self._timeouts: Deadlines[Mailbox] = Deadlines(clock, timeout, self._timed_out)

    def sent(self, sender: Pausable, mailbox: Mailbox) -> None:
        """Pause a sender if what it has put into a mailbox was enough."""
        storage = mailbox.storage
        if not storage.job and storage.overfull:
            self._overfull[sender] = storage
            sender.pause(self.RUN)
        if mailbox.pressing and mailbox.reader is not None and not mailbox.slow:
            if mailbox not in self._paused:
                self._paused[mailbox] = {}
                self._timeouts.start(mailbox)
            self._paused[mailbox][sender] = None
            sender.pause(self.MAILBOX)

    def taken(self, mailbox: Mailbox) -> None:
        """Resume a mailbox's senders if little is left, as its reader has taken something, or has gone."""
        if mailbox in self._paused and (mailbox.reader is None or mailbox.eased):
            self._resume(mailbox)
        if mailbox.slow and not mailbox.waiting:
            mailbox.slow = False

    def disconnected(self, sender: Pausable) -> None:
        """Forget a sender whose connection is gone."""
        self._overfull.pop(sender, None)
        for mailbox, senders in list(self._paused.items()):
            senders.pop(sender, None)
            if not senders:
                self._resume(mailbox)

    def sweep(self) -> None:
        """Resume the senders of runs that had too much and have no longer."""
        for sender, storage in list(self._overfull.items()):
            if not storage.overfull:
                del self._overfull[sender]
                sender.resume(self.RUN)

    def stop(self) -> None:
        """Leave no timer behind."""
        self._timeouts.stop()

    def _timed_out(self, mailbox: Mailbox) -> None:
        mailbox.slow = True
        mailbox.spill()
        self._resume(mailbox)

    def _resume(self, mailbox: Mailbox) -> None:
        self._timeouts.end(mailbox)
        for sender in self._paused.pop(mailbox):
            sender.resume(self.MAILBOX)
