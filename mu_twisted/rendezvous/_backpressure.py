"""Back-pressure: who sends to a mailbox that holds enough is not read, for a short time."""

from typing import Protocol

from mu_twisted.rendezvous._mailbox import Mailbox
from mu_twisted.rendezvous._run import Run
from mu_twisted.transport import Deadlines, ReactorTime


class Pausable(Protocol):
    """A connection that sends to a mailbox."""

    def hold(self, reason: str) -> None:
        """Read no more."""

    def let_go(self, reason: str) -> None:
        """Read again, unless there are other reasons not to."""


class Backpressure:
    """Holds senders back while a reader takes what waits for it; a reader that does not, gets it from disk.

    :param clock: for the patience.
    :param patience: seconds.
    """

    MAILBOX = "mailbox"
    RUN = "run"

    def __init__(self, clock: ReactorTime, patience: float) -> None:
        self._held: dict[Mailbox, dict[Pausable, None]] = {}
        self._overfull: dict[Pausable, Run] = {}
        self._patience: Deadlines[Mailbox] = Deadlines(clock, patience, self._too_slow)

    def sent(self, sender: Pausable, mailbox: Mailbox) -> None:
        """Somebody has put messages into a mailbox: hold it back if that was enough."""
        run = mailbox.run
        if not run.job and run.overfull:
            self._overfull[sender] = run
            sender.hold(self.RUN)
        if mailbox.pressing and mailbox.reader is not None and not mailbox.slow:
            if mailbox not in self._held:
                self._held[mailbox] = {}
                self._patience.start(mailbox)
            self._held[mailbox][sender] = None
            sender.hold(self.MAILBOX)

    def taken(self, mailbox: Mailbox) -> None:
        """A reader has taken something, or has gone: let its senders go on if little is left."""
        if mailbox in self._held and (mailbox.reader is None or mailbox.eased):
            self._release(mailbox)
        if mailbox.slow and not mailbox.waiting:
            mailbox.slow = False

    def gone(self, sender: Pausable) -> None:
        """A connection is no more."""
        self._overfull.pop(sender, None)
        for mailbox, senders in list(self._held.items()):
            senders.pop(sender, None)
            if not senders:
                self._release(mailbox)

    def sweep(self) -> None:
        """Look whether runs that had too much have room again."""
        for sender, run in list(self._overfull.items()):
            if not run.overfull:
                del self._overfull[sender]
                sender.let_go(self.RUN)

    def stop(self) -> None:
        """Leave no timer behind."""
        self._patience.stop()

    def _too_slow(self, mailbox: Mailbox) -> None:
        mailbox.slow = True
        mailbox.spill()
        self._release(mailbox)

    def _release(self, mailbox: Mailbox) -> None:
        self._patience.end(mailbox)
        for sender in self._held.pop(mailbox):
            sender.let_go(self.MAILBOX)
