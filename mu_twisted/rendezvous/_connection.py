"""One connection: a peer that greets, sends and reads, or a coordinator with its notices."""

from collections.abc import Callable
from typing import TYPE_CHECKING

from mu_twisted.rendezvous._authorization import authorize, is_coordinator
from mu_twisted.rendezvous._errors import Full, PeerRefused
from mu_twisted.rendezvous._mailboxes import Subscription
from mu_twisted.rendezvous._spill import SpillError
from mu_twisted.transport import FrameProtocol
from mu_twisted.wire import FULL, PeerGreeting, WireError, fail, parse_peer_greeting

if TYPE_CHECKING:
    from mu_twisted.rendezvous._relay import Relay

MAX_GREETING = 4 << 10
"""Largest first message, bytes."""
READ = 64 << 10
"""Bytes that one read brings at most."""
HEAD = 16 << 10
"""The same while a large message is expected, for which there may be no room."""
MUCH = 256 << 10
"""The same while there is room for it."""
PIECE = 128 << 10
"""Bytes that are written at once; the transport takes no more before they have gone."""


class PeerConnection:
    """The receiver of one connection.

    :param relay: whom it belongs to.
    """

    __slots__ = (
        "__weakref__",
        "_connection",
        "_farewell",
        "_held",
        "_mid_message",
        "_relay",
        "_speaks_again",
        "_stuck",
        "_subscription",
        "_take",
    )

    def __init__(self, relay: "Relay") -> None:
        self._relay = relay
        self._connection: FrameProtocol | None = None
        self._subscription: Subscription | None = None
        self._take: Callable[[list[bytes]], None] = self._greeted
        self._held: set[str] = set()
        self._stuck = False
        self._mid_message = False
        self._speaks_again = False
        self._farewell: bytes | None = None

    # -- what the transport tells ----------------------------------------------------------------------------------

    def connected(self, connection: FrameProtocol) -> None:
        """The handshake is done."""
        self._connection = connection
        self._relay.opened(self)

    def frames_received(self, payloads: list[bytes]) -> None:
        """What one read has completed."""
        if self._farewell is None:
            self._relay.admission.release(self)
            if self._connection is not None:
                self._connection.read_at_once(HEAD if len(payloads[-1]) > READ else READ)
            self._take(payloads)
            self._relay.settle()

    def frame_begun(self, size: int) -> None:
        """A message is on its way."""
        if self._subscription is None:
            if size > MAX_GREETING:
                self.drop(f"it announced {size} bytes before it had greeted")
        elif self._relay.admission.reserve(self, size, self._relay.now()):
            self._read_on()
        else:
            self.hold("room")

    def disconnected(self, reason: str) -> None:
        """The connection is gone."""
        if self._connection is not None:
            self._relay.note(self._connection, f"is gone: {reason}")
        self._connection = None
        self._relay.admission.release(self)
        self._leave()
        self._relay.closed(self)

    # -- as a producer of what its mailbox holds -------------------------------------------------------------------

    def pauseProducing(self) -> None:
        self._stuck = True

    def resumeProducing(self) -> None:
        self._stuck = False
        self.wake()

    def stopProducing(self) -> None:
        self._stuck = True

    def wake(self) -> None:
        """Send what waits, as far as the peer takes it."""
        while self._subscription is not None and self._connection is not None and not self._stuck:
            if self._farewell is not None and not self._mid_message:
                self._part(self._farewell)
                return
            mailbox = self._subscription.inbox
            try:
                data = mailbox.take(PIECE)
            except SpillError as error:
                self.drop(str(error))
                return
            if not data:
                return
            self._mid_message = mailbox.mid_message
            self._connection.write(data)
            self._relay.pressure.taken(mailbox)
            self._relay.settle()

    # -- as somebody who is held back ------------------------------------------------------------------------------

    def hold(self, reason: str) -> None:
        """Read no more."""
        if not self._held and self._connection is not None:
            self._connection.pause_reading()
        self._held.add(reason)

    def let_go(self, reason: str) -> None:
        """Read again if there is no other reason not to."""
        if reason in self._held:
            self._held.discard(reason)
            if not self._held and self._connection is not None:
                self._connection.resume_reading()

    def admitted(self) -> None:
        """There is memory for its message."""
        self._read_on()
        self.let_go("room")

    def not_admitted(self) -> None:
        """There is none for long. An original worker knows no answer to that, and waits on."""
        if self._subscription is not None and self._subscription.run.job:
            self.refuse("there is no memory for its message", FULL)

    def deadline_passed(self, size: int, seconds: float) -> None:
        """Its message takes too long to come."""
        self.drop(f"a message of {size} bytes has not come within {seconds:.0f} s, and others wait for the memory")

    # -- its end ---------------------------------------------------------------------------------------------------

    def drop(self, reason: str) -> None:
        """Log, and cut it off."""
        if self._connection is not None:
            self._connection.drop(reason)

    def refuse(self, reason: str, farewell: bytes | None = None) -> None:
        """Log, say why (only to those who understand it), and close.

        :param farewell: what to say in place of ``FAIL(reason)``.
        """
        if self._connection is None or self._farewell is not None:
            return
        self._relay.refused(self._connection, reason)
        farewell = farewell or (fail(reason) if self._speaks_again else b"")
        if not self._mid_message or self._subscription is None or self._subscription.inbox.reader is not self:
            self._part(farewell)
            return
        # It is in the middle of a message, to whose end nothing else can be said.
        self._farewell = farewell
        self._relay.part_soon(self)

    def part_late(self) -> None:
        """It has not taken the rest of its message."""
        self.drop("it does not take what it is sent, and is to go")

    def say(self, payload: bytes) -> None:
        """Send a notice to a coordinator."""
        if self._connection is not None:
            self._connection.send(payload)

    def _read_on(self) -> None:
        if self._connection is not None:
            # TLS adds 22 bytes to each 16 KiB at most.
            self._connection.read_at_once(max(HEAD, min(MUCH, self._connection.missing * 65 // 64)))

    def _part(self, farewell: bytes) -> None:
        connection = self._connection
        if connection is not None:
            cut_off = self._mid_message
            self._farewell = farewell
            self._relay.admission.release(self)
            self._leave()
            connection.close(farewell if farewell and not cut_off else None)

    def _leave(self) -> None:
        subscription, self._subscription = self._subscription, None
        if subscription is not None:
            self._relay.mailboxes.leave(subscription, self)
            self._relay.pressure.taken(subscription.inbox)
        self._relay.pressure.gone(self)

    # -- greeting and sending --------------------------------------------------------------------------------------

    def _greeted(self, payloads: list[bytes]) -> None:
        connection = self._connection
        assert connection is not None
        first, rest = payloads[0], payloads[1:]
        if is_coordinator(connection.peer.identity, first, self._relay.shared_key):
            self._take = self._noticed
            self._relay.greeted(self)
            connection.greeted()
            self._noticed(payloads)
            return
        self._speaks_again = first.startswith(b"HELLO_STATE2:")
        try:
            if len(first) > MAX_GREETING:
                raise WireError(f"a greeting of {len(first)} bytes: at most {MAX_GREETING} are taken")
            greeting = parse_peer_greeting(first)
            authorize(connection.peer.identity, greeting, shared_key=self._relay.shared_key)
            self._sit(greeting)
        except (WireError, PeerRefused) as error:
            self.refuse(str(error))
            return
        if rest:
            self._send(rest)

    def _sit(self, greeting: PeerGreeting) -> None:
        assert self._connection is not None
        welcome = self._relay.mailboxes.greet(greeting, self, self._relay.now())
        self._subscription = welcome.subscription
        self._take = self._send
        self._relay.greeted(self)
        self._connection.greeted()
        self._relay.note(self._connection, f"has greeted: {greeting.encode()[:200]!r}")
        if isinstance(welcome.replaced, PeerConnection):
            welcome.replaced.refuse("another connection has taken its place")
        self._relay.lost(welcome.subscription.run, welcome.lost)
        self._connection.register_producer(self, True)
        self.wake()

    def _send(self, payloads: list[bytes]) -> None:
        subscription = self._subscription
        if subscription is None:
            return
        now, outbox = self._relay.now(), subscription.outbox
        try:
            for payload in payloads:
                outbox.put(payload, subscription.origins, now)
        except Full as error:
            self.refuse(str(error), FULL)
        if isinstance(outbox.reader, PeerConnection):
            outbox.reader.wake()
        if self._subscription is not None:
            self._relay.pressure.sent(self, outbox)

    def _noticed(self, payloads: list[bytes]) -> None:
        for payload in payloads:
            if self._connection is not None:
                self._relay.note(self._connection, f"gives notice: {payload[:200]!r}")
            try:
                self._relay.notice(self, payload)
            except (WireError, PeerRefused) as error:
                self.drop(str(error))
                return
