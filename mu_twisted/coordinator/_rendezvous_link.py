"""A link is the coordinator's connection to a rendezvous: it says which jobs live, and is notified of lost messages.

Dials as long as there are jobs, and leaves when there have been none for a while. Knows the notices of the wire, not
how the rendezvous keeps its mailboxes.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

from twisted.internet.base import DelayedCall
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from mu_twisted.transport import FrameProtocol, ReactorTime, Receiver, TransportError, every
from mu_twisted.wire import EndNotice, EndTaken, JobNotice, JobTaken, LostNotice, PeerError, ResentNotice, parse_notice

SAY_AGAIN = 60.0
"""Seconds after which a job's life is stated again (the rendezvous drops one that was not mentioned for 600 s), and the
connection is left if there is no job to name."""
REDIAL = (0.25, 5.0)
"""Seconds before the first redial, and the limit that it grows to by doubling."""
OPEN_TIMEOUT = 20.0
"""Seconds that :meth:`RendezvousLink.open` waits: dialling has its own limits, and another job may have begun it."""

Connect = Callable[[Receiver], Deferred[FrameProtocol]]
"""Makes a connection with this receiver, whose ``connected`` is called; or fails with
:class:`~mu_twisted.transport.TransportError`."""


class Mailing(Protocol):
    """The job that is notified about its messages."""

    def messages_lost(self, task: int) -> None:
        """A message that this task has sent is wanted again, and gone."""

    def messages_resent(self, task: int) -> None:
        """All that this task had sent by links, and was gone, is there again."""

    def store_named(self, store: str) -> None:
        """The job's messages are kept under this token; another one than before means that those before are gone."""

    def store_unreachable(self, why: str) -> None:
        """The rendezvous is not there, until the job's messages are named again.

        :param why: one line for the user.
        """


@dataclass(frozen=True)
class _AnnouncedJob:
    notice: JobNotice
    mailing: Mailing


class RendezvousLink:
    """Receiver of a rendezvous's notices.

    :param clock: for redials and for saying again that jobs live.
    :param dial: see :data:`Connect`.
    :param address: of the rendezvous, for logs.
    """

    log = Logger()

    def __init__(self, clock: ReactorTime, dial: Connect, address: str) -> None:
        self._clock = clock
        self._dial = dial
        self._address = address
        self._connection: FrameProtocol | None = None
        self._dialling: Deferred[Any] | None = None
        self._waiting: list[Deferred[None]] = []
        self._jobs: dict[str, _AnnouncedJob] = {}
        self._pause = REDIAL[0]
        self._redial: DelayedCall | None = None
        self._leaving = False
        self._closed = False
        self._away: str | None = None
        self._again = every(clock, SAY_AGAIN, self._look)

    async def open(self) -> None:
        """See that the rendezvous is there: dial it unless it is connected or being dialled, and wait for the outcome.

        :raises mu_twisted.transport.TransportError: the rendezvous cannot be reached, or refuses us.
        """
        if self._closed:
            raise TransportError("the connection to the rendezvous was given up")
        if self._connection is not None and not self._leaving:
            return
        waiting: Deferred[None] = Deferred(self._waits_no_more)
        self._waiting.append(waiting)
        waiting.addTimeout(OPEN_TIMEOUT, self._clock, _too_late)  # type: ignore[arg-type]
        self._dial_now()
        await waiting

    def add(self, job: str, mailing: Mailing, limits: dict[str, int] | None = None) -> None:
        """From now on the rendezvous keeps this job's messages, and is dialled until it is there.

        Where it is not, the job is notified of that before this returns.

        :param limits: as in :class:`~mu_twisted.wire.JobNotice`.
        """
        entry = self._jobs[job] = _AnnouncedJob(JobNotice(job, limits or {}), mailing)
        if self._connection is None or self._leaving:
            mailing.store_unreachable(self._away or f"the rendezvous at {self._address} is being dialled")
        self._say(entry.notice.encode())
        self._dial_now()

    def remove(self, job: str) -> None:
        """The job is over: its messages may go."""
        # A rendezvous that is not connected learns it when the job is not named any more.
        if self._jobs.pop(job, None) is not None:
            self._say(EndNotice(job).encode())

    def close(self) -> None:
        """Say what is to be said and leave, for good."""
        self._closed = True
        self._pause_no_more()
        self._report(_failure("the connection to the rendezvous was given up"))
        if self._dialling is not None:
            self._dialling.cancel()
        self._leave()

    # -- what the transport reports --------------------------------------------------------------------------------

    def connected(self, connection: FrameProtocol) -> None:
        """The rendezvous is there, for the first time or again."""
        self._connection, self._dialling = connection, None
        if self._closed:
            connection.close()
            return
        self._again.start()
        self._say_again()
        self._report(None)

    def frames_received(self, payloads: list[bytes]) -> None:
        """Notices."""
        self._pause = REDIAL[0]  # and not when connected: one that refuses us says so after that
        if self._away is not None:
            self._away = None
            self.log.info("the rendezvous at {address} is back", address=self._address)
        for payload in payloads:
            try:
                notice = parse_notice(payload)
            except PeerError as error:
                self.log.warn("rendezvous {address}: {error}", address=self._address, error=str(error))
                continue
            match notice:
                case JobTaken(job, store) if job in self._jobs:
                    self._jobs[job].mailing.store_named(store)
                case LostNotice(job, task) if job in self._jobs:
                    self.log.info("job {job}: the messages of task {task} are gone", job=job, task=task)
                    self._jobs[job].mailing.messages_lost(task)
                case ResentNotice(job, task) if job in self._jobs:
                    self._jobs[job].mailing.messages_resent(task)
                case EndTaken() | JobTaken() | LostNotice() | ResentNotice():
                    pass  # of a job that is over
                case _:
                    self.log.warn("rendezvous {address} says what only we say", address=self._address)

    def disconnected(self, reason: str) -> None:
        """The rendezvous is gone; it may come back, with its mailboxes or without."""
        left, self._leaving = self._leaving, False
        self._connection = None
        self._again.stop()
        if self._closed:
            return
        if self._waiting or (left and self._jobs):  # wanted again while we were leaving
            self._dial_now()
        elif self._jobs:
            self._redial_later()
            self._is_away(reason)

    # -- inside ----------------------------------------------------------------------------------------------------

    def _report(self, failure: Failure | None) -> None:
        """Report the outcome to all that wait for it."""
        waiting, self._waiting = self._waiting, []
        for one in waiting:
            if one.called:
                continue  # given up on when the one before was notified
            if failure is None:
                one.callback(None)
            else:
                one.errback(failure)

    def _waits_no_more(self, waiting: Deferred[None]) -> None:
        if waiting in self._waiting:
            self._waiting.remove(waiting)

    def _dial_now(self) -> None:
        """Dial, unless that is under way or done."""
        if self._dialling is not None or self._connection is not None or self._closed:
            return
        self._pause_no_more()
        dialling = maybeDeferred(self._dial, self)
        self._dialling = None if dialling.called else dialling
        dialling.addErrback(self._not_reached)

    def _redial_later(self) -> None:
        self._pause_no_more()
        pause, self._pause = self._pause, min(2 * self._pause, REDIAL[1])
        self._redial = self._clock.callLater(pause, self._dial_now)

    def _pause_no_more(self) -> None:
        if self._redial is not None and self._redial.active():
            self._redial.cancel()

    def _not_reached(self, failure: Failure) -> None:
        self._dialling = None
        if self._closed:
            return
        if not isinstance(failure.value, TransportError):
            self.log.failure("dialling the rendezvous {address} failed", failure, address=self._address)
        self._report(failure)
        if self._jobs:
            self._redial_later()
            self._is_away(failure.getErrorMessage())

    def _is_away(self, reason: str) -> None:
        """Notify all jobs, and log it once until it has answered again."""
        said, self._away = self._away, f"the rendezvous at {self._address} is away ({reason})"
        if said is None:
            self.log.warn("{away}: tasks that need it are held until it is back", away=self._away)
        else:
            self.log.debug("{away}", away=self._away)
        for name, entry in list(self._jobs.items()):
            try:
                entry.mailing.store_unreachable(self._away)
            except Exception:  # noqa: BLE001 - the other jobs are to be notified all the same
                self.log.failure("job {job} did not take in that the rendezvous is away", job=name)

    def _look(self) -> None:
        try:
            if self._jobs:
                self._say_again()
            else:
                self._leave()
        except Exception:  # noqa: BLE001 - else it would never be said again, and the rendezvous drop the jobs
            self.log.failure("saying to {address} that jobs live failed", address=self._address)

    def _leave(self) -> None:
        """Close what is open. Until that is done nothing can be said, and no other connection be made."""
        self._again.stop()
        if self._connection is not None and not self._leaving:
            self._leaving = True
            self._connection.close()

    def _say_again(self) -> None:
        self._say(*(entry.notice.encode() for entry in self._jobs.values()))

    def _say(self, *payloads: bytes) -> None:
        if payloads and self._connection is not None and not self._leaving:
            self._connection.send(*payloads)


def _too_late(_: object, seconds: float) -> Failure:
    return _failure(f"the rendezvous did not answer within {seconds:g} s")


def _failure(text: str) -> Failure:
    return Failure(TransportError(text))  # type: ignore[no-untyped-call]
