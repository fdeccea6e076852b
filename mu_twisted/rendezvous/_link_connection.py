"""A link connection carries one session's frames, from the worker's greeting on; the session decides what they mean."""

from collections.abc import Callable, Sequence
from typing import Any

from mu_twisted.rendezvous._authorization import Speaker, authorize
from mu_twisted.rendezvous._errors import PeerRefused
from mu_twisted.rendezvous._link_session import LinkSession
from mu_twisted.rendezvous._pipes import PipeSession
from mu_twisted.rendezvous._punching import Party
from mu_twisted.rendezvous._relay_connection import RelayConnection, RelayServices
from mu_twisted.rendezvous._run import Run
from mu_twisted.transport import Bundle, FrameProtocol
from mu_twisted.wire import HEADER_SIZE, PeerError, fail
from mu_twisted.wire.links import (
    MAX_LINK_FRAME,
    PINGS,
    WHOLE,
    LinkGreeting,
    LinkWelcome,
    parse_link_frame,
    parse_link_greeting,
)
from mu_twisted.wire.pipes import PIPES, parse_pipe_frame
from mu_twisted.wire.pipes import PREFIX as PIPE_PREFIX
from mu_twisted.wire.punching import PREFIX, PUNCH

WRITE_SIZE = 64 << 10
"""Bytes beyond which no more frames are put into one write."""
_ANSWERS = "answers"
_PUNCHING = "punching"


class LinkConnection(RelayConnection):
    """The receiver of one connection whose peer has begun with a greeting for links.

    :param relay: what it shares with all others.
    :param connection: of which the first message has come.
    """

    __slots__ = ("_delivering", "_party", "_pipes", "_run", "_session")

    def __init__(self, relay: RelayServices, connection: FrameProtocol) -> None:
        super().__init__(relay)
        self._connection = connection
        self._run: Run | None = None
        self._party: tuple[Party, FrameProtocol] | None = None
        self._session: LinkSession | None = None
        self._pipes: PipeSession | None = None
        self._delivering = False

    def greet(self, payloads: Sequence[bytes]) -> None:
        """Take the greeting, and what came with it."""
        connection = self._connection
        assert connection is not None
        connection.max_frame = MAX_LINK_FRAME
        try:
            greeting = parse_link_greeting(payloads[0])
            speaker = Speaker(greeting.job, greeting.task, greeting.attempt)
            authorize(connection.peer.identity, speaker, shared_key=self._relay.shared_key)
            welcome = self._relay.mailboxes.greet_link(greeting, self, self._relay.now())
        except (PeerError, PeerRefused) as error:
            self.refuse(str(error))
            return
        self._run, self._session = welcome.run, welcome.session
        self._relay.greeted(self)
        connection.greeted()
        self._relay.log_event(connection, f"has greeted: {payloads[0][:200]!r}")
        for replaced in welcome.replaced:
            if isinstance(replaced, RelayConnection):
                replaced.refuse("another connection has taken its place")
        announced: dict[str, Any] = {"store": welcome.run.store_token, PINGS: True, WHOLE: True}
        if self._can_punch(connection, greeting):
            announced[PUNCH] = True
        if greeting.announced.get(PIPES) is True:
            self._pipes = PipeSession(welcome.run.pipes, greeting.task, greeting.attempt, self)
            announced[PIPES] = True
        connection.send(LinkWelcome(announced).encode())
        connection.register_producer(self, True)
        end = welcome.run.links.link_end(connection, greeting.task)
        if end is not None and self._session is not None:
            self._session.link_end = end
            connection.bundle()
        if len(payloads) > 1:
            self.frames_received(list(payloads[1:]))

    # -- as a receiver of frames -----------------------------------------------------------------------------------

    def connected(self, connection: FrameProtocol) -> None:
        """The handshake is done: it was before."""

    def frames_received(self, payloads: list[bytes]) -> None:
        """One read has completed these frames."""
        self._received(len(payloads[-1]), sum(map(len, payloads)), lambda: self._take(payloads))

    def bundle_received(self, bundle: Bundle) -> None:
        """The same, of a connection in the core, which carries most of them out by itself."""
        self._received(bundle.longest, len(bundle) - HEADER_SIZE * bundle.frames, lambda: self._take_bundle(bundle))

    def _received(self, longest: int, size: int, take: Callable[[], None]) -> None:
        self._arrived(longest)
        self._relay.counters.link_bytes += size
        first = self._relay.deliveries.begin()
        try:
            take()
        except PeerError as error:
            self.refuse(str(error))
        finally:
            if first:
                self._relay.deliveries.end()
        if self._run is not None and (self._run.links.lost or self._run.links.resent):
            self._relay.messages_lost(self._run, self._run.links.take_lost())
            self._relay.messages_resent(self._run, self._run.links.take_resent())
        if self._session is not None and self._session.clogged:
            self.pause(_ANSWERS)
        self._relay.memory_released()

    def _take(self, payloads: list[bytes]) -> None:
        for payload in payloads:
            if self._session is not None:
                self._take_frame(self._session, payload, carry=False)

    def _take_bundle(self, bundle: Bundle) -> None:
        at, tried = 0, -1
        while self._session is not None:
            payload, begins, at, sent = self._session.read(bundle, at)
            self._relay.counters.link_bytes_sent += sent
            if payload is None:
                return
            if self._take_frame(self._session, payload, carry=begins != tried):
                at = tried = begins

    def _take_frame(self, session: LinkSession, payload: bytes, *, carry: bool) -> bool:
        """:returns: whether the core is to carry it out, and has not tried before."""
        if payload.startswith(PREFIX) and self._party is not None:
            self._punch(self._party[0], payload)
        elif payload.startswith(PIPE_PREFIX) and self._pipes is not None:
            self._pipes.receive(parse_pipe_frame(payload))
        else:
            frame = parse_link_frame(payload)
            if carry and session.carry(frame):
                return True
            session.receive(frame)
        return False

    def frame_begun(self, size: int) -> None:
        """A frame has begun to arrive: read on when there is memory for it."""
        if size > MAX_LINK_FRAME:  # announced before the greeting was read
            self.drop(f"it announced {size} bytes, a frame of a link has {MAX_LINK_FRAME} at most")
        else:
            self._announced(size)

    # -- as a producer of what its session has for the worker ------------------------------------------------------

    def resumeProducing(self) -> None:
        self.resume(_PUNCHING)
        if self._session is not None and self._session.link_end is not None:
            self._relay.counters.link_bytes_sent += self._session.link_end.resume()
        super().resumeProducing()

    def deliver(self) -> None:
        """Send what the session has, as far as the worker takes it."""
        if self._delivering or self._relay.deliveries.put_off(self):
            return  # what has come meanwhile is behind what is being sent
        self._delivering = True
        try:
            more = True
            while more and self._connection is not None and not self._write_paused:
                frames, more = self._frames()
                if frames:
                    self._connection.send(*frames)
                    self._relay.counters.link_bytes_sent += sum(map(len, frames))
        finally:
            self._delivering = False
            if self._session is not None and not self._session.clogged:
                self.resume(_ANSWERS)

    def _frames(self) -> tuple[list[bytes], bool]:
        """Some frames of the session and of pipes, in turns, and whether there may be more."""
        frames: list[bytes] = []
        size = 0
        while self._session is not None and size < WRITE_SIZE:
            frame = self._session.next_frame()
            if frame is not None:
                frames.append(frame)
                size += len(frame)
            piped = None if self._pipes is None else self._pipes.next_frame()
            if piped is not None:
                frames.append(piped)
                size += len(piped)
            elif frame is None:
                return frames, False
        return frames, self._session is not None

    # -- its end ---------------------------------------------------------------------------------------------------

    def admission_timed_out(self) -> None:
        """Refuse it, as there is no memory for long."""
        self.refuse("there is no memory for its message")

    def refuse(self, reason: str) -> None:
        """Log the reason, send it, and close."""
        if self._connection is not None:
            self._relay.refused(self._connection, reason)
            self._close(fail(reason))

    def stop(self, reason: str) -> None:
        """Close it without a refusal: the worker dials again, and another rendezvous may be there by then."""
        self._close(None)

    def _close(self, last: bytes | None) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            self._relay.admission.release(self)
            self._leave()
            connection.close(last)

    # -- punching --------------------------------------------------------------------------------------------------

    def _can_punch(self, connection: FrameProtocol, greeting: LinkGreeting) -> bool:
        """Whether it can; then its messages about that are taken from now on. A link needs a certificate of its own."""
        punching, peer = self._relay.punching, connection.peer
        if punching is None or greeting.announced.get(PUNCH) is not True or peer.identity is None:
            return False
        party = Party(greeting.job.decode("ascii"), greeting.task, greeting.attempt)
        self._party = party, connection
        punching.joined(party, (peer.host, peer.port), connection.send)
        return True

    def _punch(self, party: Party, message: bytes) -> None:
        if self._relay.punching is not None:
            self._relay.punching.received(party, message)
        if self._write_paused:  # its answers go out before more is read
            self.pause(_PUNCHING)

    def _leave(self) -> None:
        if self._party is not None and self._relay.punching is not None:
            party, connection = self._party
            self._party = None
            self._relay.punching.left(party, connection.send)
        pipes, self._pipes = self._pipes, None
        if pipes is not None:
            pipes.close()
        session, self._session = self._session, None
        if session is not None and self._run is not None:
            self._run.links.detach(session)
            self._relay.messages_lost(self._run, self._run.links.take_lost())
