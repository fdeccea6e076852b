"""The puncher has the punches to the peers of one task: what is ordered, when it is asked for, what came of it.

Knows nothing of what travels on a link, nor how messages reach the rendezvous.
"""

import random
import selectors
import socket
import ssl
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from mu_twisted.wire.punching import (
    MAX_REPORTED,
    Candidate,
    DirectGreeting,
    Offer,
    ProbeOrder,
    PunchGo,
    PunchNo,
    PunchOutcome,
    PunchResult,
    PunchWant,
    parse_from_rendezvous,
)
from worker_lambda.connection import SocketWatch, TlsStream
from worker_lambda.punching._candidate_dial import Uniform
from worker_lambda.punching._handshake import LinkTerms
from worker_lambda.punching._local_port import BACKLOG, LocalPort, host_candidates, round_trip
from worker_lambda.punching._probe import Probe
from worker_lambda.punching._punch import Punch, Tried

TYPE_CHECKING = False
if TYPE_CHECKING:
    from mu_twisted.wire.punch_report import PunchReport

TRIES = 2
"""Punches to a peer."""
PAUSE = 5.1
"""Seconds from the beginning of one to the next; the rendezvous demands 5."""
ANSWER_TIMEOUT = 10.0
"""Seconds for the rendezvous to answer."""
EARLY_TIMEOUT = 2.0
"""Seconds for which a connection is kept that comes before the order which says whose it is."""
MAX_EARLY = 16
"""Such connections at once."""
MAX_WANTED = 16
"""Peers to which the task punches at once of its own accord; others wait."""
MAX_PUNCHES = 64
"""Punches under way, those that peers have wanted included."""


@dataclass(frozen=True)
class LinkIdentity:
    """The attempt that links are made for, as in its certificate.

    :param client: the context for links whose other end has a higher task number, ``server`` for the others; see
        :func:`worker_lambda.connection._tls.link_contexts`.
    """

    job: str
    task: int
    attempt: int
    client: ssl.SSLContext
    server: ssl.SSLContext


@dataclass(frozen=True)
class Link:
    """A direct connection to a peer.

    :param peer: its greeting, which its certificate has confirmed.
    :param stream: what comes first from it is what the peer has sent behind its greeting.
    :param tcp_seconds: from the first dial to the first TCP connection.
    """

    peer: DirectGreeting
    stream: TlsStream
    tcp_seconds: float


@dataclass(eq=False)
class _Wanted:
    """A peer that a link is wanted to.

    :ivar tries: punches so far.
    :ivar due: when to ask, or when an answer must be there; None: a punch is under way.
    :ivar requested: whether the rendezvous was asked, and has not answered.
    """

    tries: int = 0
    due: float | None = 0.0
    requested: bool = False


class Puncher:
    """Makes links for one attempt of a task, for as long as its connection to the rendezvous lasts.

    :param selector: the loop's.
    :param identity: see :class:`LinkIdentity`.
    :param port: that the connection to the rendezvous was made from, see :meth:`LocalPort.prepare`.
    :param control: that connection.
    :param send: takes a message to the rendezvous.
    :param connected: called with each :class:`Link`, whichever of both has wanted it.
    :param failed: called once with each task that a link was wanted to and cannot be had: the task, and why, as
        :class:`mu_twisted.wire.punching.PunchRefusal` or :class:`~mu_twisted.wire.punching.PunchOutcome` say.
    :param uniform: see :class:`~worker_lambda.punching._candidate_dial.CandidateDial`.
    :param pause: seconds from the beginning of one punch to a peer to the next.
    :raises OSError: the port cannot be listened on.
    """

    def __init__(
        self,
        selector: selectors.BaseSelector,
        identity: LinkIdentity,
        port: LocalPort,
        control: socket.socket,
        send: Callable[[bytes], None],
        *,
        connected: Callable[[Link], None],
        failed: Callable[[int, str], None],
        uniform: Uniform = random.uniform,
        pause: float = PAUSE,
    ) -> None:
        self._selector = selector
        self._identity = identity
        self._port = port
        self._send = send
        self._connected = connected
        self._failed = failed
        self._uniform = uniform
        self._pause = pause
        self._rendezvous = control.getpeername()[0]
        self._probe: Probe | None = None
        self._seen: Candidate | None = None
        self._tried: deque[Tried] = deque(maxlen=MAX_REPORTED)
        self._punches: dict[str, Punch] = {}
        self._wanted: dict[int, _Wanted] = {}
        self._early: dict[tuple[str, int], tuple[socket.socket, float]] = {}
        self._listener = port.listen(control.family)
        self._watch = SocketWatch(selector, self._accept)
        candidates = host_candidates(control)
        self._own = {(each.ip, each.port) for each in candidates}
        send(Offer(round_trip(control), candidates).encode())

    @property
    def probed(self) -> bool:
        """Whether a probe was ordered, and is over."""
        return self._probe is not None and self._probe.over

    @property
    def report(self) -> "PunchReport":
        """What is known of the NATs and of the last punches."""
        from mu_twisted.wire.punch_report import CandidateTried, PunchReport, PunchTried  # costs, and few ask

        probed = None if self._probe is None else self._probe.seen
        tried = tuple(
            PunchTried(task, outcome, tcp, whole, tuple(CandidateTried(*each) for each in candidates))
            for task, outcome, tcp, whole, candidates in self._tried
        )
        return PunchReport(self._port.number, str(self._seen or ""), str(probed or ""), tried)

    def want(self, task: int) -> None:
        """Want a link to a task: ``connected`` or ``failed`` will be called, never from within this."""
        if task not in self._wanted:
            self._wanted[task] = _Wanted()

    def receive(self, message: bytes) -> None:
        """Take a message of the rendezvous that begins with :data:`mu_twisted.wire.punching.PREFIX`.

        :raises PeerError: it is malformed.
        """
        said = parse_from_rendezvous(message)
        if isinstance(said, ProbeOrder):
            self._seen = said.reflexive
            if self._probe is not None:
                self._probe.close()
            if said.port:
                self._probe = Probe(self._selector, self._port, (self._rendezvous, said.port), said.token)
        elif isinstance(said, PunchNo):
            wanted = self._wanted.get(said.task)
            if wanted is not None and wanted.requested:
                self._give_up(said.task, said.reason)
        else:
            self._begin(said)

    def step(self) -> float | None:
        """Go on; to be called in each pass of the loop.

        :returns: in how many seconds to call again at the latest; None: when something happens.
        """
        waits: list[float | None] = [None if self._probe is None else self._probe.step()]
        for nonce, punch in list(self._punches.items()):
            waits.append(punch.step())
            if punch.outcome is not None:
                del self._punches[nonce]
                self._ended(punch, punch.outcome)
        if not self._punches:
            self._watch.clear()
        for address, (_, until) in list(self._early.items()):
            waits.append(until - time.monotonic())
            if time.monotonic() >= until:
                self._drop_early(address)
        waits += [self._ask(task, wanted) for task, wanted in list(self._wanted.items())]
        return min((max(0.0, wait) for wait in waits if wait is not None), default=None)

    def close(self) -> None:
        """Give everything up, and call nothing back; links that are there are left as they are."""
        self._watch.clear()
        self._listener.close()
        if self._probe is not None:
            self._probe.close()
        for punch in self._punches.values():
            punch.close()
        for address in list(self._early):
            self._drop_early(address)
        self._punches.clear()
        self._wanted.clear()

    # -- inside ----------------------------------------------------------------------------------------------------

    def _ask(self, task: int, wanted: _Wanted) -> float | None:
        if wanted.due is None:
            return None
        left = wanted.due - time.monotonic()
        if left > 0:
            return left
        if wanted.requested:
            self._give_up(task, PunchOutcome.TIMEOUT)
            return 0.0
        if sum(each.requested or each.due is None for each in self._wanted.values()) >= MAX_WANTED:
            return None
        wanted.requested = True
        wanted.due = time.monotonic() + ANSWER_TIMEOUT
        self._send(PunchWant(task).encode())
        return ANSWER_TIMEOUT

    def _begin(self, order: PunchGo) -> None:
        me = self._identity
        mine = DirectGreeting(me.job, me.task, me.attempt, order.nonce)
        theirs = DirectGreeting(me.job, order.task, order.attempt, order.nonce)
        if order.task == me.task or order.nonce in self._punches or len(self._punches) >= MAX_PUNCHES:
            self._send(PunchResult(order.task, order.attempt, order.nonce, PunchOutcome.REFUSED).encode())
            return
        terms = LinkTerms(me.client if me.task < order.task else me.server, mine, theirs)
        punch = Punch(self._selector, self._port, self._own, order, terms, self._uniform)
        self._punches[order.nonce] = punch
        for address, (sock, _) in list(self._early.items()):
            if punch.adopt(sock, address):
                del self._early[address]
        wanted = self._wanted.get(order.task)
        if wanted is not None:
            wanted.tries += 1
            wanted.due, wanted.requested = None, False
        # Only now are connections accepted: those that came before the order have waited.
        self._watch.set(self._listener, selectors.EVENT_READ)

    def _accept(self, _: int) -> None:
        for _ in range(BACKLOG):
            try:
                sock, (ip, port, *_) = self._listener.accept()
            except OSError:
                return
            sock.setblocking(False)
            if not any(punch.adopt(sock, (ip, port)) for punch in self._punches.values()):
                self._keep_early(sock, (ip, port))

    def _keep_early(self, sock: socket.socket, address: tuple[str, int]) -> None:
        self._drop_early(address)
        while len(self._early) >= MAX_EARLY:
            self._drop_early(next(iter(self._early)))
        self._early[address] = sock, time.monotonic() + EARLY_TIMEOUT

    def _drop_early(self, address: tuple[str, int]) -> None:
        sock, _ = self._early.pop(address, (None, 0.0))
        if sock is not None:
            sock.close()

    def _ended(self, punch: Punch, outcome: PunchOutcome) -> None:
        peer = punch.terms.theirs
        self._tried.append(punch.tried(outcome))
        self._send(PunchResult(peer.task, peer.attempt, peer.nonce, outcome).encode())
        wanted = self._wanted.get(peer.task)
        if punch.link is not None:
            self._wanted.pop(peer.task, None)
            self._connected(Link(peer, punch.link, punch.connected_after or 0.0))
        elif wanted is not None and wanted.tries < TRIES:
            wanted.due = punch.begun + self._pause
        elif wanted is not None:
            self._give_up(peer.task, outcome)

    def _give_up(self, task: int, reason: str) -> None:
        del self._wanted[task]
        self._failed(task, str(reason))
