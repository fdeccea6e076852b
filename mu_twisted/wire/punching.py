"""This module reads and writes what workers and the rendezvous say to find direct paths, and how a link begins.

It is no part of the package's face: a worker that uses no links does not load it.
"""

import ipaddress
import re
from dataclasses import dataclass
from enum import StrEnum

from mu_twisted.wire._errors import PeerError

PUNCH = "punch"
"""What workers and rendezvous announce in their greetings that understand this."""
PREFIX = b"PUNCH_"
"""How each of the messages between them begins."""
MAX_CANDIDATES = 8
"""Candidates of one party, the reflexive one included."""
MAX_REPORTED = 16
"""Punches that a worker remembers, to tell of them; the last ones."""
MAX_DIRECT_GREETING = 256
"""Largest first message on a link, bytes."""
MIN_PORT = 1024
"""Lowest port of a host candidate: no well-known service is ever dialled."""
MAX_RTT = 5_000_000
MAX_DELAY = 1_000
MAX_TIMEOUT = 10_000

_PRIVATE = [
    ipaddress.ip_network(network)
    for network in ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10", "fc00::/7")
]
_NUMBER = r"(0|[1-9][0-9]{0,8})"
_TOKEN = "[0-9a-f]{32}"
_JOB = r"[A-Za-z0-9._-]{1,64}"
_OFFER = re.compile(rf"PUNCH_OFFER:{_NUMBER}:(.*)")
_PROBE = re.compile(rf"PUNCH_PROBE:{_NUMBER}:({_TOKEN}|):(.*)")
_PROBED = b"OK:PROBE:"
_TOKEN_SHOWN = re.compile(rf"PROBE:({_TOKEN})")
_WANT = re.compile(rf"PUNCH_WANT:{_NUMBER}")
_NO = re.compile(rf"PUNCH_NO:{_NUMBER}:([a-z]+)")
_GO = re.compile(rf"PUNCH_GO:{_NUMBER}/{_NUMBER}:({_TOKEN}):{_NUMBER}:{_NUMBER}:(.*)")
_RESULT = re.compile(rf"PUNCH_RESULT:{_NUMBER}/{_NUMBER}:({_TOKEN}):([a-z]+)")
_GREETING = re.compile(rf"HELLO_DIRECT:({_JOB}):{_NUMBER}/{_NUMBER}:({_TOKEN})")


class CandidateKind(StrEnum):
    """Where a candidate is from."""

    HOST = "host"
    REFLEXIVE = "reflexive"


class PunchRefusal(StrEnum):
    """Why the rendezvous lets two parties not punch."""

    EDM = "edm"
    """A NAT between them maps each destination to another port (endpoint-dependent mapping, RFC 4787)."""
    ABSENT = "absent"
    """The peer is not connected, or cannot punch."""
    LIMIT = "limit"
    """The pair, one of its parties or the job has had as many punches as it may."""
    OFF = "off"
    """The rendezvous allows none."""


class PunchOutcome(StrEnum):
    """What has come of a punch."""

    DIRECT = "direct"
    """The link is up."""
    TIMEOUT = "timeout"
    """A candidate has not answered, and no other was right."""
    REFUSED = "refused"
    """All candidates have answered with errors."""
    TLS = "tls"
    """The TLS handshake has failed, or was not done in time."""
    CERTIFICATE = "certificate"
    """The certificate is not of the attempt that was expected."""
    GREETING = "greeting"
    """The greeting is not of the certificate's party or of this punch, or has not come in time."""


@dataclass(frozen=True)
class Candidate:
    """An address at which a party may be reached.

    :param ip: in its usual spelling; an IPv4 address that is mapped into IPv6 is an IPv4 address.
    """

    kind: CandidateKind
    ip: str
    port: int

    def __str__(self) -> str:
        return f"{self.kind}/{self.ip}/{self.port}"


def usual_address(text: str) -> str:
    """The usual spelling of an IP address.

    :raises PeerError: it is none, or has a zone.
    """
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        raise PeerError(f"expected an IP address, got {text[:60]!r}") from None
    if isinstance(address, ipaddress.IPv6Address):
        if address.scope_id is not None:
            raise PeerError(f"expected an IP address without a zone, got {text[:60]!r}")
        return str(address.ipv4_mapped or address)
    return str(address)


def is_private(ip: str) -> bool:
    """Whether an address may be a host candidate: RFC 1918, RFC 6598 or RFC 4193, and so never one of the internet."""
    address = ipaddress.ip_address(ip)
    return any(address in network for network in _PRIVATE if network.version == address.version)


@dataclass(frozen=True)
class Offer:
    """The worker: it can punch.

    :param rtt: of its connection to the rendezvous, microseconds.
    :param candidates: host candidates only.
    """

    rtt: int
    candidates: tuple[Candidate, ...]

    def encode(self) -> bytes:
        """``PUNCH_OFFER:RTT:CANDIDATES``."""
        return f"PUNCH_OFFER:{self.rtt}:{_join(self.candidates)}".encode("ascii")


@dataclass(frozen=True)
class ProbeOrder:
    """The rendezvous: connect to this port from the same local one.

    :param port: 0: no probe is wanted.
    :param token: to be shown there; empty without a port.
    :param reflexive: where the rendezvous sees the worker.
    """

    port: int
    token: str
    reflexive: Candidate

    def encode(self) -> bytes:
        """``PUNCH_PROBE:PORT:TOKEN:REFLEXIVE``."""
        return f"PUNCH_PROBE:{self.port}:{self.token}:{self.reflexive}".encode("ascii")


@dataclass(frozen=True)
class PunchWant:
    """The worker: it wants a link to this task."""

    task: int

    def encode(self) -> bytes:
        """``PUNCH_WANT:TASK``."""
        return b"PUNCH_WANT:%d" % self.task


@dataclass(frozen=True)
class PunchNo:
    """The rendezvous: no punch to this task."""

    task: int
    reason: PunchRefusal

    def encode(self) -> bytes:
        """``PUNCH_NO:TASK:REASON``."""
        return f"PUNCH_NO:{self.task}:{self.reason}".encode("ascii")


@dataclass(frozen=True)
class PunchGo:
    """The rendezvous, to both parties of a pair at once: punch.

    :param task: the peer's.
    :param attempt: the peer's.
    :param nonce: 128 random bits in hexadecimal digits, for this punch only.
    :param delay: milliseconds to wait before the first dial.
    :param timeout: milliseconds from then on until a TCP connection must be there.
    :param candidates: the peer's.
    """

    task: int
    attempt: int
    nonce: str
    delay: int
    timeout: int
    candidates: tuple[Candidate, ...]

    def encode(self) -> bytes:
        """``PUNCH_GO:TASK/ATTEMPT:NONCE:DELAY:TIMEOUT:CANDIDATES``."""
        head = f"PUNCH_GO:{self.task}/{self.attempt}:{self.nonce}:{self.delay}:{self.timeout}"
        return f"{head}:{_join(self.candidates)}".encode("ascii")


@dataclass(frozen=True)
class PunchResult:
    """The worker: this came of a punch.

    :param task: the peer's.
    :param attempt: the peer's.
    """

    task: int
    attempt: int
    nonce: str
    outcome: PunchOutcome

    def encode(self) -> bytes:
        """``PUNCH_RESULT:TASK/ATTEMPT:NONCE:OUTCOME``."""
        return f"PUNCH_RESULT:{self.task}/{self.attempt}:{self.nonce}:{self.outcome}".encode("ascii")


@dataclass(frozen=True)
class DirectGreeting:
    """The first message of either party on a link, inside TLS.

    :param task: its sender's, as is the attempt.
    :param nonce: of the punch.
    """

    job: str
    task: int
    attempt: int
    nonce: str

    def encode(self) -> bytes:
        """``HELLO_DIRECT:JOB:TASK/ATTEMPT:NONCE``."""
        return f"HELLO_DIRECT:{self.job}:{self.task}/{self.attempt}:{self.nonce}".encode("ascii")

    @property
    def uri(self) -> str:
        """The identity that its sender's certificate must have."""
        return f"mu:job/{self.job}/task/{self.task}/attempt/{self.attempt}"


def probe_message(token: str) -> bytes:
    """What a worker says on the probe port: ``PROBE:TOKEN``."""
    return f"PROBE:{token}".encode("ascii")


def probe_answer(seen: Candidate) -> bytes:
    """What the rendezvous answers there: ``OK:PROBE:CANDIDATE``, where it has seen the probe."""
    return _PROBED + str(seen).encode("ascii")


def parse_probe_answer(message: bytes) -> Candidate:
    """Where the rendezvous has seen a probe.

    :raises PeerError: it does not say.
    """
    if not message.startswith(_PROBED):
        raise PeerError(f"expected OK:PROBE:CANDIDATE, got {message[:80]!r}")
    return parse_candidate(message[len(_PROBED) :].decode("latin-1"))


def parse_probe_message(message: bytes) -> str:
    """The token that a worker shows on the probe port.

    :raises PeerError: it shows none.
    """
    return _match(_TOKEN_SHOWN, message, "PROBE:TOKEN")[1]


def parse_from_worker(message: bytes) -> Offer | PunchWant | PunchResult:
    """Read what a worker says about punching.

    :raises PeerError: it is none of these, a host candidate is not private, or there are too many.
    """
    if message.startswith(b"PUNCH_OFFER:"):
        found = _match(_OFFER, message, "PUNCH_OFFER:RTT:CANDIDATES")
        candidates = _candidates(found[2])
        if any(each.kind is not CandidateKind.HOST for each in candidates):
            raise PeerError(f"a worker offers host candidates only, got {found[2][:80]!r}")
        return Offer(min(int(found[1]), MAX_RTT), candidates)
    if message.startswith(b"PUNCH_WANT:"):
        return PunchWant(int(_match(_WANT, message, "PUNCH_WANT:TASK")[1]))
    found = _match(_RESULT, message, "PUNCH_RESULT:TASK/ATTEMPT:NONCE:OUTCOME")
    if found[4] not in list(PunchOutcome):
        raise PeerError(f"expected one of {', '.join(PunchOutcome)}, got {found[4][:20]!r}")
    return PunchResult(int(found[1]), int(found[2]), found[3], PunchOutcome(found[4]))


def parse_from_rendezvous(message: bytes) -> ProbeOrder | PunchNo | PunchGo:
    """Read what the rendezvous says about punching.

    :raises PeerError: it is none of these, or out of bounds.
    """
    if message.startswith(b"PUNCH_PROBE:"):
        found = _match(_PROBE, message, "PUNCH_PROBE:PORT:TOKEN:REFLEXIVE")
        port = int(found[1])
        if port >= 1 << 16 or bool(port) != bool(found[2]):
            raise PeerError(f"expected a port with a token, or neither, got {message[:80]!r}")
        return ProbeOrder(port, found[2], parse_candidate(found[3]))
    if message.startswith(b"PUNCH_NO:"):
        found = _match(_NO, message, "PUNCH_NO:TASK:REASON")
        if found[2] not in list(PunchRefusal):
            raise PeerError(f"expected one of {', '.join(PunchRefusal)}, got {found[2][:20]!r}")
        return PunchNo(int(found[1]), PunchRefusal(found[2]))
    found = _match(_GO, message, "PUNCH_GO:TASK/ATTEMPT:NONCE:DELAY:TIMEOUT:CANDIDATES")
    task, attempt, delay, timeout = (int(found[group]) for group in (1, 2, 4, 5))
    if delay > MAX_DELAY or timeout > MAX_TIMEOUT:
        raise PeerError(f"expected {MAX_DELAY} and {MAX_TIMEOUT} ms at most, got {delay} and {timeout}")
    return PunchGo(task, attempt, found[3], delay, timeout, _candidates(found[6]))


def parse_direct_greeting(message: bytes) -> DirectGreeting:
    """Read the first message on a link.

    :raises PeerError: it is no greeting.
    """
    found = _match(_GREETING, message, "HELLO_DIRECT:JOB:TASK/ATTEMPT:NONCE")
    return DirectGreeting(found[1], int(found[2]), int(found[3]), found[4])


def _match(form: "re.Pattern[str]", message: bytes, expected: str) -> "re.Match[str]":
    found = form.fullmatch(message.decode("latin-1"))
    if found is None:
        raise PeerError(f"expected {expected}, got {message[:80]!r}")
    return found


def _join(candidates: tuple[Candidate, ...]) -> str:
    return ",".join(map(str, candidates))


def _candidates(text: str) -> tuple[Candidate, ...]:
    parts = text.split(",", MAX_CANDIDATES) if text else []
    if len(parts) > MAX_CANDIDATES:
        raise PeerError(f"more than {MAX_CANDIDATES} candidates: {text[:80]!r}")
    return tuple(parse_candidate(part) for part in parts)


def parse_candidate(text: str) -> Candidate:
    """Read ``KIND/IP/PORT``.

    :raises PeerError: it is none, or a host candidate that no worker may offer.
    """
    kind, _, rest = text.partition("/")
    ip, _, digits = rest.partition("/")
    if kind not in list(CandidateKind) or not re.fullmatch(r"[1-9][0-9]{0,4}", digits):
        raise PeerError(f"expected KIND/IP/PORT with KIND one of {', '.join(CandidateKind)}, got {text[:80]!r}")
    candidate = Candidate(CandidateKind(kind), usual_address(ip), int(digits))
    if candidate.port >= 1 << 16:
        raise PeerError(f"a port is 65535 at most, got {text[:80]!r}")
    if candidate.kind is CandidateKind.HOST and not (is_private(candidate.ip) and candidate.port >= MIN_PORT):
        raise PeerError(f"a host candidate is a private address and a port from {MIN_PORT} on, got {text[:80]!r}")
    return candidate
