"""A punch dials all candidates of a peer and takes what the peer dials; the first good connection is the link."""

import selectors
import socket
import time
from contextlib import suppress

from mu_twisted.wire.punching import PunchGo, PunchOutcome
from worker_lambda.connection import TlsStream
from worker_lambda.punching._candidate_dial import CandidateDial, Uniform
from worker_lambda.punching._handshake import LinkHandshake, LinkTerms
from worker_lambda.punching._local_port import LocalPort

STAGGER = 0.005
"""Seconds by which TLS's server dials later than its client, whose dials endure ICMP: so it is seldom the first."""
_TELLING = (PunchOutcome.CERTIFICATE, PunchOutcome.GREETING, PunchOutcome.TLS)
"""Outcomes of a connection that say more than that there was none, the most telling first."""

Tried = tuple[int, PunchOutcome, int | None, int, list[tuple[str, int, str, bool]]]
"""The members of :class:`mu_twisted.wire.punch_report.PunchTried`, which only those import that are asked for it."""


class Punch:
    """A punch from the rendezvous's order to its outcome.

    :param selector: the loop's.
    :param port: the local one.
    :param own: addresses and ports that are our own, where no peer can be.
    :param order: see :class:`PunchGo`.
    :param terms: see :class:`LinkTerms`.
    :param uniform: see :class:`~worker_lambda.punching._candidate_dial.CandidateDial`.
    :ivar outcome: what has come of it, None until then. To be checked after each :meth:`step`.
    :ivar link: the link, if it is direct.
    :ivar begun: when the first dial is due, see ``time.monotonic``.
    :ivar connected_after: seconds from the first dial to the first TCP connection; None: there was none.
    """

    def __init__(
        self,
        selector: selectors.BaseSelector,
        port: LocalPort,
        own: set[tuple[str, int]],
        order: PunchGo,
        terms: LinkTerms,
        uniform: Uniform,
    ) -> None:
        self.outcome: PunchOutcome | None = None
        self.link: TlsStream | None = None
        self.connected_after: float | None = None
        self.terms = terms
        self._selector = selector
        self.begun = time.monotonic() + order.delay / 1000
        self._deadline = self.begun + order.timeout / 1000
        addresses = {(each.ip, each.port) for each in order.candidates} - own
        due = self.begun + (0.0 if terms.is_client else STAGGER)
        self._dials = {
            address: CandidateDial(selector, port, address, due, uniform, enduring=terms.is_client)
            for address in sorted(addresses)
        }
        self._candidates = {(each.ip, each.port): str(each) for each in order.candidates}
        self._dialled = tuple(self._dials.values())
        self._reached: set[tuple[str, int]] = set()
        self._handshakes: dict[tuple[str, int], LinkHandshake] = {}
        self._failures: set[PunchOutcome] = set()

    def adopt(self, sock: socket.socket, address: tuple[str, int]) -> bool:
        """Take a connection that has come in, if it comes from one of the candidates.

        :returns: whether it does; else it is not touched.
        """
        if address not in self._dials or self.outcome is not None:
            return False
        self._shake(address, sock)
        return True

    def step(self) -> float | None:
        """Go on; to be called in each pass of the loop.

        :returns: in how many seconds to call again at the latest; None: it is over.
        """
        left = self._deadline - time.monotonic()
        waits = [left if left > 0 else None]
        for address, dial in list(self._dials.items()):
            if dial.connected is not None:
                sock, dial.connected = dial.connected, None
                self._shake(address, sock)
            if address not in self._handshakes and left > 0:
                waits.append(dial.step())
        for address, handshake in list(self._handshakes.items()):
            waits.append(handshake.step())
            if handshake.greeted:
                self._finish(handshake)
                if self.outcome is not None:
                    return None
                handshake.failed = PunchOutcome.TLS
            if handshake.failed is not None:
                self._give_up(address, handshake.failed)
                waits.append(0.0)
        if left <= 0 and not self._handshakes:
            self._end(self._reason())
            return None
        return min((wait for wait in waits if wait is not None), default=None)

    def tried(self, outcome: PunchOutcome) -> Tried:
        """What has come of it and of each candidate, as it ends now."""
        return (
            self.terms.theirs.task,
            outcome,
            None if self.connected_after is None else round(max(0.0, self.connected_after) * 1000),
            round(max(0.0, time.monotonic() - self.begun) * 1000),
            [
                (self._candidates[dial.address], dial.errors, dial.error, dial.address in self._reached)
                for dial in self._dialled
            ],
        )

    def close(self) -> None:
        """Give up; the link, if there is one, is left as it is."""
        for dial in self._dials.values():
            dial.close()
            if dial.connected is not None:
                dial.connected.close()
                dial.connected = None
        for handshake in self._handshakes.values():
            handshake.close()
        self._handshakes.clear()

    def _shake(self, address: tuple[str, int], sock: socket.socket) -> None:
        if self.connected_after is None:
            self.connected_after = time.monotonic() - self.begun
        former = self._handshakes.pop(address, None)
        if former is not None:  # two at once between the same ends cannot be: the peer has given the former up
            former.close()
        self._reached.add(address)
        self._dials[address].close()
        self._handshakes[address] = LinkHandshake(self._selector, sock, self.terms)

    def _finish(self, handshake: LinkHandshake) -> None:
        with suppress(OSError):
            self.link = handshake.finish()
            self._end(PunchOutcome.DIRECT)

    def _give_up(self, address: tuple[str, int], failure: PunchOutcome) -> None:
        """One connection has come to nothing; another may follow, unless another party has answered."""
        self._failures.add(failure)
        del self._handshakes[address]
        if failure is PunchOutcome.CERTIFICATE:
            self._dials.pop(address).close()
        else:
            self._dials[address].again()

    def _end(self, outcome: PunchOutcome) -> None:
        self.outcome = outcome
        self.close()

    def _reason(self) -> PunchOutcome:
        for outcome in _TELLING:
            if outcome in self._failures:
                return outcome
        refused = bool(self._dials) and all(dial.was_refused() for dial in self._dials.values())
        return PunchOutcome.REFUSED if refused else PunchOutcome.TIMEOUT
