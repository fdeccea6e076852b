"""The coordinator's connection to a rendezvous: which jobs live, and what the rendezvous no longer has.

Dials again as long as there are jobs. Knows the notices of the wire, not how the rendezvous keeps its mailboxes.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

from twisted.internet.defer import Deferred
from twisted.internet.task import LoopingCall
from twisted.logger import Logger
from twisted.python.failure import Failure

from mu_twisted.transport import FrameProtocol, ReactorTime, Receiver
from mu_twisted.wire import EndNotice, EndTaken, JobNotice, JobTaken, LostNotice, WireError, parse_notice

MAX_NOTICE = 64 << 10
"""Largest message accepted from a rendezvous, bytes."""
SAY_AGAIN = 60.0
"""Seconds after which a job's life is told again; the rendezvous drops one that was not mentioned for 600 s."""
REDIAL = (0.25, 5.0)
"""Seconds before the first redial, and the most that it grows to by doubling."""

Dial = Callable[[Receiver], Deferred[FrameProtocol]]
"""Makes a connection with this receiver; fails with :class:`~mu_twisted.transport.TransportError`."""


class Mailing(Protocol):
    """Who is told about a job's messages."""

    def messages_lost(self, task: int) -> None:
        """A message that this task has sent is wanted again, and gone."""

    def store_named(self, store: str) -> None:
        """The job's messages are kept under this token; another one than before means that those before are gone."""


@dataclass(frozen=True)
class _Job:
    notice: JobNotice
    mailing: Mailing


class RendezvousLink:
    """Receiver of a rendezvous's notices.

    :param clock: for redials and for saying again that jobs live.
    :param dial: see :data:`Dial`.
    :param address: of the rendezvous, for logs.
    """

    log = Logger()

    def __init__(self, clock: ReactorTime, dial: Dial, address: str) -> None:
        self._clock = clock
        self._dial = dial
        self._address = address
        self._connection: FrameProtocol | None = None
        self._jobs: dict[str, _Job] = {}
        self._pause = REDIAL[0]
        self._redial: Any = None
        self._open = False
        self._again = LoopingCall(self._say_again)
        self._again.clock = clock  # type: ignore[assignment]

    async def open(self) -> None:
        """Dial for the first time, unless it is open.

        :raises mu_twisted.transport.TransportError: the rendezvous cannot be reached, or refuses us.
        """
        if not self._open:
            await self._dial(self)
            self._begin()

    def start(self) -> None:
        """As ``open``, but a rendezvous that is not there is dialled until it is."""
        if not self._open:
            self._begin()
            self._redial_now()

    def _begin(self) -> None:
        self._open = True
        self._again.start(SAY_AGAIN, now=False).addErrback(lambda failure: self.log.failure("say again", failure))

    def add(self, job: str, mailing: Mailing, limits: dict[str, int] | None = None) -> None:
        """From now on the rendezvous keeps this job's messages.

        :param limits: as in :class:`~mu_twisted.wire.JobNotice`.
        """
        entry = self._jobs[job] = _Job(JobNotice(job, limits or {}), mailing)
        self._say(entry.notice.encode())

    def remove(self, job: str) -> None:
        """The job is over: its messages may go."""
        if self._jobs.pop(job, None) is not None:
            self._say(EndNotice(job).encode())

    def close(self) -> None:
        """Say what is to be said and leave."""
        self._open = False
        if self._again.running:
            self._again.stop()
        if self._redial is not None and self._redial.active():
            self._redial.cancel()
        if self._connection is not None:
            self._connection.close()

    # -- what the transport tells ----------------------------------------------------------------------------------

    def connected(self, connection: FrameProtocol) -> None:
        """The rendezvous is there, for the first time or again."""
        connection.max_frame = MAX_NOTICE
        self._connection = connection
        self._pause = REDIAL[0]
        self._say_again()

    def frames_received(self, payloads: list[bytes]) -> None:
        """Notices."""
        for payload in payloads:
            try:
                notice = parse_notice(payload)
            except WireError as error:
                self.log.warn("rendezvous {address}: {error}", address=self._address, error=str(error))
                continue
            match notice:
                case JobTaken(job, store) if job in self._jobs:
                    self._jobs[job].mailing.store_named(store)
                case LostNotice(job, task) if job in self._jobs:
                    self.log.info("job {job}: the messages of task {task} are gone", job=job, task=task)
                    self._jobs[job].mailing.messages_lost(task)
                case EndTaken() | JobTaken() | LostNotice():
                    pass  # of a job that is over
                case _:
                    self.log.warn("rendezvous {address} says what only we say", address=self._address)

    def disconnected(self, reason: str) -> None:
        """The rendezvous is gone; it may come back, with its mailboxes or without."""
        self._connection = None
        if self._open:
            self.log.warn("rendezvous {address}: {reason}; dialling again", address=self._address, reason=reason)
            self._redial_later()

    # -- inside ----------------------------------------------------------------------------------------------------

    def _redial_later(self) -> None:
        pause, self._pause = self._pause, min(2 * self._pause, REDIAL[1])
        self._redial = self._clock.callLater(pause, self._redial_now)

    def _redial_now(self) -> None:
        self._dial(self).addErrback(self._not_reached)

    def _not_reached(self, failure: Failure) -> None:
        if self._open:
            self.log.info("{error}", error=failure.getErrorMessage())
            self._redial_later()

    def _say_again(self) -> None:
        self._say(*(entry.notice.encode() for entry in self._jobs.values()))

    def _say(self, *payloads: bytes) -> None:
        if self._connection is not None:
            self._connection.send(*payloads)
