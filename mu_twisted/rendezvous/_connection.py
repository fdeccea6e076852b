"""A connection is a peer that greets, sends and reads, or a coordinator with its notices.

Knows the mailboxes. A connection for links is handed over with its first message.
"""

from collections.abc import Callable

from mu_twisted.rendezvous._authorization import Speaker, authorize, is_coordinator
from mu_twisted.rendezvous._errors import Full, PeerRefused
from mu_twisted.rendezvous._mailboxes import Subscription
from mu_twisted.rendezvous._message import Frames, each_frame
from mu_twisted.rendezvous._relay_connection import READ_SIZE, RelayConnection, RelayServices
from mu_twisted.rendezvous._spill import SpillError
from mu_twisted.transport import Bundle, FrameProtocol
from mu_twisted.wire import FULL, PeerError, PeerGreeting, encode, fail, parse_peer_greeting
from mu_twisted.wire.links import is_link_greeting

MAX_GREETING = 4 << 10
"""Largest first message, bytes."""
WRITE_SIZE = 128 << 10
"""Bytes that are written at once; the transport takes no more before they have gone."""


class PeerConnection(RelayConnection):
    """The receiver of one connection.

    :param relay: what it shares with all others.
    """

    __slots__ = (
        "_final_message",
        "_handle",
        "_mid_message",
        "_subscription",
        "_understands_fail",
    )

    def __init__(self, relay: RelayServices) -> None:
        super().__init__(relay)
        self._subscription: Subscription | None = None
        self._handle: Callable[[list[bytes]], None] = self._greeting_received
        self._mid_message = False
        self._understands_fail = False
        self._final_message: bytes | None = None

    @property
    def carrier(self) -> FrameProtocol | None:
        """What carries it; None once it is closed or gone."""
        return self._connection if self._final_message is None else None

    # -- as a receiver of frames -----------------------------------------------------------------------------------

    def connected(self, connection: FrameProtocol) -> None:
        """The handshake is done."""
        self._connection = connection
        self._read_at_once(READ_SIZE)
        self._relay.connected(self)

    def frames_received(self, payloads: list[bytes]) -> None:
        """One read has completed these frames."""
        if self._final_message is None:
            self._arrived(len(payloads[-1]))
            self._handle(payloads)
            self._relay.memory_released()

    def bundle_received(self, bundle: Bundle) -> None:
        """One read has completed these messages; it has greeted before."""
        if self._final_message is None:
            self._arrived(bundle.longest)
            self._messages_received(bundle)
            self._relay.memory_released()

    def bundle_passed(self, bundle: Bundle, to: FrameProtocol) -> None:
        """The same of messages that were sent at once to who then read its mailbox, of which nothing waited.

        If that connection is its reader no more they are put into it: the next one is sent them.
        """
        subscription = self._subscription
        if self._final_message is not None or subscription is None:
            return
        outbox = subscription.outbox
        if not (isinstance(outbox.reader, PeerConnection) and outbox.reader.carrier is to):
            self.bundle_received(bundle)
            return
        self._arrived(bundle.longest)
        self._relay.counters.mailbox_bytes += len(bundle)
        self._relay.counters.mailbox_bytes_sent += len(bundle)
        outbox.passed(bundle, subscription.origins, self._relay.now())
        self._relay.memory_released()

    def frame_begun(self, size: int) -> None:
        """A message has begun to arrive: read on when there is memory for it."""
        if self._subscription is None:
            if size > MAX_GREETING:
                self.drop(f"it announced {size} bytes before it had greeted")
        else:
            self._announced(size)

    # -- as a producer of what its mailbox holds -------------------------------------------------------------------

    def deliver(self) -> None:
        """Send what waits in its mailbox, as far as the peer takes it. Where nothing waits any more, what comes for it
        may be sent at once.
        """
        self._send_waiting()
        if self._subscription is not None and self._connection is not None:
            self._connection.open = not self._subscription.inbox.waiting

    def _send_waiting(self) -> None:
        while self._subscription is not None and self._connection is not None and not self._write_paused:
            if self._final_message is not None and not self._mid_message:
                self._close(self._final_message)
                return
            mailbox = self._subscription.inbox
            try:
                data = mailbox.take(WRITE_SIZE)
            except SpillError as error:
                self.drop(str(error))
                return
            if not data:
                return
            self._mid_message = mailbox.mid_message
            self._connection.write(data)
            self._relay.counters.mailbox_bytes_sent += len(data)
            self._relay.backpressure.taken(mailbox)
            self._relay.memory_released()

    def admission_timed_out(self) -> None:
        """Refuse it, as there is no memory for long. An original worker knows no answer to that, and waits on."""
        if self._subscription is not None and self._subscription.run.storage.job:
            self.refuse("there is no memory for its message", FULL)

    # -- its end ---------------------------------------------------------------------------------------------------

    def refuse(self, reason: str, final_message: bytes | None = None) -> None:
        """Log the reason, send it (only to a peer that understands it), and close.

        :param final_message: what to send in place of ``FAIL(reason)``.
        """
        reads = self._subscription is not None and self._subscription.inbox.reader is self
        if self._connection is None or self._final_message is not None:
            if self._final_message is not None and not reads:
                self._close(self._final_message)  # the rest of its message is another's now
            return
        self._relay.refused(self._connection, reason)
        final_message = final_message or (fail(reason) if self._understands_fail else b"")
        if not self._mid_message or not reads:
            self._close(final_message)
            return
        # It is in the middle of a message, before whose end nothing else can be sent.
        self._final_message = final_message
        self._relay.closing(self)

    def _close(self, final_message: bytes) -> None:
        connection = self._connection
        if connection is not None:
            cut_off = self._mid_message
            self._final_message = final_message
            self._relay.admission.release(self)
            self._leave()
            connection.close(final_message if final_message and not cut_off else None)

    def _leave(self) -> None:
        subscription, self._subscription = self._subscription, None
        if subscription is not None:
            self._relay.mailboxes.unsubscribe(subscription, self)
            self._relay.backpressure.taken(subscription.inbox)
        self._relay.backpressure.disconnected(self)

    # -- greeting and sending --------------------------------------------------------------------------------------

    def _greeting_received(self, payloads: list[bytes]) -> None:
        connection = self._connection
        assert connection is not None
        first, rest = payloads[0], payloads[1:]
        if is_coordinator(connection.peer.identity, first, self._relay.shared_key):
            self._handle = self._notices_received
            self._relay.greeted(self)
            connection.greeted()
            self._notices_received(payloads)
            return
        if is_link_greeting(first):
            self._connection = None
            self._relay.link_greeted(self, connection, payloads)
            return
        self._understands_fail = first.startswith(b"HELLO_STATE2:")
        try:
            if len(first) > MAX_GREETING:
                raise PeerError(f"a greeting of {len(first)} bytes: at most {MAX_GREETING} are taken")
            greeting = parse_peer_greeting(first)
            speaker = Speaker(greeting.run, greeting.me, greeting.attempt)
            authorize(connection.peer.identity, speaker, shared_key=self._relay.shared_key)
            self._subscribe(greeting)
        except (PeerError, PeerRefused) as error:
            self.refuse(str(error))
            return
        if rest:
            self._messages_received(b"".join(map(encode, rest)))

    def _subscribe(self, greeting: PeerGreeting) -> None:
        assert self._connection is not None
        welcome = self._relay.mailboxes.greet(greeting, self, self._relay.now())
        self._subscription = welcome.subscription
        self._relay.greeted(self)
        self._connection.greeted()
        self._relay.log_event(self._connection, f"has greeted: {greeting.encode()[:200]!r}")
        for replaced in welcome.replaced:
            if isinstance(replaced, RelayConnection):
                replaced.refuse("another connection has taken its place")
        welcome.subscription.run.links.untracked.update(welcome.lost)
        self._relay.messages_lost(welcome.subscription.run, welcome.lost)
        self._connection.bundle()
        self._connection.register_producer(self, True)
        self.deliver()

    def _messages_received(self, frames: Frames) -> None:
        subscription = self._subscription
        if subscription is None:
            return
        self._relay.counters.mailbox_bytes += len(frames)
        outbox = subscription.outbox
        try:
            self._put(frames, subscription)
        except Full as error:
            self.refuse(str(error), FULL)
        reader = outbox.reader
        if isinstance(reader, PeerConnection):
            reader.deliver()
            if self._connection is not None:
                self._connection.pass_on(reader.carrier)
        if self._subscription is not None:
            self._relay.backpressure.sent(self, outbox)

    def _put(self, frames: Frames, subscription: Subscription) -> None:
        now, outbox = self._relay.now(), subscription.outbox
        try:
            outbox.put(frames, subscription.origins, now)
        except Full:
            for frame in each_frame(frames):  # those that there is room for, up to the first that there is none for
                outbox.put(frame, subscription.origins, now)

    def _notices_received(self, payloads: list[bytes]) -> None:
        for payload in payloads:
            if self._connection is not None:
                self._relay.log_event(self._connection, f"sends a notice: {payload[:200]!r}")
            try:
                self._relay.notice_received(self, payload)
            except (PeerError, PeerRefused) as error:
                self.drop(str(error))
                return
