"""The handshake limiter ends TLS handshakes that stand still while too many are in progress."""

from twisted.internet.base import DelayedCall

from mu_twisted.transport._deadlines import Deadlines
from mu_twisted.transport._interfaces import ReactorTime
from mu_twisted.transport._protocol import FrameProtocol
from mu_twisted.transport._reasons import handshake_stalled


class HandshakeLimiter:
    """Drops connections whose peers do not carry on their handshake, for as long as there are too many.

    What counts is the state that a handshake has reached, not that bytes arrive: a peer that trickles them stands still
    too. Since a busy reactor sees late what a peer has sent, a connection is only dropped after the reactor has read
    all sockets once more, after its time was over.

    :param clock: for the time limit.
    :param handshakes: connections with a handshake in progress.
    :param stall_timeout: seconds; a handshake may stand still for between once and twice as long.
    :ivar active: whether there are too many handshakes; the caller sets it to False when that is over.
    """

    def __init__(self, clock: ReactorTime, handshakes: Deadlines[FrameProtocol], stall_timeout: float) -> None:
        self._clock = clock
        self._handshakes = handshakes
        self._stall_timeout = stall_timeout
        self._marked: dict[FrameProtocol, object] = {}
        self._call: DelayedCall | None = None
        self.active = False

    def start(self) -> None:
        """Begin to drop what stands still, until :attr:`active` is set to False."""
        self.active = True
        if self._call is None:
            self._mark()

    def stop(self) -> None:
        """Leave no timer behind."""
        self.active = False
        self._marked.clear()
        if self._call is not None:
            self._call.cancel()
            self._call = None

    def _mark(self) -> None:
        self._marked = {protocol: protocol.handshake for protocol in self._handshakes}
        self._call = self._clock.callLater(self._stall_timeout, self._after_reads)

    def _after_reads(self) -> None:
        # The reactor reads all sockets before this call: what had come by now counts.
        self._call = self._clock.callLater(0, self._drop_stalled)

    def _drop_stalled(self) -> None:
        self._call = None
        marked, self._marked = self._marked, {}
        if not self.active:
            return
        count, limit = len(self._handshakes), self._stall_timeout
        for protocol, state in marked.items():
            if protocol in self._handshakes and protocol.handshake == state:
                protocol.drop(handshake_stalled(limit, count))
        if self.active and self._call is None:
            self._mark()
