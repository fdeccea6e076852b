"""A pair test shows whether two workers reach each other directly: they are invoked, punch as a job's do, and report.

Knows what is said to the two workers, and what their reports mean; not how they are invoked.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from twisted.internet.defer import Deferred, DeferredList
from twisted.internet.defer import TimeoutError as DeferredTimeout
from twisted.internet.endpoints import serverFromString
from twisted.internet.error import CannotListenError
from twisted.internet.interfaces import IReactorTime
from twisted.internet.threads import deferToThread

from mu_twisted.aws import InvokeAnswer
from mu_twisted.aws.findings import Finding, doubtful, good
from mu_twisted.base import MuError, counted, one_line
from mu_twisted.coordinator import Peers
from mu_twisted.daemons.doctor._dial_back import said_of_its_end
from mu_twisted.tls import KeyPair, server_contexts
from mu_twisted.transport import FrameFactory, FrameProtocol, listen
from mu_twisted.wire import MAX_REPLY, PeerError, is_fail, parse_greeting
from mu_twisted.wire.links import LINKS, parse_paths
from mu_twisted.wire.punch_report import PUNCHES, CandidateTried, PunchReport, PunchTried, parse_punch_report
from mu_twisted.wire.punching import PUNCH, CandidateKind, PunchOutcome, PunchRefusal

START_TIMEOUT = 60.0
"""Seconds that the two workers have to dial in."""
ANSWER_TIMEOUT = 30.0
"""Seconds for each answer; two punches, 5 s apart, are among what is waited for."""
MAX_UNREAD = 1000
"""Messages of a worker that are kept until they are looked at."""
_DIRECT, _UNREACHABLE = "direct", "unreachable"
_RELAYED = "the rendezvous carries the messages of such workers, which costs it what they send"


class PairTestError(MuError):
    """The test could not be made; the text is one line."""


@dataclass(frozen=True)
class PairTested:
    """What came of a test.

    :param outcome: ``direct``, or why not.
    :param reports: of the two workers.
    """

    outcome: str
    reports: tuple[PunchReport, PunchReport]


class _TestedWorker:
    """One of the two workers: what it says waits until it is asked for."""

    def __init__(self, greeted: Callable[["_TestedWorker"], None]) -> None:
        self._greeted = greeted
        self._unread: list[bytes] = []
        self._ended: str | None = None
        self._waiting: Deferred[None] | None = None
        self.supports: frozenset[str] | None = None
        """None before its greeting."""

    def connected(self, connection: FrameProtocol) -> None:
        self._connection = connection

    def frames_received(self, payloads: list[bytes]) -> None:
        if self.supports is None:
            try:
                self.supports = frozenset(parse_greeting(payloads.pop(0)).supports)
            except PeerError:
                self._connection.close()
                return
            self._greeted(self)
        self._unread += payloads[: MAX_UNREAD - len(self._unread)]
        self._wake()

    def disconnected(self, reason: str) -> None:
        self._ended = reason
        self._wake()

    def say(self, *commands: bytes) -> None:
        """Send commands."""
        if self._ended is None:
            self._connection.send(*commands)

    async def hear(self, clock: IReactorTime, beginning: bytes) -> bytes:
        """The next message that begins so; others stay for later.

        :raises PairTestError: one says that something has failed, or none comes.
        """
        while True:
            for at, message in enumerate(self._unread):
                if is_fail(message):
                    raise PairTestError(_shown(message))
                if message.startswith(beginning):
                    return self._unread.pop(at)
            if self._ended is not None:
                raise PairTestError(f"a worker has left: {self._ended}")
            waiting: Deferred[None] = Deferred()
            self._waiting = waiting
            try:
                await waiting.addTimeout(ANSWER_TIMEOUT, clock)
            except DeferredTimeout:
                what = beginning.decode("ascii")
                raise PairTestError(f"a worker has not said {what} within {ANSWER_TIMEOUT:g} s") from None
            finally:
                self._waiting = None

    def _wake(self) -> None:
        waiting, self._waiting = self._waiting, None
        if waiting is not None:
            waiting.callback(None)


async def try_pair(
    reactor: Any, endpoint: str, own: KeyPair, ca: bytes, invoke: Callable[[int, int], InvokeAnswer], peers: Peers
) -> PairTested:
    """Listen, have two workers dial in and punch, and listen no more.

    :param endpoint: where to listen, a Twisted endpoint string.
    :param own: certificate and key that the workers are shown.
    :param ca: PEM of the CA certificate that workers must have theirs from.
    :param invoke: has worker 1 or 2 dial the port that is being listened on, and waits for its end. Called in threads.
    :param peers: how they reach each other.
    :raises mu_twisted.base.MuError: it could not be made.
    """
    here: list[_TestedWorker] = []
    come: Deferred[None] = Deferred()

    def greeted(worker: _TestedWorker) -> None:
        here.append(worker)
        if len(here) == 2 and not come.called:
            come.callback(None)
        elif len(here) > 2:
            worker.say(b"quit:")

    factory = FrameFactory(lambda: _TestedWorker(greeted), clock=reactor, max_frame=MAX_REPLY)
    server = serverFromString(reactor, endpoint)  # type: ignore[no-untyped-call]
    try:
        port = await listen(server, server_contexts(own, ca), factory, reactor)
    except CannotListenError as error:
        raise PairTestError(f"{endpoint} cannot be listened on: {error.socketError}") from None
    working: list[Deferred[InvokeAnswer]] = []
    try:
        number = port.getHost().port
        for worker in (1, 2):
            working.append(deferToThread(invoke, number, worker).addBoth(_early, come))
        try:
            await come.addTimeout(START_TIMEOUT, reactor)
        except DeferredTimeout:
            came = f"{len(here)} of the 2 invoked workers"
            raise PairTestError(f"{came} came within {START_TIMEOUT:g} s") from None
        return await _punch(reactor, (here[0], here[1]), peers)
    finally:
        for each in here:
            each.say(b"quit:")
        await DeferredList(working, consumeErrors=True)
        await port.stopListening()


def _early(result: Any, come: "Deferred[None]") -> Any:
    """A worker has ended, or could not be invoked: if the two were not there yet, they will not be."""
    if not come.called:
        said = said_of_its_end(result) if isinstance(result, InvokeAnswer) else result.getErrorMessage()
        come.errback(PairTestError(f"an invoked worker did not come: {said or 'it said nothing'}"))
    return result


async def _punch(clock: IReactorTime, workers: tuple[_TestedWorker, _TestedWorker], peers: Peers) -> PairTested:
    for worker in workers:
        if not {LINKS, PUNCH, PUNCHES} <= (worker.supports or frozenset()):
            raise PairTestError("the function holds a worker of an earlier version: `mu lambdaize --replace`")
    first, second = workers
    # The first is known to the rendezvous when it hears that the second is not there; so it is the second that wants a
    # path, and it is there for it. That a message goes as well shows a rendezvous that cannot be reached.
    await _link(clock, first, peers, 0)
    first.say(b"receive:1:doctor\0##TMPDIR##/doctor")
    outcome = await _outcome(clock, first, 1)
    if outcome == _UNREACHABLE:
        await first.hear(clock, b"OK:RECEIVE")  # which fails, with the reason
    if outcome == PunchRefusal.ABSENT:
        await _link(clock, second, peers, 1)
        second.say(b"send:0:doctor\0\0doctor")
        outcome = await _outcome(clock, second, 0)
        await second.hear(clock, b"OK:SEND")
        await first.hear(clock, b"OK:RECEIVE")
    reports = []
    for worker in workers:
        if outcome == PunchRefusal.OFF:
            return PairTested(outcome, (PunchReport(), PunchReport()))
        worker.say(b"punches:")
        reports.append(parse_punch_report(await worker.hear(clock, b"OK:PUNCHES(")))
    return PairTested(outcome, (reports[0], reports[1]))


async def _link(clock: IReactorTime, worker: _TestedWorker, peers: Peers, task: int) -> None:
    peering = peers.peering(task, 0, replay=False, links=True, ahead=(1 - task,))
    worker.say(*peers.opening(peering, task))
    await worker.hear(clock, b"OK:IDENTITY")
    await worker.hear(clock, b"OK:LINK")


async def _outcome(clock: IReactorTime, worker: _TestedWorker, peer: int) -> str:
    while True:
        outcome = parse_paths(await worker.hear(clock, b"INFO:paths:")).get(peer)
        if outcome is not None:
            return outcome


def judge_pair(tested: PairTested, function: str) -> Iterator[Finding]:
    """What was found about each worker's NAT, and about the path between them."""
    if tested.outcome == PunchRefusal.OFF:
        yield doubtful("the rendezvous allows no direct paths", _RELAYED, "start it with `--punch auto`, the default")
        return
    for number, report in enumerate(tested.reports):
        yield _judge_nat(number + 1, report, _answers(tested.reports[1 - number]))
    tried = [punch for report in tested.reports for punch in report.punches[-1:]]
    seconds = max((punch.link_ms for punch in tried), default=0) / 1000
    if tested.outcome == _DIRECT:
        tcp = max((punch.tcp_ms or 0 for punch in tried), default=0)
        by = ", ".join(sorted({each.candidate for each in _candidates(tried) if each.connected}))
        yield good(
            f"two workers of {function} reached each other directly: TCP after {tcp} ms, the link after "
            f"{seconds * 1000:.0f} ms, by {by}"
        )
        return
    why, fix = _REASONS.get(tested.outcome, (f"it ended with `{tested.outcome}`", _TRY_AGAIN))
    after = f", after {seconds:.1f} s" if tried else ""
    yield doubtful(f"two workers of {function} did not reach each other directly{after}: {why}", _RELAYED, fix)


_TRY_AGAIN = "try again; `--peer relay` has jobs not try at all"
_NAT_FIX = (
    "have the function's traffic leave by a NAT that keeps one port for all destinations, or leave it as it is; "
    "`--peer relay` has jobs not try at all"
)
_REASONS: dict[str, tuple[str, str]] = {
    PunchRefusal.EDM: ("a NAT maps each destination to another port, which no dial can meet", _NAT_FIX),
    PunchRefusal.ABSENT: ("one of them lost its connection to the rendezvous", _TRY_AGAIN),
    PunchRefusal.LIMIT: ("the rendezvous has allowed no punch", _TRY_AGAIN),
    PunchOutcome.TIMEOUT: ("nothing came through in either direction", _NAT_FIX),
    PunchOutcome.REFUSED: ("each dial was answered by an error", _NAT_FIX),
    PunchOutcome.TLS: ("a TCP connection came to be, TLS on it did not", "see what intercepts TLS between them"),
    PunchOutcome.CERTIFICATE: ("another one answered where a worker was expected", _TRY_AGAIN),
    PunchOutcome.GREETING: ("a connection came to be, and no greeting on it", _TRY_AGAIN),
    "lost": ("the path was lost as soon as it was there", _TRY_AGAIN),
    _UNREACHABLE: ("a worker could not reach the rendezvous", "have its port be reachable for the function's workers"),
}


def _judge_nat(number: int, report: PunchReport, answers: str) -> Finding:
    _, _, seen = report.seen.partition("/")
    ip, _, port = seen.rpartition("/")
    where = f"worker {number} has port {report.port}, and is seen at {ip}, port {port}" if seen else f"worker {number}"
    what = f"{where}: {_mapping(report)}; {answers}"
    if report.varies:
        return doubtful(what, "no worker behind such a NAT can be reached directly", _NAT_FIX)
    if report.varies is None:
        return doubtful(
            what,
            "it is tried all the same, which costs 10 s where it cannot come to anything",
            "open the probe port of the rendezvous to it (`mu rendezvous --probe-port N`), and make it current",
        )
    return good(what)


def _mapping(report: PunchReport) -> str:
    if report.varies is None:
        return "how its NAT maps is not known, as its probe has had no answer"
    if report.varies:
        return f"its NAT maps each destination to another port (also {report.probed.rpartition('/')[2]})"
    return "the same port for each destination"


def _answers(report: PunchReport) -> str:
    """What answers those that the worker itself has not dialled yet, as the other one's dials have seen it."""
    tried = [each for each in _candidates(report.punches) if not each.candidate.startswith(f"{CandidateKind.HOST}/")]
    tried = tried or list(_candidates(report.punches))
    failed = [each for each in tried if each.errors]
    answered = [each for each in failed if each.error not in _OF_THE_DIALLING]
    if answered:
        kinds = " and ".join(sorted({_KINDS.get(each.error, each.error or "an error") for each in answered}))
        return f"to {counted(sum(each.errors for each in answered), 'dial')} of the other it has answered by {kinds}"
    if any(each.connected for each in tried):
        return "no dial of the other was rejected"
    if failed:
        why = " and ".join(sorted({each.error for each in failed}))
        return f"{counted(sum(each.errors for each in failed), 'dial')} of the other did not leave its machine ({why})"
    return "the other's dials were dropped" if tried else "it was not dialled"


_KINDS = {
    "ECONNREFUSED": "RST, or ICMP that says the same",
    "EHOSTUNREACH": "ICMP (host unreachable)",
    "ENETUNREACH": "ICMP (net unreachable)",
    "EACCES": "ICMP (prohibited)",
}
"""What errors of a dial tell of the answer: Linux has one for RST and for ICMP's port unreachable."""

_OF_THE_DIALLING = frozenset({"EADDRINUSE", "EADDRNOTAVAIL", "EINVAL", "EPERM", "EMFILE", "ENFILE", "ENOBUFS"})
"""Errors of a dial that are no answer: the dialling machine has not let it out (connect(2), "ERRORS")."""


def _candidates(punches: Iterable[PunchTried] | Sequence[PunchTried]) -> Iterator[CandidateTried]:
    for punch in punches:
        yield from punch.candidates


def _shown(message: bytes) -> str:
    text = message.decode("utf-8", "replace")
    with suppress(ValueError):
        text = text[text.index("(") + 1 :].removesuffix(")")
    return one_line(text, 300)
