"""Handshakes that stand still while many want to come in: they give way. Knows the connections that it is given."""

from typing import Any

from mu_twisted.transport._deadlines import Deadlines, ReactorTime
from mu_twisted.transport._protocol import FrameProtocol


class HandshakeLimiter:
    """Lets go of handshakes that their peers do not carry on, for as long as there are too many.

    What counts is how far a handshake has come, not that bytes arrive: who trickles them stands still too. Since a
    busy reactor sees late what a peer has sent, one is only let go after a look at the sockets that began when its
    patience was over.

    :param clock: for the patience.
    :param handshakes: those in progress.
    :param patience: seconds, between once and twice of which a handshake may stand still.
    """

    def __init__(self, clock: ReactorTime, handshakes: Deadlines[FrameProtocol], patience: float) -> None:
        self._clock = clock
        self._handshakes = handshakes
        self._patience = patience
        self._marked: dict[FrameProtocol, object] = {}
        self._call: Any = None
        self.pressing = False

    def press(self) -> None:
        """There are too many, until ``pressing`` is set to False."""
        self.pressing = True
        if self._call is None:
            self._mark()

    def stop(self) -> None:
        """Leave no timer behind."""
        self.pressing = False
        self._marked.clear()
        if self._call is not None:
            self._call.cancel()
            self._call = None

    def _mark(self) -> None:
        self._marked = {protocol: protocol.handshake for protocol in self._handshakes}
        self._call = self._clock.callLater(self._patience, self._look)

    def _look(self) -> None:
        self._call = self._clock.callLater(0, self._sift)

    def _sift(self) -> None:
        self._call = None
        marked, self._marked = self._marked, {}
        if not self.pressing:
            return
        crowd = len(self._handshakes)
        for protocol, state in marked.items():
            if protocol in self._handshakes and protocol.handshake == state:
                protocol.drop(f"its TLS handshake stood still for {self._patience:g} s while {crowd} were in progress")
        if self.pressing and self._call is None:
            self._mark()
