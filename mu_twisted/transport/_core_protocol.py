"""The core protocol is a connection in the core, which is C: its sending is a method of C, what comes are frames.

Imported only where the core is there.
"""

from twisted.logger import Logger

from mu_twisted.tls import TLSError, identity_of_der
from mu_twisted.transport import _core
from mu_twisted.transport._core_failures import CoreFailure, describe, is_ordinary
from mu_twisted.transport._interfaces import Producer
from mu_twisted.transport._protocol import ConnectionOwner, FrameProtocol, LinkEnd, LinkStreams, Peer
from mu_twisted.transport._reasons import failed_here, takes_nothing


class CoreProtocol(_core.Connection, FrameProtocol):
    """One connection in the core, which makes it once the handshake is done. Its methods are called by the receiver, as
    those of any :class:`FrameProtocol`, and by :class:`CoreListener`.
    """

    __slots__ = (
        "_begun",
        "_held_back",
        "_mark",
        "_owner",
        "_paused",
        "_producer",
        "_reason",
        "_receiver",
        "_there",
        "peer",
    )

    _log = Logger()

    _producer: Producer | None
    _held_back: bool
    """Whether the producer has been paused."""
    _there: bool
    """Whether the core knows it still."""

    # Calls of the listener

    def established(self, owner: ConnectionOwner, address: tuple[str, int], certificate: bytes | None) -> None:
        """The core has made it, and its peer has shown a certificate that is good.

        :param owner: the factory.
        :param address: host and port of the peer.
        :param certificate: DER.
        """
        self._begin(owner, Peer(*address, None))
        self._producer = None
        self._held_back = False
        self._there = True
        owner.connection_adopted(self)
        try:
            identity = None if certificate is None else identity_of_der(certificate)
        except TLSError as error:
            self.drop(str(error))
            return
        self.peer = Peer(*address, identity)
        self._established()

    def delivered(self, payloads: list[bytes]) -> None:
        """Frames have come."""
        if self._receiver is not None and self._reason is None:
            self._receiver.frames_received(payloads)

    def bundled(self, bundle: _core.Bundle) -> None:
        """Frames have come, in a bundle."""
        if self._receiver is not None and self._reason is None:
            self._receiver.bundle_received(bundle)  # type: ignore[attr-defined]

    def passed(self, bundle: _core.Bundle, to: FrameProtocol) -> None:
        """Frames have come, in a bundle that was sent to another connection at once."""
        if self._receiver is not None and self._reason is None:
            self._receiver.bundle_passed(bundle, to)  # type: ignore[attr-defined]

    def noted(self, notes: int) -> None:
        """Something has changed beside the frames that have come."""
        if notes & (_core.BLOCKED | _core.DRAINED):
            self.pace(drained=bool(notes & _core.DRAINED))
        if notes & _core.PARTIAL and self._reason is None:
            self._watch(anew=bool(notes & _core.COMPLETED))
            if self._begun is not None and self.announced:
                self._begun(self.announced)

    def lost(self, why: CoreFailure, in_frame: bool) -> None:
        """The core knows it no more."""
        reason = self._reason
        if reason is None:
            reason = describe(why, in_frame=in_frame)
            if not is_ordinary(why):
                self._owner.connection_dropped(self, reason)
        self._there = False
        self.pass_on(None)
        producer, self._producer = self._producer, None
        if producer is not None:
            producer.stopProducing()
        self._disconnected(reason)

    def failed(self, error: Exception) -> None:
        """A receiver has raised: its connection is ended, as Twisted ends those of its own."""
        self._log.failure("the receiver of {peer} failed, and its connection is dropped", peer=str(self.peer))
        self._abort(failed_here(error))

    # Calls of the core

    def refused(self, unsent: int) -> None:
        """What was to be sent is not, since so many bytes are not taken."""
        self.drop(takes_nothing(unsent))

    def pace(self, *, drained: bool = False) -> None:
        """Pause the producer, or let it go on: the peer takes no more, or has taken all.

        :param drained: whether it had not; the core itself may have more to send then.
        """
        producer, blocked = self._producer, self.blocked
        if producer is None or (blocked == self._held_back and not (drained and not blocked)):
            return
        self._held_back = blocked
        if blocked:
            producer.pauseProducing()
        else:
            producer.resumeProducing()

    # Calls of the receiver, beside those that are C's

    def link_end(self, streams: LinkStreams | None, task: int) -> LinkEnd:
        made = streams if isinstance(streams, _core.LinkStreams) else _core.LinkStreams()
        return made.end(self, task)

    def register_producer(self, producer: Producer, streaming: bool) -> None:
        if not self._connected or self._reason is not None:
            producer.stopProducing()
            return
        if self._producer is not None:
            raise RuntimeError("a producer is registered already")
        if not streaming:
            raise ValueError("the core calls no producer for each piece: register one that streams")
        self._producer, self._held_back = producer, False
        self.watch(True)
        self.pace()

    def unregister_producer(self) -> None:
        self._producer = None
        self.watch(False)

    # What the base asks

    @property
    def _connected(self) -> bool:
        return self._there

    def _read(self, wanted: bool) -> None:
        self.read(wanted)

    def _finish(self) -> None:
        self.unregister_producer()
        self.finish()

    def _cut(self) -> None:
        self.cut()
